// SPDX-License-Identifier: GPL-2.0-only

//! The server's interface for its operator: the state of the peers and their lines.
//!
//! A client of the control socket gets the context, as from any [`share::Server`]. With the context
//! it masks, clears and rings lines. A second descriptor follows: a file with a [`Snapshot`] in
//! JSON. Both fit the socket of a new connection, so the server never waits for a client.

use crate::{share, sys};
use anyhow::{ensure, Context as _};
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

/// More than the size of a [`Snapshot`] of as many peers and lines as there can be.
const MAX_SIZE: u64 = 64 << 20;

/// The progress of a peer's set-up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Setup {
    /// A part of it is not sent: the peer has to read first.
    Sending,
    /// All of it is sent; a part of it is not read.
    Unread,
    /// The peer has read all of it. From now on it can ring, and be rung.
    Complete,
    /// The same, but the previous server was killed while it sent the peer an update. The peer
    /// continues with the peers that it knows, and gets no more messages.
    CutOff,
}

/// A vector of a peer, which is a line. Counts start when the peer connects.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct VectorInfo {
    /// The number of the vector.
    pub vector: u32,
    /// Its line in the context.
    pub line: u32,
    /// Rings.
    pub rings: u64,
    /// Deliveries.
    pub deliveries: u64,
    /// Rings that joined a delivery that had not started yet.
    pub coalesced: u64,
    /// Messages that were dropped on request.
    pub dropped: u64,
    /// True if the line is masked.
    pub masked: bool,
    /// True if the line holds a message.
    pub pending: bool,
    /// Deliveries that the peer's side, KVM or QEMU, has not consumed from the eventfd yet.
    pub untaken: u64,
}

/// A peer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PeerInfo {
    /// Its ID, which its guest reads as IVPosition.
    pub id: u32,
    /// Its process ID; 0 if the server cannot see the process.
    pub pid: u32,
    /// The user ID of the process.
    pub uid: u32,
    /// The time since it connected.
    pub seconds: f64,
    /// The progress of its set-up.
    pub setup: Setup,
    /// Messages that wait for room in its socket.
    pub unsent: usize,
    /// Its vectors.
    pub vectors: Vec<VectorInfo>,
}

/// The state of a server and its peers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Snapshot {
    /// The process ID of the server.
    pub pid: u32,
    /// The process ID of the keeper, if there is one.
    pub keeper: Option<u32>,
    /// The path of the peers' socket.
    pub socket: String,
    /// Number of vectors of each peer.
    pub vectors: u32,
    /// Maximum number of peers.
    pub max_peers: u32,
    /// Size of the shared memory in bytes.
    pub shm_size: u64,
    /// Number of peers that have connected so far.
    pub came: u64,
    /// Number of peers that the server disconnected.
    pub thrown_out: u64,
    /// Number of peers that were refused, because there were too many or resources were used up.
    pub refused: u64,
    /// The connected peers, in the order of their connection.
    pub peers: Vec<PeerInfo>,
}

/// Answers a client. Only root and the user of the server get an answer.
pub(super) fn answer(
    client: &UnixStream,
    context: &Context,
    snapshot: impl FnOnce() -> anyhow::Result<Snapshot>,
) -> anyhow::Result<()> {
    let (_, uid) = sys::peer_of(client.as_fd())?;
    if !sys::is_trusted(uid) {
        return Err(io::Error::from(io::ErrorKind::PermissionDenied).into());
    }
    // A new connection has room for two messages. If it has not, only this client fails.
    client.set_nonblocking(true)?;
    let _reserve = sys::Reserve::take();
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

/// Queries the server whose control socket is at `path`.
pub fn query(path: &Path) -> anyhow::Result<Snapshot> {
    let receive = || -> anyhow::Result<Snapshot> {
        let client = share::Client::connect(path)?;
        drop(client.receive()?);
        let file = client.receive().map_err(|error| match error.kind() {
            io::ErrorKind::TimedOut => error.into(),
            _ => anyhow::Error::new(error)
                .context("the server sent only a context: is it a 'doorbell watch'?"),
        })?;
        read(file.into(), MAX_SIZE)
    };
    receive().with_context(|| format!("query the ivshmem server at {}", path.display()))
}

/// Reads a [`Snapshot`] from the first `limit` bytes of a file. Refuses a pipe, which may not end.
fn read(file: File, limit: u64) -> anyhow::Result<Snapshot> {
    ensure!(file.metadata()?.is_file(), "the server sent no file");
    let mut text = String::new();
    file.take(limit).read_to_string(&mut text)?;
    Ok(serde_json::from_str(&text)?)
}

/// Returns the path of another socket of the server, beside the peers' one.
pub fn path_beside(socket: &Path, what: &str) -> std::path::PathBuf {
    let mut path = socket.as_os_str().to_owned();
    path.push(".");
    path.push(what);
    path.into()
}

/// Listens at `path`, for the operator or for peers.
pub fn open(path: &Path) -> anyhow::Result<share::Server> {
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
    fn context_and_peers_arrive_without_a_wait() {
        let (server, client) = UnixStream::pair().unwrap();
        let eventfd = EventFd::new(0).unwrap();
        let context = Context::from(eventfd.as_fd().try_clone_to_owned().unwrap());
        // The client has not read anything when this returns.
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
    fn only_a_file_up_to_the_limit_is_read() {
        let file = || File::from(file_of(&snapshot()).unwrap());
        let size = file().metadata().unwrap().len();
        assert_eq!(read(file(), size).unwrap(), snapshot());
        read(file(), size - 1).unwrap_err();
        // The writer does not write, and does not close it.
        let (reader, _writer) = sys::pipe().unwrap();
        let error = read(reader.into(), MAX_SIZE).unwrap_err();
        assert!(error.to_string().contains("no file"), "{error}");
    }

    #[test]
    fn socket_of_watch_is_recognized() {
        let path = std::env::temp_dir().join(format!("doorbell-operator-{}", std::process::id()));
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
            move || query(&path).unwrap_err()
        });
        while watch.serve(&context) == 0 {
            std::thread::yield_now();
        }
        let error = format!("{:#}", asking.join().unwrap());
        assert!(error.contains("doorbell watch"), "{error}");
    }
}
