// SPDX-License-Identifier: GPL-2.0

//! KUnit suite of the state machine of a line.

use kernel::macros::kunit_tests;

#[kunit_tests(doorbell_line)]
mod line {
    use crate::line::state::*;

    const VECTOR: Reasons = Reasons::VECTOR;

    /// All bits of a mask.
    const MASK: u32 = MASKED | REASONS;

    /// Returns the mask reason with that number.
    fn reason(n: u32) -> Reasons {
        Reasons::new(1 << n).unwrap_or(VECTOR)
    }

    /// Returns each valid word of a level line, without hops.
    fn level_words() -> impl Iterator<Item = u32> {
        const BITS: [u32; 6] = [
            PENDING,
            VECTOR.masked(),
            ASSERTED,
            RAISED,
            RESAMPLE,
            IN_PROGRESS,
        ];
        let words = (0..1u32 << BITS.len()).map(|n| {
            let bits = BITS.iter().enumerate();
            let chosen = bits.filter(|(at, _)| n & (1 << at) != 0);
            chosen.fold(LEVEL, |word, (_, bit)| word | bit)
        });
        words.filter(|word| {
            let is = |bit| word & bit != 0;
            // A pending message has a reason. A raised level has a message, but for the time
            // between an ack and its end. RESAMPLE is set only while the line is masked.
            (!is(PENDING) || is(ASSERTED | RAISED))
                && (!is(RAISED) || is(PENDING | ASSERTED))
                && (!is(RESAMPLE) || is(MASKED))
        })
    }

    /// Returns each valid word of an edge line: all combinations of its flags, with each hop count.
    fn words() -> impl Iterator<Item = u32> {
        const BITS: [u32; 3] = [PENDING, VECTOR.masked(), IN_PROGRESS];
        (0..8u32 * (MAX_HOPS + 1)).map(|n| {
            let bits = BITS.iter().enumerate();
            let chosen = bits.filter(|(at, _)| n & (1 << at) != 0);
            let hops = n / 8;
            // Only a pending message has hops.
            let word = chosen.fold(0, |word, (_, bit)| word | bit);
            match word & PENDING {
                0 => word,
                _ => ring(word & !PENDING, wake(hops)).0,
            }
        })
    }

    fn message(hops: u32) -> Provenance {
        Provenance::new(hops, false)
    }

    fn wake(hops: u32) -> Origin {
        Origin::Wake(message(hops))
    }

    fn sources() -> impl Iterator<Item = Origin> {
        let wakes = (0..=MAX_HOPS).map(wake);
        core::iter::once(Origin::Caller).chain(wakes)
    }

    #[test]
    fn ring_of_an_idle_line_delivers_or_relays() {
        assert_eq!(
            ring(IDLE, Origin::Caller),
            (IN_PROGRESS, Action::Deliver(Provenance::NOTHING))
        );
        for hops in 0..=MAX_HOPS {
            let (word, action) = ring(IDLE, wake(hops));
            let far = hops >= RELAY_LIMIT;
            let expected = if far { Action::Defer } else { Action::Relay };
            assert_eq!(action, expected);
            assert_eq!(take(word), (IN_PROGRESS, Action::Deliver(message(hops))));
        }
    }

    #[test]
    fn ring_loses_nothing_and_keeps_mask_and_owner() {
        for word in words() {
            for origin in sources() {
                let (after, action) = ring(word, origin);
                let kept = word & (MASKED | IN_PROGRESS);
                assert_eq!(after & MASKED, word & MASKED);
                match action {
                    Action::Deliver(_) => assert_eq!((word, after), (IDLE, IN_PROGRESS)),
                    _ => assert_eq!(after & (MASKED | IN_PROGRESS | PENDING), kept | PENDING),
                }
                let coalesced = action == Action::Coalesce;
                assert_eq!(coalesced, word & PENDING != 0);
                let masked = action == Action::Keep;
                assert_eq!(masked, word & (PENDING | MASKED) == MASKED);
            }
        }
    }

    #[test]
    fn line_with_waiters_delivers_wherever_it_is_rung() {
        for word in words().chain(level_words()) {
            assert_eq!(set_waiters(word, true), (word | WAITERS, ()));
            assert_eq!(set_waiters(word | WAITERS, false), (word, ()));
            for origin in sources() {
                let (plain, action) = ring(word, Origin::Caller);
                let (after, waited) = ring(word | WAITERS, origin);
                assert_eq!(after & WAITERS, WAITERS);
                match (action, waited) {
                    (Action::Deliver(_), Action::Deliver(provenance)) => {
                        let expected = match origin {
                            Origin::Caller => Provenance::NOTHING,
                            Origin::Wake(provenance) => provenance,
                        };
                        assert_eq!(provenance, expected);
                        assert_eq!(after, plain | WAITERS);
                    }
                    _ => assert_eq!(action, waited),
                }
            }
        }
    }

    #[test]
    fn longest_chain_of_relays_counts() {
        let (word, _) = ring(VECTOR.masked(), wake(40));
        let (word, _) = ring(word, wake(7));
        let (word, _) = ring(word, Origin::Caller);
        let (message, resample) = (Some(message(40)), false);
        assert_eq!(
            unmask(word, VECTOR),
            (IN_PROGRESS, Taken::Done { message, resample })
        );
    }

    #[test]
    fn nothing_but_unmask_delivers_from_a_masked_line() {
        for word in words().filter(|word| word & MASKED != 0) {
            assert_eq!(take(word), (word, Action::Leave));
            for rounds in 0..=MAX_ROUNDS {
                assert_eq!(
                    release(word | IN_PROGRESS, rounds, Place::Caller),
                    (word & !IN_PROGRESS, Action::Leave)
                );
            }
        }
    }

    #[test]
    fn mask_changes_nothing_but_its_bit() {
        for word in words() {
            let (after, masked) = mask(word, VECTOR);
            assert_eq!(masked.newly, word & MASKED == 0);
            assert_eq!(masked.busy, word & IN_PROGRESS != 0);
            assert_eq!(after, word | VECTOR.masked());
        }
    }

    #[test]
    fn unmask_and_clear_consume_the_message_of_a_free_line() {
        for word in words() {
            let message = |done: Taken| match done {
                Taken::Done { message, resample } => {
                    assert!(!resample);
                    Some(message.is_some())
                }
                _ => None,
            };
            let pending = word & PENDING != 0;
            let (free, masked) = (word & IN_PROGRESS == 0, word & MASKED != 0);

            let (after, taken) = unmask(word, VECTOR);
            assert_eq!(message(taken), (free && masked).then_some(pending));
            let expected = match (free && masked, pending) {
                (true, true) => IN_PROGRESS,
                (true, false) => 0,
                (false, _) => word,
            };
            assert_eq!(after, expected);

            let (after, taken) = clear(word);
            assert_eq!(message(taken), (free && pending).then_some(true));
            let cleared = IN_PROGRESS | (word & MASK);
            let expected = if free && pending { cleared } else { word };
            assert_eq!(after, expected);
        }
    }

    #[test]
    fn nowait_unmask_leaves_the_message_to_the_owner() {
        for word in words().chain(level_words()) {
            let (after, done) = unmask_nowait(word, VECTOR);
            let Some(Unmasked { message, resample }) = done else {
                assert_eq!((after, word & MASKED), (word, 0));
                continue;
            };
            assert_eq!(message.is_some(), word & PENDING != 0);
            assert_eq!(resample, word & RESAMPLE != 0);
            if word & IN_PROGRESS != 0 {
                assert_eq!(after, word & !(MASK | RESAMPLE));
            } else {
                let taken = Taken::Done { message, resample };
                assert_eq!((after, taken), unmask(word, VECTOR));
            }
        }
    }

    #[test]
    fn relayed_unmask_leaves_the_message() {
        for word in words().chain(level_words()) {
            let (after, done) = unmask_relayed(word, VECTOR, Provenance::new(3, false));
            let Some((unmasked, action)) = done else {
                assert_eq!((after, word & MASKED), (word, 0));
                continue;
            };
            assert_eq!(Some(unmasked), unmask_nowait(word, VECTOR).1);
            let open = word & !(MASK | RESAMPLE);
            if word & PENDING == 0 {
                assert_eq!((after, action), (open, None));
                continue;
            }
            // The word is that of one more ring, which is no ring of a level line.
            assert_eq!(after, ring(open & !LEVEL, wake(3)).0 | word & LEVEL);
            let expected = match word & IN_PROGRESS {
                0 => release(after | IN_PROGRESS, MAX_ROUNDS, Place::Caller),
                _ => (after, Action::Leave),
            };
            assert_eq!((after, action), (expected.0, Some(expected.1)));
        }
    }

    #[test]
    fn last_reason_unmasks() {
        for word in words().chain(level_words()) {
            for (first, last) in [(0, 1), (1, 0), (2, 3), (3, 2)] {
                let (first, last) = (reason(first), reason(last));
                let none = word & !(MASK | RESAMPLE);
                let (one, _) = mask(none, first);
                let (both, masked) = mask(one, last);
                assert!(!masked.newly);
                assert_eq!(both, none | first.masked() | last.masked());
                assert_eq!(mask(both, first).0, both);

                // Also if the line has an owner: there is nothing to deliver.
                assert_eq!(unmask(both, first), (none | last.masked(), Taken::Nothing));
                assert_eq!(unmask_nowait(both, first), (none | last.masked(), None));
                assert_eq!(unmask(one, last), (one, Taken::Nothing));
                assert_eq!(unmask_nowait(one, last), (one, None));

                let (left, _) = unmask(both, first);
                let (open, taken) = unmask(left, last);
                if word & IN_PROGRESS != 0 {
                    assert_eq!((open, taken), (left, Taken::Busy));
                } else {
                    assert_eq!(open & MASK, 0);
                    assert_eq!((open & IN_PROGRESS != 0), word & PENDING != 0);
                }
            }
        }
        assert_eq!(Reasons::new(0), None);
        assert_eq!(Reasons::new(1 << 4), None);
        assert_eq!(Reasons::new(1), Some(VECTOR));
    }

    #[test]
    fn delivery_masks_a_line_that_masks_itself() {
        const DELIVERS: u32 = AUTOMASK | Reasons::AUTO.masked() | IN_PROGRESS;
        let deliver = Action::Deliver(Provenance::NOTHING);
        assert_eq!(ring(AUTOMASK, Origin::Caller), (DELIVERS, deliver));
        let (pending, _) = ring(AUTOMASK, wake(0));
        assert_eq!(take(pending), (DELIVERS, deliver));
        // The owner leaves a message that came meanwhile to the unmask.
        let (again, action) = ring(DELIVERS, Origin::Caller);
        assert_eq!((again, action), (DELIVERS | PENDING, Action::Keep));
        let (held, action) = release(again, 1, Place::Caller);
        assert_eq!((held, action), (again & !IN_PROGRESS, Action::Leave));
        // The message of the unmask masks the line again.
        let (message, resample) = (Some(Provenance::NOTHING), false);
        let taken = Taken::Done { message, resample };
        assert_eq!(unmask(held, Reasons::AUTO), (DELIVERS, taken));
        assert_eq!(unmask(held, VECTOR), (held, Taken::Nothing));

        let (level, _) = retype(IDLE, true, true);
        assert_eq!(level, LEVEL | AUTOMASK);
        let (sent, _) = ring(level, Origin::Caller);
        assert_eq!(sent, LEVEL | ASSERTED | DELIVERS);
        // A mask that the line has set outlives the mode.
        let (kept, done) = retype(sent, true, false);
        assert_eq!((kept, done), (sent & !AUTOMASK, true));
    }

    #[test]
    fn each_ring_of_a_line_that_counts_is_a_unit() {
        for word in words() {
            for origin in sources() {
                let (plain, action) = ring(word, origin);
                assert_eq!(ring_counted(word, 7, origin), (plain, 7, action));
                let counts = ring_counted(word | COUNTS, 7, origin);
                assert_eq!(counts, (plain | COUNTS, 8, action));
            }
        }
        // The number stops at its maximum.
        let (_, units, _) = ring_counted(COUNTS | PENDING | MASK, u32::MAX, Origin::Caller);
        assert_eq!(units, u32::MAX);
    }

    #[test]
    fn clear_takes_the_units_of_its_message() {
        for word in words().map(|word| word | COUNTS) {
            let (plain, taken) = clear(word);
            let (after, left, (counted, dropped)) = clear_counted(word, 7);
            assert!(after == plain && counted == taken);
            let took = matches!(taken, Taken::Done { .. });
            assert_eq!((left, dropped), if took { (0, 7) } else { (7, 0) });
        }
    }

    #[test]
    fn count_begins_with_the_pending_message() {
        for word in words() {
            let message = u32::from(word & PENDING != 0);
            assert_eq!(count(word, 0), (word | COUNTS, message, true));
            assert_eq!(count(word | COUNTS, 7), (word | COUNTS, 7, true));
            assert_eq!(uncount(word | COUNTS, 7), (word, 0, ()));
            // A line that counts stays an edge line.
            assert_eq!(retype(word | COUNTS, true, false), (word | COUNTS, false));
            assert_eq!(retype(word | COUNTS, false, false), (word | COUNTS, true));
        }
        for word in level_words() {
            assert_eq!(count(word, 0), (word, 0, false));
        }
    }

    #[test]
    fn edge_lines_have_no_level_and_nothing_to_ack() {
        for word in words() {
            assert_eq!(ack(word), (word, None));
            assert_eq!(lower(word), (word, None));
            assert_eq!(raise(word, Origin::Caller), (word, None));
        }
    }

    #[test]
    fn level_line_sends_one_message_until_it_is_acked() {
        for word in level_words().filter(|word| word & ASSERTED != 0) {
            for origin in [Origin::Caller, wake(3)] {
                let (after, action) = ring(word, origin);
                for (after, action) in [(after, Some(action)), raise(word, origin)] {
                    assert_eq!(action, Some(Action::Coalesce));
                    assert_eq!(after & (PENDING | ASSERTED), word & (PENDING | ASSERTED));
                }
            }
        }
        let (word, action) = ring(LEVEL, Origin::Caller);
        assert_eq!(action, Action::Deliver(Provenance::NOTHING));
        assert_eq!(word, LEVEL | IN_PROGRESS | ASSERTED);
        let (word, _) = ring(LEVEL, wake(0));
        assert_eq!(word, LEVEL | PENDING | ASSERTED);
        assert_eq!(take(word).0, LEVEL | IN_PROGRESS | ASSERTED);
        let (word, _) = raise(LEVEL, wake(0));
        assert_eq!(word, LEVEL | PENDING | RAISED);
        assert_eq!(take(word).0, LEVEL | IN_PROGRESS | RAISED | ASSERTED);
    }

    #[test]
    fn ack_needs_a_delivered_message() {
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

            let (next, action) = assert_again(after, Origin::Caller);
            assert_eq!(action.is_some(), again);
            let taken = matches!(action, Some(Action::Deliver(_)));
            assert_eq!((next & ASSERTED != 0), taken);
            assert_eq!((next & PENDING != 0), again && !taken);
            // The line was lowered and raised meanwhile, or rung: that was the message.
            assert_eq!(assert_again(next, Origin::Caller), (next, None));
            assert_eq!(assert_again(after & !RAISED, Origin::Caller).1, None);
        }
    }

    #[test]
    fn lowered_level_withdraws_its_own_message() {
        for word in level_words() {
            let (after, withdrawn) = lower(word);
            let alone = word & (RAISED | PENDING | ASSERTED) == RAISED | PENDING;
            assert_eq!(withdrawn, Some(alone));
            assert_eq!(after & RAISED, 0);
            assert_eq!(
                is_rung(after),
                is_rung(word) && (!alone || word & IN_PROGRESS != 0)
            );
            if alone && word & IN_PROGRESS != 0 {
                // The owner counts it as dropped, unless the level is raised again before.
                assert_eq!(
                    release(after, 0, Place::Caller),
                    (word & !(RAISED | PENDING), Action::Drop)
                );
                assert_eq!(raise(after, Origin::Caller), (word, Some(Action::Coalesce)));
            } else if alone {
                assert_eq!(after, (word & !(RAISED | PENDING)) | IN_PROGRESS);
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
    fn only_unacked_messages_are_sent_again() {
        for word in words().chain(level_words()) {
            let (after, ()) = renew(word);
            let asserted = word & (LEVEL | ASSERTED | PENDING) == LEVEL | ASSERTED;
            assert_eq!(after, if asserted { word | PENDING } else { word });
        }
    }

    #[test]
    fn type_changes_only_on_an_idle_line() {
        for word in words().chain(level_words()) {
            for level in [false, true] {
                let (after, done) = retype(word, level, false);
                let same = level == (word & LEVEL != 0);
                let quiet = word & (PENDING | ASSERTED | RAISED) == 0;
                assert_eq!(done, same || quiet);
                if !done || same {
                    assert_eq!(after, word);
                } else {
                    assert_eq!(after & (LEVEL | RESAMPLE), if level { LEVEL } else { 0 });
                    assert_eq!(after & (MASK | IN_PROGRESS), word & (MASK | IN_PROGRESS));
                }
            }
        }
    }

    const UNMASKFD: Reply = Reply {
        ack: false,
        unmask: true,
    };
    const ACKFD: Reply = Reply {
        ack: true,
        unmask: false,
    };
    const BOTH: Reply = Reply {
        ack: true,
        unmask: true,
    };

    /// Returns `word` with its mask, if it has one, for the reason AUTO instead.
    fn automasked(word: u32) -> u32 {
        if word & MASKED == 0 {
            word
        } else {
            word & !MASK | Reasons::AUTO.masked()
        }
    }

    #[test]
    fn unmaskfd_ends_the_mask_of_the_line_itself_only() {
        for word in words().chain(level_words()) {
            for listened in [false, true] {
                // Masked for another reason, or not masked.
                let (after, replied) = reply(word, UNMASKFD, listened, message(0));
                assert_eq!((after & MASK, replied.unmasked), (word & MASK, None));
                assert_eq!(replied.action, None);
                let auto = automasked(word);
                let (after, replied) = reply(auto, UNMASKFD, listened, message(0));
                assert_eq!(after & (MASKED | REASONS), 0);
                assert_eq!(replied.unmasked.is_some(), word & MASKED != 0);
                assert_eq!(
                    after & (PENDING | IN_PROGRESS),
                    word & (PENDING | IN_PROGRESS)
                );
                // With both reasons the line stays masked.
                let (after, replied) = reply(auto | word, UNMASKFD, listened, message(0));
                assert_eq!((after & MASK, replied.unmasked), (word & MASK, None));
            }
        }
    }

    #[test]
    fn ackfd_needs_a_delivered_message_of_a_level_line() {
        for word in words() {
            let (after, replied) = reply(word, ACKFD, true, message(0));
            assert_eq!((after, replied.acked, replied.action), (word, None, None));
        }
        for word in level_words() {
            let (after, replied) = reply(word, ACKFD, true, message(0));
            if word & (ASSERTED | PENDING) != ASSERTED {
                assert_eq!((after, replied.acked), (word, Some(Acked::Nothing)));
                continue;
            }
            assert_eq!(after & ASSERTED, 0);
            // Masked or not, the resamplefds are owed.
            assert_eq!(after & RESAMPLE, RESAMPLE);
            assert_eq!(replied.action, Some(Action::Relay));
            let (settled, (action, owed)) = take_all(after);
            let Some(owed) = owed else {
                assert!(owed.is_some());
                continue;
            };
            assert!(owed.ack && !owed.unmask);
            assert_eq!(owed.resample, word & MASKED == 0);
            assert_eq!((settled & RESAMPLE != 0), word & MASKED != 0);
            assert_eq!((action, settled & OWED), (Action::Leave, 0));
        }
    }

    #[test]
    fn ack_and_unmask_is_that_of_an_unmasked_line() {
        let sent = LEVEL | ASSERTED | Reasons::AUTO.masked();
        let (after, replied) = reply(sent, BOTH, true, message(3));
        let done = Acked::Done {
            resample: true,
            again: false,
        };
        assert_eq!(replied.acked, Some(done));
        assert!(replied.unmasked.is_some());
        let (settled, (action, owed)) = take_all(after);
        let owed = owed.map(|owed| (owed.ack, owed.unmask, owed.resample, owed.provenance));
        assert_eq!(owed, Some((true, true, true, message(3))));
        assert_eq!((settled, action), (LEVEL, Action::Leave));

        // A message that was not sent yet is unmasked, but not acked.
        let (after, replied) = reply(sent | PENDING, BOTH, true, message(0));
        assert_eq!(replied.acked, Some(Acked::Nothing));
        let (settled, (action, owed)) = take_all(after);
        assert_eq!(action, Action::Deliver(Provenance::NOTHING));
        assert_eq!(
            owed.map(|owed| (owed.ack, owed.unmask)),
            Some((false, true))
        );
        assert_eq!(settled, LEVEL | ASSERTED | IN_PROGRESS);
    }

    #[test]
    fn reply_queues_a_callback_once() {
        let sent = LEVEL | ASSERTED | Reasons::AUTO.masked();
        let (acked, first) = reply(sent, ACKFD, true, message(0));
        assert_eq!(first.action, Some(Action::Relay));
        let (both, second) = reply(acked, UNMASKFD, true, message(0));
        assert_eq!(second.action, None);
        assert_eq!(take_all(both).0, LEVEL);
        // Without notifiers there is nothing to signal, and without a message no callback to queue.
        let (open, replied) = reply(sent, BOTH, false, message(0));
        assert_eq!((open, replied.action), (LEVEL, None));
        // The owner delivers.
        let owned = IN_PROGRESS | PENDING | Reasons::AUTO.masked();
        let (open, replied) = reply(owned, UNMASKFD, false, message(0));
        assert_eq!(
            (open, replied.action),
            (IN_PROGRESS | PENDING, Some(Action::Leave))
        );
    }

    #[test]
    fn owed_signals_are_taken_without_the_message() {
        // The level line has acked, and has a message again.
        let acked = reply(LEVEL | ASSERTED, ACKFD, true, message(3)).0;
        let rung = ring(acked, wake(0)).0;
        let (word, owed) = take_owed(rung);
        assert_eq!(
            owed.map(|owed| (owed.ack, owed.resample)),
            Some((true, true))
        );
        // The callback finds the message, and no signals any more.
        let sent = LEVEL | ASSERTED | IN_PROGRESS;
        assert_eq!(take_all(word), (sent, (Action::Deliver(message(3)), None)));
        assert_eq!(take_owed(word), (word, None));
    }

    #[test]
    fn restored_line_has_the_saved_message_and_its_own() {
        let masked = reason(2).masked();
        let saved = LEVEL | ASSERTED | PENDING | masked;
        assert_eq!(restore(IN_PROGRESS, saved), (IN_PROGRESS | saved, false));
        assert_eq!(
            restore(IN_PROGRESS | PENDING, saved),
            (IN_PROGRESS | saved, true)
        );
        // An asserted line has sent its message, and a raised one that was acked has the next one.
        let sent = LEVEL | ASSERTED | masked;
        assert_eq!(
            restore(IN_PROGRESS | PENDING, sent),
            (IN_PROGRESS | sent, true)
        );
        let raised = LEVEL | RAISED | masked;
        assert_eq!(
            restore(IN_PROGRESS, raised),
            (IN_PROGRESS | raised | PENDING, false)
        );
        // No line has such a state.
        assert!(!is_restorable(PENDING | MASKED));
        assert!(!is_restorable(ASSERTED));
        assert!(!is_restorable(LEVEL | RESAMPLE));
        assert!(is_restorable(LEVEL | RESAMPLE | masked));
    }

    #[test]
    fn replies_count_relays() {
        let sent = LEVEL | ASSERTED | RAISED | Reasons::AUTO.masked();
        for hops in 0..=MAX_HOPS {
            let far = hops >= RELAY_LIMIT;
            let expected = if far { Action::Defer } else { Action::Relay };
            let (word, replied) = reply(sent, BOTH, true, message(hops));
            assert_eq!(replied.action, Some(expected));
            // A ring in between joins them, and its delivery does not forget them.
            let (rung, _) = ring(word, wake(1));
            let (_, (action, owed)) = take_all(rung);
            assert_eq!(action, Action::Deliver(message(hops.max(1))));
            assert_eq!(owed.map(|owed| owed.provenance), Some(message(hops.max(1))));
            let (owned, ()) = claim(rung);
            let (released, action) = release(owned, 0, Place::Worker);
            assert_eq!(action, Action::Deliver(message(hops.max(1))));
            let (_, (_, owed)) = take_all(released);
            assert_eq!(owed.map(|owed| owed.provenance), Some(message(hops.max(1))));
        }
    }

    #[test]
    fn owner_delivers_pending_messages_up_to_the_maximum() {
        let (pending, _) = ring(IN_PROGRESS, Origin::Caller);
        for rounds in 0..MAX_ROUNDS {
            assert_eq!(
                release(pending, rounds, Place::Caller),
                (IN_PROGRESS, Action::Deliver(Provenance::NOTHING))
            );
        }
        assert_eq!(
            release(pending, MAX_ROUNDS, Place::Interrupt),
            (PENDING, Action::Relay)
        );
        let (far, _) = ring(IN_PROGRESS, wake(RELAY_LIMIT));
        assert_eq!(
            release(far, 0, Place::Caller),
            (far & !IN_PROGRESS, Action::Defer)
        );
        assert_eq!(
            release(IN_PROGRESS, 1, Place::Worker),
            (IDLE, Action::Leave)
        );
        // A message that the worker has begun to deliver does not return to interrupts.
        assert_eq!(
            release(pending, MAX_ROUNDS, Place::Worker),
            (PENDING, Action::Defer)
        );
        assert_eq!(
            release(far, 0, Place::Worker),
            (IN_PROGRESS, Action::Deliver(message(RELAY_LIMIT)))
        );
    }

    #[test]
    fn uring_flag_is_passed_on() {
        let uring = Provenance::new(2, true);
        let (word, _) = ring(IDLE, Origin::Wake(uring));
        assert_eq!(take(word), (IN_PROGRESS, Action::Deliver(uring)));
        let (word, _) = ring(word, wake(5));
        let both = Provenance::new(5, true);
        assert_eq!(take(word), (IN_PROGRESS, Action::Deliver(both)));
        let (word, _) = ring(take(word).0 & !IN_PROGRESS, wake(0));
        assert_eq!(
            take(word),
            (IN_PROGRESS, Action::Deliver(Provenance::NOTHING))
        );
    }
}
