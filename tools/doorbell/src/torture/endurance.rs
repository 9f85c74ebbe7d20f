// SPDX-License-Identifier: GPL-2.0-only

//! Many runs of the stress test, with reloads of the module and CPU hotplug, and a comparison of
//! the kernel's memory before and after.
//!
//! Each round is a process of its own, so that a round leaves nothing in this one. After the first
//! round the memory is the reference: caches have reached their size.

use super::{memory::Memory, Clock};
use crate::{rtt::Progress, sys};
use anyhow::{bail, Context as _};
use doorbell::{Context, EventFd, Notify, RingOutcome};
use rustix::io::Errno;
use std::{
    fs,
    io::ErrorKind,
    path::{Path, PathBuf},
    process::Command,
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
}

impl EnduranceReport {
    /// Returns true if all rounds passed and no memory leaked.
    pub fn passed(&self) -> bool {
        self.failure.is_none()
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
        report.rounds += 1;
        if reference.is_none() {
            reference = Some(Memory::reference()?);
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

/// Runs the stress test in a process, then reloads the module.
fn run_round(
    options: &EnduranceOptions,
    rings: u64,
    report: &mut EnduranceReport,
) -> anyhow::Result<()> {
    let seed = options.seed.wrapping_add(report.rounds);
    let (stop, trips) = (AtomicBool::new(false), AtomicU64::new(0));
    let output = std::thread::scope(|scope| {
        let hotplug = options
            .hotplug
            .then(|| scope.spawn(|| hotplug(&stop, &trips)));
        let output = Command::new(&options.program)
            .args(&options.arguments)
            .args(["--json", "--rings", &rings.to_string()])
            .args(["--seed", &seed.to_string()])
            .output();
        stop.store(true, Relaxed);
        let hotplug = hotplug.map(|thread| thread.join().expect("it does not panic"));
        hotplug.transpose()?;
        anyhow::Ok(output?)
    })?;
    report.hotplugs += trips.into_inner();
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
        reload(&image).context("reload")?;
        use_device(&options.device).context("after a reload")?;
        report.reloads += 1;
    }
    Ok(())
}

/// Takes a CPU offline and brings it back until `stop`.
fn hotplug(stop: &AtomicBool, trips: &AtomicU64) -> anyhow::Result<()> {
    let set = |online: &str| fs::write(CPU, online).with_context(|| format!("{CPU}: {online}"));
    while !stop.load(Relaxed) {
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
    }

    #[test]
    fn program_that_fails_ends_the_run() {
        let options = EnduranceOptions {
            program: "/bin/sh".into(),
            arguments: vec!["-c".into(), "echo trouble >&2; exit 3".into()],
            device: "/nonexistent".into(),
            rings: Some(10),
            duration: Duration::ZERO,
            reload: None,
            hotplug: false,
            seed: 7,
        };
        let report = endure(&options, &mut |_, _, _| {}).unwrap();
        let failure = report.failure.unwrap();
        assert!(failure.contains("round 1: --seed 7"), "{failure}");
        assert!(failure.contains("trouble"), "{failure}");
    }
}
