// SPDX-License-Identifier: GPL-2.0-only

//! Signals that end a measurement early.

use anyhow::Context as _;
use doorbell_tools::{stop::Stop, sys};
use std::{fs::File, io::Read, process, thread};

/// Returns a request that SIGINT, SIGTERM or SIGHUP makes. A second signal ends the process at
/// once. The process must have one thread.
///
/// # Errors
///
/// If the signals cannot be redirected.
pub fn stop_on_signals() -> anyhow::Result<Stop> {
    let mut signals = File::from(sys::termination().context("redirect signals")?);
    let stop = Stop::default();
    let request = stop.clone();
    // A measurement does not wait for this thread, and it waits for nothing but signals.
    thread::spawn(move || {
        while let Ok(signal) = next(&mut signals) {
            if request.signal().is_some() {
                process::exit(status(signal).into());
            }
            doorbell_tools::note!("stopping; a second signal drops the result");
            request.request(signal);
        }
    });
    Ok(stop)
}

/// Returns the next signal.
fn next(signals: &mut File) -> std::io::Result<i32> {
    // struct signalfd_siginfo begins with the number of the signal.
    let mut info = [0; 128];
    signals.read_exact(&mut info)?;
    let [a, b, c, d, ..] = info;
    Ok(i32::from_ne_bytes([a, b, c, d]))
}

/// Returns the exit status of a process that a signal has ended, as a shell reports it.
pub fn status(signal: i32) -> u8 {
    u8::try_from(128 + signal).unwrap_or(u8::MAX)
}
