// SPDX-License-Identifier: GPL-2.0

//! A value behind one atomic word, for holders that nobody ever waits for.
//!
//! A [`HandoffLock`] is what a lock would be whose contenders leave a note instead of waiting. Its word
//! has one bit, [`IN_PROGRESS`], that says that somebody has access to the value; the other bits belong to
//! the user, who changes all of them, [`IN_PROGRESS`] included, in a single compare-exchange by a pure
//! function. Whoever sets [`IN_PROGRESS`] gets a [`HandoffGuard`] and with it exclusive access to the value;
//! whoever finds it set leaves word (a bit of its own) and goes, and the holder finds it when it
//! leaves, because leaving is a compare-exchange of the same word.
//!
//! The word is the first thing in a [`StatusWord`], which userspace may look at.
//!
//! Whoever is preempted while holding delays everybody who has left something to do. So holding
//! disables preemption, like holding a spinlock. On PREEMPT_RT, where a spinlock's holder is
//! preemptible, a lock's is, too, and inherits the priority of those who wait ([`HandoffLock::wait`]).

use super::{
    holder::{
        Held,
        Holder, //
    },
    mmap_pages::{
        SharedObject,
        Visible, //
    }, //
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
        Full, //
    },
    types::NotThreadSafe, //
};

/// The bit of the word that says that the value is held.
pub(crate) const IN_PROGRESS: u32 = 1 << 31;

/// Set beside [`IN_PROGRESS`] when the holder has parked the lock: no thread holds it. [`HandoffLock::unpark`] takes it
/// over.
pub(crate) const PARKED: u32 = 1 << 29;

/// What is to be seen of a lock: the word, and what the user keeps beside it.
#[repr(C)]
pub(crate) struct StatusWord<C> {
    word: Atomic<u32>,
    _reserved: u32,
    stats: C,
}

impl<C> StatusWord<C> {
    /// With a word of zero.
    pub(crate) const fn new(stats: C) -> Self {
        const { assert!(size_of::<Self>() == 2 * size_of::<u32>() + size_of::<C>()) };
        Self {
            word: Atomic::new(0),
            _reserved: 0,
            stats,
        }
    }
}

// SAFETY: No padding (`new` has checked that), and no pointers if there are none in `C`.
unsafe impl<C: Visible> Visible for StatusWord<C> {}

/// A value and the word that guards it.
///
/// # Invariants
///
/// - [`IN_PROGRESS`] is set in the status's word if and only if a [`HandoffGuard`] of this lock exists, or [`PARKED`] is
///   set, but not both.
/// - At most one [`HandoffGuard`] exists, and `value` is accessed through it only.
/// - Unless the kernel is PREEMPT_RT, preemption was disabled once for an existing [`HandoffGuard`].
#[pin_data]
pub(crate) struct HandoffLock<T, C: Visible> {
    status: SharedObject<StatusWord<C>>,
    #[pin]
    holder: Holder,
    value: UnsafeCell<T>,
}

// SAFETY: The lock owns its value, so it may go to another thread if the value may.
unsafe impl<T: Send, C: Visible> Send for HandoffLock<T, C> {}
// SAFETY: By the type invariants only one thread at a time reaches the value, through the guard, so
// sharing the lock only ever moves access to the value between threads.
unsafe impl<T: Send, C: Visible> Sync for HandoffLock<T, C> {}

impl<T, C: Visible> HandoffLock<T, C> {
    /// Creates an initialiser for a lock that is not held.
    pub(crate) fn new(status: SharedObject<StatusWord<C>>, value: T) -> impl PinInit<Self> {
        // INVARIANT: `status` is the only way to its word, which nobody has changed therefore:
        // `IN_PROGRESS` is clear, and there is no guard.
        pin_init!(Self {
            status,
            holder <- Holder::new(),
            value: UnsafeCell::new(value),
        })
    }

    /// Waits for the holder on PREEMPT_RT. The holder inherits the caller's priority. Returns false
    /// without waiting on other kernels, where the holder is not preemptible, and if the caller must
    /// not sleep.
    #[inline(always)]
    pub(crate) fn wait(&self) -> bool {
        self.holder.wait()
    }

    /// Returns the word. Any context.
    pub(crate) fn word(&self) -> u32 {
        self.status.word.load(Acquire)
    }

    /// What the user keeps beside the word.
    #[inline]
    pub(crate) fn stats(&self) -> &C {
        &self.status.stats
    }

    /// Changes the word by `f`, which may be called several times and must be pure. The first try
    /// is made with `likely` for the word, which saves a look at it and is all that is inlined.
    ///
    /// Returns a guard if this call set [`IN_PROGRESS`]. A holder's bit cannot be taken away: if the lock
    /// is held, [`IN_PROGRESS`] and [`PARKED`] stay as they are whatever `f` says. Fully ordered, also when
    /// `f` changes nothing. Any context; neither sleeps nor allocates.
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

    fn as_ptr(&self) -> *mut kernel::bindings::atomic_t {
        // `Atomic<u32>` is transparent, and the same four bytes as the C type.
        (&raw const self.status.word).cast_mut().cast()
    }

    /// Tries until it works.
    #[cold]
    fn update_from<R>(
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

    /// Takes over a parked lock. Returns none if it is not parked. Fully ordered if it is. Any context.
    pub(crate) fn unpark(&self) -> Option<HandoffGuard<'_, T, C>> {
        let mut word = self.word();
        while word & PARKED != 0 {
            match self.enter(word, word & !PARKED) {
                // INVARIANT: `PARKED` was set, so there was no guard; this compare-exchange cleared it.
                Ok(held) => return Some(self.guard(held)),
                Err(now) => word = now,
            }
        }
        None
    }

    /// Tries to exchange `word` for `new`, for a guard; if the word is not `word`, returns what it is.
    #[inline(always)]
    fn enter(&self, word: u32, new: u32) -> Result<Held<'_>, u32> {
        let held = self.holder.enter();
        // SAFETY: The pointer is valid. A full compare-exchange; disables preemption if it succeeds.
        let now =
            unsafe { bindings::doorbell_handoff_enter(self.as_ptr(), word as c_int, new as c_int) };
        if now as u32 == word {
            Ok(held)
        } else {
            Err(now as u32)
        }
    }

    /// Creates a guard. The caller has made its invariants, and the lock's, true.
    #[inline(always)]
    fn guard<'a>(&'a self, held: Held<'a>) -> HandoffGuard<'a, T, C> {
        HandoffGuard {
            lock: self,
            held: Some(held),
            _not_send: NotThreadSafe,
        }
    }

    /// One try; if the word is not `word`, returns what it is.
    #[inline(always)]
    fn try_update<R>(
        &self,
        word: u32,
        f: &impl Fn(u32) -> (u32, R),
    ) -> Result<(R, Option<HandoffGuard<'_, T, C>>), u32> {
        let (new, result) = f(word);
        let new = new & !PARKED | word & (IN_PROGRESS | PARKED);
        if new & !word & IN_PROGRESS == 0 {
            self.status.word.cmpxchg(word, new, Full)?;
            return Ok((result, None));
        }
        let held = self.enter(word, new)?;
        // INVARIANT: `IN_PROGRESS` was clear, so there was no guard; this compare-exchange set it, so
        // nobody else can have created one for the same transition.
        let guard = self.guard(held);
        Ok((result, Some(guard)))
    }
}

/// Exclusive access to the value of a [`HandoffLock`].
///
/// # Invariants
///
/// This is the only guard of `lock`; [`IN_PROGRESS`] is set in its word, and [`PARKED`] is clear.
#[must_use = "dropping the guard gives the lock up without looking at what others left in the word"]
pub(crate) struct HandoffGuard<'a, T, C: Visible> {
    lock: &'a HandoffLock<T, C>,
    /// None once the lock has been given up.
    held: Option<Held<'a>>,
    _not_send: NotThreadSafe,
}

impl<T, C: Visible> HandoffGuard<'_, T, C> {
    /// Gives the lock up if nothing but [`IN_PROGRESS`] is set in its word; returns the guard if there is.
    /// Fully ordered.
    #[inline(always)]
    pub(crate) fn release_idle(self) -> Result<(), Self> {
        match self.release(IN_PROGRESS, 0) {
            Ok(()) => {
                self.forget();
                Ok(())
            }
            Err(_) => Err(self),
        }
    }

    /// Ends the guard without its `drop`, which would clear the next holder's bit.
    #[inline(always)]
    fn forget(mut self) {
        self.held = None;
        core::mem::forget(self);
    }

    /// Parks the lock: it stays held, by no thread, until [`HandoffLock::unpark`]. Calls `last`, which has to
    /// make another thread call that, before the caller can be preempted.
    pub(crate) fn park(self, last: impl FnOnce()) {
        let preemption = Unpreempted::new();
        let mut word = self.lock.word();
        while let Err(now) = self.release(word, word | PARKED) {
            word = now;
        }
        last();
        drop(preemption);
        // INVARIANT: `PARKED` is set, and the guard goes.
        self.forget();
    }

    /// Changes the word by `f`, which may be called several times and must be pure; clearing
    /// [`IN_PROGRESS`] gives the lock up. If `f` has returned something `urgent` then, `last` is called
    /// with it before the caller can be preempted: what others will find in the word is looked after
    /// by then.
    ///
    /// Returns the guard if `f` left [`IN_PROGRESS`] set. Fully ordered.
    pub(crate) fn update<R>(
        self,
        f: impl Fn(u32) -> (u32, R),
        urgent: impl Fn(&R) -> bool,
        last: impl FnOnce(&R),
    ) -> (R, Option<Self>) {
        let mut word = self.lock.word();
        loop {
            let (new, result) = f(word);
            let new = new & !PARKED;
            let tried = if new & IN_PROGRESS != 0 {
                match self.lock.status.word.cmpxchg(word, new, Full) {
                    Ok(_) => return (result, Some(self)),
                    Err(now) => Err(now),
                }
            } else if urgent(&result) {
                let preemption = Unpreempted::new();
                let left = self.release(word, new);
                if left.is_ok() {
                    last(&result);
                    drop(preemption);
                    self.forget();
                    return (result, None);
                }
                left
            } else {
                self.release(word, new)
            };
            match tried {
                Ok(()) => {
                    self.forget();
                    return (result, None);
                }
                Err(now) => word = now,
            }
        }
    }

    /// Tries to exchange `word` for `new`, which has [`IN_PROGRESS`] clear or [`PARKED`] set. Returns the word
    /// if it is another one. If the exchange succeeds there is no guard any more: forget it.
    #[inline(always)]
    fn release(&self, word: u32, new: u32) -> Result<(), u32> {
        // SAFETY: The pointer is valid. A full compare-exchange, as above; enables preemption, which
        // was disabled for this guard, if it succeeds.
        let now = unsafe {
            bindings::doorbell_handoff_leave(self.lock.as_ptr(), word as c_int, new as c_int)
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
        // SAFETY: By the type invariants this is the only guard, and the value is reached through
        // a guard only; the borrow of `self` keeps `deref_mut` away.
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
        // INVARIANT: The guard goes, and the bit with it.
        let mut word = IN_PROGRESS;
        while let Err(now) = self.release(word, word & !IN_PROGRESS) {
            word = now;
        }
    }
}
