// SPDX-License-Identifier: GPL-2.0

//! References to files that any thread may drop.

use crate::bindings;
use core::mem::ManuallyDrop;
use kernel::{
    fs::File,
    sync::aref::ARef, //
};

/// A reference to a file. It may be dropped in any context but NMI, also by a thread whose end the
/// file's release waits for.
///
/// `fput()` leaves the release to the current thread's task work. A thread that never returns to
/// userspace runs that when it ends, and then the two would wait for each other.
pub(crate) struct KeptFile(ManuallyDrop<ARef<File>>);

impl KeptFile {
    /// Takes over `file`.
    pub(crate) fn new(file: ARef<File>) -> Self {
        Self(ManuallyDrop::new(file))
    }
}

impl Drop for KeptFile {
    fn drop(&mut self) {
        // SAFETY: Not used after this.
        let file = ARef::into_raw(unsafe { ManuallyDrop::take(&mut self.0) });
        // SAFETY: The reference was owned, and `File` is a transparent wrapper.
        unsafe { bindings::doorbell_fput(file.as_ptr().cast()) };
    }
}
