// SPDX-License-Identifier: GPL-2.0

//! References to files that any thread may drop.
//!
//! # Examples
//!
//! ```
//! use crate::kernel_ext::kept_file::KeptFile;
//! use kernel::{fs::File, sync::aref::ARef};
//!
//! /// Keeps a file open; may be dropped where `close` must not run at once.
//! struct Client {
//!     file: KeptFile,
//! }
//!
//! fn client(file: ARef<File>) -> Client {
//!     Client { file: KeptFile::new(file) }
//! }
//! ```

use crate::bindings;
use core::mem::ManuallyDrop;
use kernel::{
    fs::File,
    sync::aref::ARef, //
};

/// A reference to a file that any thread may drop.
///
/// `fput()` leaves the release of the file to task work of the current thread. A thread that never
/// returns to userspace runs its task work when it ends. If the release waits for the end of that
/// thread, the two would wait for each other.
///
/// # Context
///
/// To drop: any context but NMI, also that of a thread whose end the file's release waits for.
pub(crate) struct KeptFile(ManuallyDrop<ARef<File>>);

impl KeptFile {
    /// Takes ownership of `file`.
    pub(crate) fn new(file: ARef<File>) -> Self {
        Self(ManuallyDrop::new(file))
    }
}

impl Drop for KeptFile {
    fn drop(&mut self) {
        // SAFETY: The field is not used after this.
        let file = ARef::into_raw(unsafe { ManuallyDrop::take(&mut self.0) });
        // SAFETY: The object owned the reference, and `File` is a transparent wrapper.
        unsafe { bindings::doorbell_fput(file.as_ptr().cast()) };
    }
}
