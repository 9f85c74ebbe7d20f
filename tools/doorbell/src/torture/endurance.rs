// SPDX-License-Identifier: GPL-2.0-only

//! Many runs of the stress test, with reloads of the module and CPU hotplug, and a comparison of
//! the kernel's memory before and after.
//!
//! Each round is a process of its own, so that a round leaves nothing in this one. After the first
//! round the memory is the reference: caches have reached their size.

use super::{memory::Memory, Clock};
use crate::{rtt::Progress, stop::Stop, sys};
use anyhow::{bail, Context as _};
use doorbell::{Context, EventFd, Notify, RingOutcome};
use rustix::{
    io::Errno,
    process::{pidfd_open, pidfd_send_signal, Pid, PidfdFlags, Signal},
};
use std::{
    fs,
    io::ErrorKind,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    time::{Duration, Instant},
};

/// The parameters of an endurance run.
#[derive(Clone, Debug)]
pub struct EnduranceOptions {
    /// The program that runs a round.
    pub program: PathBuf,
    /// Its arguments, without the number of rings and the seed.
    pub arguments: Vec<String>,
    /// The device.
    pub device: PathBuf,
    /// The number of rings that ends the run.
    pub rings: Option<u64>,
    /// The duration that ends the run, if `rings` is not set. The last round is completed.
    pub duration: Duration,
    /// The module's file, and the number of reloads after each round.
    pub reload: Option<(PathBuf, u64)>,
    /// Take the second CPU offline and online during the rounds.
    pub hotplug: bool,
    /// The seed of the first round. The next rounds have the next numbers.
    pub seed: u64,
    /// A request to end early: during the stress of a round, or between two reloads. A CPU that is
    /// offline comes back.
    pub stop: Stop,
}

/// The maximum number of rings of a round.
const ROUND: u64 = 1_000_000;

/// The number of contexts, irqfds, triggers and notifiers that come and go after each round.
/// A leak of each is [`CHURN`] objects in every round after the first, which is more than
/// the growth that is none.
const CHURN: u64 = 200;

/// The minimum number of rounds: the first one is the reference.
const MIN_ROUNDS: u64 = 5;

/// The maximum time that the module may stay in use after the last context was closed.
const UNLOAD_TIMEOUT: Duration = Duration::from_secs(30);

/// The second CPU.
const CPU: &str = "/sys/devices/system/cpu/cpu1/online";

/// A part of the kernel's memory that has changed.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Change {
    /// A slab cache, or a field of /proc/meminfo.
    pub name: String,
    /// Objects, or kB, after the first round.
    pub before: u64,
    /// Objects, or kB, at the end.
    pub after: u64,
    /// True if it has grown by more than such memory does without a leak.
    pub leaked: bool,
}

/// The result of an endurance run.
#[derive(Clone, Debug, Default, serde::Serialize)]
pub struct EnduranceReport {
    /// All rings.
    pub rings: u64,
    /// The number of rounds.
    pub rounds: u64,
    /// The number of assignments.
    pub assigns: u64,
    /// The number of times that the module was unloaded and loaded.
    pub reloads: u64,
    /// The number of times that a CPU went offline and came back.
    pub hotplugs: u64,
    /// The number of calls in which an allocation was made to fail.
    pub faults: u64,
    /// The duration.
    pub seconds: f64,
    /// The reports of kmemleak. None: the kernel has no kmemleak.
    pub kmemleak: Option<String>,
    /// The memory that has changed, in the order of names.
    pub memory: Vec<Change>,
    /// The first failure, with the seed that repeats it.
    pub failure: Option<String>,
    /// True if the run was ended early. The memory was not compared then.
    pub interrupted: bool,
}

impl EnduranceReport {
    /// Returns true if all rounds passed and no memory leaked.
    pub fn passed(&self) -> bool {
        self.failure.is_none()
            && !self.interrupted
            && !self.memory.iter().any(|change| change.leaked)
            && self.kmemleak.as_ref().is_none_or(String::is_empty)
    }
}

/// Runs the rounds, and compares the memory.
///
/// # Errors
///
/// If the memory cannot be read, or if the module cannot be loaded. A round that fails is in the
/// report.
pub fn endure(
    options: &EnduranceOptions,
    progress: Progress<'_>,
) -> anyhow::Result<EnduranceReport> {
    let start = Instant::now();
    let round = match options.rings {
        Some(rings) => (rings / MIN_ROUNDS).clamp(1, ROUND),
        None => ROUND,
    };
    let mut report = EnduranceReport::default();
    let mut reference = None;
    if options.hotplug && !Path::new(CPU).exists() {
        bail!("{CPU} does not exist: no CPU can go offline here; leave out --hotplug");
    }
    loop {
        let (done, of) = match options.rings {
            Some(rings) => (report.rings, rings),
            None => (
                start.elapsed().as_millis() as u64,
                options.duration.as_millis() as u64,
            ),
        };
        let seconds = start.elapsed().as_secs_f64();
        progress(
            &format!(
                "{seconds:.0} s, round {}, {} rings, {:.0} rings/s, {} reloads",
                report.rounds + 1,
                report.rings,
                report.rings as f64 / seconds,
                report.reloads
            ),
            done.min(of),
            of,
        );
        if report.rounds >= MIN_ROUNDS && done >= of {
            break;
        }
        if let Err(error) = run_round(options, round, &mut report) {
            report.failure = Some(format!("round {}: {error:#}", report.rounds + 1));
            break;
        }
        if !options.stop.is_requested() {
            report.rounds += 1;
            if reference.is_none() {
                reference = Some(Memory::reference()?);
            }
        }
        if options.stop.is_requested() {
            report.interrupted = true;
            report.seconds = start.elapsed().as_secs_f64();
            return Ok(report);
        }
    }
    if let (Some(reference), None) = (reference, &report.failure) {
        let last = Memory::settled(&reference)?;
        report.memory = last.changes(&reference);
    }
    match kmemleak() {
        // The failure says more.
        Err(_) if report.failure.is_some() => {}
        result => report.kmemleak = result?,
    }
    report.seconds = start.elapsed().as_secs_f64();
    Ok(report)
}

/// Runs the stress test in a process, then reloads the module. Returns earlier if a stop is requested.
fn run_round(
    options: &EnduranceOptions,
    rings: u64,
    report: &mut EnduranceReport,
) -> anyhow::Result<()> {
    let seed = options.seed.wrapping_add(report.rounds);
    let (ended, trips) = (AtomicBool::new(false), AtomicU64::new(0));
    let mut command = Command::new(&options.program);
    command
        .args(&options.arguments)
        .args(["--json", "--rings", &rings.to_string()])
        .args(["--seed", &seed.to_string()])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    sys::end_with_us(&mut command);
    let process = command.spawn()?;
    let pid = Pid::from_child(&process);
    let handle = pidfd_open(pid, PidfdFlags::empty())?;
    let output = std::thread::scope(|scope| {
        scope.spawn(|| kill_on_stop(&handle, &ended, &options.stop));
        let hotplug = options
            .hotplug
            .then(|| scope.spawn(|| hotplug(&ended, &options.stop, &trips)));
        let output = process.wait_with_output();
        ended.store(true, Relaxed);
        let hotplug = hotplug.map(|thread| thread.join().expect("it does not panic"));
        hotplug.transpose()?;
        anyhow::Ok(output?)
    })?;
    report.hotplugs += trips.into_inner();
    if options.stop.is_requested() && output.status.code().is_none() {
        return Ok(());
    }
    if !output.status.success() {
        let text = String::from_utf8_lossy(&output.stderr);
        bail!("--seed {seed}: {}: {text}", output.status);
    }
    let result: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    let number = |key: &str| {
        let number = result[key].as_u64();
        number.with_context(|| format!("the round's output has no number {key:?}"))
    };
    report.rings += number("rings")?;
    report.assigns += number("assigns")?;
    report.faults += number("faults")?;
    for _ in 0..CHURN {
        use_device(&options.device).context("contexts that come and go")?;
    }
    assign_and_deassign(&options.device).context("assignments that come and go")?;
    let Some((file, times)) = &options.reload else {
        return Ok(());
    };
    let image = fs::read(file).with_context(|| file.display().to_string())?;
    for _ in 0..*times {
        if options.stop.is_requested() {
            break;
        }
        reload(&image).context("reload")?;
        use_device(&options.device).context("after a reload")?;
        report.reloads += 1;
    }
    Ok(())
}

/// Kills the process of a round if a stop is requested before the round has `ended`. The process
/// has the signals that request a stop blocked, as this one has.
fn kill_on_stop(process: &OwnedFd, ended: &AtomicBool, stop: &Stop) {
    while !ended.load(Relaxed) {
        if stop.is_requested() {
            // If it fails, the process has ended.
            let _ = pidfd_send_signal(process, Signal::KILL);
            return;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Takes a CPU offline and brings it back until the round has `ended`, or a stop is requested.
fn hotplug(ended: &AtomicBool, stop: &Stop, trips: &AtomicU64) -> anyhow::Result<()> {
    let set = |online: &str| fs::write(CPU, online).with_context(|| format!("{CPU}: {online}"));
    while !ended.load(Relaxed) && !stop.is_requested() {
        std::thread::sleep(Duration::from_millis(100));
        set("0")?;
        std::thread::sleep(Duration::from_millis(20));
        set("1")?;
        trips.fetch_add(1, Relaxed);
    }
    Ok(())
}

/// Unloads the module and loads it.
fn reload(image: &[u8]) -> anyhow::Result<()> {
    let clock = Clock::new();
    // The last references of closed contexts go some time after the close.
    loop {
        match sys::delete_module(c"doorbell") {
            Err(Errno::WOULDBLOCK) if clock.now() < UNLOAD_TIMEOUT => {
                std::thread::sleep(Duration::from_millis(1));
            }
            result => break result.context("unload")?,
        }
    }
    sys::init_module(image).context("load")
}

/// Rings a line in all ways, and closes the context with a message in flight.
fn use_device(device: &Path) -> anyhow::Result<()> {
    let context = Context::open_path(device)?;
    context.set_lines(2)?;
    let (input, output) = (EventFd::non_blocking(false)?, EventFd::non_blocking(false)?);
    context.assign_trigger(&output, 1)?;
    context.assign_irqfd(&input, 1)?;
    let outcome = context.ring(1)?;
    if outcome != RingOutcome::Delivered || output.take()? != 1 {
        bail!("a ring returned {outcome:?}, and was not delivered once");
    }
    input.write(1)?;
    Ok(())
}

/// Assigns an irqfd, a trigger and a notifier [`CHURN`] times, and deassigns them.
fn assign_and_deassign(device: &Path) -> anyhow::Result<()> {
    let context = Context::open_path(device)?;
    context.set_lines(1)?;
    for _ in 0..CHURN {
        let eventfds = [(); 3].map(|()| EventFd::non_blocking(false));
        let [irqfd, trigger, notifier] = eventfds;
        let (irqfd, trigger, notifier) = (irqfd?, trigger?, notifier?);
        context.assign_irqfd(&irqfd, 0)?;
        context.assign_trigger(&trigger, 0)?;
        context.assign_notifier(&notifier, 0, Notify::MASK)?;
        context.deassign_notifier(&notifier, 0)?;
        context.deassign_trigger(&trigger, 0)?;
        context.deassign_irqfd(&irqfd, 0)?;
    }
    Ok(())
}

/// Scans with kmemleak, if the kernel has it and it is on, and returns its reports.
fn kmemleak() -> anyhow::Result<Option<String>> {
    const FILE: &str = "/sys/kernel/debug/kmemleak";
    match fs::write(FILE, "scan=off") {
        // EPERM: it is off.
        Err(error)
            if matches!(
                error.kind(),
                ErrorKind::NotFound | ErrorKind::PermissionDenied
            ) =>
        {
            return Ok(None);
        }
        result => result.context(FILE)?,
    }
    // It reports nothing that is younger than 5 s, and two scans have missed leaks that four found.
    std::thread::sleep(Duration::from_secs(6));
    for _ in 0..4 {
        fs::write(FILE, "scan")?;
    }
    Ok(Some(fs::read_to_string(FILE)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(leaked: bool) -> Change {
        Change {
            name: "kmalloc-64".into(),
            before: 1,
            after: 2,
            leaked,
        }
    }

    #[test]
    fn leak_or_failure_is_the_verdict() {
        let mut report = EnduranceReport::default();
        assert!(report.passed());
        report.memory.push(change(false));
        report.kmemleak = Some(String::new());
        assert!(report.passed());
        report.memory.push(change(true));
        assert!(!report.passed());
        report.memory.pop();
        report.kmemleak = Some("unreferenced object".into());
        assert!(!report.passed());
        report.kmemleak = None;
        report.failure = Some("round 1".into());
        assert!(!report.passed());
        report.failure = None;
        report.interrupted = true;
        assert!(!report.passed());
    }

    /// Returns options of a run whose rounds are `script`.
    fn options(script: &str) -> EnduranceOptions {
        EnduranceOptions {
            program: "/bin/sh".into(),
            arguments: vec!["-c".into(), script.into()],
            device: "/nonexistent".into(),
            rings: Some(10),
            duration: Duration::ZERO,
            reload: None,
            hotplug: false,
            seed: 7,
            stop: Stop::default(),
        }
    }

    #[test]
    fn stop_ends_the_round_without_a_failure() {
        let options = options("exec sleep 1000");
        options.stop.request(libc::SIGINT);
        let report = endure(&options, &mut |_, _, _| {}).unwrap();
        assert!(report.failure.is_none() && report.interrupted);
        assert_eq!(report.rounds, 0);
    }

    #[test]
    fn process_that_a_signal_ends_is_a_failure() {
        let report = endure(&options("kill $$"), &mut |_, _, _| {}).unwrap();
        assert!(report.failure.is_some() && !report.interrupted);
    }

    #[test]
    fn program_that_fails_ends_the_run() {
        let options = options("echo trouble >&2; exit 3");
        let report = endure(&options, &mut |_, _, _| {}).unwrap();
        let failure = report.failure.unwrap();
        assert!(failure.contains("round 1: --seed 7"), "{failure}");
        assert!(failure.contains("trouble"), "{failure}");
    }
}
