// SPDX-License-Identifier: GPL-2.0

//! A value behind one atomic word, for holders that nobody ever waits for.
//!
//! A [`Gate`] is what a lock would be whose contenders leave a note instead of waiting. Its word
//! has one bit, [`HELD`], that says that somebody has access to the value; the other bits belong to
//! the user, who changes all of them, [`HELD`] included, in a single compare-exchange by a pure
//! function. Whoever sets [`HELD`] gets a [`Guard`] and with it exclusive access to the value;
//! whoever finds it set leaves word (a bit of its own) and goes, and the holder finds it when it
//! leaves, because leaving is a compare-exchange of the same word.
//!
//! The word is the first thing in a [`Face`], which userspace may look at.
//!
//! Whoever is preempted while holding delays everybody who has left something to do. So holding
//! disables preemption, like holding a spinlock. On PREEMPT_RT, where a spinlock's holder is
//! preemptible, a gate's is, too, and inherits the priority of those who wait ([`Gate::wait`]).

use super::{
    holder::{
        Held,
        Holder, //
    },
    preempt::Unpreempted,
    shared_pages::{
        SharedObject,
        Visible, //
    }, //
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
pub(crate) const HELD: u32 = 1 << 31;

/// Set beside [`HELD`] when the holder has parked the gate: no thread holds it. [`Gate::unpark`] takes it
/// over.
pub(crate) const PARKED: u32 = 1 << 29;

/// What is to be seen of a gate: the word, and what the user keeps beside it.
#[repr(C)]
pub(crate) struct Face<C> {
    word: Atomic<u32>,
    _reserved: u32,
    beside: C,
}

impl<C> Face<C> {
    /// With a word of zero.
    pub(crate) const fn new(beside: C) -> Self {
        const { assert!(size_of::<Self>() == 2 * size_of::<u32>() + size_of::<C>()) };
        Self {
            word: Atomic::new(0),
            _reserved: 0,
            beside,
        }
    }
}

// SAFETY: No padding (`new` has checked that), and no pointers if there are none in `C`.
unsafe impl<C: Visible> Visible for Face<C> {}

/// A value and the word that guards it.
///
/// # Invariants
///
/// - [`HELD`] is set in the face's word if and only if a [`Guard`] of this gate exists, or [`PARKED`] is
///   set, but not both.
/// - At most one [`Guard`] exists, and `value` is accessed through it only.
/// - Unless the kernel is PREEMPT_RT, preemption was disabled once for an existing [`Guard`].
#[pin_data]
pub(crate) struct Gate<T, C: Visible> {
    face: SharedObject<Face<C>>,
    #[pin]
    holder: Holder,
    value: UnsafeCell<T>,
}

// SAFETY: The gate owns its value, so it may go to another thread if the value may.
unsafe impl<T: Send, C: Visible> Send for Gate<T, C> {}
// SAFETY: By the type invariants only one thread at a time reaches the value, through the guard, so
// sharing the gate only ever moves access to the value between threads.
unsafe impl<T: Send, C: Visible> Sync for Gate<T, C> {}

impl<T, C: Visible> Gate<T, C> {
    /// Creates an initialiser for a gate that is not held.
    pub(crate) fn new(face: SharedObject<Face<C>>, value: T) -> impl PinInit<Self> {
        // INVARIANT: `face` is the only way to its word, which nobody has changed therefore:
        // `HELD` is clear, and there is no guard.
        pin_init!(Self {
            face,
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
        self.face.word.load(Acquire)
    }

    /// What the user keeps beside the word.
    #[inline]
    pub(crate) fn beside(&self) -> &C {
        &self.face.beside
    }

    /// Changes the word by `f`, which may be called several times and must be pure. The first try
    /// is made with `likely` for the word, which saves a look at it and is all that is inlined.
    ///
    /// Returns a guard if this call set [`HELD`]. A holder's bit cannot be taken away: if the gate
    /// is held, [`HELD`] and [`PARKED`] stay as they are whatever `f` says. Fully ordered, also when
    /// `f` changes nothing. Any context; neither sleeps nor allocates.
    #[inline(always)]
    pub(crate) fn update<R>(
        &self,
        likely: u32,
        f: impl Fn(u32) -> (u32, R),
    ) -> (R, Option<Guard<'_, T, C>>) {
        match self.try_update(likely, &f) {
            Ok(done) => done,
            Err(now) => self.update_from(now, f),
        }
    }

    fn as_ptr(&self) -> *mut kernel::bindings::atomic_t {
        // `Atomic<u32>` is transparent, and the same four bytes as the C type.
        (&raw const self.face.word).cast_mut().cast()
    }

    /// Tries until it works.
    #[cold]
    fn update_from<R>(
        &self,
        mut word: u32,
        f: impl Fn(u32) -> (u32, R),
    ) -> (R, Option<Guard<'_, T, C>>) {
        loop {
            match self.try_update(word, &f) {
                Ok(done) => return done,
                Err(now) => word = now,
            }
        }
    }

    /// Takes over a parked gate. Returns none if it is not parked. Fully ordered if it is. Any context.
    pub(crate) fn unpark(&self) -> Option<Guard<'_, T, C>> {
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
            unsafe { bindings::doorbell_gate_enter(self.as_ptr(), word as c_int, new as c_int) };
        if now as u32 == word {
            Ok(held)
        } else {
            Err(now as u32)
        }
    }

    /// Creates a guard. The caller has made its invariants, and the gate's, true.
    #[inline(always)]
    fn guard<'a>(&'a self, held: Held<'a>) -> Guard<'a, T, C> {
        Guard {
            gate: self,
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
    ) -> Result<(R, Option<Guard<'_, T, C>>), u32> {
        let (new, result) = f(word);
        let new = new & !PARKED | word & (HELD | PARKED);
        if new & !word & HELD == 0 {
            self.face.word.cmpxchg(word, new, Full)?;
            return Ok((result, None));
        }
        let held = self.enter(word, new)?;
        // INVARIANT: `HELD` was clear, so there was no guard; this compare-exchange set it, so
        // nobody else can have created one for the same transition.
        let guard = self.guard(held);
        Ok((result, Some(guard)))
    }
}

/// Exclusive access to the value of a [`Gate`].
///
/// # Invariants
///
/// This is the only guard of `gate`; [`HELD`] is set in its word, and [`PARKED`] is clear.
#[must_use = "dropping the guard gives the gate up without looking at what others left in the word"]
pub(crate) struct Guard<'a, T, C: Visible> {
    gate: &'a Gate<T, C>,
    /// None once the gate has been given up.
    held: Option<Held<'a>>,
    _not_send: NotThreadSafe,
}

impl<T, C: Visible> Guard<'_, T, C> {
    /// Gives the gate up if nothing but [`HELD`] is set in its word; returns the guard if there is.
    /// Fully ordered.
    #[inline(always)]
    pub(crate) fn leave_idle(self) -> Result<(), Self> {
        match self.leave(HELD, 0) {
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

    /// Parks the gate: it stays held, by no thread, until [`Gate::unpark`]. Calls `last`, which has to
    /// make another thread call that, before the caller can be preempted.
    pub(crate) fn park(self, last: impl FnOnce()) {
        let preemption = Unpreempted::new();
        let mut word = self.gate.word();
        while let Err(now) = self.leave(word, word | PARKED) {
            word = now;
        }
        last();
        drop(preemption);
        // INVARIANT: `PARKED` is set, and the guard goes.
        self.forget();
    }

    /// Changes the word by `f`, which may be called several times and must be pure; clearing
    /// [`HELD`] gives the gate up. If `f` has returned something `urgent` then, `last` is called
    /// with it before the caller can be preempted: what others will find in the word is looked after
    /// by then.
    ///
    /// Returns the guard if `f` left [`HELD`] set. Fully ordered.
    pub(crate) fn update<R>(
        self,
        f: impl Fn(u32) -> (u32, R),
        urgent: impl Fn(&R) -> bool,
        last: impl FnOnce(&R),
    ) -> (R, Option<Self>) {
        let mut word = self.gate.word();
        loop {
            let (new, result) = f(word);
            let new = new & !PARKED;
            let tried = if new & HELD != 0 {
                match self.gate.face.word.cmpxchg(word, new, Full) {
                    Ok(_) => return (result, Some(self)),
                    Err(now) => Err(now),
                }
            } else if urgent(&result) {
                let preemption = Unpreempted::new();
                let left = self.leave(word, new);
                if left.is_ok() {
                    last(&result);
                    drop(preemption);
                    self.forget();
                    return (result, None);
                }
                left
            } else {
                self.leave(word, new)
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

    /// Tries to exchange `word` for `new`, which has [`HELD`] clear or [`PARKED`] set. Returns the word
    /// if it is another one. If the exchange succeeds there is no guard any more: forget it.
    #[inline(always)]
    fn leave(&self, word: u32, new: u32) -> Result<(), u32> {
        // SAFETY: The pointer is valid. A full compare-exchange, as above; enables preemption, which
        // was disabled for this guard, if it succeeds.
        let now = unsafe {
            bindings::doorbell_gate_leave(self.gate.as_ptr(), word as c_int, new as c_int)
        };
        if now as u32 == word {
            Ok(())
        } else {
            Err(now as u32)
        }
    }
}

impl<T, C: Visible> Deref for Guard<'_, T, C> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: By the type invariants this is the only guard, and the value is reached through
        // a guard only; the borrow of `self` keeps `deref_mut` away.
        unsafe { &*self.gate.value.get() }
    }
}

impl<T, C: Visible> DerefMut for Guard<'_, T, C> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: As in `deref`, and `self` is borrowed exclusively.
        unsafe { &mut *self.gate.value.get() }
    }
}

impl<T, C: Visible> Drop for Guard<'_, T, C> {
    fn drop(&mut self) {
        // INVARIANT: The guard goes, and the bit with it.
        let mut word = HELD;
        while let Err(now) = self.leave(word, word & !HELD) {
            word = now;
        }
    }
}
