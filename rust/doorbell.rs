// SPDX-License-Identifier: GPL-2.0

//! doorbell: a software interrupt controller for eventfds.
//!
//! - `line`: a line, and the ways to deliver. `line::state`: its state machine, as pure functions;
//!   `line::ops`: masks, levels, acks; `line::outputs` and `line::callback`: the eventfds and functions
//!   that it signals; `line::status`: its counters;
//! - `bus`: a context's bus. `bus::region`: the match of a write and a region, as pure functions;
//!   `bus::records`: the writes that regions record;
//! - `context`: the lines and the bus of an open file; `irqfd`: the eventfds that ring its lines;
//!   `quota`: the limit on the eventfds that it keeps alive; `summary`: which of its lines have fired.
//!   `summary::words`: its words, as a pure function;
//! - `device`: the ioctls. `device::bus`: those for the bus; `device::line_set`: the lines of a call;
//! - `trace`: the tracepoints;
//! - `uapi`: the types of the ioctls; `c_api`: the functions for other modules;
//! - `kernel_ext`: abstractions that know nothing of doorbell. All `unsafe` is there, in `c_api` and in
//!   `line::callback`.

mod bindings;
mod bus;
mod c_api;
mod context;
mod device;
// begin out of tree
// The examples of the documentation, which tools/lab/lib/examples.py compiles.
#[cfg(doorbell_examples)]
#[allow(unused)]
mod examples {
    include!(env!("DOORBELL_EXAMPLES"));
}
// end out of tree
mod irqfd;
mod kernel_ext;
#[cfg(CONFIG_DOORBELL_KUNIT_TEST)]
mod kunit;
mod line;
mod quota;
mod summary;
mod trace;
mod uapi;

use crate::kernel_ext::{
    compat::misc_device::Registration,
    owner_work::Orphans, //
};
use kernel::prelude::*;

module! {
    type: Doorbell,
    name: "doorbell",
    authors: ["The doorbell authors"],
    description: "Software interrupt controller for eventfds",
    license: "GPL",
}

#[pin_data]
struct Doorbell {
    #[cfg(CONFIG_DOORBELL_KUNIT_TEST)]
    _eventfds: kernel_ext::kunit_support::TestEventFds,
    #[pin]
    _device: Registration<device::DoorbellFile>,
    // Last: contexts use it.
    _orphans: Orphans,
}

impl kernel::InPlaceModule for Doorbell {
    fn init(_module: &'static ThisModule) -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            #[cfg(CONFIG_DOORBELL_KUNIT_TEST)]
            _eventfds: kernel_ext::kunit_support::TestEventFds::take()?,
            _orphans: Orphans::new()?,
            _device <- Registration::register(device::OPTIONS),
        })
    }
}
