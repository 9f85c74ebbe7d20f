// SPDX-License-Identifier: GPL-2.0-only

//! The server: one thread, which never waits for a peer.

mod join;
mod outgoing;
mod takeover;

use super::{
    ids::Ids,
    keeper::{self, Keeper},
    memory,
    operator::{self, Snapshot},
    peer::{Leave, Peer},
    protocol::{self, SharedFd},
};
use crate::{explain, share, sys};
use anyhow::{ensure, Context as _};
use doorbell::{uapi, Context};
use outgoing::Outgoing;
use rustix::event::{
    epoll::{self, CreateFlags, EventData, EventFlags},
    Timespec,
};
use std::{
    collections::BTreeMap,
    fmt,
    net::Shutdown,
    os::fd::{AsFd, BorrowedFd},
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

/// Parameters of a server.
#[derive(Clone, Debug)]
pub struct Options {
    /// The path of the peers' socket, for the operator.
    pub socket: PathBuf,
    /// The path of the operator's socket.
    pub control: PathBuf,
    /// Number of vectors of each peer.
    pub vectors: u32,
    /// Maximum number of peers.
    pub max_peers: u32,
    /// Size of the shared memory in bytes, a power of two.
    pub shm_size: u64,
    /// The place of the shared memory.
    pub shm_place: memory::Place,
    /// The timeout of a peer that does not read.
    pub patience: Duration,
    /// The path of the doorbell device.
    pub device: PathBuf,
    /// The keeper of the peers and their lines, if they are to survive the server.
    pub keeper: Option<keeper::Options>,
}

/// A receiver of log messages; true marks an important one.
pub type Log = Box<dyn FnMut(bool, fmt::Arguments<'_>) + Send>;

/// The data of an event: one of these, or the serial number of a peer, which is larger.
const NEW_PEER: u64 = 0;
const OPERATOR: u64 = 1;
const STOP: u64 = 2;
const KEEPER: u64 = 3;
const FIRST_PEER: u64 = 4;

/// The interval between checks of peers that are behind.
const TICK: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 100_000_000,
};

/// The number of messages that the socket of a peer holds, roughly.
const UNREAD: u64 = 300;

/// Maximum number of connections that are accepted at once.
const BATCH: usize = 32;

/// The server.
pub struct Server {
    options: Options,
    context: Arc<Context>,
    memory: SharedFd,
    listener: share::Server,
    operator: share::Server,
    out: Outgoing,
    ids: Ids,
    /// By serial number: at a late event, the ID may belong to another peer.
    peers: BTreeMap<u64, Peer>,
    next: u64,
    /// The time since which the kernel refuses descriptors for a peer, as others do not read theirs.
    starved: Option<Instant>,
    /// No connections are accepted for a while, as there are no descriptors for them.
    closed: bool,
    came: u64,
    thrown_out: u64,
    refused: u64,
    /// The last peer was refused. A repetition is not important.
    refused_last: bool,
    log: Log,
}

impl Server {
    /// Opens the device and the operator's socket. Peers that connect to `listener` are served as soon
    /// as the server [runs](Server::run).
    pub fn new(options: Options, listener: share::Server, log: Log) -> anyhow::Result<Self> {
        let Options {
            vectors, max_peers, ..
        } = options;
        ensure!(
            (1..=protocol::MAX_PEERS).contains(&max_peers) && vectors >= 1,
            "--max-peers must be 1 to {}, and -n at least 1",
            protocol::MAX_PEERS
        );
        let lines = max_peers
            .checked_mul(vectors)
            .filter(|&lines| lines <= uapi::MAX_LINES)
            .with_context(|| {
                let max = uapi::MAX_LINES;
                format!("{max_peers} peers of {vectors} vectors need more than {max} lines")
            })?;
        let size = options.shm_size;
        ensure!(
            memory::round(size) == Some(size),
            "the size of the shared memory must be a power of two, at least 4096"
        );
        // Each peer has a socket, and two eventfds per vector.
        let files = 64 + u64::from(max_peers) + 2 * u64::from(lines);
        // The same limit holds for the descriptors that peers have not read. A part of it remains
        // for the keeper and the operator.
        let most = sys::reserve_open_files(files)?;
        let of_peer = UNREAD.min(u64::from(lines) + 1);
        let wanted = files + u64::from(max_peers) * of_peer;
        let allowed = sys::raise_open_files(wanted.min(most))?;
        ensure!(
            allowed >= files,
            "{max_peers} peers of {vectors} vectors need {files} open files, and {allowed} are \
             allowed: raise ulimit -n, or use fewer peers"
        );
        let operator = operator::open(&options.control)?;
        // After the sockets: of two servers with the same socket, the second one fails before this.
        let (mut keeper, mut kept) = match &options.keeper {
            Some(keeper) => Keeper::connect(keeper).map(|(keeper, kept)| (Some(keeper), kept))?,
            None => Default::default(),
        };
        let (context, memory) = match kept.context.take().and_then(Arc::into_inner) {
            Some(context) => {
                let context = Arc::new(Context::from(context));
                let memory = takeover::fit(&kept, &context, &options, lines)?;
                (context, memory)
            }
            None => {
                let context = Arc::new(Context::open_path(&options.device)?);
                context.set_lines(lines)?;
                let memory = memory::create(&options.shm_place, size)
                    .with_context(|| format!("create {size} bytes of shared memory"))?;
                let memory: SharedFd = Arc::new(memory);
                if let Some(keeper) = &mut keeper {
                    let copy = Arc::new(context.as_fd().try_clone_to_owned()?);
                    keeper.share(copy, memory.clone(), vectors)?;
                }
                (context, memory)
            }
        };
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        for (fd, what) in [(listener.as_fd(), NEW_PEER), (operator.as_fd(), OPERATOR)] {
            epoll::add(&epoll, fd, EventData::new_u64(what), EventFlags::IN)?;
        }
        if let Some(keeper) = &keeper {
            epoll::add(&epoll, keeper, EventData::new_u64(KEEPER), EventFlags::IN)?;
        }
        let mut server = Self {
            context,
            memory,
            listener,
            operator,
            out: Outgoing {
                epoll,
                leaving: Vec::new(),
                keeper,
            },
            ids: Ids::new(max_peers),
            peers: BTreeMap::new(),
            next: FIRST_PEER,
            starved: None,
            closed: false,
            came: 0,
            thrown_out: 0,
            refused: 0,
            refused_last: false,
            options,
            log,
        };
        for (id, peer) in kept.peers {
            server.adopt(id, peer)?;
        }
        server.settle();
        Ok(server)
    }

    /// Returns the process ID of the keeper, if there is one.
    pub fn keeper(&self) -> Option<u32> {
        self.out.keeper.as_ref().map(|keeper| keeper.pid)
    }

    /// Returns the context of the peers' lines. Vector V of peer P is line P * vectors + V.
    pub fn context(&self) -> Arc<Context> {
        self.context.clone()
    }

    /// Serves until `stop` is readable. Then sends all peers that all others have left.
    pub fn run(mut self, stop: BorrowedFd<'_>) -> anyhow::Result<()> {
        epoll::add(
            &self.out.epoll,
            stop,
            EventData::new_u64(STOP),
            EventFlags::IN,
        )?;
        let none = epoll::Event {
            flags: EventFlags::empty(),
            data: EventData::new_u64(0),
        };
        let mut events = [none; 64];
        loop {
            let waiting = self.closed || self.peers.values_mut().any(Peer::is_behind);
            let timeout = waiting.then_some(&TICK);
            let count = match epoll::wait(&self.out.epoll, &mut events, timeout) {
                Err(rustix::io::Errno::INTR) => continue,
                result => result?,
            };
            for event in &events[..count] {
                match event.data.u64() {
                    NEW_PEER => self.accept_peers(),
                    OPERATOR => self.answer(),
                    KEEPER => self.check_keeper(true),
                    STOP => {
                        self.end();
                        return Ok(());
                    }
                    serial => self.peer_event(serial, event.flags),
                }
                self.settle();
            }
            if waiting {
                self.check_peers();
                self.settle();
            } else {
                self.starved = None;
            }
        }
    }

    fn answer(&mut self) {
        for _ in 0..BATCH {
            let client = match self.operator.accept() {
                Ok(None) => return,
                Ok(Some(client)) => client,
                Err(error) => return self.close_after(&error),
            };
            let context = self.context.clone();
            if let Err(error) = operator::answer(&client, &context, || self.snapshot()) {
                (self.log)(
                    false,
                    format_args!(
                        "a client of the operator's socket was not answered: {}",
                        explain(error.as_ref())
                    ),
                );
            }
        }
    }

    /// Returns the state of the server.
    pub fn snapshot(&mut self) -> anyhow::Result<Snapshot> {
        Ok(Snapshot {
            pid: std::process::id(),
            keeper: self.keeper(),
            socket: self.options.socket.display().to_string(),
            vectors: self.options.vectors,
            max_peers: self.options.max_peers,
            shm_size: self.options.shm_size,
            came: self.came,
            thrown_out: self.thrown_out,
            refused: self.refused,
            peers: self
                .peers
                .values_mut()
                .map(Peer::info)
                .collect::<anyhow::Result<_>>()?,
        })
    }

    fn peer_event(&mut self, serial: u64, flags: EventFlags) {
        let Some(peer) = self.peers.get_mut(&serial) else {
            return;
        };
        if flags != EventFlags::OUT {
            if let Some(why) = peer.listen() {
                return self.out.leaving.push((serial, why));
            }
        }
        self.out.flush(serial, peer);
    }

    /// Disconnects peers that do not read, and repeats failed operations.
    fn check_peers(&mut self) {
        if self.closed {
            self.close(false);
        }
        for (&serial, peer) in &mut self.peers {
            if peer.is_stalled(self.options.patience) {
                self.out.leaving.push((serial, Leave::Stalled));
            } else if peer.is_behind() {
                self.out.flush(serial, peer);
            }
        }
        self.check_starved();
    }

    /// Disconnects the peer with the most unread data if the kernel has refused descriptors for
    /// others for the timeout. Such a peer may read now and then.
    fn check_starved(&mut self) {
        if !self.peers.values().any(Peer::is_starved) {
            self.starved = None;
            return;
        }
        let since = *self.starved.get_or_insert_with(Instant::now);
        if since.elapsed() <= self.options.patience {
            return;
        }
        self.starved = None;
        let unread = self
            .peers
            .iter()
            .map(|(&serial, peer)| (peer.unread(), serial));
        if let Some((1.., serial)) = unread.max() {
            self.out.leaving.push((serial, Leave::Stalled));
        }
    }

    /// Removes the peers that have to leave. Their departure may show that other peers have left,
    /// too.
    fn settle(&mut self) {
        while let Some((serial, why)) = self.out.leaving.pop() {
            let Some(mut peer) = self.peers.remove(&serial) else {
                continue;
            };
            let (id, pid) = (peer.id, peer.pid);
            // The keeper has the connection, too: a server that takes over now finds it closed.
            let _ = peer.socket.shutdown(Shutdown::Both);
            peer.wires.keep(false);
            // The lines are clear before another peer gets them.
            drop(peer);
            self.ids.put(id);
            let disconnected = matches!(why, Leave::Spoke | Leave::Stalled);
            self.thrown_out += u64::from(disconnected);
            (self.log)(
                disconnected,
                format_args!("peer {id} (process {pid}) {why}"),
            );
            for (&other, to) in &mut self.peers {
                let vectors = self.options.vectors;
                self.out.tell(other, to, |to| to.tell_left(id, vectors));
            }
            self.out.keep(|keeper| keeper.left(id));
        }
        self.check_keeper(false);
    }

    fn end(mut self) {
        if let Some(keeper) = &self.out.keeper {
            let (pid, peers) = (keeper.pid, self.peers.len());
            return (self.log)(
                false,
                format_args!("process {pid} keeps {peers} peers for the next server"),
            );
        }
        // A peer that stayed connected would ring a line that no longer exists.
        while let Some((&serial, _)) = self.peers.first_key_value() {
            self.out.leaving.push((serial, Leave::End));
            self.settle();
        }
    }
}
