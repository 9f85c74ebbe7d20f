// SPDX-License-Identifier: GPL-2.0-only

//! A client of the server.

use super::{
    control::{PeerInfo, Setup, VectorInfo},
    keeper::Progress,
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

/// Somebody who has connected, and has an ID.
pub struct Peer {
    pub id: u32,
    pub socket: UnixStream,
    pub wires: Wires,
    pub pid: u32,
    /// Whether an event is to tell when there is room in the socket.
    pub waits_for_room: bool,
    /// Its progress, as the keeper knows it.
    pub told: Progress,
    /// The previous server was killed while it told the peer something. It is told nothing more.
    pub cut_off: bool,
    uid: u32,
    since: Instant,
    outbox: Outbox,
    /// How many messages of the set-up are still in the outbox.
    setup_unsent: usize,
    /// It has read all of them.
    complete: bool,
    /// What it had not read when last looked at.
    unread: u32,
    /// When it was last seen to read something, or had nothing to read.
    progress: Instant,
}

/// Why a peer is no longer one.
#[derive(Debug)]
pub enum Leave {
    /// It closed the connection.
    Left,
    /// It sent something: there is nothing to say to the server.
    Spoke,
    /// It does not read.
    Stalled,
    /// The connection is broken, or nothing can be done for it.
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
            Self::Spoke => f.write_str("thrown out: it sent something, which no client may"),
            Self::Stalled => f.write_str("thrown out: it does not read what it is sent"),
            Self::Broken(error) => write!(f, "has left: {error}"),
            Self::Unfinished => f.write_str("is left: its set-up was not sent"),
            Self::End => f.write_str("is left: the server ends"),
        }
    }
}

impl Peer {
    /// `setup` is what it is to be sent first.
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
            unread: 0,
            progress: now,
        }
    }

    /// Makes it a peer of the previous server, with the progress that it had there.
    pub fn adopt(self, told: Progress) -> Self {
        Self {
            told,
            cut_off: told == Progress::Behind,
            ..self
        }
    }

    /// Tells it of another one's vectors.
    pub fn tell(&mut self, messages: impl IntoIterator<Item = Message>) {
        self.begin();
        messages
            .into_iter()
            .for_each(|message| self.outbox.push(message));
    }

    /// Tells it that another one has left.
    pub fn tell_left(&mut self, id: u32, vectors: u32) {
        self.begin();
        self.outbox.left(id, vectors);
    }

    /// Something new begins: from now on it is waited for, if it was not before; and whether its
    /// set-up is complete shows while nothing else is unread.
    fn begin(&mut self) {
        self.setup();
        if self.outbox.len() == 0 {
            self.progress = Instant::now();
        }
    }

    /// Sends what there is room for.
    pub fn flush(&mut self) -> io::Result<Flushed> {
        let (sent, flushed) = self.outbox.flush(&self.socket)?;
        self.setup_unsent = self.setup_unsent.saturating_sub(sent);
        if sent != 0 {
            self.progress = Instant::now();
        }
        Ok(flushed)
    }

    /// Returns true if everything that it is to be told is sent.
    pub fn is_told(&self) -> bool {
        self.outbox.len() == 0
    }

    /// How far its set-up has got, as far as can be seen from here: a client says nothing.
    fn setup(&mut self) -> Setup {
        if self.setup_unsent != 0 {
            return Setup::Sending;
        }
        if !self.complete {
            self.complete = sys::unread(self.socket.as_fd()).is_ok_and(|unread| unread == 0);
        }
        match self.complete {
            true if self.cut_off => Setup::CutOff,
            true => Setup::Complete,
            false => Setup::Unread,
        }
    }

    /// Whether there is something to wait for: that it reads its set-up, or makes room.
    pub fn is_behind(&mut self) -> bool {
        self.outbox.len() != 0 || matches!(self.setup(), Setup::Sending | Setup::Unread)
    }

    /// Whether it is behind, and has not read anything for so long.
    pub fn is_stalled(&mut self, patience: Duration) -> bool {
        if !self.is_behind() {
            return false;
        }
        let unread = sys::unread(self.socket.as_fd()).unwrap_or(self.unread);
        if unread < self.unread {
            self.progress = Instant::now();
        }
        self.unread = unread;
        self.progress.elapsed() > patience
    }

    /// What it has to say: nothing, or that it does not want to be a peer any more.
    pub fn listen(&self) -> Option<Leave> {
        // Descriptors that somebody sends with it go the same way: nobody takes them.
        match (&self.socket).read(&mut [0; 64]) {
            Ok(0) => Some(Leave::Left),
            Ok(_) => Some(Leave::Spoke),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => None,
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => Some(Leave::Left),
            Err(error) => Some(Leave::Broken(error)),
        }
    }

    /// What the operator wants to know.
    pub fn info(&mut self) -> anyhow::Result<PeerInfo> {
        let vectors = self.wires.look()?.into_iter().zip(0..);
        Ok(PeerInfo {
            id: self.id,
            pid: self.pid,
            uid: self.uid,
            seconds: self.since.elapsed().as_secs_f64(),
            setup: self.setup(),
            unsent: self.outbox.len(),
            vectors: vectors
                .map(|((line, untaken), vector)| VectorInfo {
                    vector,
                    line: line.line,
                    rings: line.rings,
                    deliveries: line.deliveries,
                    coalesced: line.coalesced(),
                    dropped: line.dropped,
                    masked: line.masked,
                    pending: line.pending,
                    untaken,
                })
                .collect(),
        })
    }
}
