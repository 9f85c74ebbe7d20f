// SPDX-License-Identifier: GPL-2.0

//! A timer of an object that few objects of its type need: it is allocated when it is needed.
//!
//! Mainline's [`kernel::time::hrtimer`] embeds the timer in the object, 64 bytes, and consumes a
//! pointer to the object when the timer is started. Here a field of eight bytes points to the timer
//! and to data of the user. The callback borrows the object, whose destruction waits for it; see
//! [`super::callback`].
//!
//! # Examples
//!
//! ```
//! use crate::kernel_ext::{
//!     callback::impl_has_callbacks,
//!     lazy_timer::{Expire, LazyTimer},
//! };
//!
//! #[pin_data(PinnedDrop)]
//! struct Alarm {
//!     #[pin]
//!     timer: LazyTimer<Self>,
//! }
//!
//! impl_has_callbacks!(Alarm {
//!     timer: LazyTimer<Self>,
//! });
//!
//! impl Expire for Alarm {
//!     /// A name, which only an alarm with a timer has.
//!     type Data = &'static str;
//!
//!     fn expire(self: Pin<&Self>) {
//!         if let Some(timer) = self.timer.get() {
//!             pr_info!("{}\n", timer.data());
//!         }
//!     }
//! }
//!
//! let alarm = KBox::pin_init(pin_init!(Alarm { timer <- LazyTimer::new() }), GFP_KERNEL)?;
//! alarm.as_ref().create_timer("tea", GFP_KERNEL)?;
//! if let Some(timer) = alarm.timer.get() {
//!     timer.start(1_000_000);
//!     timer.cancel();
//! }
//! ```
//!
//! C header: [`include/linux/hrtimer.h`](srctree/include/linux/hrtimer.h).

use super::{
    callback::{
        CallbackField,
        HasCallback, //
    },
    compat::HRTIMER_NORESTART,
    read_once::read_once, //
};
use core::{
    marker::PhantomPinned,
    ptr::null_mut, //
};
use kernel::{
    alloc::Flags,
    bindings,
    prelude::*,
    sync::atomic::{
        Atomic,
        Full, //
    },
    types::Opaque, //
};

/// An object with a timer.
pub(crate) trait Expire: HasCallback<LazyTimer<Self>> + Sync {
    /// The data that is allocated with the timer.
    type Data: Send + Sync;

    /// Runs when the timer expires, in hard interrupt context, also on PREEMPT_RT.
    fn expire(self: Pin<&Self>);

    /// Allocates the timer with `data`, unless the object has it already. Process context.
    ///
    /// # Errors
    ///
    /// ENOMEM.
    fn create_timer(self: Pin<&Self>, data: Self::Data, flags: Flags) -> Result {
        let field = field_of(self.get_ref());
        if field.get().is_some() {
            return Ok(());
        }
        let timer = KBox::new(
            Timer {
                raw: Opaque::uninit(),
                owner: self.get_ref(),
                data,
            },
            flags,
        )?;
        // SAFETY: The pointer is valid for writes, and the object stays where it is. The callback has
        // the type that the function expects.
        unsafe {
            bindings::hrtimer_setup(
                timer.raw.get(),
                Some(Timer::<Self>::entry),
                bindings::CLOCK_MONOTONIC as bindings::clockid_t,
                MODE,
            )
        };
        let timer = KBox::into_raw(timer);
        // ORDERING: Pairs with the address dependency in `LazyTimer::get`: the timer is set up before it can be
        // reached.
        // INVARIANT: It comes from `into_raw`, is set up, and its owner is the pinned object that has
        // this field. The exchange orders the writes to it before it can be reached.
        if field.timer.cmpxchg(null_mut(), timer, Full).is_err() {
            // SAFETY: It comes from `into_raw` above, and was neither published nor started.
            drop(unsafe { KBox::from_raw(timer) });
        }
        Ok(())
    }
}

fn field_of<T: Expire>(this: &T) -> &LazyTimer<T> {
    let base: *const T = this;
    // SAFETY: By the trait's requirements there is such a field at that offset.
    unsafe { &*base.byte_add(T::OFFSET).cast() }
}

/// Relative to now, and in hard interrupt context on PREEMPT_RT, too.
const MODE: bindings::hrtimer_mode = bindings::hrtimer_mode_HRTIMER_MODE_REL_HARD;

/// The field of an object that may have a timer.
///
/// # Invariants
///
/// `timer` is null or came from [`KBox::into_raw`], and is owned. Once set it never changes. Its `raw` is
/// set up, and its `owner` is the pinned object whose field this is.
#[pin_data(PinnedDrop)]
pub(crate) struct LazyTimer<T: Expire> {
    timer: Atomic<*mut Timer<T>>,
    // The owner of the timer must not move.
    #[pin]
    _pinned: PhantomPinned,
}

// SAFETY: The timer may be used, and freed, on any thread, and so may its data.
unsafe impl<T: Expire> Send for LazyTimer<T> {}
// SAFETY: As above. The C functions do their own locking.
unsafe impl<T: Expire> Sync for LazyTimer<T> {}

impl<T: Expire> LazyTimer<T> {
    /// Creates an initialiser for a field without a timer.
    pub(crate) fn new() -> impl PinInit<Self> {
        // INVARIANT: Null.
        pin_init!(Self {
            timer: Atomic::new(null_mut()),
            _pinned: PhantomPinned,
        })
    }

    /// Returns the timer, if the object has one. Any context.
    #[inline(always)]
    pub(crate) fn get(&self) -> Option<&Timer<T>> {
        // SAFETY: By the type invariants it is null, or an object that stays as long as `self`. The
        // address dependency orders its accesses after the exchange that published it.
        unsafe { read_once(&self.timer).as_ref() }
    }
}

// SAFETY: `finish` waits for the callback, even if that has started the timer again. The other callbacks of
// the owner have ended by then, so nothing creates or starts the timer afterwards. A type has one such field:
// `Expire` has the callback of the field for the type itself.
unsafe impl<T: Expire> CallbackField for LazyTimer<T> {
    #[inline]
    fn is_unused(&self) -> bool {
        self.get().is_none()
    }

    #[inline]
    unsafe fn finish(&self) {
        if let Some(timer) = self.get() {
            timer.cancel();
        }
    }
}

#[pinned_drop]
impl<T: Expire> PinnedDrop for LazyTimer<T> {
    #[inline(always)]
    fn drop(self: Pin<&mut Self>) {
        if self.get().is_none() {
            return;
        }
        // ORDERING: Pairs with the exchange in `Expire::create_timer`; the object is dropped, so no other
        // thread has the field.
        // INVARIANT: From here on there is no timer.
        let timer = self.timer.xchg(null_mut(), Full);
        // SAFETY: By the type invariants it came from `into_raw` and is owned. Its callback has ended, and so have
        // other callbacks of the object: the `drop` of the object has closed and finished them.
        drop(unsafe { KBox::from_raw(timer) });
    }
}

/// A timer, and data of its user.
#[repr(C)]
pub(crate) struct Timer<T: Expire> {
    /// The first field, so that a pointer to it is also one to the structure.
    raw: Opaque<bindings::hrtimer>,
    owner: *const T,
    data: T::Data,
}

impl<T: Expire> Timer<T> {
    /// Returns the data.
    #[inline]
    pub(crate) fn data(&self) -> &T::Data {
        &self.data
    }

    /// Starts the timer, which expires once, `after` nanoseconds from now. If it is queued already, it
    /// expires at the new time. Any context but NMI.
    pub(crate) fn start(&self, after: u32) {
        // SAFETY: A shared reference exists only to a timer that is set up. The timer is cancelled
        // before it is freed.
        unsafe {
            bindings::hrtimer_start_range_ns(
                self.raw.get(),
                bindings::ktime_t::from(after),
                0,
                MODE,
            )
        };
    }

    /// Removes the timer from the queue. Returns false if it is not queued, or if its callback runs. Any
    /// context but NMI; does not wait.
    pub(crate) fn remove(&self) -> bool {
        // SAFETY: As in `start`.
        unsafe { bindings::hrtimer_try_to_cancel(self.raw.get()) > 0 }
    }

    /// Removes the timer from the queue, and waits until its callback does not run. Returns true if it
    /// was queued. Does not sleep.
    ///
    /// # Context
    ///
    /// Any context that the callback cannot interrupt for ever: not a hard interrupt.
    pub(crate) fn cancel(&self) -> bool {
        // SAFETY: As in `start`.
        unsafe { bindings::hrtimer_cancel(self.raw.get()) != 0 }
    }

    /// Calls [`Expire::expire`] for the owner of `raw`.
    ///
    /// # Safety
    ///
    /// `raw` must be the first field of a `Timer<T>` whose owner is pinned and alive.
    unsafe extern "C" fn entry(raw: *mut bindings::hrtimer) -> bindings::hrtimer_restart {
        // SAFETY: By the requirements of this function. Before the owner drops a field, of which one frees the
        // timer, it waits for this call.
        let timer = unsafe { &*raw.cast::<Self>() };
        // SAFETY: As above.
        T::expire(unsafe { Pin::new_unchecked(&*timer.owner) });
        HRTIMER_NORESTART
    }
}
