// SPDX-License-Identifier: GPL-2.0

//! Sorted arrays that are searched without a lock and replaced as a whole.
//!
//! Who changes something makes a new snapshot of the array, in which the items are the same and not
//! copied. The old snapshot, and what is no longer in the new one, goes when nobody reads it any more
//! ([`Retired`]).

use super::read_domain::{
    ReadDomain,
    ReadGuard, //
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
            Acquire,
            Atomic,
            Relaxed,
            Release, //
        },
        Arc,
        MutexGuard, //
    }, //
};

/// What the array is sorted by. It can be in two parts, so that whoever knows in which one to look needs
/// not compare that.
pub(crate) trait Key: Copy + Send + Sync {
    /// Whether it is in the first part. None is that comes after one that is not.
    fn in_low_partition(&self) -> bool;

    /// A number to search a part by. It never falls along the part.
    fn number(&self) -> u64;
}

/// What a reader sees.
///
/// # Invariants
///
/// `items` is as long as `keys`; each points to a pinned `T` that came from a [`KBox`].
struct Snapshot<K, T> {
    keys: KVVec<K>,
    /// Their numbers, close together.
    numbers: KVVec<u64>,
    items: KVVec<NonNull<T>>,
    /// How many keys are in the first part.
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
}

/// A sorted array of keys, with an item for each.
///
/// # Invariants
///
/// - `current` is null or points to a [`Snapshot`] that came from a [`KBox`] and is owned by the array,
///   as are the items in it. No item is in it twice.
/// - It changes with the domain's mutex held only.
/// - A snapshot that has been reached from `current` by a reader of the domain, and the items in it, are
///   not freed before that has ended.
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
    /// An empty array.
    pub(crate) fn new(domain: Arc<ReadDomain>) -> Self {
        // INVARIANT: There is nothing.
        Self {
            current: Atomic::new(null_mut()),
            domain,
        }
    }

    /// The array as it is now, for as long as the returned object exists. Any context but NMI.
    #[inline]
    pub(crate) fn read(&self) -> Reader<'_, K, T> {
        let guard = self.domain.read();
        let current = self.current.load(Acquire);
        // SAFETY: By the type invariants it is null or a snapshot that stays until the guard goes.
        let snapshot = unsafe { current.as_ref() };
        Reader {
            snapshot,
            _guard: guard,
        }
    }

    /// How many items there are. Any context.
    pub(crate) fn len(&self) -> usize {
        self.read().keys().len()
    }

    /// Begins a change; others wait. Process context.
    pub(crate) fn edit(&self) -> Edit<'_, K, T> {
        Edit {
            array: self,
            _changes: self.domain.lock(),
        }
    }
}

impl<K: Key, T: Send + Sync> Drop for SharedArray<K, T> {
    fn drop(&mut self) {
        let Some(current) = NonNull::new(self.current.load(Relaxed)) else {
            return;
        };
        // SAFETY: By the type invariants it came from a box and is owned; `self` is borrowed
        // exclusively, so nobody reads it.
        let snapshot = unsafe { KBox::from_raw(current.as_ptr()) };
        for item in snapshot.items.iter() {
            // SAFETY: As above; none of them is there twice.
            drop(unsafe { KBox::from_raw(item.as_ptr()) });
        }
    }
}

/// Reads an array.
pub(crate) struct Reader<'a, K, T> {
    snapshot: Option<&'a Snapshot<K, T>>,
    _guard: ReadGuard<'a>,
}

impl<K, T> Reader<'_, K, T> {
    /// The keys.
    #[inline]
    pub(crate) fn keys(&self) -> &[K] {
        self.snapshot.map_or(&[], |snapshot| &snapshot.keys)
    }

    /// The numbers and the keys of the first part, or of the other, and where that begins.
    #[inline]
    pub(crate) fn partition(&self, low: bool) -> (&[u64], &[K], usize) {
        let part = self.snapshot.and_then(|snapshot| {
            let end = snapshot.keys.len();
            let range = if low {
                0..snapshot.low
            } else {
                snapshot.low..end
            };
            let start = range.start;
            let numbers = snapshot.numbers.get(range.clone())?;
            Some((numbers, snapshot.keys.get(range)?, start))
        });
        part.unwrap_or_default()
    }

    /// The item of the key at `at`.
    #[inline]
    pub(crate) fn item(&self, at: usize) -> Option<Pin<&T>> {
        item(self.snapshot, at)
    }
}

#[inline]
fn item<K, T>(snapshot: Option<&Snapshot<K, T>>, at: usize) -> Option<Pin<&T>> {
    let item = snapshot?.items.get(at)?;
    // SAFETY: By the type invariants it is valid, and pinned, for as long as the snapshot.
    Some(unsafe { Pin::new_unchecked(item.as_ref()) })
}

/// Memory for a new snapshot.
pub(crate) struct Reservation<K, T> {
    snapshot: KBox<Snapshot<K, T>>,
    gone: KVVec<NonNull<T>>,
}

/// Changes an array.
pub(crate) struct Edit<'a, K: Key, T: Send + Sync> {
    array: &'a SharedArray<K, T>,
    _changes: MutexGuard<'a, ()>,
}

impl<K: Key, T: Send + Sync> Edit<'_, K, T> {
    fn snapshot(&self) -> Option<&Snapshot<K, T>> {
        // SAFETY: By the type invariants it is null or a snapshot, which stays until somebody replaces
        // it with the mutex held.
        unsafe { self.array.current.load(Relaxed).as_ref() }
    }

    /// The keys.
    pub(crate) fn keys(&self) -> &[K] {
        self.snapshot().map_or(&[], |snapshot| &snapshot.keys)
    }

    /// The item of the key at `at`.
    pub(crate) fn item(&self, at: usize) -> Option<Pin<&T>> {
        item(self.snapshot(), at)
    }

    /// Reservation for `new` more items, and `gone` that leave.
    pub(crate) fn reserve(
        &self,
        new: usize,
        gone: usize,
        flags: Flags,
    ) -> Result<Reservation<K, T>> {
        Ok(Reservation {
            snapshot: Snapshot::new(self.keys().len() + new, flags)?,
            gone: KVVec::with_capacity(gone, flags)?,
        })
    }

    /// Takes the items at `gone` out, and puts each of `new` before the item that was at its place.
    /// Both are sorted. `reservation` must be enough; if it is not, nothing happens.
    ///
    /// Returns what is to be waited for, when no lock is held.
    pub(crate) fn replace(
        self,
        reservation: Reservation<K, T>,
        gone: &[usize],
        new: KVVec<(usize, K, Pin<KBox<T>>)>,
    ) -> Option<Retired<K, T>> {
        let Reservation {
            mut snapshot,
            gone: mut left,
        } = reservation;
        let len = self.keys().len();
        if snapshot.keys.capacity() < len + new.len()
            || snapshot.numbers.capacity() < len + new.len()
            || snapshot.items.capacity() < len + new.len()
            || left.capacity() < gone.len()
        {
            return None;
        }
        let mut from = 0;
        let mut gone = gone.iter().copied().peekable();
        let mut new = new.into_iter().peekable();
        // INVARIANT: The items of `snapshot` are those of the old one, each at most once because `from`
        // only ever grows, and the new ones, which come from a box.
        while from < len || new.peek().is_some() {
            let place = new.peek().map_or(len, |new| new.0);
            let next = gone.peek().copied().unwrap_or(len);
            let to = place.min(next).clamp(from, len);
            if let Some(old) = self.snapshot() {
                let (numbers, items) = (&old.numbers[from..to], &old.items[from..to]);
                snapshot.extend(&old.keys[from..to], numbers, items);
            }
            from = to;
            if place <= next {
                let Some((_, key, item)) = new.next() else {
                    continue;
                };
                // SAFETY: It stays where it is until it is put back into a pinned box.
                let item = KBox::into_raw(unsafe { Pin::into_inner_unchecked(item) });
                if let Some(item) = NonNull::new(item) {
                    snapshot.extend(&[key], &[key.number()], &[item]);
                }
            } else {
                gone.next();
                if let Some(&item) = self.snapshot().and_then(|old| old.items.get(from)) {
                    // Cannot fail: there is room.
                    let _ = left.push_within_capacity(item);
                    from += 1;
                }
            }
        }
        self.publish(snapshot, left)
    }

    /// Makes `snapshot` the current one, in which `left` are no more.
    fn publish(
        self,
        mut snapshot: KBox<Snapshot<K, T>>,
        left: KVVec<NonNull<T>>,
    ) -> Option<Retired<K, T>> {
        let current = &self.array.current;
        let old = NonNull::new(current.load(Relaxed));
        snapshot.low = snapshot.keys.partition_point(K::in_low_partition);
        // INVARIANT: It comes from a box, and its items are those of the old one without `left`, and
        // new ones. Readers find what was written to it before.
        current.store(KBox::into_raw(snapshot), Release);
        // INVARIANT: They are not reached from `current` any more.
        old.map(|snapshot| Retired {
            snapshot,
            items: left,
            domain: self.array.domain.clone(),
            waited: false,
        })
    }
}

impl<K: Key, T> Snapshot<K, T> {
    /// Adds entries for which there is room.
    fn extend(&mut self, keys: &[K], numbers: &[u64], items: &[NonNull<T>]) {
        // Cannot fail: nothing needs to be allocated.
        let _ = self.keys.extend_from_slice(keys, GFP_NOWAIT);
        let _ = self.numbers.extend_from_slice(numbers, GFP_NOWAIT);
        let _ = self.items.extend_from_slice(items, GFP_NOWAIT);
    }
}

/// What was taken out of an array.
///
/// Dropping it waits for everybody who reads in the domain, unless [`Retired::wait`] has: process
/// context, and not by someone who reads. Then it is gone.
///
/// # Invariants
///
/// `snapshot` and `items` are owned, came from boxes, and cannot be reached from the array any more.
#[must_use = "dropping waits"]
pub(crate) struct Retired<K, T> {
    snapshot: NonNull<Snapshot<K, T>>,
    items: KVVec<NonNull<T>>,
    domain: Arc<ReadDomain>,
    /// All who had reached them before are done.
    waited: bool,
}

impl<K, T> Retired<K, T> {
    /// Waits until nobody uses the items any more.
    pub(crate) fn wait(&mut self) {
        self.domain.synchronize();
        self.waited = true;
    }

    /// The items.
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
            // SAFETY: By the type invariants; and all who reached it in the array are done.
            drop(unsafe { KBox::from_raw(item.as_ptr()) });
        }
        // SAFETY: As above.
        drop(unsafe { KBox::from_raw(self.snapshot.as_ptr()) });
    }
}
