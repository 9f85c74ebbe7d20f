// SPDX-License-Identifier: GPL-2.0-only

//! The processes of a run: backends and VMMs.

use super::{
    mutant::Mutant,
    protocol::{receive, send, Order, Reply},
};
use anyhow::{bail, Context, Result};
use clap::ValueEnum;
use rustix::process::Signal;
use std::{
    error,
    ffi::OsStr,
    fmt, fs,
    io::{self, BufReader},
    os::{
        fd::OwnedFd,
        linux::net::SocketAddrExt,
        unix::{
            net::{SocketAddr, UnixListener},
            process::ExitStatusExt,
        },
    },
    process::{self, Child, ChildStdin, Command, ExitStatus, Stdio},
    sync::mpsc::{self, Receiver, TryRecvError},
    thread,
};

/// This program.
const SELF: &str = "/proc/self/exe";

/// The name of the hidden subcommand of a backend.
pub(crate) const BACKEND: &str = "vhost-backend";
/// The name of the hidden subcommand of a VMM.
pub(crate) const VMM: &str = "vhost-vmm";

/// The end of a process by a signal that the run has not sent: a defect, and no error of the run.
#[derive(Debug)]
pub(crate) struct Crash(String);

impl fmt::Display for Crash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl error::Error for Crash {}

/// Checks the status of a process that has ended by itself.
fn check(name: &str, status: ExitStatus) -> Result<()> {
    match status.signal() {
        Some(_) => Err(Crash(format!("{name} has ended: {status}")).into()),
        None if !status.success() => bail!("{name} has failed: {status}"),
        None => Ok(()),
    }
}

/// A child that is killed if the run ends early.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        // Both fail if it has been waited for.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The socket at which backends accept VMMs. It listens for the whole run, so a VMM can connect while there is
/// no backend.
pub(crate) struct Socket {
    listener: UnixListener,
    name: String,
}

impl Socket {
    pub(crate) fn new() -> Result<Self> {
        // Processes of other PID namespaces can have the same ID, and the same names.
        let random = fastrand::Rng::new().u64(..);
        let name = format!("msix-vmm-vhost-{}-{random:016x}", process::id());
        let address = SocketAddr::from_abstract_name(&name)?;
        let listener = UnixListener::bind_addr(&address).context("create the backend's socket")?;
        Ok(Self { listener, name })
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }
}

/// A backend.
pub(crate) struct Backend(Process);

impl Backend {
    pub(crate) fn start(socket: &Socket, ledger: &OsStr) -> Result<Self> {
        let listener = OwnedFd::from(socket.listener.try_clone()?);
        let child = Command::new(SELF)
            .args([OsStr::new(BACKEND), ledger])
            .stdin(listener)
            .stdout(Stdio::null())
            .spawn();
        Ok(Self(Process(child.context("start a backend")?)))
    }

    /// Kills it, and waits for its end. Returns false if it had ended by itself, because its VMM had ended the
    /// connection.
    pub(crate) fn kill(mut self) -> Result<bool> {
        self.0 .0.kill().context("kill the backend")?;
        let status = self.0 .0.wait()?;
        if status.signal() == Some(Signal::KILL.as_raw()) {
            return Ok(true);
        }
        check("the backend", status)?;
        Ok(false)
    }

    /// Waits until it ends by itself.
    pub(crate) fn wait(mut self) -> Result<()> {
        let status = self.0 .0.wait()?;
        check("the backend", status)
    }

    /// Returns true if it has ended by itself, because its VMM has ended the connection.
    pub(crate) fn has_ended(&mut self) -> Result<bool> {
        match self.0 .0.try_wait()? {
            Some(status) => check("the backend", status).map(|()| true),
            None => Ok(false),
        }
    }

    /// Returns true if all of its threads sleep.
    pub(crate) fn sleeps(&self) -> io::Result<bool> {
        for task in fs::read_dir(format!("/proc/{}/task", self.0 .0.id()))? {
            let stat = fs::read_to_string(task?.path().join("stat"))?;
            if !is_sleeping(&stat) {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// Returns true if a thread with these statistics sleeps. Its name, in parentheses, may have any character.
fn is_sleeping(stat: &str) -> bool {
    stat.rsplit_once(')')
        .is_some_and(|(_, rest)| rest.trim_start().starts_with('S'))
}

/// A VMM.
pub(crate) struct Vmm {
    process: Process,
    orders: ChildStdin,
    replies: Receiver<Result<Option<Reply>>>,
}

impl Vmm {
    /// Starts a VMM with its first order.
    pub(crate) fn start(
        socket: &Socket,
        memory: &OsStr,
        mutant: Option<Mutant>,
        first: &Order,
    ) -> Result<Self> {
        let mut command = Command::new(SELF);
        command.args([OsStr::new(VMM), memory, OsStr::new(socket.name())]);
        if let Some(value) = mutant.and_then(|mutant| mutant.to_possible_value()) {
            command.args(["--mutant", value.get_name()]);
        }
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("start a VMM")?;
        let orders = child.stdin.take().context("no standard input")?;
        let output = child.stdout.take().context("no standard output")?;
        let process = Process(child);
        let (sender, replies) = mpsc::channel();
        thread::Builder::new()
            .name("replies".into())
            .spawn(move || {
                let mut output = BufReader::new(output);
                loop {
                    let reply = receive(&mut output);
                    let is_last = !matches!(reply, Ok(Some(_)));
                    if sender.send(reply).is_err() || is_last {
                        return;
                    }
                }
            })?;
        let mut vmm = Self {
            process,
            orders,
            replies,
        };
        vmm.order(first)?;
        Ok(vmm)
    }

    pub(crate) fn order(&mut self, order: &Order) -> Result<()> {
        send(&mut self.orders, order).context("tell the VMM")
    }

    /// Returns a reply if there is one.
    pub(crate) fn reply(&mut self) -> Result<Option<Reply>> {
        match self.replies.try_recv() {
            Ok(reply) => self.read(reply).map(Some),
            Err(TryRecvError::Disconnected) => self.read(Ok(None)).map(Some),
            Err(TryRecvError::Empty) => Ok(None),
        }
    }

    /// Waits for a reply.
    pub(crate) fn last_reply(&mut self) -> Result<Reply> {
        let reply = self.replies.recv().unwrap_or(Ok(None));
        self.read(reply)
    }

    fn read(&mut self, reply: Result<Option<Reply>>) -> Result<Reply> {
        match reply.context("read the VMM's reply")? {
            Some(reply) => Ok(reply),
            None => {
                check("the VMM", self.process.0.wait()?)?;
                bail!("the VMM has ended without a reply")
            }
        }
    }

    /// Waits until it ends, after its last reply.
    pub(crate) fn wait(self) -> Result<()> {
        let mut process = self.process;
        // A VMM that has saved waits for the end of its orders.
        drop(self.orders);
        check("the VMM", process.0.wait()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn end_by_a_signal_is_a_crash() {
        assert!(check("it", ExitStatus::from_raw(0)).is_ok());
        let failed = check("it", ExitStatus::from_raw(2 << 8)).unwrap_err();
        assert!(failed.downcast_ref::<Crash>().is_none());
        let aborted = check("it", ExitStatus::from_raw(6)).unwrap_err();
        assert!(aborted.downcast_ref::<Crash>().is_some());
    }

    #[test]
    fn state_of_a_thread_is_after_its_name() {
        assert!(is_sleeping("7 (vring_worker) S 1 7 7"));
        assert!(!is_sleeping("7 (vring_worker) R 1 7 7"));
        assert!(!is_sleeping("7 (a) S b) R 1 7 7"));
        assert!(!is_sleeping(""));
    }
}
