// SPDX-License-Identifier: GPL-2.0-only

//! The arguments that choose a context of another process.

use anyhow::{anyhow, bail, Context as _};
use clap::Args;
use doorbell::Context;
use doorbell_tools::{
    process::{self, OpenContext},
    share, sys,
};
use std::{io, os::fd::RawFd, path::PathBuf};

/// Arguments that choose a context of another process.
#[derive(Args)]
pub struct ContextArgs {
    /// Get the context from the UNIX socket at PATH
    ///
    /// The process that listens there must run as root, as this user, or as the owner of the socket's
    /// directory.
    #[arg(long, value_name = "PATH", conflicts_with_all = ["fd", "pid"])]
    pub socket: Option<PathBuf>,
    /// Look into the running process PID; needs the right to trace it
    #[arg(long, value_name = "PID", value_parser = clap::value_parser!(u32).range(1..))]
    pub pid: Option<u32>,
    /// Use descriptor N: of process PID, or one that this process inherited
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i32).range(3..))]
    pub fd: Option<RawFd>,
}

impl ContextArgs {
    /// Returns the context that the arguments choose, if any.
    pub fn context(&self) -> anyhow::Result<Option<Context>> {
        if let Some(path) = &self.socket {
            let failed = |error: io::Error| {
                let advice = match error.kind() {
                    // The error has its own.
                    io::ErrorKind::TimedOut | io::ErrorKind::PermissionDenied => "",
                    _ => {
                        "\n  start 'doorbell watch --socket PATH' or 'doorbell ivshmem serve' first"
                    }
                };
                anyhow!("get the context from {}: {error}{advice}", path.display())
            };
            return share::connect(path).map(Some).map_err(failed);
        }
        if let Some(pid) = self.pid {
            return of_process(pid, self.fd).map(Some);
        }
        let Some(fd) = self.fd else { return Ok(None) };
        inherited(fd).map(Some)
    }

    /// Returns the context that the arguments choose.
    ///
    /// # Errors
    ///
    /// If they choose none.
    pub fn require(&self) -> anyhow::Result<Context> {
        self.context()?.context(
            "no context: this command needs one of another process
  --pid PID looks into a running process ('doorbell ps' lists them);
  --socket PATH gets it from 'doorbell watch --socket PATH'; --fd N inherits it",
        )
    }

    /// Describes the chosen context; `None` if none is chosen.
    pub fn name(&self) -> Option<String> {
        match self {
            Self {
                pid: Some(pid),
                fd: Some(fd),
                ..
            } => Some(format!("process {pid}, descriptor {fd}")),
            Self { pid: Some(pid), .. } => Some(format!("process {pid}")),
            Self { fd: Some(fd), .. } => Some(format!("descriptor {fd}")),
            Self {
                socket: Some(path), ..
            } => Some(format!("context from {}", path.display())),
            _ => None,
        }
    }
}

/// Returns the context that is open as descriptor `fd`.
pub fn inherited(fd: RawFd) -> anyhow::Result<Context> {
    let copy = sys::inherited(fd).map_err(|error| {
        anyhow!(
            "descriptor {fd}: {error}
  the parent process has to open it without close-on-exec"
        )
    })?;
    Ok(Context::from(copy))
}

/// Returns the advice for an error of access to another process.
fn explain_access(pid: u32, error: &io::Error) -> anyhow::Error {
    let advice = match error.raw_os_error() {
        Some(libc::ESRCH | libc::ENOENT) => {
            return anyhow!("there is no process {pid}\n  'doorbell ps' lists those with a context")
        }
        Some(libc::EPERM | libc::EACCES) => {
            "this needs the right to trace the process: run it as root. As the process's user it\n  \
             works if kernel.yama.ptrace_scope is 0 and the process is dumpable"
        }
        Some(libc::ENOSYS) => "pidfd_getfd(2) is missing: the kernel must be Linux 5.6 or newer",
        Some(libc::EBADF) => "'doorbell ps' lists the descriptors that are contexts",
        _ => "see pidfd_getfd(2)",
    };
    anyhow!("look into process {pid}: {error}\n  {advice}")
}

/// Returns the doorbells of the process `pid`, at least one.
pub fn contexts_of(pid: u32) -> anyhow::Result<Vec<OpenContext>> {
    let contexts = process::contexts_of(pid).map_err(|error| explain_access(pid, &error))?;
    if contexts.is_empty() {
        bail!("process {pid} has no doorbell open\n  'doorbell ps' lists the processes that have");
    }
    Ok(contexts)
}

/// Returns the descriptor of the only context among `contexts`, or one of several of the same.
fn only_descriptor(pid: u32, contexts: &[OpenContext]) -> anyhow::Result<RawFd> {
    let first = contexts.first().context("no context")?;
    let same = |other: &OpenContext| {
        other.fd == first.fd
            || other.counters.context != 0 && other.counters.context == first.counters.context
    };
    if contexts.iter().all(same) {
        return Ok(first.fd);
    }
    let list: Vec<String> = contexts.iter().map(|open| open.fd.to_string()).collect();
    bail!(
        "process {pid} has several contexts, as the descriptors {}\n  choose one by --fd N; 'doorbell ps' describes them",
        list.join(", ")
    )
}

/// Returns the context of the process `pid`, by its descriptor `fd` if it has several.
pub fn of_process(pid: u32, fd: Option<RawFd>) -> anyhow::Result<Context> {
    let fd = match fd {
        Some(fd) => fd,
        None => only_descriptor(pid, &contexts_of(pid)?)?,
    };
    process::copy_context(pid, fd).map_err(|error| explain_access(pid, &error))
}

#[cfg(test)]
mod tests {
    use super::*;
    use doorbell_tools::process::Counters;

    fn open(fd: RawFd, context: u64) -> OpenContext {
        OpenContext {
            pid: 1,
            comm: "vmm".into(),
            fd,
            counters: Counters {
                context,
                ..Counters::default()
            },
        }
    }

    #[test]
    fn descriptors_of_one_context_need_no_choice() {
        assert_eq!(only_descriptor(1, &[open(5, 0)]).unwrap(), 5);
        assert_eq!(only_descriptor(1, &[open(5, 2), open(9, 2)]).unwrap(), 5);
        let error = only_descriptor(1, &[open(5, 2), open(9, 3)]).unwrap_err();
        assert!(error.to_string().contains("5, 9"), "{error}");
        // Two files without lines are not the same.
        assert!(only_descriptor(1, &[open(5, 0), open(9, 0)]).is_err());
    }

    #[test]
    fn missing_rights_are_explained() {
        for (code, text) in [
            (libc::EPERM, "root"),
            (libc::EACCES, "root"),
            (libc::ESRCH, "no process 7"),
            (libc::ENOENT, "no process 7"),
            (libc::EBADF, "doorbell ps"),
            (libc::ENOSYS, "Linux 5.6"),
        ] {
            let error = explain_access(7, &io::Error::from_raw_os_error(code));
            assert!(error.to_string().contains(text), "{error}");
        }
    }
}
