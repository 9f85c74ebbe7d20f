// SPDX-License-Identifier: GPL-2.0-only

//! The connections of each row: ioeventfd, line, irqfd.

use crate::{
    guest::Entry,
    layout,
    relay::Relay,
    rig::Cpus,
    row::{Row, Through},
    vm::Vm,
};
use anyhow::{Context as _, Result};
use doorbell::Context;
use kvm_ioctls::{IoEventAddress, NoDatamatch};
use std::fs;
use vmm_sys_util::eventfd::{EventFd, EFD_CLOEXEC};

/// The address to which the guest writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Address {
    Pio(u16),
    Mmio(u64),
}

/// A row whose eventfds are connected.
pub(crate) struct Wired {
    pub(crate) row: Row,
    pub(crate) address: Address,
    pub(crate) entry: Entry,
    /// The line that is rung.
    pub(crate) line: Option<u32>,
    pub(crate) relay: Option<Relay>,
    /// Keeps the eventfds open: closing the last file of one would deassign the irqfd.
    _eventfds: Vec<EventFd>,
}

impl Wired {
    /// Connects row number `at`, which is also the number of its line.
    pub(crate) fn new(
        row: Row,
        at: u32,
        vm: &mut Vm,
        context: Option<&Context>,
        cpus: Cpus,
    ) -> Result<Self> {
        let pio = Address::Pio(layout::pio(at));
        let mmio = Address::Mmio(layout::mmio(at));
        let (address, entry) = match row {
            Row::Hypercall => (mmio, hypercall()),
            Row::UserspacePio | Row::IoeventfdPio => (pio, Entry::Pio),
            Row::UserspaceMmio | Row::IoeventfdMmio | Row::IoeventfdMmioAny => (mmio, Entry::Mmio),
            Row::Circle { other: false, .. } => (mmio, Entry::Circle),
            Row::Circle { other: true, .. } => (mmio, Entry::Ask),
        };
        let mut wired = Self {
            row,
            address,
            entry,
            line: None,
            relay: None,
            _eventfds: Vec::new(),
        };
        if row.needs_doorbell() {
            wired.line = Some(at);
        }
        let context = || context.context("this row needs a doorbell");
        match row {
            // These addresses have no ioeventfd, so that the write returns to the VMM.
            Row::Hypercall | Row::UserspacePio | Row::UserspaceMmio => {}
            Row::IoeventfdPio | Row::IoeventfdMmio | Row::IoeventfdMmioAny => {
                let kick = EventFd::new(EFD_CLOEXEC)?;
                ioeventfd(vm, &kick, address, row != Row::IoeventfdMmioAny)?;
                context()?.assign_irqfd(&kick, at)?;
                wired._eventfds = vec![kick];
            }
            Row::Circle { through, other } => {
                let (kick, call) = (EventFd::new(EFD_CLOEXEC)?, EventFd::new(EFD_CLOEXEC)?);
                ioeventfd(vm, &kick, address, false)?;
                let gsi = vm.add_msi(other.into())?;
                let to = match through {
                    Through::Nothing => &kick,
                    Through::Doorbell => {
                        context()?.assign_irqfd(&kick, at)?;
                        context()?.assign_trigger(&call, at)?;
                        &call
                    }
                    Through::Thread => {
                        let ends = (kick.try_clone()?, call.try_clone()?);
                        wired.relay = Some(Relay::new(ends.0, ends.1, cpus.other)?);
                        &call
                    }
                };
                vm.fd
                    .register_irqfd(to, gsi)
                    .context("assign a KVM irqfd")?;
                wired._eventfds = vec![kick, call];
            }
        }
        Ok(wired)
    }
}

/// Makes KVM signal `fd` on writes to `address`: of any length, or of exactly the guest's value.
fn ioeventfd(vm: &Vm, fd: &EventFd, address: Address, exact: bool) -> Result<()> {
    let address = match address {
        Address::Pio(port) => IoEventAddress::Pio(port.into()),
        Address::Mmio(address) => IoEventAddress::Mmio(address),
    };
    match exact {
        // The type determines the length.
        true => vm.fd.register_ioevent(fd, &address, layout::VALUE),
        false => vm.fd.register_ioevent(fd, &address, NoDatamatch),
    }
    .context("assign an ioeventfd")
}

/// Returns the entry with the CPU's own hypercall instruction. KVM would patch the other one.
fn hypercall() -> Entry {
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    match cpuinfo.split_whitespace().any(|flag| flag == "svm") {
        true => Entry::Vmmcall,
        false => Entry::Vmcall,
    }
}
