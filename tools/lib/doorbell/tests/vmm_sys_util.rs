// SPDX-License-Identifier: MIT OR Apache-2.0

//! Passes each type of eventfd that VMMs use to the methods that take one.

use doorbell::{Changes, Context, EventFd, Notify, Region, Target};
use std::{
    fs::File,
    os::fd::{AsFd, AsRawFd, OwnedFd},
};
use vmm_sys_util::eventfd::{EFD_CLOEXEC, EventFd as VmmEventFd};

/// Connects an irqfd to a trigger by line 3: a VMM's whole set-up.
fn relay(context: &Context, kick: &VmmEventFd, call: &VmmEventFd) -> doorbell::Result {
    context.set_lines(16)?;
    context.assign_irqfd(kick, 3)?;
    context.assign_trigger(call, 3)
}

/// Calls each method that takes an eventfd. The device is /dev/null, so each call fails with ENOTTY.
fn all_methods(fd: &impl AsRawFd) {
    let context = Context::open_path("/dev/null").unwrap();
    let region = Region::mmio(0x1000, 4);
    let mut changes = Changes::new();
    changes.assign(&region, Target::eventfd(fd));
    for result in [
        context.assign_irqfd(fd, 3),
        context.assign_resampled(fd, 3, fd),
        context.deassign_irqfd(fd, 3),
        context.assign_trigger(fd, 3),
        context.deassign_trigger(fd, 3),
        context.assign_notifier(fd, 3, Notify::MASK),
        context.deassign_notifier(fd, 3),
        context.assign_region(&region, Target::eventfd(fd)),
        context.change_regions(&changes),
        context.read_eventfd(fd, true).map(drop),
        context.peek_eventfd(fd).map(drop),
    ] {
        assert_eq!(result.unwrap_err().errno(), Some(libc::ENOTTY));
    }
}

#[test]
fn eventfd_of_vmm_sys_util() {
    let eventfd = VmmEventFd::new(EFD_CLOEXEC).unwrap();
    all_methods(&eventfd);
    let null = Context::open_path("/dev/null").unwrap();
    assert!(relay(&null, &eventfd, &eventfd).is_err());
}

#[test]
fn relay_with_vmm_sys_util_delivers() {
    let Ok(context) = Context::open() else {
        return; // There is no device.
    };
    let kick = VmmEventFd::new(EFD_CLOEXEC).unwrap();
    let call = VmmEventFd::new(EFD_CLOEXEC).unwrap();
    relay(&context, &kick, &call).unwrap();
    kick.write(1).unwrap();
    assert_eq!(call.read().unwrap(), 1);
}

#[test]
fn eventfds_of_std() {
    let owned = OwnedFd::from(EventFd::new(0).unwrap());
    all_methods(&owned);
    all_methods(&owned.as_fd());
    all_methods(&owned.as_raw_fd());
    all_methods(&File::from(owned));
}

#[test]
fn eventfd_of_this_crate() {
    let eventfd = EventFd::new(0).unwrap();
    all_methods(&eventfd);
    all_methods(&std::sync::Arc::new(eventfd));
}
