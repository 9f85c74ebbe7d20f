// SPDX-License-Identifier: GPL-2.0

//! Callbacks that run in a thread of the process that causes them.
//!
//! A kworker is in no cgroup, and has no user's priority. Work that a process can cause without
//! bound runs in a thread of that process instead, like the work of vhost and KVM. The limits and
//! the priority of the process apply to it. When the process has exited, a workqueue of the module
//! runs the work, at most a fifth of the time.
//!
//! # Examples
//!
//! ```
//! use crate::kernel_ext::{
//!     callback::impl_has_callbacks,
//!     deferred::{Deferred, Run},
//!     owner_work::{start, OwnerWork},
//! };
//!
//! #[pin_data(PinnedDrop)]
//! struct Server {
//!     #[pin]
//!     work: Deferred<Self, OwnerWork>,
//! }
//!
//! impl_has_callbacks!(Server {
//!     work: Deferred<Self, OwnerWork>,
//! });
//!
//! impl Run<OwnerWork> for Server {
//!     fn run(self: Pin<&Self>) {
//!         pr_info!("in a thread of the process\n");
//!     }
//! }
//!
//! let server = KBox::pin_init(pin_init!(Server { work <- Deferred::new() }), GFP_KERNEL)?;
//! start(server.as_ref())?;
//! Run::<OwnerWork>::queue(server.as_ref());
//! ```
//!
//! The thread ends before the object that has the callback is freed. If its process is stopped or
//! frozen, the object does not wait for that: the thread is left behind, runs no callback, and ends
//! when the process goes on.
//!
//! C header: `include/linux/sched/vhost_task.h`; see `rust/bindings/thread.c`.

use super::deferred::{
    Backend,
    Run, //
};
use crate::bindings;
use core::mem::offset_of;
use kernel::{
    bindings as kbindings,
    error::{
        from_err_ptr,
        to_result, //
    },
    prelude::*,
    static_lock_class,
    sync::atomic::{
        Acquire,
        Atomic,
        Full,
        Relaxed,
        Release, //
    },
    time::{
        delay::fsleep,
        Delta,
        Instant,
        Monotonic, //
    },
    types::Opaque, //
};

/// A [`Backend`] whose callback runs in a thread of the process that called [`start`]. Before that,
/// and when the thread has ended with its process, the callback runs in the workqueue of
/// [`Orphans`].
///
/// # Context
///
/// To queue: any context but NMI.
pub(crate) enum OwnerWork {}

/// There is no thread.
const NONE: u32 = 0;
/// A caller of [`start`] creates one.
const STARTING: u32 = 1;
/// The thread runs the callback if it is queued.
const ALIVE: u32 = 2;
/// The thread was killed.
const DEAD: u32 = 3;

/// The thread and the work item of one callback.
///
/// # Invariants
///
/// `task` is a thread that has not been freed if `state` is [`ALIVE`] or [`DEAD`]. It changes only
/// while `state` is [`STARTING`], and only by the thread that has set that state.
pub(crate) struct RawOwnerWork {
    func: unsafe extern "C" fn(*mut RawOwnerWork),
    task: Atomic<*mut bindings::doorbell_thread>,
    state: Atomic<u32>,
    /// Set while a call of the callback is queued.
    queued: Atomic<u32>,
    /// The number of threads that read `queued` or run the callback.
    running: Atomic<u32>,
    /// Set when the callback must not run any more.
    closed: Atomic<u32>,
    orphan: Opaque<kbindings::work_struct>,
}

impl RawOwnerWork {
    /// Runs the callback if it is queued; returns true if it was.
    ///
    /// # Safety
    ///
    /// `this` must have been initialised by [`OwnerWork::init`](Backend::init), and be pinned.
    unsafe fn run(this: *mut Self) -> bool {
        // SAFETY: By the requirements of this function.
        let raw = unsafe { &*this };
        // ORDERING: The first two pair with the exchange and the poll in `OwnerWork::sync`: if this finds the
        // callback queued, that finds it running. The first one also pairs with the exchange in
        // `OwnerWork::close`. The last one pairs with the same poll: the callback has ended.
        raw.running.fetch_add(1u32, Full);
        let queued = raw.queued.xchg(0u32, Full) != 0 && raw.closed.load(Relaxed) == 0;
        if queued {
            // SAFETY: By the requirements of this function.
            unsafe { (raw.func)(this) };
        }
        raw.running.fetch_sub(1u32, Full);
        queued
    }

    /// Runs the callback in the thread. Returns false if it is not queued.
    ///
    /// # Safety
    ///
    /// `data` must be a `RawOwnerWork` that was initialised, and is pinned until `release`, which waits for
    /// this function.
    unsafe extern "C" fn thread(data: *mut c_void) -> bool {
        let this: *mut Self = data.cast();
        // The thread is about to sleep. If the callback is queued after this read, that wakes the
        // thread.
        //
        // ORDERING: Pairs with the exchange in `OwnerWork::queue`, and the wake-up after it: `vhost_task_fn()`
        // executes a full barrier before, when it sets the state of the thread.
        // SAFETY: By the requirements of this function.
        if unsafe { (*this).queued.load(Relaxed) } == 0 {
            return false;
        }
        // SAFETY: It changes the state of the current thread only.
        unsafe { bindings::doorbell_set_running() };
        // SAFETY: By the requirements of this function.
        unsafe { Self::run(this) };
        // SAFETY: It sets a flag of the current thread, which handles signals next.
        unsafe { bindings::doorbell_notice_task_work() };
        true
    }

    /// Passes the callback on to the work item: the thread ends because its process does.
    ///
    /// # Safety
    ///
    /// As of [`RawOwnerWork::thread`].
    unsafe extern "C" fn killed(data: *mut c_void) {
        let this: *mut Self = data.cast();
        // SAFETY: By the requirements of this function.
        let raw = unsafe { &*this };
        // ORDERING: Pairs with the exchange in `OwnerWork::queue`. A caller that still finds the thread alive has
        // set `queued` before this. The work item starts afterwards, and finds it set.
        raw.state.xchg(DEAD, Full);
        // SAFETY: The work item is initialised, and stays pinned until `release`.
        unsafe { bindings::doorbell_orphans_queue(raw.orphan.get()) };
    }

    /// Runs the callback in the workqueue, and then keeps the workqueue idle four times as long.
    ///
    /// # Safety
    ///
    /// `work` must be the field of a `RawOwnerWork` that was initialised, and is pinned.
    unsafe extern "C" fn orphan(work: *mut kbindings::work_struct) {
        let start = Instant::<Monotonic>::now();
        // SAFETY: By the requirements of this function.
        unsafe { Self::run(work.byte_sub(offset_of!(Self, orphan)).cast()) };
        let pause = start.elapsed().as_nanos().saturating_mul(4);
        fsleep(Delta::from_nanos(pause.clamp(0, MAX_PAUSE)));
    }
}

/// The maximum idle time of the workqueue after a callback, in ns. The `release` of a callback can wait that long.
/// The work exceeds its share only if a callback runs for more than a second.
const MAX_PAUSE: i64 = 4_000_000_000;

// SAFETY: `run` calls `func` once for each time that `queued` was set: in the thread or in the work
// item. If `queue` finds it clear, it wakes the thread or queues the work item, and both read
// `queued` after that. `sync` clears it, and waits until neither can have read it set. `close` does the
// same, after which both find it closed. `release` ends both, or the thread does not use the `Raw` any more.
unsafe impl Backend for OwnerWork {
    type Raw = RawOwnerWork;
    type Argument = RawOwnerWork;

    unsafe fn init(raw: *mut Self::Raw, func: unsafe extern "C" fn(*mut Self::Argument)) {
        // INVARIANT: There is no thread.
        let new = RawOwnerWork {
            func,
            task: Atomic::new(core::ptr::null_mut()),
            state: Atomic::new(NONE),
            queued: Atomic::new(0),
            running: Atomic::new(0),
            closed: Atomic::new(0),
            orphan: Opaque::uninit(),
        };
        // SAFETY: By the requirements of this function `raw` is valid for writes. The name and the
        // key are static.
        unsafe {
            raw.write(new);
            kbindings::init_work_with_key(
                (*raw).orphan.get(),
                Some(RawOwnerWork::orphan),
                false,
                c"doorbell".as_char_ptr(),
                static_lock_class!().as_ptr(),
            );
        }
    }

    unsafe fn queue(raw: *mut Self::Raw) {
        // SAFETY: By the requirements of this function.
        let raw = unsafe { &*raw };
        // ORDERING: The exchange pairs with those in `RawOwnerWork::run` and `RawOwnerWork::killed`. The load of
        // the state pairs with the release in `owner_work::start`, after which there is a task.
        if raw.queued.xchg(1u32, Full) != 0 {
            return;
        }
        if raw.state.load(Acquire) == ALIVE {
            // SAFETY: By the type invariants the thread has not been freed. Only `release` frees it,
            // which comes later.
            unsafe { bindings::doorbell_thread_wake(raw.task.load(Relaxed)) };
        } else {
            // SAFETY: The work item is initialised, and stays pinned until `release`.
            unsafe { bindings::doorbell_orphans_queue(raw.orphan.get()) };
        }
    }

    unsafe fn sync(raw: *mut Self::Raw) {
        // SAFETY: By the requirements of this function.
        let raw = unsafe { &*raw };
        // ORDERING: Pairs with `RawOwnerWork::run`: either that finds the callback cancelled, or this finds it
        // running.
        raw.queued.xchg(0u32, Full);
        super::wait::wait_until(|| (raw.running.load(Acquire) == 0).then_some(()));
    }

    unsafe fn close(raw: *mut Self::Raw) {
        // ORDERING: Pairs with `RawOwnerWork::run`: either that finds the callback closed, or the poll in
        // `sync` finds it running.
        //
        // SAFETY: By the requirements of this function.
        unsafe {
            (*raw).closed.xchg(1u32, Full);
            Self::sync(raw);
        }
    }

    unsafe fn release(raw: *mut Self::Raw) {
        // ORDERING: Pairs with the release in `owner_work::start`.
        //
        // SAFETY: By the requirements of this function. No other thread uses `raw` any more, so no
        // caller of `start` is creating the thread, and no callback is queueing the work item.
        unsafe {
            if matches!((*raw).state.load(Acquire), ALIVE | DEAD) {
                bindings::doorbell_thread_stop((*raw).task.load(Relaxed));
            }
            kbindings::cancel_work_sync((*raw).orphan.get());
        }
    }
}

/// Starts a thread of the current process that runs the callback from now on, unless there is one
/// already. The limits of the process and the caller's priority apply to the thread.
///
/// A kernel thread cannot have such a thread, and some kernels cannot create one. Then the work
/// item continues to run the callback.
///
/// # Context
///
/// Process context.
///
/// # Errors
///
/// - EAGAIN: RLIMIT_NPROC or the pids cgroup allows no thread.
/// - ENOMEM: out of memory.
pub(crate) fn start<T: Run<OwnerWork>>(this: Pin<&T>) -> Result {
    let raw = super::deferred::raw_field::<T, OwnerWork>(&this);
    // SAFETY: The field is initialised by its type invariants.
    let work = unsafe { &*raw };
    // ORDERING: The release of ALIVE pairs with the loads in `OwnerWork::queue` and `OwnerWork::release`: there
    // is a task. The exchange makes this caller the only one that creates it; the other stores give that back.
    if work.state.load(Relaxed) != NONE || work.state.cmpxchg(NONE, STARTING, Full).is_err() {
        return Ok(());
    }
    // SAFETY: The object is initialised, and pinned until its `drop`, after which the thread does not use it.
    let task = unsafe {
        bindings::doorbell_thread_create(
            Some(RawOwnerWork::thread),
            Some(RawOwnerWork::killed),
            raw.cast(),
        )
    };
    let task = from_err_ptr(task).inspect_err(|_| work.state.store(NONE, Release))?;
    if task.is_null() {
        work.state.store(NONE, Release);
        return Ok(());
    }
    // INVARIANT: `release` frees the thread, and nothing else does.
    work.task.store(task, Relaxed);
    work.state.store(ALIVE, Release);
    // A callback that was queued before runs in the work item.
    //
    // SAFETY: The thread was just created.
    unsafe { bindings::doorbell_thread_start(task) };
    Ok(())
}

/// The workqueue of callbacks whose process has exited. Its nice value and its CPUs can be set in
/// /sys/devices/virtual/workqueue/doorbell. While this does not exist, the system's workqueue is
/// used.
pub(crate) struct Orphans(());

impl Orphans {
    /// Creates the workqueue. Process context.
    ///
    /// # Errors
    ///
    /// - EBUSY: the workqueue exists.
    /// - ENOMEM: out of memory.
    pub(crate) fn new() -> Result<Self> {
        // SAFETY: No requirements.
        to_result(unsafe { bindings::doorbell_orphans_init() })?;
        Ok(Self(()))
    }
}

impl Drop for Orphans {
    fn drop(&mut self) {
        // SAFETY: `new` created the workqueue, once.
        unsafe { bindings::doorbell_orphans_exit() };
    }
}
