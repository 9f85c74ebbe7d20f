// SPDX-License-Identifier: GPL-2.0

//! KUnit suite of eventfds: the counter, and listeners.

use kernel::macros::kunit_tests;

#[kunit_tests(doorbell_eventfd)]
mod eventfd {
    use crate::kernel_ext::{
        callback::impl_has_callbacks,
        compat::EOPNOTSUPP,
        deferred::{
            Deferred,
            Run,
            WorkItem, //
        },
        eventfd::{
            EventFd,
            EventFdQueue,
            Listen,
            Listener,
            CAN_PEEK, //
        },
        kunit_support::{
            eventfd,
            excludes,
            skip,
            Tally,
            Turns, //
        }, //
    };
    use kernel::{
        bindings::POLLIN,
        prelude::*,
        sync::Arc,
        time::{
            delay::fsleep,
            Delta, //
        }, //
    };

    /// The calls of a listener.
    struct Heard {
        signals: Tally,
        counts: Tally,
        /// The sum of the masks.
        masks: Tally,
        hangups: Tally,
    }

    /// A listener that records its calls.
    struct Recorder(Arc<Heard>);

    impl Listen for Recorder {
        fn signalled(&self, count: u64, mask: u32) {
            self.0.counts.add(count);
            self.0.masks.add(mask.into());
            self.0.signals.add(1);
        }

        fn hung_up(&self) {
            self.0.hangups.add(1);
        }
    }

    impl Heard {
        /// Returns the number of signals, and the sum of their counts.
        fn signals(&self) -> (u64, u64) {
            (self.signals.get(), self.counts.get())
        }
    }

    type RecordingListener = Pin<KBox<Listener<Recorder>>>;

    fn listener(queue: EventFdQueue) -> Result<(RecordingListener, Arc<Heard>)> {
        let heard = Heard {
            signals: Tally::new(),
            counts: Tally::new(),
            masks: Tally::new(),
            hangups: Tally::new(),
        };
        let heard = Arc::new(heard, GFP_KERNEL)?;
        let listener = Listener::new(queue, Recorder(heard.clone()));
        Ok((KBox::pin_init(listener, GFP_KERNEL)?, heard))
    }

    fn signal(eventfd: &EventFd, times: u32) {
        for _ in 0..times {
            eventfd.signal(0);
        }
    }

    /// Returns the result of a peek at a counter that is `count`.
    fn peeked(count: u64) -> Result<u64> {
        CAN_PEEK.then_some(count).ok_or(EOPNOTSUPP)
    }

    /// Returns true if a count was consumed.
    fn delivered(consumed: crate::kernel_ext::eventfd::Consumed) -> bool {
        let mut delivered = false;
        consumed.deliver(|| delivered = true);
        delivered
    }

    #[test]
    fn counter_is_read_and_peeked_at_under_the_guard() -> Result {
        let Some(file) = eventfd(0) else {
            return Ok(());
        };
        let (queue, eventfd) = (file.queue()?, file.eventfd()?);
        assert_eq!(queue.eventfd().id(), eventfd.id());
        signal(&eventfd, 3);
        let mut guard = queue.lock();
        let found = (
            guard.peek(),
            guard.peek(),
            guard.read(),
            guard.peek(),
            guard.read(),
        );
        drop(guard);
        assert_eq!(found, (peeked(3), peeked(3), 3, peeked(0), 0));
        Ok(())
    }

    #[test]
    fn listener_gets_the_signals_between_attach_and_detach() -> Result {
        let Some(file) = eventfd(1) else {
            return Ok(());
        };
        let (queue, eventfd) = (file.queue()?, file.eventfd()?);
        let (listener, heard) = listener(file.queue()?)?;
        assert!(listener.detach().is_err_and(|error| error == ENOENT));

        signal(&eventfd, 2);
        let mut before_ready = None;
        let consumed = listener
            .as_ref()
            .attach(|| before_ready = Some(heard.signals()))?;
        assert!(delivered(consumed));
        assert_eq!(before_ready, Some((0, 0)));
        assert_eq!(heard.signals(), (0, 0));

        signal(&eventfd, 2);
        assert_eq!(heard.signals(), (2, 2));
        assert_eq!(heard.masks.get(), 2 * u64::from(POLLIN));
        eventfd.signal(1 << 16);
        assert_eq!(heard.masks.get(), 3 * u64::from(POLLIN) + (1 << 16));
        assert_eq!(queue.lock().read(), 0);

        assert!(!delivered(listener.detach()?));
        signal(&eventfd, 1);
        assert_eq!(heard.signals(), (3, 3));
        assert_eq!(queue.lock().read(), 1);
        assert_eq!(heard.hangups.get(), 0);
        Ok(())
    }

    #[test]
    fn eventfd_has_one_listener() -> Result {
        let Some(file) = eventfd(2) else {
            return Ok(());
        };
        let eventfd = file.eventfd()?;
        let (first, heard) = listener(file.queue()?)?;
        let (second, other) = listener(file.queue()?)?;
        let busy = |listener: &RecordingListener| {
            let mut ready = false;
            let result = listener.as_ref().attach(|| ready = true);
            assert!(!ready);
            result.is_err_and(|error| error == EBUSY)
        };
        first.check_free()?;
        second.check_free()?;
        assert!(!delivered(first.as_ref().attach(|| {})?));
        assert!(second.check_free().is_err_and(|error| error == EBUSY));
        assert!(busy(&first));
        assert!(busy(&second));
        // A listener that is dropped is detached.
        drop(first);
        assert!(!delivered(second.as_ref().attach(|| {})?));
        signal(&eventfd, 1);
        assert_eq!((heard.signals(), other.signals()), ((0, 0), (1, 1)));
        Ok(())
    }

    #[test]
    fn last_close_detaches_the_listener() -> Result {
        let Some(file) = eventfd(3) else {
            return Ok(());
        };
        let (queue, eventfd) = (file.queue()?, file.eventfd()?);
        let (listener, heard) = listener(file.queue()?)?;
        assert!(!delivered(listener.as_ref().attach(|| {})?));
        // The process that loads the module closes its descriptor, or not.
        for _ in 0..3000 {
            if !file.is_shared() {
                break;
            }
            fsleep(Delta::from_millis(10));
        }
        if file.is_shared() {
            skip(c"the descriptor is still open");
            return Ok(());
        }
        assert_eq!(heard.hangups.get(), 0);
        drop(file);
        // A kernel thread leaves the close to a work item.
        heard.hangups.wait_for(1);
        assert!(listener.detach().is_err_and(|error| error == ENOENT));
        signal(&eventfd, 1);
        assert_eq!(heard.signals(), (0, 0));
        assert_eq!(queue.lock().read(), 1);
        assert_eq!(heard.hangups.get(), 1);
        Ok(())
    }

    /// A thread that signals an eventfd.
    #[pin_data(PinnedDrop)]
    struct Signaller {
        turns: Turns,
        signalled: Tally,
        eventfd: EventFd,
        #[pin]
        work: Deferred<Self, WorkItem>,
    }

    impl_has_callbacks!(Signaller {
        work: Deferred<Self, WorkItem>,
    });

    impl Run<WorkItem> for Signaller {
        fn run(self: Pin<&Self>) {
            self.turns.take(|| {
                self.eventfd.signal(0);
                self.signalled.add(1);
            });
        }
    }

    #[test]
    fn guard_excludes_signals() -> Result {
        let Some(file) = eventfd(4) else {
            return Ok(());
        };
        let queue = file.queue()?;
        let signaller = pin_init!(Signaller {
            turns: Turns::new(),
            signalled: Tally::new(),
            eventfd: file.eventfd()?,
            work <- Deferred::new(),
        }? Error);
        let signaller = KBox::pin_init(signaller, GFP_KERNEL)?;
        let excluded = excludes(
            &signaller.turns,
            || Run::<WorkItem>::queue(signaller.as_ref()),
            || queue.lock(),
            // Each round reads what the one before has signalled.
            |guard, before| {
                signaller.signalled.get() == before
                    && guard.read() == before.min(1)
                    && guard.read() == 0
            },
        );
        assert!(excluded);
        assert_eq!(queue.lock().read(), 1);
        Ok(())
    }

    #[test]
    fn semaphore_is_read_one_by_one() -> Result {
        let Some(file) = eventfd(5) else {
            return Ok(());
        };
        let (queue, eventfd) = (file.queue()?, file.eventfd()?);
        signal(&eventfd, 3);
        let mut guard = queue.lock();
        let found = (guard.read(), guard.peek(), guard.read());
        drop(guard);
        assert_eq!(found, (1, peeked(2), 1));
        // One is left for the listener, which takes one, and one that it leaves.
        signal(&eventfd, 1);
        let (listener, heard) = listener(file.queue()?)?;
        assert!(delivered(listener.as_ref().attach(|| {})?));
        assert_eq!(queue.lock().peek(), peeked(1));
        signal(&eventfd, 1);
        assert_eq!(heard.signals(), (1, 1));
        assert!(delivered(listener.detach()?));
        assert_eq!(queue.lock().peek(), peeked(0));
        Ok(())
    }
}
