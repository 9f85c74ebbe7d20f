// SPDX-License-Identifier: GPL-2.0-only

//! The VMM's side of vhost-user: a connection to a backend, from its set-up to its end.

use super::layout;
use anyhow::{anyhow, ensure, Context, Result};
use rustix::{
    event::{poll, PollFd, PollFlags, Timespec},
    io::Errno,
};
use std::{
    io,
    os::{
        linux::net::SocketAddrExt,
        unix::net::{SocketAddr, UnixStream},
    },
};
use vhost::{
    vhost_user::{
        self,
        message::{VhostUserHeaderFlag, VhostUserProtocolFeatures, VhostUserVirtioFeatures},
        Frontend, VhostUserFrontend,
    },
    VhostBackend, VhostUserMemoryRegionInfo, VringConfigData,
};
use vm_memory::{GuestAddress, GuestMemoryBackend, GuestMemoryMmap};
use vmm_sys_util::eventfd::EventFd;

/// The bit of VIRTIO_F_VERSION_1.
const VERSION_1: u64 = 1 << 32;
const QUEUE: usize = 0;

/// A connection to a backend.
pub(crate) struct Connection {
    frontend: Frontend,
    stream: UnixStream,
}

/// The eventfds of the queue.
pub(crate) struct QueueFds<'a> {
    pub(crate) kick: &'a EventFd,
    pub(crate) call: &'a EventFd,
}

impl Connection {
    /// Connects to the backend that accepts the connection next, and starts the queue at the index `base` of the
    /// available ring.
    ///
    /// The socket listens for the whole run, so that this waits for a backend that is not there yet. Returns
    /// `None` if the backend has ended before the queue was started.
    pub(crate) fn open(
        socket: &str,
        memory: &GuestMemoryMmap,
        fds: &QueueFds<'_>,
        base: u16,
    ) -> Result<Option<Self>> {
        let address = SocketAddr::from_abstract_name(socket)?;
        let stream = UnixStream::connect_addr(&address).context("connect to the backend")?;
        let mut connection = Self {
            frontend: Frontend::from_stream(stream.try_clone()?, 1),
            stream,
        };
        match connection.start(memory, fds, base) {
            Ok(()) => Ok(Some(connection)),
            Err(error) if connection.is_end(&error)? => Ok(None),
            Err(error) => Err(error.context("start the backend's queue")),
        }
    }

    fn start(&mut self, memory: &GuestMemoryMmap, fds: &QueueFds<'_>, base: u16) -> Result<()> {
        let frontend = &mut self.frontend;
        frontend.set_owner()?;
        let features = VERSION_1 | VhostUserVirtioFeatures::PROTOCOL_FEATURES.bits();
        let offered = frontend.get_features()?;
        ensure!(
            offered & features == features,
            "it offers the features {offered:#x}, without some of {features:#x}"
        );
        let protocol = frontend.get_protocol_features()?;
        ensure!(
            protocol.contains(VhostUserProtocolFeatures::REPLY_ACK),
            "it does not offer REPLY_ACK"
        );
        frontend.set_protocol_features(VhostUserProtocolFeatures::REPLY_ACK)?;
        // From here on the backend acknowledges each request.
        frontend.set_hdr_flags(VhostUserHeaderFlag::NEED_REPLY);
        frontend.set_features(features)?;

        let region = memory.iter().next().context("no memory")?;
        let region = VhostUserMemoryRegionInfo::from_guest_region(region)?;
        frontend.set_mem_table(&[region])?;
        frontend.set_vring_num(QUEUE, layout::QUEUE_SIZE)?;
        frontend.set_vring_base(QUEUE, base)?;
        let address = |of: u64| -> Result<u64> {
            let at = memory.get_host_address(GuestAddress(of))?;
            Ok(at.expose_provenance() as u64)
        };
        let config = VringConfigData {
            queue_max_size: layout::QUEUE_SIZE,
            queue_size: layout::QUEUE_SIZE,
            flags: 0,
            desc_table_addr: address(layout::DESCRIPTORS)?,
            used_ring_addr: address(layout::USED)?,
            avail_ring_addr: address(layout::AVAILABLE)?,
            log_addr: None,
        };
        frontend.set_vring_addr(QUEUE, &config)?;
        frontend.set_vring_call(QUEUE, fds.call)?;
        frontend.set_vring_kick(QUEUE, fds.kick)?;
        frontend.set_vring_enable(QUEUE, true)?;
        Ok(())
    }

    /// Stops the queue, and returns the index of the available ring at which the next backend goes on. Returns
    /// `None` if the backend has ended.
    ///
    /// When this returns, the backend neither uses the ring nor signals.
    pub(crate) fn stop(&self) -> Result<Option<u16>> {
        match self.frontend.get_vring_base(QUEUE) {
            Ok(base) => Ok(Some(base as u16)),
            Err(error) => {
                let error = anyhow!(error);
                ensure!(
                    self.is_end(&error)?,
                    error.context("stop the backend's queue")
                );
                Ok(None)
            }
        }
    }

    /// Returns true if the cause of `error` is that the backend has ended. A request to a backend that ends can
    /// fail before its socket has hung up, so this waits for that.
    fn is_end(&self, error: &anyhow::Error) -> io::Result<bool> {
        use vhost_user::Error::{Disconnected, PartialMessage, SocketBroken};
        let cause = match error.downcast_ref() {
            Some(vhost::Error::VhostUserProtocol(cause)) => Some(cause),
            _ => error.downcast_ref(),
        };
        if let Some(SocketBroken(_) | Disconnected | PartialMessage) = cause {
            while !self.hangs_up(None)? {}
        }
        self.has_ended()
    }

    /// Returns the socket, which hangs up when the backend ends.
    pub(crate) fn stream(&self) -> &UnixStream {
        &self.stream
    }

    /// Returns true if the backend has ended, or has closed its socket.
    ///
    /// The run ends backends by SIGKILL. The kernel then closes the socket after all threads have left user space
    /// for ever. The process has not been waited for yet: the run does that before it starts the next one.
    pub(crate) fn has_ended(&self) -> io::Result<bool> {
        let now = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        self.hangs_up(Some(&now))
    }

    /// Waits for up to `timeout` until the socket hangs up; returns true if it has. A signal ends the wait.
    fn hangs_up(&self, timeout: Option<&Timespec>) -> io::Result<bool> {
        let mut fds = [PollFd::new(&self.stream, PollFlags::RDHUP)];
        match poll(&mut fds, timeout) {
            Ok(_) => {}
            Err(Errno::INTR) => return Ok(false),
            Err(error) => return Err(error.into()),
        }
        Ok(fds[0]
            .revents()
            .intersects(PollFlags::RDHUP | PollFlags::HUP))
    }
}
