// SPDX-License-Identifier: GPL-2.0-only

//! The VM: memory, vCPUs, an interrupt controller.

use crate::{
    boot::{self, Program},
    controller::Controller,
    exits::Exits,
    layout,
    vcpu::{Failure, OnAccess, Vcpu},
};
#[cfg(target_arch = "x86_64")]
use crate::{irqs::Irqs, routes::Routes};
use anyhow::{anyhow, Context, Result};
use kvm_bindings::kvm_userspace_memory_region;
use kvm_ioctls::{Kvm, VmFd};
use std::{
    os::fd::AsRawFd,
    sync::{atomic::Ordering, Arc},
};
use vm_memory::{Bytes, GuestAddress, GuestMemoryBackend, GuestMemoryMmap};

/// A VM under KVM, with interrupt controllers in the kernel.
pub struct Vm {
    vcpus: Vec<Vcpu>,
    kvm: Kvm,
    pub(crate) fd: Arc<VmFd>,
    memory: GuestMemoryMmap,
    #[cfg(target_arch = "x86_64")]
    irqs: Irqs,
    controller: Controller,
    /// The error of the first vCPU that has failed.
    failure: Failure,
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
            controller: Controller::new(&fd)?,
            #[cfg(target_arch = "x86_64")]
            irqs: Irqs::new(fd.clone()),
            fd,
            memory,
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
        boot::prepare(&self.kvm, &self.fd, &fd)?;
        #[cfg(target_arch = "x86_64")]
        {
            self.tsc_khz = fd.get_tsc_khz().ok();
        }
        let failure = self.failure.clone();
        self.vcpus
            .push(Vcpu::new(fd, self.memory.clone(), cpu, on_access, failure)?);
        Ok(())
    }

    /// Enables the interrupt controller. All vCPUs have been added.
    pub(crate) fn enable_interrupts(&self) -> Result<()> {
        self.controller.enable(self.vcpus.len() as u64)
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
    #[cfg(target_arch = "x86_64")]
    pub fn irqs(&self) -> &Irqs {
        &self.irqs
    }

    /// Returns the guest's memory.
    pub fn memory(&self) -> &GuestMemoryMmap {
        &self.memory
    }

    /// Returns the interrupt routes, which other threads may change.
    #[cfg(target_arch = "x86_64")]
    pub fn routes(&self) -> &Arc<Routes> {
        self.controller.routes()
    }

    /// Adds a GSI that interrupts the vCPU `id`; returns the GSI.
    pub(crate) fn add_message(&mut self, id: u64) -> Result<u32> {
        self.controller.add_message(id)
    }

    /// Adds a GSI that interrupts the first vCPU as long as it is raised; returns the GSI.
    pub(crate) fn add_pin(&mut self) -> Result<u32> {
        self.controller.add_pin()
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

/// Creates a VM.
pub(crate) fn create(kvm: &Kvm) -> Result<VmFd> {
    let vm = loop {
        match kvm.create_vm() {
            // The kernel takes all locks of the address space, unless a signal is pending.
            Err(error) if error.errno() == libc::EINTR => {}
            result => break result,
        }
    };
    vm.map_err(|error| {
        let advice = match error.errno() {
            libc::EBUSY => "\n  another hypervisor uses this CPU: stop its VMs, unload its module",
            libc::ENODEV | libc::EIO => "\n  virtualisation is disabled in the firmware",
            _ => "",
        };
        anyhow!("create a VM: {error}{advice}")
    })
}

pub(crate) fn open() -> Result<Kvm> {
    Kvm::new().map_err(|error| anyhow!("open /dev/kvm: {error}{}", advice(error.errno())))
}

/// Returns advice for an error in opening /dev/kvm.
fn advice(errno: i32) -> &'static str {
    match errno {
        libc::ENOENT | libc::ENODEV | libc::ENXIO if cfg!(target_arch = "aarch64") => {
            "\n  it is a part of the kernel (CONFIG_KVM), which must start at EL2; in a VM, its host must \
             support nested virtualization"
        }
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
        let found = match cfg!(target_arch = "aarch64") {
            true => "CONFIG_KVM",
            false => "modprobe kvm-",
        };
        assert!(advice(libc::ENOENT).contains(found));
        assert!(advice(libc::EACCES).contains("group kvm"));
        assert_eq!(advice(libc::EINTR), "");
    }
}
