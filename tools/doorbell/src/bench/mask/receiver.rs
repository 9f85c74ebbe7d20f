// SPDX-License-Identifier: GPL-2.0-only

//! Receivers of a line's messages.

use anyhow::Result;
use doorbell::EventFd;
use std::sync::Arc;

/// The end of a trigger.
pub(super) struct Receiver {
    /// The trigger of the line.
    pub(super) trigger: Arc<EventFd>,
    /// Returns true if a message has arrived since the last call.
    pub(super) take: Box<dyn Fn() -> Result<bool>>,
}

/// The local APIC of a vCPU, whose irqfd is the trigger.
#[cfg(target_arch = "x86_64")]
pub(super) fn by_kvm() -> Result<Receiver> {
    use std::os::fd::AsFd;

    let trigger = Arc::new(EventFd::new(0)?);
    let target = kvm_rtt::Target::new(trigger.as_fd())?;
    target.assign(true)?;
    Ok(Receiver {
        trigger,
        take: Box::new(move || target.take()),
    })
}

#[cfg(not(target_arch = "x86_64"))]
pub(super) fn by_kvm() -> Result<Receiver> {
    anyhow::bail!("the VM is for x86-64")
}

/// The counter of the trigger itself.
pub(super) fn by_eventfd() -> Result<Receiver> {
    let trigger = EventFd::non_blocking(false)?;
    let trigger = Arc::new(trigger);
    let counter = trigger.clone();
    Ok(Receiver {
        trigger,
        take: Box::new(move || Ok(counter.take()? > 0)),
    })
}
