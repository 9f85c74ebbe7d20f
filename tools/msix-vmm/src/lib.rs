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
//! | `function.rs` | the interface of a function's MSI-X |
//! | `window.rs` | the accesses of the guest |
//! | `machine.rs` | the VM, its vCPUs, and their runs |

#[cfg(not(target_arch = "x86_64"))]
compile_error!("the guest's code is for x86-64");

pub mod function;
mod guest;
pub mod layout;
mod machine;
mod window;

pub use function::Function;
pub use guest::Entry;
pub use machine::{Machine, Memory, Step, Stepped, Target};
