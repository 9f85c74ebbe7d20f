// SPDX-License-Identifier: GPL-2.0-only

//! Cost of a write to a doorbell for a guest of an unmodified QEMU: qemu-mmio and ioeventfd-mmio of
//! 2009.
//!
//! The guest writes to the doorbell register of `ivshmem-doorbell`, and times itself. With the
//! device's property `ioeventfd=off` each write exits to QEMU, which signals the eventfd. With
//! `ioeventfd=on` KVM signals it. In both cases the eventfd is a doorbell irqfd, and the count of
//! its line must equal the number of writes. The guest begins when QEMU has read its set-up, which
//! only the server knows.

use super::{
    interrupted, quantile,
    report::{compare, stolen, unsteady},
    Group, Progress, Report, Round, Row, Source,
};
use crate::{
    conditions::{Conditions, Steal},
    ivshmem::{
        guest::Job,
        memory,
        operator::{self, Setup},
        server::{Options as ServerOptions, Server},
        vm::{self, Qemu, Scratch, Vm},
        Client,
    },
    stop::Stop,
    sys,
};
use anyhow::{ensure, Context as _};
use doorbell::{Context, EventFd};
use hdrhistogram::Histogram;
use std::{
    os::fd::AsFd,
    path::PathBuf,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

/// Parameters of a run.
#[derive(Clone, Debug)]
pub struct Options {
    /// The QEMU to run.
    pub qemu: Qemu,
    /// Boots of each guest.
    pub boots: u32,
    /// Writes in a batch.
    pub writes: u32,
    /// Batches in a boot.
    pub batches: u32,
    /// Round trips in a boot.
    pub trips: u32,
    /// Path of the device.
    pub device: PathBuf,
    /// Ends the run early.
    pub stop: Stop,
}

/// Facts about a run, besides its rows.
#[derive(Clone, Debug)]
pub struct Facts {
    /// The version that QEMU prints.
    pub version: String,
    /// The accelerator that executed the guest.
    pub accelerator: String,
    /// Frequency of the guest's time stamp counter, in Hz.
    pub tsc_hz: f64,
    /// Writes in a batch.
    pub writes: u32,
    /// Writes or round trips of each row. As many rings arrived.
    pub counts: Vec<u64>,
}

/// The timeout of a guest's boot, and of a batch, on any machine.
const PATIENCE: Duration = Duration::from_secs(120);
/// The timeout of a round trip. After that its message was lost.
const LOST: Duration = Duration::from_secs(20);

/// A server's sockets and context, and a client that is the guest's peer.
struct Bench {
    scratch: Scratch,
    context: Arc<Context>,
    client: Client,
}

impl Bench {
    /// Returns the options of a server whose sockets are in `scratch`.
    fn server(scratch: &Scratch, device: &std::path::Path) -> ServerOptions {
        ServerOptions {
            socket: scratch.path("peers"),
            control: scratch.path("control"),
            vectors: 1,
            // For the client, the guest, and a guest that is about to leave.
            max_peers: 4,
            shm_size: 1 << 16,
            shm_place: memory::Place::Anonymous,
            patience: PATIENCE,
            device: device.to_owned(),
            keeper: None,
        }
    }

    /// Boots a guest, and waits until its set-up is complete; returns its ID, too.
    fn boot(&mut self, qemu: &Qemu, ioeventfd: bool, job: Job) -> anyhow::Result<(Vm, u32)> {
        let end = Instant::now() + PATIENCE;
        let left = || end.saturating_duration_since(Instant::now());
        while self.client.peers().next().is_some() {
            ensure!(
                self.client.wait(left())?,
                "the QEMU of a guest that has ended is still connected"
            );
        }
        let socket = self.scratch.path("peers");
        let id = self.client.id();
        let mut vm = Vm::start(qemu, &self.scratch, &socket, ioeventfd, job, id)?;
        vm.wait_ready(left())?;
        let guest = loop {
            if let Some(id) = self.client.peers().next() {
                break id;
            }
            ensure!(self.client.wait(left())?, "QEMU does not connect");
        };
        loop {
            let snapshot = operator::query(&self.scratch.path("control"))?;
            let guest = snapshot.peers.iter().find(|peer| peer.id == guest);
            if guest.context("QEMU has left")?.setup == Setup::Complete {
                break;
            }
            ensure!(
                !left().is_zero(),
                "QEMU does not read the server's messages"
            );
            thread::sleep(Duration::from_millis(5));
        }
        // Consumes signals of an earlier guest.
        self.client.vector(0).take()?;
        Ok((vm, guest))
    }

    /// Returns the rings of vector 0 of peer `id`.
    fn rings(&self, id: u32) -> anyhow::Result<u64> {
        Ok(self.context.query(id)?.rings)
    }

    /// Measures writes; returns the ticks per write of each batch.
    fn write(&mut self, options: &Options, ioeventfd: bool) -> anyhow::Result<Vec<f64>> {
        let Options {
            writes, batches, ..
        } = *options;
        let job = Job::Write { writes, batches };
        let (mut vm, _) = self.boot(&options.qemu, ioeventfd, job)?;
        let before = self.rings(self.client.id())?;
        let (start, start_ticks) = (Instant::now(), ticks()?);
        vm.go()?;
        let mut times = vec![0; 8 * batches as usize];
        let mut complete = 0;
        for batch in times.chunks_exact_mut(8) {
            if options.stop.is_requested() {
                break;
            }
            vm.read(batch, PATIENCE)?;
            complete += 1;
        }
        times.truncate(8 * complete);
        let (elapsed, elapsed_ticks) = (start.elapsed(), ticks()? - start_ticks);
        let sent = u64::from(writes) * complete as u64;
        if complete == batches as usize {
            vm.wait_end(PATIENCE)?;
        }
        let arrived = self.rings(self.client.id())? - before;
        // If it was interrupted, the guest goes on to write until it is ended.
        ensure!(
            arrived == sent || arrived > sent && complete < batches as usize,
            "the guest wrote {sent} times, and {arrived} rings arrived"
        );
        if complete == 0 {
            return Ok(Vec::new());
        }
        let ticks: Vec<u64> = times
            .chunks_exact(8)
            .map(|bytes| u64::from_le_bytes(bytes.try_into().expect("eight")))
            .collect();
        // The batches cannot take longer than the time that we waited, unless the guest's counter
        // has another rate than ours.
        let sum: u64 = ticks.iter().sum();
        ensure!(
            sum <= elapsed_ticks && sum != 0,
            "the guest's time stamp counter is unusable: {sum} ticks in {elapsed:?}, in which the \
             host counted {elapsed_ticks}"
        );
        Ok(ticks
            .iter()
            .map(|&n| n as f64 / f64::from(writes))
            .collect())
    }

    /// Measures round trips; returns the ns of each.
    fn circle(&mut self, options: &Options, ioeventfd: bool) -> anyhow::Result<Vec<f64>> {
        let (mut vm, guest) = self.boot(&options.qemu, ioeventfd, Job::Answer)?;
        vm.go()?;
        vm.wait_answers(PATIENCE)?;
        let rings = |bench: &Self| -> anyhow::Result<[u64; 2]> {
            Ok([bench.rings(guest)?, bench.rings(bench.client.id())?])
        };
        let before = rings(self)?;
        let ring = self.client.peer(guest, 0).context("QEMU has left")?;
        let answer = self.client.vector(0);
        let mut times = Vec::new();
        for trip in 1..=options.trips {
            if options.stop.is_requested() {
                break;
            }
            let start = Instant::now();
            ring.write(1)?;
            ensure!(
                answer.wait(LOST)?,
                "no answer to interrupt {trip} of the guest"
            );
            let answers = answer.take()?;
            times.push(start.elapsed().as_nanos() as f64);
            ensure!(
                answers == 1,
                "{answers} answers to interrupt {trip} of the guest"
            );
        }
        let sent = times.len() as u64;
        for (before, now) in before.into_iter().zip(rings(self)?) {
            let arrived = now - before;
            ensure!(
                arrived == sent,
                "{sent} round trips, and {arrived} rings arrived"
            );
        }
        Ok(times)
    }
}

fn ticks() -> anyhow::Result<u64> {
    sys::time_stamp().context("this machine has no time stamp counter")
}

/// Returns the "group name" of each row.
pub fn selected() -> Vec<String> {
    ROWS.map(|(group, name, _)| format!("{} {name}", group.id()))
        .into()
}

/// Measures with guests of QEMU.
pub fn run(options: &Options, progress: Progress<'_>) -> anyhow::Result<Report> {
    let conditions = Conditions::now(&sys::cpus()?);
    let version = vm::version(&options.qemu.program)?;
    let scratch = Scratch::new("qemu").context("create a directory")?;
    let log = |important, text: std::fmt::Arguments<'_>| {
        if important {
            crate::note!("{text}");
        }
    };
    let socket = scratch.path("peers");
    let peers = operator::open(&socket)?;
    let server = Server::new(
        Bench::server(&scratch, &options.device),
        peers,
        Box::new(log),
    )?;
    let context = server.context();
    let stop = EventFd::new(0)?;
    thread::scope(|scope| {
        let running = scope.spawn(|| server.run(stop.as_fd()));
        let measure = || {
            let client = Client::connect(&socket, 1, PATIENCE)?;
            let mut bench = Bench {
                scratch,
                context,
                client,
            };
            rows(&mut bench, options, progress)
        };
        let result = measure();
        stop.write(1)?;
        running.join().expect("the server does not panic")?;
        let Measured {
            tsc_hz,
            mut rows,
            counts,
            boots,
        } = result?;
        compare(&mut rows);
        let mut notes = Vec::new();
        let partial = options.stop.is_requested();
        if partial {
            notes.push(interrupted(boots, options.boots));
            ensure!(!rows.is_empty(), "interrupted before the first guest");
        }
        notes.extend(unsteady(&rows));
        notes.extend(stolen(&rows));
        Ok(Report {
            left_out: None,
            notes,
            rows,
            rounds: boots,
            conditions,
            partial,
            source: Source::Qemu(Facts {
                version,
                accelerator: options.qemu.accelerator.clone(),
                tsc_hz,
                writes: options.writes,
                counts,
            }),
        })
    })
}

/// The rows: true if KVM signals the eventfd to which the guest writes, false if QEMU does.
const ROWS: [(Group, &str, bool); 4] = [
    (Group::QemuWrite, "qemu-mmio", false),
    (Group::QemuWrite, "ioeventfd-mmio", true),
    (Group::QemuCircle, "circle-qemu-mmio", false),
    (Group::QemuCircle, "circle-ioeventfd-mmio", true),
];

/// The result of all boots.
struct Measured {
    tsc_hz: f64,
    rows: Vec<Row>,
    /// Number of operations of each row.
    counts: Vec<u64>,
    /// Number of boots that were complete.
    boots: u32,
}

fn rows(bench: &mut Bench, options: &Options, progress: Progress<'_>) -> anyhow::Result<Measured> {
    // The samples of each boot. The CPUs of a guest of QEMU are not pinned.
    let mut samples: [Vec<Vec<f64>>; ROWS.len()] = Default::default();
    let mut stolen = [Duration::ZERO; ROWS.len()];
    let mut steal = Steal::new(&[]);
    let (start, start_ticks) = (Instant::now(), ticks()?);
    let all = u64::from(options.boots) * ROWS.len() as u64;
    let mut complete = 0;
    'boots: for boot in 0..options.boots {
        for (at, (group, _, ioeventfd)) in ROWS.into_iter().enumerate() {
            if options.stop.is_requested() {
                break 'boots;
            }
            let done = u64::from(boot) * ROWS.len() as u64 + at as u64;
            progress("guests of QEMU", done, all);
            samples[at].push(match group {
                Group::QemuWrite => bench.write(options, ioeventfd)?,
                _ => bench.circle(options, ioeventfd)?,
            });
            stolen[at] += steal.since();
        }
        complete += u32::from(!options.stop.is_requested());
    }
    let tsc_hz = (ticks()? - start_ticks) as f64 / start.elapsed().as_secs_f64();
    let mut rows = Vec::new();
    let mut counts = Vec::new();
    for (((group, name, _), boots), steal) in ROWS.into_iter().zip(samples).zip(stolen) {
        // Samples of writes are ticks, per batch; those of round trips are ns.
        let (unit, each) = match group {
            Group::QemuWrite => (1e9 / tsc_hz, u64::from(options.writes)),
            _ => (1.0, 1),
        };
        let mut histogram = Histogram::new_with_bounds(1, 60_000_000_000, 3)?;
        let mut rounds = Vec::new();
        let mut samples = Vec::new();
        for boot in boots {
            let mut ns: Vec<f64> = boot.into_iter().map(|sample| sample * unit).collect();
            ns.iter()
                .for_each(|&ns| histogram.saturating_record(ns as u64));
            rounds.extend(Round::new(&mut ns.clone(), &mut ns));
            samples.extend(ns);
        }
        if samples.is_empty() {
            continue;
        }
        counts.push(samples.len() as u64 * each);
        rows.push(Row {
            group,
            name,
            ns: quantile(&mut samples, 0.5),
            batches: samples.len(),
            quartiles: (quantile(&mut samples, 0.25), quantile(&mut samples, 0.75)),
            ratio: f64::NAN,
            histogram,
            directions: None,
            rounds,
            steal,
        });
    }
    Ok(Measured {
        tsc_hz,
        rows,
        counts,
        boots: complete,
    })
}
