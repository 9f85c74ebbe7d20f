// SPDX-License-Identifier: GPL-2.0

//! Many objects that one callback runs, in the order in which they were queued, on behalf of the
//! process that owns them.
//!
//! Queueing an object costs an exchange and a compare-exchange, also in an interrupt that queues
//! thousands. A node is queued once at a time.
//!
//! # Examples
//!
//! ```
//! use crate::kernel_ext::{
//!     batch::{Batch, BatchNode, RunInBatch},
//!     callback::impl_has_callbacks,
//! };
//!
//! #[pin_data(PinnedDrop)]
//! struct Job {
//!     #[pin]
//!     node: BatchNode<Self>,
//! }
//!
//! impl_has_callbacks!(Job {
//!     node: BatchNode<Self>,
//! });
//!
//! impl RunInBatch for Job {
//!     fn run_in_batch(self: Pin<&Self>) {
//!         let (batch, job) = self.node.numbers();
//!         pr_info!("{batch}: {job}\n");
//!     }
//! }
//!
//! let batch = Batch::new(1, GFP_KERNEL)?;
//! // Without this, a workqueue of the module runs the jobs.
//! batch.start()?;
//! let job = pin_init!(Job { node <- BatchNode::new(batch.clone(), 2) });
//! let job = KBox::pin_init(job, GFP_KERNEL)?;
//! job.as_ref().queue_in_batch();
//! ```

use super::{
    callback::{
        impl_has_callbacks,
        CallbackField,
        HasCallback, //
    },
    coverage::CoverageHandle,
    deferred::{
        Deferred,
        Run, //
    },
    owner_work::{
        self,
        OwnerWork, //
    },
    pinned::pinned,
    task::cond_resched,
    wait::wait_until, //
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
    time::{
        Delta,
        Instant,
        Monotonic, //
    },
    types::Opaque, //
};

/// The maximum number of objects that one callback runs. Afterwards other batches that share the
/// workqueue have their turn, and a thread handles signals.
const MAX_RUN: u32 = 64;

/// The time after which a callback runs no further object, as after [`MAX_RUN`] of them.
const MAX_RUN_TIME: Delta = Delta::from_millis(2);

/// A list of nodes from [`Batch::queued`].
struct Taken(*mut kbindings::llist_node);

// SAFETY: The object owns the list.
unsafe impl Send for Taken {}

/// A callback that runs the queued objects.
///
/// # Invariants
///
/// `queued` and `taken` are lists of the `node`s of pinned `T`s that are alive, each of them with
/// [`BatchNode::queued`] set.
#[pin_data(PinnedDrop)]
pub(crate) struct Batch<T: RunInBatch> {
    #[pin]
    work: Deferred<Self, OwnerWork>,
    queued: Opaque<kbindings::llist_head>,
    /// The objects that are run next. The mutex is held while objects are run.
    #[pin]
    taken: Mutex<Taken>,
    /// Set while objects are being run.
    running: Atomic<u32>,
    number: u32,
    coverage: CoverageHandle,
    _objects: core::marker::PhantomData<fn(&T)>,
}

impl_has_callbacks!([T: RunInBatch] Batch<T> {
    work: Deferred<Self, OwnerWork>,
});

// SAFETY: The list may be used from any thread.
unsafe impl<T: RunInBatch> Send for Batch<T> {}
// SAFETY: The functions that change the list are atomic.
unsafe impl<T: RunInBatch> Sync for Batch<T> {}

/// An object that a [`Batch`] runs.
pub(crate) trait RunInBatch: HasCallback<BatchNode<Self>> + Sync {
    /// Runs the object, once for each time that it was queued, in process context.
    fn run_in_batch(self: Pin<&Self>);

    /// Queues one call of [`RunInBatch::run_in_batch`], unless one is queued already.
    ///
    /// # Context
    ///
    /// Any context but NMI; never sleeps. If the caller is preempted in here, the call is delayed
    /// until it runs again.
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
    /// Creates a batch without queued objects. `number` is for the user. Process context.
    pub(crate) fn new(number: u32, flags: kernel::alloc::Flags) -> Result<Arc<Self>> {
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
                number,
                coverage: CoverageHandle::current(),
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

    /// Removes at most `max` objects from the queue, and calls `f` with each, until that returns false; each can
    /// be queued again by then. Returns false if the queue may not be empty.
    fn take(&self, max: u32, f: impl Fn(Pin<&T>) -> bool) -> bool {
        let mut taken = self.taken.lock();
        // With the mutex held: while the thread starts, it and the work item may both be here, and the one that
        // ends first must not clear this for the other.
        //
        // ORDERING: The release pairs with the load in `BatchNode::close`: what the objects have done is visible
        // to a thread that finds this clear. The exchange in `Batch::take_from` orders the first store before an
        // object is idle: a thread that finds it idle also finds this set, unless the object has been run.
        self.running.store(1u32, Relaxed);
        let all = self.take_from(&mut taken, max, f);
        self.running.store(0u32, Release);
        all
    }

    /// Does what [`Batch::take`] does, with the list that the mutex protects.
    fn take_from(&self, taken: &mut Taken, max: u32, f: impl Fn(Pin<&T>) -> bool) -> bool {
        for _ in 0..max {
            if taken.0.is_null() {
                // SAFETY: By the type invariants it is a list. From here on its nodes belong to
                // `taken`.
                taken.0 = unsafe { bindings::doorbell_llist_take(self.queued.get()) };
            }
            let node = taken.0;
            if node.is_null() {
                return true;
            }
            // SAFETY: By the type invariants the node is that of a pinned `T` that is alive. The
            // `drop` of the `T` closes the node, which waits until this has changed `queued` and run `f`.
            let object = unsafe {
                taken.0 = (*node).next;
                let offset = T::OFFSET + core::mem::offset_of!(BatchNode<T>, node);
                Pin::new_unchecked(&*node.byte_sub(offset).cast::<T>())
            };
            // An event from here on queues the object again.
            // ORDERING: Pairs with the exchange in `BatchNode::queue`: the object runs with what its caller has
            // written before.
            node_of(&*object).queued.xchg(IDLE, Full);
            if !f(object) {
                break;
            }
        }
        false
    }

    /// Waits until no object is run, and discards the queued objects. No object may be queued any
    /// more.
    ///
    /// # Context
    ///
    /// Process context, and not that of an object that is run.
    pub(crate) fn flush(self: &Arc<Self>) {
        Run::<OwnerWork>::sync(pinned(self));
        self.take(u32::MAX, |_| true);
    }
}

impl<T: RunInBatch> Run<OwnerWork> for Batch<T> {
    fn run(self: Pin<&Self>) {
        let start = Instant::<Monotonic>::now();
        let all = self.coverage.record(|| {
            self.take(MAX_RUN, |object| {
                object.run_in_batch();
                cond_resched();
                start.elapsed() < MAX_RUN_TIME
            })
        });
        if !all {
            Run::<OwnerWork>::queue(self);
        }
    }
}

/// The node was never queued.
const UNUSED: u32 = 0;
/// The node is queued.
const QUEUED: u32 = 1;
/// The node was queued, and is not any more.
const IDLE: u32 = 2;

/// An object's link in the queue of a [`Batch`].
#[pin_data]
pub(crate) struct BatchNode<T: RunInBatch> {
    #[pin]
    node: Opaque<kbindings::llist_node>,
    /// [`QUEUED`] while the node is on the list, or is about to be added; and for ever when the node is closed.
    queued: Atomic<u32>,
    number: u32,
    batch: Arc<Batch<T>>,
}

// SAFETY: The node is accessed only by the thread that has set `queued`, or that has removed the
// node from the list.
unsafe impl<T: RunInBatch> Send for BatchNode<T> {}
// SAFETY: As above.
unsafe impl<T: RunInBatch> Sync for BatchNode<T> {}

impl<T: RunInBatch> BatchNode<T> {
    /// Creates an initialiser for a node that is not queued. `number` is for the user: it takes no room.
    pub(crate) fn new(batch: Arc<Batch<T>>, number: u32) -> impl PinInit<Self> {
        pin_init!(Self {
            node <- Opaque::ffi_init(|node: *mut kbindings::llist_node| {
                // SAFETY: The node is valid for writes.
                unsafe { (*node).next = core::ptr::null_mut() }
            }),
            queued: Atomic::new(UNUSED),
            number,
            batch,
        })
    }

    /// Returns the number of the batch, and that of the node.
    #[inline(always)]
    pub(crate) fn numbers(&self) -> (u32, u32) {
        (self.batch.number, self.number)
    }

    fn queue(&self) {
        // ORDERING: Pairs with the exchange in `Batch::take_from`: if this finds the object queued already, that
        // exchange is still to come.
        if self.queued.xchg(QUEUED, Full) == QUEUED {
            return;
        }
        // SAFETY: The node was not on the list, and no other thread adds it now. The node and the
        // list stay alive: the `drop` of the object closes the node, which is then not queued.
        if unsafe { bindings::doorbell_llist_add(self.node.get(), self.batch.queued.get()) } {
            Run::<OwnerWork>::queue(pinned(&self.batch));
        }
    }
}

// SAFETY: A closed node is not on the list, and `BatchNode::queue` does not add it any more. `close` also
// waits for the object to be run. It may run other objects.
unsafe impl<T: RunInBatch> CallbackField for BatchNode<T> {
    #[inline]
    fn is_unused(&self) -> bool {
        // ORDERING: None: the thread that has queued it has given the object up since, or its callback is one
        // that this object's `drop` finds used, too.
        self.queued.load(Relaxed) == UNUSED
    }

    #[inline]
    unsafe fn close(&self) {
        // ORDERING: Pairs with the exchange in `Batch::take_from`: if this finds the object idle, the
        // load below finds the batch running until the object has been run.
        wait_until(|| {
            if self.queued.xchg(QUEUED, Full) != QUEUED {
                return Some(());
            }
            // Removes this object from the list, and runs those that were queued before it, and maybe some after.
            // The callback of the batch runs the rest.
            self.batch.take(MAX_RUN, |object| {
                if !core::ptr::eq(node_of(object.get_ref()), self) {
                    object.run_in_batch();
                    cond_resched();
                }
                true
            });
            None
        });
        // The object may be running still, if it was taken from the list before.
        //
        // ORDERING: Pairs with the release in `Batch::take`.
        if self.batch.running.load(Acquire) != 0 {
            drop(self.batch.taken.lock());
        }
    }
}
