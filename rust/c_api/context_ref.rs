// SPDX-License-Identifier: GPL-2.0

//! `struct doorbell_ctx`: another module's reference to a context.

use crate::{
    context::Context,
    device,
    kernel_ext::kept_file::KeptFile,
    line::Line, //
};
use kernel::{
    fs::File,
    prelude::*,
    sync::{
        aref::ARef,
        Arc, //
    }, //
};

/// A reference to a context.
pub(crate) struct ContextRef {
    context: Arc<Context>,
    /// Keeps the context open: it is shut down with its last file. Dropped last.
    _file: KeptFile,
}

impl ContextRef {
    /// Returns a reference to the context of `file`. Starts a worker in the current process, unless the
    /// context has one.
    ///
    /// # Context
    ///
    /// Process context.
    ///
    /// # Errors
    ///
    /// EINVAL: the file is not a context. ENXIO: its lines are not chosen yet. EAGAIN: no thread can be
    /// added to the process. ERESTARTNOINTR, EINTR: the caller has a pending signal. ENOMEM.
    pub(super) fn new(file: ARef<File>) -> Result<Arc<Self>> {
        let context = device::context_of(&file)?;
        context.start_worker()?;
        let _file = KeptFile::new(file);
        Ok(Arc::new(Self { context, _file }, GFP_KERNEL)?)
    }

    /// Returns the context. Any context.
    pub(super) fn context(&self) -> &Context {
        &self.context
    }

    /// Returns the line with that number; ENXIO if there is none. Any context.
    #[inline]
    pub(super) fn line(&self, line: u32) -> Result<Pin<&Line>> {
        self.context.line(line).ok_or(ENXIO)
    }
}
