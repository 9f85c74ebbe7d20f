// SPDX-License-Identifier: GPL-2.0-only

//! A small VMM whose guest masks and unmasks MSI-X vectors while a device signals them.
//!
//! The VMM has two vCPUs and one PCI function, of which only MSI-X is there: the table, the pending bit
//! array and Message Control, at MMIO addresses. The device is another thread or process, which signals an
//! eventfd. The VM and its vCPUs are those of the crate `kvm_rtt`.
//!
//! | file | |
//! |---|---|
//! | `layout.rs` | the window and the guest's memory |
//! | `guest.rs` | the guest: handlers that count, scripts, loops that mask and retarget |
//! | `machine.rs` | the VM, its vCPUs, and their runs |
//! | `window.rs` | the accesses of the guest |
//! | `function.rs` | the interface of a function's MSI-X |
//! | `lines.rs` | MSI-X of lines, by the client library's module [`doorbell::msix`] |
//! | `irqfds.rs` | MSI-X without `/dev/doorbell`: irqfds that are assigned and deassigned |
//! | `device.rs` | the device |
//! | `scenario.rs` | the scenarios, and what they count |
//! | `bench.rs` | the test bench, which runs them |
//! | `mutant.rs` | defects that the scenarios must find, and a function that has them |
//! | `report.rs` | the tables |
//! | `masks.rs` | the command `masks` |
//! | `vhost.rs` | a vhost-user backend that is killed, and a VMM that is migrated |

#[cfg(not(target_arch = "x86_64"))]
compile_error!("the guest's code is for x86-64");

mod bench;
mod device;
pub mod function;
mod guest;
mod irqfds;
pub mod layout;
mod lines;
mod machine;
mod masks;
mod mutant;
mod report;
mod scenario;
pub mod vhost;
mod window;

pub use bench::{Bench, VECTORS};
pub use function::{Function, Line};
pub use guest::Entry;
pub use irqfds::{Irqfds, Pba};
pub use lines::{KvmRoutes, Lines};
pub use machine::{Machine, Memory, Step, Stepped, Target};
pub use masks::{Masks, HELP as MASKS_HELP};
pub use mutant::{Broken, Mutant};
pub use report::{Report, Results};
pub use scenario::{Counts, Scenario};
