// SPDX-License-Identifier: GPL-2.0

//! Callbacks embedded in the object that they are about: `irq_work` and work items.
//!
//! Mainline's [`kernel::workqueue`] hands ownership of a reference to the queue and back. A line is
//! one of up to 65,536 in a single allocation and has no reference count of its own, so here the
//! callback borrows the object it is embedded in, and it is the object's destruction that waits.
//!
//! C headers: [`include/linux/irq_work.h`](srctree/include/linux/irq_work.h),
//! [`include/linux/workqueue.h`](srctree/include/linux/workqueue.h).

use core::marker::PhantomData;
use kernel::{
    bindings,
    prelude::*,
    static_lock_class,
    sync::rcu::synchronize_rcu,
    time::{
        delay::fsleep,
        Delta, //
    },
    types::Opaque, //
};

/// A way to run something later.
///
/// # Safety
///
/// - `init` must leave a `Raw` that can be queued and that calls `func` with a pointer to itself, as
///   a `Argument`, once for each time that it was queued and found idle.
/// - After `sync` has returned, and unless it is queued again, `func` is neither running nor going
///   to run.
/// - After `retire` has returned, and unless it is queued again, the `Raw` is not touched any more.
pub(crate) unsafe trait Backend {
    /// The C object.
    type Raw;

    /// What the callback's pointer points to, as C has it: with CFI the types must be the same.
    type Argument;

    /// Initialises `raw` with the callback `func`.
    ///
    /// # Safety
    ///
    /// `raw` must be valid for writes.
    unsafe fn init(raw: *mut Self::Raw, func: unsafe extern "C" fn(*mut Self::Argument));

    /// Queues `raw`, unless it is queued already.
    ///
    /// # Safety
    ///
    /// `raw` must be initialised and stay pinned until a `sync` that follows.
    unsafe fn queue(raw: *mut Self::Raw);

    /// Waits until `raw` is idle, or keeps it from running.
    ///
    /// # Safety
    ///
    /// `raw` must be initialised. Process context; not from the callback itself.
    unsafe fn sync(raw: *mut Self::Raw);

    /// Syncs, and waits until nobody looks at `raw` any more.
    ///
    /// # Safety
    ///
    /// As of `sync`.
    unsafe fn retire(raw: *mut Self::Raw) {
        // SAFETY: By the requirements of this function.
        unsafe { Self::sync(raw) };
    }
}

/// Runs in hard interrupt context as soon as this CPU takes interrupts again; on PREEMPT_RT in the
/// CPU's irq_work thread. Queueing is allowed in any context but NMI.
pub(crate) enum IrqWork {}

/// On PREEMPT_RT an irq_work is looked at, under RCU, even after its callback is done.
const LINGERS: bool = cfg!(CONFIG_PREEMPT_RT);

/// An irq_work, and whether it must be waited for before it goes.
#[repr(C)]
pub(crate) struct RawIrqWork {
    /// First, so that a pointer to it is one to the whole.
    work: bindings::irq_work,
    /// It has been queued, and no grace period has passed since.
    #[cfg(CONFIG_PREEMPT_RT)]
    used: kernel::sync::atomic::Atomic<u32>,
}

impl RawIrqWork {
    fn new(func: unsafe extern "C" fn(*mut bindings::irq_work)) -> Self {
        Self {
            // This is what `init_irq_work()` writes: all zeroes but for the function.
            work: bindings::irq_work {
                func: Some(func),
                ..pin_init::zeroed()
            },
            #[cfg(CONFIG_PREEMPT_RT)]
            used: kernel::sync::atomic::Atomic::new(0),
        }
    }

    /// Notes that it has been queued: after that, so that whoever asks [`RawIrqWork::was_used`] too
    /// early finds it busy, or done.
    #[inline]
    fn note_use(&self) {
        #[cfg(CONFIG_PREEMPT_RT)]
        self.used.store(1u32, kernel::sync::atomic::Release);
    }

    /// Whether it has been queued since somebody asked.
    fn was_used(&self) -> bool {
        #[cfg(CONFIG_PREEMPT_RT)]
        return self.used.xchg(0u32, kernel::sync::atomic::Full) != 0;
        #[cfg(not(CONFIG_PREEMPT_RT))]
        return true;
    }
}

// SAFETY: `irq_work_queue()` calls `func` once per claim. `irq_work_sync()` waits until the work is
// neither pending nor busy, and if it lingers, for a grace period, which `sync` leaves to `retire`.
unsafe impl Backend for IrqWork {
    type Raw = RawIrqWork;
    type Argument = bindings::irq_work;

    unsafe fn init(raw: *mut Self::Raw, func: unsafe extern "C" fn(*mut Self::Argument)) {
        // SAFETY: By the requirements of this function `raw` is valid for writes.
        unsafe { raw.write(RawIrqWork::new(func)) };
    }

    #[inline]
    unsafe fn queue(raw: *mut Self::Raw) {
        // SAFETY: By the requirements of this function; the work is its first field.
        unsafe {
            bindings::irq_work_queue(raw.cast());
            (*raw).note_use();
        }
    }

    unsafe fn sync(raw: *mut Self::Raw) {
        if !LINGERS {
            // SAFETY: By the requirements of this function.
            unsafe { bindings::irq_work_sync(raw.cast()) };
            return;
        }
        // SAFETY: As above.
        while unsafe { crate::bindings::doorbell_irq_work_is_busy(raw.cast()) } {
            fsleep(Delta::from_micros(50));
        }
    }

    unsafe fn retire(raw: *mut Self::Raw) {
        // SAFETY: By the requirements of this function; if it lingers, this waits for that, too.
        unsafe {
            if (*raw).was_used() {
                bindings::irq_work_sync(raw.cast());
            }
        }
    }
}

/// Syncs the irq_works of all `objects`, and waits, once for all, until nobody looks at them any
/// more: then they can go without each of them waiting for that by itself. Process context.
pub(crate) fn retire_all<'a, T: Run<IrqWork> + 'a>(objects: impl Iterator<Item = Pin<&'a T>>) {
    let mut used = false;
    for object in objects {
        // SAFETY: The field is initialised by its type invariants. Asked first, then synced: one
        // that is being queued is either seen busy, or notes its use afterwards.
        used |= LINGERS && unsafe { (*raw_field::<T, IrqWork>(&object)).was_used() };
        object.sync();
    }
    if used {
        synchronize_rcu();
    }
}

/// Runs in process context in an unbound kworker. Queueing is allowed in any context but NMI.
pub(crate) enum WorkItem {}

// SAFETY: `queue_work_on()` calls `func` once per queueing of an idle item; `cancel_work_sync()`
// removes the item and waits for a running callback.
unsafe impl Backend for WorkItem {
    type Raw = bindings::work_struct;
    type Argument = bindings::work_struct;

    unsafe fn init(raw: *mut Self::Raw, func: unsafe extern "C" fn(*mut Self::Argument)) {
        // SAFETY: By the requirements of this function `raw` is valid for writes; name and key are
        // static.
        unsafe {
            bindings::init_work_with_key(
                raw,
                Some(func),
                false,
                c"doorbell".as_char_ptr(),
                static_lock_class!().as_ptr(),
            )
        };
    }

    unsafe fn queue(raw: *mut Self::Raw) {
        // SAFETY: By the requirements of this function; the system queue exists for ever.
        unsafe {
            bindings::queue_work_on(
                bindings::wq_misc_consts_WORK_CPU_UNBOUND as c_int,
                bindings::system_dfl_wq,
                raw,
            )
        };
    }

    unsafe fn sync(raw: *mut Self::Raw) {
        // SAFETY: By the requirements of this function.
        unsafe { bindings::cancel_work_sync(raw) };
    }
}

/// A callback of backend `B`, embedded in a `T`.
///
/// # Invariants
///
/// `raw` is initialised, with [`Deferred::entry`] as its function.
#[pin_data(PinnedDrop)]
#[repr(transparent)]
pub(crate) struct Deferred<T, B: Backend> {
    #[pin]
    raw: Opaque<B::Raw>,
    _owner: PhantomData<fn(&T)>,
}

// SAFETY: The C objects may be queued and waited for from any thread.
unsafe impl<T, B: Backend> Send for Deferred<T, B> {}
// SAFETY: As above; the C functions do their own locking.
unsafe impl<T, B: Backend> Sync for Deferred<T, B> {}

/// Says where in `Self` the [`Deferred`] of backend `B` is.
///
/// # Safety
///
/// `OFFSET` must be the offset of a field of type `Deferred<Self, B>`. Use [`impl_has_deferred`].
pub(crate) unsafe trait HasDeferred<B: Backend>: Sized {
    /// Offset of the field in bytes.
    const OFFSET: usize;
}

/// What a [`Deferred`] runs, and how to have it run.
pub(crate) trait Run<B: Backend>: HasDeferred<B> + Sync {
    /// The callback, in the context that the backend says.
    fn run(self: Pin<&Self>);

    /// Has [`Run::run`] called soon, once, unless it is going to be anyway. Never sleeps.
    #[inline]
    fn queue(self: Pin<&Self>) {
        // SAFETY: The field is initialised by its type invariants, and pinned with `self` until its
        // `drop`, which syncs.
        unsafe { B::queue(raw_field::<Self, B>(&self)) };
    }

    /// Waits until [`Run::run`] is not running, and keeps it from running if it has not started
    /// (a work item) or waits for it (an irq_work). Process context; not from `run` itself.
    fn sync(self: Pin<&Self>) {
        // SAFETY: The field is initialised by its type invariants.
        unsafe { B::sync(raw_field::<Self, B>(&self)) };
    }
}

/// The C object in `this`.
pub(super) fn raw_field<T: HasDeferred<B>, B: Backend>(this: &T) -> *mut B::Raw {
    let base: *const T = this;
    // `Deferred` and `Opaque` are transparent, so the field's address is the C object's. It is
    // interior-mutable, so a shared reference is enough to get a mutable pointer.
    base.wrapping_byte_add(T::OFFSET).cast_mut().cast()
}

impl<T: Run<B>, B: Backend> Deferred<T, B> {
    /// Creates an initialiser for an idle one.
    pub(crate) fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            // INVARIANT: Initialised here, with `entry`.
            raw <- Opaque::ffi_init(|raw| {
                // SAFETY: `raw` is valid for writes.
                unsafe { B::init(raw, Self::entry) }
            }),
            _owner: PhantomData,
        })
    }

    /// # Safety
    ///
    /// `raw` must be the C object in a `Deferred` field of a pinned `T` at `T::OFFSET`.
    unsafe extern "C" fn entry(raw: *mut B::Argument) {
        // SAFETY: Only `Run::queue` ever queues the object, on the field of a pinned `T`. That `T`
        // is alive: before it goes, `Deferred::drop` waits for this call.
        let this = unsafe { &*raw.byte_sub(T::OFFSET).cast::<T>() };
        // SAFETY: As above, it is pinned.
        T::run(unsafe { Pin::new_unchecked(this) });
    }
}

#[pinned_drop]
impl<T, B: Backend> PinnedDrop for Deferred<T, B> {
    fn drop(self: Pin<&mut Self>) {
        // Whoever owns `T` should have synced before, while the other fields were certainly all
        // alive; then this finds nothing to do.
        //
        // SAFETY: By the type invariants the object is initialised.
        unsafe { B::retire(self.raw.get()) };
    }
}

/// Implements [`HasDeferred`] for a field.
macro_rules! impl_has_deferred {
    ($owner:ty, $field:ident, $backend:ty) => {
        // SAFETY: The offset is that of the field, and `_check` makes sure of the field's type.
        unsafe impl $crate::kernel_ext::deferred::HasDeferred<$backend> for $owner {
            const OFFSET: usize = {
                fn _check(
                    this: &$owner,
                ) -> &$crate::kernel_ext::deferred::Deferred<$owner, $backend> {
                    &this.$field
                }
                core::mem::offset_of!($owner, $field)
            };
        }
    };
}
pub(crate) use impl_has_deferred;

/// The same for a type with parameters: `{T: Bound} Owner<T>`.
macro_rules! impl_has_deferred_of {
    ({$($generics:tt)*} $owner:ty, $field:ident, $backend:ty) => {
        // SAFETY: The offset is that of the field, and `_check` makes sure of the field's type.
        unsafe impl<$($generics)*> $crate::kernel_ext::deferred::HasDeferred<$backend> for $owner {
            const OFFSET: usize = {
                fn _check<$($generics)*>(
                    this: &$owner,
                ) -> &$crate::kernel_ext::deferred::Deferred<$owner, $backend> {
                    &this.$field
                }
                core::mem::offset_of!($owner, $field)
            };
        }
    };
}
pub(crate) use impl_has_deferred_of;
