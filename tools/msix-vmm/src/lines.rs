// SPDX-License-Identifier: GPL-2.0-only

//! A function whose vectors are lines of `/dev/doorbell`.

use crate::{
    function::{Function, Line},
    layout,
};
use anyhow::Result;
use doorbell::{
    msix::{Message, Msix, Route},
    Context, LineSet, LineType, MaskReasons,
};
use kvm_rtt::{Routes, Vm};
use std::{io, sync::Arc};
use vmm_sys_util::eventfd::{EventFd, EFD_CLOEXEC};

/// KVM's routes, one GSI for each vector.
pub struct KvmRoutes {
    routes: Arc<Routes>,
    gsis: Vec<u32>,
}

impl KvmRoutes {
    /// Adds a GSI of `vm` for each vector.
    ///
    /// # Errors
    ///
    /// KVM refuses the routes.
    pub fn new(vm: &Vm, vectors: u16) -> Result<Self> {
        let routes = vm.routes().clone();
        let gsis = (0..vectors).map(|_| routes.add_msi(Message::default()));
        Ok(Self {
            gsis: gsis.collect::<Result<_>>()?,
            routes,
        })
    }

    /// Returns the GSI of a vector.
    pub fn gsi(&self, vector: u16) -> u32 {
        self.gsis[usize::from(vector)]
    }
}

impl Route for KvmRoutes {
    fn route(&mut self, vector: u16, message: Message) -> io::Result<()> {
        let set = self.routes.set_msi(self.gsi(vector), message);
        set.map_err(|error| io::Error::other(format!("{error:#}")))
    }
}

/// MSI-X of lines: the device signals a line's irqfd, and the line's trigger is KVM's irqfd.
pub struct Lines {
    msix: Msix<KvmRoutes>,
    context: Arc<Context>,
    vectors: u16,
    /// The eventfds that the device signals.
    irqfds: Vec<EventFd>,
    /// Kept open: closing an eventfd removes its irqfd, and makes its ioeventfd useless.
    _triggers: Vec<EventFd>,
    /// The eventfd that the guest signals to end the automask of the last line.
    unmask: EventFd,
}

impl Lines {
    /// Creates a function with `vectors` vectors, which are the lines of `context`. The line of the last
    /// one masks itself.
    ///
    /// # Errors
    ///
    /// `context` has lines already, or KVM refuses an eventfd or a route.
    pub fn new(vm: &Vm, context: Context, vectors: u16) -> Result<Self> {
        let context = Arc::new(context);
        context.set_lines_masked(vectors.into())?;
        let routes = KvmRoutes::new(vm, vectors)?;
        let (mut irqfds, mut triggers) = (Vec::new(), Vec::new());
        for vector in 0..vectors {
            let (irqfd, trigger) = (EventFd::new(EFD_CLOEXEC)?, EventFd::new(EFD_CLOEXEC)?);
            context.assign_irqfd(&irqfd, vector.into())?;
            context.assign_trigger(&trigger, vector.into())?;
            vm.irqs().assign_irqfd(&trigger, routes.gsi(vector))?;
            irqfds.push(irqfd);
            triggers.push(trigger);
        }
        let msix = Msix::new(context.clone(), 0, vectors, routes)?;

        let last = vectors - 1;
        context.set_type_automask(last.into(), LineType::Edge)?;
        let unmask = EventFd::new(EFD_CLOEXEC)?;
        context.assign_unmaskfd(&unmask, last.into())?;
        vm.irqs().assign_ioeventfd(&unmask, layout::unmask(last))?;
        Ok(Self {
            msix,
            context,
            vectors,
            irqfds,
            _triggers: triggers,
            unmask,
        })
    }

    /// Returns the context of the lines.
    pub fn context(&self) -> &Arc<Context> {
        &self.context
    }

    /// Deassigns the eventfd that ends the automask of the last line.
    pub(crate) fn deassign_unmaskfd(&self) -> Result<()> {
        let last = u32::from(self.vectors) - 1;
        Ok(self.context.deassign_irqfd(&self.unmask, last)?)
    }
}

impl Function for Lines {
    fn read_table(&mut self, offset: u64, data: &mut [u8]) -> Result<()> {
        self.msix.read_table(offset, data);
        Ok(())
    }

    fn write_table(&mut self, offset: u64, data: &[u8]) -> Result<()> {
        Ok(self.msix.write_table(offset, data)?)
    }

    fn read_pba(&mut self, offset: u64, data: &mut [u8]) -> Result<()> {
        self.msix.read_pba(offset, data);
        Ok(())
    }

    fn control(&mut self) -> u16 {
        self.msix.control()
    }

    fn write_control(&mut self, value: u16) -> Result<()> {
        Ok(self.msix.write_control(value)?)
    }

    fn irqfd(&self, vector: u16) -> Result<EventFd> {
        Ok(self.irqfds[usize::from(vector)].try_clone()?)
    }

    fn line(&self, vector: u16) -> Result<Option<Line>> {
        let line = self.context.query(vector.into())?;
        Ok(Some(line.into()))
    }

    fn automasked(&self) -> Option<u16> {
        Some(self.vectors - 1)
    }

    /// A mask returns when nothing is in flight, and an unmask delivers what is pending.
    fn settle(&mut self) -> Result<()> {
        let lines = LineSet::range(0..self.vectors.into());
        self.context.mask_lines_for(&lines, MaskReasons::PAUSE)?;
        self.context.unmask_lines_for(&lines, MaskReasons::PAUSE)?;
        Ok(())
    }
}
