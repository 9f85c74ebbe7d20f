// SPDX-License-Identifier: GPL-2.0

//! KUnit suite of the shared array: added and removed items, and when they are freed.

use kernel::macros::kunit_tests;

#[kunit_tests(doorbell_array)]
mod array {
    #[cfg(CONFIG_DEBUG_LOCK_ALLOC)]
    use crate::kernel_ext::read_domain::reads;
    use crate::kernel_ext::{
        read_domain::ReadDomain,
        shared_array::{
            Key,
            Retired,
            SharedArray, //
        }, //
    };
    use kernel::{
        prelude::*,
        sync::{
            atomic::{
                Atomic,
                Full,
                Relaxed, //
            },
            Arc, //
        }, //
    };

    /// A key. Even numbers are the low partition: they sort before all odd ones.
    #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
    struct Number {
        odd: bool,
        number: u32,
    }

    fn number(number: u32) -> Number {
        Number {
            odd: number % 2 != 0,
            number,
        }
    }

    impl Key for Number {
        fn in_low_partition(&self) -> bool {
            !self.odd
        }

        fn number(&self) -> u64 {
            self.number.into()
        }
    }

    /// An item with its key and a count of the items that exist.
    struct Item {
        key: u32,
        alive: Arc<Atomic<i32>>,
    }

    impl Drop for Item {
        fn drop(&mut self) {
            // ORDERING: Pairs with the load in `Test::alive`, in the same thread.
            self.alive.fetch_sub(1, Full);
        }
    }

    struct Test {
        array: SharedArray<Number, Item>,
        alive: Arc<Atomic<i32>>,
    }

    impl Test {
        fn new() -> Result<Self> {
            Ok(Self {
                array: SharedArray::new(ReadDomain::new(GFP_KERNEL)?),
                alive: Arc::new(Atomic::new(0), GFP_KERNEL)?,
            })
        }

        fn alive(&self) -> i32 {
            // ORDERING: None: a test has one thread.
            self.alive.load(Relaxed)
        }

        /// Removes the keys `old` and adds the keys `new`; both must be sorted.
        fn change(&self, old: &[u32], new: &[u32]) -> Result<Option<Retired<Number, Item>>> {
            let edit = self.array.edit();
            let mut removed = KVec::new();
            for &old in old {
                let at = edit.keys().binary_search(&number(old));
                removed.push(at.map_err(|_| ENOENT)?, GFP_KERNEL)?;
            }
            let mut items = KVVec::new();
            for &new in new {
                let key = number(new);
                let place = edit.keys().partition_point(|other| *other < key);
                let item = Item {
                    key: new,
                    alive: self.alive.clone(),
                };
                // ORDERING: Pairs with the load in `Test::alive`, in the same thread.
                self.alive.fetch_add(1, Full);
                items.push((place, key, KBox::pin(item, GFP_KERNEL)?), GFP_KERNEL)?;
            }
            let reservation = edit.reserve(new.len(), old.len(), GFP_KERNEL)?;
            let retired = edit.replace(reservation, &removed, items);
            if let Some(retired) = &retired {
                assert!(retired.items().all(|item| old.contains(&item.key)));
                assert_eq!(retired.items().count(), old.len());
            }
            Ok(retired)
        }

        /// Returns true if the array has exactly `keys`, sorted, each with its item.
        fn has(&self, keys: &[u32]) -> bool {
            let reader = self.array.read();
            let each = reader.keys().iter().zip(keys).enumerate();
            let alike = each.fold(true, |alike, (at, (key, &expected))| {
                let item = reader.item(at).map(|item| item.key);
                alike && key.number == expected && item == Some(expected)
            });
            alike && reader.keys().len() == keys.len() && reader.item(keys.len()).is_none()
        }
    }

    #[test]
    fn items_come_and_go_and_are_freed_once() -> Result {
        let test = Test::new()?;
        assert!(test.has(&[]));
        // There was no snapshot, so there is nothing to free.
        assert!(test.change(&[], &[2, 6, 1, 5])?.is_none());
        assert!(test.has(&[2, 6, 1, 5]));
        // Adds at the start, in between, at the end of a partition, and at the end of all.
        assert!(test.change(&[], &[0, 4, 8, 3, 7])?.is_some());
        assert!(test.has(&[0, 2, 4, 6, 8, 1, 3, 5, 7]));
        assert_eq!(test.alive(), 9);
        // Removes the first one, the last one, and neighbours.
        drop(test.change(&[0, 4, 6, 7], &[])?);
        assert!(test.has(&[2, 8, 1, 3, 5]));
        assert_eq!(test.alive(), 5);
        // Removes and adds in one change, also at the same index.
        drop(test.change(&[2, 8, 1], &[2, 10, 1, 9])?);
        assert!(test.has(&[2, 10, 1, 3, 5, 9]));
        assert_eq!(test.alive(), 6);
        drop(test.change(&[2, 10, 1, 3, 5, 9], &[])?);
        assert!(test.has(&[]));
        assert_eq!(test.alive(), 0);
        Ok(())
    }

    #[test]
    fn partitions_are_found() -> Result {
        let test = Test::new()?;
        for (keys, first, second) in [
            (&[][..], &[][..], &[][..]),
            (&[2, 4], &[2, 4], &[]),
            (&[1], &[], &[1]),
            (&[2, 1, 3], &[2], &[1, 3]),
        ] {
            drop(test.change(&[], keys)?);
            let reader = test.array.read();
            for (low, expected) in [(true, first), (false, second)] {
                let part = reader.partition(low);
                assert!(part
                    .keys()
                    .iter()
                    .map(|key| key.number)
                    .eq(expected.iter().copied()));
                assert!(part
                    .numbers()
                    .iter()
                    .copied()
                    .eq(expected.iter().map(|&n| u64::from(n))));
                for (at, key) in part.keys().iter().enumerate() {
                    assert_eq!(part.item(at).map(|item| item.key), Some(key.number));
                }
                assert!(part.item(expected.len()).is_none());
            }
            drop(reader);
            drop(test.change(keys, &[])?);
        }
        Ok(())
    }

    #[test]
    fn reader_keeps_what_it_sees() -> Result {
        let test = Test::new()?;
        drop(test.change(&[], &[2, 1])?);
        let reader = test.array.read();
        let first = test.change(&[2], &[4])?;
        let second = test.change(&[], &[6])?;
        assert_eq!(reader.keys().len(), 2);
        assert_eq!(reader.item(0).map(|item| item.key), Some(2));
        assert!(test.has(&[4, 6, 1]));
        assert_eq!(test.alive(), 4);
        drop(reader);
        drop(second);
        drop(first);
        assert_eq!(test.alive(), 3);
        let alive = test.alive.clone();
        drop(test);
        // ORDERING: None: a test has one thread.
        assert_eq!(alive.load(Relaxed), 0);
        Ok(())
    }

    /// Returns true if lockdep finds a reader in this task just as `is_reader` says, or if the kernel has no lockdep.
    fn lockdep_knows(is_reader: bool) -> bool {
        #[cfg(CONFIG_DEBUG_LOCK_ALLOC)]
        let found = reads();
        #[cfg(not(CONFIG_DEBUG_LOCK_ALLOC))]
        let found = is_reader;
        found == is_reader
    }

    // A test that a configuration leaves out counts as skipped.
    #[test]
    fn lockdep_knows_each_reader() -> Result {
        let test = Test::new()?;
        drop(test.change(&[], &[2])?);
        assert!(lockdep_knows(false));
        let outer = test.array.read();
        let inner = test.array.read();
        assert!(lockdep_knows(true));
        drop(inner);
        assert!(lockdep_knows(true));
        drop(outer);
        assert!(lockdep_knows(false));
        Ok(())
    }
}
