// SPDX-License-Identifier: GPL-2.0-only

//! The guest's code, and the memory that all vCPUs share.

use crate::layout;
use anyhow::{ensure, Result};
use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};

/// The most bytes of code, and the size of a table.
pub(crate) const PAGE: usize = 0x1000;

extern "C" {
    static kvm_rtt_code: u8;
    static kvm_rtt_code_end: u8;
}

/// Returns the code.
pub(crate) fn code() -> &'static [u8] {
    let start = &raw const kvm_rtt_code;
    let len = (&raw const kvm_rtt_code_end).addr() - start.addr();
    // SAFETY: The assembler places the labels in this order in one section, with constants between.
    unsafe { std::slice::from_raw_parts(start, len) }
}

/// Returns the offset of a `label` from the beginning of the code.
pub(crate) fn offset(label: *const u8) -> u64 {
    (label.addr() - (&raw const kvm_rtt_code).addr()) as u64
}

/// Writes `code` and `tables`, which are pairs of an address and words.
///
/// # Errors
///
/// The code is larger than its page, or the memory is smaller than [`layout::MEMORY`].
pub(crate) fn write(
    memory: &GuestMemoryMmap,
    code: &[u8],
    tables: impl IntoIterator<Item = (u64, Vec<u64>)>,
) -> Result<()> {
    ensure!(
        code.len() <= PAGE,
        "the guest's code has {} bytes, more than its page",
        code.len()
    );
    for (at, words) in tables {
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        memory.write_slice(&bytes, GuestAddress(at))?;
    }
    memory.write_slice(code, GuestAddress(layout::CODE))?;
    Ok(())
}
