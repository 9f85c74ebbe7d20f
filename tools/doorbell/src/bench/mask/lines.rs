// SPDX-License-Identifier: GPL-2.0-only

//! Masks of doorbell lines.

use super::{receiver::Receiver, Way};
use anyhow::Result;
use doorbell::{Context, EventFd, LineSet, MaskReasons, StatusPages};
use std::{ops::Range, sync::Arc};

/// Lines that are masked together. The first one has the device and the receiver; each of the others has an
/// eventfd and a trigger, too.
pub(super) struct Lines {
    context: Arc<Context>,
    status: StatusPages,
    lines: Range<u32>,
    all: LineSet,
    device: Arc<EventFd>,
    receiver: Receiver,
    /// Kept open: closing an eventfd removes its irqfd.
    _others: Vec<EventFd>,
}

impl Lines {
    pub(super) fn new(
        context: &Arc<Context>,
        lines: Range<u32>,
        receiver: Receiver,
    ) -> Result<Self> {
        let device = Arc::new(EventFd::new(0)?);
        context.assign_irqfd(&*device, lines.start)?;
        context.assign_trigger(&*receiver.trigger, lines.start)?;
        let mut others = Vec::new();
        for line in lines.clone().skip(1) {
            let irqfd = EventFd::new(0)?;
            context.assign_irqfd(&irqfd, line)?;
            context.assign_trigger(&EventFd::new(0)?, line)?;
            others.push(irqfd);
        }
        Ok(Self {
            context: context.clone(),
            status: context.map_status()?,
            all: LineSet::range(lines.clone()),
            lines,
            device,
            receiver,
            _others: others,
        })
    }
}

impl Way for Lines {
    fn mask(&mut self) -> Result<()> {
        match self.lines.len() {
            1 => drop(self.context.mask(self.lines.start)?),
            _ => drop(
                self.context
                    .mask_lines_for(&self.all, MaskReasons::FUNCTION)?,
            ),
        }
        Ok(())
    }

    fn unmask(&mut self) -> Result<()> {
        match self.lines.len() {
            1 => drop(self.context.unmask(self.lines.start)?),
            _ => drop(
                self.context
                    .unmask_lines_for(&self.all, MaskReasons::FUNCTION)?,
            ),
        }
        Ok(())
    }

    fn pending(&self) -> Result<bool> {
        Ok(self.status.line(self.lines.start).pending)
    }

    fn take(&self) -> Result<bool> {
        (self.receiver.take)()
    }

    fn device(&self) -> &Arc<EventFd> {
        &self.device
    }
}
