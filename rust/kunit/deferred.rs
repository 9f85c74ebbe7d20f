// SPDX-License-Identifier: GPL-2.0

//! KUnit suite of the callbacks: irq_work, work items and timers, by themselves and together.

use kernel::macros::kunit_tests;

#[kunit_tests(doorbell_deferred)]
mod deferred {
    use crate::kernel_ext::{
        callback::impl_has_callbacks,
        deferred::{
            Deferred,
            IrqWork,
            Run,
            WorkItem, //
        },
        kunit_support::{
            in_hardirq,
            OwnedWaitQueue,
            Tally, //
        },
        lazy_timer::{
            Expire,
            LazyTimer, //
        }, //
    };
    use kernel::{
        prelude::*,
        sync::Arc,
        time::{
            delay::fsleep,
            Delta, //
        }, //
    };

    /// The numbers of calls of the callbacks of a [`Node`], which may be gone.
    struct Calls {
        irq: Tally,
        work: Tally,
        timer: Tally,
        /// The number of calls of the work item that have ended.
        done: Tally,
        go: Tally,
        /// The number of calls outside of hard interrupts that should be there.
        outside: Tally,
    }

    /// Each callback of a node queues others.
    #[derive(Clone, Copy, Default)]
    struct Plan {
        /// The irq_work queues itself until it has run so often.
        repeat_irq: u64,
        /// The irq_work queues the work item, and the work item the irq_work and the timer, for ever.
        circle: bool,
        /// The work item sleeps before it queues.
        pause: bool,
        /// The work item waits for `go`.
        wait: bool,
        /// The work item sleeps, and sets `go`. It counts nothing.
        release: bool,
    }

    /// An object with callbacks of all kinds. What they use comes first: it would be dropped first.
    #[pin_data(PinnedDrop)]
    struct Node {
        calls: Arc<Calls>,
        plan: KBox<Plan>,
        #[pin]
        work: Deferred<Self, WorkItem>,
        #[pin]
        irq: Deferred<Self, IrqWork>,
        #[pin]
        timer: LazyTimer<Self>,
    }

    impl_has_callbacks!(Node {
        timer: LazyTimer<Self>,
        irq: Deferred<Self, IrqWork>,
        work: Deferred<Self, WorkItem>,
    });

    impl Node {
        fn new(plan: Plan) -> Result<(Pin<KBox<Self>>, Arc<Calls>)> {
            let calls = Arc::new(
                Calls {
                    irq: Tally::new(),
                    work: Tally::new(),
                    timer: Tally::new(),
                    done: Tally::new(),
                    go: Tally::new(),
                    outside: Tally::new(),
                },
                GFP_KERNEL,
            )?;
            Ok((Self::with(plan, calls.clone())?, calls))
        }

        fn with(plan: Plan, calls: Arc<Calls>) -> Result<Pin<KBox<Self>>> {
            let plan = KBox::new(plan, GFP_KERNEL)?;
            let node = pin_init!(Self {
                calls,
                plan,
                work <- Deferred::new(),
                irq <- Deferred::new(),
                timer <- LazyTimer::new(),
            });
            KBox::pin_init(node, GFP_KERNEL)
        }

        fn start_timer(&self) {
            if let Some(timer) = self.timer.get() {
                timer.start(1000);
            }
        }
    }

    impl Run<IrqWork> for Node {
        fn run(self: Pin<&Self>) {
            let calls = self.calls.irq.add(1);
            if !in_hardirq() {
                self.calls.outside.add(1);
            }
            if calls < self.plan.repeat_irq {
                Run::<IrqWork>::queue(self);
            }
            if self.plan.circle {
                Run::<WorkItem>::queue(self);
            }
        }
    }

    impl Run<WorkItem> for Node {
        fn run(self: Pin<&Self>) {
            if self.plan.pause || self.plan.release {
                fsleep(Delta::from_millis(20));
            }
            if self.plan.release {
                self.calls.go.add(1);
                return;
            }
            self.calls.work.add(1);
            if self.plan.wait {
                self.calls.go.wait_for(1);
            }
            if self.plan.circle {
                Run::<IrqWork>::queue(self);
                self.start_timer();
            }
            self.calls.done.add(1);
        }
    }

    impl Expire for Node {
        type Data = ();

        fn expire(self: Pin<&Self>) {
            self.calls.timer.add(1);
            if !in_hardirq() {
                self.calls.outside.add(1);
            }
            Run::<IrqWork>::queue(self);
        }
    }

    #[test]
    fn irq_work_runs_once_for_each_time_that_it_was_idle() -> Result {
        let (node, calls) = Node::new(Plan::default())?;
        let queue = KBox::pin_init(OwnedWaitQueue::new(), GFP_KERNEL)?;
        for round in 1..=3 {
            // The guard disables interrupts: the callback runs afterwards.
            let before = queue.with(|queue| {
                let _guard = queue.lock();
                for _ in 0..5 {
                    Run::<IrqWork>::queue(node.as_ref());
                }
                calls.irq.get()
            });
            Run::<IrqWork>::sync(node.as_ref());
            assert_eq!(before, round - 1);
            assert_eq!(calls.irq.get(), round);
        }
        assert_eq!(calls.outside.get(), 0);
        Ok(())
    }

    #[test]
    fn irq_work_is_queued_by_its_callback() -> Result {
        let repeat_irq = 4;
        let (node, calls) = Node::new(Plan {
            repeat_irq,
            ..Plan::default()
        })?;
        Run::<IrqWork>::queue(node.as_ref());
        calls.irq.wait_for(repeat_irq);
        Run::<IrqWork>::sync(node.as_ref());
        assert_eq!(calls.irq.get(), repeat_irq);
        Ok(())
    }

    #[test]
    fn irq_work_is_queued_in_a_hard_interrupt() -> Result {
        let (node, calls) = Node::new(Plan::default())?;
        node.as_ref().create_timer((), GFP_KERNEL)?;
        node.start_timer();
        calls.irq.wait_for(1);
        assert_eq!(calls.timer.get(), 1);
        assert_eq!(calls.irq.get(), 1);
        assert_eq!(calls.outside.get(), 0);
        Ok(())
    }

    #[test]
    fn drop_waits_for_a_work_item_that_runs() -> Result {
        let (node, calls) = Node::new(Plan {
            wait: true,
            ..Plan::default()
        })?;
        let other = Node::with(
            Plan {
                release: true,
                ..Plan::default()
            },
            calls.clone(),
        )?;
        Run::<WorkItem>::queue(node.as_ref());
        calls.work.wait_for(1);
        let before = calls.done.get();
        // The callback ends only when that of the other node has slept.
        Run::<WorkItem>::queue(other.as_ref());
        drop(node);
        let after = calls.done.get();
        assert_eq!((before, after), (0, 1));
        Ok(())
    }

    #[test]
    fn drop_ends_callbacks_that_queue_each_other() -> Result {
        for pause in [false, true] {
            let circle = true;
            let (node, calls) = Node::new(Plan {
                circle,
                pause,
                ..Plan::default()
            })?;
            node.as_ref().create_timer((), GFP_KERNEL)?;
            Run::<IrqWork>::queue(node.as_ref());
            calls.work.wait_for(2);
            calls.timer.wait_for(1);
            drop(node);
            let counts = || (calls.irq.get(), calls.work.get(), calls.timer.get());
            let before = counts();
            fsleep(Delta::from_millis(60));
            assert_eq!(counts(), before);
        }
        Ok(())
    }
}
