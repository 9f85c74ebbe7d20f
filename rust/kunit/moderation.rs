// SPDX-License-Identifier: GPL-2.0

//! KUnit suite of the transitions of a moderated line.

use kernel::macros::kunit_tests;

#[kunit_tests(doorbell_moderation)]
mod moderation {
    use crate::line::state::*;

    const VECTOR: Reasons = Reasons::VECTOR;
    const NEAR: Provenance = Provenance::NOTHING;

    /// A relayed ring.
    const WAKE: Origin = Origin::Wake(NEAR);

    /// Delivers a ring of an idle moderated line. Returns the word of the owner that has to start the
    /// timer.
    fn delivered() -> u32 {
        let (word, action) = ring(MODERATED, Origin::Caller);
        assert_eq!(action, Action::Deliver(NEAR));
        let (word, action) = release(word, 1, Place::Caller);
        assert_eq!(action, Action::StartTimer);
        assert_eq!(word, MODERATED | HELD | IN_PROGRESS);
        word
    }

    /// Returns the word during an interval.
    fn held() -> u32 {
        let (word, action) = release(delivered(), 1, Place::Caller);
        assert_eq!((word, action), (MODERATED | HELD, Action::Leave));
        word
    }

    #[test]
    fn each_way_to_deliver_starts_the_timer_once() {
        let (relayed, _) = ring(MODERATED, WAKE);
        let (masked, _) = ring(MODERATED | VECTOR.masked(), Origin::Caller);
        let (owned, _) = ring(MODERATED | IN_PROGRESS, Origin::Caller);
        for word in [
            ring(MODERATED, Origin::Caller).0,
            take(relayed).0,
            unmask(masked, VECTOR).0,
            unmask_nowait(masked, VECTOR).0,
            release(owned, 0, Place::Caller).0,
        ] {
            let (word, action) = release(word, 1, Place::Caller);
            assert_eq!(action, Action::StartTimer);
            assert_eq!(
                release(word, 1, Place::Caller),
                (MODERATED | HELD, Action::Leave)
            );
        }
    }

    #[test]
    fn rings_are_held_until_the_timer_expires() {
        for origin in [Origin::Caller, WAKE] {
            let (word, action) = ring(held(), origin);
            assert_eq!(action, Action::Hold { coalesced: false });
            assert_eq!(word, held() | PENDING);
            assert_eq!(ring(word, origin), (word, Action::Hold { coalesced: true }));
            assert_eq!(take(word), (word, Action::Leave));
            assert_eq!(expire(word), (MODERATED | PENDING, Some(Action::Relay)));
            assert_eq!(take(expire(word).0).1, Action::Deliver(NEAR));
        }
        assert_eq!(expire(held()), (MODERATED, None));
    }

    #[test]
    fn owner_keeps_what_arrives_during_the_delivery() {
        let (word, _) = ring(MODERATED, Origin::Caller);
        let (word, action) = ring(word, Origin::Caller);
        assert_eq!(action, Action::Leave);
        let (word, _) = release(word, 1, Place::Caller);
        let (word, action) = release(word, 1, Place::Caller);
        assert_eq!((word, action), (held() | PENDING, Action::Leave));
    }

    #[test]
    fn owner_delivers_what_the_timer_finds() {
        let (word, _) = ring(held() | IN_PROGRESS, Origin::Caller);
        let (word, action) = expire(word);
        assert_eq!(action, Some(Action::Leave));
        assert_eq!(release(word, 0, Place::Caller).1, Action::Deliver(NEAR));
    }

    #[test]
    fn mask_and_interval_are_independent() {
        let (word, _) = ring(held(), Origin::Caller);
        let (masked, _) = mask(word, VECTOR);
        assert_eq!(
            ring(held() | VECTOR.masked(), Origin::Caller).1,
            Action::Keep
        );
        assert_eq!(ring(masked, Origin::Caller).1, Action::Coalesce);
        let nothing = Taken::Done {
            message: None,
            resample: false,
        };
        assert_eq!(unmask(masked, VECTOR), (word, nothing));
        let (expired, action) = expire(masked);
        assert_eq!(action, None);
        let message = Some(NEAR);
        let resample = false;
        assert_eq!(unmask(expired, VECTOR).1, Taken::Done { message, resample });
    }

    #[test]
    fn clear_takes_a_held_message_and_leaves_the_interval() {
        let (word, _) = ring(held(), Origin::Caller);
        let (cleared, taken) = clear(word);
        assert!(matches!(taken, Taken::Done { .. }));
        assert_eq!(release(cleared, 0, Place::Caller), (held(), Action::Leave));
    }

    #[test]
    fn moderation_changes_only_with_the_timer() {
        let word = held() | PENDING | IN_PROGRESS;
        assert_eq!(moderate(word, false, false), (word, false));
        assert_eq!(moderate(word, false, true), (PENDING | IN_PROGRESS, true));
        assert_eq!(
            moderate(word, true, true),
            (MODERATED | PENDING | IN_PROGRESS, true)
        );
        assert_eq!(
            moderate(IN_PROGRESS, true, false),
            (MODERATED | IN_PROGRESS, true)
        );
    }

    #[test]
    fn far_message_is_left_to_the_worker() {
        let far = Origin::Wake(Provenance::new(RELAY_LIMIT, false));
        let (word, _) = ring(held(), far);
        assert_eq!(expire(word).1, Some(Action::Defer));
    }
}
