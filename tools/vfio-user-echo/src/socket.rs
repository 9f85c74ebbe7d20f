// SPDX-License-Identifier: GPL-2.0-only

//! The removal of the socket if a signal ends the process.

use doorbell::EventFd;
use libc::{c_int, c_void, siginfo_t};
use std::{
    fs, io,
    path::{Path, PathBuf},
    process,
    sync::OnceLock,
    thread,
};
use vmm_sys_util::signal::register_signal_handler;

static PATH: OnceLock<PathBuf> = OnceLock::new();
/// The handler writes the number of the signal.
static SIGNALS: OnceLock<EventFd> = OnceLock::new();

/// Lets SIGINT, SIGTERM and SIGHUP remove the socket at `path`, before they end the process.
pub fn remove_at_signals(path: &Path) -> io::Result<()> {
    PATH.get_or_init(|| path.into());
    let signals = SIGNALS.get_or_init({
        let signals = EventFd::new(0)?;
        || signals
    });
    thread::spawn(|| {
        let signal = loop {
            match signals.read() {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => break result.unwrap_or(0),
            }
        };
        remove();
        // As a shell reports it.
        process::exit(128 + signal as i32)
    });
    for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP] {
        register_signal_handler(signal, note)
            .map_err(|error| io::Error::from_raw_os_error(error.errno()))?;
    }
    Ok(())
}

/// Removes the socket, if it is still there.
pub fn remove() {
    if let Some(path) = PATH.get() {
        let _ = fs::remove_file(path);
    }
}

/// Makes one system call, as a handler may. The counter cannot be full.
extern "C" fn note(signal: c_int, _info: *mut siginfo_t, _context: *mut c_void) {
    if let Some(signals) = SIGNALS.get() {
        let _ = signals.write(signal as u64);
    }
}
