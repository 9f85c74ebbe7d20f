// SPDX-License-Identifier: GPL-2.0

//! The memory of a context.

use super::{
    usage::UsageCounters,
    Context, //
};
use crate::{
    bus::{
        records::Records,
        region::Key,
        values::Values,
        Region, //
    },
    irqfd::Irqfd,
    kernel_ext::{
        lazy_timer::Timer,
        poll_queue::PollQueue,
        shared_list::Node, //
    },
    line::{
        outputs::{
            Notifier,
            Output, //
        },
        status::LineStatus,
        waiters::AllWaiters,
        Line, //
    },
    summary::Summary,
    uapi::{
        doorbell_record,
        doorbell_value, //
    },
};
use kernel::prelude::*;

/// A line, its status and its numbers of assignments.
const LINE: usize = size_of::<Line>()
    + size_of::<LineStatus>()
    + size_of::<UsageCounters>()
    + size_of::<KVec<usize>>();

/// An irqfd, and its node in the tree.
const IRQFD: usize =
    size_of::<Irqfd>() + size_of::<kernel::bindings::rb_node>() + 2 * size_of::<usize>();

/// A trigger, and its identity in the list of assignments.
const TRIGGER: usize = size_of::<Output>() + size_of::<usize>();

/// A notifier or a resamplefd.
const NOTIFIER: usize = size_of::<Node<Notifier>>();

/// A region, and its elements in the arrays of keys, numbers and pointers.
const REGION: usize =
    size_of::<Region>() + size_of::<Key>() + size_of::<u64>() + size_of::<usize>();

impl Context {
    /// Returns the size of the context's objects in bytes, without the rounding of the allocator. Any
    /// context.
    pub(crate) fn memory(&self) -> usize {
        let usage = self.usage();
        let waiters = self.waiters.get().map_or(0, AllWaiters::memory);
        let records = self.bus().records().map_or(0, Records::len);
        let values = self.bus().values().map_or(0, Values::len);
        size_of::<Self>()
            + size_of::<PollQueue>()
            + self.summary().map_or(0, Summary::size)
            + self.lines.len() * LINE
            + usage.irqfds as usize * IRQFD
            + usage.triggers as usize * TRIGGER
            + waiters
            + self.nr_moderated() as usize * size_of::<Timer<Line>>()
            + (usage.notifiers + usage.resamplefds) as usize * NOTIFIER
            + self.bus().nr_regions() as usize * REGION
            + records as usize * size_of::<doorbell_record>()
            + values as usize * size_of::<doorbell_value>()
    }
}
