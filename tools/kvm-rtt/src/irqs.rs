// SPDX-License-Identifier: GPL-2.0-only

//! The VM's eventfds and messages.

use crate::routes::msi;
use anyhow::{Context, Result};
use doorbell::msix::Message;
use kvm_bindings::kvm_msi;
use kvm_ioctls::{IoEventAddress, NoDatamatch, VmFd};
use std::sync::Arc;
use vmm_sys_util::eventfd::EventFd;

/// The ioctls of a VM that connect eventfds and send messages. It can outlive the [`Vm`](crate::Vm).
///
/// It does not give out the descriptor of the VM. That can create vCPUs, which could run after the guest's
/// memory was unmapped.
#[derive(Clone)]
pub struct Irqs(Arc<VmFd>);

impl Irqs {
    pub(crate) fn new(fd: Arc<VmFd>) -> Self {
        Self(fd)
    }

    /// Makes `eventfd` interrupt the guest by the route of `gsi`.
    ///
    /// # Errors
    ///
    /// KVM refuses it: the eventfd is an irqfd already.
    pub fn assign_irqfd(&self, eventfd: &EventFd, gsi: u32) -> Result<()> {
        let assigned = self.0.register_irqfd(eventfd, gsi);
        assigned.context("assign a KVM irqfd")
    }

    /// Ends [`assign_irqfd`](Irqs::assign_irqfd). When this returns, KVM has injected the interrupts of all
    /// signals before, and the counter of the eventfd is zero.
    ///
    /// # Errors
    ///
    /// KVM refuses it.
    pub fn deassign_irqfd(&self, eventfd: &EventFd, gsi: u32) -> Result<()> {
        let deassigned = self.0.unregister_irqfd(eventfd, gsi);
        deassigned.context("deassign a KVM irqfd")
    }

    /// Makes writes of the guest to the MMIO `address`, of any size and value, signal `eventfd`.
    ///
    /// # Errors
    ///
    /// KVM refuses it.
    pub fn assign_ioeventfd(&self, eventfd: &EventFd, address: u64) -> Result<()> {
        let address = IoEventAddress::Mmio(address);
        let assigned = self.0.register_ioevent(eventfd, &address, NoDatamatch);
        assigned.context("assign an ioeventfd")
    }

    /// Sends a message. Returns false if no vCPU has taken it.
    ///
    /// # Errors
    ///
    /// KVM refuses it.
    pub fn send(&self, message: Message) -> Result<bool> {
        let msi = msi(message);
        let message = kvm_msi {
            address_lo: msi.address_lo,
            address_hi: msi.address_hi,
            data: msi.data,
            ..Default::default()
        };
        Ok(self.0.signal_msi(message).context("send a message")? > 0)
    }
}
