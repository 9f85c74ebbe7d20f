// SPDX-License-Identifier: GPL-2.0-only

//! QEMU's `ivshmem-doorbell` device, unmodified, on doorbell lines.
//!
//! The device gets its eventfds from a server, which tells each peer of all others. Ours puts a line
//! between them: what the others of peer P write to, to ring its vector V, is an irqfd of the line
//! of (P, V); what P itself listens on, or has KVM listen on, is the line's trigger. The protocol
//! tells a peer of its own vectors by messages of their own, so the two can differ.

pub mod client;
pub mod control;
pub mod guest;
mod ids;
pub mod keeper;
pub mod memory;
mod outbox;
mod peer;
pub mod protocol;
pub mod server;
pub mod vm;
mod wires;

pub use client::Client;
pub use server::{Options, Server};
