// SPDX-License-Identifier: GPL-2.0-only

//! What UNIX sockets can do that the standard library does not offer.

use super::check;
use std::{
    io,
    mem::size_of,
    os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd},
};

/// Sends `fd` over a UNIX socket, with one byte.
pub(crate) fn send_fd(socket: BorrowedFd<'_>, fd: BorrowedFd<'_>) -> io::Result<()> {
    let mut byte = 0u8;
    let mut control = Control::default();
    let mut iov = libc::iovec {
        iov_base: (&raw mut byte).cast(),
        iov_len: 1,
    };
    let message = control.message(&mut iov);
    // SAFETY: The control buffer has room for one header with one descriptor, as `Control` has it.
    unsafe {
        let header = libc::CMSG_FIRSTHDR(&message);
        (*header).cmsg_level = libc::SOL_SOCKET;
        (*header).cmsg_type = libc::SCM_RIGHTS;
        (*header).cmsg_len = libc::CMSG_LEN(size_of::<RawFd>() as u32) as _;
        libc::CMSG_DATA(header)
            .cast::<RawFd>()
            .write_unaligned(fd.as_raw_fd());
        check(libc::sendmsg(socket.as_raw_fd(), &message, libc::MSG_NOSIGNAL) as i64)?;
    }
    Ok(())
}

/// Receives what [`send_fd`] sent.
pub(crate) fn receive_fd(socket: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let mut byte = 0u8;
    let mut control = Control::default();
    let mut iov = libc::iovec {
        iov_base: (&raw mut byte).cast(),
        iov_len: 1,
    };
    let mut message = control.message(&mut iov);
    // SAFETY: All buffers are as large as said; what comes back is looked at before it is used.
    unsafe {
        let flags = libc::MSG_CMSG_CLOEXEC;
        check(libc::recvmsg(socket.as_raw_fd(), &mut message, flags) as i64)?;
        let header = libc::CMSG_FIRSTHDR(&message);
        if header.is_null()
            || (*header).cmsg_level != libc::SOL_SOCKET
            || (*header).cmsg_type != libc::SCM_RIGHTS
        {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let fd = libc::CMSG_DATA(header).cast::<RawFd>().read_unaligned();
        Ok(OwnedFd::from_raw_fd(fd))
    }
}

/// Who is at the other end of a UNIX socket: process and user. The process is 0 if it is none that
/// can be seen from here.
pub(crate) fn peer_of(socket: BorrowedFd<'_>) -> io::Result<(u32, u32)> {
    let mut peer = libc::ucred {
        pid: 0,
        uid: 0,
        gid: 0,
    };
    let mut len = size_of::<libc::ucred>() as libc::socklen_t;
    // SAFETY: `peer` is as large as said.
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

/// How much memory what was sent on a UNIX socket takes up, and has not been read yet.
pub(crate) fn unread(socket: BorrowedFd<'_>) -> io::Result<u32> {
    let mut amount: libc::c_int = 0;
    // SAFETY: The kernel writes an integer.
    check(unsafe { libc::ioctl(socket.as_raw_fd(), libc::TIOCOUTQ, &raw mut amount) }.into())?;
    Ok(amount as u32)
}

/// Room for the control message that carries one descriptor.
#[repr(align(8))]
#[derive(Default)]
struct Control([u8; 32]);

impl Control {
    fn message(&mut self, iov: &mut libc::iovec) -> libc::msghdr {
        // SAFETY: All zeroes is an empty message.
        let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
        message.msg_iov = iov;
        message.msg_iovlen = 1;
        message.msg_control = self.0.as_mut_ptr().cast();
        // SAFETY: A computation.
        let space = unsafe { libc::CMSG_SPACE(size_of::<RawFd>() as u32) } as usize;
        assert!(space <= self.0.len());
        message.msg_controllen = space as _;
        message
    }
}
