// SPDX-License-Identifier: GPL-2.0-only

//! The routes of interrupts: what an eventfd that KVM listens on does to the guest.

use anyhow::{ensure, Context, Result};
use doorbell::msix::Message;
use kvm_bindings::{
    kvm_irq_routing_entry, kvm_irq_routing_irqchip, kvm_irq_routing_msi, KvmIrqRouting,
    KVM_IRQCHIP_IOAPIC, KVM_IRQ_ROUTING_IRQCHIP, KVM_IRQ_ROUTING_MSI,
};
use kvm_ioctls::VmFd;
use std::sync::{Arc, Mutex, PoisonError};

/// The first GSI that is not a pin of the I/O APIC.
const FIRST_GSI: u32 = 24;
/// The address of messages to APICs; the destination is in bits 12 to 19.
const MSI_ADDRESS: u64 = 0xfee0_0000;

/// Returns the message that interrupts the vCPU `id` with `vector`.
pub fn message_to(id: u64, vector: u8) -> Message {
    Message {
        address: MSI_ADDRESS | (id << 12),
        data: vector.into(),
    }
}

/// The routes of a VM: one for each GSI, which have consecutive numbers.
///
/// With a route to a message, KVM can inject the interrupt in the context that signals the eventfd. For a
/// pin of a controller it would need a sleeping lock, and so a workqueue.
pub struct Routes {
    fd: Arc<VmFd>,
    entries: Mutex<Vec<kvm_irq_routing_entry>>,
}

impl Routes {
    pub(crate) fn new(fd: Arc<VmFd>) -> Self {
        Self {
            fd,
            entries: Mutex::default(),
        }
    }

    /// Adds a GSI that sends `message`; returns the GSI.
    ///
    /// # Errors
    ///
    /// KVM refuses the table of routes.
    pub fn add_msi(&self, message: Message) -> Result<u32> {
        self.add(KVM_IRQ_ROUTING_MSI, |entry| entry.u.msi = msi(message))
    }

    /// Changes the message of a GSI that [`add_msi`](Routes::add_msi) has returned. When this returns, KVM
    /// does not send the earlier message any more.
    ///
    /// # Errors
    ///
    /// There is no such GSI, or KVM refuses the table of routes.
    pub fn set_msi(&self, gsi: u32, message: Message) -> Result<()> {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = entries.iter_mut().find(|entry| entry.gsi == gsi);
        let entry = entry.with_context(|| format!("there is no GSI {gsi}"))?;
        ensure!(entry.type_ == KVM_IRQ_ROUTING_MSI, "GSI {gsi} is a pin");
        entry.u.msi = msi(message);
        self.publish(&entries)
    }

    /// Adds a GSI that is a pin of the I/O APIC; returns the GSI.
    pub(crate) fn add_pin(&self, pin: u8) -> Result<u32> {
        self.add(KVM_IRQ_ROUTING_IRQCHIP, |entry| {
            entry.u.irqchip = kvm_irq_routing_irqchip {
                irqchip: KVM_IRQCHIP_IOAPIC,
                pin: pin.into(),
            };
        })
    }

    fn add(&self, type_: u32, fill: impl FnOnce(&mut kvm_irq_routing_entry)) -> Result<u32> {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        let gsi = FIRST_GSI + entries.len() as u32;
        let mut entry = kvm_irq_routing_entry {
            gsi,
            type_,
            ..Default::default()
        };
        fill(&mut entry);
        entries.push(entry);
        if let Err(error) = self.publish(&entries) {
            entries.pop();
            return Err(error);
        }
        Ok(gsi)
    }

    /// Sets KVM's table. KVM replaces the whole table each time.
    fn publish(&self, entries: &[kvm_irq_routing_entry]) -> Result<()> {
        let routing = KvmIrqRouting::from_entries(entries)?;
        self.fd
            .set_gsi_routing(&routing)
            .context("route interrupts")
    }
}

pub(crate) fn msi(message: Message) -> kvm_irq_routing_msi {
    kvm_irq_routing_msi {
        address_lo: message.address as u32,
        address_hi: (message.address >> 32) as u32,
        data: message.data,
        ..Default::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn message_has_the_destination_in_its_address() {
        let message = message_to(3, 0x41);
        assert_eq!(message.address, 0xfee0_3000);
        assert_eq!(message.data, 0x41);
        let high = Message {
            address: 0x1234_fee0_3000,
            data: 0x41,
        };
        let msi = msi(high);
        assert_eq!(
            (msi.address_lo, msi.address_hi, msi.data),
            (0xfee0_3000, 0x1234, 0x41)
        );
    }
}
