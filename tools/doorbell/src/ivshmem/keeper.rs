// SPDX-License-Identifier: GPL-2.0-only

//! A process that holds the context, the memory and the peers' descriptors while no server runs.
//!
//! It is systemd's file descriptor store (`FDSTORE=1` of sd_notify(3)) on a socket of our own. The
//! server stores each descriptor before it uses it. When the server ends, even by SIGKILL, the
//! keeper still has the peers' connections, so the peers do not notice. The next server gets all
//! descriptors.
//!
//! Both directions have the same messages, in the form of the [protocol]'s: a number, and maybe a
//! descriptor. The upper half of the number is a subject, the lower half a value.

mod connection;
mod state;

use super::protocol::{self, Message};
use crate::{share, sys};
use anyhow::Context as _;
pub use connection::{Keeper, Options};
use rustix::event::{poll, PollFd, PollFlags, Timespec};
pub use state::{Kept, KeptPeer, Progress};
use std::{
    io,
    os::{
        fd::{AsFd, BorrowedFd},
        unix::net::UnixStream,
    },
    path::Path,
    thread,
    time::{Duration, Instant},
};

/// The timeout of each end for the other one.
const PATIENCE: Duration = Duration::from_secs(10);

fn hang_up<'a>(fd: &'a BorrowedFd<'_>) -> PollFd<'a> {
    PollFd::new(fd, PollFlags::empty())
}

/// Sends a message. Waits until the receiver has read enough of the earlier ones.
///
/// # Errors
///
/// ETOOMANYREFS if the receiver has read all of them: descriptors that peers have not read use up
/// the limit, and this does not wait for peers.
fn send(socket: &UnixStream, message: &Message) -> io::Result<()> {
    let _reserve = sys::Reserve::take();
    let start = Instant::now();
    loop {
        let Err(error) = message.send(socket) else {
            return Ok(());
        };
        let waits = match error.raw_os_error() {
            Some(libc::EAGAIN | libc::ENOBUFS | libc::ENOMEM | libc::EINTR) => true,
            Some(libc::ETOOMANYREFS) => sys::unread(socket.as_fd()).is_ok_and(|unread| unread != 0),
            _ => false,
        };
        if !waits || start.elapsed() >= PATIENCE {
            return Err(error);
        }
        thread::sleep(Duration::from_millis(1));
    }
}

/// Returns true if the other end of a connection runs as root or as our user. Only such a process
/// may hold, or get, the state.
fn is_trusted(socket: &UnixStream) -> bool {
    sys::peer_of(socket.as_fd()).is_ok_and(|(_, uid)| sys::is_trusted(uid))
}

/// Holds the state of servers that connect to `path`, one server at a time.
///
/// Returns when `stop` is readable, and when there is neither a server nor a peer. The first server
/// has some seconds to connect.
pub fn run(path: &Path, stop: BorrowedFd<'_>) -> anyhow::Result<()> {
    let listener =
        share::Server::bind(path).with_context(|| format!("listen at {}", path.display()))?;
    let mut kept = Kept::default();
    let mut server: Option<UnixStream> = None;
    let start = Instant::now();
    loop {
        let peers = match &server {
            Some(_) => Vec::new(),
            None => kept.connected()?,
        };
        let waits = kept.context.is_none() && start.elapsed() < PATIENCE;
        if server.is_none() && peers.is_empty() && !waits {
            return Ok(());
        }
        let fds = [stop, listener.as_fd()];
        let fds: Vec<_> = fds
            .into_iter()
            .chain(server.as_ref().map(|s| s.as_fd()))
            .collect();
        let mut polled: Vec<_> = fds
            .iter()
            .map(|fd| PollFd::new(fd, PollFlags::IN))
            .collect();
        polled.extend(peers.iter().map(hang_up));
        let second = Timespec {
            tv_sec: 1,
            tv_nsec: 0,
        };
        match poll(&mut polled, Some(&second)) {
            Err(rustix::io::Errno::INTR) => continue,
            result => result?,
        };
        let is_ready = |at: usize| polled.get(at).is_some_and(|fd| !fd.revents().is_empty());
        let (stopped, called) = (is_ready(0), is_ready(1));
        let stored = server.is_some() && is_ready(2);
        drop(polled);
        drop(peers);
        if stopped {
            return Ok(());
        }
        // First, so that the end of one server is known before the next one connects.
        if let Some(socket) = server.as_ref().filter(|_| stored) {
            let received = protocol::receive(socket);
            if received.and_then(|message| kept.apply(message)).is_err() {
                server = None;
            }
        } else if called {
            let Some(new) = listener.accept_or_wait() else {
                continue;
            };
            if server.is_none() && is_trusted(&new) {
                let sent = kept.messages().try_for_each(|message| send(&new, &message));
                server = sent.is_ok().then_some(new);
            }
        }
    }
}

#[cfg(test)]
mod tests;
