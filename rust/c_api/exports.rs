// SPDX-License-Identifier: GPL-2.0

//! The functions of include/linux/doorbell.h.

use super::context_ref::ContextRef;
use crate::{
    bindings,
    bus::region::Access,
    line::{
        self,
        callback::Callback,
        moderation::Limits,
        outputs::{
            Output,
            EVENTS, //
        },
        state::Reasons, //
    }, //
};
use core::mem::ManuallyDrop;
use kernel::{
    error::from_err_ptr,
    fs::{
        File,
        LocalFile, //
    },
    prelude::*,
    sync::{
        aref::ARef,
        Arc,
        ArcBorrow, //
    },
    task::might_sleep,
    types::ForeignOwnable, //
};

type RawCtx = *mut bindings::doorbell_ctx;
type RawCallback = *mut bindings::doorbell_callback;

/// Exports the functions, and checks their types against those of the header.
macro_rules! export {
    ($(
        $(#[$attr:meta])*
        fn $name:ident($($arg:ident: $ty:ty),*) $(-> $ret:ty)? $body:block
    )+) => {$(
        $(#[$attr])*
        #[no_mangle]
        unsafe extern "C" fn $name($($arg: $ty),*) $(-> $ret)? $body

        const _: unsafe extern "C" fn($($ty),*) $(-> $ret)? = bindings::$name;
    )+};
}

fn ctx_result(ctx: Result<Arc<ContextRef>>) -> RawCtx {
    match ctx {
        Ok(ctx) => ctx.into_foreign().cast(),
        Err(error) => error.to_ptr(),
    }
}

/// # Safety
///
/// `ctx` must be a reference that a `doorbell_ctx_*()` function returned, and not be put before the
/// returned one is used for the last time.
#[inline]
unsafe fn borrow<'a>(ctx: RawCtx) -> ArcBorrow<'a, ContextRef> {
    // SAFETY: It came from `Arc::<ContextRef>::into_foreign()` and has not been given back yet, by the
    // requirements of this function.
    unsafe { Arc::<ContextRef>::borrow(ctx.cast()) }
}

/// # Safety
///
/// As of [`borrow`] and [`Callback::new`].
unsafe fn output(callback: RawCallback) -> Result<Output> {
    // SAFETY: By the requirements of this function.
    let callback = unsafe { Callback::new(callback) }.ok_or(EINVAL)?;
    Ok(Output::Callback(callback))
}

fn code(result: Result<u32>) -> c_int {
    match result {
        Ok(code) => code as c_int,
        Err(error) => error.to_errno(),
    }
}

/// Returns the mask reasons; EINVAL if `reasons` are none or unknown.
fn checked_reasons(reasons: u32) -> Result<Reasons> {
    Reasons::new(reasons).ok_or(EINVAL)
}

fn errno(result: Result) -> c_int {
    code(result.map(|()| 0))
}

export! {
    /// # Safety
    ///
    /// None.
    fn doorbell_ctx_fdget(fd: c_int) -> RawCtx {
        ctx_result((|| {
            let file = LocalFile::fget(u32::try_from(fd).map_err(|_| EBADF)?)?;
            // SAFETY: The files of a misc device have no position. Of other files only the operations are
            // used.
            ContextRef::new(unsafe { LocalFile::assume_no_fdget_pos(file) })
        })())
    }

    /// # Safety
    ///
    /// `file` must be valid.
    fn doorbell_ctx_fileget(file: *mut kernel::bindings::file) -> RawCtx {
        // SAFETY: By the requirements of this function; for the position see above.
        ctx_result(ContextRef::new(ARef::from(unsafe { File::from_raw_file(file) })))
    }

    /// # Safety
    ///
    /// `ctx` must be a reference of the caller's.
    fn doorbell_ctx_get(ctx: RawCtx) -> RawCtx {
        // SAFETY: It came from `into_foreign()`; it stays the caller's, so it is not dropped here.
        let ctx = ManuallyDrop::new(unsafe { Arc::<ContextRef>::from_foreign(ctx.cast()) });
        Arc::clone(&ctx).into_foreign().cast()
    }

    /// # Safety
    ///
    /// `ctx` must be a reference of the caller's, who loses it, or null or an error.
    fn doorbell_ctx_put(ctx: RawCtx) {
        let Ok(ctx) = from_err_ptr(ctx) else {
            return;
        };
        if ctx.is_null() {
            return;
        }
        // SAFETY: By the requirements of this function it came from `into_foreign()`.
        drop(unsafe { Arc::<ContextRef>::from_foreign(ctx.cast()) });
    }

    /// # Safety
    ///
    /// As of [`borrow`].
    fn doorbell_ring(ctx: RawCtx, line: u32) -> c_int {
        // SAFETY: By the requirements of this function.
        let ctx = unsafe { borrow(ctx) };
        code(ctx.line(line).map(|line| line.ring_from(line::origin_of_caller()).code()))
    }

    /// # Safety
    ///
    /// As of [`borrow`].
    fn doorbell_set_level(ctx: RawCtx, line: u32, level: bool) -> c_int {
        // SAFETY: By the requirements of this function.
        let ctx = unsafe { borrow(ctx) };
        code(ctx.line(line).and_then(|line| {
            if level {
                Ok(line.raise(line::origin_of_caller())?.code())
            } else {
                Ok(u32::from(line.lower(line::origin_of_caller())?))
            }
        }))
    }

    /// # Safety
    ///
    /// As of [`borrow`].
    fn doorbell_ack(ctx: RawCtx, line: u32) -> c_int {
        // SAFETY: By the requirements of this function.
        let ctx = unsafe { borrow(ctx) };
        code(ctx.line(line).and_then(|line| Ok(line.ack(line::origin_of_caller())?.code())))
    }

    /// # Safety
    ///
    /// As of [`borrow`].
    fn doorbell_mask(ctx: RawCtx, line: u32) -> c_int {
        might_sleep();
        // SAFETY: By the requirements of this function.
        let ctx = unsafe { borrow(ctx) };
        code(ctx.line(line).map(|line| u32::from(line.mask(Reasons::VECTOR))))
    }

    /// # Safety
    ///
    /// As of [`borrow`].
    fn doorbell_mask_nosync(ctx: RawCtx, line: u32) -> c_int {
        // SAFETY: By the requirements of this function.
        let ctx = unsafe { borrow(ctx) };
        code(ctx.line(line).map(|line| u32::from(line.mask_nosync(Reasons::VECTOR))))
    }

    /// # Safety
    ///
    /// As of [`borrow`].
    fn doorbell_unmask(ctx: RawCtx, line: u32) -> c_int {
        // SAFETY: By the requirements of this function.
        let ctx = unsafe { borrow(ctx) };
        code(ctx.line(line).map(|line| {
            u32::from(line.unmask_nowait(Reasons::VECTOR, line::origin_of_caller()))
        }))
    }

    /// # Safety
    ///
    /// As of [`borrow`].
    fn doorbell_mask_for(ctx: RawCtx, line: u32, reasons: u32) -> c_int {
        might_sleep();
        // SAFETY: By the requirements of this function.
        let ctx = unsafe { borrow(ctx) };
        code(checked_reasons(reasons).and_then(|reasons| {
            Ok(u32::from(ctx.line(line)?.mask(reasons)))
        }))
    }

    /// # Safety
    ///
    /// As of [`borrow`].
    fn doorbell_mask_for_nosync(ctx: RawCtx, line: u32, reasons: u32) -> c_int {
        // SAFETY: By the requirements of this function.
        let ctx = unsafe { borrow(ctx) };
        code(checked_reasons(reasons).and_then(|reasons| {
            Ok(u32::from(ctx.line(line)?.mask_nosync(reasons)))
        }))
    }

    /// # Safety
    ///
    /// As of [`borrow`].
    fn doorbell_unmask_for(ctx: RawCtx, line: u32, reasons: u32) -> c_int {
        // SAFETY: By the requirements of this function.
        let ctx = unsafe { borrow(ctx) };
        code(checked_reasons(reasons).and_then(|reasons| {
            let line = ctx.line(line)?;
            Ok(u32::from(line.unmask_nowait(reasons, line::origin_of_caller())))
        }))
    }

    /// # Safety
    ///
    /// As of [`borrow`].
    fn doorbell_clear(ctx: RawCtx, line: u32) -> c_int {
        might_sleep();
        // SAFETY: By the requirements of this function.
        let ctx = unsafe { borrow(ctx) };
        code(ctx.line(line).map(|line| u32::from(line.clear())))
    }

    /// # Safety
    ///
    /// As of [`borrow`].
    fn doorbell_moderate(ctx: RawCtx, line: u32, min_interval: u32, max_count: u32) -> c_int {
        might_sleep();
        // SAFETY: By the requirements of this function.
        let ctx = unsafe { borrow(ctx) };
        let limits = Limits::new(min_interval, max_count);
        errno(limits.and_then(|limits| ctx.context().moderate(line, limits)))
    }

    /// # Safety
    ///
    /// As of [`borrow`].
    fn doorbell_state(ctx: RawCtx, line: u32) -> c_int {
        // SAFETY: By the requirements of this function.
        let ctx = unsafe { borrow(ctx) };
        code(ctx.line(line).map(|line| line.state()))
    }

    /// # Safety
    ///
    /// As of [`borrow`].
    fn doorbell_bus_write(ctx: RawCtx, space: u32, addr: u64, length: u32, value: u64) -> c_int {
        // SAFETY: By the requirements of this function.
        let ctx = unsafe { borrow(ctx) };
        let access = Access::new(space, addr, length, value).ok_or(EINVAL);
        errno(access.and_then(|access| {
            let writer = ctx.context().bus_writer();
            writer.write(&access, line::origin_of_caller())
        }))
    }

    /// # Safety
    ///
    /// As of [`borrow`] and [`Callback::new`].
    fn doorbell_assign_trigger(ctx: RawCtx, line: u32, callback: RawCallback) -> c_int {
        might_sleep();
        // SAFETY: By the requirements of this function.
        let (ctx, output) = unsafe { (borrow(ctx), output(callback)) };
        errno(output.and_then(|output| ctx.context().assign_trigger(output, line)))
    }

    /// # Safety
    ///
    /// As of [`borrow`].
    fn doorbell_deassign_trigger(ctx: RawCtx, line: u32, callback: RawCallback) -> c_int {
        might_sleep();
        // SAFETY: By the requirements of this function.
        let ctx = unsafe { borrow(ctx) };
        errno(ctx.context().deassign_trigger(callback.addr(), line))
    }

    /// # Safety
    ///
    /// As of [`borrow`] and [`Callback::new`].
    fn doorbell_assign_notifier(
        ctx: RawCtx, line: u32, events: u32, callback: RawCallback
    ) -> c_int {
        might_sleep();
        if events == 0 || events & !EVENTS != 0 {
            return EINVAL.to_errno();
        }
        // SAFETY: By the requirements of this function.
        let (ctx, output) = unsafe { (borrow(ctx), output(callback)) };
        errno(output.and_then(|output| ctx.context().assign_notifier(output, line, events)))
    }

    /// # Safety
    ///
    /// As of [`borrow`].
    fn doorbell_deassign_notifier(ctx: RawCtx, line: u32, callback: RawCallback) -> c_int {
        might_sleep();
        // SAFETY: By the requirements of this function.
        let ctx = unsafe { borrow(ctx) };
        errno(ctx.context().deassign_notifier(callback.addr(), line))
    }
}
