// SPDX-License-Identifier: GPL-2.0

//! Interfaces of the kernel crate that more than one file uses, and small ones that it lacks.
// begin out of tree
//!
//! Those that differ between Linux 7.2 and 7.3 have the names of 7.3.
//! All code outside this file and `compat/` is the same for both. Kbuild sets `doorbell_linux_7_2`. When
//! 7.3 is the oldest kernel that matters, the users import these names from [`kernel`] again.
// end out of tree

// No examples: it has names of the kernel crate, whose documentation has examples.

// begin out of tree
#[cfg(doorbell_linux_7_2)]
mod linux_7_2;
// end out of tree
pub(crate) mod misc_device;

// begin out of tree
#[cfg(doorbell_linux_7_2)]
pub(crate) use self::linux_7_2::{
    barrier,
    new_spinlock_irq,
    raw_init,
    synchronize_rcu,
    with_interrupts_disabled,
    SpinLockIrq,
    ELOOP,
    ENOBUFS,
    EOPNOTSUPP,
    MAYSHARE, //
};
#[cfg(not(doorbell_linux_7_2))]
// end out of tree
pub(crate) use kernel::{
    error::code::{
        ELOOP,
        ENOBUFS,
        EOPNOTSUPP, //
    },
    mm::virt::flags::MAYSHARE,
    new_spinlock_irq,
    sync::{
        barrier,
        rcu::synchronize_rcu,
        SpinLockIrq, //
    },
};
// begin out of tree
#[cfg(not(doorbell_linux_7_2))]
// end out of tree
pub(crate) use pin_init::raw_init;

/// The timer is not started again. In some kernels `hrtimer_restart` is an integer, in others a
/// structure, and the constant has another name.
pub(crate) const HRTIMER_NORESTART: kernel::bindings::hrtimer_restart = {
    assert!(size_of::<kernel::bindings::hrtimer_restart>() == size_of::<u32>());
    // SAFETY: It is an integer, or a structure of one, and `helpers.c` asserts that the value is 0.
    unsafe { core::mem::zeroed() }
};

/// Calls `f` with the interrupts of this CPU off. Any context.
// begin out of tree
// Linux 7.2 has no guard that may be dropped in any order.
#[cfg(not(doorbell_linux_7_2))]
// end out of tree
#[inline(always)]
pub(crate) fn with_interrupts_disabled<R>(f: impl FnOnce() -> R) -> R {
    let _interrupts = kernel::interrupt::local_interrupt_disable();
    f()
}
