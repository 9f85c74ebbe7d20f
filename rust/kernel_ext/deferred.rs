// SPDX-License-Identifier: GPL-2.0

//! Callbacks that are embedded in the object that they work on: `irq_work` and work items.
//!
//! The callback borrows the object, whose destruction waits for it; see [`super::callback`].
//!
//! # Examples
//!
//! ```
//! use crate::kernel_ext::{
//!     callback::impl_has_callbacks,
//!     deferred::{retire_all, Deferred, IrqWork, Run, WorkItem},
//!     pinned::PinnedSlice,
//! };
//!
//! /// An object with two callbacks: one in an interrupt, and one in a kworker.
//! #[pin_data(PinnedDrop)]
//! struct Port {
//!     number: u32,
//!     #[pin]
//!     soon: Deferred<Self, IrqWork>,
//!     #[pin]
//!     late: Deferred<Self, WorkItem>,
//! }
//!
//! impl_has_callbacks!(Port {
//!     soon: Deferred<Self, IrqWork>,
//!     late: Deferred<Self, WorkItem>,
//! });
//!
//! impl Run<IrqWork> for Port {
//!     fn run(self: Pin<&Self>) {
//!         Run::<WorkItem>::queue(self);
//!     }
//! }
//!
//! impl Run<WorkItem> for Port {
//!     fn run(self: Pin<&Self>) {
//!         pr_info!("port {}\n", self.number);
//!     }
//! }
//!
//! let inits = (0..16).map(|number| {
//!     pin_init!(Port { number, soon <- Deferred::new(), late <- Deferred::new() })
//! });
//! let ports = PinnedSlice::new(inits, GFP_KERNEL)?;
//! if let Some(port) = ports.get(3) {
//!     Run::<IrqWork>::queue(port);
//! }
//! // One grace period for all.
//! retire_all(ports.iter());
//! ```
//!
//! C headers: [`include/linux/irq_work.h`](srctree/include/linux/irq_work.h),
//! [`include/linux/workqueue.h`](srctree/include/linux/workqueue.h).

use super::{
    callback::{
        CallbackField,
        HasCallback, //
    },
    compat::synchronize_rcu,
    wait::wait_until, //
};
use core::marker::PhantomData;
use kernel::{
    bindings,
    prelude::*,
    static_lock_class,
    types::Opaque, //
};

/// A mechanism that runs a callback later.
///
/// # Safety
///
/// - `init` must leave a `Raw` that can be queued. Once for each time that it was queued while
///   idle, it must call `func` with a pointer to itself, as an `Argument`.
/// - After `sync` has returned, and unless it is queued again, `func` must neither run nor be going
///   to run.
/// - After `close` has returned, `func` must neither run nor be going to run, even if it is queued. `sync`
///   must still return.
/// - `is_unused` must return false if the `Raw` was ever queued.
/// - After `close` and `release` have returned, the `Raw` must not be accessed any more.
pub(crate) unsafe trait Backend {
    /// The C object.
    type Raw;

    /// The type that the callback's pointer points to in C. With CFI the types must be the same.
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
    /// `raw` must be initialised and stay pinned until a `release` that follows.
    unsafe fn queue(raw: *mut Self::Raw);

    /// Waits until `raw` is idle, or prevents it from running.
    ///
    /// # Safety
    ///
    /// `raw` must be initialised. Process context, and not that of the callback itself.
    unsafe fn sync(raw: *mut Self::Raw);

    /// Returns true only if `raw` was never queued.
    ///
    /// # Safety
    ///
    /// `raw` must be initialised.
    unsafe fn is_unused(_raw: *mut Self::Raw) -> bool {
        false
    }

    /// Syncs, and prevents the callback from running again.
    ///
    /// # Safety
    ///
    /// As of `sync`, and this must be the first call for `raw`.
    unsafe fn close(raw: *mut Self::Raw);

    /// Waits until `raw` is not accessed any more.
    ///
    /// # Safety
    ///
    /// As of `sync`. Either `raw` was never queued, or it is closed, and no thread is queueing it.
    unsafe fn release(_raw: *mut Self::Raw) {}
}

/// A [`Backend`] whose callback runs in hard interrupt context as soon as this CPU takes interrupts
/// again. On PREEMPT_RT it runs in the CPU's irq_work thread.
///
/// # Context
///
/// To queue: any context but NMI.
pub(crate) enum IrqWork {}

// SAFETY: `irq_work_queue()` calls `func` once for each time that it claims the work. A work is claimed until its
// callback starts. So `wait_until_started` returns after the start of each callback that was to run. The kernel calls
// `func`, and accesses the work afterwards, with interrupts off or under RCU: a grace period that begins after that
// start waits for both. `close` claims the work for ever, so that the kernel does not add it to a list any more.
// If `retire_all` has closed it, that has waited as well: it borrows the owner, and so it has returned. Or another
// callback of the owner called it, against the rules. The `drop` of the owner waits for that callback, too, before it
// drops a field.
//
// The flag IRQ_WORK_BUSY is not enough. If one CPU queues the work while its callback runs on another one, both run
// it. The end of one clears the flag, as `irq_work_single()` compares flags that are equal again, and the other one
// still runs.
unsafe impl Backend for IrqWork {
    type Raw = bindings::irq_work;
    type Argument = bindings::irq_work;

    unsafe fn init(raw: *mut Self::Raw, func: unsafe extern "C" fn(*mut Self::Argument)) {
        // The same values as `init_irq_work()` writes: all zeroes but for the function.
        let work = bindings::irq_work {
            func: Some(func),
            ..pin_init::zeroed()
        };
        // SAFETY: By the requirements of this function `raw` is valid for writes.
        unsafe { raw.write(work) };
    }

    #[inline]
    unsafe fn queue(raw: *mut Self::Raw) {
        // SAFETY: By the requirements of this function.
        unsafe { bindings::irq_work_queue(raw) };
    }

    unsafe fn sync(raw: *mut Self::Raw) {
        // SAFETY: By the requirements of this function.
        unsafe { wait_until_started(raw) };
        synchronize_rcu();
    }

    #[inline]
    unsafe fn is_unused(raw: *mut Self::Raw) -> bool {
        // SAFETY: By the requirements of this function. The flags are an integer of the same size in C.
        !was_queued(unsafe { (&raw const (*raw).node.__bindgen_anon_1.u_flags).read_volatile() })
    }

    unsafe fn close(raw: *mut Self::Raw) {
        // SAFETY: By the requirements of this function.
        let before = unsafe { claim_for_ever(raw) };
        // If it was closed before, `retire_all` has waited.
        let closed = before & crate::bindings::DOORBELL_IRQ_WORK_CLOSED != 0;
        if !closed && was_queued(before) {
            synchronize_rcu();
        }
    }
}

/// Waits until the callback of `work` has started, if it is to run. It may still run afterwards. If `work` is closed,
/// returns at once. Process context.
///
/// # Safety
///
/// `work` must be initialised. The caller must not be its callback.
unsafe fn wait_until_started(work: *mut bindings::irq_work) {
    // SAFETY: By the requirements of this function.
    let is_busy = || unsafe { crate::bindings::doorbell_irq_work_is_busy(work) };
    wait_until(|| (!is_busy()).then_some(()));
}

/// Waits until the callback of `work` has started, if it is to run, and prevents it from starting again. It may still
/// run afterwards. Returns the flags before that. Process context.
///
/// # Safety
///
/// As of [`wait_until_started`].
#[inline]
unsafe fn claim_for_ever(work: *mut bindings::irq_work) -> u32 {
    loop {
        // SAFETY: By the requirements of this function.
        match unsafe { crate::bindings::doorbell_irq_work_close(work) } {
            // SAFETY: As above.
            ..0 => unsafe { wait_until_started(work) },
            flags => return flags as u32,
        }
    }
}

/// Returns true if an irq_work with these flags was ever queued: the first claim sets the type for ever.
#[inline]
fn was_queued(flags: u32) -> bool {
    flags & bindings::CSD_TYPE_IRQ_WORK != 0
}

/// Waits for the irq_works of all `objects`, and prevents them from running again. Waits for one grace period on
/// behalf of all. Afterwards each object can be dropped without a grace period of its own.
///
/// The caller must not queue them any more. An irq_work that was never queued is not closed, and would run.
///
/// # Context
///
/// Process context, and not that of a callback of the objects.
pub(crate) fn retire_all<'a, T: Run<IrqWork> + 'a>(objects: impl Iterator<Item = Pin<&'a T>>) {
    let mut may_run = false;
    for object in objects {
        let work = raw_field::<T, IrqWork>(&object);
        // SAFETY: The field is initialised by its type invariants.
        unsafe {
            if !IrqWork::is_unused(work) {
                claim_for_ever(work);
                may_run = true;
            }
        }
    }
    if may_run {
        synchronize_rcu();
    }
}

/// A [`Backend`] whose callback runs in process context in an unbound kworker.
///
/// # Context
///
/// To queue: any context but NMI.
pub(crate) enum WorkItem {}

// SAFETY: `queue_work_on()` calls `func` once for each time that it queues an idle item.
// `cancel_work_sync()` removes the item and waits for a running callback. After `disable_work_sync()`,
// which does the same, the item cannot be queued any more.
unsafe impl Backend for WorkItem {
    type Raw = bindings::work_struct;
    type Argument = bindings::work_struct;

    unsafe fn init(raw: *mut Self::Raw, func: unsafe extern "C" fn(*mut Self::Argument)) {
        // SAFETY: By the requirements of this function `raw` is valid for writes. The name and the
        // key are static.
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
        // SAFETY: By the requirements of this function. The system queue is never freed.
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

    unsafe fn close(raw: *mut Self::Raw) {
        // SAFETY: By the requirements of this function.
        unsafe { bindings::disable_work_sync(raw) };
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
// SAFETY: As above. The C functions do their own locking.
unsafe impl<T, B: Backend> Sync for Deferred<T, B> {}

/// An object with a callback that a [`Deferred`] runs.
pub(crate) trait Run<B: Backend>: HasCallback<Deferred<Self, B>> + Sync {
    /// Runs the callback, in the context of the backend.
    fn run(self: Pin<&Self>);

    /// Queues one call of [`Run::run`], unless one is queued already. Never sleeps.
    #[inline]
    fn queue(self: Pin<&Self>) {
        // SAFETY: The field is initialised by its type invariants. It is pinned with `self` until
        // it is dropped. Then the `drop` of `self` has closed it and all callbacks that could be queueing it,
        // and its own `drop` releases it.
        unsafe { B::queue(raw_field::<Self, B>(&self)) };
    }

    /// Waits until [`Run::run`] is not running. A work item that has not started is cancelled; an
    /// irq_work that has not started is waited for. For an irq_work this also waits for a grace period of RCU.
    ///
    /// # Context
    ///
    /// Process context, and not that of [`Run::run`] itself.
    fn sync(self: Pin<&Self>) {
        // SAFETY: The field is initialised by its type invariants.
        unsafe { B::sync(raw_field::<Self, B>(&self)) };
    }
}

/// Returns the C object in `this`.
pub(super) fn raw_field<T: HasCallback<Deferred<T, B>>, B: Backend>(this: &T) -> *mut B::Raw {
    let base: *const T = this;
    // `Deferred` and `Opaque` are transparent, so the field's address is that of the C object. The
    // object is interior-mutable, so a shared reference is enough to create a mutable pointer.
    base.wrapping_byte_add(T::OFFSET).cast_mut().cast()
}

impl<T: Run<B>, B: Backend> Deferred<T, B> {
    /// Creates an initialiser for an idle callback.
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

    /// Calls [`Run::run`] for the object that `raw` is embedded in.
    ///
    /// # Safety
    ///
    /// `raw` must be the C object in a `Deferred` field of a pinned `T` at `T::OFFSET`.
    unsafe extern "C" fn entry(raw: *mut B::Argument) {
        // SAFETY: Only `Run::queue` queues the object, on the field of a pinned `T`. That `T` is
        // alive: before it drops a field, it closes this one, which waits for this call.
        let this = unsafe { &*raw.byte_sub(T::OFFSET).cast::<T>() };
        // SAFETY: As above, it is pinned.
        T::run(unsafe { Pin::new_unchecked(this) });
    }
}

// SAFETY: By the requirements of `Backend`.
unsafe impl<T, B: Backend> CallbackField for Deferred<T, B> {
    #[inline]
    fn is_unused(&self) -> bool {
        // SAFETY: By the type invariants the object is initialised.
        unsafe { B::is_unused(self.raw.get()) }
    }

    #[inline]
    unsafe fn close(&self) {
        // SAFETY: By the type invariants the object is initialised, and by the requirements of this function
        // this is the first call.
        unsafe { B::close(self.raw.get()) };
    }
}

#[pinned_drop]
impl<T, B: Backend> PinnedDrop for Deferred<T, B> {
    #[inline]
    fn drop(self: Pin<&mut Self>) {
        // SAFETY: By the type invariants the object is initialised. If it was ever queued, it is the field
        // of a `T`, whose `drop` has closed it, and all callbacks that could be queueing it.
        unsafe { B::release(self.raw.get()) };
    }
}
