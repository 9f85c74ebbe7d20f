// SPDX-License-Identifier: GPL-2.0-only

//! The run: starts backends and VMMs, kills and migrates them, and counts.

use super::{
    driver::{Masking, Phase, Word, WORDS},
    layout::CALL_LINE,
    ledger::{self, Entry, Ledger, Stage, ENTRIES},
    mutant::Mutant,
    plan::{events, Action, Event, Moment},
    process::{Backend, Crash, Socket, Vmm},
    protocol::{Inspection, Order, Reply, Saved, Totals},
    report::Report,
    vmm::map,
};
use anyhow::{bail, Result};
use doorbell::{uapi, SavedLine};
use kvm_rtt::Vm;
use rustix::fs::{memfd_create, MemfdFlags};
use std::{
    ffi::OsString,
    fs::File,
    hint,
    os::fd::AsRawFd,
    path::Path,
    process, thread,
    time::{Duration, Instant},
};
use vm_memory::GuestMemoryMmap;

/// The interval of looking at the guest's words.
const LOOK: Duration = Duration::from_micros(100);
/// The time without progress after which the run inspects the VM. A run is not stopped for time alone.
const QUIET: Duration = Duration::from_secs(1);
/// The number of times in a row that nothing may be on its way. The first could be between two places.
const SILENT: u32 = 3;

/// The number of times in a row that the same messages may be on their way without any progress.
const STRANDED: u32 = 10;
/// The size of the largest batch, unless the guest posts single requests.
const BATCH: u64 = 8;

/// The size of a run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Options {
    pub(crate) requests: u64,
    pub(crate) kills: u64,
    pub(crate) migrations: u64,
    /// Post one request at a time.
    pub(crate) single: bool,
    pub(crate) seed: u64,
    pub(crate) mutant: Option<Mutant>,
}

/// A file in memory, which other processes open by its path.
fn shared(name: &str, size: u64) -> Result<(File, OsString)> {
    let file = File::from(memfd_create(name, MemfdFlags::CLOEXEC)?);
    file.set_len(size)?;
    let path = format!("/proc/{}/fd/{}", process::id(), file.as_raw_fd());
    Ok((file, path.into()))
}

/// The end of the wait for an event.
enum End {
    /// The awaited event.
    Happened,
    /// The VMM has replied.
    Replied(Reply),
    /// A message was lost: the guest waits, and nothing is on its way to it or to the backend, or what is on
    /// its way does not arrive.
    Silent,
}

/// The progress of the guest and of the backend.
type Progress = ([u64; WORDS], [u64; ENTRIES]);

struct Run<'a> {
    options: Options,
    socket: Socket,
    /// The files, which live as long as the run.
    _files: [File; 2],
    memory_path: OsString,
    ledger_path: OsString,
    memory: GuestMemoryMmap,
    /// A VM without vCPUs. While it exists, KVM does not switch virtualisation off and on at each migration.
    _vm: Vm,
    ledger: Ledger,
    backend: Option<Backend>,
    vmm: Option<Vmm>,
    totals: Totals,
    report: Report,
    last: (Progress, Instant),
    silent: u32,
    /// The messages on their way at the last inspections, and the number of those that were the same.
    stranded: (Inspection, u32),
    tell: &'a mut dyn FnMut(&Report),
}

/// Waits for so many microseconds, without sleep.
fn spin(micros: u32) {
    let start = Instant::now();
    while start.elapsed() < Duration::from_micros(micros.into()) {
        hint::spin_loop();
    }
}

impl Run<'_> {
    fn progress(&self) -> Result<Progress> {
        let mut words = [0; WORDS];
        for (word, value) in Word::ALL.into_iter().zip(&mut words) {
            *value = word.get(&self.memory)?;
        }
        let entries = Entry::ALL.map(|entry| self.ledger.get(entry));
        Ok((words, entries))
    }

    fn backend(&mut self) -> &mut Backend {
        self.backend.as_mut().expect("a backend runs")
    }

    fn vmm(&mut self) -> &mut Vmm {
        self.vmm.as_mut().expect("a VMM runs")
    }

    fn start_backend(&mut self) -> Result<()> {
        self.backend = Some(Backend::start(&self.socket, &self.ledger_path)?);
        Ok(())
    }

    fn start_vmm(&mut self, first: &Order) -> Result<()> {
        self.vmm = Some(Vmm::start(
            &self.socket,
            &self.memory_path,
            self.options.mutant,
            first,
        )?);
        Ok(())
    }

    fn seen(&self) -> Result<u64> {
        Word::Seen.get(&self.memory)
    }

    /// Waits until `happened`, or until the VMM replies.
    fn wait(&mut self, happened: impl Fn(&Self) -> Result<bool>) -> Result<End> {
        self.last = (self.progress()?, Instant::now());
        self.silent = 0;
        self.stranded = Default::default();
        let mut asked = false;
        loop {
            if happened(self)? {
                return Ok(End::Happened);
            }
            match self.vmm().reply()? {
                Some(Reply::Inspected(inspection, totals)) => {
                    asked = false;
                    self.totals = totals;
                    let polls = self.phase()? == Some(Phase::Polls);
                    let still = self.backend().sleeps()? && self.progress()? == self.last.0;
                    self.silent = match still && inspection.is_silent(polls) {
                        true => self.silent + 1,
                        false => 0,
                    };
                    self.stranded = match still && inspection == self.stranded.0 {
                        true => (inspection, self.stranded.1 + 1),
                        false => (inspection, 0),
                    };
                    if self.silent == SILENT || self.stranded.1 == STRANDED {
                        self.report.place = Some(inspection.to_string());
                        return Ok(End::Silent);
                    }
                    self.last.1 = Instant::now();
                }
                Some(reply) => return Ok(End::Replied(reply)),
                None => {}
            }
            if self.backend().has_ended()? {
                // Its VMM has ended the connection, and is about to reply.
                loop {
                    match self.vmm().last_reply()? {
                        // The reply to an order from before.
                        Reply::Inspected(..) => {}
                        reply => return Ok(End::Replied(reply)),
                    }
                }
            }
            let progress = self.progress()?;
            if progress != self.last.0 {
                self.last = (progress, Instant::now());
                self.silent = 0;
            } else if !asked && self.last.1.elapsed() > QUIET && self.phase()?.is_some() {
                self.vmm().order(&Order::Inspect)?;
                asked = true;
            }
            self.report.requests = self.seen()?;
            (self.tell)(&self.report);
            thread::sleep(LOOK);
        }
    }

    /// Returns the phase if the guest waits for a message in it.
    fn phase(&self) -> Result<Option<Phase>> {
        let phase = Word::Phase.get(&self.memory)?;
        Ok([Phase::Waits, Phase::Polls]
            .into_iter()
            .find(|&waiting| waiting as u64 == phase))
    }

    /// Makes the event happen. Returns false if a message was lost.
    fn event(&mut self, event: Event) -> Result<bool> {
        let (Action::Kill(moment) | Action::Migrate { when: moment, .. }) = event.action;
        // Before the guest may post that request.
        let masking = match moment {
            Moment::At(stage) => {
                self.ledger.stop_at(event.request, stage);
                Masking::Random
            }
            Moment::Pending { masked } => {
                self.ledger.stop_at(event.request, Stage::Taken);
                match masked {
                    true => Masking::Always,
                    false => Masking::Never,
                }
            }
            Moment::After(_) | Moment::Masked => Masking::Random,
        };
        Word::Masking.set(&self.memory, masking as u64)?;
        Word::Limit.set(&self.memory, event.limit)?;
        let reached = self.wait(|run| match moment {
            Moment::At(_) | Moment::Pending { .. } => Ok(run.ledger.get(Entry::Stopped) == 1),
            Moment::After(_) => Ok(run.seen()? >= event.request),
            // The guest may have masked the vector for the last time.
            Moment::Masked => Ok(run.seen()? >= event.request
                && (run.phase()? == Some(Phase::Polls) || run.seen()? == event.limit)),
        })?;
        match reached {
            End::Happened => {}
            End::Silent => return Ok(false),
            End::Replied(reply) => bail!("the VMM has replied too early: {reply:?}"),
        }
        if let Moment::After(micros) = moment {
            spin(micros);
        }
        match event.action {
            Action::Kill(_) => {
                self.kill()?;
                Ok(true)
            }
            Action::Migrate { kill, when } => {
                let pending = matches!(when, Moment::Pending { .. });
                if pending {
                    self.hold()?;
                }
                let carried = self.migrate(kill)?;
                self.report.uncarried += u64::from(pending && !carried);
                Ok(true)
            }
        }
    }

    /// Makes a message pending: pauses the guest and its line while the backend has stopped, and then lets the
    /// backend answer.
    fn hold(&mut self) -> Result<()> {
        self.vmm().order(&Order::Hold)?;
        loop {
            match self.reply()? {
                Reply::Held => break,
                // The reply to an order from before.
                Reply::Inspected(..) => {}
                reply => bail!("the VMM does not hold the guest: {reply:?}"),
            }
        }
        let signals = self.ledger.get(Entry::SignalsSent);
        self.ledger.stop_nowhere();
        while self.ledger.get(Entry::SignalsSent) == signals {
            if self.backend().has_ended()? {
                bail!("the backend has ended before its answer");
            }
            thread::sleep(LOOK);
        }
        Ok(())
    }

    /// Waits for a reply of the VMM. A process that fails meanwhile ends the wait.
    fn reply(&mut self) -> Result<Reply> {
        loop {
            if let Some(reply) = self.vmm().reply()? {
                return Ok(reply);
            }
            // A backend whose VMM has gone ends, without an error.
            self.backend().has_ended()?;
            thread::sleep(LOOK);
        }
    }

    /// Kills the backend, and starts another one.
    fn kill(&mut self) -> Result<()> {
        // A backend that has lost its VMM ends by itself.
        let killed = self.backend.take().expect("a backend runs").kill()?;
        self.report.kills += u64::from(killed);
        // The next backend must not stop there, too.
        self.ledger.stop_nowhere();
        self.start_backend()
    }

    /// Makes the VMM save and exit, and starts another VMM with its state and another backend. Returns true if a
    /// message for the guest was pending.
    fn migrate(&mut self, kill: Option<u32>) -> Result<bool> {
        self.vmm().order(&Order::Save)?;
        if let Some(micros) = kill {
            spin(micros);
            self.kill()?;
        }
        let saved = loop {
            match self.reply()? {
                Reply::Saved(saved) => break saved,
                // The reply to an order from before.
                Reply::Inspected(..) => {}
                reply => bail!("the VMM has not saved: {reply:?}"),
            }
        };
        self.vmm.take().expect("a VMM runs").wait()?;
        let backend = self.backend.take().expect("a backend runs");
        match kill {
            // The new backend may be connected, or not.
            Some(_) => drop(backend.kill()?),
            None => backend.wait()?,
        }
        let carried = self.count(&saved);
        self.start_backend()?;
        self.start_vmm(&Order::Restore(saved))?;
        self.report.migrations += 1;
        Ok(carried)
    }

    /// Counts the migrations with pending messages. Returns true if one of them is for the guest.
    fn count(&mut self, saved: &Saved) -> bool {
        let lines = saved.lines.lines();
        let is_pending = |line: &SavedLine| line.state & uapi::LINE_PENDING != 0;
        self.report.carried += u64::from(lines.iter().any(is_pending));
        lines.get(CALL_LINE as usize).is_some_and(is_pending)
    }

    /// Runs until the guest has ended, or a message was lost.
    fn run(&mut self) -> Result<()> {
        self.start_backend()?;
        self.start_vmm(&Order::Boot)?;
        let plan = events(
            self.options.requests,
            self.options.kills,
            self.options.migrations,
            self.options.seed,
        )?;
        for event in plan {
            if !self.event(event)? {
                return Ok(());
            }
        }
        Word::Masking.set(&self.memory, Masking::Random as u64)?;
        Word::Limit.set(&self.memory, self.options.requests)?;
        match self.wait(|_| Ok(false))? {
            End::Replied(Reply::Done(totals)) => {
                self.totals = totals;
                self.report.ended = true;
                self.vmm.take().expect("a VMM runs").wait()?;
                self.backend.take().expect("a backend runs").wait()
            }
            End::Silent => Ok(()),
            End::Replied(reply) => bail!("the VMM has replied {reply:?}"),
            End::Happened => bail!("the wait had no end"),
        }
    }
}

/// Makes a run, and calls `tell` with the counters so far again and again.
pub(crate) fn run(options: Options, tell: &mut dyn FnMut(&Report)) -> Result<Report> {
    let (memory_file, memory_path) = shared("guest", kvm_rtt::layout::MEMORY)?;
    let (ledger_file, ledger_path) = shared("ledger", ledger::SIZE as u64)?;
    let memory = map(Path::new(&memory_path))?;
    let batch = match options.single {
        true => 1,
        false => BATCH,
    };
    super::driver::prepare(&memory, options.requests, batch, options.seed)?;
    let mut run = Run {
        options,
        socket: Socket::new()?,
        ledger: Ledger::map(ledger_file.try_clone()?)?,
        _files: [memory_file, ledger_file],
        memory_path,
        ledger_path,
        _vm: Vm::with_memory(memory.clone())?,
        memory,
        backend: None,
        vmm: None,
        totals: Totals::default(),
        report: Report::new(&options),
        last: (([0; WORDS], [0; ENTRIES]), Instant::now()),
        silent: 0,
        stranded: Default::default(),
        tell,
    };
    if let Err(error) = run.run() {
        match error.downcast::<Crash>() {
            Ok(crash) => run.report.place = Some(crash.to_string()),
            Err(error) => return Err(error),
        }
    }
    let mut report = run.report.clone();
    report.fill(&run.memory, &run.ledger, &run.totals)?;
    Ok(report)
}
