// SPDX-License-Identifier: GPL-2.0

//! Lists that are walked without a lock.
//!
//! A reader walks a list without a lock, and may sleep. So may the function that it calls for each
//! item. That function may also change the list, or another list of the same [`ReadDomain`]. It
//! must not wait until a removed item is freed ([`Removed`]): that would be waiting for itself.
//!
//! # Examples
//!
//! ```
//! use crate::kernel_ext::{read_domain::ReadDomain, shared_list::SharedList};
//!
//! let list = SharedList::new(ReadDomain::new(GFP_KERNEL)?);
//! list.push(list.node(7, GFP_KERNEL)?);
//!
//! // In any context but NMI:
//! list.for_each(|number| pr_info!("{number}\n"));
//!
//! // Readers may still use the removed item; dropping it waits for them.
//! let removed = list.remove(|number| *number == 7);
//! drop(removed);
//! ```

use super::{
    read_domain::ReadDomain,
    read_once::read_once, //
};
use core::{
    ops::Deref,
    ptr::{
        null_mut,
        NonNull, //
    }, //
};
use kernel::{
    prelude::*,
    sync::{
        atomic::{
            Acquire,
            Atomic,
            Relaxed,
            Release, //
        },
        Arc, //
    }, //
};

/// An item and its link in a list.
pub(crate) struct Node<T> {
    item: T,
    next: Atomic<*mut Node<T>>,
}

/// A singly linked list.
///
/// # Invariants
///
/// - `head`, and `next` of each node that is reached from it, are null or point to a node that came
///   from a [`KBox`] and is owned by the list.
/// - They change only while the domain's mutex is held, or with exclusive access to the list.
/// - A node that a reader of the domain has reached from `head` is not freed before that reader has
///   ended.
pub(crate) struct SharedList<T: Send + Sync> {
    head: Atomic<*mut Node<T>>,
    domain: Arc<ReadDomain>,
}

// SAFETY: The list owns its items, hands out shared references to them to several threads at the
// same time, and may drop them on any thread.
unsafe impl<T: Send + Sync> Send for SharedList<T> {}
// SAFETY: As above.
unsafe impl<T: Send + Sync> Sync for SharedList<T> {}

impl<T: Send + Sync> SharedList<T> {
    /// Creates an empty list.
    pub(crate) fn new(domain: Arc<ReadDomain>) -> Self {
        // INVARIANT: There are no nodes.
        Self {
            head: Atomic::new(null_mut()),
            domain,
        }
    }

    /// Makes [`SharedList::synchronize`] wait for the readers that start after this, even if no list of the domain
    /// ever has an item. Process context.
    ///
    /// # Errors
    ///
    /// ENOMEM.
    pub(crate) fn prepare(&self, flags: kernel::alloc::Flags) -> Result {
        self.domain.prepare(flags)
    }

    /// Allocates a node for `item`. Without it no reader would reach the items of this domain. Process
    /// context.
    pub(crate) fn node(&self, item: T, flags: kernel::alloc::Flags) -> Result<KBox<Node<T>>> {
        self.domain.prepare(flags)?;
        let next = Atomic::new(null_mut());
        Ok(KBox::new(Node { item, next }, flags)?)
    }

    /// Calls `f` for each item, in the order in which they were added.
    ///
    /// It is not specified whether `f` is called for an item that is added or removed meanwhile.
    ///
    /// # Context
    ///
    /// Any context but NMI. `f` is called without a lock.
    #[inline(always)]
    pub(crate) fn for_each(&self, f: impl FnMut(&T)) {
        // Most lists are empty. Such a list has nothing to protect.
        if !read_once(&self.head).is_null() {
            self.walk(f);
        }
    }

    #[cold]
    fn walk(&self, mut f: impl FnMut(&T)) {
        let Some(_guard) = self.domain.read() else {
            return;
        };
        // ORDERING: Pairs with the release in `SharedList::push`, and with that in `SharedList::remove`, which
        // keeps the order of it.
        let mut at = self.head.load(Acquire);
        // SAFETY: By the type invariants it is null or a node, which stays until the guard is
        // dropped.
        while let Some(node) = unsafe { at.as_ref() } {
            f(&node.item);
            at = node.next.load(Acquire);
        }
    }

    /// Calls `f` as a reader of the domain, for which [`SharedList::synchronize`] waits. `f` is called with false
    /// if the domain was not prepared yet: then nothing waits for it.
    ///
    /// # Context
    ///
    /// As of [`SharedList::for_each`].
    #[inline]
    pub(crate) fn as_reader<R>(&self, f: impl FnOnce(bool) -> R) -> R {
        // Without a guard no list of the domain has had an item, and none was prepared.
        let guard = self.domain.read();
        f(guard.is_some())
    }

    /// Waits until the readers of the domain that have started before this call have ended.
    ///
    /// # Context
    ///
    /// Process context, and not that of a reader.
    pub(crate) fn synchronize(&self) {
        self.domain.synchronize();
    }

    /// Returns true if the list has no item. Any context.
    pub(crate) fn is_empty(&self) -> bool {
        // ORDERING: None: the caller uses no node.
        self.head.load(Relaxed).is_null()
    }

    /// Calls `f` for each item, and returns true if `f` was true for one of them.
    pub(crate) fn any(&self, mut f: impl FnMut(&T) -> bool) -> bool {
        let mut any = false;
        self.for_each(|item| any |= f(item));
        any
    }

    /// Adds an item at the end. Process context.
    pub(crate) fn push(&self, node: KBox<Node<T>>) {
        let _changes = self.domain.lock();
        let mut last = &self.head;
        // ORDERING: The release pairs with the loads in `SharedList::walk`. The loads need no order: this writer
        // owns the mutex.
        // SAFETY: By the type invariants it is null or a node. A node is freed only after it was
        // removed, which needs the mutex, so the mutex keeps the node.
        while let Some(node) = unsafe { last.load(Relaxed).as_ref() } {
            last = &node.next;
        }
        // INVARIANT: It came from a box, whose ownership the list takes. The release orders the
        // writes to the node before it can be reached.
        last.store(KBox::into_raw(node), Release);
    }

    /// Removes the first item for which `f` is true. Process context.
    pub(crate) fn remove(&self, mut f: impl FnMut(&T) -> bool) -> Option<Removed<T>> {
        let _changes = self.domain.lock();
        let mut link = &self.head;
        loop {
            // ORDERING: The release pairs with the loads in `SharedList::walk`. The loads need no order: this
            // writer owns the mutex.
            let at = link.load(Relaxed);
            // SAFETY: As in `push`.
            let node = unsafe { at.as_ref() }?;
            if f(&node.item) {
                // INVARIANT: Its successors are reached as before, and the node no more. It keeps
                // its own `next`, by which readers that are at the node continue.
                link.store(node.next.load(Relaxed), Release);
                return NonNull::new(at).map(|node| Removed {
                    node,
                    domain: self.domain.clone(),
                    waited: false,
                });
            }
            link = &node.next;
        }
    }
}

impl<T: Send + Sync> Drop for SharedList<T> {
    fn drop(&mut self) {
        // ORDERING: None: no other thread has the list any more.
        let mut at = self.head.load(Relaxed);
        while !at.is_null() {
            // SAFETY: By the type invariants it is owned and came from a box. `self` is borrowed
            // exclusively, so there is no reader.
            let node = unsafe { KBox::from_raw(at) };
            at = node.next.load(Relaxed);
        }
    }
}

/// An item that was removed from its list.
///
/// Dropping it frees the item. Unless [`Removed::wait_for_all`] was called, dropping first waits
/// for a grace period of the domain.
///
/// # Context
///
/// To drop: process context, and not from within [`SharedList::for_each`].
///
/// # Invariants
///
/// The node is owned, and cannot be reached from its list any more.
#[must_use = "dropping waits for a grace period"]
pub(crate) struct Removed<T: Send + Sync> {
    node: NonNull<Node<T>>,
    domain: Arc<ReadDomain>,
    /// A grace period has passed, so no reader uses the node.
    waited: bool,
}

impl<T: Send + Sync> Removed<T> {
    /// Waits for one grace period on behalf of all of `removed`, which must be from lists of one
    /// domain. All of them are removed when this is called: an iterator could remove items meanwhile.
    ///
    /// # Context
    ///
    /// Process context, and not from within [`SharedList::for_each`].
    pub(crate) fn wait_for_all(removed: &mut [Option<Self>]) {
        let Some(first) = removed.iter().flatten().next() else {
            return;
        };
        let domain = first.domain.clone();
        domain.synchronize();
        for removed in removed.iter_mut().flatten() {
            removed.waited = Arc::ptr_eq(&removed.domain, &domain);
        }
    }
}

impl<T: Send + Sync> Deref for Removed<T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: By the type invariants the node is owned, and so valid. Only shared references to
        // the item are created before it is dropped.
        unsafe { &self.node.as_ref().item }
    }
}

// SAFETY: It owns the item, and shares it with the readers that still walk the list.
unsafe impl<T: Send + Sync> Send for Removed<T> {}

impl<T: Send + Sync> Drop for Removed<T> {
    fn drop(&mut self) {
        if !self.waited {
            self.domain.synchronize();
        }
        // SAFETY: By the type invariants it is owned and came from a box. A grace period has
        // passed, so all readers that reached it in the list have ended.
        drop(unsafe { KBox::from_raw(self.node.as_ptr()) });
    }
}
