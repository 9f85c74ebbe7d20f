// SPDX-License-Identifier: GPL-2.0-only

//! A vhost-user backend whose calls and kicks go through lines.
//!
//! The backend is a process of its own, made of the crates `vhost-user-backend` and `virtio-queue`, and an
//! echo device. The VMM is another process, with a guest that drives a virtqueue and masks the MSI-X vector
//! of the queue now and then. During a run the backend is killed at any point of a request, and the VMM saves
//! its state, exits, and goes on in a new process. At the end the counters of the guest, of the backend and of
//! the lines must agree.
//!
//! | file | |
//! |---|---|
//! | `layout.rs` | the guest's memory and the device's addresses |
//! | `command.rs` | the subcommands |
//! | `driver.rs` | the guest |
//! | `backend.rs` | the backend |
//! | `ledger.rs` | the part of the backend that survives it |
//! | `frontend.rs` | the VMM's side of vhost-user |
//! | `vmm.rs` | the VMM: wiring, save, restore, and the end of a backend |
//! | `protocol.rs` | the messages between a run and a VMM |
//! | `plan.rs` | the moments of kills and migrations |
//! | `process.rs` | the processes |
//! | `run.rs` | the run |
//! | `report.rs` | the counters, and their comparison |
//! | `mutant.rs` | defects that a run must find |

mod backend;
mod command;
mod driver;
mod frontend;
mod layout;
mod ledger;
mod mutant;
mod plan;
mod process;
mod protocol;
mod report;
mod run;
mod vmm;

pub use command::{Backend, Vhost, Vmm};
pub use mutant::Mutant;
