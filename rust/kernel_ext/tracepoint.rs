// SPDX-License-Identifier: GPL-2.0

//! Tracepoints that a module defines in C, and hits in Rust.
//!
//! [`kernel::tracepoint::declare_trace`] finds tracepoints in the kernel crate's bindings only. This
//! one finds them in the module's. Besides, it computes the arguments only if the tracepoint is
//! enabled. A tracepoint that is disabled costs one instruction, a nop, if the kernel has
//! CONFIG_JUMP_LABEL. Without CONFIG_TRACEPOINTS it costs nothing.

// No examples: the macros need tracepoints in C; see rust/trace.rs.

/// Returns true if the tracepoint is enabled.
///
/// The same as `kernel::jump_label::static_branch_unlikely`, except that the compiler may keep values
/// in registers and flags across it.
#[cfg(all(CONFIG_TRACEPOINTS, CONFIG_JUMP_LABEL))]
macro_rules! enabled {
    ($tracepoint:path) => {
        'enabled: {
            // SAFETY: `key` is the static key of a tracepoint that TRACE_EVENT() has defined. The
            // instruction is a nop or a jump to the label. So it uses neither memory nor the
            // stack nor flags.
            unsafe {
                kernel::asm!(
                    include!(concat!(
                        env!("OBJTREE"),
                        "/rust/kernel/generated_arch_static_branch_asm.rs"
                    ));
                    l_yes = label { break 'enabled true; },
                    symb = sym $tracepoint,
                    off = const ::core::mem::offset_of!(kernel::bindings::tracepoint, key),
                    branch = const 0,
                    options(nomem, nostack, preserves_flags),
                );
            }
            false
        }
    };
}

/// Returns true if the tracepoint is enabled.
#[cfg(all(CONFIG_TRACEPOINTS, not(CONFIG_JUMP_LABEL)))]
macro_rules! enabled {
    ($tracepoint:path) => {
        // SAFETY: `key` is the static key of a tracepoint that TRACE_EVENT() has defined.
        unsafe {
            kernel::jump_label::static_branch_unlikely!(
                $tracepoint,
                kernel::bindings::tracepoint,
                key
            )
        }
    };
}

#[cfg(CONFIG_TRACEPOINTS)]
pub(crate) use enabled;

/// Declares functions that hit the tracepoints of the same names in `crate::bindings`. Each takes a
/// function that returns the arguments. It calls that function only if the tracepoint is enabled.
///
/// # Context
///
/// The functions can be called in any context, as C's `trace_NAME()` can.
macro_rules! declare_trace {
    ($(
        $(#[$attr:meta])*
        $vis:vis fn $name:ident($($arg:ident: $type:ty),+ $(,)?);
    )*) => {$(
        kernel::macros::paste! {
            $(#[$attr])*
            #[cfg(CONFIG_TRACEPOINTS)]
            #[inline(always)]
            $vis fn $name(args: impl FnOnce() -> ($($type,)+)) {
                #[cold]
                #[inline(never)]
                fn hit($($arg: $type),+) {
                    // SAFETY: The tracepoint copies its arguments, which are plain values.
                    unsafe { $crate::bindings::[<rust_do_trace_ $name>]($($arg),+) }
                }
                if $crate::kernel_ext::tracepoint::enabled!(
                    $crate::bindings::[<__tracepoint_ $name>]
                ) {
                    let ($($arg,)+) = args();
                    hit($($arg),+);
                }
            }
        }

        $(#[$attr])*
        #[cfg(not(CONFIG_TRACEPOINTS))]
        #[inline(always)]
        $vis fn $name(_: impl FnOnce() -> ($($type,)+)) {}
    )*};
}
pub(crate) use declare_trace;
