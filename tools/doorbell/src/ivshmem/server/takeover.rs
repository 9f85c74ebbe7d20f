// SPDX-License-Identifier: GPL-2.0-only

//! The state of a previous server, which the keeper holds.

use super::{Options, Server};
use crate::{
    ivshmem::{
        keeper::{Kept, KeptPeer, Progress},
        memory,
        peer::{Leave, Peer},
        protocol::SharedFd,
        wires::{Ends, Wires},
    },
    sys,
};
use anyhow::{ensure, Context as _};
use doorbell::Context;
use rustix::event::epoll::{self, EventData, EventFlags};
use std::{
    os::{fd::AsFd, unix::net::UnixStream},
    sync::Arc,
};

impl Server {
    /// Takes over a peer of the previous server.
    pub(super) fn adopt(&mut self, id: u32, kept: KeptPeer) -> anyhow::Result<()> {
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

    /// Continues without the keeper if its connection is broken.
    pub(super) fn check_keeper(&mut self, hung_up: bool) {
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
            format_args!("the keeper is lost ({why}): rings end with this server"),
        );
        self.out.keeper = None;
        for peer in self.peers.values_mut() {
            peer.wires.keep(false);
        }
    }
}

/// Returns the kept memory.
///
/// # Errors
///
/// Fails if `options` are not those of the previous server.
pub(super) fn fit(
    kept: &Kept,
    context: &Context,
    options: &Options,
    lines: u32,
) -> anyhow::Result<SharedFd> {
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
            "peers are kept with other memory than {name}\n  start with the --shm-name of the \
             previous server, or end the keeper, and with it the rings of all peers"
        );
    }
    Ok(memory)
}
