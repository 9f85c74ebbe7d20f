// SPDX-License-Identifier: GPL-2.0-only

//! The protocol between ivshmem server and client, see docs/specs/ivshmem-spec of QEMU.
//!
//! Only the server sends: numbers of eight bytes, little-endian, some of them with a descriptor.

use rustix::{
    io::Errno,
    net::{
        recvmsg, sendmsg, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags,
        SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
    },
};
use std::{
    fmt,
    io::{self, IoSlice, IoSliceMut},
    mem::MaybeUninit,
    os::fd::{AsFd, OwnedFd},
    sync::Arc,
};

/// The version, which is the first number of a connection.
pub const VERSION: i64 = 0;
/// The number with which the shared memory comes.
pub const MEMORY: i64 = -1;
/// The maximum number of peers: an ID has sixteen bits.
pub const MAX_PEERS: u32 = 65536;

/// A descriptor that is sent to several clients.
pub type SharedFd = Arc<dyn AsFd + Send + Sync>;

/// A message of a server.
#[derive(Clone)]
pub struct Message {
    /// The number.
    pub number: i64,
    /// The descriptor that comes with it.
    pub fd: Option<SharedFd>,
}

impl Message {
    /// Creates a message without a descriptor. With a peer's ID: this peer has left.
    pub fn plain(number: impl Into<i64>) -> Self {
        Self {
            number: number.into(),
            fd: None,
        }
    }

    /// Creates a message with a descriptor. With a peer's ID: the eventfd of its next vector.
    pub fn with(number: impl Into<i64>, fd: SharedFd) -> Self {
        Self {
            number: number.into(),
            fd: Some(fd),
        }
    }

    /// Sends the message as a whole, without waiting.
    pub fn send(&self, socket: impl AsFd) -> io::Result<()> {
        let bytes = self.number.to_le_bytes();
        let fds = self.fd.as_ref().map(|fd| [fd.as_fd()]);
        let mut room = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut ancillary = SendAncillaryBuffer::new(&mut room);
        if let Some(fds) = &fds {
            ancillary.push(SendAncillaryMessage::ScmRights(fds));
        }
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        match sendmsg(socket, &[IoSlice::new(&bytes)], &mut ancillary, flags)? {
            8 => Ok(()),
            // Linux does not split so few bytes. A receiver of a part could not continue.
            _ => Err(io::ErrorKind::WriteZero.into()),
        }
    }
}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fd = if self.fd.is_some() { " + fd" } else { "" };
        write!(f, "{}{fd}", self.number)
    }
}

/// Receives a number, and the descriptor that comes with it. Waits, unless the socket is
/// non-blocking.
///
/// # Errors
///
/// EMFILE if this process may not open the descriptor. The message is lost.
pub fn receive(socket: impl AsFd) -> io::Result<(i64, Option<OwnedFd>)> {
    let mut bytes = [0; 8];
    let mut room = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut room);
    let got = recvmsg(
        socket,
        &mut [IoSliceMut::new(&mut bytes)],
        &mut ancillary,
        RecvFlags::CMSG_CLOEXEC,
    )?;
    let mut fds = ancillary.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(fds) => Some(fds),
        _ => None,
    });
    let fd = fds.next().and_then(|mut fds| fds.next());
    if got.flags.contains(ReturnFlags::CTRUNC) {
        return Err(Errno::MFILE.into());
    }
    match got.bytes {
        8 => Ok((i64::from_le_bytes(bytes), fd)),
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        _ => Err(io::ErrorKind::InvalidData.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use doorbell::EventFd;
    use std::{
        io::{Read, Write},
        os::unix::net::UnixStream,
    };

    #[test]
    fn number_is_little_endian_and_eight_bytes() {
        let (server, mut client) = UnixStream::pair().unwrap();
        Message::plain(0x1234).send(&server).unwrap();
        Message::plain(MEMORY).send(&server).unwrap();
        let mut bytes = [0xaa; 16];
        client.read_exact(&mut bytes).unwrap();
        assert_eq!(bytes[..8], [0x34, 0x12, 0, 0, 0, 0, 0, 0]);
        assert_eq!(bytes[8..], [0xff; 8]);
    }

    #[test]
    fn descriptor_comes_with_its_number() {
        let (server, client) = UnixStream::pair().unwrap();
        let eventfd = Arc::new(EventFd::new(0).unwrap());
        Message::plain(7u32).send(&server).unwrap();
        Message::with(7u32, eventfd.clone()).send(&server).unwrap();
        Message::plain(8u32).send(&server).unwrap();
        assert!(matches!(receive(&client).unwrap(), (7, None)));
        let (number, fd) = receive(&client).unwrap();
        assert_eq!(number, 7);
        EventFd::from(fd.unwrap()).write(3).unwrap();
        assert_eq!(eventfd.read().unwrap(), 3);
        assert!(matches!(receive(&client).unwrap(), (8, None)));
    }

    #[test]
    fn full_socket_is_an_error() {
        let (server, client) = UnixStream::pair().unwrap();
        let mut sent = 0;
        let error = loop {
            match Message::plain(1).send(&server) {
                Ok(()) => sent += 1,
                Err(error) => break error,
            }
        };
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
        for _ in 0..sent {
            assert_eq!(receive(&client).unwrap().0, 1);
        }
        drop(client);
        let error = Message::plain(1).send(&server).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
    }

    #[test]
    fn end_and_incomplete_number_are_distinguished() {
        let (mut server, client) = UnixStream::pair().unwrap();
        server.write_all(&[1, 2, 3]).unwrap();
        let error = receive(&client).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        drop(server);
        let error = receive(&client).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    }
}
