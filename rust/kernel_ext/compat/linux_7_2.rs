// SPDX-License-Identifier: GPL-2.0

//! Interfaces of Linux 7.3 that Linux 7.2 lacks.

// No examples: it has names of the kernel crate, whose documentation has examples.

use crate::bindings;
use core::num::NonZeroI32;
use kernel::{
    bindings as kbindings,
    mm::virt::vm_flags_t,
    prelude::*,
    sync::lock::{
        Backend,
        Lock, //
    }, //
};

/// The mapping is shared. That of 7.2 has the value of VM_MAYEXEC.
pub(crate) const MAYSHARE: vm_flags_t = bindings::DOORBELL_VM_MAYSHARE;

/// Creates an error from its positive number.
const fn error(errno: u32) -> Error {
    assert!(errno > 0 && errno <= kbindings::MAX_ERRNO);
    // SAFETY: The number is not zero, and an `Error` consists of a negative error number: see below.
    unsafe { core::mem::transmute::<NonZeroI32, Error>(NonZeroI32::new_unchecked(-(errno as i32))) }
}

const _: () = {
    // SAFETY: If an `Error` has the size of an integer, it consists of its `NonZeroI32`.
    let errno = unsafe { core::mem::transmute::<Error, i32>(EINVAL) };
    assert!(errno == -(kbindings::EINVAL as i32));
};

pub(crate) const ELOOP: Error = error(kbindings::ELOOP);
pub(crate) const ENOBUFS: Error = error(kbindings::ENOBUFS);
pub(crate) const EOPNOTSUPP: Error = error(kbindings::EOPNOTSUPP);

/// Memory barriers.
pub(crate) mod barrier {
    /// Orders loads before it and loads after it.
    pub(crate) struct Read;
    /// Orders all accesses before it and all accesses after it.
    // ORDERING: None: the callers' comments have the partners.
    pub(crate) struct Full;

    /// A barrier between CPUs.
    pub(crate) trait SmpBarrier {
        fn run();
    }

    impl SmpBarrier for Read {
        #[inline(always)]
        fn run() {
            kernel::sync::barrier::smp_rmb();
        }
    }

    // ORDERING: None: the callers' comments have the partners.
    impl SmpBarrier for Full {
        #[inline(always)]
        fn run() {
            // ORDERING: None: the callers' comments have the partners.
            kernel::sync::barrier::smp_mb();
        }
    }

    /// Executes a barrier. Any context.
    #[inline(always)]
    pub(crate) fn smp_mb<T: SmpBarrier>(_: T) {
        T::run();
    }
}

/// Waits for all RCU readers of now. Process context.
#[inline]
pub(crate) fn synchronize_rcu() {
    // SAFETY: It may always be called in process context.
    unsafe { kbindings::synchronize_rcu() };
}

/// Initialises `slot`.
///
/// # Safety
///
/// `slot` must be valid for writes and uninitialised. It must not move until it is dropped.
#[inline(always)]
pub(crate) unsafe fn raw_init<T>(slot: *mut T, init: impl PinInit<T>) {
    // SAFETY: By the requirements of this function.
    unsafe { init.__pinned_init(slot).unwrap_or_else(|e| match e {}) }
}

/// Calls `f` with the interrupts of this CPU off. Any context.
#[inline(always)]
pub(crate) fn with_interrupts_disabled<R>(f: impl FnOnce() -> R) -> R {
    // SAFETY: It may always be called.
    let flags = unsafe { bindings::doorbell_irq_save() };
    let result = f();
    // SAFETY: These are the flags of the call above, on the same CPU. Calls within `f` have restored theirs.
    unsafe { bindings::doorbell_irq_restore(flags) };
    result
}

/// A spinlock whose owner has interrupts off. On PREEMPT_RT they stay on, and the lock may sleep.
pub(crate) type SpinLockIrq<T> = Lock<T, SpinLockIrqBackend>;

/// `spinlock_t` with `spin_lock_irqsave()`.
pub(crate) struct SpinLockIrqBackend;

// SAFETY: The C functions implement a lock: `lock()` returns when the caller is its only owner.
unsafe impl Backend for SpinLockIrqBackend {
    type State = kbindings::spinlock_t;
    type GuardState = usize;

    #[inline]
    unsafe fn init(
        ptr: *mut Self::State,
        name: *const c_char,
        key: *mut kbindings::lock_class_key,
    ) {
        // SAFETY: By the requirements of this function.
        unsafe { kbindings::__spin_lock_init(ptr, name, key) }
    }

    #[inline]
    unsafe fn lock(ptr: *mut Self::State) -> usize {
        // SAFETY: By the requirements of this function the lock is initialised.
        unsafe { bindings::doorbell_spin_lock_irqsave(ptr) }
    }

    #[inline]
    unsafe fn try_lock(ptr: *mut Self::State) -> Option<usize> {
        let mut flags = 0;
        // SAFETY: By the requirements of this function the lock is initialised.
        let locked = unsafe { bindings::doorbell_spin_trylock_irqsave(ptr, &mut flags) };
        locked.then_some(flags)
    }

    #[inline]
    unsafe fn unlock(ptr: *mut Self::State, flags: &usize) {
        // SAFETY: By the requirements of this function the caller is the owner. The flags are those
        // of `lock()` or `try_lock()`.
        unsafe { bindings::doorbell_spin_unlock_irqrestore(ptr, *flags) }
    }

    #[inline]
    unsafe fn assert_is_held(ptr: *mut Self::State) {
        // SAFETY: By the requirements of this function the lock is initialised.
        unsafe { kbindings::spin_assert_is_held(ptr) }
    }
}

/// Creates an initialiser of a [`SpinLockIrq`] with a name and a new lock class.
macro_rules! new_spinlock_irq {
    ($inner:expr, $name:literal) => {
        $crate::kernel_ext::compat::SpinLockIrq::new(
            $inner,
            ::kernel::c_str!($name),
            ::kernel::static_lock_class!(),
        )
    };
}
pub(crate) use new_spinlock_irq;
