// SPDX-License-Identifier: GPL-2.0

//! KUnit suite of the handoff lock.

use kernel::macros::kunit_tests;

#[kunit_tests(doorbell_handoff_lock)]
mod handoff_lock {
    use crate::kernel_ext::{
        handoff_lock::{
            HandoffLock,
            StatusWord,
            IN_PROGRESS, //
        },
        mmap_pages::MmapPages, //
    };
    use kernel::prelude::*;

    fn with_lock(f: impl FnOnce(&HandoffLock<u32, u64>)) -> Result {
        let (_pages, mut objects) = MmapPages::new(1, || StatusWord::new(7), GFP_KERNEL)?;
        let status = objects.next().ok_or(EINVAL)?;
        // The page has more objects, but only one was requested.
        assert!(objects.next().is_none());
        let lock = KBox::pin_init(HandoffLock::new(status, 42), GFP_KERNEL)?;
        f(&lock);
        Ok(())
    }

    #[test]
    fn word_changes_without_a_guard() -> Result {
        with_lock(|lock| {
            let (old, guard) = lock.update(0, |word| (word | 5, word));
            assert_eq!(old, 0);
            assert!(guard.is_none());
            // The likely word is wrong here.
            let (old, _) = lock.update(0, |word| (word | 8, word));
            assert_eq!((old, lock.word()), (5, 13));
            assert_eq!(*lock.stats(), 7);
        })
    }

    #[test]
    fn guard_is_the_only_one() -> Result {
        with_lock(|lock| {
            let claim = |word| (word | IN_PROGRESS, ());
            let ((), guard) = lock.update(0, claim);
            assert!(guard.is_some());
            // No update can release another owner's lock, whatever word it writes.
            assert!(lock.update(IN_PROGRESS, claim).1.is_none());
            assert!(lock.update(IN_PROGRESS, |_| (3, ())).1.is_none());
            assert_eq!(lock.word(), IN_PROGRESS | 3);
            drop(guard);
            assert_eq!(lock.word(), 3);
            assert!(lock.update(3, claim).1.is_some());
        })
    }

    #[test]
    fn word_and_units_change_in_one_step() -> Result {
        with_lock(|lock| {
            let add = |word, units| (word | 5, units + 3, units);
            // The word that is expected is wrong at first.
            let (old, guard) = lock.update_units(8, add);
            assert_eq!((old, lock.word()), (0, 5));
            assert!(guard.is_none());
            assert_eq!(lock.update_units(5, add).0, 3);
            // All other changes leave the units.
            lock.update(5, |word| (word & !1, ()));
            let ((), guard) = lock.update_units(4, |_, units| (IN_PROGRESS, units, ()));
            let Some(guard) = guard else {
                return assert!(false);
            };
            // It does not release another owner's lock.
            let ((), other) = lock.update_units(IN_PROGRESS, |_, units| (2, units, ()));
            assert!(other.is_none());
            assert_eq!(lock.word(), IN_PROGRESS | 2);
            assert_eq!(guard.take_units(), 6);
            assert_eq!(guard.take_units(), 0);
            assert_eq!(lock.word(), IN_PROGRESS | 2);
        })
    }

    #[test]
    fn guard_gives_access_and_is_released_by_an_update() -> Result {
        with_lock(|lock| {
            let ((), guard) = lock.update(0, |word| (word | IN_PROGRESS, ()));
            let Some(mut guard) = guard else {
                return assert!(false);
            };
            *guard += 1;
            let ((), kept) = guard.update(|word| (word | 1, ()), |()| false, |()| {});
            let Some(guard) = kept else {
                return assert!(false);
            };
            assert_eq!(*guard, 43);
            let Err(guard) = guard.release_idle() else {
                return assert!(false);
            };
            let mut last = false;
            let ((), kept) = guard.update(
                |word| (word & !IN_PROGRESS, ()),
                |()| true,
                |()| last = true,
            );
            assert!(kept.is_none() && last);
            assert_eq!(lock.word(), 1);
            let ((), guard) = lock.update(1, |_| (IN_PROGRESS, ()));
            assert!(guard.is_some_and(|guard| guard.release_idle().is_ok()));
            assert_eq!(lock.word(), 0);
        })
    }
}
