// SPDX-License-Identifier: GPL-2.0-only

//! The interrupt controllers of an x86-64 VM, all in the kernel: PICs, an I/O APIC and the vCPUs' APICs.

use crate::{
    layout,
    routes::{message_to, Routes},
};
use anyhow::{ensure, Context, Result};
use kvm_bindings::{kvm_irqchip, KVM_IRQCHIP_IOAPIC};
use kvm_ioctls::VmFd;
use std::sync::Arc;

/// Three pages that KVM needs on Intel's CPUs that cannot run real mode. Nothing else is there.
const TSS: usize = 0xfffb_d000;
/// The bit of an I/O APIC's pin that makes it level-triggered. Other bits are zero: fixed delivery to
/// the first vCPU, active high, not masked.
const LEVEL: u64 = 1 << 15;

/// Creates the controllers of `vm`.
pub(crate) fn create(vm: &VmFd) -> Result<()> {
    vm.set_tss_address(TSS).context("set the TSS address")?;
    vm.create_irq_chip()
        .context("create an interrupt controller")
}

/// The interrupt controllers.
pub(crate) struct Controller {
    vm: Arc<VmFd>,
    routes: Arc<Routes>,
    /// The number of the I/O APIC's pins that are in use.
    pins: u8,
}

impl Controller {
    /// Creates the controllers of `vm`, which has no vCPU yet.
    pub(crate) fn new(vm: &Arc<VmFd>) -> Result<Self> {
        create(vm)?;
        Ok(Self {
            vm: vm.clone(),
            routes: Arc::new(Routes::new(vm.clone())),
            pins: 0,
        })
    }

    /// Does nothing: the controllers are enabled.
    pub(crate) fn enable(&self, _vcpus: u64) -> Result<()> {
        Ok(())
    }

    /// Returns the interrupt routes.
    pub(crate) fn routes(&self) -> &Arc<Routes> {
        &self.routes
    }

    /// Adds a GSI that interrupts the vCPU `id` by a message, as a PCI device does; returns the
    /// GSI.
    pub(crate) fn add_message(&mut self, id: u64) -> Result<u32> {
        self.routes.add_msi(message_to(id, layout::VECTOR))
    }

    /// Adds a GSI that is a level-triggered pin of the I/O APIC, which interrupts the first vCPU, as
    /// INTx of a PCI device does; returns the GSI.
    pub(crate) fn add_pin(&mut self) -> Result<u32> {
        let pin = self.pins;
        ensure!(pin < layout::PINS, "there are {pin} pins");
        self.pins += 1;
        let mut chip = kvm_irqchip {
            chip_id: KVM_IRQCHIP_IOAPIC,
            ..Default::default()
        };
        self.vm
            .get_irqchip(&mut chip)
            .context("read the I/O APIC")?;
        // SAFETY: KVM has written the state of an I/O APIC, whose fields can have any value.
        unsafe {
            chip.chip.ioapic.redirtbl[usize::from(pin)].bits =
                u64::from(layout::pin_vector(pin)) | LEVEL;
        }
        self.vm.set_irqchip(&chip).context("set up the I/O APIC")?;
        self.routes.add_pin(pin)
    }
}
