// SPDX-License-Identifier: MIT OR Apache-2.0

//! Safe client for `/dev/doorbell`, a software interrupt controller for eventfds.
//!
//! A [`Context`] is an open file of the device. It has numbered lines:
//!
//! - An *irqfd* is an eventfd that the kernel listens on: each signal rings its line.
//! - A *trigger* is an eventfd that the kernel signals when its line delivers.
//! - A masked line holds its message until it is unmasked or cleared. A level line stays asserted
//!   until it is acked.
//! - A *region* is an address of the context's bus: a write to it signals an eventfd or rings a
//!   line.
//!
//! ```no_run
//! use doorbell::{Context, EventFd};
//!
//! let context = Context::open()?;
//! context.set_lines(16)?;
//! let (input, output) = (EventFd::new(0)?, EventFd::new(0)?);
//! context.assign_irqfd(&input, 3)?;
//! context.assign_trigger(&output, 3)?;
//! input.write(1)?;
//! assert_eq!(output.read()?, 1);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Relation to KVM
//!
//! The names are KVM's, and so are the semantics where KVM has the same thing:
//!
//! | KVM | doorbell |
//! |---|---|
//! | `KVM_IRQFD`: an eventfd raises a GSI of a VM | an irqfd rings a line |
//! | `KVM_IRQFD_FLAG_RESAMPLE` | [`Context::assign_resampled`] |
//! | `KVM_IOEVENTFD`: a guest's write signals an eventfd | a [`Region`]: a write by any process does |
//! | `KVM_IRQ_LINE` | [`Context::raise`], [`Context::lower`] |
//!
//! A VMM connects both by eventfds: KVM's ioeventfd is the line's irqfd, and the line's trigger is
//! KVM's irqfd. A guest's write then becomes another guest's interrupt in the kernel, and the VMM
//! can mask, query and share the line in between.
//!
//! # File descriptors
//!
//! Methods that take an eventfd take a reference to any type that implements [`AsRawFd`]: the
//! [`EventFd`] of this crate, vmm-sys-util's `EventFd`, [`OwnedFd`], [`BorrowedFd`], [`File`].
//! [`AsFd`] would exclude vmm-sys-util's `EventFd`, which does not implement it.
//!
//! A raw descriptor is sound here, because the kernel checks it. If it is closed, the call fails
//! with EBADF; if it is not an eventfd, with EINVAL. No method closes a descriptor that it was
//! given, and none accesses memory through it. A wrong number of another open eventfd is a logic
//! error: that eventfd is assigned. An assigned eventfd lives in the kernel, so its descriptor may
//! be closed afterwards; the last close of an irqfd deassigns it.
//!
//! # Features
//!
//! - `serde`: derives `serde::Serialize` for the types that report state and counters, and
//!   `serde::Deserialize` for a [`Snapshot`], too.
//! - `msix`: the module `msix`, the device side of an MSI-X capability.
//!
//! [`AsFd`]: std::os::fd::AsFd
//! [`AsRawFd`]: std::os::fd::AsRawFd
//! [`BorrowedFd`]: std::os::fd::BorrowedFd
//! [`File`]: std::fs::File
//! [`OwnedFd`]: std::os::fd::OwnedFd

#![cfg_attr(docsrs, feature(doc_cfg))]
#![deny(missing_docs, missing_debug_implementations)]

/// Compiles the example of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

mod assign;
mod bus;
mod context;
mod error;
mod eventfd;
mod line;
mod line_set;
mod masks;
#[cfg(feature = "msix")]
pub mod msix;
mod reasons;
mod records;
mod region;
mod skip;
mod snapshot;
mod spinning;
mod status;
mod summary;
mod sys;
mod take;
pub mod uapi;
mod values;
mod wait;

pub use assign::Notify;
pub use bus::BusInfo;
pub use context::{Context, DEVICE, Info};
pub use error::{Error, FailedChange, Operation, Result};
pub use eventfd::EventFd;
pub use line::{AckOutcome, LineQuery, LineType, Moderation, RingOutcome};
pub use line_set::LineSet;
pub use reasons::MaskReasons;
pub use records::{Record, RecordRing};
pub use region::{Access, Changes, Region, RegionInfo, Space, Target};
pub use snapshot::{SavedLine, Snapshot};
pub use spinning::{LineWaiters, Sleep, SpinningWait};
pub use status::{LineStatus, StatusPages};
pub use summary::{Fired, Summary};
pub use values::{Value, Values};
pub use wait::RingWait;
