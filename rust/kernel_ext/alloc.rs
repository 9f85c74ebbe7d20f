// SPDX-License-Identifier: GPL-2.0

//! Allocation flags for memory that a system call makes the kernel keep.
//!
//! # Examples
//!
//! ```
//! use crate::kernel_ext::alloc::user_alloc_flags;
//!
//! // Charged to the caller's memory cgroup; fails without a warning.
//! let numbers: KVVec<u64> = KVVec::with_capacity(1 << 16, user_alloc_flags())?;
//! ```

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

/// Makes an allocation fail instead of calling the OOM killer, whether the machine or the memory
/// cgroup has no memory left. The kernel tries reclaim as hard as without this flag.
const __GFP_RETRY_MAYFAIL: Flags = {
    // Checks that the conversion returns the kernel's numbers for the constants of the kernel
    // crate.
    assert!(raw(GFP_ATOMIC) == kbindings::GFP_ATOMIC);
    assert!(raw(GFP_KERNEL) == kbindings::GFP_KERNEL);
    assert!(raw(__GFP_NOWARN) == kbindings::__GFP_NOWARN);
    // SAFETY: `Flags` is a structure of one `u32`: it has the same size (or this would not build)
    // and no other content. Each number is a valid value of it.
    unsafe { transmute::<u32, Flags>(bindings::DOORBELL_GFP_RETRY_MAYFAIL) }
};

const fn raw(flags: Flags) -> u32 {
    // SAFETY: `Flags` is a structure of one `u32`, as above. Each value of it is a valid `u32`.
    unsafe { transmute::<Flags, u32>(flags) }
}

/// Returns the flags for memory that a caller makes the kernel keep. The memory is charged to the
/// caller's memory cgroup.
///
/// If no memory is left, the allocation fails with ENOMEM: no process is killed, and nothing is
/// logged.
pub(crate) fn user_alloc_flags() -> Flags {
    GFP_KERNEL_ACCOUNT | __GFP_NOWARN | __GFP_RETRY_MAYFAIL
}
