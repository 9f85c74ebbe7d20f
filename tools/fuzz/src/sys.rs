// SPDX-License-Identifier: GPL-2.0-only

//! System calls, with results as the kernel returns them: a value, or minus an error number.

use std::{io, os::fd::RawFd};

/// An address at which Rust has no object.
///
/// # Invariants
///
/// It is in the arena, or no mapping of the process can be there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Address(u64);

impl Address {
    /// Creates an address. The caller keeps the invariant; only `arena` calls this.
    pub fn unused(at: u64) -> Self {
        Self(at)
    }

    /// Returns the number.
    pub fn number(self) -> u64 {
        self.0
    }

    fn pointer(self) -> *mut libc::c_void {
        self.0 as *mut libc::c_void
    }
}

/// Makes a system call.
///
/// # Safety
///
/// The call must not change memory or descriptors that Rust owns.
unsafe fn raw(number: libc::c_long, args: [u64; 6]) -> i64 {
    let [a, b, c, d, e, f] = args;
    // SAFETY: By the requirements of this function.
    let result = unsafe { libc::syscall(number, a, b, c, d, e, f) };
    if result == -1 {
        -i64::from(io::Error::last_os_error().raw_os_error().unwrap_or(0))
    } else {
        result
    }
}

/// Calls ioctl(2) of the device.
pub fn ioctl(fd: RawFd, command: u32, argument: u64) -> i64 {
    let args = [fd as u64, u64::from(command), argument, 0, 0, 0];
    // SAFETY: The argument is a number or an `Address`, and so are all pointers that it has.
    unsafe { raw(libc::SYS_ioctl, args) }
}

/// Calls read(2).
pub fn read(fd: RawFd, to: Address, len: u64) -> i64 {
    // SAFETY: By the invariant of `Address`, and since lengths are at most the rest of the arena.
    unsafe { raw(libc::SYS_read, [fd as u64, to.0, len, 0, 0, 0]) }
}

/// Reads bytes into memory of this process. Returns none if there are none.
pub fn read_bytes(fd: RawFd, to: &mut [u8]) -> Option<usize> {
    // SAFETY: There is room for as many bytes.
    let len = unsafe { libc::read(fd, to.as_mut_ptr().cast(), to.len()) };
    usize::try_from(len).ok().filter(|len| *len > 0)
}

/// Moves to the end of a file.
pub fn seek_end(fd: RawFd) {
    // SAFETY: It changes the position only.
    unsafe { libc::lseek(fd, 0, libc::SEEK_END) };
}

/// Calls pread(2).
pub fn pread(fd: RawFd, to: Address, len: u64, at: u64) -> i64 {
    // SAFETY: As in `read`.
    unsafe { raw(libc::SYS_pread64, [fd as u64, to.0, len, at, 0, 0]) }
}

/// Calls write(2).
pub fn write(fd: RawFd, from: Address, len: u64) -> i64 {
    // SAFETY: It only reads memory.
    unsafe { raw(libc::SYS_write, [fd as u64, from.0, len, 0, 0, 0]) }
}

/// Writes bytes of this process.
pub fn write_bytes(fd: RawFd, bytes: &[u8]) -> i64 {
    write(fd, Address(bytes.as_ptr() as u64), bytes.len() as u64)
}

/// Calls pwrite(2).
pub fn pwrite(fd: RawFd, from: Address, len: u64, at: u64) -> i64 {
    // SAFETY: It only reads memory.
    unsafe { raw(libc::SYS_pwrite64, [fd as u64, from.0, len, at, 0, 0]) }
}

/// Returns a vector of two segments, which follow each other.
pub fn segments(base: Address, lens: [u64; 2]) -> [libc::iovec; 2] {
    let segment = |at: u64, len| libc::iovec {
        iov_base: Address(at).pointer(),
        iov_len: len as usize,
    };
    [segment(base.0, lens[0]), segment(base.0 + lens[0], lens[1])]
}

/// Makes `len` bytes the first registered buffer of a ring of io_uring.
pub fn register_buffer(ring: &io_uring::IoUring, base: Address, len: u64) {
    let [buffer, _] = segments(base, [len, 0]);
    // SAFETY: The memory is never unmapped, and Rust has no reference to it.
    let _ = unsafe { ring.submitter().register_buffers(&[buffer]) };
}

/// Calls pwritev(2) or preadv(2) with two segments, which follow each other.
pub fn vector(fd: RawFd, base: Address, lens: [u64; 2], at: u64, write: bool) -> i64 {
    let iov = segments(base, lens);
    let number = if write {
        libc::SYS_pwritev
    } else {
        libc::SYS_preadv
    };
    // SAFETY: As in `read`; the vector itself is only read.
    unsafe { raw(number, [fd as u64, iov.as_ptr() as u64, 2, at, 0, 0]) }
}

/// Calls poll(2) for one descriptor without waiting. Returns the events.
pub fn poll(fd: RawFd, events: i16) -> i64 {
    let mut poll = libc::pollfd {
        fd,
        events,
        revents: 0,
    };
    // SAFETY: It changes `poll` only.
    match unsafe { libc::poll(&mut poll, 1, 0) } {
        -1 => -1,
        _ => i64::from(poll.revents),
    }
}

/// Waits until the descriptor is readable, or some milliseconds; minus one: for ever.
pub fn wait_readable(fd: RawFd, timeout: i32) {
    let mut poll = libc::pollfd {
        fd,
        events: libc::POLLIN,
        revents: 0,
    };
    // SAFETY: It changes `poll` only.
    unsafe { libc::poll(&mut poll, 1, timeout) };
}

/// Adds the descriptor to a new epoll instance, and returns the number of events.
pub fn epoll(fd: RawFd, edge: bool) -> i64 {
    // SAFETY: It creates a descriptor.
    let epoll = unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) };
    let trigger = if edge { libc::EPOLLET } else { 0 };
    let mut event = libc::epoll_event {
        events: (libc::EPOLLIN | libc::EPOLLOUT | trigger) as u32,
        u64: 0,
    };
    // SAFETY: `event` is valid, and only read.
    let added = unsafe { libc::epoll_ctl(epoll, libc::EPOLL_CTL_ADD, fd, &mut event) };
    let count = if added == 0 {
        // SAFETY: There is room for one event.
        unsafe { libc::epoll_wait(epoll, &mut event, 1, 0) }
    } else {
        -1
    };
    close(epoll);
    i64::from(count)
}

/// Opens a file. The call is openat(2), as arm64 has no open(2).
pub fn open(path: &std::ffi::CStr, flags: i32) -> i64 {
    let args = [
        libc::AT_FDCWD as u64,
        path.as_ptr() as u64,
        (flags | libc::O_CLOEXEC) as u64,
        0,
        0,
        0,
    ];
    // SAFETY: The path is valid, and only read.
    unsafe { raw(libc::SYS_openat, args) }
}

/// Closes a descriptor that the caller owns.
pub fn close(fd: RawFd) -> i64 {
    // SAFETY: By the requirement of this function.
    unsafe { raw(libc::SYS_close, [fd as u64, 0, 0, 0, 0, 0]) }
}

/// Duplicates a descriptor.
pub fn dup(fd: RawFd) -> i64 {
    // SAFETY: It creates a descriptor.
    unsafe {
        raw(
            libc::SYS_fcntl,
            [fd as u64, libc::F_DUPFD_CLOEXEC as u64, 0, 0, 0, 0],
        )
    }
}

/// Creates an eventfd.
pub fn eventfd(initial: u32, flags: i32) -> i64 {
    // SAFETY: It creates a descriptor.
    unsafe {
        raw(
            libc::SYS_eventfd2,
            [initial.into(), flags as u64, 0, 0, 0, 0],
        )
    }
}

/// Maps anonymous memory in the arena.
pub fn map_anonymous(at: u64, len: u64, protection: i32) -> io::Result<()> {
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED;
    match map(Address(at), len, protection, flags, -1, 0) {
        error if error < 0 => Err(io::Error::from_raw_os_error(-error as i32)),
        _ => Ok(()),
    }
}

/// Maps a file, or anonymous memory, in the arena.
pub fn map(at: Address, len: u64, protection: i32, flags: i32, fd: RawFd, offset: u64) -> i64 {
    let args = [
        at.0,
        len,
        protection as u64,
        (flags | libc::MAP_FIXED) as u64,
        fd as u64,
        offset,
    ];
    // SAFETY: The range is in the arena, where no object of Rust is.
    unsafe { raw(libc::SYS_mmap, args) }
}

/// Changes the protection of a part of the arena.
pub fn protect(at: Address, len: u64, protection: i32) -> i64 {
    // SAFETY: As in `map`.
    unsafe { raw(libc::SYS_mprotect, [at.0, len, protection as u64, 0, 0, 0]) }
}

/// Calls madvise(2) for a part of the arena.
pub fn advise(at: Address, len: u64, advice: i32) -> i64 {
    // SAFETY: As in `map`.
    unsafe { raw(libc::SYS_madvise, [at.0, len, advice as u64, 0, 0, 0]) }
}

/// Stores bytes in the arena, where they must be writable.
pub fn store(at: Address, bytes: &[u8]) {
    // SAFETY: The caller names a writable area of the arena. Only the kernel and other threads'
    // stores access it, and none of them through a reference.
    unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), at.pointer().cast(), bytes.len()) };
}

/// Loads bytes from the arena, where they must be readable.
pub fn load(at: Address, bytes: &mut [u8]) {
    // SAFETY: As in `store`.
    unsafe { std::ptr::copy_nonoverlapping(at.pointer().cast(), bytes.as_mut_ptr(), bytes.len()) };
}

/// Creates a pipe, a pair of sockets if `socket` is true.
pub fn pair(socket: bool) -> io::Result<[RawFd; 2]> {
    let mut fds = [-1; 2];
    // SAFETY: There is room for two descriptors.
    let result = unsafe {
        if socket {
            let kind = libc::SOCK_DGRAM | libc::SOCK_CLOEXEC;
            libc::socketpair(libc::AF_UNIX, kind, 0, fds.as_mut_ptr())
        } else {
            libc::pipe2(fds.as_mut_ptr(), libc::O_CLOEXEC)
        }
    };
    match result {
        0 => Ok(fds),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Sends a descriptor through a pair of sockets, and returns the new one.
pub fn pass(fd: RawFd) -> i64 {
    let Ok([to, from]) = pair(true) else {
        return -i64::from(libc::EMFILE);
    };
    let mut byte = 0u8;
    let mut iov = libc::iovec {
        iov_base: (&raw mut byte).cast(),
        iov_len: 1,
    };
    // Room for one descriptor, aligned as a cmsghdr.
    let mut control = [0u64; 4];
    // SAFETY: All zeroes is a valid msghdr.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = &mut iov;
    message.msg_iovlen = 1;
    message.msg_control = control.as_mut_ptr().cast();
    // SAFETY: The macros compute sizes; the header is in `control`, which has room for it.
    let received = unsafe {
        message.msg_controllen = libc::CMSG_SPACE(4) as usize;
        let header = libc::CMSG_FIRSTHDR(&message);
        (*header).cmsg_level = libc::SOL_SOCKET;
        (*header).cmsg_type = libc::SCM_RIGHTS;
        (*header).cmsg_len = libc::CMSG_LEN(4) as usize;
        libc::CMSG_DATA(header).cast::<i32>().write_unaligned(fd);
        if libc::sendmsg(to, &message, 0) != 1
            || libc::recvmsg(from, &mut message, libc::MSG_CMSG_CLOEXEC) != 1
            || libc::CMSG_FIRSTHDR(&message).is_null()
        {
            -i64::from(libc::EBADF)
        } else {
            let header = libc::CMSG_FIRSTHDR(&message);
            i64::from(libc::CMSG_DATA(header).cast::<i32>().read_unaligned())
        }
    };
    close(to);
    close(from);
    received
}

/// Returns the number of the calling thread.
pub fn thread_id() -> i32 {
    // SAFETY: It changes nothing.
    unsafe { libc::gettid() }
}

/// Interrupts the system call of a thread of this process.
pub fn interrupt(thread: i32) {
    // SAFETY: SIGUSR1 has a handler that does nothing, see `catch_interrupts`.
    unsafe { libc::syscall(libc::SYS_tgkill, libc::getpid(), thread, libc::SIGUSR1) };
}

extern "C" fn ignore(_signal: libc::c_int) {}

/// Makes SIGUSR1 interrupt system calls and do nothing else.
pub fn catch_interrupts() {
    // SAFETY: All zeroes is a valid sigaction, and the handler does nothing.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = ignore as extern "C" fn(libc::c_int) as usize;
        libc::sigaction(libc::SIGUSR1, &action, std::ptr::null_mut());
        libc::signal(libc::SIGPIPE, libc::SIG_IGN);
    }
}

/// Forks. The child has one thread, and must not return from the caller's frame of other threads.
pub fn fork() -> i32 {
    // SAFETY: The child calls only `exit` and code that uses no lock of another thread.
    unsafe { libc::fork() }
}

/// Ends the process at once.
pub fn exit(status: i32) -> ! {
    // SAFETY: It does not return.
    unsafe { libc::_exit(status) }
}

/// Kills a child.
pub fn kill(child: i32) {
    // SAFETY: It is a child that was not waited for.
    unsafe { libc::kill(child, libc::SIGKILL) };
}

/// Waits for a child. Returns its status, or none if it has not ended (or a signal came).
pub fn wait(child: i32, block: bool) -> Option<i32> {
    let mut status = 0;
    let flags = if block { 0 } else { libc::WNOHANG };
    // SAFETY: `status` has room for the result.
    (unsafe { libc::waitpid(child, &mut status, flags) } == child).then_some(status)
}

/// Makes the kernel kill this process when its parent ends.
pub fn die_with_parent() {
    // SAFETY: It changes a property of this process.
    unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
}

/// Maps `len` bytes that children share. They are never unmapped.
pub fn shared(len: usize) -> io::Result<&'static [std::sync::atomic::AtomicU8]> {
    let (protection, flags) = (
        libc::PROT_READ | libc::PROT_WRITE,
        libc::MAP_SHARED | libc::MAP_ANONYMOUS,
    );
    // SAFETY: The kernel chooses an unused address.
    let at = unsafe { libc::mmap(std::ptr::null_mut(), len, protection, flags, -1, 0) };
    if at == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: The mapping has `len` bytes, stays, and is accessed by atomic operations only.
    Ok(unsafe { std::slice::from_raw_parts(at.cast(), len) })
}

/// Maps `words` words that children share, or the trace of KCOV if `fd` is one. They are never unmapped.
pub fn map_words(fd: RawFd, words: usize) -> io::Result<&'static [std::sync::atomic::AtomicU64]> {
    let protection = libc::PROT_READ | libc::PROT_WRITE;
    let anonymous = if fd < 0 { libc::MAP_ANONYMOUS } else { 0 };
    let (flags, null) = (libc::MAP_SHARED | anonymous, std::ptr::null_mut());
    // SAFETY: The kernel chooses an unused address.
    let at = unsafe { libc::mmap(null, words * 8, protection, flags, fd, 0) };
    if at == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: As in `shared`. KCOV writes to a trace in the thread's own system calls.
    Ok(unsafe { std::slice::from_raw_parts(at.cast(), words) })
}

/// Mounts the second hierarchy of cgroups.
pub fn mount_cgroup(at: &std::path::Path) -> io::Result<()> {
    use std::os::unix::ffi::OsStrExt;
    let at = std::ffi::CString::new(at.as_os_str().as_bytes())?;
    let (kind, null) = (c"cgroup2".as_ptr(), std::ptr::null());
    // SAFETY: The strings are valid, and only read.
    match unsafe { libc::mount(kind, at.as_ptr(), kind, 0, null) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Returns the time of CLOCK_MONOTONIC in nanoseconds.
pub fn now() -> u64 {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: `time` has room for the result.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut time) };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// Lets other threads run.
pub fn yield_now() {
    std::thread::yield_now();
}

/// Sets O_NONBLOCK.
pub fn set_nonblocking(fd: RawFd) {
    // SAFETY: It changes a flag of the descriptor.
    unsafe { libc::fcntl(fd, libc::F_SETFL, libc::O_NONBLOCK) };
}

/// Creates a userfaultfd that handles faults of a page of the arena.
pub fn userfaultfd(at: Address, len: u64) -> io::Result<RawFd> {
    const UFFDIO_API: u32 = 0xc018_aa3f;
    const UFFDIO_REGISTER: u32 = 0xc020_aa00;
    let flags = (libc::O_CLOEXEC | libc::O_NONBLOCK) as u64;
    // SAFETY: It creates a descriptor.
    let fd = unsafe { raw(libc::SYS_userfaultfd, [flags, 0, 0, 0, 0, 0]) } as RawFd;
    let mut api = [0xaau64, 0, 0];
    // Missing pages.
    let mut register = [at.0, len, 1, 0];
    if fd < 0
        || ioctl(fd, UFFDIO_API, api.as_mut_ptr() as u64) < 0
        || ioctl(fd, UFFDIO_REGISTER, register.as_mut_ptr() as u64) < 0
    {
        return Err(io::Error::last_os_error());
    }
    Ok(fd)
}

/// Resolves a fault: copies a page of the arena.
pub fn resolve_fault(fd: RawFd, to: Address, from: Address, len: u64) {
    const UFFDIO_COPY: u32 = 0xc028_aa03;
    let mut copy = [to.0, from.0, len, 0, 0];
    ioctl(fd, UFFDIO_COPY, copy.as_mut_ptr() as u64);
}

/// Reads a message of a userfaultfd, and returns the address of the fault.
pub fn next_fault(fd: RawFd) -> Option<u64> {
    let mut message = [0u64; 4];
    // SAFETY: There is room for a message of 32 bytes.
    let len = unsafe { libc::read(fd, message.as_mut_ptr().cast(), 32) };
    // The first byte is the event; the address is the third word.
    (len == 32 && message[0] & 0xff == 0x12).then_some(message[2])
}
