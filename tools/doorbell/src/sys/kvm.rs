// SPDX-License-Identifier: GPL-2.0-only

//! KVM: its extensions; and its own irqfds and ioeventfds, for comparisons.
//!
//! This is not kvm-ioctls for three reasons. Its ioeventfds have a datamatch, or any length; the
//! comparisons need a length without a datamatch. Its irqfds take an owned eventfd, so the measured
//! calls would have to duplicate a borrowed one. It does not compile on all architectures.

use super::check;
use std::{
    io,
    os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
    path::Path,
};

/// Calls an ioctl of KVM whose argument is a number.
fn ioctl_value(fd: BorrowedFd<'_>, cmd: u32, arg: u32) -> io::Result<i32> {
    // SAFETY: `cmd` encodes no size, so that the kernel takes the argument as a number.
    let ret = unsafe { libc::ioctl(fd.as_raw_fd(), cmd as _, libc::c_ulong::from(arg)) };
    check(ret.into())?;
    Ok(ret)
}

/// An extension of KVM, with its KVM_CAP_* number.
#[derive(Clone, Copy, Debug)]
#[repr(u32)]
pub(crate) enum Extension {
    /// Eventfds that inject interrupts.
    Irqfd = 32,
    /// Eventfds that are signalled by writes of a guest.
    Ioeventfd = 36,
    /// The same, for writes of any length.
    IoeventfdAnyLength = 122,
}

/// An open /dev/kvm.
#[derive(Debug)]
pub(crate) struct System(OwnedFd);

impl System {
    /// Opens `device`.
    pub(crate) fn open(device: &Path) -> io::Result<Self> {
        let file = std::fs::OpenOptions::new()
            .read(true)
            .write(true)
            .open(device)?;
        Ok(Self(file.into()))
    }

    /// Returns true if KVM has `extension`.
    pub(crate) fn has(&self, extension: Extension) -> bool {
        const KVM_CHECK_EXTENSION: u32 = 0xae03;
        ioctl_value(self.0.as_fd(), KVM_CHECK_EXTENSION, extension as u32).is_ok_and(|has| has > 0)
    }

    /// Creates an empty VM.
    pub(crate) fn create_vm(&self) -> io::Result<OwnedFd> {
        const KVM_CREATE_VM: u32 = 0xae01;
        let vm = loop {
            match ioctl_value(self.0.as_fd(), KVM_CREATE_VM, 0) {
                // The kernel takes all locks of the address space, unless a signal is pending.
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => break result?,
            }
        };
        // SAFETY: Just created.
        Ok(unsafe { OwnedFd::from_raw_fd(vm) })
    }
}

/// A VM that has only an interrupt controller.
#[derive(Debug)]
pub(crate) struct Vm(OwnedFd);

#[repr(C)]
#[derive(Default)]
struct KvmIrqfd {
    fd: u32,
    gsi: u32,
    flags: u32,
    resamplefd: u32,
    pad: [u8; 16],
}

#[repr(C)]
struct KvmIoeventfd {
    datamatch: u64,
    addr: u64,
    len: u32,
    fd: i32,
    flags: u32,
    pad: [u8; 36],
}

impl Vm {
    /// Creates a VM.
    pub(crate) fn new() -> io::Result<Self> {
        const KVM_CREATE_IRQCHIP: u32 = 0xae60;
        let vm = System::open(Path::new("/dev/kvm"))?.create_vm()?;
        ioctl_value(vm.as_fd(), KVM_CREATE_IRQCHIP, 0)?;
        Ok(Self(vm))
    }

    /// Assigns or deassigns an irqfd.
    pub(crate) fn irqfd(&self, fd: BorrowedFd<'_>, assign: bool) -> io::Result<()> {
        const KVM_IRQFD: u32 = 0x4020_ae76;
        const KVM_IRQFD_FLAG_DEASSIGN: u32 = 1;
        let arg = KvmIrqfd {
            fd: fd.as_raw_fd() as u32,
            gsi: 5,
            flags: if assign { 0 } else { KVM_IRQFD_FLAG_DEASSIGN },
            ..Default::default()
        };
        // SAFETY: The kernel reads a `struct kvm_irqfd`, and `arg` is one.
        check(unsafe { libc::ioctl(self.0.as_raw_fd(), KVM_IRQFD as _, &raw const arg) }.into())?;
        Ok(())
    }

    /// Assigns or deassigns an ioeventfd: four bytes of MMIO at `addr`.
    pub(crate) fn ioeventfd(&self, fd: BorrowedFd<'_>, addr: u64, assign: bool) -> io::Result<()> {
        const KVM_IOEVENTFD: u32 = 0x4040_ae79;
        const KVM_IOEVENTFD_FLAG_DEASSIGN: u32 = 1 << 2;
        let arg = KvmIoeventfd {
            datamatch: 0,
            addr,
            len: 4,
            fd: fd.as_raw_fd(),
            flags: match assign {
                true => 0,
                false => KVM_IOEVENTFD_FLAG_DEASSIGN,
            },
            pad: [0; 36],
        };
        // SAFETY: The kernel reads a `struct kvm_ioeventfd`, and `arg` is one.
        let ret = unsafe { libc::ioctl(self.0.as_raw_fd(), KVM_IOEVENTFD as _, &raw const arg) };
        check(ret.into())?;
        Ok(())
    }
}

const _: () = assert!(size_of::<KvmIrqfd>() == 32);
const _: () = assert!(size_of::<KvmIoeventfd>() == 64);
