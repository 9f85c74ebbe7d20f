// SPDX-License-Identifier: GPL-2.0

//! A user's RLIMIT_MEMLOCK.
//!
//! It limits the pages that the kernel keeps for a user and that are neither swapped nor charged to a
//! memory cgroup. io_uring and iommufd charge the same number, for the same reason.
//!
//! C header: [`include/linux/sched/user.h`](srctree/include/linux/sched/user.h).

use crate::bindings;
use core::ptr::NonNull;
use kernel::{
    bindings as kbindings,
    prelude::*, //
};

/// The account of a user; [`None`] for one that RLIMIT_MEMLOCK does not limit.
///
/// # Invariants
///
/// The pointer is valid, and a reference to it is owned.
pub(crate) struct MemlockAccount(Option<NonNull<kbindings::user_struct>>);

// SAFETY: A reference to a user may be used and dropped on any thread.
unsafe impl Send for MemlockAccount {}
// SAFETY: As above; the number is atomic.
unsafe impl Sync for MemlockAccount {}

impl MemlockAccount {
    /// Returns the account of the current task's user. With CAP_IPC_LOCK there is no limit. Process
    /// context.
    pub(crate) fn current() -> Self {
        // INVARIANT: It is null or a reference, which is owned.
        //
        // SAFETY: No requirements.
        Self(NonNull::new(unsafe { bindings::doorbell_memlock_user() }))
    }

    /// Charges `pages`. The limit is the current task's. Process context.
    ///
    /// # Errors
    ///
    /// ENOSPC: that would be over the limit.
    pub(crate) fn charge(&self, pages: usize) -> Result {
        let Some(user) = self.0 else {
            return Ok(());
        };
        // SAFETY: Valid by the type invariants.
        if !unsafe { bindings::doorbell_memlock_charge(user.as_ptr(), pages) } {
            return Err(ENOSPC);
        }
        Ok(())
    }

    /// Takes the charge of `pages` back. Any context.
    pub(crate) fn uncharge(&self, pages: usize) {
        if let Some(user) = self.0 {
            // SAFETY: Valid by the type invariants.
            unsafe { bindings::doorbell_memlock_uncharge(user.as_ptr(), pages) };
        }
    }
}

impl Drop for MemlockAccount {
    fn drop(&mut self) {
        if let Some(user) = self.0 {
            // SAFETY: The reference is owned.
            unsafe { bindings::doorbell_memlock_user_put(user.as_ptr()) };
        }
    }
}
