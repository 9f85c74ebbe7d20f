// SPDX-License-Identifier: GPL-2.0-only

//! A server's connection to its keeper.

use super::{
    is_trusted, send,
    state::{number, Kept, Subject},
    PATIENCE,
};
use crate::{
    ivshmem::protocol::{self, Message, SharedFd},
    sys,
};
use anyhow::{bail, ensure, Context as _};
use std::{
    io,
    os::{
        fd::{AsFd, BorrowedFd},
        unix::net::UnixStream,
    },
    path::{Path, PathBuf},
    process::Child,
    thread,
    time::{Duration, Instant},
};

/// The address of a keeper.
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
    pub(super) socket: UnixStream,
    /// The process ID of the keeper.
    pub pid: u32,
    error: Option<io::Error>,
}

impl Keeper {
    /// Connects to the keeper, after starting one if there is none; returns its state, too.
    pub fn connect(options: &Options) -> anyhow::Result<(Self, Kept)> {
        let path = options.socket.display();
        let start = Instant::now();
        let mut child = None;
        loop {
            let error = match sys::connect_within(&options.socket, PATIENCE) {
                Ok(socket) => match Self::load(socket) {
                    Ok(all) => return Ok(all),
                    Err(error) if is_too_many(&error) => {
                        return Err(error.context(format!(
                            "receive the descriptors of the keeper at {path}: raise ulimit -n"
                        )));
                    }
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
                    "the keeper at {path} does not answer; does another server use it? Otherwise \
                     end it (fuser {path}) and start again"
                )));
            }
            thread::sleep(Duration::from_millis(10));
        }
    }

    fn load(socket: UnixStream) -> anyhow::Result<(Self, Kept)> {
        ensure!(is_trusted(&socket), "it belongs to another user");
        let mut kept = Kept::default();
        // They may be more than the options of this server need.
        let _reserve = sys::Reserve::take();
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
    ///
    /// # Errors
    ///
    /// As [`peer()`](Self::peer).
    pub fn share(
        &mut self,
        context: SharedFd,
        memory: SharedFd,
        vectors: u32,
    ) -> anyhow::Result<()> {
        self.send(Message::plain(number(Subject::Vectors, vectors)));
        self.store(Message::with(number(Subject::Memory, 0), memory))?;
        // Last: a keeper that has the context has all of them.
        self.store(Message::with(number(Subject::Context, 0), context))
    }

    /// Stores a descriptor of the peer `id`: its connection, then those of its vectors.
    ///
    /// # Errors
    ///
    /// ETOOMANYREFS if peers have not read too many descriptors. The connection to the keeper is as
    /// before.
    pub fn peer(&mut self, id: u32, fd: SharedFd) -> anyhow::Result<()> {
        self.store(Message::with(number(Subject::Peer, id), fd))
    }

    /// Removes all of the peer `id`.
    pub fn left(&mut self, id: u32) {
        self.send(Message::plain(number(Subject::Peer, id)));
    }

    /// Stores that the peer `id` has been sent everything.
    pub fn told(&mut self, id: u32) {
        self.send(Message::plain(number(Subject::Told, id)));
    }

    /// Stores that the peer `id` is about to be sent an update.
    pub fn behind(&mut self, id: u32) {
        self.send(Message::plain(number(Subject::Behind, id)));
    }

    /// Sends a message, unless an earlier one has failed.
    pub(super) fn send(&mut self, message: Message) {
        if self.error.is_none() {
            self.error = send(&self.socket, &message).err();
        }
    }

    /// Sends a message with a descriptor.
    fn store(&mut self, message: Message) -> anyhow::Result<()> {
        if self.error.is_some() {
            return Ok(());
        }
        match send(&self.socket, &message) {
            Err(error) if error.raw_os_error() == Some(libc::ETOOMANYREFS) => Err(error).context(
                "store a descriptor in the keeper: peers have not read too many (ulimit -n)",
            ),
            result => {
                self.error = result.err();
                Ok(())
            }
        }
    }

    /// Takes the error of the connection, if it is broken.
    pub fn error(&mut self) -> Option<io::Error> {
        self.error.take()
    }
}

impl AsFd for Keeper {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

fn is_too_many(error: &anyhow::Error) -> bool {
    let error = error.downcast_ref::<io::Error>();
    error.is_some_and(|error| error.raw_os_error() == Some(libc::EMFILE))
}

fn has_no_listener(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused
    )
}
