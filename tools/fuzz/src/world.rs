// SPDX-License-Identifier: GPL-2.0-only

//! The pools of descriptors that a program's threads share.

use crate::{
    calls::{CONTEXTS, EVENTFDS},
    sys,
};
use std::{
    os::fd::RawFd,
    sync::atomic::{AtomicI32, Ordering::SeqCst},
};

/// A number that no descriptor has.
const NEVER_OPEN: RawFd = 0x7fff_fffe;

/// The descriptors of a program.
#[derive(Debug)]
pub struct World {
    contexts: [AtomicI32; CONTEXTS as usize],
    eventfds: [AtomicI32; EVENTFDS as usize],
    /// A pipe, which is no eventfd and no context. Copies to and from mappings go through it.
    pub pipe: [RawFd; 2],
    /// A virtual machine with interrupt controllers, or -1.
    pub vm: RawFd,
}

impl World {
    /// Creates a world without contexts and eventfds.
    pub fn new() -> std::io::Result<Self> {
        let pipe = sys::pair(false)?;
        pipe.iter().copied().for_each(sys::set_nonblocking);
        Ok(Self {
            contexts: [const { AtomicI32::new(-1) }; CONTEXTS as usize],
            eventfds: [const { AtomicI32::new(-1) }; EVENTFDS as usize],
            pipe,
            vm: virtual_machine(),
        })
    }

    /// Returns the descriptor that `number` of a context stands for.
    pub fn context(&self, number: u64) -> RawFd {
        match self.contexts.get(number as usize) {
            Some(fd) => fd.load(SeqCst),
            None => match number - CONTEXTS {
                1 => self.pipe[0],
                2 => self.eventfd(0),
                3 => NEVER_OPEN,
                _ => -1,
            },
        }
    }

    /// Returns the descriptor that `number` of an eventfd stands for.
    pub fn eventfd(&self, number: u64) -> RawFd {
        match self.eventfds.get(number as usize) {
            Some(fd) => fd.load(SeqCst),
            None => match number - EVENTFDS {
                1 => NEVER_OPEN,
                2 => self.contexts[0].load(SeqCst),
                3 => self.pipe[0],
                4 => i32::MIN,
                5 => -2,
                _ => -1,
            },
        }
    }

    /// Puts a new descriptor into a pool, and closes the one that was there. Returns `fd`.
    fn put(slot: &AtomicI32, fd: i64) -> i64 {
        if fd >= 0 {
            let old = slot.swap(fd as i32, SeqCst);
            if old >= 0 {
                sys::close(old);
            }
        }
        fd.min(0)
    }

    fn close(slot: &AtomicI32) -> i64 {
        match slot.swap(-1, SeqCst) {
            -1 => -i64::from(libc::EBADF),
            fd => sys::close(fd),
        }
    }

    /// Makes `fd` a context of the pool. Returns zero, or the error that `fd` is.
    pub fn put_context(&self, number: u64, fd: i64) -> i64 {
        Self::put(&self.contexts[(number % CONTEXTS) as usize], fd)
    }

    /// Makes `fd` an eventfd of the pool. Returns zero, or the error that `fd` is.
    pub fn put_eventfd(&self, number: u64, fd: i64) -> i64 {
        Self::put(&self.eventfds[(number % EVENTFDS) as usize], fd)
    }

    /// Closes a context.
    pub fn close_context(&self, number: u64) -> i64 {
        Self::close(&self.contexts[(number % CONTEXTS) as usize])
    }

    /// Closes an eventfd.
    pub fn close_eventfd(&self, number: u64) -> i64 {
        Self::close(&self.eventfds[(number % EVENTFDS) as usize])
    }

    /// Closes all contexts and eventfds, and empties the pipe.
    pub fn close_all(&self) {
        for slot in self.contexts.iter().chain(&self.eventfds) {
            Self::close(slot);
        }
        let to = crate::arena::argument(0);
        while sys::read(self.pipe[0], to, crate::arena::PAGE) > 0 {}
    }
}

/// Creates a virtual machine with KVM. Returns -1 if that is not possible.
pub fn virtual_machine() -> RawFd {
    const KVM_CREATE_VM: u32 = 0xae01;
    const KVM_CREATE_IRQCHIP: u32 = 0xae60;
    let kvm = sys::open(c"/dev/kvm", libc::O_RDWR);
    if kvm < 0 {
        return -1;
    }
    let vm = sys::ioctl(kvm as RawFd, KVM_CREATE_VM, 0) as RawFd;
    sys::close(kvm as RawFd);
    if vm < 0 {
        return -1;
    }
    sys::ioctl(vm, KVM_CREATE_IRQCHIP, 0);
    vm
}
