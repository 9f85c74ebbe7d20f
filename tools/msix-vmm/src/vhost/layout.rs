// SPDX-License-Identifier: GPL-2.0-only

//! Layout of the guest's memory and of the device's addresses.
//!
//! The pages below are above those of [`kvm_rtt::layout`], which has the code, the tables and the stack.

use kvm_rtt::layout::DONE;

/// The driver's words, eight bytes each: see [`Word`](super::driver::Word).
pub(crate) const STATE: u64 = 0x1_0000;
/// The descriptor table of the queue.
pub(crate) const DESCRIPTORS: u64 = 0x1_1000;
/// The available ring.
pub(crate) const AVAILABLE: u64 = 0x1_2000;
/// The used ring.
pub(crate) const USED: u64 = 0x1_3000;
/// The requests: an ID and a value of eight bytes each.
pub(crate) const REQUESTS: u64 = 0x1_4000;
pub(crate) const REQUEST_SIZE: u64 = 16;
/// The answers: the ID, the value and the sequence number, eight bytes each.
pub(crate) const ANSWERS: u64 = 0x1_5000;
pub(crate) const ANSWER_SIZE: u32 = 24;
/// The distance of two answers.
pub(crate) const ANSWER_STRIDE: u64 = 32;

/// The number of descriptors. A request has two: one to read and one to write.
pub(crate) const QUEUE_SIZE: u16 = 32;
/// The number of requests that fit into the queue.
pub(crate) const SLOTS: u16 = QUEUE_SIZE / 2;

/// The address of the queue's kicks, an ioeventfd.
pub(crate) const NOTIFY: u64 = 0x1000_0000;
/// The address of the MSI-X table.
pub(crate) const TABLE: u64 = 0x1000_1000;
/// The address of the pending bits.
pub(crate) const PBA: u64 = 0x1000_2000;
/// The address of Message Control, which a PCI device has in its configuration space.
pub(crate) const CONTROL: u64 = 0x1000_3000;

/// The number of MSI-X vectors: one for changes of the configuration, as each virtio device has, and one for
/// the queue.
pub(crate) const VECTORS: u16 = 2;
/// The MSI-X vector of the queue.
pub(crate) const QUEUE_VECTOR: u16 = 1;
/// The CPU's vector of the queue's interrupts.
pub(crate) const CPU_VECTOR: u8 = 0x41;
/// The line of MSI-X vector 0.
pub(crate) const FIRST_LINE: u32 = 0;
/// The line of the queue's interrupts.
pub(crate) const CALL_LINE: u32 = FIRST_LINE + QUEUE_VECTOR as u32;
/// The line of the queue's kicks.
pub(crate) const KICK_LINE: u32 = FIRST_LINE + VECTORS as u32;
/// The number of lines.
pub(crate) const LINES: u32 = KICK_LINE + 1;

/// The port of the end of the guest's run.
pub(crate) const END: u16 = DONE;

#[cfg(test)]
mod tests {
    use super::*;
    use kvm_rtt::layout::{stack, CODE, MEMORY};

    #[test]
    fn nothing_overlaps() {
        let slots = u64::from(SLOTS);
        let mut ranges = [
            (CODE, CODE + 0x1000),
            (stack(0) - 0x1000, stack(0)),
            (STATE, STATE + 0x1000),
            (DESCRIPTORS, DESCRIPTORS + 16 * u64::from(QUEUE_SIZE)),
            (AVAILABLE, AVAILABLE + 6 + 2 * u64::from(QUEUE_SIZE)),
            (USED, USED + 6 + 8 * u64::from(QUEUE_SIZE)),
            (REQUESTS, REQUESTS + REQUEST_SIZE * slots),
            (ANSWERS, ANSWERS + ANSWER_STRIDE * slots),
        ];
        ranges.sort_unstable();
        for pair in ranges.windows(2) {
            assert!(pair[0].1 <= pair[1].0, "{pair:x?}");
        }
        assert!(ranges[7].1 <= MEMORY);
        assert!(u64::from(ANSWER_SIZE) <= ANSWER_STRIDE);
        // Mapped, and no memory.
        const { assert!(NOTIFY >= MEMORY) };
    }
}
