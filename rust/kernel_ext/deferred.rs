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
//! // One grace period for all, on PREEMPT_RT.
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

/// On PREEMPT_RT the kernel accesses an irq_work, under RCU, even after its callback has returned.
const LINGERS: bool = cfg!(CONFIG_PREEMPT_RT);

/// An irq_work, and a flag that says that freeing it needs a grace period.
#[repr(C)]
pub(crate) struct RawIrqWork {
    /// The first field, so that a pointer to it is also one to the structure.
    work: bindings::irq_work,
    /// It was queued, and no grace period has passed since.
    #[cfg(CONFIG_PREEMPT_RT)]
    used: kernel::sync::atomic::Atomic<u32>,
}

impl RawIrqWork {
    fn new(func: unsafe extern "C" fn(*mut bindings::irq_work)) -> Self {
        Self {
            // The same values as `init_irq_work()` writes: all zeroes but for the function.
            work: bindings::irq_work {
                func: Some(func),
                ..pin_init::zeroed()
            },
            #[cfg(CONFIG_PREEMPT_RT)]
            used: kernel::sync::atomic::Atomic::new(0),
        }
    }

    /// Records that it was queued.
    ///
    /// The caller must call this after queueing. A call of [`RawIrqWork::was_used`] that is too
    /// early to see the record is followed by a `sync`, which finds the irq_work busy or done.
    #[inline]
    fn record_use(&self) {
        #[cfg(CONFIG_PREEMPT_RT)]
        // ORDERING: Pairs with the exchange in `RawIrqWork::was_used`: the irq_work was queued before.
        self.used.store(1u32, kernel::sync::atomic::Release);
    }

    /// Returns true if it was queued since the last call.
    fn was_used(&self) -> bool {
        #[cfg(CONFIG_PREEMPT_RT)]
        // ORDERING: Pairs with the store in `RawIrqWork::record_use`; the accesses of the `sync` that follows
        // come after it.
        return self.used.xchg(0u32, kernel::sync::atomic::Full) != 0;
        #[cfg(not(CONFIG_PREEMPT_RT))]
        return true;
    }
}

// SAFETY: `irq_work_queue()` calls `func` once for each time that it claims the work. `sync` waits until the
// work is neither pending nor busy, as `irq_work_sync()` does. If it lingers, that also waits for a grace period,
// which `sync` leaves to `release`. `close` claims the work for ever, after which the kernel does not add it to
// a list any more, and `sync` does not find it busy.
unsafe impl Backend for IrqWork {
    type Raw = RawIrqWork;
    type Argument = bindings::irq_work;

    unsafe fn init(raw: *mut Self::Raw, func: unsafe extern "C" fn(*mut Self::Argument)) {
        // SAFETY: By the requirements of this function `raw` is valid for writes.
        unsafe { raw.write(RawIrqWork::new(func)) };
    }

    #[inline]
    unsafe fn queue(raw: *mut Self::Raw) {
        // SAFETY: By the requirements of this function. The work is the structure's first field.
        unsafe {
            bindings::irq_work_queue(raw.cast());
            (*raw).record_use();
        }
    }

    #[inline]
    unsafe fn sync(raw: *mut Self::Raw) {
        // `irq_work_sync()` would wait for ever for one that is closed and queued again.
        //
        // SAFETY: By the requirements of this function.
        let is_busy = || unsafe { crate::bindings::doorbell_irq_work_is_busy(raw.cast()) };
        wait_until(|| (!is_busy()).then_some(()));
    }

    #[inline]
    unsafe fn is_unused(raw: *mut Self::Raw) -> bool {
        // The first claim sets the type of the node for ever.
        //
        // SAFETY: By the requirements of this function. The flags are an integer of the same size in C.
        unsafe { (&raw const (*raw).work.node.__bindgen_anon_1.u_flags).read_volatile() == 0 }
    }

    #[inline]
    unsafe fn close(raw: *mut Self::Raw) {
        // SAFETY: By the requirements of this function. It is not closed yet, so the loop ends when the
        // callback does.
        unsafe {
            while !crate::bindings::doorbell_irq_work_close(raw.cast()) {
                Self::sync(raw);
            }
        }
    }

    #[inline]
    unsafe fn release(raw: *mut Self::Raw) {
        // SAFETY: By the requirements of this function.
        if LINGERS && unsafe { (*raw).was_used() } {
            synchronize_rcu();
        }
    }
}

/// Syncs the irq_works of all `objects`, and waits for one grace period on behalf of all.
/// Afterwards each object can be dropped without a grace period of its own. Process context.
pub(crate) fn retire_all<'a, T: Run<IrqWork> + 'a>(objects: impl Iterator<Item = Pin<&'a T>>) {
    let mut used = false;
    for object in objects {
        // SAFETY: The field is initialised by its type invariants. `was_used` comes first, then
        // `sync`: an irq_work that is being queued is either seen busy, or its use is recorded
        // afterwards.
        used |= LINGERS && unsafe { (*raw_field::<T, IrqWork>(&object)).was_used() };
        object.sync();
    }
    if used {
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
    /// irq_work that has not started is waited for.
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
