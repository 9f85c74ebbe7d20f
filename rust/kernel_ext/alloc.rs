// SPDX-License-Identifier: GPL-2.0

//! Allocation flags for memory that a system call makes the kernel keep.

use crate::bindings;
use core::mem::transmute;
use kernel::{
    alloc::{
        flags::{
            GFP_ATOMIC,
            GFP_KERNEL,
            GFP_KERNEL_ACCOUNT,
            __GFP_NOWARN, //
        },
        Flags, //
    },
    bindings as kbindings, //
};

/// Fails instead of calling the OOM killer, whether the machine has no memory left or the memory
/// cgroup. Reclaim is tried as hard as without it.
const __GFP_RETRY_MAYFAIL: Flags = {
    // The way back from the constants that there are leads to the kernel's numbers.
    assert!(raw(GFP_ATOMIC) == kbindings::GFP_ATOMIC);
    assert!(raw(GFP_KERNEL) == kbindings::GFP_KERNEL);
    assert!(raw(__GFP_NOWARN) == kbindings::__GFP_NOWARN);
    // SAFETY: `Flags` is a structure of one `u32`, so it has its size (or this would not build) and
    // nothing else in it, and each of the numbers is one of its values.
    unsafe { transmute::<u32, Flags>(bindings::DOORBELL_GFP_RETRY_MAYFAIL) }
};

const fn raw(flags: Flags) -> u32 {
    // SAFETY: `Flags` is a structure of one `u32`, as above; each of those is a valid `u32`.
    unsafe { transmute::<Flags, u32>(flags) }
}

/// Returns the flags for memory that a caller makes the kernel keep. It is charged to the caller's
/// memory cgroup. If there is none left, the allocation fails with ENOMEM: no process is killed, and
/// nothing is logged.
pub(crate) fn user_alloc_flags() -> Flags {
    GFP_KERNEL_ACCOUNT | __GFP_NOWARN | __GFP_RETRY_MAYFAIL
}
