// SPDX-License-Identifier: GPL-2.0

//! `struct doorbell_callback`: a function of another module that a line calls.

use crate::bindings;
use core::ptr::NonNull;

/// A callback of another module.
///
/// # Invariants
///
/// Points to a `struct doorbell_callback` with a function, which stays valid, and may be called on
/// any thread, for as long as this object exists.
pub(crate) struct Callback(NonNull<bindings::doorbell_callback>);

// SAFETY: By the type invariants it may be called on any thread.
unsafe impl Send for Callback {}
// SAFETY: As above; several threads may call it at the same time.
unsafe impl Sync for Callback {}

impl Callback {
    /// Creates a callback, or returns none if there is no function to call.
    ///
    /// # Safety
    ///
    /// `callback` must be null or valid for reads, and then stay valid until the object that is
    /// returned is dropped, and its function must be one that may be called with it from any
    /// context that [`Callback::call`] may be called in.
    pub(crate) unsafe fn new(callback: *mut bindings::doorbell_callback) -> Option<Self> {
        let callback = NonNull::new(callback)?;
        // SAFETY: By the requirements of this function.
        unsafe { callback.as_ref() }.func?;
        // INVARIANT: By the requirements of this function.
        Some(Self(callback))
    }

    /// Returns the identity, which no other callback has at the same time.
    pub(crate) fn id(&self) -> usize {
        self.0.addr().get()
    }

    /// Calls the function for a delivery, or with an `event`, that came through `depth` relays. A ring by the
    /// function continues from there. Context as of [`Callback::call`].
    #[inline(always)]
    pub(crate) fn call_at(&self, depth: u32, event: u32) {
        // SAFETY: Valid by the type invariants, and it has a function.
        unsafe { bindings::doorbell_call(self.0.as_ptr(), depth, event) };
    }

    /// Calls the function.
    ///
    /// # Context
    ///
    /// The owner of the line calls a trigger: in the context of the ring, in an interrupt, or in a worker,
    /// and with preemption off unless the kernel is PREEMPT_RT. A notifier is called in the context of the
    /// transition.
    #[inline]
    pub(crate) fn call(&self, event: u32) {
        // SAFETY: Valid by the type invariants.
        if let Some(func) = unsafe { self.0.as_ref() }.func {
            // SAFETY: By the type invariants.
            unsafe { func(self.0.as_ptr(), event) };
        }
    }
}
