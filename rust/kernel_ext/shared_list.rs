// SPDX-License-Identifier: GPL-2.0

//! Lists that are walked without a lock.
//!
//! Who walks a list takes no lock and may sleep, and so may what is called for each item. It may
//! also change that list or another one of the same [`ReadDomain`]; what it must not do is wait until
//! a removed item is gone ([`Removed`]), because that would be waiting for itself.

use super::read_domain::ReadDomain;
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

/// An item, and room for it in a list.
pub(crate) struct Node<T> {
    item: T,
    next: Atomic<*mut Node<T>>,
}

impl<T> Node<T> {
    /// Process context.
    pub(crate) fn new(item: T, flags: kernel::alloc::Flags) -> Result<KBox<Self>> {
        let next = Atomic::new(null_mut());
        Ok(KBox::new(Self { item, next }, flags)?)
    }
}

/// A list.
///
/// # Invariants
///
/// - `head`, and `next` of each node that is reached from it, are null or point to a node that came
///   from a [`KBox`] and is owned by the list.
/// - They change with the domain's mutex held only, or when nobody else has access to the list.
/// - A node that has been reached from `head` by a reader of the domain is not freed before that has
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
    /// An empty list.
    pub(crate) fn new(domain: Arc<ReadDomain>) -> Self {
        // INVARIANT: There are no nodes.
        Self {
            head: Atomic::new(null_mut()),
            domain,
        }
    }

    /// Calls `f` for each item, in the order in which they were added. Any context but NMI; no lock
    /// is held.
    ///
    /// An item that is added or removed meanwhile may be met or not.
    pub(crate) fn for_each(&self, mut f: impl FnMut(&T)) {
        // Most lists are empty, and then there is nothing to protect.
        if self.head.load(Relaxed).is_null() {
            return;
        }
        let _guard = self.domain.read();
        let mut at = self.head.load(Acquire);
        // SAFETY: By the type invariants it is null or a node, which stays until the guard goes.
        while let Some(node) = unsafe { at.as_ref() } {
            f(&node.item);
            at = node.next.load(Acquire);
        }
    }

    /// Whether `f` is true for an item.
    pub(crate) fn any(&self, mut f: impl FnMut(&T) -> bool) -> bool {
        let mut any = false;
        self.for_each(|item| any |= f(item));
        any
    }

    /// Adds an item at the end. Process context.
    pub(crate) fn push(&self, node: KBox<Node<T>>) {
        let _changes = self.domain.lock();
        let mut last = &self.head;
        // SAFETY: By the type invariants; the mutex keeps the nodes, too, because none is freed
        // that has not been taken out with it held.
        while let Some(node) = unsafe { last.load(Relaxed).as_ref() } {
            last = &node.next;
        }
        // INVARIANT: It came from a box, whose ownership the list takes. Readers find what was
        // written to the node before.
        last.store(KBox::into_raw(node), Release);
    }

    /// Takes out the first item for which `f` is true. Process context.
    pub(crate) fn remove(&self, mut f: impl FnMut(&T) -> bool) -> Option<Removed<T>> {
        let _changes = self.domain.lock();
        let mut link = &self.head;
        loop {
            let at = link.load(Relaxed);
            // SAFETY: As in `push`.
            let node = unsafe { at.as_ref() }?;
            if f(&node.item) {
                // INVARIANT: What follows it is reached as before, and `at` no more. It keeps its
                // own `next`, by which those that are at it go on.
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
        let mut at = self.head.load(Relaxed);
        while !at.is_null() {
            // SAFETY: By the type invariants it is owned and came from a box. `self` is borrowed
            // exclusively, so nobody walks the list.
            let node = unsafe { KBox::from_raw(at) };
            at = node.next.load(Relaxed);
        }
    }
}

/// An item that was taken out of its list. When this has been dropped, nobody uses the item any
/// more, and it is gone.
///
/// Dropping waits for everybody who walks a list of the domain, unless [`Removed::wait_for_all`] has:
/// process context, and not from within [`SharedList::for_each`].
///
/// # Invariants
///
/// The node is owned, and cannot be reached from its list any more.
#[must_use = "dropping waits"]
pub(crate) struct Removed<T: Send + Sync> {
    node: NonNull<Node<T>>,
    domain: Arc<ReadDomain>,
    /// All readers that had reached the node before are done.
    waited: bool,
}

impl<T: Send + Sync> Removed<T> {
    /// Waits once for the readers of all of `removed`, which must be from lists of one domain. Context
    /// as of dropping.
    pub(crate) fn wait_for_all(removed: &mut [Self]) {
        let Some(first) = removed.first() else {
            return;
        };
        let domain = first.domain.clone();
        domain.synchronize();
        for removed in removed.iter_mut() {
            removed.waited = Arc::ptr_eq(&removed.domain, &domain);
        }
    }
}

impl<T: Send + Sync> Deref for Removed<T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: By the type invariants the node is owned, and so valid. Only shared references to the
        // item are made before it is dropped.
        unsafe { &self.node.as_ref().item }
    }
}

// SAFETY: It owns the item, and shares it with those who still walk the list.
unsafe impl<T: Send + Sync> Send for Removed<T> {}

impl<T: Send + Sync> Drop for Removed<T> {
    fn drop(&mut self) {
        if !self.waited {
            self.domain.synchronize();
        }
        // SAFETY: By the type invariants it is owned, it came from a box, and all who reached it
        // while it was in the list are done.
        drop(unsafe { KBox::from_raw(self.node.as_ptr()) });
    }
}
