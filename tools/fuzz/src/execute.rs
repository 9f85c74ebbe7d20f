// SPDX-License-Identifier: GPL-2.0-only

//! Execution of calls.

use crate::{
    arena::{self, MAP_PAGES, PAGE},
    calls::{Action, Op},
    program::Call,
    sys::{self, Address},
    world::World,
};
use io_uring::{
    opcode, squeue,
    types::{Fd, Timespec},
    IoUring,
};
use std::os::fd::RawFd;

/// The largest structure of an ioctl.
const MAX_STRUCT: usize = 128;

/// Offsets for mmap(2), see doorbell_get_info.
const MAP_OFFSETS: [u64; 5] = [0, 0x1000_0000, 0x2000_0000, 0x3000_0000, 0x4000_0000];

const EBADF: i64 = -(libc::EBADF as i64);

/// The user data of a timeout of io_uring. Other operations have zero.
const TIMEOUT: u64 = 1;

/// A thread that makes calls.
pub struct Hand<'a> {
    world: &'a World,
    thread: usize,
    ring: Option<IoUring>,
    fail: RawFd,
    /// The number of the allocation or user copy that fails in the next call; zero for none.
    fail_nth: u64,
    /// True in a child that `fork` has created.
    forked: bool,
}

impl<'a> Hand<'a> {
    /// Creates the hand of the calling thread.
    pub fn new(world: &'a World, thread: usize) -> Self {
        Self {
            world,
            thread,
            ring: None,
            fail: sys::open(c"/proc/thread-self/fail-nth", libc::O_WRONLY) as RawFd,
            fail_nth: 0,
            forked: false,
        }
    }

    /// Makes `calls[at]`, and those after it that belong to it. Returns the result, and the number of calls
    /// that were made.
    pub fn execute(&mut self, calls: &[Call], at: usize) -> (i64, usize) {
        let call = &calls[at];
        if call.form().action == Action::Other(Op::Fork) {
            let rest = &calls[at + 1..];
            let count = rest.len().min((call.values[0] % 8) as usize);
            return (
                self.fork(&rest[..count], call.values[1] & 1 != 0),
                1 + count,
            );
        }
        let fail = std::mem::take(&mut self.fail_nth);
        if fail != 0 {
            self.set_fail_nth(fail);
        }
        let result = self.call(call);
        if fail != 0 {
            self.set_fail_nth(0);
        }
        (result, 1)
    }

    fn set_fail_nth(&self, nth: u64) {
        if !self.forked {
            let digits = [b'0' + (nth / 10 % 10) as u8, b'0' + (nth % 10) as u8];
            sys::write_bytes(self.fail, &digits);
        }
    }

    fn call(&mut self, call: &Call) -> i64 {
        match call.form().action {
            Action::Ioctl(_, command, _, size) => {
                let place = *call.values.get(call.form().fields.len() - 1).unwrap_or(&0);
                let mut bytes = [0; MAX_STRUCT];
                self.structure(call, &mut bytes);
                let at = arena::place(self.thread, place, size);
                match place % arena::PLACES {
                    // The page that resolves a fault is a copy of the normal one.
                    4 => {
                        sys::store(arena::argument(self.thread), &bytes[..size]);
                        sys::advise(at, PAGE, libc::MADV_DONTNEED);
                    }
                    0 | 1 | 7 => sys::store(at, &bytes[..size]),
                    2 => sys::store(at, &bytes[..8]),
                    _ => {}
                }
                sys::ioctl(self.world.context(call.values[0]), command, at.number())
            }
            Action::Number(_, command) => {
                let fd = self.world.context(call.values[0]);
                sys::ioctl(fd, command, call.values[1])
            }
            Action::Store(_, size) => {
                let mut bytes = [0; MAX_STRUCT];
                self.structure(call, &mut bytes);
                let offset = call.values[1].wrapping_mul(size as u64);
                match arena::buffer(call.values[0], offset, size) {
                    Some(at) => sys::store(at, &bytes[..size]),
                    None => return -1,
                }
                0
            }
            Action::Other(op) => self.other(op, call),
        }
    }

    /// Builds the structure of a call.
    fn structure(&self, call: &Call, bytes: &mut [u8; MAX_STRUCT]) {
        use crate::calls::Domain;
        for (field, value) in call.form().fields.iter().zip(call.values) {
            let Some((offset, size)) = field.part else {
                continue;
            };
            let value = match field.domain {
                Domain::EventFd => self.world.eventfd(value) as u64,
                Domain::OptionalEventFd if value != 0 => self.world.eventfd(value - 1) as u64,
                Domain::Pointer => arena::pointer(self.thread, value).number(),
                Domain::Time if value != 0 && value != u64::MAX => sys::now() + value % (1 << 30),
                _ => value,
            };
            // Of an array only the first word is set.
            let size = size.min(if field.domain == Domain::Reserved {
                4
            } else {
                8
            });
            bytes[offset..offset + size].copy_from_slice(&value.to_ne_bytes()[..size]);
        }
    }

    fn other(&mut self, op: Op, call: &Call) -> i64 {
        let world = self.world;
        let v = &call.values;
        let length = |value: u64| value.min(PAGE);
        match op {
            Op::Open => world.put_context(v[0], sys::open(c"/dev/doorbell", libc::O_RDWR)),
            Op::CloseContext => world.close_context(v[0]),
            Op::DupContext => {
                world.put_context(v[1], sys::dup(world.context(v[0] % crate::calls::CONTEXTS)))
            }
            Op::EventFd => {
                let semaphore = if v[2] & 1 != 0 {
                    libc::EFD_SEMAPHORE
                } else {
                    0
                };
                let blocking = if v[2] & 2 != 0 { 0 } else { libc::EFD_NONBLOCK };
                let flags = semaphore | blocking | libc::EFD_CLOEXEC;
                world.put_eventfd(v[0], sys::eventfd(v[1] as u32, flags))
            }
            Op::EventFdWrite => sys::write_bytes(world.eventfd(v[0]), &v[1].to_ne_bytes()),
            Op::EventFdRead => sys::read(world.eventfd(v[0]), arena::argument(self.thread), 8),
            Op::EventFdClose => world.close_eventfd(v[0]),
            Op::EventFdDup => {
                world.put_eventfd(v[1], sys::dup(world.eventfd(v[0] % crate::calls::EVENTFDS)))
            }
            Op::EventFdPass => world.put_eventfd(
                v[1],
                sys::pass(world.eventfd(v[0] % crate::calls::EVENTFDS)),
            ),
            Op::Pwrite => sys::pwrite(world.context(v[0]), self.bytes(v[2]), length(v[3]), v[1]),
            Op::Pwritev => {
                let lens = [length(v[3]), length(v[4])];
                sys::vector(world.context(v[0]), self.bytes(v[2]), lens, v[1], true)
            }
            Op::Read => sys::read(
                world.context(v[0]),
                arena::pointer(self.thread, v[1]),
                length(v[2]),
            ),
            Op::Readv => {
                let lens = [length(v[2]), length(v[3])];
                let at = arena::argument(self.thread);
                sys::vector(world.context(v[0]), at, lens, v[1], false)
            }
            Op::Pread => {
                let to = arena::pointer(self.thread, v[2]);
                sys::pread(world.context(v[0]), to, length(v[3]), v[1])
            }
            Op::Poll => sys::poll(world.context(v[0]), libc::POLLIN | libc::POLLOUT),
            Op::Epoll => sys::epoll(world.context(v[0]), v[1] & 1 != 0),
            Op::Map => {
                let offset = MAP_OFFSETS[(v[2] % 5) as usize];
                let pages = 1 + v[3].wrapping_sub(1) % MAP_PAGES;
                let flags = if v[5] == 0 {
                    libc::MAP_SHARED
                } else {
                    libc::MAP_PRIVATE
                };
                let protection = (v[4] & 7) as i32;
                let fd = world.context(v[1]);
                let at = arena::mapping(v[0], 0);
                sys::map(at, pages * PAGE, protection, flags, fd, offset).min(0)
            }
            Op::Unmap => {
                let first = v[1] % MAP_PAGES;
                let pages = 1 + v[2].wrapping_sub(1) % (MAP_PAGES - first);
                let at = arena::mapping(v[0], first * PAGE);
                let mapped = sys::map_anonymous(at.number(), pages * PAGE, libc::PROT_NONE);
                -i64::from(mapped.is_err())
            }
            Op::Protect => sys::protect(arena::mapping(v[0], 0), PAGE, (v[1] & 7) as i32),
            Op::Advise => sys::advise(arena::mapping(v[0], 0), PAGE, (v[1] & 31) as i32),
            Op::Touch => self.touch(arena::mapping(v[0], v[1]), v[2] & 1 != 0, v[3]),
            Op::UringWrite => {
                let from = self.bytes(v[2]).number() as *const u8;
                let fd = Fd(world.context(v[0]));
                let write = opcode::Write::new(fd, from, length(v[3]) as u32);
                self.uring(&[write.offset(v[1]).build()])
            }
            Op::UringRead => {
                let to = arena::argument(self.thread).number() as *mut u8;
                let fd = Fd(world.context(v[0]));
                self.uring(&[opcode::Read::new(fd, to, length(v[1]) as u32).build()])
            }
            Op::UringWriteFixed => {
                let from = self.bytes(v[2]).number() as *const u8;
                let fd = Fd(world.context(v[0]));
                let write = opcode::WriteFixed::new(fd, from, length(v[3]) as u32, 0);
                self.uring(&[write.offset(v[1]).build()])
            }
            Op::UringReadFixed => {
                let to = arena::argument(self.thread).number() as *mut u8;
                let fd = Fd(world.context(v[0]));
                self.uring(&[opcode::ReadFixed::new(fd, to, length(v[1]) as u32, 0).build()])
            }
            Op::UringWritev => {
                let iov = sys::segments(self.bytes(v[2]), [length(v[3]), length(v[4])]);
                let fd = Fd(world.context(v[0]));
                let write = opcode::Writev::new(fd, iov.as_ptr().cast(), 2);
                self.uring(&[write.offset(v[1]).build()])
            }
            Op::UringReadv => {
                let at = arena::argument(self.thread);
                let iov = sys::segments(at, [length(v[1]), length(v[2])]);
                let fd = Fd(world.context(v[0]));
                self.uring(&[opcode::Readv::new(fd, iov.as_ptr().cast(), 2).build()])
            }
            Op::UringPoll => self.uring_poll(world.context(v[0]), v[1]),
            Op::UringWriteEventFd => {
                let from = self.bytes(v[1]).number() as *const u8;
                self.uring(&[opcode::Write::new(Fd(world.eventfd(v[0])), from, 8).build()])
            }
            Op::UringNotify => {
                let fd = world.eventfd(v[0]);
                match self.ring() {
                    Some(ring) => {
                        let _ = ring.submitter().unregister_eventfd();
                        let registered = ring.submitter().register_eventfd(fd);
                        -i64::from(registered.is_err())
                    }
                    None => EBADF,
                }
            }
            Op::KvmIrqfd => self.kvm_irqfd(world.eventfd(v[0]), v[1] as u32, v[2] as u32 & 1),
            Op::FailNth => {
                self.fail_nth = v[0] % 20;
                0
            }
            Op::Pause => {
                (0..v[0] % 1000).for_each(|_| std::hint::spin_loop());
                sys::yield_now();
                0
            }
            Op::Word => match arena::buffer(v[0], v[1].wrapping_mul(8), 8) {
                Some(at) => {
                    sys::store(at, &v[2].to_ne_bytes());
                    0
                }
                None => -1,
            },
            Op::Fdinfo => self.fdinfo(world.context(v[0])),
            Op::Fork => 0,
        }
    }

    /// Stores a value at the normal place.
    fn bytes(&self, value: u64) -> Address {
        let at = arena::argument(self.thread);
        sys::store(at, &value.to_ne_bytes());
        at
    }

    /// Reads or writes a word of a mapping. The kernel copies it, so a fault is an error.
    fn touch(&self, at: Address, write: bool, value: u64) -> i64 {
        let [from, to] = self.world.pipe;
        if !write {
            let read = sys::write(to, at, 8);
            if read > 0 {
                sys::read(from, arena::argument(self.thread), 8);
            }
            return read;
        }
        sys::write_bytes(to, &value.to_ne_bytes());
        sys::read(from, at, 8)
    }

    fn ring(&mut self) -> Option<&mut IoUring> {
        if self.forked {
            // The kernel does not give the rings to the child.
            return None;
        }
        if self.ring.is_none() {
            let ring = IoUring::new(4).ok()?;
            sys::register_buffer(&ring, arena::argument(self.thread), PAGE);
            self.ring = Some(ring);
        }
        self.ring.as_mut()
    }

    /// Polls by io_uring, for some microseconds.
    fn uring_poll(&mut self, fd: RawFd, microseconds: u64) -> i64 {
        let time = Timespec::new().nsec((microseconds % 1000) as u32 * 1000);
        let poll = opcode::PollAdd::new(Fd(fd), libc::POLLIN as u32).build();
        let timeout = opcode::LinkTimeout::new(&time).build();
        self.uring(&[
            poll.flags(squeue::Flags::IO_LINK),
            timeout.user_data(TIMEOUT),
        ])
    }

    /// Carries out an operation, and what is linked to it, by io_uring. Returns the result of the former.
    fn uring(&mut self, entries: &[squeue::Entry]) -> i64 {
        let Some(ring) = self.ring() else {
            return EBADF;
        };
        // SAFETY: The operations access the arena only. The kernel reads vectors and times when they are submitted.
        if unsafe { ring.submission().push_multiple(entries) }.is_err() {
            let _ = ring.submit();
            return EBADF;
        }
        // A signal ends the wait; then a later call finds the completion.
        let waited = ring.submit_and_wait(entries.len());
        let completed = ring.completion().filter(|done| done.user_data() != TIMEOUT);
        let result = completed.last().map(|done| done.result());
        // An allocation has failed. What is left points to memory of this call.
        if !ring.submission().is_empty() {
            self.ring = None;
        }
        match (waited, result) {
            (_, Some(result)) => result.into(),
            (Err(error), None) => -i64::from(error.raw_os_error().unwrap_or(1)),
            _ => 0,
        }
    }

    fn kvm_irqfd(&self, fd: RawFd, gsi: u32, flags: u32) -> i64 {
        const KVM_IRQFD: u32 = 0x4020_ae76;
        let mut bytes = [0; 32];
        bytes[..4].copy_from_slice(&fd.to_ne_bytes());
        bytes[4..8].copy_from_slice(&gsi.to_ne_bytes());
        bytes[8..12].copy_from_slice(&flags.to_ne_bytes());
        let at = arena::argument(self.thread);
        sys::store(at, &bytes);
        sys::ioctl(self.world.vm, KVM_IRQFD, at.number())
    }

    /// Reads the properties of a descriptor in /proc.
    fn fdinfo(&self, fd: RawFd) -> i64 {
        let mut path = *b"/proc/thread-self/fdinfo/0000000000\0";
        let end = path.len() - 1;
        let mut rest = fd.max(0);
        let mut at = end;
        while at > end - 10 {
            at -= 1;
            path[at] = b'0' + (rest % 10) as u8;
            rest /= 10;
        }
        // The name of a descriptor has no leading zeroes.
        let digits = path[end - 10..end]
            .iter()
            .position(|digit| *digit != b'0')
            .unwrap_or(9);
        path.copy_within(end - 10 + digits..=end, end - 10);
        let Ok(path) = std::ffi::CStr::from_bytes_until_nul(&path) else {
            return EBADF;
        };
        let file = sys::open(path, libc::O_RDONLY);
        if file < 0 {
            return file;
        }
        let read = sys::read(file as RawFd, arena::argument(self.thread), PAGE);
        sys::close(file as RawFd);
        read.min(0)
    }

    /// Makes calls in a child, beside the other threads, and perhaps kills it.
    fn fork(&mut self, calls: &[Call], kill: bool) -> i64 {
        if self.forked {
            return EBADF;
        }
        let child = sys::fork();
        if child == 0 {
            sys::die_with_parent();
            self.forked = true;
            for at in 0..calls.len() {
                self.execute(calls, at);
            }
            sys::exit(0);
        }
        if child < 0 {
            return EBADF;
        }
        if kill {
            sys::yield_now();
            sys::kill(child);
        }
        // The signal that ends long calls of this thread ends the child.
        let status = sys::wait(child, true);
        if status.is_none() {
            sys::kill(child);
            while sys::wait(child, true).is_none() {}
        }
        0
    }
}
