// SPDX-License-Identifier: GPL-2.0-only

//! Allocations that fail at random.
//!
//! The kernel's fault injection (failslab and fail_page_alloc) hits only threads that ask for it,
//! in /proc/thread-self/make-it-fail. A thread asks for the duration of one call. A call that fails
//! with ENOMEM has changed nothing, so it is repeated until it succeeds; the accounts show if that
//! is not so. The state is that of the process, as the kernel's is that of the machine.

use anyhow::Context as _;
use doorbell::Result;
use std::{
    fs::{File, OpenOptions},
    io::{self, Write},
    os::unix::fs::FileExt,
    sync::atomic::{
        AtomicBool, AtomicU64,
        Ordering::{Acquire, Relaxed, Release},
    },
};

static ON: AtomicBool = AtomicBool::new(false);
static FAILED: AtomicU64 = AtomicU64::new(0);

/// The percentage of allocations that fail.
const PROBABILITY: &str = "10";

/// The settings of a facility that does not have all of them.
const SETTINGS: [(&str, &str); 9] = [
    ("task-filter", "Y"),
    ("interval", "1"),
    ("times", "-1"),
    ("space", "0"),
    ("verbose", "0"),
    ("cache-filter", "N"),
    ("ignore-gfp-wait", "N"),
    ("ignore-gfp-highmem", "N"),
    ("min-order", "0"),
];

const FACILITIES: [&str; 2] = ["failslab", "fail_page_alloc"];

fn write_to(facility: &str, name: &str, value: &str) -> io::Result<()> {
    let path = format!("/sys/kernel/debug/{facility}/{name}");
    // debugfs refuses to create a file that does not exist, with another error.
    let mut file = OpenOptions::new().write(true).open(path)?;
    file.write_all(value.as_bytes())
}

/// Makes allocations of calls by [`call`] fail until this is dropped.
pub(super) struct Faults(());

impl Faults {
    /// Turns the kernel's fault injection on.
    ///
    /// # Errors
    ///
    /// If the kernel has none.
    pub(super) fn new() -> anyhow::Result<Self> {
        for facility in FACILITIES {
            for (name, value) in SETTINGS {
                match write_to(facility, name, value) {
                    Err(error) if error.kind() == io::ErrorKind::NotFound && name != "times" => {}
                    result => result.with_context(|| {
                        format!(
                            "/sys/kernel/debug/{facility}: no fault injection; the lab's debug \
                             kernel has it: make torture FLAVOUR=debug"
                        )
                    })?,
                }
            }
            write_to(facility, "probability", PROBABILITY)?;
        }
        thread_file()?;
        ON.store(true, Release);
        Ok(Self(()))
    }
}

impl Drop for Faults {
    fn drop(&mut self) {
        ON.store(false, Release);
        for facility in FACILITIES {
            let _ = write_to(facility, "probability", "0");
        }
    }
}

fn thread_file() -> io::Result<File> {
    OpenOptions::new()
        .write(true)
        .open("/proc/thread-self/make-it-fail")
}

thread_local! {
    static THREAD: Option<File> = thread_file().ok();
}

fn arm(armed: bool) {
    THREAD.with(|file| {
        if let Some(file) = file {
            let _ = file.write_all_at(if armed { b"1" } else { b"0" }, 0);
        }
    });
}

/// Calls `f` with allocations that fail, if they do in this run, until it does not fail with
/// ENOMEM.
pub(super) fn call<T>(mut f: impl FnMut() -> Result<T>) -> Result<T> {
    match ON.load(Acquire) {
        true => repeat(f, arm),
        false => f(),
    }
}

fn repeat<T>(mut f: impl FnMut() -> Result<T>, arm: impl Fn(bool)) -> Result<T> {
    loop {
        arm(true);
        let result = f();
        arm(false);
        match result {
            Err(error) if error.errno() == Some(libc::ENOMEM) => FAILED.fetch_add(1, Relaxed),
            result => return result,
        };
    }
}

/// Drops `value` while allocations fail.
pub(super) fn drop_armed<T>(value: T) {
    let on = ON.load(Acquire);
    if on {
        arm(true);
    }
    drop(value);
    if on {
        arm(false);
    }
}

/// Returns the number of calls that failed with ENOMEM.
pub(super) fn failed() -> u64 {
    FAILED.load(Relaxed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use doorbell::{Error, Operation};
    use std::cell::Cell;

    fn error(errno: i32) -> Error {
        Error::Context {
            operation: Operation::Ring,
            source: io::Error::from_raw_os_error(errno),
        }
    }

    #[test]
    fn enomem_is_repeated_and_nothing_else_is() {
        let (armed, calls) = (Cell::new(false), Cell::new(0));
        let call = |errno| {
            calls.set(0);
            let result = repeat(
                || {
                    assert!(armed.get());
                    calls.set(calls.get() + 1);
                    if calls.get() < 3 {
                        return Err(error(errno));
                    }
                    Ok(5)
                },
                |on| armed.set(on),
            );
            assert!(!armed.get());
            (result.ok(), calls.get())
        };
        let before = failed();
        assert_eq!(call(libc::ENOMEM), (Some(5), 3));
        assert_eq!(call(libc::EINVAL), (None, 1));
        assert_eq!(failed(), before + 2);
    }
}
