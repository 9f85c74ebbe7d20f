// SPDX-License-Identifier: GPL-2.0-only

//! Connections of each scenario.

#[cfg(not(target_arch = "x86_64"))]
use crate::scenario::NO_PORTS;
use crate::{
    guest::Entry,
    layout,
    relay::Relay,
    scenario::{Scenario, Via},
    testbench::Cpus,
    vm::Vm,
};
use anyhow::{Context as _, Result};
use doorbell::{Context, LineType, MaskReasons};
use kvm_ioctls::{IoEventAddress, NoDatamatch};
use std::{io, sync::Arc};
use vmm_sys_util::eventfd::{EventFd, EFD_CLOEXEC};

/// The address of the guest's writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Address {
    Pio(u16),
    Mmio(u64),
}

/// A scenario with its connections.
pub(crate) struct Wired {
    pub(crate) scenario: Scenario,
    pub(crate) address: Address,
    pub(crate) entry: Entry,
    /// The line that is rung.
    pub(crate) line: Option<u32>,
    pub(crate) relay: Option<Relay>,
    /// Kept open: closing an eventfd removes its irqfd, and makes its ioeventfd useless.
    _eventfds: Vec<EventFd>,
}

impl Wired {
    /// Connects scenario number `at`. If it rings a line, the line has the same number.
    pub(crate) fn new(
        scenario: Scenario,
        at: u32,
        vm: &mut Vm,
        context: Option<&Arc<Context>>,
        cpus: Cpus,
    ) -> Result<Self> {
        let mmio = Address::Mmio(layout::mmio(at));
        let (address, entry) = match scenario {
            Scenario::Hypercall => (mmio, Entry::hypercall()),
            #[cfg(target_arch = "x86_64")]
            Scenario::UserspacePio | Scenario::IoeventfdPio => {
                (Address::Pio(layout::pio(at)), Entry::Pio)
            }
            #[cfg(not(target_arch = "x86_64"))]
            Scenario::UserspacePio | Scenario::IoeventfdPio => anyhow::bail!(NO_PORTS),
            Scenario::UserspaceMmio | Scenario::IoeventfdMmio | Scenario::IoeventfdMmioAny => {
                (mmio, Entry::Mmio)
            }
            Scenario::Circle { other: false, .. } => (mmio, Entry::Circle),
            Scenario::Circle { other: true, .. } => (mmio, Entry::Ping),
            Scenario::Intx { .. } | Scenario::Level => (mmio, Entry::Whole),
        };
        let mut wired = Self {
            scenario,
            address,
            entry,
            line: None,
            relay: None,
            _eventfds: Vec::new(),
        };
        if scenario.needs_doorbell() {
            wired.line = Some(at);
        }
        let context = || context.context("this scenario needs a doorbell");
        match scenario {
            // Without an ioeventfd, KVM passes these writes to the VMM.
            Scenario::Hypercall | Scenario::UserspacePio | Scenario::UserspaceMmio => {}
            Scenario::IoeventfdPio | Scenario::IoeventfdMmio | Scenario::IoeventfdMmioAny => {
                let kick = EventFd::new(EFD_CLOEXEC)?;
                ioeventfd(vm, &kick, address, scenario != Scenario::IoeventfdMmioAny)?;
                context()?.assign_irqfd(&kick, at)?;
                wired._eventfds = vec![kick];
            }
            Scenario::Circle { via, other } => {
                // The names are those of vhost: a guest kicks the host, which calls the guest.
                let (kick, call) = (EventFd::new(EFD_CLOEXEC)?, EventFd::new(EFD_CLOEXEC)?);
                ioeventfd(vm, &kick, address, false)?;
                let gsi = vm.add_message(other.into())?;
                let to = match via {
                    Via::Direct => &kick,
                    Via::Doorbell => {
                        context()?.assign_irqfd(&kick, at)?;
                        context()?.assign_trigger(&call, at)?;
                        &call
                    }
                    Via::Thread => {
                        let to = call.try_clone()?;
                        let relay = Relay::new(kick.try_clone()?, cpus.other, move || to.write(1));
                        wired.relay = Some(relay?);
                        &call
                    }
                };
                vm.fd
                    .register_irqfd(to, gsi)
                    .context("assign a KVM irqfd")?;
                wired._eventfds = vec![kick, call];
            }
            Scenario::Intx { .. } | Scenario::Level => {
                let (kick, call) = (EventFd::new(EFD_CLOEXEC)?, EventFd::new(EFD_CLOEXEC)?);
                let end = EventFd::new(EFD_CLOEXEC)?;
                ioeventfd(vm, &kick, address, false)?;
                context()?.assign_irqfd(&kick, at)?;
                context()?.assign_trigger(&call, at)?;
                match scenario {
                    Scenario::Intx { via } => {
                        context()?.set_type_automask(at, LineType::Edge)?;
                        match via {
                            Via::Thread => {
                                let context = context()?.clone();
                                let unmask = move || {
                                    let unmasked = context.unmask_for(at, MaskReasons::AUTO);
                                    unmasked.map(|_| ()).map_err(io::Error::other)
                                };
                                wired.relay =
                                    Some(Relay::new(end.try_clone()?, cpus.other, unmask)?);
                            }
                            _ => context()?.assign_unmaskfd(&end, at)?,
                        }
                    }
                    _ => {
                        context()?.set_type(at, LineType::Level)?;
                        context()?.assign_ackfd(&end, at)?;
                    }
                }
                let gsi = vm.add_pin()?;
                vm.fd
                    .register_irqfd_with_resample(&call, &end, gsi)
                    .context("assign a KVM irqfd with a resamplefd")?;
                wired._eventfds = vec![kick, call, end];
            }
        }
        Ok(wired)
    }
}

/// Assigns an ioeventfd to `address`: for the guest's length and value if `exact`, or any length.
fn ioeventfd(vm: &Vm, fd: &EventFd, address: Address, exact: bool) -> Result<()> {
    let address = match address {
        Address::Pio(port) => IoEventAddress::Pio(port.into()),
        Address::Mmio(address) => IoEventAddress::Mmio(address),
    };
    match exact {
        // The type of the value is the length.
        true => vm.fd.register_ioevent(fd, &address, layout::VALUE),
        false => vm.fd.register_ioevent(fd, &address, NoDatamatch),
    }
    .context("assign an ioeventfd")
}
