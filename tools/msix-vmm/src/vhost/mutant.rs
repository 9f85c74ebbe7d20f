// SPDX-License-Identifier: GPL-2.0-only

//! Defects of a VMM that a run must find.

use super::{layout, vmm::access};
use crate::KvmRoutes;
use anyhow::Result;
use clap::ValueEnum;
use doorbell::{msix::Msix, Context};
use kvm_rtt::{Access, OnAccess};
use std::sync::{
    atomic::{AtomicBool, Ordering},
    Arc, Mutex,
};
use vmm_sys_util::eventfd::EventFd;

/// A defect of a VMM.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Mutant {
    /// Forget the pending messages at a restore
    DropPending,
    /// Signal KVM's irqfd once more after an unmask that has delivered
    DeliverTwice,
    /// Read the pending bits as zero
    ZeroPba,
    /// Give the backend a descriptor without room for the answer
    ShortDescriptor,
    /// Do not ring the line for a backend that was killed
    NoResignal,
    /// Make the call eventfd KVM's irqfd, without a line
    StraightCall,
    /// Resume one request after the used index
    LateIndex,
    /// Resume one request before the used index
    EarlyIndex,
    /// Restore the APIC after the lines
    LateApic,
}

/// The handler of the guest's accesses in a VMM with a defect.
pub(crate) struct BrokenAccess {
    pub(crate) mutant: Mutant,
    pub(crate) msix: Arc<Mutex<Msix<KvmRoutes>>>,
    pub(crate) context: Arc<Context>,
    /// KVM's irqfd of the queue's vector.
    pub(crate) interrupt: EventFd,
    /// The next access is preceded by a second interrupt.
    pub(crate) owes: AtomicBool,
}

impl BrokenAccess {
    pub(crate) fn handler(self) -> OnAccess {
        Arc::new(move |from: Access<'_>| self.access(from))
    }

    fn access(&self, from: Access<'_>) -> Result<()> {
        match from {
            Access::MmioRead(address, data)
                if self.mutant == Mutant::ZeroPba && address & !0xfff == layout::PBA =>
            {
                data.fill(0);
                Ok(())
            }
            from if self.mutant == Mutant::DeliverTwice => {
                if self.owes.swap(false, Ordering::SeqCst) {
                    self.interrupt.write(1)?;
                }
                let was_pending = self.context.pending(layout::CALL_LINE)?;
                access(&self.msix, from)?;
                let is_pending = self.context.pending(layout::CALL_LINE)?;
                self.owes
                    .store(was_pending && !is_pending, Ordering::SeqCst);
                Ok(())
            }
            from => access(&self.msix, from),
        }
    }
}
