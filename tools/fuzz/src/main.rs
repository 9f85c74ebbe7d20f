// SPDX-License-Identifier: GPL-2.0-only

//! A fuzzer of /dev/doorbell.
//!
//! A program is a sequence of typed calls over small pools of contexts, eventfds, mappings and buffers
//! ([`calls`], [`program`]). Children run batches of them ([`batch`]); KCOV says what is new ([`kcov`]), and
//! an oracle checks those of one thread ([`oracle`]). Failures are reduced ([`reduce`]), and printed as C
//! ([`c_program`]). See Documentation/fuzzing.rst.

mod arena;
mod batch;
mod blocks;
mod c_program;
mod calls;
mod coverage;
mod environment;
mod execute;
mod fuzz;
mod generate;
mod job;
mod kcov;
mod mutate;
mod oracle;
mod program;
mod reduce;
mod reports;
mod shared;
mod sys;
mod world;

use anyhow::Context;
use clap::{Args, Parser, Subcommand};
use program::Program;
use std::{
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

/// The module that is loaded in the lab's guests.
const MODULE: &str = "/build/module/doorbell.ko";

#[derive(Parser)]
#[command(version, about = "Fuzz /dev/doorbell", max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Fuzz, and write corpus and reports
    Fuzz(FuzzArgs),
    /// Run programs, and report what they cause
    Run {
        /// The programs
        #[arg(required = true)]
        files: Vec<PathBuf>,
        /// Run each TIMES times
        #[arg(long, default_value_t = 1, value_name = "TIMES")]
        times: usize,
        /// Search for leaked memory, too
        #[arg(long)]
        leaks: bool,
    },
    /// Print what the blocks that a run has reached are of each source file
    Coverage {
        /// The module, with its debug information
        #[arg(long, default_value = MODULE, value_name = "FILE")]
        module: PathBuf,
        /// The blocks, which "fuzz" has written
        #[arg(long, default_value = "out/fuzz/reached", value_name = "FILE")]
        reached: PathBuf,
        /// The functions that cannot be reached
        #[arg(long, default_value = "tools/fuzz/unreached.txt", value_name = "FILE")]
        explained: PathBuf,
    },
    /// Print a program in C
    C {
        /// The program
        file: PathBuf,
    },
}

#[derive(Args)]
struct FuzzArgs {
    /// End after so many seconds, but not before all programs of the corpus have run
    #[arg(long, default_value_t = 60.0, value_name = "SECONDS")]
    duration: f64,
    /// End after so many calls, but not before all programs of the corpus have run
    #[arg(long, default_value_t = u64::MAX, value_name = "COUNT", hide_default_value = true)]
    calls: u64,
    /// Seed of the random numbers, which does not reproduce a run
    #[arg(long)]
    seed: Option<u64>,
    /// Number of children at a time [default: number of CPUs]
    #[arg(long, value_name = "COUNT")]
    jobs: Option<usize>,
    /// Begin with the programs in DIRECTORY
    #[arg(long, value_name = "DIRECTORY")]
    corpus: Vec<PathBuf>,
    /// Write corpus, reached blocks and reports to DIRECTORY
    #[arg(long, default_value = "out/fuzz", value_name = "DIRECTORY")]
    out: PathBuf,
    /// Read the blocks of this module
    #[arg(long, default_value = MODULE, value_name = "FILE")]
    module: PathBuf,
    /// Do not check programs of one thread with the model
    #[arg(long)]
    no_oracle: bool,
    /// Do not reduce failures
    #[arg(long)]
    no_reduction: bool,
    /// Plant a mistake, for a test of the fuzzer
    #[arg(long, hide = true)]
    plant: Option<batch::Plant>,
}

fn read(path: &Path) -> anyhow::Result<Program> {
    let text = fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
    Program::parse(&text).with_context(|| format!("{}", path.display()))
}

fn run_files(files: &[PathBuf], times: usize, leaks: bool) -> anyhow::Result<bool> {
    let programs = files
        .iter()
        .map(|file| read(file))
        .collect::<Result<Vec<_>, _>>()?;
    let batch = fuzz::batch(Path::new(MODULE), 1, true)?;
    reports::set_up_faults();
    match reduce::replay(batch, &programs, times, leaks) {
        Some(failure) => println!("{:?}: {}", failure.kind, failure.text),
        None => {
            println!("{} calls, 0 reports", batch.shared.calls());
            return Ok(true);
        }
    }
    Ok(false)
}

fn run(cli: Cli) -> anyhow::Result<bool> {
    match cli.command {
        Command::Fuzz(args) => {
            let cpus = std::thread::available_parallelism().map_or(1, usize::from);
            fuzz::fuzz(&fuzz::Options {
                duration: Duration::try_from_secs_f64(args.duration)?,
                calls: args.calls,
                seed: args.seed.unwrap_or_else(|| fastrand::u64(..)),
                jobs: args.jobs.unwrap_or(cpus).clamp(1, 64),
                corpus: args.corpus,
                out: args.out,
                module: args.module,
                no_oracle: args.no_oracle,
                no_reduction: args.no_reduction,
                plant: args.plant,
            })
        }
        Command::Run {
            files,
            times,
            leaks,
        } => run_files(&files, times, leaks),
        Command::Coverage {
            module,
            reached,
            explained,
        } => coverage::coverage(&module, &reached, &explained),
        Command::C { file } => {
            print!("{}", c_program::c_program(&read(&file)?));
            Ok(true)
        }
    }
}

fn main() -> ExitCode {
    match run(Cli::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("doorbell-fuzz: {error:#}");
            ExitCode::from(2)
        }
    }
}
