// SPDX-License-Identifier: GPL-2.0-only

//! The state that a keeper holds, and the messages that change it.

use super::hang_up;
use crate::ivshmem::protocol::{Message, SharedFd};
use rustix::event::{poll, PollFd, Timespec};
use std::{
    collections::BTreeMap,
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    sync::Arc,
};

/// The subject of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Subject {
    /// With a descriptor: the next one of this peer. Without: the peer has left.
    Peer,
    /// The peer has been sent everything.
    Told,
    /// The peer is about to be sent an update.
    Behind,
    Context,
    Memory,
    /// The number of vectors of each peer.
    Vectors,
    /// The next server has received everything.
    End,
}

use Subject::*;
pub(super) const SUBJECTS: [Subject; 7] = [Peer, Told, Behind, Context, Memory, Vectors, End];

pub(super) fn number(subject: Subject, value: u32) -> i64 {
    ((subject as i64) << 32) | i64::from(value)
}

pub(super) fn subject(number: i64) -> io::Result<(Subject, u32)> {
    let subject = usize::try_from(number >> 32).ok();
    let subject = subject.and_then(|at| SUBJECTS.get(at).copied());
    Ok((subject.ok_or(io::ErrorKind::InvalidData)?, number as u32))
}

/// The progress of a peer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Progress {
    /// A part of its set-up is missing.
    #[default]
    Joining,
    /// Everything is sent.
    Told,
    /// Its set-up is sent, and maybe a part of an update.
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

/// The state that a keeper holds.
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
    pub(super) fn apply(&mut self, (number, fd): (i64, Option<OwnedFd>)) -> io::Result<bool> {
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

    /// Returns the messages that reproduce this state.
    pub(super) fn messages(&self) -> impl Iterator<Item = Message> + '_ {
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
    pub(super) fn connected<'a>(&'a self) -> io::Result<Vec<BorrowedFd<'a>>> {
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
