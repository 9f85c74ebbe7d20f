// SPDX-License-Identifier: GPL-2.0

//! KUnit suite of the wait queue: its lock, and waiting.

use kernel::macros::kunit_tests;

#[kunit_tests(doorbell_wait_queue)]
mod wait_queue {
    use crate::kernel_ext::{
        callback::impl_has_callbacks,
        deferred::{
            Deferred,
            Run,
            WorkItem, //
        },
        kunit_support::{
            excludes,
            OwnedWaitQueue,
            Tally,
            Turns, //
        },
        wait_queue::Deadline, //
    };
    use kernel::prelude::*;

    /// A queue, and a thread that acquires its lock.
    #[pin_data(PinnedDrop)]
    struct Contended {
        turns: Turns,
        acquired: Tally,
        #[pin]
        queue: OwnedWaitQueue,
        #[pin]
        work: Deferred<Self, WorkItem>,
    }

    impl_has_callbacks!(Contended {
        work: Deferred<Self, WorkItem>,
    });

    impl Run<WorkItem> for Contended {
        fn run(self: Pin<&Self>) {
            self.turns.take(|| {
                self.queue.with(|queue| {
                    let _guard = queue.lock();
                    self.acquired.add(1);
                })
            });
        }
    }

    #[test]
    fn guard_excludes_another_thread() -> Result {
        let contended = pin_init!(Contended {
            turns: Turns::new(),
            acquired: Tally::new(),
            queue <- OwnedWaitQueue::new(),
            work <- Deferred::new(),
        });
        let contended = KBox::pin_init(contended, GFP_KERNEL)?;
        let excluded = contended.queue.with(|queue| {
            excludes(
                &contended.turns,
                || Run::<WorkItem>::queue(contended.as_ref()),
                || queue.lock(),
                |_, before| contended.acquired.get() == before,
            )
        });
        assert!(excluded);
        Ok(())
    }

    #[test]
    fn wait_returns_what_is_ready() -> Result {
        let queue = KBox::pin_init(OwnedWaitQueue::new(), GFP_KERNEL)?;
        let mut calls = 0;
        let found = queue.with(|queue| {
            queue.wait_interruptible(Deadline::NONE, |_| {
                calls += 1;
                Some(7)
            })
        });
        assert_eq!(found, Ok(7));
        assert_eq!(calls, 1);
        Ok(())
    }

    #[test]
    fn wait_ends_at_the_deadline() -> Result {
        let queue = KBox::pin_init(OwnedWaitQueue::new(), GFP_KERNEL)?;
        // Zero does not sleep. The other time has passed too, but only the clock says so.
        for (deadline, expected) in [(Deadline::ZERO, 1), (Deadline::at(1)?, 2)] {
            let mut calls = 0;
            let found = queue.with(|queue| {
                queue.wait_interruptible(deadline, |_| {
                    calls += 1;
                    None::<()>
                })
            });
            assert_eq!(found, Err(ETIMEDOUT));
            assert_eq!(calls, expected);
        }
        assert!(Deadline::at(u64::MAX).is_err());
        Ok(())
    }
}
