// SPDX-License-Identifier: GPL-2.0-only

//! New peers.

use super::{Server, BATCH, NEW_PEER, OPERATOR};
use crate::{
    explain,
    ivshmem::{
        peer::Peer,
        protocol::{self, Message},
        wires::{Ends, Wires},
    },
    share, sys,
};
use anyhow::Context as _;
use rustix::event::epoll::{self, EventData, EventFlags};
use std::{
    io,
    os::{fd::AsFd, unix::net::UnixStream},
    sync::Arc,
};

impl Server {
    /// Accepts new peers.
    pub(super) fn accept_peers(&mut self) {
        for _ in 0..BATCH {
            match self.listener.accept() {
                Ok(None) => return,
                Ok(Some(socket)) => {
                    // A peer may retry again and again.
                    let new = !self.refused_last;
                    let result = self.join(socket);
                    self.refused_last = result.is_err();
                    if let Err(error) = result {
                        (self.log)(
                            new,
                            format_args!("a peer was refused: {}", explain(error.as_ref())),
                        );
                        self.refused += 1;
                    }
                    self.settle();
                }
                Err(error) => return self.close_after(&error),
            }
        }
    }

    /// Stops accepting connections for a while: the error would be repeated at once.
    pub(super) fn close_after(&mut self, error: &io::Error) {
        (self.log)(true, format_args!("accept: {error}"));
        self.close(true);
    }

    /// Stops accepting connections, or continues.
    pub(super) fn close(&mut self, closed: bool) {
        let flags = match closed {
            true => EventFlags::empty(),
            false => EventFlags::IN,
        };
        let set = |listener: &share::Server, what| {
            epoll::modify(&self.out.epoll, listener, EventData::new_u64(what), flags).is_ok()
        };
        if set(&self.listener, NEW_PEER) && set(&self.operator, OPERATOR) {
            self.closed = closed;
        }
    }

    /// Adds a peer. A refused peer finds its connection closed before the first message.
    fn join(&mut self, socket: UnixStream) -> anyhow::Result<()> {
        socket.set_nonblocking(true)?;
        let who = sys::peer_of(socket.as_fd())?;
        let max = self.options.max_peers;
        let id = self
            .ids
            .take()
            .with_context(|| format!("there are {max} peers already"))?;
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
        // Before any assignment: the next server has to be able to deassign it.
        if let Some(keeper) = &mut self.out.keeper {
            keeper.peer(id, Arc::new(socket.try_clone()?))?;
            for ends in &ends {
                keeper.peer(id, ends.ring.clone())?;
                keeper.peer(id, ends.deliver.clone())?;
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
}
