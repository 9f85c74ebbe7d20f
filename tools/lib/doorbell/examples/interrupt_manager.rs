// SPDX-License-Identifier: MIT OR Apache-2.0

//! The interrupt manager of a VMM on lines: the traits of rust-vmm's interrupt proposal, as the crate
//! `dbs-interrupt` of Dragonball has published them. A device model uses it without a change.
//!
//! The manager of that crate masks a vector by KVM_IRQFD_FLAG_DEASSIGN, and looks for a pending signal by
//! reading it and writing it back. Here both are those of a line.

use dbs_device::resources::{DeviceResources, MsiIrqType, Resource};
use dbs_interrupt::{
    DeviceInterruptManager, DeviceInterruptMode, InterruptIndex, InterruptManager,
    InterruptSourceConfig, InterruptSourceGroup, InterruptSourceType,
};
use doorbell::{Context, EventFd, LineSet, LineType, MaskReasons, StatusPages, msix::Message};
use std::{
    collections::BTreeMap,
    io,
    os::fd::AsFd,
    sync::{Arc, Mutex},
    time::Duration,
};
// The version of the traits.
use vmm_sys_util_0_11::eventfd::{EFD_CLOEXEC, EventFd as VmmEventFd};

const TIMEOUT: Duration = Duration::from_secs(10);

/// A hypervisor in place of KVM: it sends the message of a route if the route's irqfd is signalled.
#[derive(Default)]
struct Hypervisor {
    routes: Mutex<BTreeMap<u32, Message>>,
    irqfds: Mutex<BTreeMap<u32, EventFd>>,
}

impl Hypervisor {
    /// Returns a new irqfd of `gsi` (KVM_IRQFD).
    fn assign_irqfd(&self, gsi: u32) -> io::Result<EventFd> {
        let irqfd = EventFd::new(0)?;
        let own = EventFd::from(irqfd.as_fd().try_clone_to_owned()?);
        self.irqfds.lock().unwrap().insert(gsi, own);
        Ok(irqfd)
    }

    /// Changes a route (KVM_SET_GSI_ROUTING).
    fn set_route(&self, gsi: u32, message: Message) {
        self.routes.lock().unwrap().insert(gsi, message);
    }

    /// Waits for an interrupt of `gsi`. Returns its message, or none if it is a pin, and the number of
    /// signals.
    fn interrupt(&self, gsi: u32) -> io::Result<(Option<Message>, u64)> {
        let irqfds = self.irqfds.lock().unwrap();
        assert!(irqfds[&gsi].wait(TIMEOUT)?, "an interrupt was lost");
        let message = self.routes.lock().unwrap().get(&gsi).copied();
        Ok((message, irqfds[&gsi].read()?))
    }

    fn has_interrupt(&self, gsi: u32) -> io::Result<bool> {
        self.irqfds.lock().unwrap()[&gsi].wait(Duration::ZERO)
    }
}

fn os_error(error: doorbell::Error) -> io::Error {
    match error.errno() {
        Some(errno) => io::Error::from_raw_os_error(errno),
        None => io::Error::other(error),
    }
}

fn invalid() -> io::Error {
    io::Error::from_raw_os_error(libc::EINVAL)
}

/// Creates groups of lines. An interrupt source, a line and a GSI have the same number.
struct LineManager {
    context: Arc<Context>,
    status: Arc<StatusPages>,
    hypervisor: Arc<Hypervisor>,
    /// An eventfd that the guest's end of interrupt signals: the resamplefd of KVM_IRQFD.
    end_of_interrupt: VmmEventFd,
}

/// Interrupt sources of a device, which are lines.
struct LineGroup {
    context: Arc<Context>,
    status: Arc<StatusPages>,
    hypervisor: Arc<Hypervisor>,
    kind: InterruptSourceType,
    base: InterruptIndex,
    /// The irqfds, which backends signal. A source is masked or not.
    notifiers: Vec<VmmEventFd>,
    masked: Mutex<Vec<bool>>,
}

impl LineGroup {
    fn all(&self) -> LineSet {
        LineSet::range(self.base..self.base + self.len())
    }

    fn line(&self, index: InterruptIndex) -> io::Result<u32> {
        match index < self.len() {
            true => Ok(self.base + index),
            false => Err(invalid()),
        }
    }

    fn set_masked(&self, index: InterruptIndex, masked: bool) -> io::Result<()> {
        let line = self.line(index)?;
        let mut all = self.masked.lock().unwrap();
        match masked {
            true => self.context.mask(line),
            false => self.context.unmask(line),
        }
        .map_err(os_error)?;
        all[index as usize] = masked;
        Ok(())
    }

    fn route(&self, line: u32, config: &InterruptSourceConfig) -> io::Result<()> {
        match (&self.kind, config) {
            (InterruptSourceType::LegacyIrq, InterruptSourceConfig::LegacyIrq(_)) => Ok(()),
            (InterruptSourceType::MsiIrq, InterruptSourceConfig::MsiIrq(msi)) => {
                let message = Message {
                    address: (u64::from(msi.high_addr) << 32) | u64::from(msi.low_addr),
                    data: msi.data,
                };
                self.hypervisor.set_route(line, message);
                Ok(())
            }
            _ => Err(invalid()),
        }
    }
}

impl InterruptSourceGroup for LineGroup {
    fn interrupt_type(&self) -> InterruptSourceType {
        self.kind.clone()
    }

    fn len(&self) -> InterruptIndex {
        self.notifiers.len() as u32
    }

    fn base(&self) -> InterruptIndex {
        self.base
    }

    fn enable(&self, configs: &[InterruptSourceConfig]) -> io::Result<()> {
        if configs.len() != self.notifiers.len() {
            return Err(invalid());
        }
        // The lines are masked for the function until all have their routes.
        for (line, config) in (self.base..).zip(configs) {
            self.route(line, config)?;
        }
        let unmasked = self
            .context
            .unmask_lines_for(&self.all(), MaskReasons::FUNCTION);
        unmasked.map(drop).map_err(os_error)
    }

    /// Masks all sources. When this returns, no interrupt is in flight. Signals are pending until the group
    /// is enabled.
    fn disable(&self) -> io::Result<()> {
        let masked = self
            .context
            .mask_lines_for(&self.all(), MaskReasons::FUNCTION);
        masked.map(drop).map_err(os_error)
    }

    fn update(&self, index: InterruptIndex, config: &InterruptSourceConfig) -> io::Result<()> {
        let line = self.line(index)?;
        let all = self.masked.lock().unwrap();
        self.context.mask(line).map_err(os_error)?;
        // If there is no route, the line stays masked until the next update.
        self.route(line, config)?;
        if !all[index as usize] {
            self.context.unmask(line).map_err(os_error)?;
        }
        Ok(())
    }

    fn notifier(&self, index: InterruptIndex) -> Option<&VmmEventFd> {
        self.notifiers.get(index as usize)
    }

    fn trigger(&self, index: InterruptIndex) -> io::Result<()> {
        let rung = self.context.ring(self.line(index)?);
        rung.map(drop).map_err(os_error)
    }

    fn mask(&self, index: InterruptIndex) -> io::Result<()> {
        self.set_masked(index, true)
    }

    fn unmask(&self, index: InterruptIndex) -> io::Result<()> {
        self.set_masked(index, false)
    }

    fn get_pending_state(&self, index: InterruptIndex) -> bool {
        let line = self.line(index);
        line.is_ok_and(|line| self.status.line(line).pending)
    }
}

impl InterruptManager for LineManager {
    fn create_group(
        &self,
        kind: InterruptSourceType,
        base: InterruptIndex,
        count: InterruptIndex,
    ) -> io::Result<Arc<Box<dyn InterruptSourceGroup>>> {
        let is_legacy = kind == InterruptSourceType::LegacyIrq;
        let end = base.checked_add(count).ok_or_else(invalid)?;
        if count == 0 || (is_legacy && count != 1) {
            return Err(invalid());
        }
        self.context
            .mask_lines_for(&LineSet::range(base..end), MaskReasons::FUNCTION)
            .map_err(os_error)?;
        let mut notifiers = Vec::new();
        for line in base..end {
            let notifier = VmmEventFd::new(EFD_CLOEXEC)?;
            let irqfd = self.hypervisor.assign_irqfd(line)?;
            let assign = || -> doorbell::Result {
                if is_legacy {
                    self.context.set_type(line, LineType::Level)?;
                    self.context.assign_ackfd(&self.end_of_interrupt, line)?;
                }
                self.context.assign_irqfd(&notifier, line)?;
                self.context.assign_trigger(&irqfd, line)
            };
            assign().map_err(os_error)?;
            notifiers.push(notifier);
        }
        Ok(Arc::new(Box::new(LineGroup {
            context: self.context.clone(),
            status: self.status.clone(),
            hypervisor: self.hypervisor.clone(),
            kind,
            base,
            masked: Mutex::new(vec![false; notifiers.len()]),
            notifiers,
        })))
    }

    /// Deassigns the eventfds, and drops pending signals.
    fn destroy_group(&self, group: Arc<Box<dyn InterruptSourceGroup>>) -> io::Result<()> {
        let destroy = || -> doorbell::Result {
            for index in 0..group.len() {
                let line = group.base() + index;
                let notifier = group.notifier(index).expect("a notifier");
                self.context.deassign_irqfd(notifier, line)?;
                if group.interrupt_type() == InterruptSourceType::LegacyIrq {
                    self.context.deassign_irqfd(&self.end_of_interrupt, line)?;
                }
                self.context.deassign_all_triggers(line)?;
                self.context.clear(line)?;
            }
            Ok(())
        };
        destroy().map_err(os_error)
    }
}

const PIN: u32 = 0;
const FIRST_MSI: u32 = 1;
const VECTORS: u32 = 3;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let context = Arc::new(Context::open()?);
    context.set_lines(FIRST_MSI + VECTORS)?;
    let hypervisor = Arc::new(Hypervisor::default());
    let manager = Arc::new(LineManager {
        status: Arc::new(context.map_status()?),
        context: context.clone(),
        hypervisor: hypervisor.clone(),
        end_of_interrupt: VmmEventFd::new(EFD_CLOEXEC)?,
    });

    // The device model of the crate creates its groups from the device's resources.
    let mut resources = DeviceResources::new();
    resources.append(Resource::LegacyIrq(PIN));
    resources.append(Resource::MsiIrq {
        ty: MsiIrqType::PciMsix,
        base: FIRST_MSI,
        size: VECTORS,
    });
    let mut device = DeviceInterruptManager::new(manager.clone(), &resources)?;
    device.set_working_mode(DeviceInterruptMode::PciMsixIrq)?;
    let msix = device.get_group_unchecked();
    // A backend in another process gets the eventfd, and signals it before the guest is ready.
    let backend = msix.notifier(1).expect("a notifier").try_clone()?;
    backend.write(1)?;
    assert!(msix.get_pending_state(1));
    for vector in 0..VECTORS {
        device.set_msi_low_address(vector, 0xfee0_0000)?;
        device.set_msi_data(vector, 0x40 + vector)?;
    }
    device.enable()?;
    let gsi = FIRST_MSI + 1;
    let message = |address, data| Some(Message { address, data });
    assert_eq!(hypervisor.interrupt(gsi)?, (message(0xfee0_0000, 0x41), 1));
    assert!(!msix.get_pending_state(1));
    println!("enabled: the signal from before is one interrupt");

    msix.mask(1)?;
    backend.write(1)?;
    msix.trigger(1)?;
    assert!(msix.get_pending_state(1) && !msix.get_pending_state(0));
    assert!(!hypervisor.has_interrupt(gsi)?);
    device.set_msi_low_address(1, 0xfee0_1000)?;
    device.update(1)?;
    assert!(
        !hypervisor.has_interrupt(gsi)?,
        "an update keeps the vector's mask"
    );
    msix.unmask(1)?;
    assert_eq!(hypervisor.interrupt(gsi)?, (message(0xfee0_1000, 0x41), 1));
    println!("masked: the backend's signal was pending, and went to the new address");

    device.reset()?;
    backend.write(1)?;
    assert!(msix.get_pending_state(1) && !hypervisor.has_interrupt(gsi)?);
    msix.enable(&[])
        .expect_err("there is a configuration for each vector");
    assert_eq!(
        msix.mask(VECTORS).unwrap_err().raw_os_error(),
        Some(libc::EINVAL)
    );
    println!("disabled: nothing was delivered");

    // The pin of the same device.
    device.set_working_mode(DeviceInterruptMode::LegacyIrq)?;
    device.enable()?;
    let pin = device.get_group().expect("a group");
    pin.trigger(0)?;
    pin.trigger(0)?;
    assert_eq!(hypervisor.interrupt(PIN)?, (None, 1));
    assert!(!hypervisor.has_interrupt(PIN)?);
    manager.end_of_interrupt.write(1)?;
    assert!(!context.query(PIN)?.asserted);
    pin.trigger(0)?;
    assert_eq!(hypervisor.interrupt(PIN)?, (None, 1));
    println!("pin: one interrupt until the guest's end of interrupt, which needs no thread");

    device.reset()?;
    for group in [pin, msix] {
        manager.destroy_group(group)?;
    }
    assert!(!context.pending(gsi)?);
    backend.write(1)?;
    assert_eq!(
        backend.read()?,
        1,
        "the line does not consume the signal any more"
    );
    let error = manager.create_group(InterruptSourceType::MsiIrq, FIRST_MSI, VECTORS + 1);
    assert_eq!(error.err().unwrap().raw_os_error(), Some(libc::ENXIO));
    println!("destroyed: signals stay in the backend's eventfd");
    Ok(())
}
