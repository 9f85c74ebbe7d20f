// SPDX-License-Identifier: GPL-2.0-only

//! How each row is wired.

use crate::{
    doorbell::Doorbell,
    guest::Entry,
    layout,
    relay::Relay,
    rig::Cpus,
    row::{Row, Through},
    vm::Vm,
};
use anyhow::{Context, Result};
use kvm_ioctls::{IoEventAddress, NoDatamatch};
use std::fs;
use vmm_sys_util::eventfd::{EventFd, EFD_CLOEXEC};

/// Where the guest writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Address {
    Pio(u16),
    Mmio(u64),
}

/// A row, wired.
pub(crate) struct Wired {
    pub(crate) row: Row,
    pub(crate) address: Address,
    pub(crate) entry: Entry,
    /// The line that is rung.
    pub(crate) line: Option<u32>,
    pub(crate) relay: Option<Relay>,
    /// Held open: with an eventfd's last file an irqfd goes, and an ioeventfd has no use.
    _eventfds: Vec<EventFd>,
}

impl Wired {
    /// Row number `at`, which is also the line that it rings, if it does.
    pub(crate) fn new(
        row: Row,
        at: u32,
        vm: &mut Vm,
        doorbell: Option<&Doorbell>,
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
        let line = || doorbell.context("this row needs a doorbell");
        match row {
            // The VMM is told of these writes because nobody else is.
            Row::Hypercall | Row::UserspacePio | Row::UserspaceMmio => {}
            Row::IoeventfdPio | Row::IoeventfdMmio | Row::IoeventfdMmioAny => {
                let kick = EventFd::new(EFD_CLOEXEC)?;
                ioeventfd(vm, &kick, address, row != Row::IoeventfdMmioAny)?;
                line()?.irqfd(&kick, at)?;
                wired._eventfds = vec![kick];
            }
            Row::Circle { through, other } => {
                let (kick, call) = (EventFd::new(EFD_CLOEXEC)?, EventFd::new(EFD_CLOEXEC)?);
                ioeventfd(vm, &kick, address, false)?;
                let gsi = vm.add_msi(other.into())?;
                let to = match through {
                    Through::Nothing => &kick,
                    Through::Doorbell => {
                        line()?.irqfd(&kick, at)?;
                        line()?.trigger(&call, at)?;
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

/// Has KVM signal `fd` when the guest writes there: any length, or exactly what ours writes.
fn ioeventfd(vm: &Vm, fd: &EventFd, address: Address, exact: bool) -> Result<()> {
    let address = match address {
        Address::Pio(port) => IoEventAddress::Pio(port.into()),
        Address::Mmio(address) => IoEventAddress::Mmio(address),
    };
    match exact {
        // The type says how long.
        true => vm.fd.register_ioevent(fd, &address, layout::VALUE),
        false => vm.fd.register_ioevent(fd, &address, NoDatamatch),
    }
    .context("assign an ioeventfd")
}

/// KVM would replace the wrong instruction by the right one; at once the right one is simpler.
fn hypercall() -> Entry {
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    match cpuinfo.split_whitespace().any(|flag| flag == "svm") {
        true => Entry::Vmmcall,
        false => Entry::Vmcall,
    }
}
