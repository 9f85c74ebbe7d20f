// SPDX-License-Identifier: GPL-2.0

//! The in-kernel API, include/linux/doorbell.h: pointers in, safe Rust out.
//!
//! What the functions do is documented there.

pub(crate) mod callback;
pub(crate) mod ctx;
mod exports;

/// What modules in Rust are told, for nothing but the compiler to compare it with what bindgen has
/// made of the header.
#[allow(dead_code)]
#[deny(clashing_extern_declarations)]
#[path = "../client/raw.rs"]
mod client;

const _: () = {
    use crate::bindings::*;
    assert!(client::DOORBELL_RING_COALESCED as u32 == DOORBELL_RING_COALESCED);
    assert!(client::DOORBELL_RING_DELIVERED as u32 == DOORBELL_RING_DELIVERED);
    assert!(client::DOORBELL_RING_MASKED as u32 == DOORBELL_RING_MASKED);
    assert!(client::DOORBELL_SPACE_MMIO == DOORBELL_SPACE_MMIO);
    assert!(client::DOORBELL_SPACE_PIO == DOORBELL_SPACE_PIO);
};
