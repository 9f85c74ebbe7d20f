// SPDX-License-Identifier: GPL-2.0

//! Priority inheritance for the holder of a gate.
//!
//! A gate's holder must not be preempted by a thread that is less urgent than one that waits for the
//! gate, or has left a bit for the holder. So preemption is off while a gate is held, as with a
//! spinlock. On PREEMPT_RT a spinlock's holder is preemptible, and inherits the priority of the
//! waiters. A gate's holder has a spinlock there, too, and a waiter takes that spinlock for a moment.

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

/// The spinlock of a gate's holder on PREEMPT_RT, and nothing on other kernels.
#[pin_data]
pub(crate) struct Holder {
    #[cfg(CONFIG_PREEMPT_RT)]
    #[pin]
    lock: SpinLock<()>,
    // A pinned structure has a field.
    #[cfg(not(CONFIG_PREEMPT_RT))]
    _none: (),
}

/// The holder's spinlock, held.
///
/// It is none if the holder must not sleep. Such a holder is not preemptible before it gives the gate
/// up, or it is a callback of another module.
pub(crate) struct Held<'a> {
    #[cfg(CONFIG_PREEMPT_RT)]
    _lock: Option<kernel::sync::lock::Guard<'a, (), SpinLockBackend>>,
    _holder: core::marker::PhantomData<&'a Holder>,
}

impl Holder {
    /// Creates an initialiser.
    pub(crate) fn new() -> impl PinInit<Self> {
        #[cfg(CONFIG_PREEMPT_RT)]
        return pin_init!(Self {
            lock <- new_spinlock!((), "doorbell_holder"),
        });
        #[cfg(not(CONFIG_PREEMPT_RT))]
        return pin_init!(Self { _none: () });
    }

    /// Takes the spinlock, before the gate is taken, if the caller may sleep. Does nothing on kernels
    /// other than PREEMPT_RT, where taking the gate disables preemption.
    #[inline(always)]
    pub(crate) fn enter(&self) -> Held<'_> {
        Held {
            #[cfg(CONFIG_PREEMPT_RT)]
            _lock: may_wait().then(|| self.lock.lock()),
            _holder: core::marker::PhantomData,
        }
    }

    /// Waits for the holder on PREEMPT_RT, which inherits the caller's priority. Returns false without
    /// waiting on other kernels, and if the caller must not sleep.
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

/// Returns true if the caller may sleep, and holds no lock that a holder of the gate could take.
#[cfg(CONFIG_PREEMPT_RT)]
fn may_wait() -> bool {
    // SAFETY: No requirements.
    unsafe { bindings::doorbell_signal_allowed() && bindings::doorbell_depth() == 0 }
}
