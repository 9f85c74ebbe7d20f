// SPDX-License-Identifier: GPL-2.0

//! Interfaces of the kernel crate that differ between Linux 7.2 and 7.3, under the names of 7.3.
//!
//! All code outside this file and `compat/` is the same for both. Kbuild sets `doorbell_linux_7_2`. When
//! 7.3 is the oldest kernel that matters, the users import these names from [`kernel`] again.

#[cfg(doorbell_linux_7_2)]
mod linux_7_2;
pub(crate) mod misc_device;

#[cfg(doorbell_linux_7_2)]
pub(crate) use self::linux_7_2::{
    barrier,
    local_interrupt_disable,
    new_spinlock_irq,
    raw_init,
    synchronize_rcu,
    SpinLockIrq,
    ELOOP,
    ENOBUFS,
    EOPNOTSUPP,
    MAYSHARE, //
};
#[cfg(not(doorbell_linux_7_2))]
pub(crate) use kernel::{
    error::code::{
        ELOOP,
        ENOBUFS,
        EOPNOTSUPP, //
    },
    interrupt::local_interrupt_disable,
    mm::virt::flags::MAYSHARE,
    new_spinlock_irq,
    sync::{
        barrier,
        rcu::synchronize_rcu,
        SpinLockIrq, //
    },
};
#[cfg(not(doorbell_linux_7_2))]
pub(crate) use pin_init::raw_init;

/// The timer is not started again. In some kernels `hrtimer_restart` is an integer, in others a
/// structure, and the constant has another name.
pub(crate) const HRTIMER_NORESTART: kernel::bindings::hrtimer_restart = {
    assert!(size_of::<kernel::bindings::hrtimer_restart>() == size_of::<u32>());
    // SAFETY: It is an integer, or a structure of one, and `helpers.c` asserts that the value is 0.
    unsafe { core::mem::zeroed() }
};
