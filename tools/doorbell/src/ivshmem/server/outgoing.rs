// SPDX-License-Identifier: GPL-2.0-only

//! Messages to peers, which are recorded in the keeper.

use crate::ivshmem::{
    keeper::{Keeper, Progress},
    outbox::Flushed,
    peer::{Leave, Peer},
};
use rustix::event::epoll::{self, EventData, EventFlags};
use std::os::fd::OwnedFd;

/// The state for sending messages to peers.
pub(super) struct Outgoing {
    pub(super) epoll: OwnedFd,
    /// The peers that have to leave, with the reason.
    pub(super) leaving: Vec<(u64, Leave)>,
    pub(super) keeper: Option<Keeper>,
}

impl Outgoing {
    /// Calls `change` to queue messages for a peer, and sends those that fit the socket.
    pub(super) fn tell(&mut self, serial: u64, peer: &mut Peer, change: impl FnOnce(&mut Peer)) {
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

    /// Sends the messages that fit the socket. If some are left, requests an event for more room.
    pub(super) fn flush(&mut self, serial: u64, peer: &mut Peer) {
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
    pub(super) fn keep(&mut self, store: impl FnOnce(&mut Keeper)) {
        if let Some(keeper) = &mut self.keeper {
            store(keeper);
        }
    }
}
