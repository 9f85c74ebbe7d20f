// SPDX-License-Identifier: GPL-2.0

//! A user's RLIMIT_MEMLOCK.
//!
//! It limits the pages that the kernel keeps for a user and that are neither swapped nor charged to
//! a memory cgroup. io_uring and iommufd charge the same counter, for the same reason.
//!
//! # Examples
//!
//! ```
//! use crate::kernel_ext::memlock::MemlockAccount;
//!
//! let account = MemlockAccount::current();
//! // Fails if RLIMIT_MEMLOCK does not allow it.
//! account.charge(4)?;
//! account.uncharge(4);
//! ```
//!
//! C header: [`include/linux/sched/user.h`](srctree/include/linux/sched/user.h).

use crate::bindings;
use core::ptr::NonNull;
use kernel::{
    bindings as kbindings,
    prelude::*, //
};

/// The RLIMIT_MEMLOCK account of a user; [`None`] for a user without that limit.
///
/// # Invariants
///
/// If there is a pointer, it is valid, and the object owns a reference to the user.
pub(crate) struct MemlockAccount(Option<NonNull<kbindings::user_struct>>);

// SAFETY: A reference to a user may be used and dropped on any thread.
unsafe impl Send for MemlockAccount {}
// SAFETY: As above. The counter is atomic.
unsafe impl Sync for MemlockAccount {}

impl MemlockAccount {
    /// Returns the account of the current task's user. A task with CAP_IPC_LOCK has no limit.
    /// Process context.
    pub(crate) fn current() -> Self {
        // INVARIANT: The pointer is null or a reference, which the object owns.
        //
        // SAFETY: No requirements.
        Self(NonNull::new(unsafe { bindings::doorbell_memlock_user() }))
    }

    /// Charges `pages` to the account. The limit is the current task's. Process context.
    ///
    /// # Errors
    ///
    /// ENOSPC: the charge would exceed the limit.
    pub(crate) fn charge(&self, pages: usize) -> Result {
        let Some(user) = self.0 else {
            return Ok(());
        };
        // SAFETY: The pointer is valid by the type invariants.
        if !unsafe { bindings::doorbell_memlock_charge(user.as_ptr(), pages) } {
            return Err(ENOSPC);
        }
        Ok(())
    }

    /// Removes the charge of `pages`. Any context.
    pub(crate) fn uncharge(&self, pages: usize) {
        if let Some(user) = self.0 {
            // SAFETY: The pointer is valid by the type invariants.
            unsafe { bindings::doorbell_memlock_uncharge(user.as_ptr(), pages) };
        }
    }
}

impl Drop for MemlockAccount {
    fn drop(&mut self) {
        if let Some(user) = self.0 {
            // SAFETY: The object owns the reference.
            unsafe { bindings::doorbell_memlock_user_put(user.as_ptr()) };
        }
    }
}
