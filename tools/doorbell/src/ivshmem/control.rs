// SPDX-License-Identifier: GPL-2.0-only

//! What the server tells its operator: who is there, and how they are.
//!
//! Who connects to the control socket gets the context, as from any [`share::Server`], with which
//! lines are masked, cleared and rung. What is known of the peers follows, as a second descriptor:
//! a file with a [`Snapshot`] in JSON. So the server never waits for who asks.

use crate::{share, sys};
use anyhow::Context as _;
use doorbell::Context;
use rustix::fs::{memfd_create, MemfdFlags};
use serde::{Deserialize, Serialize};
use std::{
    fs::File,
    io::{self, Read, Seek, Write},
    os::{
        fd::{AsFd, OwnedFd},
        unix::net::UnixStream,
    },
    path::Path,
};

/// How far a peer's set-up has got.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Setup {
    /// Some of it has not been sent: the peer has to read first.
    Sending,
    /// All of it has been sent, and not all of it read.
    Unread,
    /// The peer has read all of it. From then on it can be rung, and ring.
    Complete,
    /// The same, but the previous server was killed while it told the peer something. The peer goes on
    /// with the peers that it knows, and is told nothing more.
    CutOff,
}

/// A vector of a peer, which is a line. What is counted is counted since the peer came.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct VectorInfo {
    /// Which.
    pub vector: u32,
    /// Its line in the context.
    pub line: u32,
    /// How often it was rung.
    pub rings: u64,
    /// How often it delivered.
    pub deliveries: u64,
    /// How many rings joined a delivery that had not started yet.
    pub coalesced: u64,
    /// How many messages were dropped on request.
    pub dropped: u64,
    /// Whether it is masked.
    pub masked: bool,
    /// Whether a message is held.
    pub pending: bool,
    /// Deliveries that the peer's side, KVM or QEMU, has not taken out of the eventfd yet.
    pub untaken: u64,
}

/// A peer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PeerInfo {
    /// Its ID, which its guest reads as IVPosition.
    pub id: u32,
    /// The process, 0 if it cannot be seen from where the server runs.
    pub pid: u32,
    /// Whose process.
    pub uid: u32,
    /// How long it has been there.
    pub seconds: f64,
    /// Whether it knows everything.
    pub setup: Setup,
    /// Messages for which it has not made room yet.
    pub unsent: usize,
    /// Its vectors.
    pub vectors: Vec<VectorInfo>,
}

/// A server and its peers at a moment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Snapshot {
    /// Its process.
    pub pid: u32,
    /// The process that keeps all of it when the server ends, if there is one.
    pub keeper: Option<u32>,
    /// Where peers connect.
    pub socket: String,
    /// Vectors of each peer.
    pub vectors: u32,
    /// The most peers at a time.
    pub max_peers: u32,
    /// Bytes of shared memory.
    pub shm_size: u64,
    /// How many peers have come so far.
    pub came: u64,
    /// How many were thrown out.
    pub thrown_out: u64,
    /// How many were not let in, as there were too many.
    pub refused: u64,
    /// Those that are there, in the order in which they came.
    pub peers: Vec<PeerInfo>,
}

/// Answers who has connected. Only root and who runs the server are answered.
pub(super) fn answer(
    client: &UnixStream,
    context: &Context,
    snapshot: impl FnOnce() -> anyhow::Result<Snapshot>,
) -> anyhow::Result<()> {
    let (_, uid) = sys::peer_of(client.as_fd())?;
    if uid != 0 && uid != rustix::process::geteuid().as_raw() {
        return Err(io::Error::from(io::ErrorKind::PermissionDenied).into());
    }
    // A new connection has room for two bytes and descriptors; if not, it is not our loss.
    client.set_nonblocking(true)?;
    sys::send_fd(client.as_fd(), context.as_fd())?;
    let file = file_of(&snapshot()?)?;
    sys::send_fd(client.as_fd(), file.as_fd())?;
    Ok(())
}

fn file_of(snapshot: &Snapshot) -> anyhow::Result<OwnedFd> {
    let mut file = File::from(memfd_create("ivshmem-peers", MemfdFlags::CLOEXEC)?);
    file.write_all(&serde_json::to_vec(snapshot)?)?;
    file.rewind()?;
    Ok(file.into())
}

/// Asks the server whose control socket is at `path`.
pub fn ask(path: &Path) -> anyhow::Result<Snapshot> {
    let ask = || -> anyhow::Result<Snapshot> {
        let socket = UnixStream::connect(path)?;
        drop(sys::receive_fd(socket.as_fd())?);
        let file = sys::receive_fd(socket.as_fd())
            .context("only a context came: is that a 'doorbell watch'?")?;
        let mut text = String::new();
        File::from(file).read_to_string(&mut text)?;
        Ok(serde_json::from_str(&text)?)
    };
    ask().with_context(|| format!("ask the ivshmem server at {}", path.display()))
}

/// Returns the path of another socket of the server, beside the peers' one.
pub fn path_beside(socket: &Path, what: &str) -> std::path::PathBuf {
    let mut path = socket.as_os_str().to_owned();
    path.push(".");
    path.push(what);
    path.into()
}

/// Opens a control socket.
pub(super) fn open(path: &Path) -> anyhow::Result<share::Server> {
    share::Server::bind(path).with_context(|| format!("listen at {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use doorbell::EventFd;

    fn snapshot() -> Snapshot {
        Snapshot {
            pid: 7,
            keeper: Some(8),
            socket: "/tmp/x".into(),
            vectors: 2,
            max_peers: 9,
            shm_size: 4096,
            came: 3,
            thrown_out: 1,
            refused: 0,
            peers: vec![PeerInfo {
                id: 5,
                pid: 77,
                uid: 0,
                seconds: 1.5,
                setup: Setup::Unread,
                unsent: 0,
                vectors: Vec::new(),
            }],
        }
    }

    #[test]
    fn context_and_peers_arrive_without_anybody_waiting() {
        let (server, client) = UnixStream::pair().unwrap();
        let eventfd = EventFd::new(0).unwrap();
        let context = Context::from(eventfd.as_fd().try_clone_to_owned().unwrap());
        // Nobody has read anything when this returns.
        answer(&server, &context, || Ok(snapshot())).unwrap();
        drop(server);
        let shared = sys::receive_fd(client.as_fd()).unwrap();
        EventFd::from(shared).write(1).unwrap();
        assert_eq!(eventfd.read().unwrap(), 1);
        let file = sys::receive_fd(client.as_fd()).unwrap();
        let received: Snapshot = serde_json::from_reader(File::from(file)).unwrap();
        assert_eq!(received, snapshot());
    }

    #[test]
    fn watch_is_told_apart() {
        let path = std::env::temp_dir().join(format!("doorbell-control-{}", std::process::id()));
        let watch = share::Server::bind(&path).unwrap();
        let context = Context::from(
            EventFd::new(0)
                .unwrap()
                .as_fd()
                .try_clone_to_owned()
                .unwrap(),
        );
        let asking = std::thread::spawn({
            let path = path.clone();
            move || ask(&path).unwrap_err()
        });
        while watch.serve(&context).unwrap() == 0 {
            std::thread::yield_now();
        }
        let error = format!("{:#}", asking.join().unwrap());
        assert!(error.contains("doorbell watch"), "{error}");
    }
}
