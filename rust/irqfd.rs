// SPDX-License-Identifier: GPL-2.0

//! The eventfds that ring a line.

use crate::{
    context::Core,
    kernel_ext::eventfd::{
        Listen,
        Listener, //
    }, //
};
use kernel::sync::Arc;

/// An irqfd: listens on an eventfd, and each signal rings its line.
pub(crate) type Irqfd = Listener<Source>;

/// Where an irqfd's signals go.
pub(crate) struct Source {
    core: Arc<Core>,
    line: u32,
    id: usize,
}

impl Source {
    /// For the eventfd `id`, to the line `line` of `core`, which must exist.
    pub(crate) fn new(core: Arc<Core>, line: u32, id: usize) -> Self {
        Self { core, line, id }
    }

    /// The line that is rung.
    pub(crate) fn line(&self) -> u32 {
        self.line
    }
}

impl Listen for Source {
    #[inline]
    fn signalled(&self, _count: u64, mask: u32) {
        if let Some(line) = self.core.line(self.line) {
            line.ring_from_wake(mask);
        }
    }

    fn hung_up(&self) {
        self.core.bury(self.id);
    }
}
