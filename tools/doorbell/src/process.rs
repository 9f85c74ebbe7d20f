// SPDX-License-Identifier: GPL-2.0-only

//! Contexts that other processes have open: /proc/PID/fdinfo, and access by pidfd_getfd(2).

use doorbell::Context;
use rustix::process::{Pid, PidfdFlags, PidfdGetfdFlags};
use std::{
    fs, io,
    os::fd::RawFd,
    path::{Path, PathBuf},
};

/// The counters of a context in /proc/PID/fdinfo/FD, sums over all lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Counters {
    /// Number of the context in trace events; 0 before its lines are chosen.
    pub context: u64,
    /// Lines.
    pub lines: u64,
    /// Assigned irqfds, with unmaskfds and ackfds.
    pub irqfds: u64,
    /// Assigned triggers.
    pub triggers: u64,
    /// Assigned notifiers.
    pub notifiers: u64,
    /// Assigned resamplefds.
    pub resamplefds: u64,
    /// Irqfds that unmask a line.
    pub unmaskfds: u64,
    /// Irqfds that ack a line.
    pub ackfds: u64,
    /// Assigned regions.
    pub regions: u64,
    /// Masked lines.
    pub masked: u64,
    /// Lines with a pending message.
    pub pending: u64,
    /// Asserted level lines.
    pub asserted: u64,
    /// Rings.
    pub rings: u64,
    /// Deliveries.
    pub deliveries: u64,
    /// Dropped messages.
    pub dropped: u64,
    /// Deliveries by a worker.
    pub deferred: u64,
    /// Acks.
    pub acks: u64,
    /// Recorded writes.
    pub recorded: u64,
    /// Writes that were refused for lack of room.
    pub refused: u64,
    /// Memory of the context's objects, in bytes.
    pub memory: u64,
}

impl Counters {
    /// Returns the counters in the text of an fdinfo file; `None` if the file is no doorbell.
    fn parse(fdinfo: &str) -> Option<Self> {
        let mut counters = Self::default();
        let mut found = false;
        for line in fdinfo.lines() {
            let Some((name, value)) = line
                .strip_prefix("doorbell-")
                .and_then(|line| line.split_once(':'))
            else {
                continue;
            };
            let Ok(value) = value.trim().parse() else {
                continue;
            };
            let field = match name {
                "context" => &mut counters.context,
                "lines" => &mut counters.lines,
                "irqfds" => &mut counters.irqfds,
                "triggers" => &mut counters.triggers,
                "notifiers" => &mut counters.notifiers,
                "resamplefds" => &mut counters.resamplefds,
                "unmaskfds" => &mut counters.unmaskfds,
                "ackfds" => &mut counters.ackfds,
                "regions" => &mut counters.regions,
                "masked" => &mut counters.masked,
                "pending" => &mut counters.pending,
                "asserted" => &mut counters.asserted,
                "rings" => &mut counters.rings,
                "deliveries" => &mut counters.deliveries,
                "dropped" => &mut counters.dropped,
                "deferred" => &mut counters.deferred,
                "acks" => &mut counters.acks,
                "recorded" => &mut counters.recorded,
                "refused" => &mut counters.refused,
                "memory" => &mut counters.memory,
                // A newer module reports more.
                _ => continue,
            };
            *field = value;
            found = true;
        }
        found.then_some(counters)
    }

    /// Returns the number of rings that joined another ring's message, except the dropped ones.
    ///
    /// The owner of the context can set any counters by DOORBELL_RESTORE.
    pub fn coalesced(&self) -> u64 {
        let others = self.deliveries.saturating_add(self.dropped);
        self.rings
            .saturating_sub(others.saturating_add(self.pending))
    }
}

/// A descriptor of a process that is a doorbell.
#[derive(Clone, Debug, serde::Serialize)]
pub struct OpenContext {
    /// The process.
    pub pid: u32,
    /// Name of the process, as the process has set it: it may have control characters.
    pub comm: String,
    /// Number of the descriptor.
    pub fd: RawFd,
    /// State of the context.
    #[serde(flatten)]
    pub counters: Counters,
}

/// The doorbells of all processes.
#[derive(Debug, Default)]
pub struct Processes {
    /// Sorted by process and descriptor.
    pub contexts: Vec<OpenContext>,
    /// Number of processes whose descriptors this process must not read.
    pub unreadable: usize,
}

/// Returns the numbers of a directory's entries, sorted.
fn numbers(dir: &Path) -> io::Result<Vec<u32>> {
    let mut numbers = Vec::new();
    for entry in fs::read_dir(dir)? {
        // The process may have ended meanwhile.
        let Ok(entry) = entry else { continue };
        numbers.extend(
            entry
                .file_name()
                .to_str()
                .and_then(|name| name.parse::<u32>().ok()),
        );
    }
    numbers.sort_unstable();
    Ok(numbers)
}

/// Returns true if a descriptor can be a device, by the target of its link in /proc/PID/fd. The link
/// has a path, whatever the device is called. Those of sockets, pipes and anonymous files have none.
///
/// stat(2) would be exact, but it follows the link to the file. That takes forever if the file is on a
/// network file system, or on one in user space, that does not answer.
fn has_path(link: &Path) -> bool {
    link.is_absolute()
}

/// Returns the name of the process whose directory is `dir`. It may be any bytes: the process sets it.
fn name(dir: &Path) -> String {
    let comm = fs::read(dir.join("comm")).unwrap_or_default();
    let comm = comm.strip_suffix(b"\n").unwrap_or(&comm);
    String::from_utf8_lossy(comm).into_owned()
}

/// Returns the doorbells of the process `pid`, sorted by descriptor.
///
/// # Errors
///
/// ENOENT: there is no such process. EACCES: this process must not read its descriptors.
pub fn contexts_of(pid: u32) -> io::Result<Vec<OpenContext>> {
    let dir = PathBuf::from(format!("/proc/{pid}"));
    let mut contexts = Vec::new();
    for fd in numbers(&dir.join("fd"))? {
        let link = fs::read_link(dir.join("fd").join(fd.to_string()));
        if link.is_ok_and(|link| !has_path(&link)) {
            continue;
        }
        let info = dir.join("fdinfo").join(fd.to_string());
        // The process may close it at any time.
        let Ok(text) = fs::read_to_string(info) else {
            continue;
        };
        if let Some(counters) = Counters::parse(&text) {
            contexts.push((fd as RawFd, counters));
        }
    }
    if contexts.is_empty() {
        return Ok(Vec::new());
    }
    let comm = name(&dir);
    let contexts = contexts.into_iter().map(|(fd, counters)| OpenContext {
        pid,
        comm: comm.clone(),
        fd,
        counters,
    });
    Ok(contexts.collect())
}

/// Returns the doorbells of all processes.
///
/// # Errors
///
/// Those of reading /proc.
pub fn processes() -> io::Result<Processes> {
    let mut processes = Processes::default();
    for pid in numbers(Path::new("/proc"))? {
        match contexts_of(pid) {
            Ok(contexts) => processes.contexts.extend(contexts),
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                processes.unreadable += 1;
            }
            // The process has ended.
            Err(_) => {}
        }
    }
    Ok(processes)
}

/// Returns a copy of the descriptor `fd` of the process `pid`.
///
/// # Errors
///
/// ESRCH: there is no such process. EPERM: this process must not trace it. EBADF: there is no such
/// descriptor.
pub fn copy_context(pid: u32, fd: RawFd) -> io::Result<Context> {
    let process = i32::try_from(pid).ok().and_then(Pid::from_raw);
    let process = process.ok_or(rustix::io::Errno::SRCH)?;
    let process = rustix::process::pidfd_open(process, PidfdFlags::empty())?;
    let copy = rustix::process::pidfd_getfd(process, fd, PidfdGetfdFlags::empty())?;
    Ok(Context::from(copy))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::{AsFd, AsRawFd};

    #[test]
    fn fdinfo_of_a_context_is_parsed() {
        let text = "pos:\t0\nflags:\t02000002\ndoorbell-lines:\t4\ndoorbell-rings:\t9\n\
            doorbell-deliveries:\t5\ndoorbell-dropped:\t1\ndoorbell-pending:\t1\n\
            doorbell-context:\t7\ndoorbell-future:\tx\n";
        let counters = Counters::parse(text).unwrap();
        assert_eq!((counters.lines, counters.context), (4, 7));
        assert_eq!(counters.coalesced(), 2);
    }

    #[test]
    fn restored_counters_do_not_overflow() {
        let counters = Counters {
            rings: u64::MAX,
            deliveries: u64::MAX,
            dropped: 1,
            pending: 1,
            ..Counters::default()
        };
        assert_eq!(counters.coalesced(), 0);
    }

    #[test]
    fn only_files_with_a_path_can_be_the_device() {
        let pid = std::process::id();
        let link = |fd: std::os::fd::BorrowedFd<'_>| {
            fs::read_link(format!("/proc/{pid}/fd/{}", fd.as_raw_fd())).unwrap()
        };
        let device = fs::File::open("/dev/null").unwrap();
        assert!(has_path(&link(device.as_fd())));
        // A device in a container, and a node that was removed.
        for path in ["/doorbell", "/dev/doorbell (deleted)"] {
            assert!(has_path(Path::new(path)), "{path}");
        }
        let (socket, _other) = std::os::unix::net::UnixStream::pair().unwrap();
        let eventfd = doorbell::EventFd::new(0).unwrap();
        for fd in [socket.as_fd(), eventfd.as_fd()] {
            assert!(!has_path(&link(fd)), "{:?}", link(fd));
        }
    }

    #[test]
    fn name_may_be_any_bytes() {
        let dir = std::env::temp_dir().join(format!("doorbell-comm-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        fs::write(dir.join("comm"), b"a\x1b[2J\xff \n").unwrap();
        assert_eq!(name(&dir), "a\u{1b}[2J\u{fffd} ");
        fs::remove_dir_all(&dir).unwrap();
        assert_eq!(name(&dir), "");
    }

    #[test]
    fn fdinfo_of_another_file_is_none() {
        assert_eq!(Counters::parse("pos:\t0\neventfd-count:\t0\n"), None);
        assert_eq!(Counters::parse(""), None);
    }

    #[test]
    fn this_process_has_no_doorbell_and_its_descriptors_can_be_copied() {
        let file = fs::File::open("/dev/null").unwrap();
        let pid = std::process::id();
        assert!(contexts_of(pid).unwrap().is_empty());
        let copy = copy_context(pid, file.as_raw_fd()).unwrap();
        assert_ne!(copy.as_raw_fd(), file.as_raw_fd());
        let closed = copy_context(pid, 1_000_000).unwrap_err();
        assert_eq!(closed.raw_os_error(), Some(libc::EBADF));
    }

    #[test]
    fn process_that_does_not_exist_is_an_error() {
        let error = contexts_of(u32::MAX).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
        let error = copy_context(u32::MAX, 3).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::ESRCH));
    }
}
