// SPDX-License-Identifier: GPL-2.0-only

//! The interrupt controller of the VM, a GICv3 in the kernel.
//!
//! It has no ITS, so a message is an edge-triggered shared interrupt here. KVM injects it from a workqueue.

use crate::{layout, scenario::NO_PINS, Unsupported};
use anyhow::{anyhow, bail, ensure, Context, Result};
use kvm_bindings::{
    kvm_create_device, kvm_device_attr, kvm_device_type_KVM_DEV_TYPE_ARM_VGIC_V3,
    KVM_DEV_ARM_VGIC_CTRL_INIT, KVM_DEV_ARM_VGIC_GRP_ADDR, KVM_DEV_ARM_VGIC_GRP_CPU_SYSREGS,
    KVM_DEV_ARM_VGIC_GRP_CTRL, KVM_DEV_ARM_VGIC_GRP_DIST_REGS, KVM_VGIC_V3_ADDR_TYPE_DIST,
    KVM_VGIC_V3_ADDR_TYPE_REDIST,
};
use kvm_ioctls::{DeviceFd, VmFd};

/// The first shared interrupt. KVM's GSI 0 is this one.
const FIRST_SHARED: u32 = 32;
/// The number of shared interrupts that this VM uses at most: the bits of one register.
const SHARED: u32 = 32;

/// Registers of the distributor.
const CTLR: u32 = 0;
const IGROUPR: u32 = 0x80;
const ISENABLER: u32 = 0x100;
const ICFGR: u32 = 0xc00;
const IROUTER: u32 = 0x6000;
/// Interrupts of group 1.
const CTLR_ON: u32 = 1 << 1;

/// Registers of a CPU's interface, as the encoding of their instructions: ICC_PMR_EL1, ICC_IGRPEN1_EL1.
const PMR: u64 = 0xc230;
const IGRPEN1: u64 = 0xc667;

/// A GICv3.
pub(crate) struct Controller {
    device: DeviceFd,
    /// The number of shared interrupts in use.
    used: u32,
}

impl Controller {
    /// Creates the controller of `vm`, which has no vCPU yet.
    ///
    /// # Errors
    ///
    /// The error is [`Unsupported`] on a host with a GICv2, where KVM has only such a controller.
    pub(crate) fn new(vm: &VmFd) -> Result<Self> {
        let mut create = kvm_create_device {
            type_: kvm_device_type_KVM_DEV_TYPE_ARM_VGIC_V3,
            fd: 0,
            flags: 0,
        };
        let device = vm
            .create_device(&mut create)
            .map_err(|error| match error.errno() {
                libc::ENODEV => anyhow!(Unsupported(
                    "the guest needs a GICv3, and the host's interrupt controller is another one"
                )),
                _ => anyhow!(error),
            })
            .context("create an interrupt controller")?;
        let controller = Self { device, used: 0 };
        for (what, address) in [
            (KVM_VGIC_V3_ADDR_TYPE_DIST, layout::DISTRIBUTOR),
            (KVM_VGIC_V3_ADDR_TYPE_REDIST, layout::REDISTRIBUTORS),
        ] {
            controller.set(KVM_DEV_ARM_VGIC_GRP_ADDR, what.into(), &address)?;
        }
        Ok(controller)
    }

    /// Enables the controller. There are `vcpus` vCPUs, and none has run.
    pub(crate) fn enable(&self, vcpus: u64) -> Result<()> {
        self.set::<u64>(
            KVM_DEV_ARM_VGIC_GRP_CTRL,
            KVM_DEV_ARM_VGIC_CTRL_INIT.into(),
            &0,
        )?;
        self.write(CTLR, CTLR_ON)?;
        self.write(IGROUPR + FIRST_SHARED / 8, u32::MAX)?;
        // The affinity of a vCPU is its number, as there are less than 16.
        for vcpu in 0..vcpus {
            for (register, value) in [(PMR, 0xff_u64), (IGRPEN1, 1)] {
                let attr = (vcpu << 32) | register;
                self.set(KVM_DEV_ARM_VGIC_GRP_CPU_SYSREGS, attr, &value)?;
            }
        }
        Ok(())
    }

    /// Adds a GSI that interrupts the vCPU `id` by an edge; returns the GSI.
    pub(crate) fn add_message(&mut self, id: u64) -> Result<u32> {
        let gsi = self.used;
        ensure!(gsi < SHARED, "there are {gsi} interrupts");
        self.used += 1;
        // Two bits for each interrupt, 16 in a register; 0b10 is an edge. Those of later ones do not matter yet.
        let number = FIRST_SHARED + gsi;
        self.write(ICFGR + number / 16 * 4, 0xaaaa_aaaa)?;
        self.write(IROUTER + 8 * number, id as u32)?;
        self.write(ISENABLER + FIRST_SHARED / 8, 1 << gsi)?;
        Ok(gsi)
    }

    /// Fails: level-triggered interrupts are not connected.
    ///
    /// KVM of Linux 7.3 signals a resamplefd at the end of an interrupt only if an earlier exit of the vCPU has found
    /// the interrupt active (`vgic_v3_fold_lr()`). This guest's handler causes no exit between begin and end. KVM
    /// does not report such an end and keeps the pin asserted, so the guest takes the interrupt again.
    pub(crate) fn add_pin(&mut self) -> Result<u32> {
        bail!(NO_PINS)
    }

    /// Writes a register of the distributor.
    fn write(&self, register: u32, value: u32) -> Result<()> {
        self.set(KVM_DEV_ARM_VGIC_GRP_DIST_REGS, register.into(), &value)
    }

    fn set<T>(&self, group: u32, attr: u64, value: &T) -> Result<()> {
        let attribute = kvm_device_attr {
            group,
            attr,
            addr: std::ptr::from_ref(value).expose_provenance() as u64,
            flags: 0,
        };
        let set = self.device.set_device_attr(&attribute);
        set.with_context(|| format!("set up the GIC: group {group}, attribute {attr:#x}"))
    }
}
