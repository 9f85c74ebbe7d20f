// SPDX-License-Identifier: GPL-2.0

//! A lock whose contenders set a bit instead of waiting; the owner handles it before it releases
//! the lock.
//!
//! A [`HandoffLock`] guards a value by one atomic word. Its bit [`IN_PROGRESS`] says that the lock
//! has an owner, like genirq's `IRQD_IRQ_INPROGRESS`. The other bits belong to the user. A pure
//! function of the user's computes the new word, [`IN_PROGRESS`] included, and one compare-exchange
//! stores it.
//!
//! A caller that sets [`IN_PROGRESS`] becomes the owner. It gets a [`HandoffGuard`], and with it
//! exclusive access to the value. A contender finds [`IN_PROGRESS`] set, sets a bit of its own and
//! returns. The owner releases the lock by a compare-exchange of the same word, so it finds that
//! bit before.
//!
//! The word is the first field of a [`StatusWord`], which userspace can map and read. Beside it is a second word
//! of units, for users that count. [`HandoffLock::update_units`] changes both by one compare-exchange of 64 bits;
//! all other functions change the first word only, so that the second costs them nothing. Both compare-exchanges
//! are of the same eight aligned bytes, as those of the kernel's qspinlock are of parts of its word.
//!
//! A preempted owner delays the work that contenders have left to it. So preemption is off while
//! the lock has an owner, as with a spinlock. On PREEMPT_RT a spinlock's owner is preemptible. The
//! owner of a [`HandoffLock`] is preemptible there, too, and inherits the priority of the threads
//! that wait for it ([`HandoffLock::wait`]).
//!
//! # Examples
//!
//! ```
//! use crate::kernel_ext::{
//!     handoff_lock::{HandoffLock, StatusWord, IN_PROGRESS},
//!     mmap_pages::MmapPages,
//! };
//!
//! let (_pages, mut words) = MmapPages::new(1, || StatusWord::new(0u64), GFP_KERNEL)?;
//! let word = words.next().ok_or(EINVAL)?;
//! let lock = KBox::pin_init(HandoffLock::new(word, 42), GFP_KERNEL)?;
//!
//! /// The bit of a request.
//! const REQUEST: u32 = 1;
//!
//! // Makes a request. The thread that sets IN_PROGRESS gets the guard.
//! let ((), guard) = lock.update(0, |word| (word | REQUEST | IN_PROGRESS, ()));
//! let mut guard = guard;
//! while let Some(mut owned) = guard {
//!     *owned += 1;
//!     // Handles one request, and releases the lock unless there is another.
//!     let next = |word: u32| match word & REQUEST {
//!         0 => (word & !IN_PROGRESS, ()),
//!         _ => (word & !REQUEST, ()),
//!     };
//!     guard = owned.update(next, |()| false, |()| ()).1;
//! }
//! ```

use super::{
    mmap_pages::{
        SharedObject,
        Visible, //
    }, //
    owner_lock::{
        OwnerLock,
        OwnerLockGuard, //
    },
    preempt::Unpreempted,
};
use crate::bindings;
use core::{
    cell::UnsafeCell,
    ops::{
        Deref,
        DerefMut, //
    }, //
};
use kernel::{
    prelude::*,
    sync::atomic::{
        Acquire,
        Atomic,
        Full,
        Relaxed, //
    },
    types::NotThreadSafe, //
};

/// The bit of the word that says that the lock has an owner, or is parked.
pub(crate) const IN_PROGRESS: u32 = 1 << 31;

/// Set together with [`IN_PROGRESS`] while the lock is parked: it is claimed, but no thread owns
/// it. [`HandoffLock::unpark`] makes its caller the owner.
pub(crate) const PARKED: u32 = 1 << 29;

/// The part of a lock that userspace can read: the word, and the user's statistics.
#[repr(C)]
pub(crate) struct StatusWord<C> {
    word: Atomic<u32>,
    units: Atomic<u32>,
    stats: C,
}

impl<C> StatusWord<C> {
    /// Creates a status with a word of zero.
    pub(crate) const fn new(stats: C) -> Self {
        const {
            assert!(size_of::<Self>() == 2 * size_of::<u32>() + size_of::<C>());
            assert!(core::mem::offset_of!(Self, units) == size_of::<u32>());
        };
        Self {
            word: Atomic::new(0),
            units: Atomic::new(0),
            stats,
        }
    }
}

// SAFETY: It has no padding (`new` has checked that), and no pointers if there are none in `C`.
unsafe impl<C: Visible> Visible for StatusWord<C> {}

/// A value, and the word that guards it.
///
/// # Invariants
///
/// - If and only if [`IN_PROGRESS`] is set in the status's word, either a [`HandoffGuard`] of this
///   lock exists or [`PARKED`] is set, but not both.
/// - At most one [`HandoffGuard`] exists, and `value` is accessed through it only.
/// - Unless the kernel is PREEMPT_RT, preemption was disabled once for an existing
///   [`HandoffGuard`].
#[pin_data]
pub(crate) struct HandoffLock<T, C: Visible> {
    status: SharedObject<StatusWord<C>>,
    #[pin]
    owner_lock: OwnerLock,
    value: UnsafeCell<T>,
}

// SAFETY: The lock owns its value, so it may move to another thread if the value may.
unsafe impl<T: Send, C: Visible> Send for HandoffLock<T, C> {}
// SAFETY: By the type invariants only one thread at a time reaches the value, through the guard. So
// sharing the lock only moves access to the value between threads.
unsafe impl<T: Send, C: Visible> Sync for HandoffLock<T, C> {}

impl<T, C: Visible> HandoffLock<T, C> {
    /// Creates an initialiser for a lock without an owner.
    pub(crate) fn new(status: SharedObject<StatusWord<C>>, value: T) -> impl PinInit<Self> {
        // INVARIANT: `status` is the only way to its word, so the word is still the zero that
        // `StatusWord::new` stored. `IN_PROGRESS` is clear, and there is no guard.
        pin_init!(Self {
            status,
            owner_lock <- OwnerLock::new(),
            value: UnsafeCell::new(value),
        })
    }

    /// Waits for the owner on PREEMPT_RT. The owner inherits the caller's priority.
    ///
    /// Returns false without waiting if the caller must not sleep, and on other kernels, where the
    /// owner is not preemptible.
    #[inline(always)]
    pub(crate) fn wait(&self) -> bool {
        self.owner_lock.wait()
    }

    /// Returns the word. Any context.
    pub(crate) fn word(&self) -> u32 {
        // ORDERING: Pairs with the exchange in `HandoffGuard::cmpxchg_release`: what the owner has done before
        // it released the lock is visible after this, such as its counters.
        self.status.word.load(Acquire)
    }

    /// Returns the user's statistics.
    #[inline]
    pub(crate) fn stats(&self) -> &C {
        &self.status.stats
    }

    /// Changes the word by `f`, which may be called several times and must be pure.
    ///
    /// The first attempt expects the word `likely`. Only that attempt is inlined.
    ///
    /// Returns a guard if this call set [`IN_PROGRESS`]. If the lock is claimed already,
    /// [`IN_PROGRESS`] and [`PARKED`] keep their values whatever `f` returns. Fully ordered, also
    /// if `f` changes nothing.
    ///
    /// # Context
    ///
    /// Any context; neither sleeps nor allocates.
    #[inline(always)]
    pub(crate) fn update<R>(
        &self,
        likely: u32,
        f: impl Fn(u32) -> (u32, R),
    ) -> (R, Option<HandoffGuard<'_, T, C>>) {
        match self.try_update(likely, &f) {
            Ok(done) => done,
            Err(now) => self.update_from(now, f),
        }
    }

    /// Changes the word and the units beside it by `f`, in one step. The first attempt expects the word `word`.
    /// `f`, the guard and the order are those of [`HandoffLock::update`].
    ///
    /// # Context
    ///
    /// Any context; neither sleeps nor allocates.
    #[cold]
    pub(crate) fn update_units<R>(
        &self,
        mut word: u32,
        f: impl Fn(u32, u32) -> (u32, u32, R),
    ) -> (R, Option<HandoffGuard<'_, T, C>>) {
        // ORDERING: None for this load, whose value the exchange checks. That is fully ordered, and pairs with
        // all other exchanges of the word.
        let mut units = self.status.units.load(Relaxed);
        loop {
            let (new, new_units, result) = f(word, units);
            let new = new & !PARKED | word & (IN_PROGRESS | PARKED);
            let claims = new & !word & IN_PROGRESS != 0;
            let owned = claims.then(|| self.owner_lock.acquire());
            let mut old = [word, units];
            // SAFETY: The pointers are valid, and the eight bytes of the word and the units are aligned: the
            // pages that they are in are, and a status has the alignment and a multiple of the size of a `u64`.
            // This is a full compare-exchange. If it succeeds and `claims` is true, it disables preemption.
            let exchanged = unsafe {
                bindings::doorbell_units_cmpxchg(
                    self.as_ptr(),
                    old.as_mut_ptr(),
                    new,
                    new_units,
                    claims,
                )
            };
            if exchanged {
                // INVARIANT: As in `try_update`.
                return (result, owned.map(|owned| self.guard(owned)));
            }
            [word, units] = old;
        }
    }

    fn as_ptr(&self) -> *mut kernel::bindings::atomic_t {
        // `Atomic<u32>` is transparent, and has the same four bytes as the C type.
        (&raw const self.status.word).cast_mut().cast()
    }

    /// Does what [`HandoffLock::update`] does, and is not inlined. Context as of that.
    #[cold]
    pub(crate) fn update_from<R>(
        &self,
        mut word: u32,
        f: impl Fn(u32) -> (u32, R),
    ) -> (R, Option<HandoffGuard<'_, T, C>>) {
        loop {
            match self.try_update(word, &f) {
                Ok(done) => return done,
                Err(now) => word = now,
            }
        }
    }

    /// Makes the caller the owner of a parked lock; returns [`None`] if the lock is not parked.
    /// Fully ordered if it is parked. Any context.
    pub(crate) fn unpark(&self) -> Option<HandoffGuard<'_, T, C>> {
        let mut word = self.word();
        while word & PARKED != 0 {
            match self.cmpxchg_claim(word, word & !PARKED) {
                // INVARIANT: `PARKED` was set, so there was no guard. This compare-exchange cleared
                // it.
                Ok(owned) => return Some(self.guard(owned)),
                Err(now) => word = now,
            }
        }
        None
    }

    /// Exchanges `word` for `new`, in which [`IN_PROGRESS`] has not changed. If the word is not
    /// `word`, returns its value as the error.
    #[inline(always)]
    fn cmpxchg(&self, word: u32, new: u32) -> Result<(), u32> {
        // SAFETY: The pointer is valid. This is a full compare-exchange if it succeeds.
        let now =
            unsafe { bindings::doorbell_word_cmpxchg(self.as_ptr(), word as c_int, new as c_int) };
        if now as u32 == word {
            Ok(())
        } else {
            Err(now as u32)
        }
    }

    /// Exchanges `word` for `new`, which makes the caller the owner. If the word is not `word`,
    /// returns its value as the error.
    #[inline(always)]
    fn cmpxchg_claim(&self, word: u32, new: u32) -> Result<OwnerLockGuard<'_>, u32> {
        let owned = self.owner_lock.acquire();
        // SAFETY: The pointer is valid. This is a full compare-exchange. If it succeeds, it
        // disables preemption.
        let now =
            unsafe { bindings::doorbell_handoff_claim(self.as_ptr(), word as c_int, new as c_int) };
        if now as u32 == word {
            Ok(owned)
        } else {
            Err(now as u32)
        }
    }

    /// Creates a guard. The caller must have established its invariants, and those of the lock.
    #[inline(always)]
    fn guard<'a>(&'a self, owned: OwnerLockGuard<'a>) -> HandoffGuard<'a, T, C> {
        HandoffGuard {
            lock: self,
            owned: Some(owned),
            _not_send: NotThreadSafe,
        }
    }

    /// Attempts [`HandoffLock::update`] once. If the word is not `word`, returns its value as the
    /// error, and orders nothing. Context as of [`HandoffLock::update`].
    #[inline(always)]
    pub(crate) fn try_update<R>(
        &self,
        word: u32,
        f: impl Fn(u32) -> (u32, R),
    ) -> Result<(R, Option<HandoffGuard<'_, T, C>>), u32> {
        let (new, result) = f(word);
        let new = new & !PARKED | word & (IN_PROGRESS | PARKED);
        if new & !word & IN_PROGRESS == 0 {
            self.cmpxchg(word, new)?;
            return Ok((result, None));
        }
        let owned = self.cmpxchg_claim(word, new)?;
        // INVARIANT: `IN_PROGRESS` was clear, so there was no guard. This compare-exchange set it,
        // so no other thread can have created a guard for the same transition.
        let guard = self.guard(owned);
        Ok((result, Some(guard)))
    }
}

/// Exclusive access to the value of a [`HandoffLock`].
///
/// # Invariants
///
/// This is the only guard of `lock`; [`IN_PROGRESS`] is set in its word, and [`PARKED`] is clear.
#[must_use = "dropping the guard releases the lock without handling the bits of contenders"]
pub(crate) struct HandoffGuard<'a, T, C: Visible> {
    lock: &'a HandoffLock<T, C>,
    /// [`None`] if the lock was released or parked.
    owned: Option<OwnerLockGuard<'a>>,
    _not_send: NotThreadSafe,
}

impl<T, C: Visible> HandoffGuard<'_, T, C> {
    /// Takes the units beside the word: returns their number, and leaves zero. Fully ordered.
    #[cold]
    pub(crate) fn take_units(&self) -> u32 {
        // ORDERING: Pairs with the exchange in `HandoffLock::update_units`, which adds units of a ring together
        // with its bit.
        self.lock.status.units.xchg(0u32, Full)
    }

    /// Releases the lock if no bit but [`IN_PROGRESS`] is set in its word; otherwise returns the
    /// guard. Fully ordered.
    #[inline(always)]
    pub(crate) fn release_idle(self) -> Result<(), Self> {
        self.release_to(0)
    }

    /// Releases the lock if the bits of `word`, and no other bit but [`IN_PROGRESS`], are set in its
    /// word; otherwise returns the guard. Fully ordered.
    #[inline(always)]
    pub(crate) fn release_to(self, word: u32) -> Result<(), Self> {
        let word = word & !(IN_PROGRESS | PARKED);
        match self.cmpxchg_release(word | IN_PROGRESS, word) {
            Ok(()) => {
                self.forget();
                Ok(())
            }
            Err(_) => Err(self),
        }
    }

    /// Forgets the guard. Its `drop` would clear the next owner's bit.
    #[inline(always)]
    fn forget(mut self) {
        self.owned = None;
        core::mem::forget(self);
    }

    /// Parks the lock: it stays claimed, without a thread that owns it, until
    /// [`HandoffLock::unpark`].
    ///
    /// Calls `after_release` before the caller can be preempted. `after_release` must make another
    /// thread call [`HandoffLock::unpark`].
    pub(crate) fn park(self, after_release: impl FnOnce()) {
        let preemption = Unpreempted::new();
        let mut word = self.lock.word();
        while let Err(now) = self.cmpxchg_release(word, word | PARKED) {
            word = now;
        }
        after_release();
        drop(preemption);
        // INVARIANT: `PARKED` is set, and the guard no longer exists.
        self.forget();
    }

    /// Changes the word by `f`, which may be called several times and must be pure. Clearing
    /// [`IN_PROGRESS`] releases the lock.
    ///
    /// If `urgent` is true for the result, `after` is called with that result before the caller can be
    /// preempted. It provides for the bits that remain in the word.
    ///
    /// Returns the guard if `f` left [`IN_PROGRESS`] set. Fully ordered.
    pub(crate) fn update<R>(
        self,
        f: impl Fn(u32) -> (u32, R),
        urgent: impl Fn(&R) -> bool,
        after: impl FnOnce(&R),
    ) -> (R, Option<Self>) {
        let mut word = self.lock.word();
        loop {
            let (new, result) = f(word);
            let new = new & !PARKED;
            let exchanged = match (new & IN_PROGRESS != 0, urgent(&result)) {
                (true, false) => match self.lock.cmpxchg(word, new) {
                    Ok(()) => return (result, Some(self)),
                    Err(now) => Err(now),
                },
                (true, true) => {
                    let preemption = Unpreempted::new();
                    let exchanged = self.lock.cmpxchg(word, new);
                    if exchanged.is_ok() {
                        after(&result);
                        drop(preemption);
                        return (result, Some(self));
                    }
                    exchanged
                }
                (false, true) => {
                    let preemption = Unpreempted::new();
                    let released = self.cmpxchg_release(word, new);
                    if released.is_ok() {
                        after(&result);
                        drop(preemption);
                        self.forget();
                        return (result, None);
                    }
                    released
                }
                (false, false) => self.cmpxchg_release(word, new),
            };
            match exchanged {
                Ok(()) => {
                    self.forget();
                    return (result, None);
                }
                Err(now) => word = now,
            }
        }
    }

    /// Exchanges `word` for `new`, which has [`IN_PROGRESS`] clear or [`PARKED`] set. If the word
    /// is not `word`, returns its value as the error.
    ///
    /// If the exchange succeeds, the caller is no longer the owner, and must forget the guard.
    #[inline(always)]
    fn cmpxchg_release(&self, word: u32, new: u32) -> Result<(), u32> {
        // SAFETY: The pointer is valid. This is a full compare-exchange, as above. If it succeeds,
        // it enables preemption, which was disabled for this guard.
        let now = unsafe {
            bindings::doorbell_handoff_release(self.lock.as_ptr(), word as c_int, new as c_int)
        };
        if now as u32 == word {
            Ok(())
        } else {
            Err(now as u32)
        }
    }
}

impl<T, C: Visible> Deref for HandoffGuard<'_, T, C> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: By the type invariants this is the only guard, and the value is reached through a
        // guard only. The borrow of `self` excludes `deref_mut`.
        unsafe { &*self.lock.value.get() }
    }
}

impl<T, C: Visible> DerefMut for HandoffGuard<'_, T, C> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: As in `deref`, and `self` is borrowed exclusively.
        unsafe { &mut *self.lock.value.get() }
    }
}

impl<T, C: Visible> Drop for HandoffGuard<'_, T, C> {
    fn drop(&mut self) {
        // INVARIANT: The bit is cleared, and the guard no longer exists.
        let mut word = IN_PROGRESS;
        while let Err(now) = self.cmpxchg_release(word, word & !IN_PROGRESS) {
            word = now;
        }
    }
}
