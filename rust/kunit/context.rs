// SPDX-License-Identifier: GPL-2.0

//! KUnit suite of lines without triggers, in a context without a file.

use kernel::macros::kunit_tests;

#[kunit_tests(doorbell_context)]
mod context {
    use crate::{
        context::Context,
        kernel_ext::{
            compat::EOPNOTSUPP,
            deferred::retire_all,
            poll_queue::PollQueue,
            wait_queue::Deadline, //
        },
        line::{
            moderation::Limits,
            state::{
                Acked,
                Origin,
                Provenance,
                Reasons, //
                LEVEL,
                MAX_HOPS,
                PENDING,
            },
            Line,
            RingOutcome, //
        },
        uapi::DOORBELL_MAX_LINES, //
    };
    use kernel::{
        prelude::*,
        sync::Arc,
        time::{
            delay::fsleep,
            Delta, //
        }, //
    };

    const VECTOR: Reasons = Reasons::VECTOR;

    /// The lowest bit of the hops in a wake-up's key.
    const HOP: u32 = 1 << 16;

    fn new_context(nr_lines: u32) -> Result<Arc<Context>> {
        Context::new(nr_lines, PollQueue::new(GFP_KERNEL)?)
    }

    fn with_line(f: impl FnOnce(Pin<&Line>)) -> Result {
        let context = new_context(3)?;
        f(context.line(2).ok_or(ENXIO)?);
        context.shut_down();
        Ok(())
    }

    fn wait_for(condition: impl Fn() -> bool) -> bool {
        for _ in 0..10_000 {
            if condition() {
                return true;
            }
            fsleep(Delta::from_micros(100));
        }
        false
    }

    #[test]
    fn has_as_many_lines_as_asked_for() -> Result {
        for nr_lines in [1, 63, 64, 65, DOORBELL_MAX_LINES] {
            let context = new_context(nr_lines)?;
            assert_eq!(context.nr_lines(), nr_lines);
            assert!(context.line(nr_lines - 1).is_some());
            assert!(context.line(nr_lines).is_none());
            assert_eq!(context.fold(0, |sum, line| sum + line.rings), 0);
            context.shut_down();
        }
        Ok(())
    }

    #[test]
    fn masked_line_keeps_one_message() -> Result {
        with_line(|line| {
            assert!(line.mask(VECTOR));
            assert!(!line.mask(VECTOR));
            assert!(line.ring() == RingOutcome::Masked);
            assert!(line.ring() == RingOutcome::Coalesced);
            assert!(line.ring_from_wake(0) == RingOutcome::Coalesced);
            assert!(line.pending());
            let seen = line.snapshot();
            assert_eq!(seen.state, VECTOR.masked() | PENDING);
            assert_eq!((seen.rings, seen.deliveries), (3, 0));
            assert!(line.unmask(VECTOR));
            assert!(!line.unmask(VECTOR));
            let seen = line.snapshot();
            assert_eq!((seen.state, seen.rings, seen.deliveries), (0, 3, 1));
        })
    }

    #[test]
    fn cleared_message_is_gone_and_counted() -> Result {
        with_line(|line| {
            assert!(!line.clear());
            line.mask(VECTOR);
            line.ring();
            assert!(line.clear());
            assert!(!line.clear());
            assert!(!line.unmask(VECTOR));
            let seen = line.snapshot();
            assert_eq!((seen.rings, seen.deliveries, seen.dropped), (1, 0, 1));
        })
    }

    #[test]
    fn signal_is_delivered_by_a_callback() -> Result {
        with_line(|line| {
            assert!(line.ring_from_wake(0) == RingOutcome::Delivered);
            assert!(wait_for(|| line.snapshot().deliveries == 1));
            assert_eq!(line.snapshot().deferred, 0);
            assert!(line.ring_from_wake(MAX_HOPS * HOP) == RingOutcome::Delivered);
            assert!(wait_for(|| line.snapshot().deliveries == 2));
            assert_eq!(line.snapshot().deferred, 1);
        })
    }

    #[test]
    fn signal_is_delivered_to_waiters_at_once() -> Result {
        let context = new_context(3)?;
        let line = context.line(2).ok_or(ENXIO)?;
        let take = || {
            let mut taken = 0;
            let wait = context.wait_for(2)?;
            wait.wait(Deadline::ZERO, |count, _| {
                taken = count;
                Ok(())
            })?;
            Ok::<u64, Error>(taken)
        };
        assert!(take() == Err(ENOENT));
        context.assign_waiters(2)?;
        assert!(context.assign_waiters(2).err() == Some(EEXIST));
        assert!(take() == Err(ETIMEDOUT));
        for hops in [0, MAX_HOPS] {
            assert!(line.ring_from_wake(hops * HOP) == RingOutcome::Delivered);
            assert!(line.ring() == RingOutcome::Delivered);
            assert!(take() == Ok(2));
        }
        assert_eq!(line.snapshot().deferred, 0);
        context.deassign_waiters(2)?;
        assert!(take() == Err(ENOENT));
        context.shut_down();
        Ok(())
    }

    #[test]
    fn callback_finds_the_line_masked() -> Result {
        with_line(|line| {
            line.mask(VECTOR);
            assert!(line.ring_from_wake(MAX_HOPS * HOP) == RingOutcome::Masked);
            fsleep(Delta::from_millis(10));
            assert_eq!(line.snapshot().deliveries, 0);
            assert!(line.unmask(VECTOR));
            assert_eq!(line.snapshot().deliveries, 1);
        })
    }

    #[test]
    fn level_line_is_rung_acked_and_lowered() -> Result {
        let context = new_context(1)?;
        let line = context.line(0).ok_or(ENXIO)?;
        assert!(line.ack(Origin::Caller).err() == Some(EOPNOTSUPP));
        assert!(line.raise(Origin::Caller).err() == Some(EOPNOTSUPP));
        context.set_type(0, true, false)?;
        assert!(line.raise(Origin::Caller)? == RingOutcome::Delivered);
        assert!(line.ring() == RingOutcome::Coalesced);
        // The level is still raised, so the ack sends the next message.
        assert!(line.ack(Origin::Caller)? != Acked::Nothing);
        assert_eq!(line.snapshot().deliveries, 2);
        assert!(context.set_type(0, false, false).err() == Some(EBUSY));
        assert!(!line.lower(Origin::Caller)?);
        line.mask(VECTOR);
        assert!(line.ack(Origin::Caller)? != Acked::Nothing);
        assert!(line.ack(Origin::Caller)? == Acked::Nothing);
        assert!(line.raise(Origin::Wake(Provenance::NOTHING))? == RingOutcome::Masked);
        assert!(line.lower(Origin::Wake(Provenance::NOTHING))?);
        assert!(!line.unmask(VECTOR));
        let seen = line.snapshot();
        assert_eq!((seen.rings, seen.deliveries, seen.dropped), (4, 2, 1));
        assert_eq!((seen.state, seen.acks), (LEVEL, 2));
        context.set_type(0, false, false)?;
        context.shut_down();
        Ok(())
    }

    #[test]
    fn timer_delivers_what_is_held() -> Result {
        with_line(|line| {
            let limits = Limits {
                interval: 1_000_000,
                max_count: 3,
            };
            assert!(line.limits() == Limits::NONE);
            assert!(line.allocate_moderation().is_ok());
            line.moderate(limits);
            assert!(line.limits() == limits);
            for _ in 0..10 {
                let before = line.snapshot();
                line.ring();
                line.ring();
                assert!(wait_for(|| !line.pending()));
                let seen = line.snapshot();
                assert_eq!(seen.rings, before.rings + 2);
                assert!(seen.deliveries > before.deliveries);
                // The message that a mask keeps outlives the interval.
                line.mask(VECTOR);
                line.ring_from_wake(0);
                fsleep(Delta::from_millis(3));
                assert!(line.pending());
                line.unmask(VECTOR);
                assert!(wait_for(|| !line.pending()));
            }
            line.moderate(Limits::NONE);
            assert_eq!(line.snapshot().state, 0);
        })
    }

    #[test]
    fn context_goes_while_timers_run() -> Result {
        for interval in [1_000, 10_000, 100_000, 1_000_000_000] {
            let context = new_context(1)?;
            let line = context.line(0).ok_or(ENXIO)?;
            let limits = Limits {
                interval,
                max_count: 0,
            };
            context.moderate(0, limits)?;
            line.ring();
            line.ring();
            context.shut_down();
            assert_eq!(line.snapshot().deliveries, 2);
        }
        Ok(())
    }

    #[test]
    fn context_goes_while_messages_wait() -> Result {
        let context = new_context(2)?;
        let line = |at| context.line(at).ok_or(ENXIO);
        line(0)?.mask(VECTOR);
        line(0)?.ring();
        line(1)?.ring_from_wake(MAX_HOPS * HOP);
        context.shut_down();
        assert_eq!(line(0)?.snapshot().deliveries, 0);
        assert_eq!(line(1)?.snapshot().deliveries, 1);
        Ok(())
    }

    #[test]
    fn line_goes_while_a_message_waits() -> Result {
        with_line(|line| {
            line.ring_from_wake(0);
            assert!(wait_for(|| line.snapshot().deliveries == 1));
            retire_all(core::iter::once(line));
            // The irq_work was used, so it is closed, and the message stays.
            assert!(line.ring_from_wake(0) == RingOutcome::Delivered);
            assert!(line.pending());
            line.shut_down();
            assert!(!line.pending());
            assert_eq!(line.snapshot().deliveries, 2);
        })
    }
}
