// SPDX-License-Identifier: GPL-2.0-only

//! A client of the server.

use super::{
    keeper::Progress,
    operator::{PeerInfo, Setup, VectorInfo},
    outbox::{Flushed, Outbox},
    protocol::Message,
    wires::Wires,
};
use crate::sys;
use std::{
    fmt,
    io::{self, Read},
    os::{fd::AsFd, unix::net::UnixStream},
    time::{Duration, Instant},
};

/// A connected client with an ID.
pub struct Peer {
    pub id: u32,
    pub socket: UnixStream,
    pub wires: Wires,
    pub pid: u32,
    /// True if an event is requested for room in the socket.
    pub waits_for_room: bool,
    /// Its progress, as the keeper has it.
    pub told: Progress,
    /// The previous server was killed while it sent the peer an update. The peer gets no more
    /// messages.
    pub cut_off: bool,
    uid: u32,
    since: Instant,
    outbox: Outbox,
    /// Number of set-up messages that are still in the outbox.
    setup_unsent: usize,
    /// True if the peer has read its set-up.
    complete: bool,
    /// The kernel had no resources for more messages at the last attempt to send.
    refused: bool,
    /// The unread amount at the last check.
    last_unread: u32,
    /// The last time at which the peer had read something, or had nothing to read.
    progress: Instant,
}

/// The reason why a peer leaves.
#[derive(Debug)]
pub enum Leave {
    /// It closed the connection.
    Left,
    /// It sent something, which the protocol does not allow.
    Spoke,
    /// It does not read.
    Stalled,
    /// The connection is broken, or the peer cannot be served.
    Broken(io::Error),
    /// The previous server was killed before it had sent the set-up.
    Unfinished,
    /// The server ends.
    End,
}

impl fmt::Display for Leave {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Left => f.write_str("has left"),
            Self::Spoke => f.write_str("disconnected: it sent something, which no client may"),
            Self::Stalled => f.write_str("disconnected: it does not read its messages"),
            Self::Broken(error) => write!(f, "has left: {error}"),
            Self::Unfinished => f.write_str("disconnected: its set-up was not sent"),
            Self::End => f.write_str("disconnected: the server ends"),
        }
    }
}

impl Peer {
    /// Creates a peer. The messages of `setup` are the first that it is sent.
    pub fn new(
        id: u32,
        socket: UnixStream,
        (pid, uid): (u32, u32),
        wires: Wires,
        setup: impl IntoIterator<Item = Message>,
    ) -> Self {
        let mut outbox = Outbox::default();
        setup.into_iter().for_each(|message| outbox.push(message));
        let now = Instant::now();
        Self {
            id,
            socket,
            wires,
            pid,
            waits_for_room: false,
            told: Progress::Joining,
            cut_off: false,
            uid,
            since: now,
            setup_unsent: outbox.len(),
            outbox,
            complete: false,
            refused: false,
            last_unread: 0,
            progress: now,
        }
    }

    /// Marks it as a peer of the previous server, with the progress that it had there.
    pub fn adopt(self, told: Progress) -> Self {
        Self {
            told,
            cut_off: told == Progress::Behind,
            ..self
        }
    }

    /// Queues the vectors of another peer.
    pub fn tell(&mut self, messages: impl IntoIterator<Item = Message>) {
        self.begin();
        messages
            .into_iter()
            .for_each(|message| self.outbox.push(message));
    }

    /// Queues that another peer has left.
    pub fn tell_left(&mut self, id: u32, vectors: u32) {
        self.begin();
        self.setup_unsent -= self.outbox.left(id, vectors, self.setup_unsent);
    }

    /// Prepares for new messages.
    ///
    /// If nothing was queued, the timeout starts now. The completion of the set-up is recorded
    /// first, as it is visible only while nothing else is unread.
    fn begin(&mut self) {
        self.setup();
        if self.outbox.len() == 0 {
            self.progress = Instant::now();
        }
    }

    /// Sends the messages that fit the socket.
    pub fn flush(&mut self) -> io::Result<Flushed> {
        let (sent, flushed) = self.outbox.flush(&self.socket)?;
        self.refused = flushed == Flushed::Later;
        self.setup_unsent = self.setup_unsent.saturating_sub(sent);
        if sent != 0 {
            self.progress = Instant::now();
        }
        Ok(flushed)
    }

    /// Returns true if all messages are sent.
    pub fn is_told(&self) -> bool {
        self.outbox.len() == 0
    }

    /// Returns the progress of its set-up, as seen from the socket: a client sends no
    /// acknowledgement.
    fn setup(&mut self) -> Setup {
        if self.setup_unsent != 0 {
            return Setup::Sending;
        }
        if !self.complete {
            self.complete = self.unread() == 0;
        }
        match self.complete {
            true if self.cut_off => Setup::CutOff,
            true => Setup::Complete,
            false => Setup::Unread,
        }
    }

    /// Returns true if the peer has to read its set-up, or to make room.
    pub fn is_behind(&mut self) -> bool {
        self.outbox.len() != 0 || matches!(self.setup(), Setup::Sending | Setup::Unread)
    }

    /// Returns true if the peer is behind, and has read nothing for the time `patience`.
    ///
    /// If it has read all that was sent, the kernel refuses to send more, and the peer is not at
    /// fault.
    pub fn is_stalled(&mut self, patience: Duration) -> bool {
        if !self.is_behind() {
            return false;
        }
        let unread = self.unread();
        if unread < self.last_unread || unread == 0 {
            self.progress = Instant::now();
        }
        self.last_unread = unread;
        unread != 0 && self.progress.elapsed() > patience
    }

    /// Returns true if messages are left because the kernel has no resources for them.
    pub fn is_starved(&self) -> bool {
        self.refused && self.outbox.len() != 0
    }

    /// Returns the size in memory of the messages that were sent and are not read.
    pub fn unread(&self) -> u32 {
        // There is no error for a socket.
        sys::unread(self.socket.as_fd()).unwrap_or(u32::MAX)
    }

    /// Reads from the socket. Returns a reason if the peer closed the connection, or sent
    /// something.
    pub fn listen(&self) -> Option<Leave> {
        // A plain read discards descriptors that come with the data.
        match (&self.socket).read(&mut [0; 64]) {
            Ok(0) => Some(Leave::Left),
            Ok(_) => Some(Leave::Spoke),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => None,
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => Some(Leave::Left),
            Err(error) => Some(Leave::Broken(error)),
        }
    }

    /// Returns the peer's state for the operator.
    pub fn info(&mut self) -> anyhow::Result<PeerInfo> {
        let vectors = self.wires.query()?.into_iter().zip(0..);
        Ok(PeerInfo {
            id: self.id,
            pid: self.pid,
            uid: self.uid,
            seconds: self.since.elapsed().as_secs_f64(),
            setup: self.setup(),
            unsent: self.outbox.len(),
            vectors: vectors
                .map(|(since, vector)| VectorInfo {
                    vector,
                    line: since.line.line,
                    rings: since.rings,
                    deliveries: since.deliveries,
                    coalesced: since.coalesced,
                    dropped: since.dropped,
                    masked: since.line.masked,
                    pending: since.line.pending,
                    untaken: since.untaken,
                })
                .collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use doorbell::{Context, EventFd};
    use std::sync::Arc;

    /// Returns a peer with three messages in its outbox, and its end of the connection.
    fn peer() -> (Peer, UnixStream) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let eventfd = EventFd::new(0).unwrap();
        let context = Context::from(eventfd.as_fd().try_clone_to_owned().unwrap());
        let wires = Wires::adopt(Arc::new(context), 0, Vec::new()).unwrap();
        let setup = [0u32, 1, 2].map(Message::plain);
        (Peer::new(0, ours, (1, 1), wires, setup), theirs)
    }

    #[test]
    fn setup_is_complete_without_a_peer_that_left_meanwhile() {
        let (mut peer, mut theirs) = peer();
        let ring = Arc::new(EventFd::new(0).unwrap());
        // The set-up is not sent yet, and has the vector of a peer that leaves.
        peer.outbox.push(Message::with(7u32, ring));
        peer.setup_unsent = peer.outbox.len();
        peer.tell_left(7, 1);
        assert_eq!(peer.setup(), Setup::Sending);
        peer.flush().unwrap();
        assert_eq!(peer.setup(), Setup::Unread);
        theirs.read_exact(&mut [0; 24]).unwrap();
        assert_eq!(peer.setup(), Setup::Complete);
        assert!(!peer.is_behind());
    }

    #[test]
    fn peer_that_has_read_everything_is_not_stalled() {
        let (mut peer, mut theirs) = peer();
        // Nothing is sent, as if the kernel had refused to.
        assert!(peer.is_behind() && !peer.is_stalled(Duration::ZERO));
        peer.flush().unwrap();
        assert!(peer.is_behind() && peer.is_stalled(Duration::ZERO));
        assert!(!peer.is_stalled(Duration::MAX));
        theirs.read_exact(&mut [0; 24]).unwrap();
        peer.tell([Message::plain(3u32)]);
        assert!(peer.is_behind() && !peer.is_stalled(Duration::ZERO));
        assert!(!peer.is_starved());
    }
}
