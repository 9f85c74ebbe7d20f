// SPDX-License-Identifier: GPL-2.0

//! doorbell: a software interrupt controller for eventfds.
//!
//! - `line`: what a line does, as pure functions;
//! - `delivery` and `control`: the line itself; `status`: what can be seen of it; `outputs` and
//!   `irqfd`: what is wired to it;
//! - `region`: what a write to the bus matches, as pure functions; `bus`: the regions themselves;
//!   `records`: the values that they keep;
//! - `context`: all lines of an open file, and its bus; `quota`: what it keeps alive; `device`: its ioctls; `lineset`: those for many
//!   lines at once; `bus_device`: those for the bus; `uapi`: their types;
//! - `c_api`: what other modules see of it;
//! - `kernel_ext`: abstractions that know nothing of doorbell; all `unsafe` is there and in `c_api`.

mod bindings;
mod bus;
mod bus_device;
mod c_api;
mod context;
mod control;
mod delivery;
mod device;
mod irqfd;
mod kernel_ext;
#[cfg(CONFIG_KUNIT = "y")]
mod kunit;
#[cfg(CONFIG_KUNIT = "y")]
mod kunit_array;
#[path = "line/state.rs"]
mod line;
mod lineset;
mod outputs;
mod quota;
mod records;
mod region;
mod status;
mod uapi;

use crate::kernel_ext::owner_work::Orphans;
use kernel::{
    miscdevice::MiscDeviceRegistration,
    prelude::*, //
};

module! {
    type: Doorbell,
    name: "doorbell",
    authors: ["The doorbell authors"],
    description: "Software interrupt controller for eventfds",
    license: "GPL",
}

#[pin_data]
struct Doorbell {
    #[pin]
    _device: MiscDeviceRegistration<device::Context>,
    // Last: contexts use it.
    _orphans: Orphans,
}

impl kernel::InPlaceModule for Doorbell {
    fn init(_module: &'static ThisModule) -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            _orphans: Orphans::new()?,
            _device <- MiscDeviceRegistration::register(device::OPTIONS),
        })
    }
}
