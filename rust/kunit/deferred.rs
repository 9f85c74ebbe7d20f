// SPDX-License-Identifier: GPL-2.0

//! KUnit suite of the callbacks: irq_work, work items, timers and batches, by themselves and together.

use kernel::macros::kunit_tests;

#[kunit_tests(doorbell_deferred)]
mod deferred {
    use crate::kernel_ext::{
        batch::{
            Batch,
            BatchNode,
            RunInBatch, //
        },
        callback::impl_has_callbacks,
        compat::with_interrupts_disabled,
        deferred::{
            retire_all,
            Deferred,
            IrqWork,
            Run,
            WorkItem, //
        },
        kunit_support::{
            in_hardirq,
            skip,
            Tally,
            TestCpu, //
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
            delay::{
                fsleep,
                udelay, //
            },
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
        /// The number of nodes whose fields are dropped.
        dropped: Tally,
        /// The number of calls since then.
        late: Tally,
    }

    /// The first field of a node: the drop of the fields begins with it, and takes a while.
    struct First {
        calls: Arc<Calls>,
        pause: bool,
    }

    impl Drop for First {
        fn drop(&mut self) {
            self.calls.dropped.add(1);
            if self.pause {
                fsleep(Delta::from_millis(100));
            }
        }
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
        /// The work item creates the timer. It expires when the node would be half gone.
        create: bool,
        /// The work item queues the irq_work, and waits for it.
        sync: bool,
        /// The first call of the irq_work queues it on this CPU, and ends as soon as it runs there. That second
        /// call ends a while after `go`.
        overlap: Option<TestCpu>,
    }

    /// An object with callbacks of all kinds. What they use comes first: it would be dropped first.
    #[pin_data(PinnedDrop)]
    struct Node {
        first: First,
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
                    dropped: Tally::new(),
                    late: Tally::new(),
                },
                GFP_KERNEL,
            )?;
            Ok((Self::with(plan, calls.clone())?, calls))
        }

        fn with(plan: Plan, calls: Arc<Calls>) -> Result<Pin<KBox<Self>>> {
            let first = First {
                calls: calls.clone(),
                pause: plan.create,
            };
            let plan = KBox::new(plan, GFP_KERNEL)?;
            let node = pin_init!(Self {
                first,
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
                timer.start(if self.plan.create { 30_000_000 } else { 1000 });
            }
        }

        /// Runs the irq_work on two CPUs at a time. Does not use the node after the second call has started.
        fn overlap(self: Pin<&Self>, other: TestCpu) {
            let calls = self.calls.clone();
            if calls.work.add(1) == 1 {
                if !other.queue(self) {
                    // The test tries again.
                    calls.done.add(1);
                    calls.work.add(1);
                }
                for _ in 0..1_000_000 {
                    if calls.work.get() >= 2 {
                        break;
                    }
                    udelay(Delta::from_micros(1));
                }
                return;
            }
            for _ in 0..50_000 {
                if calls.go.get() != 0 {
                    break;
                }
                udelay(Delta::from_micros(10));
            }
            for _ in 0..1000 {
                udelay(Delta::from_micros(10));
            }
            calls.late.add(calls.dropped.get());
            calls.done.add(1);
        }

        fn called(&self) {
            if self.first.calls.dropped.get() != 0 {
                self.first.calls.late.add(1);
            }
        }
    }

    impl Run<IrqWork> for Node {
        fn run(self: Pin<&Self>) {
            self.called();
            let calls = self.calls.irq.add(1);
            // There it runs in a thread.
            if !cfg!(CONFIG_PREEMPT_RT) && !in_hardirq() {
                self.calls.outside.add(1);
            }
            if let Some(other) = self.plan.overlap {
                self.overlap(other);
            } else if calls < self.plan.repeat_irq {
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
            self.called();
            self.calls.work.add(1);
            if self.plan.wait {
                self.calls.go.wait_for(1);
            }
            if self.plan.create && self.create_timer((), GFP_KERNEL).is_ok() {
                self.start_timer();
            }
            if self.plan.sync {
                Run::<IrqWork>::queue(self);
                Run::<IrqWork>::sync(self);
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
            self.called();
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
        for round in 1..=3 {
            // The callback runs afterwards.
            let before = with_interrupts_disabled(|| {
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

    /// Runs the irq_work of a node on two CPUs at a time. After the first call has ended, calls `end`, which must wait
    /// for the second one. `end` returns true if that one had ended when it had waited.
    fn waits_for_second_call(end: impl Fn(Pin<KBox<Node>>, &Calls) -> bool) -> Result<bool> {
        let Some((here, other)) = TestCpu::two() else {
            return Ok(true);
        };
        for _ in 0..10 {
            let (node, calls) = Node::new(Plan {
                overlap: Some(other),
                ..Plan::default()
            })?;
            let stay = here.stay()?;
            Run::<IrqWork>::queue(node.as_ref());
            calls.work.wait_for(2);
            let runs = calls.done.get() == 0;
            calls.go.add(1);
            let waited = end(node, &calls);
            drop(stay);
            calls.done.wait_for(1);
            if !waited || calls.late.get() != 0 {
                return Ok(false);
            }
            if runs {
                return Ok(true);
            }
        }
        skip(c"the second call has always ended before it was waited for");
        Ok(true)
    }

    #[test]
    fn drop_waits_for_both_calls_of_an_irq_work() -> Result {
        assert!(waits_for_second_call(|node, calls| {
            drop(node);
            calls.done.get() == 1
        })?);
        Ok(())
    }

    #[test]
    fn sync_waits_for_both_calls_of_an_irq_work() -> Result {
        assert!(waits_for_second_call(|node, calls| {
            Run::<IrqWork>::sync(node.as_ref());
            calls.done.get() == 1
        })?);
        Ok(())
    }

    #[test]
    fn retire_all_waits_for_both_calls_of_an_irq_work() -> Result {
        assert!(waits_for_second_call(|node, calls| {
            retire_all(core::iter::once(node.as_ref()));
            let waited = calls.done.get() == 1;
            // It does not run any more.
            Run::<IrqWork>::queue(node.as_ref());
            Run::<IrqWork>::sync(node.as_ref());
            waited && calls.work.get() == 2
        })?);
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

    /// Queues the work item of a node with `plan`, which waits, and drops the node. Meanwhile the work item goes
    /// on. Returns the numbers of calls that had ended before the drop, and after it; and the calls.
    fn drop_while_it_runs(plan: Plan) -> Result<(u64, u64, Arc<Calls>)> {
        let (node, calls) = Node::new(Plan { wait: true, ..plan })?;
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
        Ok((before, calls.done.get(), calls))
    }

    #[test]
    fn drop_waits_for_a_work_item_that_runs() -> Result {
        let (before, after, calls) = drop_while_it_runs(Plan::default())?;
        assert_eq!((before, after), (0, 1));
        assert_eq!(calls.late.get(), 0);
        Ok(())
    }

    #[test]
    fn drop_ends_a_timer_that_a_callback_creates() -> Result {
        let (_, after, calls) = drop_while_it_runs(Plan {
            create: true,
            ..Plan::default()
        })?;
        assert_eq!(after, 1);
        // The other node is gone, too.
        assert_eq!((calls.dropped.get(), calls.late.get()), (2, 0));
        Ok(())
    }

    #[test]
    fn sync_of_a_closed_irq_work_returns() -> Result {
        let (_, after, calls) = drop_while_it_runs(Plan {
            sync: true,
            ..Plan::default()
        })?;
        assert_eq!(after, 1);
        assert_eq!(calls.late.get(), 0);
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
            assert_eq!(calls.late.get(), 0);
        }
        Ok(())
    }

    /// An object that a batch runs.
    #[pin_data(PinnedDrop)]
    struct Job {
        calls: Arc<JobCalls>,
        #[pin]
        node: BatchNode<Self>,
    }

    impl_has_callbacks!(Job {
        node: BatchNode<Self>,
    });

    /// The number of calls of a [`Job`], which end when `go` is set.
    struct JobCalls {
        started: Tally,
        go: Tally,
    }

    impl RunInBatch for Job {
        fn run_in_batch(self: Pin<&Self>) {
            self.calls.started.add(1);
            self.calls.go.wait_for(1);
        }
    }

    impl Job {
        fn new(batch: &Arc<Batch<Self>>, go: u64) -> Result<(Pin<KBox<Self>>, Arc<JobCalls>)> {
            let calls = JobCalls {
                started: Tally::new(),
                go: Tally::new(),
            };
            calls.go.add(go);
            let calls = Arc::new(calls, GFP_KERNEL)?;
            let (own, batch) = (calls.clone(), batch.clone());
            let job = pin_init!(Self {
                calls: own,
                node <- BatchNode::new(batch, 0),
            });
            Ok((KBox::pin_init(job, GFP_KERNEL)?, calls))
        }
    }

    #[test]
    fn drop_of_a_queued_object_leaves_the_others() -> Result {
        // The workqueue runs one batch at a time, so the jobs of the other one wait.
        let (busy, batch) = (Batch::new(0, GFP_KERNEL)?, Batch::new(1, GFP_KERNEL)?);
        let (blocker, blocks) = Job::new(&busy, 0)?;
        let (first, first_calls) = Job::new(&batch, 1)?;
        let (second, second_calls) = Job::new(&batch, 1)?;
        let (third, third_calls) = Job::new(&batch, 1)?;
        blocker.as_ref().queue_in_batch();
        blocks.started.wait_for(1);
        first.as_ref().queue_in_batch();
        second.as_ref().queue_in_batch();
        drop(first);
        third.as_ref().queue_in_batch();
        blocks.go.add(1);
        third_calls.started.wait_for(1);
        assert_eq!(second_calls.started.get(), 1);
        // With several NUMA nodes the workqueue may have run it before.
        assert!(first_calls.started.get() <= 1);
        Ok(())
    }
}
