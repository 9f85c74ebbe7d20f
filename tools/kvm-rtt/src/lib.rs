// SPDX-License-Identifier: GPL-2.0-only

//! A small VMM whose guest rings doorbell lines and is interrupted by them.
//!
//! A device model can be a process of its own or a kernel module. An eventfd then tells it of the
//! guest's writes (`KVM_IOEVENTFD`), and it interrupts the guest by another one (`KVM_IRQFD`).
//! `/dev/doorbell` is an interrupt controller between eventfds, so it connects the two:
//!
//! ```text
//!  guest                                                                      guest
//!    |  write                                                       interrupt  ^
//!    v                                                                         |
//! ioeventfd --eventfd--> [ irqfd, line, trigger ] --eventfd--> irqfd, GSI --MSI--+
//!   (KVM)                       (doorbell)                       (KVM)
//! ```
//!
//! That takes four calls (`wiring.rs`). The two in the middle are those of the client library, the
//! crate [`doorbell`]:
//!
//! ```ignore
//! vm.register_ioevent(&kick, &IoEventAddress::Mmio(ADDRESS), NoDatamatch)?;
//! context.assign_irqfd(&kick, line)?;
//! context.assign_trigger(&call, line)?;
//! vm.register_irqfd(&call, gsi)?;
//! ```
//!
//! From then on a write becomes an interrupt in the kernel alone. The line can be masked, queried
//! and shared at any time.
//!
//! The other files are a minimal VMM to copy from, one idea per file:
//!
//! | file | |
//! |---|---|
//! | `layout.rs` | the guest's address spaces |
//! | `guest.rs` | the guest: 340 bytes of code that write, wait and read the TSC |
//! | `memory.rs` | the memory that all vCPUs share |
//! | `boot.rs` | a vCPU in long mode with its local APIC enabled |
//! | `vcpu.rs` | the thread of a vCPU, which can be stopped at any instruction of the guest |
//! | `vm.rs` | the VM: memory, vCPUs |
//! | `controller.rs` | the interrupt controllers in the kernel, and their pins |
//! | `routes.rs` | the routes of interrupts |
//! | `irqs.rs` | eventfds and messages of the VM |
//! | `state.rs` | the state of a vCPU that goes on in another VM |
//! | `relay.rs` | the alternative to a doorbell: a thread from one eventfd to another |
//! | `scenario.rs` | the scenarios: the paths of a write |
//! | `wiring.rs` | the connections of each scenario |
//! | `stamps.rs` | the guest's time stamps |
//! | `testbench.rs` | the test bench, which checks that each write arrived |
//! | `target.rs` | a VM that is interrupted and does not run |
//! | `exits.rs` | KVM's own count of exits |
//!
//! On arm64, `arm64/` has other versions of `boot.rs`, `controller.rs` and `guest.rs`. Messages, level-triggered pins
//! and the state of a vCPU are missing there: `routes.rs`, `irqs.rs`, `state.rs` and `target.rs` are for x86-64.
//!
//! A [`Testbench`] is a VM with the eventfds of all scenarios connected. The guest reads the TSC before and
//! after each write, so that no code of the VMM is measured. If the counter of the line's rings
//! does not grow by the number of the guest's writes, the run fails.
//!
//! Another VMM can use [`Vm`] and [`Vcpu`] with a [`Program`] of its own, as `tools/msix-vmm` does.
//!
//! `doorbell rtt kvm` uses this crate and prints a table. The crate's own program only checks and
//! prints medians: `kvm-rtt [WRITES]`.

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
compile_error!("the guest's code is for x86-64 and arm64");

#[cfg_attr(target_arch = "aarch64", path = "arm64/boot.rs")]
mod boot;
#[cfg_attr(target_arch = "aarch64", path = "arm64/controller.rs")]
mod controller;
mod exits;
#[cfg_attr(target_arch = "aarch64", path = "arm64/guest.rs")]
mod guest;
#[cfg(target_arch = "x86_64")]
mod irqs;
pub mod layout;
mod memory;
mod relay;
#[cfg(target_arch = "x86_64")]
mod routes;
mod scenario;
mod stamps;
#[cfg(target_arch = "x86_64")]
mod state;
#[cfg(target_arch = "x86_64")]
mod target;
mod testbench;
mod vcpu;
mod vm;
mod wiring;

use std::{error, fmt};

pub use boot::{load, registers, Program, Registers};
#[cfg(target_arch = "x86_64")]
pub use irqs::Irqs;
pub use layout::MOST_WRITES;
#[cfg(target_arch = "x86_64")]
pub use routes::{message_to, Routes};
pub use scenario::{Scenario, Via};
#[cfg(target_arch = "x86_64")]
pub use state::VcpuState;
#[cfg(target_arch = "x86_64")]
pub use target::Target;
pub use testbench::{Cpus, Run, Testbench};
pub use vcpu::{Access, OnAccess, Vcpu};
pub use vm::Vm;

/// The reason why KVM on this machine cannot run a [`Testbench`], although it may run other guests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unsupported(pub &'static str);

impl fmt::Display for Unsupported {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl error::Error for Unsupported {}
