// SPDX-License-Identifier: GPL-2.0

//! Many objects that one callback runs, in the order in which they were queued, for the process that
//! they belong to.
//!
//! Queueing one costs an exchange and a compare-exchange, also in an interrupt that has thousands to
//! queue. A node is queued once at a time.

use super::{
    deferred::{
        impl_has_deferred_of,
        Deferred,
        Run, //
    },
    owner_work::{
        self,
        OwnerWork, //
    },
    pinned::pinned, //
};
use crate::bindings;
use kernel::{
    bindings as kbindings,
    new_mutex,
    prelude::*,
    sync::{
        atomic::{
            Acquire,
            Atomic,
            Full,
            Relaxed,
            Release, //
        },
        Arc,
        Mutex, //
    },
    types::Opaque, //
};

/// The number of objects that are run in one go. After that other batches that share the workqueue
/// have their turn, and a thread handles signals.
const GO: u32 = 64;

/// A list of nodes from [`Batch::queued`].
struct Taken(*mut kbindings::llist_node);

// SAFETY: The list is owned.
unsafe impl Send for Taken {}

/// A callback that runs the objects that are queued.
///
/// # Invariants
///
/// `queued` and `taken` are lists of the `node`s of pinned `T`s that are alive, each of them with
/// [`BatchNode::queued`] set.
#[pin_data]
pub(crate) struct Batch<T: RunInBatch> {
    // First, because it waits for its callback when it is dropped.
    #[pin]
    work: Deferred<Self, OwnerWork>,
    queued: Opaque<kbindings::llist_head>,
    /// The objects to be run next. The mutex is held while objects are run.
    #[pin]
    taken: Mutex<Taken>,
    /// Objects are being run.
    running: Atomic<u32>,
    _objects: core::marker::PhantomData<fn(&T)>,
}

impl_has_deferred_of!({T: RunInBatch} Batch<T>, work, OwnerWork);

// SAFETY: The list may be used from any thread.
unsafe impl<T: RunInBatch> Send for Batch<T> {}
// SAFETY: The functions that change the list are atomic.
unsafe impl<T: RunInBatch> Sync for Batch<T> {}

/// Says where in `Self` the [`BatchNode`] is.
///
/// # Safety
///
/// `OFFSET` must be the offset of a field of type `BatchNode<Self>`. Use [`impl_has_batch_node`].
pub(crate) unsafe trait HasBatchNode: Sized {
    /// Offset of the field in bytes.
    const OFFSET: usize;
}

/// An object that a [`Batch`] runs.
pub(crate) trait RunInBatch: HasBatchNode + Sync {
    /// Called once for each time that the object was queued, in process context.
    fn run_in_batch(self: Pin<&Self>);

    /// Has [`RunInBatch::run_in_batch`] called soon, once, unless it is going to be anyway. Any
    /// context but NMI; never sleeps. If the caller is preempted in here, that is as long as it takes.
    fn queue_in_batch(self: Pin<&Self>) {
        node_of(self.get_ref()).queue();
    }
}

fn node_of<T: RunInBatch>(this: &T) -> &BatchNode<T> {
    let base: *const T = this;
    // SAFETY: By the trait's requirements there is a node at that offset.
    unsafe { &*base.byte_add(T::OFFSET).cast() }
}

impl<T: RunInBatch> Batch<T> {
    /// One that has nothing to run. Process context.
    pub(crate) fn new(flags: kernel::alloc::Flags) -> Result<Arc<Self>> {
        Arc::pin_init(
            pin_init!(Self {
                work <- Deferred::new(),
                // INVARIANT: An empty list.
                queued: Opaque::new(kbindings::llist_head {
                    first: core::ptr::null_mut(),
                }),
                // INVARIANT: An empty list.
                taken <- new_mutex!(Taken(core::ptr::null_mut()), "doorbell_batch"),
                running: Atomic::new(0),
                _objects: core::marker::PhantomData,
            }),
            flags,
        )
    }

    /// Starts a thread of the current process that runs the objects from now on.
    ///
    /// # Context and errors
    ///
    /// As of [`owner_work::start`].
    pub(crate) fn start(self: &Arc<Self>) -> Result {
        owner_work::start(pinned(self))
    }

    /// Calls `f` with each object that is queued, but at most `most`; they can be queued again then.
    /// Returns false if there may be more.
    fn take(&self, most: u32, f: impl Fn(Pin<&T>)) -> bool {
        let mut taken = self.taken.lock();
        for _ in 0..most {
            if taken.0.is_null() {
                // SAFETY: By the type invariants it is a list. From here on its nodes are `taken`'s.
                taken.0 = unsafe { bindings::doorbell_llist_take(self.queued.get()) };
            }
            let node = taken.0;
            if node.is_null() {
                return true;
            }
            // SAFETY: By the type invariants the node is that of a pinned `T` that is alive: its
            // `drop` waits until it is not queued, which is below.
            let object = unsafe {
                taken.0 = (*node).next;
                let offset = T::OFFSET + core::mem::offset_of!(BatchNode<T>, node);
                Pin::new_unchecked(&*node.byte_sub(offset).cast::<T>())
            };
            // What the object is to be run for may change from here on, and then it is queued again.
            node_of(&*object).queued.xchg(0u32, Full);
            f(object);
        }
        false
    }

    /// Waits until nothing runs, and forgets what is queued. Nothing must be queued any more. Process
    /// context, but not that of an object that is run.
    pub(crate) fn flush(self: &Arc<Self>) {
        Run::<OwnerWork>::sync(pinned(self));
        self.take(u32::MAX, |_| {});
    }
}

impl<T: RunInBatch> Run<OwnerWork> for Batch<T> {
    fn run(self: Pin<&Self>) {
        // Ordered before an object's `queued` is cleared, by the barrier there: who finds that clear
        // finds this set, unless the object has been run.
        self.running.store(1u32, Relaxed);
        let all = self.take(GO, |object| {
            object.run_in_batch();
            // SAFETY: Process context, and no spinlock is held.
            unsafe { bindings::doorbell_cond_resched() };
        });
        self.running.store(0u32, Release);
        if !all {
            Run::<OwnerWork>::queue(self);
        }
    }
}

/// An object's place in a [`Batch`].
#[pin_data(PinnedDrop)]
pub(crate) struct BatchNode<T: RunInBatch> {
    node: Opaque<kbindings::llist_node>,
    /// Set while the node is on the list, or is about to be.
    queued: Atomic<u32>,
    batch: Arc<Batch<T>>,
}

// SAFETY: The node is only touched by who has set `queued`, or has taken it off the list.
unsafe impl<T: RunInBatch> Send for BatchNode<T> {}
// SAFETY: As above.
unsafe impl<T: RunInBatch> Sync for BatchNode<T> {}

impl<T: RunInBatch> BatchNode<T> {
    /// Creates an initialiser for one that is not queued.
    pub(crate) fn new(batch: Arc<Batch<T>>) -> impl PinInit<Self> {
        pin_init!(Self {
            node: Opaque::new(kbindings::llist_node {
                next: core::ptr::null_mut(),
            }),
            queued: Atomic::new(0),
            batch,
        })
    }

    fn queue(&self) {
        if self.queued.xchg(1u32, Full) != 0 {
            return;
        }
        // SAFETY: It was not on the list, and no other thread puts it there now. Both stay alive: `drop`
        // waits for that.
        if unsafe { bindings::doorbell_llist_add(self.node.get(), self.batch.queued.get()) } {
            Run::<OwnerWork>::queue(pinned(&self.batch));
        }
    }
}

#[pinned_drop]
impl<T: RunInBatch> PinnedDrop for BatchNode<T> {
    fn drop(self: Pin<&mut Self>) {
        if self.queued.load(Acquire) != 0 || self.batch.running.load(Acquire) != 0 {
            self.batch.flush();
        }
    }
}

/// Implements [`HasBatchNode`] for a field.
macro_rules! impl_has_batch_node {
    ($owner:ty, $field:ident) => {
        // SAFETY: The offset is that of the field, and `_check` makes sure of the field's type.
        unsafe impl $crate::kernel_ext::batch::HasBatchNode for $owner {
            const OFFSET: usize = {
                fn _check(this: &$owner) -> &$crate::kernel_ext::batch::BatchNode<$owner> {
                    &this.$field
                }
                core::mem::offset_of!($owner, $field)
            };
        }
    };
}
pub(crate) use impl_has_batch_node;
