// SPDX-License-Identifier: GPL-2.0-only

//! The VM: memory, interrupt routes, vCPUs.

use crate::{
    boot,
    exits::Exits,
    layout,
    vcpu::{OnWrite, Vcpu},
};
use anyhow::{anyhow, Context, Result};
use kvm_bindings::{
    kvm_irq_routing_entry, kvm_irq_routing_msi, kvm_userspace_memory_region, KvmIrqRouting,
    KVM_IRQ_ROUTING_MSI,
};
use kvm_ioctls::{Kvm, VmFd};
use std::{os::fd::AsRawFd, sync::atomic::Ordering};
use vm_memory::{Bytes, GuestAddress, GuestMemoryBackend, GuestMemoryMmap};

/// Three pages that KVM needs on Intel's CPUs that cannot run real mode. Nobody else is there.
const TSS: usize = 0xfffb_d000;
/// The first GSI that no pin of the I/O APIC has.
const FIRST_GSI: u32 = 24;
/// Where messages to APICs go; the destination is in bits 12 to 19.
const MSI_ADDRESS: u32 = 0xfee0_0000;

pub(crate) struct Vm {
    vcpus: Vec<Vcpu>,
    kvm: Kvm,
    pub(crate) fd: VmFd,
    memory: GuestMemoryMmap,
    routes: Vec<kvm_irq_routing_entry>,
    pub(crate) exits: Option<Exits>,
    /// What KVM says, in kHz.
    pub(crate) tsc_khz: Option<u32>,
}

impl Vm {
    pub(crate) fn new() -> Result<Self> {
        let kvm = open()?;
        let fd = kvm.create_vm().map_err(|error| {
            let advice = match error.errno() {
                libc::EBUSY => {
                    "\n  another hypervisor uses this CPU: stop its VMs, unload its module"
                }
                libc::ENODEV | libc::EIO => "\n  virtualisation is disabled in the firmware",
                _ => "",
            };
            anyhow!("create a VM: {error}{advice}")
        })?;
        let exits = Exits::of(fd.as_raw_fd());
        fd.set_tss_address(TSS).context("set the TSS address")?;
        // PICs, an I/O APIC and the vCPUs' APICs, all in the kernel.
        fd.create_irq_chip()
            .context("create an interrupt controller")?;

        let memory = GuestMemoryMmap::from_ranges(&[(GuestAddress(0), layout::MEMORY as usize)])?;
        let region = kvm_userspace_memory_region {
            slot: 0,
            guest_phys_addr: 0,
            memory_size: layout::MEMORY,
            userspace_addr: memory
                .get_host_address(GuestAddress(0))?
                .expose_provenance() as u64,
            flags: 0,
        };
        // SAFETY: It is that large, and nobody else's. Only vCPUs access it, which run in threads
        // that have a reference to it each.
        unsafe { fd.set_user_memory_region(region) }.context("give the guest memory")?;
        boot::load(&memory)?;
        Ok(Self {
            vcpus: Vec::new(),
            kvm,
            fd,
            memory,
            routes: Vec::new(),
            exits,
            tsc_khz: None,
        })
    }

    /// Adds a vCPU.
    pub(crate) fn add_vcpu(&mut self, cpu: Option<usize>, on_write: OnWrite) -> Result<()> {
        let fd = self.fd.create_vcpu(self.vcpus.len() as u64);
        let fd = fd.context("create a vCPU")?;
        boot::prepare(&self.kvm, &fd)?;
        self.tsc_khz = fd.get_tsc_khz().ok();
        self.vcpus
            .push(Vcpu::new(fd, self.memory.clone(), cpu, on_write)?);
        Ok(())
    }

    pub(crate) fn vcpu(&self, id: u64) -> &Vcpu {
        &self.vcpus[id as usize]
    }

    /// A new GSI that is an interrupt of the vCPU `id`, sent as a PCI device sends one: with such a
    /// route KVM can deliver where an eventfd is signalled. With one through a controller's pin it
    /// would need a lock that sleeps, and so a workqueue.
    pub(crate) fn add_msi(&mut self, id: u64) -> Result<u32> {
        let gsi = FIRST_GSI + self.routes.len() as u32;
        let mut entry = kvm_irq_routing_entry {
            gsi,
            type_: KVM_IRQ_ROUTING_MSI,
            ..Default::default()
        };
        entry.u.msi = kvm_irq_routing_msi {
            address_lo: MSI_ADDRESS | ((id as u32) << 12),
            data: layout::VECTOR.into(),
            ..Default::default()
        };
        self.routes.push(entry);
        // All of them, each time.
        let routing = KvmIrqRouting::from_entries(&self.routes)?;
        self.fd
            .set_gsi_routing(&routing)
            .context("route interrupts")?;
        Ok(gsi)
    }

    /// How many interrupts there were, if the guest can be asked.
    pub(crate) fn interrupts(&self) -> u32 {
        self.memory
            .load(GuestAddress(layout::COUNT), Ordering::Relaxed)
            .unwrap_or_default()
    }

    /// The first `n` time stamps of the vCPU `id`.
    pub(crate) fn stamps(&self, id: u64, n: usize) -> Result<Vec<u64>> {
        let mut bytes = vec![0; 8 * n];
        self.memory
            .read_slice(&mut bytes, GuestAddress(layout::stamps(id)))?;
        let words = bytes.chunks_exact(8);
        Ok(words
            .map(|word| u64::from_le_bytes(word.try_into().expect("eight bytes")))
            .collect())
    }
}

fn open() -> Result<Kvm> {
    Kvm::new().map_err(|error| anyhow!("open /dev/kvm: {error}{}", advice(error.errno())))
}

/// What to do about it.
fn advice(errno: i32) -> &'static str {
    match errno {
        libc::ENOENT | libc::ENODEV | libc::ENXIO => {
            "\n  load it: modprobe kvm-amd, or modprobe kvm-intel. If that fails, the CPU has no \
             virtualisation, or the firmware does not enable it; in a VM, its host does not \
             (nested=1 of its kvm-amd or kvm-intel; -cpu host)"
        }
        libc::EACCES | libc::EPERM => "\n  it takes root, or the group kvm: usermod -aG kvm USER",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_device_is_told_from_one_that_is_not_for_us() {
        assert!(advice(libc::ENOENT).contains("modprobe kvm-"));
        assert!(advice(libc::EACCES).contains("group kvm"));
        assert_eq!(advice(libc::EINTR), "");
    }
}
