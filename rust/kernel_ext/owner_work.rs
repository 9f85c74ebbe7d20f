// SPDX-License-Identifier: GPL-2.0

//! Callbacks that run in a thread of the process that causes them.
//!
//! A kworker is in no cgroup, and has no user's priority. Work that a process can cause without bound
//! runs in a thread of that process instead, as the work of vhost and KVM does: the limits and the
//! priority of the process apply. When the process has exited, a workqueue of the module runs the
//! work, at most a fifth of the time.
//!
//! C header: `include/linux/sched/vhost_task.h`.

use super::deferred::{
    Backend,
    HasDeferred,
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

/// Runs in a thread of the process that called [`start`]; before that, and when the thread has gone
/// with its process, in the workqueue of [`Orphans`]. Queueing is allowed in any context but NMI.
pub(crate) enum OwnerWork {}

/// There is no thread.
const NONE: u32 = 0;
/// A caller of [`start`] creates one.
const STARTING: u32 = 1;
/// It runs what is queued.
const ALIVE: u32 = 2;
/// It was killed.
const DEAD: u32 = 3;

/// The thread and the work item of one callback.
///
/// # Invariants
///
/// `task` is a thread that has not been freed if `state` is [`ALIVE`] or [`DEAD`]. It changes only while
/// `state` is [`STARTING`], and only the thread that has set that changes it.
pub(crate) struct RawOwnerWork {
    func: unsafe extern "C" fn(*mut RawOwnerWork),
    task: Atomic<*mut bindings::vhost_task>,
    state: Atomic<u32>,
    /// The callback is to be called.
    queued: Atomic<u32>,
    /// How many threads look at `queued`, or run the callback.
    running: Atomic<u32>,
    orphan: Opaque<kbindings::work_struct>,
}

impl RawOwnerWork {
    /// Runs the callback if it is queued; returns whether it was.
    ///
    /// # Safety
    ///
    /// `this` must have been initialised by [`OwnerWork::init`](Backend::init), and be pinned.
    unsafe fn run(this: *mut Self) -> bool {
        // SAFETY: By the requirements of this function.
        let raw = unsafe { &*this };
        raw.running.fetch_add(1u32, Full);
        let queued = raw.queued.xchg(0u32, Full) != 0;
        if queued {
            // SAFETY: By the requirements of this function.
            unsafe { (raw.func)(this) };
        }
        raw.running.fetch_sub(1u32, Full);
        queued
    }

    /// Runs the callback in the thread. Returns false if there is nothing to do.
    ///
    /// # Safety
    ///
    /// `data` must be a `RawOwnerWork` that was initialised, and is pinned until the thread ends.
    unsafe extern "C" fn thread(data: *mut c_void) -> bool {
        let this: *mut Self = data.cast();
        // The thread is about to sleep. If the callback is queued after this look, that wakes it.
        //
        // SAFETY: By the requirements of this function.
        if unsafe { (*this).queued.load(Relaxed) } == 0 {
            return false;
        }
        // SAFETY: This is the thread's own state.
        unsafe { bindings::doorbell_set_running() };
        // SAFETY: By the requirements of this function.
        unsafe { Self::run(this) };
        // SAFETY: It concerns this thread, which looks for signals next.
        unsafe { bindings::doorbell_notice_task_work() };
        true
    }

    /// Hands over to the work item: the thread ends because its process does.
    ///
    /// # Safety
    ///
    /// As of [`RawOwnerWork::thread`].
    unsafe extern "C" fn killed(data: *mut c_void) {
        let this: *mut Self = data.cast();
        // SAFETY: By the requirements of this function.
        let raw = unsafe { &*this };
        // A caller of `queue` that still finds the thread alive has set `queued` before this: the
        // work item, which starts after it, finds that set.
        raw.state.xchg(DEAD, Full);
        // SAFETY: Initialised, and it stays pinned until `retire`.
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

/// The longest pause of the workqueue's, in ns.
const MAX_PAUSE: i64 = 10_000_000;

// SAFETY: `run` calls `func` once for each time that `queued` was set: in the thread or in the work
// item. `queue`, if it finds it clear, wakes the thread or queues the work item, and both read it after
// that. `sync` clears it, and waits until neither can have read it set. `retire` ends both.
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
            orphan: Opaque::uninit(),
        };
        // SAFETY: By the requirements of this function `raw` is valid for writes; name and key are
        // static.
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
        if raw.queued.xchg(1u32, Full) != 0 {
            return;
        }
        if raw.state.load(Acquire) == ALIVE {
            // SAFETY: By the type invariants. It is freed by `retire`, which follows.
            unsafe { bindings::vhost_task_wake(raw.task.load(Relaxed)) };
        } else {
            // SAFETY: Initialised, and it stays pinned until `retire`.
            unsafe { bindings::doorbell_orphans_queue(raw.orphan.get()) };
        }
    }

    unsafe fn sync(raw: *mut Self::Raw) {
        // SAFETY: By the requirements of this function.
        let raw = unsafe { &*raw };
        raw.queued.xchg(0u32, Full);
        super::wait::wait_until(|| (raw.running.load(Acquire) == 0).then_some(()));
    }

    unsafe fn retire(raw: *mut Self::Raw) {
        // SAFETY: By the requirements of this function. No other thread uses it any more, so the
        // thread is not one that is being started.
        unsafe {
            if matches!((*raw).state.load(Acquire), ALIVE | DEAD) {
                bindings::vhost_task_stop((*raw).task.load(Relaxed));
            }
            kbindings::cancel_work_sync((*raw).orphan.get());
        }
    }
}

/// Starts a thread of the current process that runs the callback from now on, unless there is one
/// already. The limits of the process and the caller's priority apply to it. Process context.
///
/// A kernel thread cannot have such a thread, and some kernels cannot create one; then the work item
/// goes on running the callback.
///
/// # Errors
///
/// EAGAIN: RLIMIT_NPROC, or the pids cgroup, allows no thread. ENOMEM.
pub(crate) fn start<T: Run<OwnerWork> + HasDeferred<OwnerWork>>(this: Pin<&T>) -> Result {
    let raw = super::deferred::raw_field::<T, OwnerWork>(&this);
    // SAFETY: The field is initialised by its type invariants.
    let work = unsafe { &*raw };
    if work.state.load(Relaxed) != NONE || work.state.cmpxchg(NONE, STARTING, Full).is_err() {
        return Ok(());
    }
    // SAFETY: Initialised, and pinned until its `drop`, which ends the thread.
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
    // INVARIANT: It is freed by `retire`, and by nothing else.
    work.task.store(task, Relaxed);
    work.state.store(ALIVE, Release);
    // What was queued before is the work item's. SAFETY: It has just been made.
    unsafe { bindings::vhost_task_start(task) };
    Ok(())
}

/// The workqueue of callbacks whose process has exited. Its nice value and its CPUs can be set in
/// /sys/devices/virtual/workqueue/doorbell. While this does not exist, the system's workqueue is used.
pub(crate) struct Orphans(());

impl Orphans {
    /// Makes it. Process context.
    ///
    /// # Errors
    ///
    /// EBUSY: it exists. ENOMEM.
    pub(crate) fn new() -> Result<Self> {
        // SAFETY: No requirements.
        to_result(unsafe { bindings::doorbell_orphans_init() })?;
        Ok(Self(()))
    }
}

impl Drop for Orphans {
    fn drop(&mut self) {
        // SAFETY: It was made by `new`, once.
        unsafe { bindings::doorbell_orphans_exit() };
    }
}
