// SPDX-License-Identifier: GPL-2.0-only

//! The module's trace events, read from an instance of tracefs.
//!
//! The text that tracefs prints has times in microseconds, which are as long as a delivery. So this
//! reads the binary pages, which have nanoseconds.

pub mod legs;
mod page;

use crate::machine::cpu_list;
use anyhow::{anyhow, bail, Context as _};
use page::{Format, PageLayout};
use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

/// The usual mount point of tracefs.
const TRACEFS: &str = "/sys/kernel/tracing";

/// The list of the CPUs that are online.
const ONLINE: &str = "/sys/devices/system/cpu/online";

/// The clock of the events: CLOCK_MONOTONIC, in nanoseconds.
const CLOCK: &str = "mono";

/// The maximal size of the buffer of a CPU, in KiB: half a second of a million events per second.
const BUFFER_MAX_KB: usize = 16 * 1024;

/// The minimal size of the buffer of a CPU, in KiB.
const BUFFER_MIN_KB: usize = 1024;

/// The maximal size of the buffers of all CPUs, in KiB, unless each has its minimum.
const BUFFERS_KB: usize = 256 * 1024;

/// An event of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    /// Time in nanoseconds.
    pub ns: u64,
    /// Number of the context.
    pub context: u32,
    /// Number of the line.
    pub line: u32,
    /// Kind of the event.
    pub kind: Kind,
}

/// A kind of event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A ring with its outcome.
    Ring(Outcome),
    /// The start of a delivery.
    Deliver,
    /// The start of a delivery, in which the line has masked itself.
    DeliverAutomasked,
    /// A waiter has consumed all deliveries.
    Take,
    /// The line's irq_work is queued.
    RelayQueued,
    /// The message is left to the worker.
    Deferred,
    /// The line was masked.
    Mask,
    /// The line was unmasked.
    Unmask {
        /// The line holds a message, which is delivered next.
        pending: bool,
    },
}

/// The outcome of a ring, as far as it matters for times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// There will be a delivery of its own. The line was free: there is no earlier message.
    Message,
    /// There will be a delivery of its own, after another one, or after the interval of the line.
    Queued,
    /// The ring joined another message.
    Coalesced,
    /// The line is masked and holds the message.
    Masked,
}

impl Outcome {
    /// Returns the outcome of a DOORBELL_TRACE_RING_* code.
    fn of_code(code: u64) -> Self {
        match code {
            0..=2 => Self::Message,
            4 => Self::Coalesced,
            5 => Self::Masked,
            _ => Self::Queued,
        }
    }
}

/// The events that are read, without "doorbell_".
const EVENTS: [&str; 7] = [
    "ring",
    "deliver",
    "take",
    "relay_queued",
    "deferred",
    "mask",
    "unmask",
];

/// An instance of tracefs with a buffer of its own. It is removed on drop.
#[derive(Debug)]
pub struct Instance {
    dir: PathBuf,
    layout: PageLayout,
    formats: Vec<(&'static str, Format)>,
    /// The pages of each CPU.
    cpus: Vec<File>,
}

/// Writes to a file of tracefs.
fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    fs::write(path, text).with_context(|| format!("write {text:?} to {}", path.display()))
}

fn read(path: &Path) -> anyhow::Result<String> {
    fs::read_to_string(path).with_context(|| format!("read {}", path.display()))
}

/// Reads a file by one call: the kernel has no more than one answer for each time that it is opened.
fn read_once(path: &Path) -> anyhow::Result<String> {
    let mut bytes = [0; 4096];
    let len = File::open(path)
        .and_then(|mut file| file.read(&mut bytes))
        .with_context(|| format!("read {}", path.display()))?;
    Ok(String::from_utf8_lossy(&bytes[..len]).into_owned())
}

/// Returns the size of the buffer of each of `cpus` CPUs, in KiB.
fn buffer_kb(cpus: usize) -> usize {
    (BUFFERS_KB / cpus.max(1)).clamp(BUFFER_MIN_KB, BUFFER_MAX_KB)
}

/// Returns the directory of tracefs, or an error with advice.
fn find_tracefs(root: &Path) -> anyhow::Result<PathBuf> {
    match fs::read_dir(root) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            bail!("{}: {error}\n  run this as root", root.display())
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => bail!(
            "{} does not exist\n  the kernel needs CONFIG_EVENT_TRACING",
            root.display()
        ),
        Err(error) => Err(anyhow!("{}: {error}", root.display())),
        Ok(_) if !root.join("instances").is_dir() => bail!(
            "tracefs is not mounted\n  run as root: mount -t tracefs tracefs {}",
            root.display()
        ),
        Ok(_) if !root.join("events/doorbell").is_dir() => bail!(
            "tracefs has no events of doorbell\n  load the module: modprobe doorbell; its kernel needs CONFIG_TRACEPOINTS"
        ),
        Ok(_) => Ok(root.to_owned()),
    }
}

impl Instance {
    /// Creates an instance that records the events for which `filter` holds, all if it is empty.
    ///
    /// # Errors
    ///
    /// If tracefs is not mounted, or the caller is not root. The error says what to do.
    pub fn new(filter: &str) -> anyhow::Result<Self> {
        let root = find_tracefs(Path::new(TRACEFS))?;
        let dir = root.join(format!("instances/doorbell-{}", std::process::id()));
        fs::create_dir(&dir).map_err(|error| match error.kind() {
            io::ErrorKind::PermissionDenied => {
                anyhow!("create {}: {error}\n  run this as root", dir.display())
            }
            _ => anyhow!("create {}: {error}", dir.display()),
        })?;
        // From here on the instance is removed if a step fails.
        let mut instance = Self {
            layout: PageLayout::parse(&read_once(&root.join("events/header_page"))?)?,
            dir,
            formats: Vec::new(),
            cpus: Vec::new(),
        };
        instance.start(filter)?;
        Ok(instance)
    }

    fn start(&mut self, filter: &str) -> anyhow::Result<()> {
        write(&self.dir.join("trace_clock"), CLOCK)?;
        // A CPU that is offline has no buffer before it comes online.
        let cpus = cpu_list(read(Path::new(ONLINE))?.trim()).len();
        let size = buffer_kb(cpus).to_string();
        write(&self.dir.join("buffer_size_kb"), &size)?;
        for cpu in fs::read_dir(self.dir.join("per_cpu"))? {
            let path = cpu?.path().join("trace_pipe_raw");
            let file = OpenOptions::new()
                .read(true)
                .custom_flags(libc::O_NONBLOCK)
                .open(&path)
                .with_context(|| format!("open {}", path.display()))?;
            self.cpus.push(file);
        }
        for name in EVENTS {
            let event = self.dir.join(format!("events/doorbell/doorbell_{name}"));
            self.formats
                .push((name, Format::parse(&read(&event.join("format"))?)?));
            if !filter.is_empty() {
                write(&event.join("filter"), filter)?;
            }
        }
        for name in EVENTS {
            let event = self.dir.join(format!("events/doorbell/doorbell_{name}"));
            write(&event.join("enable"), "1")?;
        }
        Ok(())
    }

    /// Appends all new events to `events`: in order for each CPU, but not among CPUs.
    ///
    /// # Errors
    ///
    /// If the pages cannot be read.
    pub fn drain(&mut self, events: &mut Vec<Event>) -> anyhow::Result<()> {
        let mut bytes = vec![0; self.layout.size()];
        for cpu in &mut self.cpus {
            loop {
                match cpu.read(&mut bytes) {
                    Ok(0) => break,
                    Ok(len) => self.layout.events(&bytes[..len], |ns, data| {
                        events.extend(event(&self.formats, ns, data));
                    }),
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) => return Err(error.into()),
                }
            }
        }
        Ok(())
    }

    /// Returns the number of events that did not fit into the buffer.
    ///
    /// # Errors
    ///
    /// If the statistics cannot be read.
    pub fn lost(&self) -> anyhow::Result<u64> {
        let mut lost = 0;
        for cpu in fs::read_dir(self.dir.join("per_cpu"))? {
            let stats = read(&cpu?.path().join("stats"))?;
            for line in stats.lines() {
                if let Some(("overrun" | "dropped events", number)) = line.split_once(": ") {
                    lost += number.trim().parse::<u64>().unwrap_or(0);
                }
            }
        }
        Ok(lost)
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        // An instance whose files are open cannot be removed.
        self.cpus.clear();
        let _ = fs::write(self.dir.join("events/doorbell/enable"), "0");
        if let Err(error) = fs::remove_dir(&self.dir) {
            crate::note!("remove {}: {error}", self.dir.display());
        }
    }
}

/// Translates a record of the buffer; `None` if it is of another event.
fn event(formats: &[(&'static str, Format)], ns: u64, data: &[u8]) -> Option<Event> {
    let (name, format) = formats.iter().find(|(_, format)| format.is(data))?;
    let number = |field| format.number(data, field);
    let kind = match *name {
        "ring" => Kind::Ring(Outcome::of_code(number("outcome")?)),
        // A module that is older than the tools does not report it.
        "deliver" if number("automasked") == Some(1) => Kind::DeliverAutomasked,
        "deliver" => Kind::Deliver,
        "take" => Kind::Take,
        "relay_queued" => Kind::RelayQueued,
        "deferred" => Kind::Deferred,
        "mask" => Kind::Mask,
        _ => Kind::Unmask {
            pending: number("pending")? != 0,
        },
    };
    Some(Event {
        ns,
        context: number("ctx")? as u32,
        line: number("line")? as u32,
        kind,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_tracefs_is_explained() {
        let scratch = std::env::temp_dir().join(format!("doorbell-tracefs-{}", std::process::id()));
        fs::create_dir_all(&scratch).unwrap();
        let error = |path: &Path| find_tracefs(path).unwrap_err().to_string();
        assert!(error(&scratch.join("none")).contains("CONFIG_EVENT_TRACING"));
        assert!(error(&scratch).contains("mount -t tracefs"));
        fs::create_dir_all(scratch.join("instances")).unwrap();
        assert!(error(&scratch).contains("modprobe doorbell"));
        fs::create_dir_all(scratch.join("events/doorbell")).unwrap();
        assert_eq!(find_tracefs(&scratch).unwrap(), scratch);
        fs::remove_dir_all(&scratch).unwrap();
    }

    #[test]
    fn records_become_events() {
        let ring = "name: doorbell_ring\nID: 1801\nformat:\n\
            \tfield:unsigned short common_type;\toffset:0;\tsize:2;\tsigned:0;\n\n\
            \tfield:u32 ctx;\toffset:8;\tsize:4;\tsigned:0;\n\
            \tfield:u32 line;\toffset:12;\tsize:4;\tsigned:0;\n\
            \tfield:u8 outcome;\toffset:16;\tsize:1;\tsigned:0;\n";
        let formats = [("ring", Format::parse(ring).unwrap())];
        let mut data = [0u8; 20];
        data[..2].copy_from_slice(&1801u16.to_ne_bytes());
        data[8..12].copy_from_slice(&7u32.to_ne_bytes());
        data[12..16].copy_from_slice(&3u32.to_ne_bytes());
        data[16] = 5;
        let expected = Event {
            ns: 99,
            context: 7,
            line: 3,
            kind: Kind::Ring(Outcome::Masked),
        };
        assert_eq!(event(&formats, 99, &data), Some(expected));
        data[..2].copy_from_slice(&1802u16.to_ne_bytes());
        assert_eq!(event(&formats, 99, &data), None);
    }

    #[test]
    fn outcomes_are_those_of_the_header() {
        let header = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../../include/trace/events/doorbell.h"
        );
        let header = fs::read_to_string(header).unwrap();
        for (name, outcome) in [
            ("DELIVERED", Outcome::Message),
            ("RELAYED", Outcome::Message),
            ("DEFERRED", Outcome::Message),
            ("OWNED", Outcome::Queued),
            ("COALESCED", Outcome::Coalesced),
            ("MASKED", Outcome::Masked),
            ("HELD", Outcome::Queued),
        ] {
            let define = format!("#define DOORBELL_TRACE_RING_{name}\t");
            let (_, rest) = header.split_once(&define).unwrap();
            let code = rest.split_whitespace().next().unwrap().parse().unwrap();
            assert_eq!(Outcome::of_code(code), outcome, "{name}");
        }
    }

    #[test]
    fn unmask_says_if_a_message_is_pending() {
        let unmask = "name: doorbell_unmask\nID: 9\nformat:\n\
            \tfield:u32 ctx;\toffset:8;\tsize:4;\tsigned:0;\n\
            \tfield:u32 line;\toffset:12;\tsize:4;\tsigned:0;\n\
            \tfield:u32 reasons;\toffset:16;\tsize:4;\tsigned:0;\n\
            \tfield:bool pending;\toffset:20;\tsize:1;\tsigned:0;\n\
            \tfield:bool resample;\toffset:21;\tsize:1;\tsigned:0;\n";
        let formats = [("unmask", Format::parse(unmask).unwrap())];
        let mut data = [0u8; 24];
        data[..2].copy_from_slice(&9u16.to_ne_bytes());
        data[21] = 1;
        for (byte, pending) in [(0, false), (1, true)] {
            data[20] = byte;
            let event = event(&formats, 99, &data).unwrap();
            assert_eq!(event.kind, Kind::Unmask { pending });
        }
    }

    #[test]
    fn buffers_of_many_cpus_are_smaller() {
        for (cpus, kb) in [
            (0, 16_384),
            (1, 16_384),
            (16, 16_384),
            (17, 15_420),
            (64, 4096),
            (256, 1024),
            (4096, 1024),
        ] {
            assert_eq!(buffer_kb(cpus), kb, "{cpus} CPUs");
        }
    }
}
