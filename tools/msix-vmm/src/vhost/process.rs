// SPDX-License-Identifier: GPL-2.0-only

//! The processes of a run: backends and VMMs.

use super::{
    mutant::Mutant,
    protocol::{receive, send, Order, Reply},
};
use anyhow::{bail, ensure, Context, Result};
use clap::ValueEnum;
use std::{
    ffi::OsStr,
    fs,
    io::{self, BufReader},
    os::{
        fd::OwnedFd,
        linux::net::SocketAddrExt,
        unix::net::{SocketAddr, UnixListener},
    },
    process::{self, Child, ChildStdin, Command, Stdio},
    sync::mpsc::{self, Receiver, TryRecvError},
    thread,
};

/// This program.
const SELF: &str = "/proc/self/exe";

/// The name of the hidden subcommand of a backend.
pub(crate) const BACKEND: &str = "vhost-backend";
/// The name of the hidden subcommand of a VMM.
pub(crate) const VMM: &str = "vhost-vmm";

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
        let name = format!("msix-vmm-vhost-{}", process::id());
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

    /// Kills it, and waits for its end.
    pub(crate) fn kill(mut self) -> Result<()> {
        self.0 .0.kill().context("kill the backend")?;
        self.0 .0.wait()?;
        Ok(())
    }

    /// Waits until it ends by itself.
    pub(crate) fn wait(mut self) -> Result<()> {
        let status = self.0 .0.wait()?;
        ensure!(status.success(), "the backend has failed: {status}");
        Ok(())
    }

    /// Returns true if it has ended by itself, because its VMM has ended the connection.
    pub(crate) fn has_ended(&mut self) -> Result<bool> {
        match self.0 .0.try_wait()? {
            Some(status) if !status.success() => bail!("the backend has failed: {status}"),
            status => Ok(status.is_some()),
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
                let status = self.process.0.wait()?;
                bail!("the VMM has ended without a reply: {status}")
            }
        }
    }

    /// Waits until it ends, after its last reply.
    pub(crate) fn wait(mut self) -> Result<()> {
        let status = self.process.0.wait()?;
        ensure!(status.success(), "the VMM has failed: {status}");
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn state_of_a_thread_is_after_its_name() {
        assert!(is_sleeping("7 (vring_worker) S 1 7 7"));
        assert!(!is_sleeping("7 (vring_worker) R 1 7 7"));
        assert!(!is_sleeping("7 (a) S b) R 1 7 7"));
        assert!(!is_sleeping(""));
    }
}
