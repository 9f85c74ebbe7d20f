// SPDX-License-Identifier: GPL-2.0-only

//! A process that holds the context, the memory and the peers' descriptors while no server runs.
//!
//! It is systemd's file descriptor store (`FDSTORE=1` of sd_notify(3)) on a socket of our own. The
//! server stores each descriptor before it uses it. When the server ends, however it does, the
//! keeper still has the peers' connections, so they do not notice. The next server gets all of it.
//!
//! Both directions have the same messages, in the form of the [protocol]'s: a number, and maybe a
//! descriptor. The upper half of the number is a subject, the lower half a value.

use super::protocol::{self, Message, SharedFd};
use crate::{share, sys};
use anyhow::{bail, ensure, Context as _};
use rustix::event::{poll, PollFd, PollFlags, Timespec};
use std::{
    collections::BTreeMap,
    io,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::net::UnixStream,
    },
    path::{Path, PathBuf},
    process::Child,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

/// The timeout of each end for the other one.
const PATIENCE: Duration = Duration::from_secs(10);

/// The subject of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Subject {
    /// With a descriptor: the next one of this peer. Without: the peer has left.
    Peer,
    /// The peer has been told everything.
    Told,
    /// The peer is about to be told something.
    Behind,
    Context,
    Memory,
    /// The number of vectors of each peer.
    Vectors,
    /// The next server has got everything.
    End,
}

use Subject::*;
const SUBJECTS: [Subject; 7] = [Peer, Told, Behind, Context, Memory, Vectors, End];

fn number(subject: Subject, value: u32) -> i64 {
    ((subject as i64) << 32) | i64::from(value)
}

fn subject(number: i64) -> io::Result<(Subject, u32)> {
    let subject = usize::try_from(number >> 32).ok();
    let subject = subject.and_then(|at| SUBJECTS.get(at).copied());
    Ok((subject.ok_or(io::ErrorKind::InvalidData)?, number as u32))
}

/// The progress of a peer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Progress {
    /// Not all of its set-up.
    #[default]
    Joining,
    /// Everything.
    Told,
    /// Everything once, and maybe a part of what came then.
    Behind,
}

/// The descriptors of a peer: its connection, then two for each vector.
#[derive(Debug, Default)]
pub struct KeptPeer {
    fds: Vec<Arc<OwnedFd>>,
    /// Its progress.
    pub progress: Progress,
}

impl KeptPeer {
    /// Returns its descriptors; the caller is the only owner.
    pub fn into_fds(self) -> impl Iterator<Item = OwnedFd> {
        self.fds.into_iter().filter_map(Arc::into_inner)
    }
}

/// All that is kept.
#[derive(Debug, Default)]
pub struct Kept {
    /// The context, unless no server has stored one yet.
    pub context: Option<Arc<OwnedFd>>,
    /// The memory.
    pub memory: Option<Arc<OwnedFd>>,
    /// The number of vectors of each peer.
    pub vectors: u32,
    /// The peers by ID.
    pub peers: BTreeMap<u32, KeptPeer>,
}

impl Kept {
    /// Applies a message; returns false for the last one.
    fn apply(&mut self, (number, fd): (i64, Option<OwnedFd>)) -> io::Result<bool> {
        let (subject, value) = subject(number)?;
        let fd = fd.map(Arc::new);
        match (subject, fd) {
            (Peer, Some(fd)) => self.peers.entry(value).or_default().fds.push(fd),
            (Peer, None) => drop(self.peers.remove(&value)),
            (Told | Behind, None) => {
                let peer = self
                    .peers
                    .get_mut(&value)
                    .ok_or(io::ErrorKind::InvalidData)?;
                peer.progress = match subject {
                    Told => Progress::Told,
                    _ => Progress::Behind,
                };
            }
            (Context, Some(fd)) => self.context = Some(fd),
            (Memory, Some(fd)) => self.memory = Some(fd),
            (Vectors, None) => self.vectors = value,
            (End, None) => return Ok(false),
            _ => return Err(io::ErrorKind::InvalidData.into()),
        }
        Ok(true)
    }

    /// Returns the messages that make another one the same.
    fn messages(&self) -> impl Iterator<Item = Message> + '_ {
        let with = |subject, value, fd: &Arc<OwnedFd>| {
            Message::with(number(subject, value), fd.clone() as SharedFd)
        };
        let context = self.context.iter().map(move |fd| with(Context, 0, fd));
        let memory = self.memory.iter().map(move |fd| with(Memory, 0, fd));
        let vectors = Message::plain(number(Vectors, self.vectors));
        let peers = self.peers.iter().flat_map(move |(&id, peer)| {
            let state = match peer.progress {
                Progress::Joining => None,
                Progress::Told => Some(Message::plain(number(Told, id))),
                Progress::Behind => Some(Message::plain(number(Behind, id))),
            };
            let fds = peer.fds.iter().map(move |fd| with(Peer, id, fd));
            fds.chain(state)
        });
        let end = Message::plain(number(End, 0));
        context
            .chain(memory)
            .chain([vectors])
            .chain(peers)
            .chain([end])
    }

    /// Returns the connections that their peers have not closed.
    fn connected<'a>(&'a self) -> io::Result<Vec<BorrowedFd<'a>>> {
        let sockets = self.peers.values().filter_map(|peer| peer.fds.first());
        let sockets: Vec<_> = sockets.map(|socket| socket.as_fd()).collect();
        let mut polled: Vec<_> = sockets.iter().map(hang_up).collect();
        poll(&mut polled, Some(&Timespec::default()))?;
        let is_up = |(socket, polled): (&BorrowedFd<'a>, &PollFd<'_>)| {
            polled.revents().is_empty().then_some(*socket)
        };
        Ok(sockets.iter().zip(&polled).filter_map(is_up).collect())
    }
}

fn hang_up<'a>(fd: &'a BorrowedFd<'_>) -> PollFd<'a> {
    PollFd::new(fd, PollFlags::empty())
}

/// Sends a message, and waits until there is room for it.
fn send(socket: &UnixStream, message: &Message) -> io::Result<()> {
    let start = Instant::now();
    loop {
        match message.send(socket) {
            // No room, too many descriptors in flight, or no memory: the receiver has to go on.
            Err(error)
                if start.elapsed() < PATIENCE
                    && matches!(
                        error.raw_os_error(),
                        Some(
                            libc::EAGAIN
                                | libc::ETOOMANYREFS
                                | libc::ENOBUFS
                                | libc::ENOMEM
                                | libc::EINTR
                        )
                    ) =>
            {
                thread::sleep(Duration::from_millis(1));
            }
            result => return result,
        }
    }
}

/// Returns true if the other end of a connection runs as root or as our user: it gets, or has,
/// everything.
fn is_trusted(socket: &UnixStream) -> bool {
    let ours = rustix::process::geteuid().as_raw();
    sys::peer_of(socket.as_fd()).is_ok_and(|(_, uid)| uid == 0 || uid == ours)
}

/// Keeps what servers that connect to `path` store, one server at a time.
///
/// Ends when `stop` can be read; and when there is no server and no peer. The first server has
/// some seconds to connect.
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
        // First, so that the end of one server is known before the next one comes.
        if let Some(socket) = server.as_ref().filter(|_| stored) {
            let received = protocol::receive(socket);
            if received.and_then(|message| kept.apply(message)).is_err() {
                server = None;
            }
        } else if called {
            let Some(new) = listener.accept()? else {
                continue;
            };
            if server.is_none() && is_trusted(&new) {
                let sent = kept.messages().try_for_each(|message| send(&new, &message));
                server = sent.is_ok().then_some(new);
            }
        }
    }
}

/// The way to a keeper.
#[derive(Clone, Debug)]
pub struct Options {
    /// The keeper's socket.
    pub socket: PathBuf,
    /// Starts a process that [runs](run) a keeper there.
    pub start: fn(&Path) -> io::Result<Child>,
}

/// A server's connection to its keeper.
#[derive(Debug)]
pub struct Keeper {
    socket: UnixStream,
    /// The keeper's process.
    pub pid: u32,
    error: Option<io::Error>,
}

impl Keeper {
    /// Connects to the keeper, after starting one if there is none; returns what it has kept.
    pub fn connect(options: &Options) -> anyhow::Result<(Self, Kept)> {
        let path = options.socket.display();
        let start = Instant::now();
        let mut child = None;
        loop {
            let error = match UnixStream::connect(&options.socket) {
                Ok(socket) => match Self::load(socket) {
                    Ok(all) => return Ok(all),
                    Err(error) => error,
                },
                Err(error) if child.is_none() && has_no_listener(&error) => {
                    child = Some((options.start)(&options.socket).context("start a keeper")?);
                    continue;
                }
                Err(error) => error.into(),
            };
            if let Some(status) = child
                .as_mut()
                .and_then(|child| child.try_wait().transpose())
            {
                bail!("the keeper at {path} ended: {}", status?);
            }
            if start.elapsed() > PATIENCE {
                return Err(error.context(format!(
                    "the keeper at {path} does not answer; does another server use it? Otherwise end \
                     it (fuser {path}) and start again"
                )));
            }
            thread::sleep(Duration::from_millis(10));
        }
    }

    fn load(socket: UnixStream) -> anyhow::Result<(Self, Kept)> {
        ensure!(is_trusted(&socket), "it belongs to another user");
        socket.set_read_timeout(Some(PATIENCE))?;
        let mut kept = Kept::default();
        while kept.apply(protocol::receive(&socket)?)? {}
        let (pid, _) = sys::peer_of(socket.as_fd())?;
        let keeper = Self {
            socket,
            pid,
            error: None,
        };
        Ok((keeper, kept))
    }

    /// Stores the context, the memory, and the number of vectors of each peer.
    pub fn share(&mut self, context: SharedFd, memory: SharedFd, vectors: u32) {
        self.send(Message::plain(number(Vectors, vectors)));
        self.send(Message::with(number(Memory, 0), memory));
        // Last: with it, all of it is there.
        self.send(Message::with(number(Context, 0), context));
    }

    /// Stores a descriptor of the peer `id`: its connection, then those of its vectors.
    pub fn peer(&mut self, id: u32, fd: SharedFd) {
        self.send(Message::with(number(Peer, id), fd));
    }

    /// Removes all of the peer `id`.
    pub fn left(&mut self, id: u32) {
        self.send(Message::plain(number(Peer, id)));
    }

    /// Stores that the peer `id` has been told everything.
    pub fn told(&mut self, id: u32) {
        self.send(Message::plain(number(Told, id)));
    }

    /// Stores that the peer `id` is about to be told something.
    pub fn behind(&mut self, id: u32) {
        self.send(Message::plain(number(Behind, id)));
    }

    /// Sends a message, unless one could not be sent before.
    fn send(&mut self, message: Message) {
        if self.error.is_none() {
            self.error = send(&self.socket, &message).err();
        }
    }

    /// Takes the reason for which the keeper is lost, if it is.
    pub fn error(&mut self) -> Option<io::Error> {
        self.error.take()
    }
}

impl AsFd for Keeper {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

fn has_no_listener(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use doorbell::EventFd;
    use std::{io::Read, os::unix::net::UnixListener};

    fn options(name: &str) -> Options {
        let name = format!("doorbell-keeper-{name}-{}", std::process::id());
        Options {
            socket: std::env::temp_dir().join(name),
            start: |_| Err(io::ErrorKind::Unsupported.into()),
        }
    }

    /// Runs a keeper in a thread, and waits until it listens.
    fn keeper(options: &Options) -> thread::JoinHandle<anyhow::Result<()>> {
        let path = options.socket.clone();
        let never = EventFd::new(0).unwrap();
        let thread = thread::spawn(move || run(&path, never.as_fd()));
        while !options.socket.exists() {
            thread::yield_now();
        }
        thread
    }

    fn eventfd() -> Arc<EventFd> {
        Arc::new(EventFd::new(0).unwrap())
    }

    #[test]
    fn numbers_say_what_they_are_about() {
        for what in SUBJECTS {
            for value in [0, 7, u32::MAX] {
                assert_eq!(subject(number(what, value)).unwrap(), (what, value));
            }
        }
        assert!(subject(-1).is_err());
        assert!(subject((SUBJECTS.len() as i64) << 32).is_err());
    }

    #[test]
    fn next_server_gets_what_the_last_one_stored() {
        let options = options("next");
        let thread = keeper(&options);
        let (mut first, kept) = Keeper::connect(&options).unwrap();
        assert!(kept.context.is_none() && kept.peers.is_empty());
        let (context, memory, ring) = (eventfd(), eventfd(), eventfd());
        first.share(context.clone(), memory.clone(), 3);
        let sockets: Vec<_> = (0..4).map(|_| UnixStream::pair().unwrap()).collect();
        for (id, (ours, _)) in (0..).zip(&sockets) {
            first.peer(id, Arc::new(ours.try_clone().unwrap()));
            first.peer(id, ring.clone());
        }
        first.told(1);
        first.told(2);
        first.behind(2);
        first.left(3);
        assert!(first.error().is_none());
        drop(first);
        let mut theirs: Vec<_> = sockets.into_iter().map(|(_, theirs)| theirs).collect();

        let (second, kept) = Keeper::connect(&options).unwrap();
        assert_eq!(second.pid, std::process::id());
        assert_eq!(kept.vectors, 3);
        let same = |fd: Option<Arc<OwnedFd>>, as_ours: &EventFd| {
            sys::write_u64(fd.unwrap().as_fd(), 5).unwrap();
            assert_eq!(as_ours.read().unwrap(), 5);
        };
        same(kept.context, &context);
        same(kept.memory, &memory);
        let progress: Vec<_> = kept
            .peers
            .iter()
            .map(|(id, peer)| (*id, peer.progress))
            .collect();
        let expected = [
            (0, Progress::Joining),
            (1, Progress::Told),
            (2, Progress::Behind),
        ];
        assert_eq!(progress, expected);
        for peer in kept.peers.into_values() {
            let fds: Vec<_> = peer.into_fds().collect();
            assert_eq!(fds.len(), 2);
        }
        // That of the peer that has left is closed, the others are not.
        assert_eq!(theirs[3].read(&mut [0]).unwrap(), 0);
        theirs[0].set_nonblocking(true).unwrap();
        assert!(theirs[0].read(&mut [0]).is_err());

        // The last peer goes, and the keeper with it.
        drop(second);
        theirs.truncate(1);
        thread::sleep(Duration::from_millis(20));
        assert!(!thread.is_finished());
        theirs.clear();
        thread.join().unwrap().unwrap();
        assert!(!options.socket.exists());
    }

    #[test]
    fn one_server_at_a_time_and_none_that_talks_nonsense() {
        let options = options("one");
        let thread = keeper(&options);
        let (mut first, _) = Keeper::connect(&options).unwrap();
        first.share(eventfd(), eventfd(), 1);
        let (ours, _theirs) = UnixStream::pair().unwrap();
        first.peer(0, Arc::new(ours));
        // The second gets nothing, not even the first message.
        let mut second = UnixStream::connect(&options.socket).unwrap();
        assert!(matches!(second.read(&mut [0]), Ok(0) | Err(_)));
        // A descriptor that does not come, and a peer that is not there.
        first.send(Message::plain(number(Context, 0)));
        assert!(matches!(first.socket.read(&mut [0]), Ok(0) | Err(_)));
        let (mut third, kept) = Keeper::connect(&options).unwrap();
        assert_eq!(kept.peers.len(), 1);
        third.told(9);
        assert!(matches!(third.socket.read(&mut [0]), Ok(0) | Err(_)));
        let (_, kept) = Keeper::connect(&options).unwrap();
        assert!(kept.context.is_some() && !kept.peers.contains_key(&9));
        drop((kept, _theirs));
        thread.join().unwrap().unwrap();
    }

    #[test]
    fn keeper_that_cannot_be_started_is_an_error() {
        let error = Keeper::connect(&options("none")).unwrap_err();
        assert!(format!("{error:#}").contains("start a keeper"), "{error:#}");
    }

    #[test]
    fn broken_connection_is_remembered_once() {
        let options = options("broken");
        let listener = UnixListener::bind(&options.socket).unwrap();
        let thread = thread::spawn(move || {
            let (socket, _) = listener.accept().unwrap();
            Kept::default()
                .messages()
                .for_each(|message| send(&socket, &message).unwrap());
        });
        let (mut keeper, _) = Keeper::connect(&options).unwrap();
        thread.join().unwrap();
        std::fs::remove_file(&options.socket).unwrap();
        keeper.told(1);
        keeper.told(2);
        assert!(keeper.error().is_some() && keeper.error().is_none());
    }
}
