// SPDX-License-Identifier: GPL-2.0

//! Priority inheritance for the owner of a [`HandoffLock`](super::handoff_lock::HandoffLock).
//!
//! The owner must not be preempted by a thread that is less urgent than a waiter, or than a
//! contender that has set a bit for the owner. So preemption is off while the lock has an owner, as
//! with a spinlock. On PREEMPT_RT a spinlock's owner is preemptible, and inherits the priority of
//! the waiters. There the owner of a `HandoffLock` also owns a spinlock. A waiter acquires that
//! spinlock and releases it at once.
//!
//! # Examples
//!
//! ```
//! use crate::kernel_ext::owner_lock::OwnerLock;
//!
//! let lock = KBox::pin_init(OwnerLock::new(), GFP_KERNEL)?;
//! {
//!     // On PREEMPT_RT, a thread that calls `wait` meanwhile boosts this one.
//!     let _owned = lock.acquire();
//! }
//! // Elsewhere there is nothing to wait for, and this returns false.
//! lock.wait();
//! ```

#[cfg(CONFIG_PREEMPT_RT)]
use crate::bindings;
use kernel::prelude::*;
#[cfg(CONFIG_PREEMPT_RT)]
use kernel::{
    new_spinlock,
    sync::{
        lock::spinlock::SpinLockBackend,
        SpinLock, //
    }, //
};

/// A spinlock on PREEMPT_RT, and an empty structure on other kernels.
#[pin_data]
pub(crate) struct OwnerLock {
    #[cfg(CONFIG_PREEMPT_RT)]
    #[pin]
    lock: SpinLock<()>,
    // A pinned structure must have a field.
    #[cfg(not(CONFIG_PREEMPT_RT))]
    _none: (),
}

/// Proof that an [`OwnerLock`] was acquired, if the owner may sleep.
///
/// On PREEMPT_RT it has no spinlock if the owner must not sleep. Such an owner is not preemptible
/// before it releases the `HandoffLock`, or it is a callback of another module.
pub(crate) struct OwnerLockGuard<'a> {
    #[cfg(CONFIG_PREEMPT_RT)]
    _lock: Option<kernel::sync::lock::Guard<'a, (), SpinLockBackend>>,
    _owner: core::marker::PhantomData<&'a OwnerLock>,
}

impl OwnerLock {
    /// Creates an initialiser.
    pub(crate) fn new() -> impl PinInit<Self> {
        #[cfg(CONFIG_PREEMPT_RT)]
        return pin_init!(Self {
            lock <- new_spinlock!((), "doorbell_owner"),
        });
        #[cfg(not(CONFIG_PREEMPT_RT))]
        return pin_init!(Self { _none: () });
    }

    /// Acquires the spinlock, before the caller claims the `HandoffLock`. Does nothing if the
    /// caller must not sleep. Does nothing on kernels other than PREEMPT_RT either: there a claim
    /// disables preemption.
    #[inline(always)]
    pub(crate) fn acquire(&self) -> OwnerLockGuard<'_> {
        OwnerLockGuard {
            #[cfg(CONFIG_PREEMPT_RT)]
            _lock: may_wait().then(|| self.lock.lock()),
            _owner: core::marker::PhantomData,
        }
    }

    /// Waits for the owner on PREEMPT_RT. The owner inherits the caller's priority.
    ///
    /// Returns false without waiting on other kernels, and if the caller must not sleep.
    #[inline(always)]
    pub(crate) fn wait(&self) -> bool {
        #[cfg(CONFIG_PREEMPT_RT)]
        if may_wait() {
            drop(self.lock.lock());
            return true;
        }
        false
    }
}

/// Returns true if the caller may sleep, and owns no lock that an owner of the `HandoffLock` could
/// acquire.
#[cfg(CONFIG_PREEMPT_RT)]
fn may_wait() -> bool {
    // SAFETY: No requirements.
    unsafe { bindings::doorbell_signal_allowed() && bindings::doorbell_depth() == 0 }
}
