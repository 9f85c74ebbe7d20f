// SPDX-License-Identifier: GPL-2.0

//! Sorted arrays that are searched without a lock and replaced as a whole.
//!
//! A writer makes a new snapshot of the array. The snapshot has pointers to the same items; no item
//! is copied. The old snapshot and the removed items are freed after a grace period ([`Retired`]).
//!
//! # Examples
//!
//! ```
//! use crate::kernel_ext::{read_domain::ReadDomain, shared_array::{Key, SharedArray}};
//!
//! #[derive(Clone, Copy)]
//! struct Address(u64);
//!
//! impl Key for Address {
//!     fn in_low_partition(&self) -> bool {
//!         true
//!     }
//!
//!     fn number(&self) -> u64 {
//!         self.0
//!     }
//! }
//!
//! let array = SharedArray::new(ReadDomain::new(GFP_KERNEL)?);
//!
//! // Replaces the array by one with another item, at the index 0.
//! let edit = array.edit();
//! let room = edit.reserve(1, 0, GFP_KERNEL)?;
//! let mut added = KVVec::new();
//! added.push((0, Address(0x1000), KBox::pin(7, GFP_KERNEL)?), GFP_KERNEL)?;
//! let retired = edit.replace(room, &[], added);
//! drop(retired);
//!
//! // Readers search the numbers, which are sorted.
//! let reader = array.read();
//! let low = reader.partition(true);
//! let found = low.numbers().binary_search(&0x1000).ok().and_then(|at| low.item(at));
//! ```

use super::{
    read_domain::{
        ReadDomain,
        ReadGuard, //
    },
    read_once::read_once, //
};
use core::ptr::{
    null_mut,
    NonNull, //
};
use kernel::{
    alloc::Flags,
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            Relaxed,
            Release, //
        },
        Arc,
        MutexGuard, //
    }, //
};

/// A sort key, in one of two partitions. A reader that knows the partition need not compare it.
pub(crate) trait Key: Copy + Send + Sync {
    /// Returns true if the key is in the low partition. All such keys sort first.
    fn in_low_partition(&self) -> bool;

    /// Returns a number to search a partition by. In the order of the array it never decreases
    /// within a partition.
    fn number(&self) -> u64;
}

/// The keys and items that a reader sees.
///
/// # Invariants
///
/// - Once published, `numbers` and `items` are as long as `keys`, and `low` is at most that length.
/// - Each of `items` points to a pinned `T` that came from a [`KBox`].
struct Snapshot<K, T> {
    keys: KVVec<K>,
    /// The keys' numbers, in contiguous memory.
    numbers: KVVec<u64>,
    items: KVVec<NonNull<T>>,
    /// The number of keys in the low partition.
    low: usize,
}

impl<K, T> Snapshot<K, T> {
    fn new(len: usize, flags: Flags) -> Result<KBox<Self>> {
        let snapshot = Self {
            keys: KVVec::with_capacity(len, flags)?,
            numbers: KVVec::with_capacity(len, flags)?,
            items: KVVec::with_capacity(len, flags)?,
            low: 0,
        };
        Ok(KBox::new(snapshot, flags)?)
    }

    /// Returns the items.
    #[inline(always)]
    fn items(&self) -> Items<'_, T> {
        // INVARIANT: By the type invariants each is valid and pinned, as long as the snapshot.
        Items(&self.items)
    }
}

/// The items of a snapshot, or of a part of it.
///
/// # Invariants
///
/// Each is valid and pinned during `'a`.
struct Items<'a, T>(&'a [NonNull<T>]);

impl<'a, T> Items<'a, T> {
    #[inline(always)]
    fn get(&self, at: usize) -> Option<Pin<&'a T>> {
        let item = self.0.get(at)?;
        // SAFETY: By the type invariants it is valid, and pinned.
        Some(unsafe { Pin::new_unchecked(item.as_ref()) })
    }
}

/// A sorted array of keys, with an item for each.
///
/// # Invariants
///
/// - `current` is null or points to a [`Snapshot`] that came from a [`KBox`] and is owned by the
///   array, as are its items. No item is in the snapshot twice.
/// - `current` changes only while the domain's mutex is held.
/// - A snapshot that a reader of the domain has reached from `current`, and the items in it, are
///   not freed before that reader has ended.
pub(crate) struct SharedArray<K: Key, T: Send + Sync> {
    current: Atomic<*mut Snapshot<K, T>>,
    domain: Arc<ReadDomain>,
}

// SAFETY: The array owns its keys and items, hands out shared references to them to several threads
// at the same time, and may drop them on any thread.
unsafe impl<K: Key, T: Send + Sync> Send for SharedArray<K, T> {}
// SAFETY: As above.
unsafe impl<K: Key, T: Send + Sync> Sync for SharedArray<K, T> {}

impl<K: Key, T: Send + Sync> SharedArray<K, T> {
    /// Creates an empty array.
    pub(crate) fn new(domain: Arc<ReadDomain>) -> Self {
        // INVARIANT: There is no snapshot.
        Self {
            current: Atomic::new(null_mut()),
            domain,
        }
    }

    /// Returns the current snapshot, which stays as long as the returned object. Any context but
    /// NMI.
    #[inline]
    pub(crate) fn read(&self) -> Reader<'_, K, T> {
        Reader(self.domain.read().and_then(|guard| {
            // SAFETY: By the type invariants it is null or a snapshot that stays until the guard is
            // dropped. The address dependency orders its accesses after the store that published it.
            let snapshot = unsafe { read_once(&self.current).as_ref() }?;
            Some((snapshot, guard))
        }))
    }

    /// Returns the number of items. Any context but NMI.
    pub(crate) fn len(&self) -> usize {
        self.read().len()
    }

    /// Waits until each [`Reader`] of now is dropped.
    ///
    /// # Context
    ///
    /// Process context, and not that of a reader of the domain.
    pub(crate) fn synchronize(&self) {
        self.domain.synchronize();
    }

    /// Begins a change, and locks out other writers. Process context.
    pub(crate) fn edit(&self) -> Edit<'_, K, T> {
        Edit {
            array: self,
            _changes: self.domain.lock(),
        }
    }
}

impl<K: Key, T: Send + Sync> Drop for SharedArray<K, T> {
    fn drop(&mut self) {
        // ORDERING: None: no other thread has the array any more.
        let Some(current) = NonNull::new(self.current.load(Relaxed)) else {
            return;
        };
        // SAFETY: By the type invariants it came from a box and is owned. `self` is borrowed
        // exclusively, so there is no reader.
        let snapshot = unsafe { KBox::from_raw(current.as_ptr()) };
        for item in snapshot.items.iter() {
            // SAFETY: As above; no item is in the snapshot twice.
            drop(unsafe { KBox::from_raw(item.as_ptr()) });
        }
    }
}

/// A reader of an array: the snapshot, if there is one, and the guard that keeps it.
pub(crate) struct Reader<'a, K, T>(Option<(&'a Snapshot<K, T>, ReadGuard<'a>)>);

impl<K, T> Reader<'_, K, T> {
    #[inline(always)]
    fn snapshot(&self) -> Option<&Snapshot<K, T>> {
        self.0.as_ref().map(|(snapshot, _)| *snapshot)
    }

    /// Returns the number of items.
    pub(crate) fn len(&self) -> usize {
        self.keys().len()
    }

    /// Returns the keys.
    #[inline]
    pub(crate) fn keys(&self) -> &[K] {
        self.snapshot().map_or(&[], |snapshot| &snapshot.keys)
    }

    /// Returns the low partition, or the other one.
    #[inline(always)]
    pub(crate) fn partition(&self, low: bool) -> Partition<'_, K, T> {
        let Some(snapshot) = self.snapshot() else {
            return Partition {
                numbers: &[],
                keys: &[],
                // INVARIANT: There is none.
                items: Items(&[]),
            };
        };
        let range = if low {
            0..snapshot.low
        } else {
            snapshot.low..snapshot.keys.len()
        };
        // SAFETY: By the type invariants all three have the same length, and `low` is at most that.
        // INVARIANT: The items are those of the snapshot, which stays as long as `self`.
        unsafe {
            Partition {
                numbers: snapshot.numbers.get_unchecked(range.clone()),
                keys: snapshot.keys.get_unchecked(range.clone()),
                items: Items(snapshot.items.get_unchecked(range)),
            }
        }
    }

    /// Returns the item of the key at index `at`.
    #[inline]
    pub(crate) fn item(&self, at: usize) -> Option<Pin<&T>> {
        self.snapshot()?.items().get(at)
    }
}

/// A part of what a reader sees.
pub(crate) struct Partition<'a, K, T> {
    numbers: &'a [u64],
    keys: &'a [K],
    items: Items<'a, T>,
}

impl<'a, K, T> Partition<'a, K, T> {
    /// Returns the numbers of the keys.
    #[inline(always)]
    pub(crate) fn numbers(&self) -> &'a [u64] {
        self.numbers
    }

    /// Returns the keys.
    #[inline(always)]
    pub(crate) fn keys(&self) -> &'a [K] {
        self.keys
    }

    /// Returns the item of the key at index `at` of this part.
    #[inline(always)]
    pub(crate) fn item(&self, at: usize) -> Option<Pin<&'a T>> {
        self.items.get(at)
    }
}

/// Memory for a new snapshot and for the list of removed items.
pub(crate) struct Reservation<K, T> {
    snapshot: KBox<Snapshot<K, T>>,
    removed: KVVec<NonNull<T>>,
}

/// A change of an array.
pub(crate) struct Edit<'a, K: Key, T: Send + Sync> {
    array: &'a SharedArray<K, T>,
    _changes: MutexGuard<'a, ()>,
}

impl<K: Key, T: Send + Sync> Edit<'_, K, T> {
    fn snapshot(&self) -> Option<&Snapshot<K, T>> {
        // ORDERING: None: this writer owns the mutex.
        // SAFETY: By the type invariants it is null or a snapshot. It stays until a writer replaces
        // it, and this writer owns the mutex.
        unsafe { self.array.current.load(Relaxed).as_ref() }
    }

    /// Returns the keys.
    pub(crate) fn keys(&self) -> &[K] {
        self.snapshot().map_or(&[], |snapshot| &snapshot.keys)
    }

    /// Returns the item of the key at index `at`.
    pub(crate) fn item(&self, at: usize) -> Option<Pin<&T>> {
        self.snapshot()?.items().get(at)
    }

    /// Allocates memory for `added` more items, and for the list of `removed` items.
    pub(crate) fn reserve(
        &self,
        added: usize,
        removed: usize,
        flags: Flags,
    ) -> Result<Reservation<K, T>> {
        self.array.domain.prepare(flags)?;
        Ok(Reservation {
            snapshot: Snapshot::new(self.keys().len() + added, flags)?,
            removed: KVVec::with_capacity(removed, flags)?,
        })
    }

    /// Removes the items at the indices `removed`, and inserts each of `added` before the item at
    /// its index. All indices are those of the old array, and sorted. If `reservation` is too
    /// small, nothing changes.
    ///
    /// Returns the old snapshot and the removed items. The caller must drop them when it owns no
    /// lock.
    pub(crate) fn replace(
        self,
        reservation: Reservation<K, T>,
        removed: &[usize],
        added: KVVec<(usize, K, Pin<KBox<T>>)>,
    ) -> Option<Retired<K, T>> {
        let Reservation {
            mut snapshot,
            removed: mut removed_items,
        } = reservation;
        let len = self.keys().len();
        if snapshot.keys.capacity() < len + added.len()
            || snapshot.numbers.capacity() < len + added.len()
            || snapshot.items.capacity() < len + added.len()
            || removed_items.capacity() < removed.len()
        {
            return None;
        }
        let mut from = 0;
        let mut removed = removed.iter().copied().peekable();
        let mut added = added.into_iter().peekable();
        // INVARIANT: `snapshot` gets items of the old one, each at most once because `from` only
        // grows, and the added items, which come from a box.
        while from < len || added.peek().is_some() {
            let place = added.peek().map_or(len, |item| item.0);
            let next = removed.peek().copied().unwrap_or(len);
            let to = place.min(next).clamp(from, len);
            if let Some(old) = self.snapshot() {
                let (numbers, items) = (&old.numbers[from..to], &old.items[from..to]);
                snapshot.extend(&old.keys[from..to], numbers, items);
            }
            from = to;
            if place <= next {
                let Some((_, key, item)) = added.next() else {
                    continue;
                };
                // SAFETY: The item does not move before it is put back into a pinned box.
                let item = KBox::into_raw(unsafe { Pin::into_inner_unchecked(item) });
                if let Some(item) = NonNull::new(item) {
                    snapshot.extend(&[key], &[key.number()], &[item]);
                }
            } else {
                removed.next();
                if let Some(&item) = self.snapshot().and_then(|old| old.items.get(from)) {
                    // Cannot fail: the capacity was checked.
                    let _ = removed_items.push_within_capacity(item);
                    from += 1;
                }
            }
        }
        self.publish(snapshot, removed_items)
    }

    /// Makes `snapshot` the current one, which lacks the `removed` items.
    fn publish(
        self,
        mut snapshot: KBox<Snapshot<K, T>>,
        removed: KVVec<NonNull<T>>,
    ) -> Option<Retired<K, T>> {
        let current = &self.array.current;
        // ORDERING: The release pairs with the address dependency in `SharedArray::read`. The load needs no
        // order: this writer owns the mutex.
        let old = NonNull::new(current.load(Relaxed));
        snapshot.low = snapshot.keys.partition_point(K::in_low_partition);
        // INVARIANT: It comes from a box. Its items are those of the old one without `removed`, and
        // added ones. The release orders the writes to the snapshot before it is published.
        current.store(KBox::into_raw(snapshot), Release);
        // INVARIANT: Neither the old snapshot nor the removed items can be reached from `current`
        // any more.
        old.map(|snapshot| Retired {
            snapshot,
            items: removed,
            domain: self.array.domain.clone(),
            waited: false,
        })
    }
}

impl<K: Key, T> Snapshot<K, T> {
    /// Appends entries, for which there must be capacity.
    fn extend(&mut self, keys: &[K], numbers: &[u64], items: &[NonNull<T>]) {
        // Cannot fail: nothing needs to be allocated.
        let _ = self.keys.extend_from_slice(keys, GFP_NOWAIT);
        let _ = self.numbers.extend_from_slice(numbers, GFP_NOWAIT);
        let _ = self.items.extend_from_slice(items, GFP_NOWAIT);
    }
}

/// The old snapshot and the removed items of an array.
///
/// Dropping it frees them. Unless [`Retired::wait`] was called, dropping first waits for a grace
/// period of the domain.
///
/// # Context
///
/// To wait and to drop: process context, and not that of a reader of the domain.
///
/// # Invariants
///
/// `snapshot` and `items` are owned, came from boxes, and cannot be reached from the array any
/// more.
#[must_use = "dropping waits for a grace period"]
pub(crate) struct Retired<K, T> {
    snapshot: NonNull<Snapshot<K, T>>,
    items: KVVec<NonNull<T>>,
    domain: Arc<ReadDomain>,
    /// A grace period has passed, so no reader uses them.
    waited: bool,
}

impl<K, T> Retired<K, T> {
    /// Waits for a grace period. Afterwards no reader uses the items.
    pub(crate) fn wait(&mut self) {
        self.domain.synchronize();
        self.waited = true;
    }

    /// Returns the removed items.
    pub(crate) fn items(&self) -> impl Iterator<Item = Pin<&T>> {
        self.items.iter().map(|item| {
            // SAFETY: By the type invariants it is valid, and pinned.
            unsafe { Pin::new_unchecked(item.as_ref()) }
        })
    }
}

impl<K, T> Drop for Retired<K, T> {
    fn drop(&mut self) {
        if !self.waited {
            self.wait();
        }
        for item in self.items.iter() {
            // SAFETY: By the type invariants it is owned and came from a box. A grace period has
            // passed, so all readers that reached it in the array have ended.
            drop(unsafe { KBox::from_raw(item.as_ptr()) });
        }
        // SAFETY: As above.
        drop(unsafe { KBox::from_raw(self.snapshot.as_ptr()) });
    }
}
