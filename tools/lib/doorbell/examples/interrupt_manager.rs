// SPDX-License-Identifier: MIT OR Apache-2.0

//! The interrupt manager of a VMM on lines: the traits of rust-vmm's interrupt proposal, as the crate
//! `dbs-interrupt` of Dragonball has published them. A device model uses it without a change.
//!
//! The manager of that crate masks a vector by KVM_IRQFD_FLAG_DEASSIGN, and looks for a pending signal by
//! reading it and writing it back. Here both are those of a line.

use dbs_device::resources::{DeviceResources, MsiIrqType, Resource};
use dbs_interrupt::{
    DeviceInterruptManager, DeviceInterruptMode, InterruptIndex, InterruptManager,
    InterruptSourceConfig, InterruptSourceGroup, InterruptSourceType, LegacyIrqSourceConfig,
    MsiIrqSourceConfig,
};
use doorbell::{Context, EventFd, LineSet, LineType, MaskReasons, StatusPages, msix::Message};
use std::{
    collections::BTreeMap,
    io,
    os::fd::AsFd,
    sync::{Arc, Mutex, MutexGuard},
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
    /// The address of a message that it refuses.
    const INVALID: u64 = 0xbad0;

    /// Returns a new irqfd of `gsi` (KVM_IRQFD).
    fn assign_irqfd(&self, gsi: u32) -> io::Result<EventFd> {
        let irqfd = EventFd::new(0)?;
        let own = EventFd::from(irqfd.as_fd().try_clone_to_owned()?);
        self.irqfds.lock().unwrap().insert(gsi, own);
        Ok(irqfd)
    }

    /// Ends the irqfd of `gsi` (KVM_IRQFD_FLAG_DEASSIGN).
    fn deassign_irqfd(&self, gsi: u32) {
        self.irqfds.lock().unwrap().remove(&gsi);
    }

    /// Changes a route (KVM_SET_GSI_ROUTING with the routes of the whole VM).
    fn set_route(&self, gsi: u32, message: Message) -> io::Result<()> {
        if message.address == Self::INVALID {
            return Err(invalid());
        }
        let is_late = self.has_interrupt(gsi)?;
        assert!(!is_late, "an interrupt of {gsi} came before its route");
        self.routes.lock().unwrap().insert(gsi, message);
        Ok(())
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
    /// For each pin, an eventfd that the guest's end of interrupt signals: the resamplefd of KVM_IRQFD. An
    /// eventfd can be an ackfd of one line.
    ends_of_interrupt: Mutex<BTreeMap<u32, VmmEventFd>>,
}

/// An interrupt source. Its line is masked for the vector while the source is masked or has no route.
#[derive(Clone, Copy, Default)]
struct Source {
    masked: bool,
    routed: bool,
}

/// Interrupt sources of a device, which are lines.
struct LineGroup {
    context: Arc<Context>,
    status: Arc<StatusPages>,
    hypervisor: Arc<Hypervisor>,
    kind: InterruptSourceType,
    base: InterruptIndex,
    /// The irqfds, which backends signal.
    notifiers: Vec<VmmEventFd>,
    sources: Mutex<Vec<Source>>,
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

    fn sources(&self) -> MutexGuard<'_, Vec<Source>> {
        self.sources.lock().expect("no panic")
    }

    /// Masks or unmasks the line as `source` asks for.
    fn apply(&self, line: u32, source: Source) -> io::Result<()> {
        match source.routed && !source.masked {
            true => self.context.unmask(line),
            false => self.context.mask(line),
        }
        .map(drop)
        .map_err(os_error)
    }

    fn set_masked(&self, index: InterruptIndex, masked: bool) -> io::Result<()> {
        let line = self.line(index)?;
        let mut sources = self.sources();
        let source = &mut sources[index as usize];
        self.apply(line, Source { masked, ..*source })?;
        source.masked = masked;
        Ok(())
    }

    /// Routes a source whose line is masked.
    fn route(&self, line: u32, config: &InterruptSourceConfig) -> io::Result<()> {
        match (&self.kind, config) {
            (InterruptSourceType::LegacyIrq, InterruptSourceConfig::LegacyIrq(_)) => Ok(()),
            (InterruptSourceType::MsiIrq, InterruptSourceConfig::MsiIrq(msi)) => {
                let message = Message {
                    address: (u64::from(msi.high_addr) << 32) | u64::from(msi.low_addr),
                    data: msi.data,
                };
                self.hypervisor.set_route(line, message)
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

    /// Routes all sources, and unmasks those that are not masked by themselves. If a route fails, no source
    /// is unmasked.
    fn enable(&self, configs: &[InterruptSourceConfig]) -> io::Result<()> {
        if configs.len() != self.notifiers.len() {
            return Err(invalid());
        }
        let mut sources = self.sources();
        // The lines are masked for the function, also if this is not the first call.
        self.disable()?;
        for ((line, config), source) in (self.base..).zip(configs).zip(sources.iter_mut()) {
            source.routed = false;
            self.route(line, config)?;
            source.routed = true;
        }
        for (line, source) in (self.base..).zip(sources.iter()) {
            self.apply(line, *source)?;
        }
        let unmasked = self
            .context
            .unmask_lines_for(&self.all(), MaskReasons::FUNCTION);
        unmasked.map(drop).map_err(os_error)
    }

    /// Masks all sources. When this returns, no delivery is in flight. Signals are pending until the group
    /// is enabled.
    fn disable(&self) -> io::Result<()> {
        let masked = self
            .context
            .mask_lines_for(&self.all(), MaskReasons::FUNCTION);
        masked.map(drop).map_err(os_error)
    }

    /// Changes a route. If that fails, the source holds its signals until the next call, whatever `unmask`
    /// is called meanwhile.
    fn update(&self, index: InterruptIndex, config: &InterruptSourceConfig) -> io::Result<()> {
        let line = self.line(index)?;
        let mut sources = self.sources();
        let source = &mut sources[index as usize];
        self.context.mask(line).map_err(os_error)?;
        source.routed = false;
        self.route(line, config)?;
        source.routed = true;
        self.apply(line, *source)
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

/// Treats an eventfd that is not assigned as one that was deassigned.
fn ignore_missing(result: doorbell::Result) -> doorbell::Result {
    match result {
        Err(error) if error.errno() == Some(libc::ENOENT) => Ok(()),
        result => result,
    }
}

impl LineManager {
    /// Signals the end of interrupt of a pin, as KVM does for the guest.
    fn end_interrupt(&self, pin: u32) -> io::Result<()> {
        self.ends_of_interrupt.lock().unwrap()[&pin].write(1)
    }

    /// Connects a backend, the line and the hypervisor. The line is masked.
    fn wire(&self, line: u32, notifier: &VmmEventFd, is_legacy: bool) -> io::Result<()> {
        if is_legacy {
            self.context
                .set_type(line, LineType::Level)
                .map_err(os_error)?;
            let end = VmmEventFd::new(EFD_CLOEXEC)?;
            self.context.assign_ackfd(&end, line).map_err(os_error)?;
            self.ends_of_interrupt.lock().unwrap().insert(line, end);
        }
        let irqfd = self.hypervisor.assign_irqfd(line)?;
        self.context
            .assign_trigger(&irqfd, line)
            .map_err(os_error)?;
        self.context.assign_irqfd(notifier, line).map_err(os_error)
    }

    /// Undoes [`wire`](Self::wire), also one that has failed half way. The line is an idle edge line then, as
    /// it was before, and stays masked.
    fn unwire(&self, line: u32, notifier: &VmmEventFd) -> doorbell::Result {
        let both = MaskReasons::VECTOR | MaskReasons::FUNCTION;
        self.context.mask_for(line, both)?;
        ignore_missing(self.context.deassign_irqfd(notifier, line))?;
        if let Some(end) = self.ends_of_interrupt.lock().unwrap().remove(&line) {
            self.context.deassign_irqfd(&end, line)?;
        }
        self.context.deassign_all_triggers(line)?;
        self.hypervisor.deassign_irqfd(line);
        if self.context.query(line)?.level {
            self.context.ack(line)?;
        }
        self.context.clear(line)?;
        self.context.set_type(line, LineType::Edge)
    }
}

impl InterruptManager for LineManager {
    /// Creates a group, whose lines are masked until it is enabled. If this fails, nothing is assigned.
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
        let both = MaskReasons::VECTOR | MaskReasons::FUNCTION;
        self.context
            .mask_lines_for(&LineSet::range(base..end), both)
            .map_err(os_error)?;
        let notifiers: Vec<VmmEventFd> = (0..count)
            .map(|_| VmmEventFd::new(EFD_CLOEXEC))
            .collect::<io::Result<_>>()?;
        for (line, notifier) in (base..).zip(&notifiers) {
            if let Err(error) = self.wire(line, notifier, is_legacy) {
                for (line, notifier) in (base..=line).zip(&notifiers) {
                    self.unwire(line, notifier).map_err(os_error)?;
                }
                return Err(error);
            }
        }
        Ok(Arc::new(Box::new(LineGroup {
            context: self.context.clone(),
            status: self.status.clone(),
            hypervisor: self.hypervisor.clone(),
            kind,
            base,
            sources: Mutex::new(vec![Source::default(); notifiers.len()]),
            notifiers,
        })))
    }

    /// Deassigns the eventfds, and drops pending signals.
    fn destroy_group(&self, group: Arc<Box<dyn InterruptSourceGroup>>) -> io::Result<()> {
        for index in 0..group.len() {
            let notifier = group.notifier(index).expect("a notifier");
            self.unwire(group.base() + index, notifier)
                .map_err(os_error)?;
        }
        Ok(())
    }
}

const PIN: u32 = 0;
const FIRST_MSI: u32 = 1;
const VECTORS: u32 = 3;
const OTHER_PIN: u32 = FIRST_MSI + VECTORS;

fn msi(address: u64, data: u32) -> InterruptSourceConfig {
    InterruptSourceConfig::MsiIrq(MsiIrqSourceConfig {
        high_addr: (address >> 32) as u32,
        low_addr: address as u32,
        data,
        ..Default::default()
    })
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let context = Arc::new(Context::open()?);
    context.set_lines(OTHER_PIN + 1)?;
    let hypervisor = Arc::new(Hypervisor::default());
    let manager = Arc::new(LineManager {
        status: Arc::new(context.map_status()?),
        context: context.clone(),
        hypervisor: hypervisor.clone(),
        ends_of_interrupt: Mutex::default(),
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

    // The hypervisor has no route for the next address. A mask and an unmask do not send to the old one.
    let error = msix.update(1, &msi(Hypervisor::INVALID, 0x41)).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(libc::EINVAL));
    backend.write(1)?;
    msix.mask(1)?;
    msix.unmask(1)?;
    assert!(msix.get_pending_state(1) && !hypervisor.has_interrupt(gsi)?);
    msix.update(1, &msi(0xfee0_2000, 0x42))?;
    assert_eq!(hypervisor.interrupt(gsi)?, (message(0xfee0_2000, 0x42), 1));
    println!("a route that failed: the signal was held until there was one");

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
    manager.end_interrupt(PIN)?;
    assert!(!context.query(PIN)?.asserted);
    pin.trigger(0)?;
    assert_eq!(hypervisor.interrupt(PIN)?, (None, 1));
    println!("pin: one interrupt until the guest's end of interrupt, which needs no thread");

    // Another device has a pin, too. It is asserted when its group is destroyed.
    let pins = |kind| manager.create_group(kind, OTHER_PIN, 1);
    let other = pins(InterruptSourceType::LegacyIrq)?;
    other.enable(&[InterruptSourceConfig::LegacyIrq(LegacyIrqSourceConfig {})])?;
    other.trigger(0)?;
    assert_eq!(hypervisor.interrupt(OTHER_PIN)?, (None, 1));
    manager.destroy_group(other)?;
    let other = pins(InterruptSourceType::MsiIrq)?;
    other.enable(&[msi(0xfee0_0000, 0x50)])?;
    other.trigger(0)?;
    other.trigger(0)?;
    let interrupt = hypervisor.interrupt(OTHER_PIN)?;
    assert_eq!(interrupt, (message(0xfee0_0000, 0x50), 2));
    manager.destroy_group(other)?;
    println!("a line that was a pin is a vector afterwards");

    device.reset()?;
    msix.mask(1)?;
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
    let vectors = |count| manager.create_group(InterruptSourceType::MsiIrq, FIRST_MSI, count);
    let error = vectors(VECTORS + 2).err().unwrap();
    assert_eq!(error.raw_os_error(), Some(libc::ENXIO));
    println!("destroyed: signals stay in the backend's eventfd");

    // A line with waiters cannot have another trigger.
    context.assign_waiters(gsi)?;
    let error = vectors(VECTORS).err().unwrap();
    assert_eq!(error.raw_os_error(), Some(libc::EBUSY));
    let first = context.query(FIRST_MSI)?;
    assert_eq!((first.irqfds, first.triggers), (0, 0));
    println!("a group that could not be created has left nothing behind");

    context.deassign_waiters(gsi)?;
    let again = vectors(VECTORS)?;
    let configs: Vec<_> = (0..VECTORS).map(|data| msi(0xfee0_0000, data)).collect();
    again.enable(&configs)?;
    again.trigger(1)?;
    assert_eq!(hypervisor.interrupt(gsi)?, (message(0xfee0_0000, 1), 1));
    manager.destroy_group(again)?;
    println!("a new group of the same lines begins unmasked, and delivers");
    Ok(())
}
