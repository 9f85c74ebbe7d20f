// SPDX-License-Identifier: GPL-2.0-only

//! The library behind the `doorbell` command: measurements, the torture test, the ivshmem server.
//! The client library of the device is the crate [`doorbell`].

#![warn(clippy::print_stderr, clippy::print_stdout)]

pub mod advice;
pub mod bench;
pub mod conditions;
pub mod diff;
pub mod doctor;
pub mod ivshmem;
pub mod machine;
pub mod output;
pub mod plot;
pub mod process;
mod random;
pub mod realtime;
pub mod rtt;
pub mod share;
pub mod stderr;
pub mod stop;
pub mod sys;
pub mod torture;
pub mod tracefs;

pub use advice::explain;
