// SPDX-License-Identifier: GPL-2.0

//! The in-kernel API, include/linux/doorbell.h: pointers in, safe Rust out.
//!
//! What the functions do is documented there.

pub(crate) mod callback;
pub(crate) mod ctx;
mod exports;
