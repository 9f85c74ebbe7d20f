// SPDX-License-Identifier: GPL-2.0-only

//! Layout of the device's window and of the guest's memory. The rest is kvm-rtt's.

/// The number of vCPUs.
pub const VCPUS: u64 = 2;

/// The window of the device: MMIO addresses, whose accesses go to the VMM.
pub const WINDOW: u64 = 0x1000_0000;
/// The size of the window.
pub const WINDOW_SIZE: u64 = 0x10000;
/// The offset of the MSI-X table in the window. It has room for 2048 vectors.
pub const TABLE: u64 = 0;
/// The size of the MSI-X table.
pub const TABLE_SIZE: u64 = 0x8000;
/// The offset of the pending bit array.
pub const PBA: u64 = 0x8000;
/// The size of the pending bit array.
pub const PBA_SIZE: u64 = 0x100;
/// The offset of a register for Message Control, which is in the configuration space of a real device.
pub const CONTROL: u64 = 0x9000;
/// The offset of the registers that end a line's automask, one for each vector. They are ioeventfds, so
/// that their writes do not go to the VMM.
pub const UNMASK: u64 = 0xa000;

/// Returns the address of a table entry: message address, message data, vector control.
pub const fn entry(vector: u16) -> u64 {
    WINDOW + TABLE + 16 * vector as u64
}

/// Returns the address of a table entry's vector control.
pub const fn vector_control(vector: u16) -> u64 {
    entry(vector) + 12
}

/// Returns the address of the register that ends a line's automask.
pub const fn unmask(vector: u16) -> u64 {
    WINDOW + UNMASK + 8 * vector as u64
}

/// The interrupt vector of the VMM's own messages. It has the lowest priority: its handler runs after those
/// of all earlier messages.
pub const FENCE: u8 = 0x30;
/// The interrupt vector of messages between the vCPUs. Only the fence's priority is lower.
pub const SYNC: u8 = 0x31;
/// The first interrupt vector of the device's messages.
pub const FIRST: u8 = 0x40;
/// The number of interrupt vectors of the device's messages.
pub const VECTORS: u8 = 16;

/// Returns the address of the interrupt counts of a vCPU: 256 words, and the words of its results.
pub const fn counts(vcpu: u64) -> u64 {
    0x10000 + 0x1000 * vcpu
}

/// Returns the address of the count of an interrupt vector.
pub const fn count(vcpu: u64, vector: u8) -> u64 {
    counts(vcpu) + 8 * vector as u64
}

/// The offsets of the results, after the counts.
pub mod result {
    /// The latest sequence number that a handler has read.
    pub const SEEN: u64 = 0x800;
    /// Interrupts of a vector that was masked, or of a target that the vector had left.
    pub const SPURIOUS: u64 = 0x808;
    /// Messages that were pending while masked, and did not interrupt after the unmask.
    pub const LOST: u64 = 0x810;
    /// Pending bits that vanished while the vector was masked.
    pub const VANISHED: u64 = 0x818;
    /// Rounds of a loop.
    pub const ROUNDS: u64 = 0x820;
    /// Rounds in which the pending bit was set.
    pub const PENDING: u64 = 0x828;
    /// Pending bits that were zero, although a signal was complete since the mask.
    pub const UNSEEN: u64 = 0x830;
    /// Rounds in which a signal was complete since the mask, so that the pending bit had to be set.
    pub const DECIDED: u64 = 0x838;
}

/// The address of the words that all vCPUs share.
pub const SHARED: u64 = 0x14000;

/// The offsets of the shared words.
pub mod shared {
    /// The interrupt vector that must not be taken, or zero.
    pub const QUIET: u64 = 0;
    /// The sequence number of the last signal that has begun.
    pub const BEGUN: u64 = 8;
    /// The address that the handlers of the device's messages write to, or zero.
    pub const UNMASK: u64 = 16;
    /// Not zero at the end of a loop.
    pub const STOP: u64 = 24;
    /// The sequence number of the last signal whose write has returned.
    pub const DONE: u64 = 32;
}

/// The address of the word that ends a loop.
pub const STOP: u64 = SHARED + shared::STOP;

/// The address of the targets of a vector. Each has eight words, of which the first five are used: address,
/// data, the address of its count, the counts of its vCPU, the count when the vector left it.
pub const TARGETS: u64 = 0x15000;
/// The size of a target.
pub const TARGET_SIZE: u64 = 64;

/// Returns the address of a vCPU's script.
pub const fn script(vcpu: u64) -> u64 {
    0x18000 + 0x1000 * vcpu
}
/// Maximum number of steps of a script.
pub const MOST_STEPS: usize = 0x1000 / 32 - 1;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_overlaps() {
        let mut ranges = vec![
            (SHARED, 0x28),
            (TARGETS, 0x1000),
            (kvm_rtt::layout::CODE, 0x1000),
        ];
        for vcpu in 0..VCPUS {
            ranges.push((counts(vcpu), 0x840));
            ranges.push((script(vcpu), 32 * (MOST_STEPS as u64 + 1)));
            ranges.push((kvm_rtt::layout::stack(vcpu) - 0x1000, 0x1000));
        }
        ranges.sort_unstable();
        for pair in ranges.windows(2) {
            assert!(pair[0].0 + pair[0].1 <= pair[1].0, "{pair:x?}");
        }
        let (last, size) = ranges.last().unwrap();
        assert!(last + size <= kvm_rtt::layout::MEMORY);
        const {
            assert!(TABLE + TABLE_SIZE <= PBA && PBA + PBA_SIZE <= CONTROL);
            assert!(WINDOW >= kvm_rtt::layout::MEMORY && WINDOW + WINDOW_SIZE <= 1 << 30);
        }
    }
}
