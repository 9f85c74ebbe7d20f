// SPDX-License-Identifier: GPL-2.0-only

//! Masks of an irqfd of KVM, as VMMs make them without doorbell.

use super::Way;
use anyhow::Result;
use doorbell::EventFd;
use kvm_rtt::Target;
use std::{os::fd::AsFd, sync::Arc, time::Duration};

/// The irqfd is deassigned while it is masked. The eventfd counts the signals meanwhile, and KVM injects an interrupt
/// for them when it is assigned again.
pub(super) struct Irqfd {
    device: Arc<EventFd>,
    target: Target,
}

impl Irqfd {
    pub(super) fn new() -> Result<Self> {
        let device = Arc::new(EventFd::new(0)?);
        let target = Target::new(device.as_fd())?;
        target.assign(true)?;
        Ok(Self { device, target })
    }
}

impl Way for Irqfd {
    fn mask(&mut self) -> Result<()> {
        self.target.assign(false)
    }

    fn unmask(&mut self) -> Result<()> {
        self.target.assign(true)
    }

    fn pending(&self) -> Result<bool> {
        Ok(self.device.wait(Duration::ZERO)?)
    }

    fn take(&self) -> Result<bool> {
        self.target.take()
    }

    fn device(&self) -> &Arc<EventFd> {
        &self.device
    }
}

/// The route of the GSI is removed while it is masked. KVM reads the eventfd nevertheless, so that nothing is pending, and
/// then finds no route. A worker tries once more, so a message is not lost if the route is back by then.
pub(super) struct Route(Irqfd);

impl Route {
    pub(super) fn new() -> Result<Self> {
        Irqfd::new().map(Self)
    }
}

impl Way for Route {
    fn mask(&mut self) -> Result<()> {
        self.0.target.route(false)
    }

    fn unmask(&mut self) -> Result<()> {
        self.0.target.route(true)
    }

    fn pending(&self) -> Result<bool> {
        self.0.pending()
    }

    fn take(&self) -> Result<bool> {
        self.0.take()
    }

    fn device(&self) -> &Arc<EventFd> {
        self.0.device()
    }
}
