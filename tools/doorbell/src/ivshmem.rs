// SPDX-License-Identifier: GPL-2.0-only

//! QEMU's `ivshmem-doorbell` device, unmodified, on doorbell lines.
//!
//! The device gets its eventfds from a server, which sends each peer the eventfds of all others.
//! This server puts a line between them. For vector V of peer P, the other peers write to an irqfd
//! of the line of (P, V). P itself, or KVM for P, listens on the trigger of that line. The protocol
//! has separate messages for a peer's own vectors, so the two eventfds can differ.

pub mod client;
pub mod guest;
mod ids;
pub mod keeper;
pub mod memory;
pub mod operator;
mod outbox;
mod peer;
pub mod protocol;
pub mod server;
pub mod vm;
mod wires;

pub use client::Client;
pub use server::{Options, Server};
