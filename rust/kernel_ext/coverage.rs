// SPDX-License-Identifier: GPL-2.0

//! Coverage of what a thread does on behalf of another process, for a fuzzer.
//!
//! KCOV records the system calls of the threads that enable it. A thread that does work for them records it in
//! sections of its own, which the fuzzer finds by a handle. Without CONFIG_KCOV nothing of this exists.
//!
//! # Examples
//!
//! ```
//! use crate::kernel_ext::coverage::CoverageHandle;
//!
//! // In the system call that causes the work:
//! let handle = CoverageHandle::current();
//! // In the thread that does the work:
//! let result = handle.record(|| 1 + 1);
//! ```
//!
//! C header: `include/linux/kcov.h`.

#[cfg(CONFIG_KCOV)]
use crate::bindings;

/// The handle of the process that has the work done.
#[derive(Clone, Copy)]
pub(crate) struct CoverageHandle {
    #[cfg(CONFIG_KCOV)]
    handle: u64,
}

impl CoverageHandle {
    /// Returns the handle of the current process. Process context.
    pub(crate) fn current() -> Self {
        Self {
            #[cfg(CONFIG_KCOV)]
            // SAFETY: It reads a field of the current task.
            handle: unsafe { bindings::doorbell_kcov_handle() },
        }
    }

    /// Calls `f`, and records it for the process.
    ///
    /// # Context
    ///
    /// Process context, in a thread that records nothing.
    pub(crate) fn record<R>(self, f: impl FnOnce() -> R) -> R {
        // SAFETY: By the requirements of this function. The section is ended below.
        #[cfg(CONFIG_KCOV)]
        unsafe {
            bindings::doorbell_kcov_start(self.handle)
        };
        let result = f();
        // SAFETY: Ends the section; does nothing if there is none.
        #[cfg(CONFIG_KCOV)]
        unsafe {
            bindings::doorbell_kcov_stop()
        };
        result
    }
}
