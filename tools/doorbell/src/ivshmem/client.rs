// SPDX-License-Identifier: GPL-2.0-only

//! A client for any ivshmem server, with the abilities of a guest's device.

use super::protocol::{self, receive};
use crate::sys;
use anyhow::{bail, ensure, Context as _};
use doorbell::EventFd;
use std::{
    collections::BTreeMap,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::net::UnixStream,
    },
    path::Path,
    time::{Duration, Instant},
};

/// A peer that is a process.
pub struct Client {
    socket: UnixStream,
    id: u32,
    memory: OwnedFd,
    own: Vec<EventFd>,
    peers: BTreeMap<u32, Vec<EventFd>>,
}

impl Client {
    /// Connects to the server at `path`, and waits for its own `vectors`.
    pub fn connect(path: &Path, vectors: usize, timeout: Duration) -> anyhow::Result<Self> {
        let end = Instant::now() + timeout;
        let socket =
            UnixStream::connect(path).with_context(|| format!("connect to {}", path.display()))?;
        let next = || -> anyhow::Result<(i64, Option<OwnedFd>)> {
            let left = end.saturating_duration_since(Instant::now());
            let ready = sys::wait_readable(&[socket.as_fd()], Some(left))?;
            ensure!(!ready.is_empty(), "the ivshmem server sends nothing");
            Ok(receive(&socket)?)
        };
        let (version, _) = next()?;
        ensure!(
            version == protocol::VERSION,
            "version {version} of the protocol"
        );
        let (id, _) = next()?;
        let id = u32::try_from(id)
            .ok()
            .filter(|&id| id < protocol::MAX_PEERS)
            .with_context(|| format!("{id} is not an ID"))?;
        let (protocol::MEMORY, Some(memory)) = next()? else {
            bail!("the server sent no shared memory");
        };
        let mut client = Self {
            socket,
            id,
            memory,
            own: Vec::new(),
            peers: BTreeMap::new(),
        };
        while client.own.len() < vectors {
            let left = end.saturating_duration_since(Instant::now());
            ensure!(
                client.wait(left)?,
                "the ivshmem server sent only {} vectors",
                client.own.len()
            );
        }
        Ok(client)
    }

    /// Returns its ID.
    pub fn id(&self) -> u32 {
        self.id
    }

    /// Returns the shared memory.
    pub fn memory(&self) -> BorrowedFd<'_> {
        self.memory.as_fd()
    }

    /// Returns the eventfd that its vector signals.
    pub fn vector(&self, vector: usize) -> &EventFd {
        &self.own[vector]
    }

    /// Returns the eventfd that rings a vector of another peer, if there is one.
    pub fn peer(&self, id: u32, vector: usize) -> Option<&EventFd> {
        self.peers.get(&id)?.get(vector)
    }

    /// Returns the IDs of the other peers.
    pub fn peers(&self) -> impl Iterator<Item = u32> + '_ {
        self.peers.keys().copied()
    }

    /// Waits for one message and applies it; returns false if none comes.
    pub fn wait(&mut self, timeout: Duration) -> anyhow::Result<bool> {
        if sys::wait_readable(&[self.socket.as_fd()], Some(timeout))?.is_empty() {
            return Ok(false);
        }
        let (number, fd) = receive(&self.socket)?;
        let id = u32::try_from(number)
            .ok()
            .filter(|&id| id < protocol::MAX_PEERS)
            .with_context(|| format!("{number} is not a peer"))?;
        match fd.map(EventFd::from) {
            Some(eventfd) if id == self.id => self.own.push(eventfd),
            Some(eventfd) => self.peers.entry(id).or_default().push(eventfd),
            None => drop(self.peers.remove(&id)),
        }
        Ok(true)
    }
}

impl AsFd for Client {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
