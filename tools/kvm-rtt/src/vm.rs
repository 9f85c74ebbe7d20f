// SPDX-License-Identifier: GPL-2.0-only

//! The VM: memory, vCPUs, pins of the I/O APIC.

use crate::{
    boot::{self, Program},
    exits::Exits,
    irqs::Irqs,
    layout,
    routes::{message_to, Routes},
    vcpu::{Failure, OnAccess, Vcpu},
};
use anyhow::{anyhow, ensure, Context, Result};
use kvm_bindings::{kvm_irqchip, kvm_userspace_memory_region, KVM_IRQCHIP_IOAPIC};
use kvm_ioctls::{Kvm, VmFd};
use std::{
    os::fd::AsRawFd,
    sync::{atomic::Ordering, Arc},
};
use vm_memory::{Bytes, GuestAddress, GuestMemoryBackend, GuestMemoryMmap};

/// Three pages that KVM needs on Intel's CPUs that cannot run real mode. Nothing else is there.
const TSS: usize = 0xfffb_d000;
/// The bit of an I/O APIC's pin that makes it level-triggered. Other bits are zero: fixed delivery to
/// the first vCPU, active high, not masked.
const LEVEL: u64 = 1 << 15;

/// A VM under KVM, with interrupt controllers in the kernel.
pub struct Vm {
    vcpus: Vec<Vcpu>,
    kvm: Kvm,
    pub(crate) fd: Arc<VmFd>,
    memory: GuestMemoryMmap,
    routes: Arc<Routes>,
    irqs: Irqs,
    /// The error of the first vCPU that has failed.
    failure: Failure,
    /// The number of the I/O APIC's pins that are in use.
    pins: u8,
    pub(crate) exits: Option<Exits>,
    /// The frequency of the TSC in kHz, as KVM reports it.
    pub(crate) tsc_khz: Option<u32>,
}

impl Vm {
    /// Creates a VM without a vCPU, with `program` in its memory.
    ///
    /// # Errors
    ///
    /// There is no KVM that works; the message says what to do about it.
    pub fn new(program: &Program) -> Result<Self> {
        let memory = GuestMemoryMmap::from_ranges(&[(GuestAddress(0), layout::MEMORY as usize)])?;
        boot::load(&memory, program)?;
        Self::with_memory(memory)
    }

    /// Creates a VM without a vCPU. Its memory has been [loaded](crate::load), here or by another VM; it begins
    /// at address 0, and has [`layout::MEMORY`] bytes.
    ///
    /// # Errors
    ///
    /// Those of [`new`](Vm::new), and other memory.
    pub fn with_memory(memory: GuestMemoryMmap) -> Result<Self> {
        let kvm = open()?;
        let fd = create(&kvm)?;
        let exits = Exits::of(fd.as_raw_fd());
        let slice = memory.get_slice(GuestAddress(0), layout::MEMORY as usize);
        slice.context("the guest's memory is too small")?;
        let region = kvm_userspace_memory_region {
            slot: 0,
            guest_phys_addr: 0,
            memory_size: layout::MEMORY,
            userspace_addr: memory
                .get_host_address(GuestAddress(0))?
                .expose_provenance() as u64,
            flags: 0,
        };
        // SAFETY: The memory is that large, and only vCPUs access it by this mapping. All vCPUs come from
        // `add_vcpu()`, as no caller outside of this crate gets the descriptor of the VM. Each of their threads
        // has a reference to the memory, so it stays mapped as long as a vCPU can run.
        unsafe { fd.set_user_memory_region(region) }.context("give the guest memory")?;
        let fd = Arc::new(fd);
        Ok(Self {
            vcpus: Vec::new(),
            kvm,
            routes: Arc::new(Routes::new(fd.clone())),
            irqs: Irqs::new(fd.clone()),
            fd,
            memory,
            pins: 0,
            exits,
            failure: Failure::default(),
            tsc_khz: None,
        })
    }

    /// Adds a vCPU, whose thread runs on `cpu` if given. Its number and the ID of its APIC are the number
    /// of vCPUs before it.
    ///
    /// # Errors
    ///
    /// KVM cannot create the vCPU, or give it this state.
    pub fn add_vcpu(&mut self, cpu: Option<usize>, on_access: OnAccess) -> Result<()> {
        let fd = self.fd.create_vcpu(self.vcpus.len() as u64);
        let fd = fd.context("create a vCPU")?;
        boot::prepare(&self.kvm, &fd)?;
        self.tsc_khz = fd.get_tsc_khz().ok();
        let failure = self.failure.clone();
        self.vcpus
            .push(Vcpu::new(fd, self.memory.clone(), cpu, on_access, failure)?);
        Ok(())
    }

    /// Returns a vCPU.
    ///
    /// # Panics
    ///
    /// Panics if there is no such vCPU.
    pub fn vcpu(&self, id: u64) -> &Vcpu {
        &self.vcpus[id as usize]
    }

    /// Returns the VM's eventfds and messages, which other threads may use.
    pub fn irqs(&self) -> &Irqs {
        &self.irqs
    }

    /// Returns the guest's memory.
    pub fn memory(&self) -> &GuestMemoryMmap {
        &self.memory
    }

    /// Returns the interrupt routes, which other threads may change.
    pub fn routes(&self) -> &Arc<Routes> {
        &self.routes
    }

    /// Adds a GSI that interrupts the vCPU `id` by a message, as a PCI device does; returns the
    /// GSI.
    pub(crate) fn add_msi(&mut self, id: u64) -> Result<u32> {
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
        self.fd
            .get_irqchip(&mut chip)
            .context("read the I/O APIC")?;
        // SAFETY: KVM has written the state of an I/O APIC, whose fields can have any value.
        unsafe {
            chip.chip.ioapic.redirtbl[usize::from(pin)].bits =
                u64::from(layout::pin_vector(pin)) | LEVEL;
        }
        self.fd.set_irqchip(&chip).context("set up the I/O APIC")?;
        self.routes.add_pin(pin)
    }

    /// Returns the number of interrupts; 0 if the guest's memory cannot be read.
    pub(crate) fn interrupts(&self) -> u32 {
        self.memory
            .load(GuestAddress(layout::COUNT), Ordering::Relaxed)
            .unwrap_or_default()
    }

    /// Returns the first `n` time stamps of the vCPU `id`.
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

/// Creates a VM with PICs, an I/O APIC and the vCPUs' APICs, all in the kernel.
pub(crate) fn create(kvm: &Kvm) -> Result<VmFd> {
    let fd = kvm.create_vm().map_err(|error| {
        let advice = match error.errno() {
            libc::EBUSY => "\n  another hypervisor uses this CPU: stop its VMs, unload its module",
            libc::ENODEV | libc::EIO => "\n  virtualisation is disabled in the firmware",
            _ => "",
        };
        anyhow!("create a VM: {error}{advice}")
    })?;
    fd.set_tss_address(TSS).context("set the TSS address")?;
    fd.create_irq_chip()
        .context("create an interrupt controller")?;
    Ok(fd)
}

pub(crate) fn open() -> Result<Kvm> {
    Kvm::new().map_err(|error| anyhow!("open /dev/kvm: {error}{}", advice(error.errno())))
}

/// Returns advice for an error in opening /dev/kvm.
fn advice(errno: i32) -> &'static str {
    match errno {
        libc::ENOENT | libc::ENODEV | libc::ENXIO => {
            "\n  load it: modprobe kvm-amd, or modprobe kvm-intel. If that fails, the CPU has no \
             virtualisation, or the firmware does not enable it; in a VM, its host does not \
             (nested=1 of its kvm-amd or kvm-intel; -cpu host)"
        }
        libc::EACCES | libc::EPERM => {
            "\n  run as root, or join the group kvm: usermod -aG kvm USER"
        }
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_and_inaccessible_devices_have_different_advice() {
        assert!(advice(libc::ENOENT).contains("modprobe kvm-"));
        assert!(advice(libc::EACCES).contains("group kvm"));
        assert_eq!(advice(libc::EINTR), "");
    }
}
