// SPDX-License-Identifier: GPL-2.0-only

//! A VM that is interrupted and does not run: its local APIC keeps the request.
//!
//! So the VMM can see whether an interrupt was injected, without a guest that takes it.

use crate::{boot, controller, layout, routes, vm};
use anyhow::{Context, Result};
use kvm_bindings::{kvm_irq_routing_entry, KvmIrqRouting, KVM_IRQ_ROUTING_MSI};
use kvm_ioctls::{Kvm, VcpuFd, VmFd};
use std::os::fd::{BorrowedFd, FromRawFd, IntoRawFd};
use vmm_sys_util::eventfd::EventFd;

/// The GSI of the VM's only message.
const GSI: u32 = 24;
/// The interrupt request register of a local APIC. It has 32 bits each 16 bytes.
const APIC_IRR: usize = 0x200;

/// A VM with one vCPU, which never runs, and one GSI, whose message is for that vCPU.
pub struct Target {
    /// The eventfd that can be an irqfd of the GSI.
    irqfd: EventFd,
    vm: VmFd,
    vcpu: VcpuFd,
    routed: KvmIrqRouting,
    unrouted: KvmIrqRouting,
}

impl Target {
    /// Creates the VM. Its GSI is routed, and the eventfd `irqfd` is not assigned to it.
    ///
    /// # Errors
    ///
    /// If KVM does not work, with advice.
    pub fn new(irqfd: BorrowedFd<'_>) -> Result<Self> {
        let irqfd = irqfd.try_clone_to_owned()?.into_raw_fd();
        let kvm: Kvm = vm::open()?;
        let vm = vm::create(&kvm)?;
        controller::create(&vm)?;
        let vcpu = vm.create_vcpu(0).context("create a vCPU")?;
        boot::prepare(&kvm, &vm, &vcpu)?;
        let mut entry = kvm_irq_routing_entry {
            gsi: GSI,
            type_: KVM_IRQ_ROUTING_MSI,
            ..Default::default()
        };
        entry.u.msi = routes::msi(routes::message_to(0, layout::VECTOR));
        let target = Self {
            // SAFETY: `irqfd` is a descriptor that nothing else owns.
            irqfd: unsafe { EventFd::from_raw_fd(irqfd) },
            vm,
            vcpu,
            routed: KvmIrqRouting::from_entries(&[entry])?,
            unrouted: KvmIrqRouting::from_entries(&[])?,
        };
        target.route(true)?;
        Ok(target)
    }

    /// Makes the eventfd an irqfd of the GSI, or no longer: `KVM_IRQFD`.
    ///
    /// # Errors
    ///
    /// If KVM refuses, for example because the eventfd is one already.
    pub fn assign(&self, assign: bool) -> Result<()> {
        match assign {
            true => self.vm.register_irqfd(&self.irqfd, GSI),
            false => self.vm.unregister_irqfd(&self.irqfd, GSI),
        }
        .context("KVM_IRQFD")
    }

    /// Routes the GSI to the vCPU, or nowhere: `KVM_SET_GSI_ROUTING`.
    ///
    /// # Errors
    ///
    /// If KVM refuses.
    pub fn route(&self, routed: bool) -> Result<()> {
        let routing = if routed { &self.routed } else { &self.unrouted };
        self.vm
            .set_gsi_routing(routing)
            .context("KVM_SET_GSI_ROUTING")
    }

    /// Returns true if the vCPU was interrupted since the last call.
    ///
    /// # Errors
    ///
    /// If KVM does not return the state of the APIC.
    pub fn take(&self) -> Result<bool> {
        let (byte, bit) = request(layout::VECTOR);
        let mut lapic = self.vcpu.get_lapic().context("read the APIC")?;
        let requested = lapic.regs[byte] as u8 & bit != 0;
        if requested {
            lapic.regs[byte] &= !(bit as std::ffi::c_char);
            self.vcpu.set_lapic(&lapic).context("write the APIC")?;
        }
        Ok(requested)
    }
}

/// Returns the byte and the bit of an interrupt request in the state of a local APIC.
fn request(vector: u8) -> (usize, u8) {
    let (word, bit) = (usize::from(vector / 32), vector % 32);
    (APIC_IRR + 16 * word + usize::from(bit / 8), 1 << (bit % 8))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn request_register_has_a_word_in_sixteen_bytes() {
        assert_eq!(request(0), (0x200, 1));
        assert_eq!(request(0x40), (0x220, 1));
        assert_eq!(request(0x5f), (0x223, 0x80));
        assert_eq!(request(0xff), (0x273, 0x80));
    }
}
