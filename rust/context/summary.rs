// SPDX-License-Identifier: GPL-2.0

//! The summary as a trigger of lines, and poll(2).

use super::{
    pause_after,
    Context,
    UsageField, //
};
use crate::{
    kernel_ext::{
        alloc::user_alloc_flags,
        poll_queue::{
            READABLE,
            WRITABLE, //
        },
        task::fatal_signal_pending, //
    },
    line::outputs::{
        Output,
        Triggers, //
    },
    summary::Summary,
    uapi::DOORBELL_MAX_TRIGGERS_PER_LINE, //
};
use kernel::{
    prelude::*,
    sync::Arc, //
};

impl Context {
    /// Returns the summary; ENXIO if it was never assigned to lines. Any context.
    pub(crate) fn summary(&self) -> Result<&Summary> {
        self.summary.get().ok_or(ENXIO)
    }

    /// Returns the summary, or a new one that is not set yet.
    fn summary_or_new(&self) -> Result<Arc<Summary>> {
        match self.summary.get_arc() {
            Some(summary) => Ok(summary.into()),
            None => Summary::new(self.nr_lines(), self.poll.clone(), user_alloc_flags()),
        }
    }

    /// Makes the summary a trigger of all `lines`, which must be lines of the context. A line is selected at
    /// most once. If a line is asserted and its last message found no trigger, delivers that message once
    /// more. Process context.
    ///
    /// # Errors
    ///
    /// EEXIST, EBUSY, ENOSPC, EINTR, ENOMEM: see the UAPI header. Then no line has changed.
    pub(crate) fn assign_summary(&self, lines: impl Iterator<Item = u32> + Clone) -> Result {
        let flags = user_alloc_flags();
        let mut assignments = self.assignments.lock();
        let summary = self.summary_or_new()?;
        let id = summary.id();
        // First all that can fail. Triggers are added only with the mutex held.
        for (line, index) in lines.clone().zip(0..) {
            pause_after(index);
            let ids = assignments.triggers_of(line);
            if ids.contains(&id) {
                return Err(EEXIST);
            }
            if self.line(line).ok_or(ENXIO)?.has_waiters() {
                return Err(EBUSY);
            }
            if ids.len() >= DOORBELL_MAX_TRIGGERS_PER_LINE as usize {
                return Err(ENOSPC);
            }
        }
        let mut rooms = KVVec::new();
        for line in lines.clone() {
            let ids = assignments.triggers_of_mut(line).ok_or(ENXIO)?;
            ids.reserve(1, flags)?;
            rooms.push(Triggers::room(ids.len())?, flags)?;
            if fatal_signal_pending() {
                return Err(EINTR);
            }
        }
        // It is set with the mutex held, or was set before.
        if self.summary.get().is_none() {
            self.summary.set(summary.clone());
        }
        for ((line, mut room), index) in lines.zip(rooms).zip(0..) {
            pause_after(index);
            let mut output = Some(Output::Summary(summary.clone(), line));
            let target = self.line(line).ok_or(ENXIO)?;
            // Cannot fail: there is room, and the checks above are those of this function.
            let _ = target.add_trigger(&mut output, &mut room);
            if let Some(ids) = assignments.triggers_of_mut(line) {
                let _ = ids.push_within_capacity(id);
            }
            self.count(&assignments, line, UsageField::Triggers, 1);
        }
        Ok(())
    }

    /// Deassigns the summary from all `lines`, as of [`Context::assign_summary`]. When this has returned, no
    /// delivery of these lines marks the summary. Process context.
    ///
    /// # Errors
    ///
    /// ENOENT: see the UAPI header. Then no line has changed.
    pub(crate) fn deassign_summary(&self, lines: impl Iterator<Item = u32> + Clone) -> Result {
        let mut assignments = self.assignments.lock();
        let id = self.summary().map_err(|_| ENOENT)?.id();
        if lines
            .clone()
            .any(|line| !assignments.triggers_of(line).contains(&id))
        {
            return Err(ENOENT);
        }
        for (line, index) in lines.zip(0..) {
            pause_after(index);
            let target = self.line(line).ok_or(ENXIO)?;
            drop(target.lock_triggers(|triggers| triggers.remove(id)));
            if let Some(ids) = assignments.triggers_of_mut(line) {
                ids.retain(|other| *other != id);
            }
            self.count(&assignments, line, UsageField::Triggers, -1);
        }
        Ok(())
    }

    /// Returns the events of now for poll(2). The waiters are registered already. Process context.
    pub(crate) fn poll(&self) -> u32 {
        let fired = self.summary().is_ok_and(Summary::has_fired);
        // In any case: the records have to know that the file is polled.
        if self.bus.poll_records() || fired {
            READABLE | WRITABLE
        } else {
            WRITABLE
        }
    }
}
