// SPDX-License-Identifier: GPL-2.0-only

//! A small VMM whose guest rings doorbell lines, and is interrupted by them.
//!
//! A device model that is its own process, or a kernel module, is told of its guest's writes by an
//! eventfd (`KVM_IOEVENTFD`) and interrupts it by another one (`KVM_IRQFD`). `/dev/doorbell` is an
//! interrupt controller between eventfds, so both can be wired to it:
//!
//! ```text
//!  guest                                                                      guest
//!    |  write                                                       interrupt  ^
//!    v                                                                         |
//! ioeventfd --eventfd--> [ irqfd, line, trigger ] --eventfd--> irqfd, GSI --MSI--+
//!   (KVM)                       (doorbell)                       (KVM)
//! ```
//!
//! In code, that is all of it (`wiring.rs`):
//!
//! ```ignore
//! vm.register_ioevent(&kick, &IoEventAddress::Mmio(ADDRESS), NoDatamatch)?;
//! doorbell.irqfd(&kick, line)?;
//! doorbell.trigger(&call, line)?;
//! vm.register_irqfd(&call, gsi)?;
//! ```
//!
//! From then on nothing but the kernel is on the way, and the line can be masked, looked at and
//! shared meanwhile.
//!
//! The rest is what it takes to have a guest at all, one idea per file, to copy from:
//!
//! | file | |
//! |---|---|
//! | `layout.rs` | what is where in the guest's address spaces |
//! | `guest.rs` | what the guest does: 340 bytes that write, wait, and look at the TSC |
//! | `boot.rs` | a vCPU in long mode with an interrupt controller that is switched on |
//! | `vcpu.rs` | a vCPU's thread, which can be stopped whatever its guest does |
//! | `vm.rs` | the VM: memory, interrupt routes, vCPUs |
//! | `doorbell.rs` | the doorbell, as far as a VMM needs it |
//! | `relay.rs` | what the doorbell saves: a thread from one eventfd to another |
//! | `row.rs` | what is measured |
//! | `wiring.rs` | how each of it is wired |
//! | `rig.rs` | doing it: so many writes, and whether as many arrived |
//! | `exits.rs` | KVM's own count of exits |
//!
//! A [`Rig`] is a VM with all of it wired. The guest notes the TSC around each write, so there is
//! nothing of the VMM in what is measured. After each run the doorbell is asked how often the line
//! was rung: if that is not how often the guest has written, the run fails.
//!
//! `doorbell rtt --kvm` uses this crate and makes a table of it. The program that comes with it
//! only checks and shows: `kvm-rtt [WRITES]`.

#[cfg(not(target_arch = "x86_64"))]
compile_error!("the guest's code is for x86-64");

mod boot;
mod doorbell;
mod exits;
mod guest;
mod layout;
mod relay;
mod rig;
mod row;
mod vcpu;
mod vm;
mod wiring;

pub use doorbell::Doorbell;
pub use layout::MOST_WRITES;
pub use rig::{Cpus, Rig, Run};
pub use row::{Row, Through};
