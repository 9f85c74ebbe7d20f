// SPDX-License-Identifier: GPL-2.0-only

//! The subcommand `vhost`, and the two of the processes that it starts.

use super::{
    backend,
    mutant::Mutant,
    report::{Judged, Report},
    run::{run, Options},
    vmm,
};
use anyhow::Result;
use std::{
    io::{self, IsTerminal, Write},
    path::PathBuf,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

/// The interval of the lines that report the progress.
const TELL: Duration = Duration::from_secs(2);

/// Kill and migrate a vhost-user device whose queue has an MSI-X vector
///
/// A guest drives a virtqueue of an echo device, which is a vhost-user
/// backend in a process of its own. The kicks and the interrupts of the queue
/// go through lines. The guest masks its MSI-X vector now and then, polls the
/// pending bit, and unmasks the vector.
///
/// Meanwhile backends are killed: at a random time, after they have taken a
/// request, after they have executed it, or before they signal the answer.
/// Another backend goes on from the used index. And the VMM saves its state
/// and exits, so that another process goes on with the guest.
///
/// At the end the counters of the guest, of the backends and of the lines
/// must agree. With --single and without kills, the guest must have exactly
/// one interrupt for each delivery. Otherwise several deliveries can be one
/// interrupt, as the APIC keeps one of each vector.
///
/// Rows of the table:
///   requests       Requests of the guest, and those that a backend executed
///     taken again  Requests that a backend took, which another had executed
///   kicks          Writes of the guest, and rings of the line of the kicks
///     by the VMM   Rings by the VMM after it has connected to a backend
///   calls          Signals of the backends, and rings of the other line
///     by the VMM   Rings by the VMM after a backend was killed
///   interrupts     Interrupts of the guest, and deliveries of that line
///     without ...  Interrupts that found no new answer
///     of the ...   Interrupts while the guest had masked its vector
///   masks          Masks of the vector by the guest
///
/// Exit status: 0 if nothing was lost or invented; 1 if a message was, or if
/// it stays in one place, or if a process crashed; 2 after an error.
///
/// Examples:
///   msix-vmm vhost --requests 20000 --kills 50 --migrations 100
///   msix-vmm vhost --single --kills 0 --migrations 20
///   msix-vmm vhost --seed 1 --json | jq '{passed, lost, carried}'
///   msix-vmm vhost --mutant no-resignal; echo $?
#[derive(Clone, Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Vhost {
    /// Make REQUESTS requests
    #[arg(long, value_name = "REQUESTS", default_value_t = 4000)]
    requests: u64,
    /// Kill the backend KILLS times
    #[arg(long, value_name = "KILLS", default_value_t = 20)]
    kills: u64,
    /// Migrate the VMM MIGRATIONS times
    #[arg(long, value_name = "MIGRATIONS", default_value_t = 10)]
    migrations: u64,
    /// Post one request at a time, so that no two interrupts coalesce
    #[arg(long)]
    single: bool,
    /// Choose the moments by SEED; any, if not given
    #[arg(long, value_name = "SEED")]
    seed: Option<u64>,
    /// Break the VMM: the exit status must be 1
    #[arg(long, value_name = "DEFECT")]
    mutant: Option<Mutant>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Vhost {
    /// Makes the run, and prints its report. Returns true if nothing was lost or invented.
    ///
    /// # Errors
    ///
    /// There is no KVM or no doorbell, there are too few requests, or a process has failed.
    pub fn run(&self) -> Result<bool> {
        let options = Options {
            requests: self.requests,
            kills: self.kills,
            migrations: self.migrations,
            single: self.single,
            seed: self.seed.unwrap_or_else(any_seed),
            mutant: self.mutant,
        };
        let mut told = Instant::now();
        let mut tell = |report: &Report| {
            if told.elapsed() >= TELL && io::stderr().is_terminal() {
                told = Instant::now();
                // The report says what the messages would.
                let _ = writeln!(
                    io::stderr(),
                    "{} of {} requests, {} kills, {} migrations",
                    report.requests,
                    report.asked,
                    report.kills,
                    report.migrations
                );
            }
        };
        let report = run(options, &mut tell)?;
        let mut out = io::stdout().lock();
        match self.json {
            true => writeln!(out, "{}", serde_json::to_string(&Judged::from(&report))?)?,
            false => writeln!(out, "{report}")?,
        }
        Ok(report.passed())
    }
}

/// Returns a number that differs from run to run, and that is short enough to be typed.
fn any_seed() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.unwrap_or_default().as_micros() as u64 % 1_000_000_000
}

/// Serve one frontend at the socket that is the standard input
#[derive(Clone, Debug, clap::Args)]
pub struct Backend {
    /// Keep the ledger in FILE
    #[arg(value_name = "FILE")]
    ledger: PathBuf,
}

impl Backend {
    /// Serves a frontend until it ends.
    ///
    /// # Errors
    ///
    /// The ledger or the socket cannot be used, or the frontend sends a request that the backend does not have.
    pub fn run(&self) -> Result<()> {
        backend::run(&self.ledger)
    }
}

/// Run the guest, and take orders at the standard input
#[derive(Clone, Debug, clap::Args)]
pub struct Vmm {
    /// Use FILE as the guest's memory
    #[arg(value_name = "FILE")]
    memory: PathBuf,
    /// Connect to the abstract socket NAME
    #[arg(value_name = "NAME")]
    socket: String,
    /// Have a defect
    #[arg(long, value_name = "DEFECT")]
    mutant: Option<Mutant>,
}

impl Vmm {
    /// Runs the guest until it has ended, or until it is saved.
    ///
    /// # Errors
    ///
    /// There is no KVM or no doorbell, or the backend fails.
    pub fn run(&self) -> Result<()> {
        vmm::run(&self.memory, &self.socket, self.mutant)
    }
}
