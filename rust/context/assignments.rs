// SPDX-License-Identifier: GPL-2.0

//! The assignments of a context, and the search for cycles among them.

use crate::{
    irqfd::Irqfd,
    kernel_ext::{
        alloc::user_alloc_flags,
        lazy_vec::LazyVec,
        nospec,
        task::fatal_signal_pending, //
    },
    uapi::DOORBELL_MAX_SEARCHED_TRIGGERS, //
};
use kernel::{
    prelude::*,
    rbtree::RBTree, //
};

/// The assignments of a context. They change with the mutex held.
pub(crate) struct Assignments {
    /// Irqfds by the eventfd's identity, which no other eventfd has while the irqfd exists.
    pub(crate) irqfds: RBTree<usize, Pin<KBox<Irqfd>>>,
    /// The identities of each line's triggers, for the search for cycles. Only the owner of a line can
    /// access the triggers themselves.
    pub(super) triggers: KVVec<LazyVec<usize>>,
}

impl Assignments {
    /// Returns the identities of the triggers of `line`.
    pub(super) fn triggers_of(&self, line: u32) -> &[usize] {
        nospec::get(&self.triggers, line as usize).map_or(&[], |ids| ids)
    }

    /// Returns the identities of the triggers of `line`, to change them.
    pub(super) fn triggers_of_mut(&mut self, line: u32) -> Option<&mut LazyVec<usize>> {
        nospec::get_mut(&mut self.triggers, line as usize)
    }

    /// Returns true if `hit` is true for `start` or for any line that `start` rings, directly or not,
    /// by a trigger that is an irqfd of this context. `hit` gets the line and its triggers'
    /// identities. Process context.
    ///
    /// A cycle through several contexts is not found, because no context may see the assignments of another
    /// one. The relay limit bounds the cost of a cycle. So this search only reports a mistake, and may be
    /// bounded itself.
    ///
    /// # Errors
    ///
    /// ENOSPC: there are too many triggers to examine. EINTR: the task was killed. ENOMEM.
    pub(crate) fn reaches(&self, start: u32, hit: impl Fn(u32, &[usize]) -> bool) -> Result<bool> {
        let mut seen = KVVec::<bool>::new();
        let mut todo = KVVec::new();
        let mut examined = 0;
        todo.push(start, user_alloc_flags())?;
        while let Some(at) = todo.pop() {
            let ids = self.triggers_of(at);
            if hit(at, ids) {
                return Ok(true);
            }
            examined += ids.len();
            if examined > DOORBELL_MAX_SEARCHED_TRIGGERS as usize {
                return Err(ENOSPC);
            }
            if fatal_signal_pending() {
                return Err(EINTR);
            }
            for next in ids.iter().filter_map(|id| self.irqfds.get(id)) {
                let next = next.listen().line();
                if seen.is_empty() {
                    seen.resize(self.triggers.len(), false, user_alloc_flags())?;
                }
                if !core::mem::replace(&mut seen[next as usize], true) {
                    todo.push(next, user_alloc_flags())?;
                }
            }
        }
        Ok(false)
    }
}
