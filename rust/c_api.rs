// SPDX-License-Identifier: GPL-2.0

//! The in-kernel API, include/linux/doorbell.h: pointers in, safe Rust out.
//!
//! The header documents the functions.

mod context_ref;
mod exports;

/// The declarations for modules in Rust. The compiler compares them with those that bindgen has made of
/// the header.
#[allow(dead_code)]
#[deny(clashing_extern_declarations)]
#[path = "module_api/raw.rs"]
mod module_api;

const _: () = {
    use crate::bindings::*;
    assert!(module_api::DOORBELL_RING_COALESCED as u32 == DOORBELL_RING_COALESCED);
    assert!(module_api::DOORBELL_RING_DELIVERED as u32 == DOORBELL_RING_DELIVERED);
    assert!(module_api::DOORBELL_RING_MASKED as u32 == DOORBELL_RING_MASKED);
    assert!(module_api::DOORBELL_MASK_VECTOR == DOORBELL_MASK_VECTOR);
    assert!(module_api::DOORBELL_MASK_FUNCTION == DOORBELL_MASK_FUNCTION);
    assert!(module_api::DOORBELL_MASK_PAUSE == DOORBELL_MASK_PAUSE);
    assert!(module_api::DOORBELL_MASK_AUTO == DOORBELL_MASK_AUTO);
    assert!(module_api::DOORBELL_SPACE_MMIO == DOORBELL_SPACE_MMIO);
    assert!(module_api::DOORBELL_SPACE_PIO == DOORBELL_SPACE_PIO);
};
