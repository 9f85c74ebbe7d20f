// SPDX-License-Identifier: GPL-2.0

//! An allocation flag that the kernel crate has no constant for.

use crate::bindings;
use core::mem::transmute;
use kernel::{
    alloc::{
        flags::{
            GFP_ATOMIC,
            GFP_KERNEL,
            __GFP_NOWARN, //
        },
        Flags, //
    },
    bindings as kbindings, //
};

/// Fails instead of calling the OOM killer, whether the machine has no memory left or the memory
/// cgroup. Reclaim is tried as hard as without it.
pub(crate) const __GFP_RETRY_MAYFAIL: Flags = {
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
