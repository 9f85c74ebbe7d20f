// SPDX-License-Identifier: GPL-2.0

//! KUnit suites: what can be tested where no eventfd is.
//!
//! They run when the module is loaded into a kernel with CONFIG_KUNIT=y. That debug assertions and
//! overflow checks are on in such a kernel is half of the point. What needs eventfds is tested from
//! userspace.

use kernel::macros::kunit_tests;

#[kunit_tests(doorbell_line)]
mod line {
    use crate::line::*;

    /// Every word of a level line that can be, but for hops.
    fn level_words() -> impl Iterator<Item = u32> {
        const BITS: [u32; 6] = [PENDING, MASKED, ASSERTED, RAISED, RESAMPLE, HELD];
        let words = (0..1u32 << BITS.len()).map(|n| {
            let bits = BITS.iter().enumerate();
            let chosen = bits.filter(|(at, _)| n & (1 << at) != 0);
            chosen.fold(LEVEL, |word, (_, bit)| word | bit)
        });
        words.filter(|word| {
            let is = |bit| word & bit != 0;
            // There is a reason for a message, and but for the time between an ack and its end, a
            // message for a reason.
            (!is(PENDING) || is(ASSERTED | RAISED))
                && (!is(RAISED) || is(PENDING | ASSERTED))
                && (!is(RESAMPLE) || is(MASKED))
        })
    }

    /// Every word of an edge line that can be: the bits that mean something, and every hop count.
    fn words() -> impl Iterator<Item = u32> {
        const BITS: [u32; 3] = [PENDING, MASKED, HELD];
        (0..8u32 * (MAX_HOPS + 1)).map(|n| {
            let bits = BITS.iter().enumerate();
            let chosen = bits.filter(|(at, _)| n & (1 << at) != 0);
            let hops = n / 8;
            // A message has hops, and nothing else does.
            let word = chosen.fold(0, |word, (_, bit)| word | bit);
            match word & PENDING {
                0 => word,
                _ => ring(word & !PENDING, wake(hops)).0,
            }
        })
    }

    fn message(hops: u32) -> Behind {
        Behind::new(hops, false)
    }

    fn wake(hops: u32) -> From {
        From::Wake(message(hops))
    }

    fn sources() -> impl Iterator<Item = From> {
        let wakes = (0..=MAX_HOPS).map(wake);
        core::iter::once(From::Caller).chain(wakes)
    }

    #[test]
    fn ring_of_an_idle_line_delivers_or_relays() {
        assert_eq!(
            ring(IDLE, From::Caller),
            (HELD, Action::Deliver(Behind::NOTHING))
        );
        for hops in 0..=MAX_HOPS {
            let (word, action) = ring(IDLE, wake(hops));
            let far = hops >= RELAY_LIMIT;
            let expected = if far { Action::Defer } else { Action::Relay };
            assert_eq!(action, expected);
            assert_eq!(take(word), (HELD, Action::Deliver(message(hops))));
        }
    }

    #[test]
    fn ring_loses_nothing_and_keeps_mask_and_hold() {
        for word in words() {
            for from in sources() {
                let (after, action) = ring(word, from);
                let kept = word & (MASKED | HELD);
                assert_eq!(after & MASKED, word & MASKED);
                match action {
                    Action::Deliver(_) => assert_eq!((word, after), (IDLE, HELD)),
                    _ => assert_eq!(after & (MASKED | HELD | PENDING), kept | PENDING),
                }
                let coalesced = action == Action::Coalesce;
                assert_eq!(coalesced, word & PENDING != 0);
                let masked = action == Action::Keep;
                assert_eq!(masked, word & (PENDING | MASKED) == MASKED);
            }
        }
    }

    #[test]
    fn longest_chain_of_relays_counts() {
        let (word, _) = ring(MASKED, wake(40));
        let (word, _) = ring(word, wake(7));
        let (word, _) = ring(word, From::Caller);
        let (message, resample) = (Some(message(40)), false);
        assert_eq!(unmask(word), (HELD, Taken::Done { message, resample }));
    }

    #[test]
    fn nothing_but_unmask_delivers_from_a_masked_line() {
        for word in words().filter(|word| word & MASKED != 0) {
            assert_eq!(take(word), (word, Action::Leave));
            for rounds in 0..=MAX_ROUNDS {
                assert_eq!(
                    leave(word | HELD, rounds, Place::Caller),
                    (word & !HELD, Action::Leave)
                );
            }
        }
    }

    #[test]
    fn mask_holds_and_keeps_what_is_pending() {
        for word in words() {
            let (after, newly) = mask(word);
            assert_eq!(newly, word & MASKED == 0);
            assert_eq!(after, word | MASKED | HELD);
        }
    }

    #[test]
    fn unmask_and_clear_take_the_message_of_a_free_line() {
        for word in words() {
            let message = |done: Taken| match done {
                Taken::Done { message, resample } => {
                    assert!(!resample);
                    Some(message.is_some())
                }
                _ => None,
            };
            let pending = word & PENDING != 0;
            let (free, masked) = (word & HELD == 0, word & MASKED != 0);

            let (after, taken) = unmask(word);
            assert_eq!(message(taken), (free && masked).then_some(pending));
            let expected = if free && masked { HELD } else { word };
            assert_eq!(after, expected);

            let (after, taken) = clear(word);
            assert_eq!(message(taken), (free && pending).then_some(true));
            let cleared = HELD | (word & MASKED);
            let expected = if free && pending { cleared } else { word };
            assert_eq!(after, expected);
        }
    }

    #[test]
    fn unmask_that_does_not_wait_leaves_the_message_to_the_holder() {
        for word in words().chain(level_words()) {
            let (after, done) = unmask_nowait(word);
            let Some(Unmasked { message, resample }) = done else {
                assert_eq!((after, word & MASKED), (word, 0));
                continue;
            };
            assert_eq!(message.is_some(), word & PENDING != 0);
            assert_eq!(resample, word & RESAMPLE != 0);
            if word & HELD != 0 {
                assert_eq!(after, word & !(MASKED | RESAMPLE));
            } else {
                assert_eq!((after, Taken::Done { message, resample }), unmask(word));
            }
        }
    }

    #[test]
    fn edge_lines_have_no_level_and_nothing_to_ack() {
        for word in words() {
            assert_eq!(ack(word), (word, None));
            assert_eq!(lower(word), (word, None));
            assert_eq!(raise(word, From::Caller), (word, None));
        }
    }

    #[test]
    fn level_line_sends_one_message_until_it_is_acked() {
        for word in level_words().filter(|word| word & ASSERTED != 0) {
            for from in [From::Caller, wake(3)] {
                let (after, action) = ring(word, from);
                for (after, action) in [(after, Some(action)), raise(word, from)] {
                    assert_eq!(action, Some(Action::Coalesce));
                    assert_eq!(after & (PENDING | ASSERTED), word & (PENDING | ASSERTED));
                }
            }
        }
        let (word, action) = ring(LEVEL, From::Caller);
        assert_eq!(action, Action::Deliver(Behind::NOTHING));
        assert_eq!(word, LEVEL | HELD | ASSERTED);
        let (word, _) = ring(LEVEL, wake(0));
        assert_eq!(word, LEVEL | PENDING | ASSERTED);
        assert_eq!(take(word).0, LEVEL | HELD | ASSERTED);
        let (word, _) = raise(LEVEL, wake(0));
        assert_eq!(word, LEVEL | PENDING | RAISED);
        assert_eq!(take(word).0, LEVEL | HELD | RAISED | ASSERTED);
    }

    #[test]
    fn ack_is_of_what_was_delivered() {
        for word in level_words() {
            let (after, acked) = ack(word);
            if word & (ASSERTED | PENDING) != ASSERTED {
                assert_eq!((after, acked), (word, Some(Acked::Nothing)));
                continue;
            }
            let (resample, again) = (word & MASKED == 0, word & RAISED != 0);
            assert_eq!(acked, Some(Acked::Done { resample, again }));
            assert_eq!(after & (ASSERTED | PENDING), 0);
            assert_eq!(!resample, after & RESAMPLE != 0);
            let others = !(ASSERTED | RESAMPLE);
            assert_eq!(after & others, word & others);

            let (next, action) = assert_again(after, From::Caller);
            assert_eq!(action.is_some(), again);
            let taken = matches!(action, Some(Action::Deliver(_)));
            assert_eq!((next & ASSERTED != 0), taken);
            assert_eq!((next & PENDING != 0), again && !taken);
            // It has been lowered and raised meanwhile, or rung: that was the message.
            assert_eq!(assert_again(next, From::Caller), (next, None));
            assert_eq!(assert_again(after & !RAISED, From::Caller).1, None);
        }
    }

    #[test]
    fn lowered_level_takes_back_what_nothing_else_asked_for() {
        for word in level_words() {
            let (after, withdrawn) = lower(word);
            let alone = word & (RAISED | PENDING | ASSERTED) == RAISED | PENDING;
            assert_eq!(withdrawn, Some(alone));
            assert_eq!(after & RAISED, 0);
            assert_eq!(
                is_rung(after),
                is_rung(word) && (!alone || word & HELD != 0)
            );
            if alone && word & HELD != 0 {
                // Its holder counts it, unless it is wanted again before.
                assert_eq!(
                    leave(after, 0, Place::Caller),
                    (word & !(RAISED | PENDING), Action::Drop)
                );
                assert_eq!(raise(after, From::Caller), (word, Some(Action::Coalesce)));
            } else if alone {
                assert_eq!(after, (word & !(RAISED | PENDING)) | HELD);
            }
        }
    }

    #[test]
    fn clear_of_a_level_line_is_its_ack() {
        for word in level_words() {
            let (after, taken) = clear(word);
            let Taken::Done { message, resample } = taken else {
                assert_eq!(after, word);
                continue;
            };
            assert!(message.is_some());
            assert_eq!(after & (PENDING | ASSERTED | RAISED), 0);
            assert_eq!(resample, word & MASKED == 0);
            assert_eq!(!resample, after & RESAMPLE != 0);
        }
    }

    #[test]
    fn only_what_was_sent_and_not_acked_is_sent_again() {
        for word in words().chain(level_words()) {
            let (after, ()) = renew(word);
            let asserted = word & (LEVEL | ASSERTED | PENDING) == LEVEL | ASSERTED;
            assert_eq!(after, if asserted { word | PENDING } else { word });
        }
    }

    #[test]
    fn type_changes_when_nothing_goes_on() {
        for word in words().chain(level_words()) {
            for level in [false, true] {
                let (after, done) = retype(word, level);
                let same = level == (word & LEVEL != 0);
                let quiet = word & (PENDING | ASSERTED | RAISED) == 0;
                assert_eq!(done, same || quiet);
                if !done || same {
                    assert_eq!(after, word);
                } else {
                    assert_eq!(after & (LEVEL | RESAMPLE), if level { LEVEL } else { 0 });
                    assert_eq!(after & (MASKED | HELD), word & (MASKED | HELD));
                }
            }
        }
    }

    #[test]
    fn holder_delivers_what_is_pending_until_it_has_done_enough() {
        let (pending, _) = ring(HELD, From::Caller);
        for rounds in 0..MAX_ROUNDS {
            assert_eq!(
                leave(pending, rounds, Place::Caller),
                (HELD, Action::Deliver(Behind::NOTHING))
            );
        }
        assert_eq!(
            leave(pending, MAX_ROUNDS, Place::Interrupt),
            (PENDING, Action::Relay)
        );
        let (far, _) = ring(HELD, wake(RELAY_LIMIT));
        assert_eq!(leave(far, 0, Place::Caller), (far & !HELD, Action::Defer));
        assert_eq!(leave(HELD, 1, Place::Worker), (IDLE, Action::Leave));
        // What the worker has begun does not go back to interrupts.
        assert_eq!(
            leave(pending, MAX_ROUNDS, Place::Worker),
            (PENDING, Action::Defer)
        );
        assert_eq!(
            leave(far, 0, Place::Worker),
            (HELD, Action::Deliver(message(RELAY_LIMIT)))
        );
    }

    #[test]
    fn what_an_io_uring_woke_wakes_as_such() {
        let uring = Behind::new(2, true);
        let (word, _) = ring(IDLE, From::Wake(uring));
        assert_eq!(take(word), (HELD, Action::Deliver(uring)));
        let (word, _) = ring(word, wake(5));
        let both = Behind::new(5, true);
        assert_eq!(take(word), (HELD, Action::Deliver(both)));
        let (word, _) = ring(take(word).0 & !HELD, wake(0));
        assert_eq!(take(word), (HELD, Action::Deliver(Behind::NOTHING)));
    }
}

#[kunit_tests(doorbell_gate)]
mod gate {
    use crate::kernel_ext::{
        gate::{
            Face,
            Gate,
            HELD, //
        },
        shared_pages::SharedPages, //
    };
    use kernel::prelude::*;

    fn with_gate(f: impl FnOnce(&Gate<u32, u64>)) -> Result {
        let (_pages, mut faces) = SharedPages::new(1, || Face::new(7), GFP_KERNEL)?;
        let face = faces.next().ok_or(EINVAL)?;
        // There is room for more in the page, but nobody asked for it.
        assert!(faces.next().is_none());
        let gate = KBox::pin_init(Gate::new(face, 42), GFP_KERNEL)?;
        f(&gate);
        Ok(())
    }

    #[test]
    fn word_changes_without_a_guard() -> Result {
        with_gate(|gate| {
            let (old, guard) = gate.update(0, |word| (word | 5, word));
            assert_eq!(old, 0);
            assert!(guard.is_none());
            // What was likely turns out wrong.
            let (old, _) = gate.update(0, |word| (word | 8, word));
            assert_eq!((old, gate.word()), (5, 13));
            assert_eq!(*gate.beside(), 7);
        })
    }

    #[test]
    fn guard_is_the_only_one() -> Result {
        with_gate(|gate| {
            let hold = |word| (word | HELD, ());
            let (_, guard) = gate.update(0, hold);
            assert!(guard.is_some());
            // Nobody can take it away, whatever is written.
            assert!(gate.update(HELD, hold).1.is_none());
            assert!(gate.update(HELD, |_| (3, ())).1.is_none());
            assert_eq!(gate.word(), HELD | 3);
            drop(guard);
            assert_eq!(gate.word(), 3);
            assert!(gate.update(3, hold).1.is_some());
        })
    }

    #[test]
    fn guard_gives_access_and_can_be_given_up_by_the_word() -> Result {
        with_gate(|gate| {
            let (_, guard) = gate.update(0, |word| (word | HELD, ()));
            let Some(mut guard) = guard else {
                return assert!(false);
            };
            *guard += 1;
            let (_, kept) = guard.update(|word| (word | 1, ()), |_| false, |_| {});
            let Some(guard) = kept else {
                return assert!(false);
            };
            assert_eq!(*guard, 43);
            let Err(guard) = guard.leave_idle() else {
                return assert!(false);
            };
            let mut last = false;
            let (_, kept) = guard.update(|word| (word & !HELD, ()), |_| true, |_| last = true);
            assert!(kept.is_none() && last);
            assert_eq!(gate.word(), 1);
            let (_, guard) = gate.update(1, |_| (HELD, ()));
            assert!(guard.is_some_and(|guard| guard.leave_idle().is_ok()));
            assert_eq!(gate.word(), 0);
        })
    }
}

#[kunit_tests(doorbell_context)]
mod context {
    use crate::{
        context::Core,
        delivery::{
            Line,
            Rung, //
        },
        line::{
            Acked,
            Behind,
            From,
            LEVEL,
            MASKED,
            MAX_HOPS,
            PENDING, //
        },
        uapi::DOORBELL_MAX_LINES, //
    };
    use kernel::{
        prelude::*,
        time::{
            delay::fsleep,
            Delta, //
        }, //
    };

    /// Where a wake-up's key has the hops.
    const HOP: u32 = 1 << 16;

    fn with_line(f: impl FnOnce(Pin<&Line>)) -> Result {
        let core = Core::new(3)?;
        f(core.line(2).ok_or(ENXIO)?);
        core.shut_down();
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
            let core = Core::new(nr_lines)?;
            assert_eq!(core.nr_lines(), nr_lines);
            assert!(core.line(nr_lines - 1).is_some());
            assert!(core.line(nr_lines).is_none());
            assert_eq!(core.fold(0, |sum, line| sum + line.rings), 0);
            core.shut_down();
        }
        Ok(())
    }

    #[test]
    fn masked_line_keeps_one_message() -> Result {
        with_line(|line| {
            assert!(line.mask());
            assert!(!line.mask());
            assert!(line.ring() == Rung::Masked);
            assert!(line.ring() == Rung::Coalesced);
            assert!(line.ring_from_wake(0) == Rung::Coalesced);
            assert!(line.pending());
            let seen = line.snapshot();
            assert_eq!(seen.state, MASKED | PENDING);
            assert_eq!((seen.rings, seen.deliveries), (3, 0));
            assert!(line.unmask());
            assert!(!line.unmask());
            let seen = line.snapshot();
            assert_eq!((seen.state, seen.rings, seen.deliveries), (0, 3, 1));
        })
    }

    #[test]
    fn cleared_message_is_gone_and_counted() -> Result {
        with_line(|line| {
            assert!(!line.clear());
            line.mask();
            line.ring();
            assert!(line.clear());
            assert!(!line.clear());
            assert!(!line.unmask());
            let seen = line.snapshot();
            assert_eq!((seen.rings, seen.deliveries, seen.dropped), (1, 0, 1));
        })
    }

    #[test]
    fn signal_is_delivered_by_a_callback() -> Result {
        with_line(|line| {
            assert!(line.ring_from_wake(0) == Rung::Delivered);
            assert!(wait_for(|| line.snapshot().deliveries == 1));
            assert_eq!(line.snapshot().deferred, 0);
            assert!(line.ring_from_wake(MAX_HOPS * HOP) == Rung::Delivered);
            assert!(wait_for(|| line.snapshot().deliveries == 2));
            assert_eq!(line.snapshot().deferred, 1);
        })
    }

    #[test]
    fn callback_finds_the_line_masked() -> Result {
        with_line(|line| {
            line.mask();
            assert!(line.ring_from_wake(MAX_HOPS * HOP) == Rung::Masked);
            fsleep(Delta::from_millis(10));
            assert_eq!(line.snapshot().deliveries, 0);
            assert!(line.unmask());
            assert_eq!(line.snapshot().deliveries, 1);
        })
    }

    #[test]
    fn level_line_is_rung_acked_and_lowered() -> Result {
        let core = Core::new(1)?;
        let line = core.line(0).ok_or(ENXIO)?;
        assert!(line.ack(From::Caller).err() == Some(EOPNOTSUPP));
        assert!(line.raise(From::Caller).err() == Some(EOPNOTSUPP));
        core.set_type(0, true)?;
        assert!(line.raise(From::Caller)? == Rung::Delivered);
        assert!(line.ring() == Rung::Coalesced);
        // Still raised: the next is on its way.
        assert!(line.ack(From::Caller)? != Acked::Nothing);
        assert_eq!(line.snapshot().deliveries, 2);
        assert!(core.set_type(0, false).err() == Some(EBUSY));
        assert!(!line.lower(From::Caller)?);
        line.mask();
        assert!(line.ack(From::Caller)? != Acked::Nothing);
        assert!(line.ack(From::Caller)? == Acked::Nothing);
        assert!(line.raise(From::Wake(Behind::NOTHING))? == Rung::Masked);
        assert!(line.lower(From::Wake(Behind::NOTHING))?);
        assert!(!line.unmask());
        let seen = line.snapshot();
        assert_eq!((seen.rings, seen.deliveries, seen.dropped), (4, 2, 1));
        assert_eq!((seen.state, seen.acks), (LEVEL, 2));
        core.set_type(0, false)?;
        core.shut_down();
        Ok(())
    }

    #[test]
    fn context_goes_while_messages_wait() -> Result {
        let core = Core::new(2)?;
        let line = |at| core.line(at).ok_or(ENXIO);
        line(0)?.mask();
        line(0)?.ring();
        line(1)?.ring_from_wake(MAX_HOPS * HOP);
        core.shut_down();
        Ok(())
    }
}
