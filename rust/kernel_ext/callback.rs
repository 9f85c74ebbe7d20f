// SPDX-License-Identifier: GPL-2.0

//! Fields whose callbacks borrow the object that they are part of.
//!
//! Mainline's [`kernel::workqueue`] passes a reference to the queue and back. A line is one of up
//! to 65,536 in a single allocation and has no reference count of its own. So here a callback
//! borrows its owner, and the destruction of the owner first ends the callbacks.
//!
//! [`impl_has_callbacks`] implements the `drop` of the owner, which closes all such fields before any field
//! is dropped. So the order of the fields does not matter, and an owner that does not close them does not
//! compile.
//!
//! # Examples
//!
//! The callback uses a field that comes before its own:
//!
//! ```
//! use crate::kernel_ext::{callback::impl_has_callbacks, deferred::{Deferred, IrqWork, Run}};
//! use kernel::sync::Arc;
//!
//! #[pin_data(PinnedDrop)]
//! struct Greeter {
//!     name: KBox<u32>,
//!     #[pin]
//!     greet: Deferred<Self, IrqWork>,
//! }
//!
//! impl_has_callbacks!(Greeter {
//!     greet: Deferred<Self, IrqWork>,
//! });
//!
//! impl Run<IrqWork> for Greeter {
//!     fn run(self: Pin<&Self>) {
//!         pr_info!("{}\n", *self.name);
//!     }
//! }
//!
//! let name = KBox::new(1, GFP_KERNEL)?;
//! let greeter = pin_init!(Greeter { name, greet <- Deferred::new() });
//! let greeter = KBox::pin_init(greeter, GFP_KERNEL)?;
//! Run::<IrqWork>::queue(greeter.as_ref());
//! // Waits for the callback, and only then frees the name.
//! drop(greeter);
//! ```
//!
//! An owner without a `drop` is refused:
//!
//! ```compile_fail,E0119
//! # use crate::kernel_ext::{callback::impl_has_callbacks, deferred::{Deferred, IrqWork}};
//! #[pin_data]
//! struct Greeter {
//!     name: KBox<u32>,
//!     #[pin]
//!     greet: Deferred<Self, IrqWork>,
//! }
//!
//! impl_has_callbacks!(Greeter {
//!     greet: Deferred<Self, IrqWork>,
//! });
//! ```
//!
//! So are one with a `drop` of its own,
//!
//! ```compile_fail,E0119
//! # use crate::kernel_ext::{callback::impl_has_callbacks, deferred::{Deferred, IrqWork}};
//! #[pin_data(PinnedDrop)]
//! struct Greeter {
//!     name: KBox<u32>,
//!     #[pin]
//!     greet: Deferred<Self, IrqWork>,
//! }
//!
//! impl_has_callbacks!(Greeter {
//!     greet: Deferred<Self, IrqWork>,
//! });
//!
//! #[pinned_drop]
//! impl PinnedDrop for Greeter {
//!     fn drop(self: Pin<&mut Self>) {}
//! }
//! ```
//!
//! one whose callbacks are closed separately,
//!
//! ```compile_fail,E0119
//! # use crate::kernel_ext::callback::impl_has_callbacks;
//! # use crate::kernel_ext::deferred::{Deferred, IrqWork, WorkItem};
//! #[pin_data(PinnedDrop)]
//! struct Greeter {
//!     #[pin]
//!     soon: Deferred<Self, IrqWork>,
//!     #[pin]
//!     late: Deferred<Self, WorkItem>,
//! }
//!
//! impl_has_callbacks!(Greeter { soon: Deferred<Self, IrqWork> });
//! impl_has_callbacks!(Greeter { late: Deferred<Self, WorkItem> });
//! ```
//!
//! a callback that is not declared,
//!
//! ```compile_fail,E0277
//! # use crate::kernel_ext::deferred::{Deferred, IrqWork, Run};
//! #[pin_data]
//! struct Greeter {
//!     name: KBox<u32>,
//!     #[pin]
//!     greet: Deferred<Self, IrqWork>,
//! }
//!
//! impl Run<IrqWork> for Greeter {
//!     fn run(self: Pin<&Self>) {}
//! }
//! ```
//!
//! a field that only points to the callback,
//!
//! ```compile_fail,E0308,E0277
//! # use crate::kernel_ext::{callback::impl_has_callbacks, deferred::{Deferred, IrqWork}};
//! #[pin_data(PinnedDrop)]
//! struct Greeter {
//!     greet: Pin<KBox<Deferred<Self, IrqWork>>>,
//! }
//!
//! impl_has_callbacks!(Greeter {
//!     greet: Deferred<Self, IrqWork>,
//! });
//! ```
//!
//! a field that is not pinned,
//!
//! ```compile_fail,E0277:Init
//! # use crate::kernel_ext::{callback::impl_has_callbacks, deferred::{Deferred, IrqWork}};
//! #[pin_data(PinnedDrop)]
//! struct Greeter {
//!     greet: Deferred<Self, IrqWork>,
//! }
//!
//! impl_has_callbacks!(Greeter {
//!     greet: Deferred<Self, IrqWork>,
//! });
//!
//! let greeter = KBox::pin_init(pin_init!(Greeter { greet <- Deferred::new() }), GFP_KERNEL)?;
//! ```
//!
//! and an owner that borrows: it could be leaked, and its callback would run after the loan.
//!
//! ```compile_fail,E0478,E0495
//! # use crate::kernel_ext::{callback::impl_has_callbacks, deferred::{Deferred, IrqWork}};
//! #[pin_data(PinnedDrop)]
//! struct Greeter<'a> {
//!     name: &'a u32,
//!     #[pin]
//!     greet: Deferred<Self, IrqWork>,
//! }
//!
//! impl_has_callbacks!(['a] Greeter<'a> {
//!     greet: Deferred<Self, IrqWork>,
//! });
//! ```

/// A field with a callback that borrows the owner of the field.
///
/// # Safety
///
/// - After [`CallbackField::close`] has returned, the callback must neither run nor start again, even if it
///   is queued. The field must stay usable until it is dropped: callbacks of other fields may still queue or
///   sync it.
/// - A field that does not do so by `close` does it by [`CallbackField::finish`]. A type must have at most one
///   such field.
/// - [`CallbackField::is_unused`] must return false if the callback was ever queued.
pub(crate) unsafe trait CallbackField {
    /// Returns true only if the callback was never queued. False is always correct.
    fn is_unused(&self) -> bool {
        false
    }

    /// Waits until the callback does not run, and prevents it from running again.
    ///
    /// # Context
    ///
    /// Process context, and not that of the callback itself.
    ///
    /// # Safety
    ///
    /// The caller must be the `drop` of the owner, and must call this once.
    unsafe fn close(&self) {}

    /// Does what [`CallbackField::close`] does, when no other callback of the owner can start this one or
    /// create it.
    ///
    /// # Context
    ///
    /// As of [`CallbackField::close`].
    ///
    /// # Safety
    ///
    /// The caller must be the `drop` of the owner, must call this once, and must have closed all fields before.
    unsafe fn finish(&self) {}
}

/// A type with a field of type `F` whose callback borrows it.
///
/// The type owns all that it refers to, because an owner that is leaked is never closed.
///
/// # Safety
///
/// - `OFFSET` must be the offset of a pinned field of type `F`.
/// - Before a field of an object is dropped, its `drop` must call [`CallbackField::close`] on that field,
///   and on those of all other implementations of this trait, and then [`CallbackField::finish`] on each;
///   unless all of them are unused.
///
/// Use [`impl_has_callbacks`].
pub(crate) unsafe trait HasCallback<F>: Sized + 'static {
    /// The offset of the field in bytes.
    const OFFSET: usize;
}

/// Implements [`HasCallback`] for the fields of a type, and its `PinnedDrop`.
///
/// The type must be `#[pin_data(PinnedDrop)]`, the fields must be `#[pin]`, and one invocation must name all
/// of them. A type with parameters has them first: `[T: Bound] Owner<T> { ... }`.
///
/// The arms that begin with `unsafe` are for this macro only: each does a part of what the trait requires.
macro_rules! impl_has_callbacks {
    (unsafe @field [$($generics:tt)*] $owner:ty, $field:ident, $callback:ty) => {
        // SAFETY: The offset is that of the field, and `_check` verifies the field's type: a raw pointer
        // is not coerced. The field is pinned, because it has only a pinned initialiser. The `drop` is that
        // of `@drop`.
        unsafe impl<$($generics)*> $crate::kernel_ext::callback::HasCallback<$callback> for $owner {
            const OFFSET: usize = {
                let _check = |this: &Self| -> *const $callback { &raw const this.$field };
                core::mem::offset_of!(Self, $field)
            };
        }
    };
    (unsafe @drop [$($generics:tt)*] $owner:ty, $($field:ident)+) => {
        #[pinned_drop]
        impl<$($generics)*> PinnedDrop for $owner {
            #[inline]
            fn drop(self: Pin<&mut Self>) {
                // Nothing but a callback of the object can queue one now. So if none was ever queued, none
                // will be.
                if $( $crate::kernel_ext::callback::CallbackField::is_unused(&self.$field) )&&+ {
                    return;
                }
                // Finds a caller in the wrong context even if nothing has to be waited for.
                kernel::task::might_sleep();
                $(
                    // SAFETY: This is the `drop` of the owner.
                    unsafe { $crate::kernel_ext::callback::CallbackField::close(&self.$field) };
                )+
                $(
                    // SAFETY: As above, and all fields are closed.
                    unsafe { $crate::kernel_ext::callback::CallbackField::finish(&self.$field) };
                )+
            }
        }
    };
    (unsafe @all $generics:tt $owner:ty { $($field:ident: $callback:ty),+ $(,)? }) => {
        $(
            $crate::kernel_ext::callback::impl_has_callbacks!(
                unsafe @field $generics $owner, $field, $callback
            );
        )+
        $crate::kernel_ext::callback::impl_has_callbacks!(
            unsafe @drop $generics $owner, $($field)+
        );
    };
    ([$($generics:tt)*] $($owner:tt)+) => {
        $crate::kernel_ext::callback::impl_has_callbacks!(unsafe @all [$($generics)*] $($owner)+);
    };
    ($($owner:tt)+) => {
        $crate::kernel_ext::callback::impl_has_callbacks!(unsafe @all [] $($owner)+);
    };
}
pub(crate) use impl_has_callbacks;
