// SPDX-License-Identifier: GPL-2.0-only

//! Operations of UNIX sockets that the standard library does not have.

use super::check;
use rustix::net::{
    connect, recvmsg, sendmsg, socket_with,
    sockopt::{set_socket_timeout, Timeout},
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketFlags, SocketType,
};
use std::{
    io::{self, IoSlice, IoSliceMut},
    mem::{size_of, MaybeUninit},
    os::{
        fd::{AsRawFd, BorrowedFd, OwnedFd},
        unix::net::UnixStream,
    },
    path::Path,
    time::Duration,
};

/// Connects to the UNIX socket at `path`.
///
/// # Errors
///
/// EAGAIN if the socket has no room for a connection within `timeout`. Reads and writes of the
/// connection have the same timeout.
pub(crate) fn connect_within(path: &Path, timeout: Duration) -> io::Result<UnixStream> {
    let flags = SocketFlags::CLOEXEC;
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    for which in [Timeout::Recv, Timeout::Send] {
        set_socket_timeout(&socket, which, Some(timeout))?;
    }
    connect(&socket, &SocketAddrUnix::new(path)?)?;
    Ok(socket.into())
}

/// Sends `fd` over a UNIX socket, with one byte.
pub(crate) fn send_fd(socket: BorrowedFd<'_>, fd: BorrowedFd<'_>) -> io::Result<()> {
    let fds = [fd];
    let mut room = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = SendAncillaryBuffer::new(&mut room);
    ancillary.push(SendAncillaryMessage::ScmRights(&fds));
    let byte = [IoSlice::new(&[0])];
    sendmsg(socket, &byte, &mut ancillary, SendFlags::NOSIGNAL)?;
    Ok(())
}

/// Receives a descriptor from [`send_fd`].
pub(crate) fn receive_fd(socket: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let mut byte = [0];
    let mut room = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut room);
    let bytes = &mut [IoSliceMut::new(&mut byte)];
    recvmsg(socket, bytes, &mut ancillary, RecvFlags::CMSG_CLOEXEC)?;
    let mut fds = ancillary.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(fds) => Some(fds),
        _ => None,
    });
    let fd = fds.next().and_then(|mut fds| fds.next());
    fd.ok_or_else(|| io::ErrorKind::InvalidData.into())
}

/// Returns the process and the user at the other end of a UNIX socket. The process is 0 if it is in
/// a PID namespace that is not visible from here.
///
/// rustix's `socket_peercred()` cannot be used: the process ID in its result must not be 0.
pub(crate) fn peer_of(socket: BorrowedFd<'_>) -> io::Result<(u32, u32)> {
    let mut peer = libc::ucred {
        pid: 0,
        uid: 0,
        gid: 0,
    };
    let mut len = size_of::<libc::ucred>() as libc::socklen_t;
    // SAFETY: `peer` has the size `len`.
    let ret = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_PEERCRED,
            (&raw mut peer).cast(),
            &mut len,
        )
    };
    check(ret.into())?;
    Ok((peer.pid as u32, peer.uid))
}

/// Returns true if a process of the user `uid` has all rights of this one.
pub(crate) fn is_trusted(uid: u32) -> bool {
    uid == 0 || uid == rustix::process::geteuid().as_raw()
}

/// Returns the size in memory of the data that was sent on a UNIX socket, and is not read yet.
pub(crate) fn unread(socket: BorrowedFd<'_>) -> io::Result<u32> {
    let mut amount: libc::c_int = 0;
    // SAFETY: The kernel writes an integer.
    check(unsafe { libc::ioctl(socket.as_raw_fd(), libc::TIOCOUTQ, &raw mut amount) }.into())?;
    Ok(amount as u32)
}
