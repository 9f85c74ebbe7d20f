// SPDX-License-Identifier: GPL-2.0-only

//! The server: one thread, which never waits for a peer.

use super::{
    control::{self, Snapshot},
    ids::Ids,
    keeper::{self, Keeper, Kept, KeptPeer, Progress},
    memory,
    outbox::Flushed,
    peer::{Leave, Peer},
    protocol::{self, Message, SharedFd},
    wires::{Ends, Wires},
};
use crate::{explain, share, sys};
use anyhow::{ensure, Context as _};
use doorbell::{uapi, Context};
use rustix::event::{
    epoll::{self, CreateFlags, EventData, EventFlags},
    Timespec,
};
use std::{
    collections::BTreeMap,
    fmt,
    net::Shutdown,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::net::UnixStream,
    },
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

/// What a server is to be like.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where peers connect.
    pub socket: PathBuf,
    /// Where the operator does.
    pub control: PathBuf,
    /// Vectors of each peer.
    pub vectors: u32,
    /// The most peers at a time.
    pub max_peers: u32,
    /// Bytes of shared memory, a power of two.
    pub shm_size: u64,
    /// Where it is.
    pub shm_place: memory::Place,
    /// How long who does not read is put up with.
    pub patience: Duration,
    /// Of the doorbell.
    pub device: PathBuf,
    /// The process that keeps the peers and their lines when the server ends, if there is to be one.
    pub keeper: Option<keeper::Options>,
}

/// What happens, for who wants to know.
pub type Log = Box<dyn FnMut(bool, fmt::Arguments<'_>) + Send>;

/// What an event is of: one of these, or a peer's serial number, which starts above them.
const NEW_PEER: u64 = 0;
const OPERATOR: u64 = 1;
const STOP: u64 = 2;
const KEEPER: u64 = 3;
const FIRST_PEER: u64 = 4;

/// How often those who are behind are looked at.
const TICK: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 100_000_000,
};

/// How many new peers come in before others have their turn.
const BATCH: usize = 32;

/// The server.
pub struct Server {
    options: Options,
    context: Arc<Context>,
    memory: SharedFd,
    listener: share::Server,
    control: share::Server,
    out: Outgoing,
    ids: Ids,
    /// By serial number: an event that is late must not be taken for one of the next who has the ID.
    peers: BTreeMap<u64, Peer>,
    next: u64,
    /// New ones have to wait: there is no descriptor for them.
    closed: bool,
    came: u64,
    thrown_out: u64,
    refused: u64,
    /// That somebody is not let in has been said.
    complained: bool,
    log: Log,
}

/// The means of telling peers something.
struct Outgoing {
    epoll: OwnedFd,
    /// The peers that are to go, with the reason.
    leaving: Vec<(u64, Leave)>,
    keeper: Option<Keeper>,
}

impl Outgoing {
    /// Calls `change` to add to the messages for a peer, and sends those that there is room for.
    fn tell(&mut self, serial: u64, peer: &mut Peer, change: impl FnOnce(&mut Peer)) {
        if peer.cut_off {
            return;
        }
        if peer.told == Progress::Told {
            peer.told = Progress::Behind;
            self.keep(|keeper| keeper.behind(peer.id));
        }
        change(peer);
        self.flush(serial, peer);
    }

    /// Sends the messages that there is room for; an event tells when there is more room.
    fn flush(&mut self, serial: u64, peer: &mut Peer) {
        let flushed = peer.flush().and_then(|flushed| {
            let full = flushed == Flushed::Full;
            if full != peer.waits_for_room {
                let room = if full {
                    EventFlags::OUT
                } else {
                    EventFlags::empty()
                };
                let data = EventData::new_u64(serial);
                epoll::modify(&self.epoll, &peer.socket, data, EventFlags::IN | room)?;
                peer.waits_for_room = full;
            }
            Ok(())
        });
        if let Err(error) = flushed {
            self.leaving.push((serial, Leave::Broken(error)));
        } else if peer.is_told() && !peer.cut_off && peer.told != Progress::Told {
            peer.told = Progress::Told;
            self.keep(|keeper| keeper.told(peer.id));
        }
    }

    /// Calls `store` with the keeper, if there is one.
    fn keep(&mut self, store: impl FnOnce(&mut Keeper)) {
        if let Some(keeper) = &mut self.keeper {
            store(keeper);
        }
    }
}

impl Server {
    /// Opens the device and the sockets. Peers can connect from now on, and are served as soon as it
    /// [runs](Server::run).
    pub fn new(options: Options, log: Log) -> anyhow::Result<Self> {
        let Options {
            vectors, max_peers, ..
        } = options;
        ensure!(
            (1..=protocol::MAX_PEERS).contains(&max_peers) && vectors >= 1,
            "one peer at least, {} at most, and one vector at least",
            protocol::MAX_PEERS
        );
        let lines = max_peers
            .checked_mul(vectors)
            .filter(|&lines| lines <= uapi::MAX_LINES)
            .with_context(|| {
                let max = uapi::MAX_LINES;
                format!("{max_peers} peers of {vectors} vectors take more than {max} lines")
            })?;
        let size = options.shm_size;
        ensure!(
            memory::round(size) == Some(size),
            "the size of shared memory is a power of two, from 4096 on"
        );
        // A socket and two eventfds per vector, for each.
        let files = 64 + u64::from(max_peers) + 2 * u64::from(lines);
        let allowed = sys::raise_open_files(files)?;
        ensure!(
            allowed >= files,
            "{max_peers} peers of {vectors} vectors take {files} open files, and {allowed} are \
             allowed: ulimit -n, or fewer peers"
        );
        let listener = share::Server::bind(&options.socket)
            .with_context(|| format!("listen at {}", options.socket.display()))?;
        let control = control::open(&options.control)?;
        // After the sockets: of two servers of one socket, the second does not come so far.
        let (mut keeper, mut kept) = match &options.keeper {
            Some(keeper) => Keeper::connect(keeper).map(|(keeper, kept)| (Some(keeper), kept))?,
            None => Default::default(),
        };
        let (context, memory) = match kept.context.take().and_then(Arc::into_inner) {
            Some(context) => {
                let context = Arc::new(Context::from(context));
                let memory = fit(&kept, &context, &options, lines)?;
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
                    keeper.share(copy, memory.clone(), vectors);
                }
                (context, memory)
            }
        };
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        for (fd, what) in [(listener.as_fd(), NEW_PEER), (control.as_fd(), OPERATOR)] {
            epoll::add(&epoll, fd, EventData::new_u64(what), EventFlags::IN)?;
        }
        if let Some(keeper) = &keeper {
            epoll::add(&epoll, keeper, EventData::new_u64(KEEPER), EventFlags::IN)?;
        }
        let mut server = Self {
            context,
            memory,
            listener,
            control,
            out: Outgoing {
                epoll,
                leaving: Vec::new(),
                keeper,
            },
            ids: Ids::new(max_peers),
            peers: BTreeMap::new(),
            next: FIRST_PEER,
            closed: false,
            came: 0,
            thrown_out: 0,
            refused: 0,
            complained: false,
            options,
            log,
        };
        for (id, peer) in kept.peers {
            server.adopt(id, peer)?;
        }
        server.settle();
        Ok(server)
    }

    /// Returns the process that keeps the peers and their lines when the server ends.
    pub fn keeper(&self) -> Option<u32> {
        self.out.keeper.as_ref().map(|keeper| keeper.pid)
    }

    /// Takes over a peer of the previous server.
    fn adopt(&mut self, id: u32, kept: KeptPeer) -> anyhow::Result<()> {
        let vectors = self.options.vectors;
        let progress = kept.progress;
        let mut fds = kept.into_fds();
        let socket = fds.next().map(UnixStream::from);
        let mut ends = Vec::new();
        while let (Some(ring), Some(deliver)) = (fds.next(), fds.next()) {
            ends.push(Ends {
                ring: Arc::new(ring.into()),
                deliver: Arc::new(deliver.into()),
            });
        }
        let socket = socket.filter(|_| ends.len() == vectors as usize);
        let Some(socket) = socket.filter(|_| self.ids.reserve(id)) else {
            // The previous server had not assigned its lines yet.
            self.out.keep(|keeper| keeper.left(id));
            return Ok(());
        };
        let who = sys::peer_of(socket.as_fd())?;
        let wires = Wires::adopt(self.context.clone(), id * vectors, ends)?;
        let peer = Peer::new(id, socket, who, wires, []).adopt(progress);
        let serial = self.next;
        epoll::add(
            &self.out.epoll,
            &peer.socket,
            EventData::new_u64(serial),
            EventFlags::IN,
        )?;
        self.next += 1;
        self.came += 1;
        (self.log)(
            false,
            format_args!("peer {id} is taken over: process {}", peer.pid),
        );
        self.peers.insert(serial, peer);
        if progress == Progress::Joining {
            self.out.leaving.push((serial, Leave::Unfinished));
        }
        Ok(())
    }

    /// Goes on without the keeper if it is lost.
    fn check_keeper(&mut self, hung_up: bool) {
        let Some(keeper) = &mut self.out.keeper else {
            return;
        };
        let why = match keeper.error() {
            Some(error) => error.to_string(),
            None if hung_up => "it has ended".into(),
            None => return,
        };
        (self.log)(
            true,
            format_args!(
                "the keeper is lost ({why}): when this server ends, no ring arrives any more"
            ),
        );
        self.out.keeper = None;
        for peer in self.peers.values_mut() {
            peer.wires.keep(false);
        }
    }

    /// The context whose lines the peers have: vector V of peer P is line P * vectors + V.
    pub fn context(&self) -> Arc<Context> {
        self.context.clone()
    }

    /// Serves until `stop` can be read; then tells everybody that everybody has left.
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
                    NEW_PEER => self.let_in(),
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
                self.look_after();
                self.settle();
            }
        }
    }

    /// Takes new peers.
    fn let_in(&mut self) {
        for _ in 0..BATCH {
            match self.listener.accept() {
                Ok(None) => return,
                Ok(Some(socket)) => {
                    // Somebody may try again and again.
                    let new = !self.complained;
                    let result = self.join(socket);
                    self.complained = result.is_err();
                    if let Err(error) = result {
                        (self.log)(
                            new,
                            format_args!("a peer was not let in: {}", explain(error.as_ref())),
                        );
                        self.refused += 1;
                    }
                    self.settle();
                }
                Err(error) => {
                    // It would be reported again and again, so: later.
                    (self.log)(true, format_args!("accept: {error}"));
                    return self.close(true);
                }
            }
        }
    }

    /// Closes the door for a while, or opens it again.
    fn close(&mut self, closed: bool) {
        let flags = match closed {
            true => EventFlags::empty(),
            false => EventFlags::IN,
        };
        let data = EventData::new_u64(NEW_PEER);
        if epoll::modify(&self.out.epoll, &self.listener, data, flags).is_ok() {
            self.closed = closed;
        }
    }

    /// Whoever does not get a place finds the connection closed before the first message.
    fn join(&mut self, socket: UnixStream) -> anyhow::Result<()> {
        socket.set_nonblocking(true)?;
        let who = sys::peer_of(socket.as_fd())?;
        let max = self.options.max_peers;
        let id = self
            .ids
            .take()
            .with_context(|| format!("there are {max} already"))?;
        match self.join_as(id, socket, who) {
            Ok(()) => Ok(()),
            Err(error) => {
                self.ids.put(id);
                self.out.keep(|keeper| keeper.left(id));
                Err(error)
            }
        }
    }

    fn join_as(&mut self, id: u32, socket: UnixStream, who: (u32, u32)) -> anyhow::Result<()> {
        let vectors = self.options.vectors;
        let ends = (0..vectors).map(|_| Ends::new());
        let ends = ends.collect::<Result<Vec<_>, _>>()?;
        // Before anything is assigned: the next server has to be able to deassign it.
        if let Some(keeper) = &mut self.out.keeper {
            keeper.peer(id, Arc::new(socket.try_clone()?));
            for ends in &ends {
                keeper.peer(id, ends.ring.clone());
                keeper.peer(id, ends.deliver.clone());
            }
        }
        let wires = Wires::new(self.context.clone(), id * vectors, ends)?;
        let mut setup = vec![
            Message::plain(protocol::VERSION),
            Message::plain(id),
            Message::with(protocol::MEMORY, self.memory.clone()),
        ];
        for other in self.peers.values() {
            setup.extend(
                other
                    .wires
                    .rings()
                    .map(|ring| Message::with(other.id, ring)),
            );
        }
        setup.extend(wires.deliveries().map(|fd| Message::with(id, fd)));
        let mut peer = Peer::new(id, socket, who, wires, setup);
        let serial = self.next;
        let data = EventData::new_u64(serial);
        epoll::add(&self.out.epoll, &peer.socket, data, EventFlags::IN)?;
        peer.wires.keep(self.out.keeper.is_some());
        self.next += 1;
        self.came += 1;
        (self.log)(
            false,
            format_args!(
                "peer {id} has come: process {}, lines {} to {}",
                peer.pid,
                id * vectors,
                (id + 1) * vectors - 1
            ),
        );
        for (&other, to) in &mut self.peers {
            self.out.tell(other, to, |to| {
                to.tell(peer.wires.rings().map(|ring| Message::with(id, ring)));
            });
        }
        let peer = self.peers.entry(serial).or_insert(peer);
        self.out.flush(serial, peer);
        Ok(())
    }

    fn answer(&mut self) {
        for _ in 0..BATCH {
            let result = match self.control.accept() {
                Ok(None) => return,
                Ok(Some(client)) => {
                    let context = self.context.clone();
                    control::answer(&client, &context, || self.snapshot())
                }
                Err(error) => Err(error.into()),
            };
            if let Err(error) = result {
                (self.log)(
                    false,
                    format_args!("a client was not answered: {}", explain(error.as_ref())),
                );
            }
        }
    }

    /// Everything that is known.
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

    /// Throws out who does not read; tries again what could not be done.
    fn look_after(&mut self) {
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
    }

    /// Has those leave who are to, and those who turn out to have left when they are told.
    fn settle(&mut self) {
        while let Some((serial, why)) = self.out.leaving.pop() {
            let Some(mut peer) = self.peers.remove(&serial) else {
                continue;
            };
            let (id, pid) = (peer.id, peer.pid);
            // The keeper has the connection, too: a server that takes over now finds it closed.
            let _ = peer.socket.shutdown(Shutdown::Both);
            peer.wires.keep(false);
            // Its lines are clear when the next one gets them.
            drop(peer);
            self.ids.put(id);
            let thrown_out = matches!(why, Leave::Spoke | Leave::Stalled);
            self.thrown_out += u64::from(thrown_out);
            (self.log)(thrown_out, format_args!("peer {id} (process {pid}) {why}"));
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
        // Whoever is left would ring a line that is no more.
        while let Some((&serial, _)) = self.peers.first_key_value() {
            self.out.leaving.push((serial, Leave::End));
            self.settle();
        }
    }
}

/// Returns the kept memory.
///
/// # Errors
///
/// Fails if `options` are not those of the previous server.
fn fit(kept: &Kept, context: &Context, options: &Options, lines: u32) -> anyhow::Result<SharedFd> {
    let memory = kept.memory.clone();
    let memory = memory.context("the keeper has no memory: end it, and start again")?;
    let have = rustix::fs::fstat(&memory)?;
    let size = have.st_size as u64;
    let (vectors, nr_lines) = (kept.vectors, context.info()?.nr_lines);
    ensure!(
        (vectors, nr_lines, size) == (options.vectors, lines, options.shm_size),
        "peers are kept with other options\n  start with -n {vectors} --max-peers {} -l {size}, or \
         end the keeper, and with it the rings of all peers",
        nr_lines / vectors.max(1)
    );
    if let memory::Place::Named(name) = &options.shm_place {
        let named = rustix::fs::fstat(memory::create(&options.shm_place, size)?)?;
        ensure!(
            (named.st_dev, named.st_ino) == (have.st_dev, have.st_ino),
            "peers are kept with other memory than {name}\n  start with the --shm-name of the previous \
             server, or end the keeper, and with it the rings of all peers"
        );
    }
    Ok(memory)
}
