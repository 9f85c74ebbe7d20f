// SPDX-License-Identifier: GPL-2.0

//! Callbacks for the signals of an eventfd.

// No examples: the module `eventfd` has them.

use super::{
    access,
    counter::{
        EventFdGuard,
        EventFdQueue, //
    }, //
};
use crate::{
    bindings,
    kernel_ext::wait_queue::WaitQueueGuard, //
};
use kernel::{
    bindings as kbindings,
    prelude::*,
    types::Opaque, //
};

/// A count that was consumed from an eventfd's counter. There is no other record of it: dropping it
/// loses the signals.
#[must_use = "the consumed count must be delivered"]
pub(crate) struct Consumed(u64);

impl Consumed {
    /// Calls `f` if the count is not zero.
    pub(crate) fn deliver(self, f: impl FnOnce()) {
        if self.0 != 0 {
            f();
        }
    }
}

/// The callbacks of a [`Listener`].
pub(crate) trait Listen: Send + Sync + 'static {
    /// Handles a signal. `count` was consumed from the counter, and is not zero. `mask` is the key
    /// of the wake-up: EPOLLIN and the mask that was passed to [`EventFd::signal`].
    ///
    /// # Context
    ///
    /// Called with the eventfd's wait-queue lock held and interrupts off (on PREEMPT_RT: with the
    /// lock held). `eventfd_signal_allowed()` is false. The callback must neither sleep nor signal
    /// an eventfd.
    ///
    /// [`EventFd::signal`]: super::EventFd::signal
    fn signalled(&self, count: u64, mask: u32);

    /// Handles the close of the eventfd's last file. The listener has been removed and is not
    /// called again.
    ///
    /// # Context
    ///
    /// As of [`Listen::signalled`].
    fn hung_up(&self);
}

/// A callback for an eventfd's signals, and the eventfd's only consumer.
///
/// # Invariants
///
/// `entry` is on the wait queue of `queue`, or its list is empty. It changes only while the queue's
/// lock is held.
#[pin_data(PinnedDrop)]
#[repr(C)]
pub(crate) struct Listener<L: Listen> {
    #[pin]
    entry: Opaque<kbindings::wait_queue_entry>,
    queue: EventFdQueue,
    listen: L,
}

// SAFETY: All fields may move between threads. The entry is accessed only under the queue's lock.
unsafe impl<L: Listen> Send for Listener<L> {}
// SAFETY: As above.
unsafe impl<L: Listen> Sync for Listener<L> {}

impl<L: Listen> Listener<L> {
    /// Creates an initialiser for a listener that is not attached yet.
    pub(crate) fn new(queue: EventFdQueue, listen: L) -> impl PinInit<Self> {
        pin_init!(Self {
            // INVARIANT: The list is empty.
            entry <- Opaque::ffi_init(|entry: *mut kbindings::wait_queue_entry| {
                let list = entry
                    .wrapping_byte_add(core::mem::offset_of!(kbindings::wait_queue_entry, entry))
                    .cast::<kbindings::list_head>();
                // SAFETY: `entry` is valid for writes, and it is pinned.
                unsafe {
                    entry.write(kbindings::wait_queue_entry {
                        flags: 0,
                        private: core::ptr::null_mut(),
                        func: Some(Self::wake),
                        entry: kbindings::list_head {
                            next: list,
                            prev: list,
                        },
                    })
                }
            }),
            queue,
            listen,
        })
    }

    /// Returns the callbacks that were passed to [`Listener::new`].
    pub(crate) fn listen(&self) -> &L {
        &self.listen
    }

    /// Checks that [`Listener::attach`] would succeed now. Another consumer may come before that. Any context.
    ///
    /// # Errors
    ///
    /// EBUSY: as of [`Listener::attach`].
    pub(crate) fn check_free(&self) -> Result {
        if self.queue.lock().lock.has_priority_entry() {
            return Err(EBUSY);
        }
        Ok(())
    }

    /// Starts to listen and consumes the counter in one critical section. Returns the consumed
    /// count.
    ///
    /// The returned count includes each earlier signal. Each later signal is passed to [`Listen`].
    /// The caller must own a reference to a file of the eventfd: otherwise it might miss the close
    /// of the last file.
    ///
    /// `ready` is called when nothing can fail any more, in the same critical section: before
    /// [`Listen`] is called, and before the consumed count is returned. It must not sleep.
    ///
    /// # Errors
    ///
    /// EBUSY: the eventfd has a consumer. The check is host-wide and includes KVM's irqfds.
    pub(crate) fn attach(self: Pin<&Self>, ready: impl FnOnce()) -> Result<Consumed> {
        let mut guard = self.queue.lock();
        if !self.detached(&guard.lock) {
            return Err(EBUSY);
        }
        let (EventFdQueue { queue, eventfd }, entry) = (&self.queue, self.entry.get());
        // SAFETY: The queue is the context's, by the type invariants, and the lock is that of the queue. The
        // list is empty, so the entry is on no queue. It is pinned, and removed by `drop` at the latest.
        let count = unsafe { access::add_consumer(eventfd.0, *queue, &mut guard.lock, entry) }?;
        ready();
        Ok(Consumed(count))
    }

    /// Stops listening and consumes the counter in one critical section. Returns the consumed
    /// count. On return no [`Listen`] callback is running, and none will be called.
    ///
    /// After [`Listener::attach`] each signal is consumed when it arrives. So only an EFD_SEMAPHORE
    /// eventfd can have a count left. Dropping a listener does not change the counter.
    ///
    /// # Context
    ///
    /// Any context but that of a [`Listen`] callback.
    ///
    /// # Errors
    ///
    /// ENOENT: the listener was not attached, or the last file of the eventfd was closed.
    pub(crate) fn detach(&self) -> Result<Consumed> {
        let mut guard = self.remove().ok_or(ENOENT)?;
        Ok(Consumed(guard.read()))
    }

    /// Removes the entry from the queue, if it is queued. Then it returns the lock, still held.
    fn remove(&self) -> Option<EventFdGuard<'_>> {
        let guard = self.queue.lock();
        if self.detached(&guard.lock) {
            return None;
        }
        // SAFETY: By the type invariants the entry is on this queue, whose lock is held.
        unsafe { bindings::doorbell_wait_queue_del(self.entry.get()) };
        Some(guard)
    }

    fn detached(&self, _lock: &WaitQueueGuard<'_>) -> bool {
        let entry = self.entry.get();
        // SAFETY: The entry is initialised, and the lock that protects it is held.
        unsafe { (*entry).entry.next == &raw mut (*entry).entry }
    }

    /// Handles a wake-up of the queue.
    ///
    /// # Safety
    ///
    /// `entry` must be that of an attached listener, and the lock of its queue must be held.
    unsafe extern "C" fn wake(
        entry: *mut kbindings::wait_queue_entry,
        _mode: c_uint,
        _flags: c_int,
        key: *mut c_void,
    ) -> c_int {
        // SAFETY: The entry is the first field of a pinned `Listener` (`repr(C)`). The `Listener`
        // is alive: before it is freed, it removes its entry from the queue, under the lock that is
        // held here.
        let this = unsafe { &*entry.cast::<Self>() };
        let mask = key.addr() as u32;
        let mut consumed = 0;

        if mask & kbindings::POLLIN != 0 {
            let mut count = 0;
            // SAFETY: The context is valid, and its lock is held.
            unsafe {
                bindings::eventfd_ctx_do_read(this.queue.eventfd.0.as_ptr(), &mut count);
            }
            if count != 0 {
                this.listen.signalled(count, mask);
                // After a write of zero to an EFD_SEMAPHORE eventfd the counter is lower than
                // before, and a writer may be waiting for that.
                //
                // SAFETY: The lock is held. This is the queue's callback for `entry`, which `add_consumer`
                // has made an exclusive one, and the callback returns 1. All wake-ups with EPOLLIN are
                // those of fs/eventfd.c, which wake one exclusive entry. So the wake-up ends with
                // `entry`, and does not use the next entry, which this may remove from the queue.
                unsafe {
                    if this.queue.queue.has_next(entry) {
                        access::wake_writers(this.queue.eventfd.0, this.queue.queue);
                    }
                }
                consumed = 1;
            }
        }
        if mask & kbindings::POLLHUP != 0 {
            // SAFETY: The entry is that of `this`. It is on the queue, whose lock is held. The caller,
            // which walks the queue, has loaded the next entry already.
            unsafe { this.hang_up(entry) };
        }
        consumed
    }

    /// Handles the close of the eventfd's last file.
    ///
    /// # Safety
    ///
    /// `entry` must be that of `self`, and be on the queue, whose lock is held.
    #[cold]
    unsafe fn hang_up(&self, entry: *mut kbindings::wait_queue_entry) {
        // SAFETY: By the requirements of this function.
        unsafe { bindings::doorbell_wait_queue_del(entry) };
        self.listen.hung_up();
    }
}

#[pinned_drop]
impl<L: Listen> PinnedDrop for Listener<L> {
    fn drop(self: Pin<&mut Self>) {
        // Consumes nothing: the count could not be delivered any more.
        drop(self.remove());
    }
}
