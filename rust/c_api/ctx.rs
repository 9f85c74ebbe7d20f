// SPDX-License-Identifier: GPL-2.0

//! `struct doorbell_ctx`: another module's reference to a context.

use crate::{
    context::Core,
    delivery::Line,
    device::Context,
    kernel_ext::kept_file::KeptFile, //
};
use kernel::{
    bindings::file_operations,
    fs::File,
    miscdevice::MiscDeviceRegistration,
    prelude::*,
    sync::{
        aref::ARef,
        atomic::{
            Atomic,
            Relaxed, //
        },
        Arc, //
    }, //
};

/// The file operations of the device, by which its files are known. Null until one is opened.
static OPERATIONS: Atomic<*mut file_operations> = Atomic::new(core::ptr::null_mut());

/// A reference to a context.
pub(crate) struct Ctx {
    core: Arc<Core>,
    /// A context is shut down with its last file, so this is what keeps it. Dropped last.
    _file: KeptFile,
}

impl Ctx {
    /// Takes note of how the device's files can be known. Called before there is one.
    pub(crate) fn note_device(device: &MiscDeviceRegistration<Context>) {
        // SAFETY: The device is registered, so its fields stay as they are.
        let operations = unsafe { (*device.as_raw()).fops };
        OPERATIONS.store(operations.cast_mut(), Relaxed);
    }

    /// The context that `file` is.
    ///
    /// A thread of the current process delivers what interrupts have no time for, unless there is one
    /// already. Process context.
    ///
    /// EINVAL: it is no context. ENXIO: it has no lines yet. EAGAIN: there can be no thread. ENOMEM.
    pub(super) fn new(file: ARef<File>) -> Result<Arc<Self>> {
        let raw = file.as_ptr();
        // SAFETY: The file is valid, and its operations do not change any more once it is open. Who
        // has a file of the device has seen it opened, and with it what was stored in `OPERATIONS`.
        let ours = unsafe { (*raw).f_op } == OPERATIONS.load(Relaxed).cast_const();
        if !ours {
            return Err(EINVAL);
        }
        // SAFETY: The operations are those of `impl MiscDevice for Context`, whose `open` has left
        // there what `KBox::<Context>::into_foreign()` returned; only the last `fput()` takes it
        // away, and `file` is a reference.
        let context = unsafe { &*(*raw).private_data.cast::<Context>().cast_const() };
        let core = context.core()?.clone();
        core.start_worker()?;
        let _file = KeptFile::new(file);
        Ok(Arc::new(Self { core, _file }, GFP_KERNEL)?)
    }

    /// All of it. Any context.
    pub(super) fn core(&self) -> &Core {
        &self.core
    }

    /// The line with that number; ENXIO if there is none. Any context.
    #[inline]
    pub(super) fn line(&self, line: u32) -> Result<Pin<&Line>> {
        self.core.line(line).ok_or(ENXIO)
    }
}
