// SPDX-License-Identifier: GPL-2.0-only

//! The VMM: a process that runs the guest until the guest has ended, or until the run orders it to save.
//!
//! Each message between guest and backend goes through a line, in both directions:
//!
//! ```text
//! guest --write--> ioeventfd --> [ irqfd, KICK_LINE, trigger ] --> kick eventfd --> backend
//! guest <--MSI--- KVM irqfd <-- [ trigger, CALL_LINE, irqfd ] <-- call eventfd <-- backend
//! ```
//!
//! The VMM takes no part in that. It only handles the guest's accesses to the MSI-X table and the pending
//! bits, and the end of a backend.

use super::{
    driver,
    frontend::{Connection, QueueFds},
    layout,
    mutant::{BrokenAccess, Mutant},
    protocol::{receive, send, Inspection, Order, Reply, Saved, Totals},
};
use crate::KvmRoutes;
use anyhow::{bail, ensure, Context as _, Result};
use doorbell::{msix::Msix, Context, LineSet, MaskReasons, DEVICE};
use kvm_rtt::{registers, Access, OnAccess, Vm};
use rustix::{
    event::{poll, PollFd, PollFlags, Timespec},
    io::Errno,
};
use std::{
    env,
    fs::{File, OpenOptions},
    io::{self, BufReader},
    os::fd::AsFd,
    path::{Path, PathBuf},
    sync::{atomic::AtomicBool, Arc, Mutex},
};
use vm_memory::{FileOffset, GuestAddress, GuestMemoryMmap};
use vmm_sys_util::eventfd::{EventFd, EFD_CLOEXEC, EFD_NONBLOCK};

/// The interval of looking whether the guest has ended.
const TICK: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 20_000_000,
};

/// Maps the guest's memory.
pub(crate) fn map(path: &Path) -> Result<GuestMemoryMmap> {
    let file = OpenOptions::new().read(true).write(true).open(path);
    let file = file.with_context(|| format!("open the guest's memory {}", path.display()))?;
    let size = kvm_rtt::layout::MEMORY as usize;
    let range = (GuestAddress(0), size, Some(FileOffset::new(file, 0)));
    Ok(GuestMemoryMmap::from_ranges_with_files(&[range])?)
}

fn eventfd() -> io::Result<EventFd> {
    EventFd::new(EFD_CLOEXEC | EFD_NONBLOCK)
}

/// Handles an access of the guest to the device's registers.
pub(super) fn access(msix: &Mutex<Msix<KvmRoutes>>, access: Access<'_>) -> Result<()> {
    const PAGE: u64 = 0x1000;
    let mut msix = msix.lock().ok().context("another access has failed")?;
    match access {
        Access::MmioWrite(address, data) => match address & !(PAGE - 1) {
            layout::TABLE => msix.write_table(address - layout::TABLE, data)?,
            layout::CONTROL => {
                let value = data.try_into().context("a write of two bytes")?;
                msix.write_control(u16::from_le_bytes(value))?;
            }
            _ => bail!("a write to {address:#x}"),
        },
        Access::MmioRead(address, data) => match address & !(PAGE - 1) {
            layout::TABLE => msix.read_table(address - layout::TABLE, data),
            layout::PBA => msix.read_pba(address - layout::PBA, data),
            _ => bail!("a read of {address:#x}"),
        },
        Access::PortWrite(port, _) => bail!("a write to port {port:#x}"),
    }
    Ok(())
}

struct Vmm {
    memory: GuestMemoryMmap,
    socket: String,
    context: Arc<Context>,
    msix: Arc<Mutex<Msix<KvmRoutes>>>,
    vm: Vm,
    gsis: Vec<u32>,
    /// The ioeventfd of the queue's kicks, and the irqfd of their line.
    written: EventFd,
    /// The trigger of that line, which the backend reads.
    kick: EventFd,
    /// The eventfd that the backend signals, and the irqfd of the line of the interrupts.
    call: EventFd,
    /// The triggers of the vectors' lines, and KVM's irqfds.
    interrupts: Vec<EventFd>,
    connection: Option<Connection>,
    resignals: u64,
    rekicks: u64,
    /// The guest and the line of its interrupts are paused for a save.
    held: bool,
    mutant: Option<Mutant>,
}

impl Vmm {
    /// Creates a VM, and starts it: from the beginning, or where another VMM has saved it.
    fn new(
        memory: GuestMemoryMmap,
        socket: &str,
        saved: Option<&Saved>,
        mutant: Option<Mutant>,
    ) -> Result<Self> {
        let device = env::var_os("DOORBELL_DEVICE").unwrap_or(DEVICE.into());
        let context = Context::open_path(PathBuf::from(device))
            .context("no doorbell (is the module loaded? modprobe doorbell)")?;
        context.set_lines(layout::LINES)?;
        // First: the lines must be fresh. They come back paused.
        if let Some(saved) = saved {
            context.restore(&saved.lines)?;
            if mutant == Some(Mutant::DropPending) {
                context.clear_lines(&LineSet::range(0..layout::LINES))?;
            }
        }
        let context = Arc::new(context);

        let mut vm = Vm::with_memory(memory.clone())?;
        let routes = KvmRoutes::new(&vm, layout::VECTORS)?;
        let gsis = (0..layout::VECTORS)
            .map(|vector| routes.gsi(vector))
            .collect();
        let msix = Msix::new(context.clone(), layout::FIRST_LINE, layout::VECTORS, routes)?;
        let msix = Arc::new(Mutex::new(msix));
        let interrupts = (0..layout::VECTORS).map(|_| eventfd());
        let interrupts = interrupts.collect::<io::Result<Vec<_>>>()?;
        let on_access: OnAccess = match mutant {
            None => {
                let msix = msix.clone();
                Arc::new(move |from: Access<'_>| access(&msix, from))
            }
            Some(mutant) => BrokenAccess {
                mutant,
                msix: msix.clone(),
                context: context.clone(),
                interrupt: interrupts[usize::from(layout::QUEUE_VECTOR)].try_clone()?,
                owes: AtomicBool::new(false),
            }
            .handler(),
        };
        vm.add_vcpu(None, on_access)?;
        // Before the wiring: the state of the APIC would replace an interrupt that comes earlier.
        if let Some(saved) = saved.filter(|_| mutant != Some(Mutant::LateApic)) {
            vm.vcpu(0).set_state(&saved.vcpu)?;
        }

        let mut vmm = Self {
            memory,
            socket: socket.into(),
            context,
            msix,
            vm,
            gsis,
            written: eventfd()?,
            kick: eventfd()?,
            call: eventfd()?,
            interrupts,
            connection: None,
            resignals: saved.map_or(0, |saved| saved.resignals),
            rekicks: saved.map_or(0, |saved| saved.rekicks),
            held: false,
            mutant,
        };
        // A signal that found no line is in the counter of the new eventfd, so that the line gets it.
        match saved.map_or(0, |saved| saved.calls) {
            0 => {}
            count => vmm.call.write(count)?,
        }
        vmm.wire()?;
        if let Some(saved) = saved {
            vmm.with_msix(|msix| Ok(msix.restore(&saved.msix)?))?;
            let lacking = vmm.context.lines_lacking_wiring(&saved.lines)?;
            ensure!(lacking.is_empty(), "not wired: {lacking:?}");
            // The lines are still paused, as the VMM before this one had paused them.
            vmm.context.resume(&saved.lines, &vmm.triggers())?;
            vmm.go_on()?;
            if mutant == Some(Mutant::LateApic) {
                vmm.vm.vcpu(0).set_state(&saved.vcpu)?;
            }
        }
        vmm.connect(saved.map_or(0, |saved| saved.base))?;
        match saved {
            Some(_) => vmm.vm.vcpu(0).go_on()?,
            None => vmm.vm.vcpu(0).start(registers(driver::start(), 0))?,
        }
        Ok(vmm)
    }

    /// The triggers of all lines, in the order of a snapshot.
    fn triggers(&self) -> Vec<&EventFd> {
        self.interrupts.iter().chain([&self.kick]).collect()
    }

    fn with_msix<T>(&self, f: impl FnOnce(&mut Msix<KvmRoutes>) -> Result<T>) -> Result<T> {
        f(&mut *self.msix.lock().ok().context("an access has failed")?)
    }

    fn wire(&self) -> Result<()> {
        let irqs = self.vm.irqs();
        irqs.assign_ioeventfd(&self.written, layout::NOTIFY)?;
        for (vector, (interrupt, &gsi)) in (0..).zip(self.interrupts.iter().zip(&self.gsis)) {
            irqs.assign_irqfd(interrupt, gsi)?;
            self.context
                .assign_trigger(interrupt, layout::FIRST_LINE + vector)?;
        }
        self.context.assign_trigger(&self.kick, layout::KICK_LINE)?;
        self.context
            .assign_irqfd(&self.written, layout::KICK_LINE)?;
        match self.mutant {
            Some(Mutant::StraightCall) => {
                let gsi = self.gsis[usize::from(layout::QUEUE_VECTOR)];
                irqs.assign_irqfd(&self.call, gsi)?;
            }
            _ => self.context.assign_irqfd(&self.call, layout::CALL_LINE)?,
        }
        Ok(())
    }

    /// Connects to a backend, which goes on at the index `base` of the available ring.
    ///
    /// The backend before it may have read a kick, and not have taken the requests. So the line of the kicks is
    /// rung. At worst the backend finds nothing.
    fn connect(&mut self, mut base: u16) -> Result<()> {
        loop {
            let fds = QueueFds {
                kick: &self.kick,
                call: &self.call,
            };
            self.connection = Connection::open(&self.socket, &self.memory, &fds, base)?;
            if self.connection.is_some() {
                self.context.ring(layout::KICK_LINE)?;
                self.rekicks += 1;
                return Ok(());
            }
            // It may have been killed after it had answered a request.
            base = self.take_over()?;
        }
    }

    /// Replaces the signal of a backend that was killed; returns the index of the available ring at
    /// which the next one goes on.
    ///
    /// The backend answers in order, so that is the index of the used ring. A request that the backend has
    /// taken, and not answered, is taken again. The backend may not have signalled its last answer, so the
    /// line is rung. If the answer was signalled, the guest gets an interrupt that finds nothing.
    fn take_over(&mut self) -> Result<u16> {
        let base = driver::used_index(&self.memory)?;
        if self.mutant != Some(Mutant::NoResignal) {
            self.context.ring(layout::CALL_LINE)?;
            self.resignals += 1;
        }
        Ok(match self.mutant {
            Some(Mutant::LateIndex) => base.wrapping_add(1),
            Some(Mutant::EarlyIndex) => base.wrapping_sub(1),
            _ => base,
        })
    }

    /// Pauses the lines: from now on they hold kicks and interrupts.
    fn pause(&self) -> Result<()> {
        let all = LineSet::range(0..layout::LINES);
        self.context.mask_lines_for(&all, MaskReasons::PAUSE)?;
        Ok(())
    }

    /// Ends the pause of the lines, which deliver their messages.
    fn go_on(&self) -> Result<()> {
        let all = LineSet::range(0..layout::LINES);
        self.context.unmask_lines_for(&all, MaskReasons::PAUSE)?;
        Ok(())
    }

    /// Saves the state. The lines and the guest have been paused.
    ///
    /// The order is that of `Documentation/snapshot.rst`: first the sources of rings end, then the lines are
    /// saved, and then KVM's irqfds end. An interrupt that KVM has not injected yet is in the APIC when
    /// that call returns, so the vCPU is saved last.
    fn save(&mut self) -> Result<Saved> {
        let connection = self.connection.as_ref().context("no connection")?;
        let base = match connection.stop()? {
            Some(base) => base,
            None => self.take_over()?,
        };
        let wired = self.context.save_lines(0..layout::LINES)?;
        self.context
            .deassign_irqfd(&self.written, layout::KICK_LINE)?;
        if self.mutant != Some(Mutant::StraightCall) {
            self.context.deassign_irqfd(&self.call, layout::CALL_LINE)?;
        }
        let mut lines = self.context.snapshot(&self.triggers())?;
        lines.set_wiring(&wired);
        for (interrupt, &gsi) in self.interrupts.iter().zip(&self.gsis) {
            self.vm.irqs().deassign_irqfd(interrupt, gsi)?;
        }
        let msix = self.with_msix(|msix| Ok(msix.save()))?;
        ensure!(self.unread(&self.written)? == 0, "a kick of a paused guest");
        Ok(Saved {
            lines,
            msix,
            vcpu: self.vm.vcpu(0).state()?,
            base,
            calls: self.unread(&self.call)?,
            resignals: self.resignals,
            rekicks: self.rekicks,
        })
    }

    /// Returns the counter of an eventfd.
    fn unread(&self, fd: &EventFd) -> Result<u64> {
        Ok(self.context.peek_eventfd(fd)?)
    }

    fn totals(&self) -> Result<Totals> {
        let kick = self.context.query(layout::KICK_LINE)?;
        let call = self.context.query(layout::CALL_LINE)?;
        Ok(Totals {
            kick_rings: kick.rings,
            call_rings: call.rings,
            call_deliveries: call.deliveries,
            resignals: self.resignals,
            rekicks: self.rekicks,
            pending: u64::from(kick.pending) + u64::from(call.pending),
        })
    }

    /// Describes the messages that are on their way.
    fn inspect(&self) -> Result<Inspection> {
        let call = self.context.query(layout::CALL_LINE)?;
        let kick = self.context.query(layout::KICK_LINE)?;
        let mut others = self.unread(&self.written)? + self.unread(&self.call)?;
        for interrupt in &self.interrupts {
            others += self.unread(interrupt)?;
        }
        Ok(Inspection {
            in_apic: self.vm.vcpu(0).state()?.has_interrupt(layout::CPU_VECTOR),
            call_pending: call.pending,
            call_masked: call.masked,
            kick_pending: kick.pending,
            kick_unread: self.unread(&self.kick)? != 0,
            others_unread: others != 0,
        })
    }

    /// Ends the backend's queue, and returns the counters. The guest has ended.
    fn finish(&mut self) -> Result<Totals> {
        let connection = self.connection.as_ref().context("no connection")?;
        if connection.stop()?.is_none() {
            self.take_over()?;
        }
        self.totals()
    }

    /// Waits for a moment until the backend ends, or an order comes. Returns whether each has happened.
    fn wait(&self, input: &BufReader<File>) -> Result<(bool, bool)> {
        let connection = self.connection.as_ref().context("no connection")?;
        let mut fds = [
            PollFd::new(connection.stream(), PollFlags::RDHUP),
            PollFd::new(input.get_ref(), PollFlags::IN),
        ];
        if input.buffer().is_empty() {
            match poll(&mut fds, Some(&TICK)) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        let ordered = !input.buffer().is_empty() || !fds[1].revents().is_empty();
        Ok((connection.has_ended()?, ordered))
    }
}

/// Runs the VMM, which gets its orders at its standard input.
pub(crate) fn run(memory: &Path, socket: &str, mutant: Option<Mutant>) -> Result<()> {
    let mut input = BufReader::new(File::from(io::stdin().as_fd().try_clone_to_owned()?));
    let mut output = io::stdout();
    let memory = map(memory)?;
    let mut vmm = match receive(&mut input)? {
        Some(Order::Boot) => {
            kvm_rtt::load(&memory, &driver::program())?;
            if mutant == Some(Mutant::ShortDescriptor) {
                driver::shorten_answer(&memory)?;
            }
            Vmm::new(memory, socket, None, mutant)?
        }
        Some(Order::Restore(saved)) => Vmm::new(memory, socket, Some(&saved), mutant)?,
        order => bail!("the first order is {order:?}"),
    };
    loop {
        let (backend_ended, ordered) = vmm.wait(&input)?;
        if backend_ended {
            vmm.connection = None;
            let base = vmm.take_over()?;
            vmm.connect(base)?;
        }
        if vmm.vm.vcpu(0).has_ended()? {
            let totals = vmm.finish()?;
            return send(&mut output, &Reply::Done(totals));
        }
        if !ordered {
            continue;
        }
        match receive(&mut input)? {
            Some(Order::Hold) => {
                let call = LineSet::range(layout::CALL_LINE..layout::CALL_LINE + 1);
                vmm.context.mask_lines_for(&call, MaskReasons::PAUSE)?;
                ensure!(!vmm.vm.vcpu(0).pause()?, "the guest has ended");
                vmm.held = true;
                send(&mut output, &Reply::Held)?;
            }
            Some(Order::Save) => {
                vmm.pause()?;
                let reply = match !vmm.held && vmm.vm.vcpu(0).pause()? {
                    true => {
                        vmm.go_on()?;
                        Reply::Done(vmm.finish()?)
                    }
                    false => Reply::Saved(Box::new(vmm.save()?)),
                };
                send(&mut output, &reply)?;
                // A backend ends with its connection. The run may be about to kill it, so the connection stays
                // until then.
                return receive::<Order>(&mut input).map(drop);
            }
            Some(Order::Inspect) => {
                let inspection = match vmm.vm.vcpu(0).pause()? {
                    true => return send(&mut output, &Reply::Done(vmm.finish()?)),
                    false => vmm.inspect()?,
                };
                vmm.vm.vcpu(0).go_on()?;
                send(&mut output, &Reply::Inspected(inspection, vmm.totals()?))?;
            }
            // The run has ended.
            None => return Ok(()),
            order => bail!("the order {order:?} to a VMM that runs"),
        }
    }
}
