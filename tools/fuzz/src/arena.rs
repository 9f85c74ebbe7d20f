// SPDX-License-Identifier: GPL-2.0-only

//! The memory that programs pass to the kernel.
//!
//! All of it is in one reserved range at a fixed address, to which Rust has no reference. So a call
//! may write anywhere in it, at any time. Each area is followed by a page without access.

use crate::sys::{self, Address};

/// The number of threads of a program.
pub const THREADS: usize = 3;

/// The number of buffers that programs fill.
pub const BUFFERS: u64 = 4;

/// The number of places for a mapping of the device.
pub const MAPS: u64 = 4;

/// The pages of such a place.
pub const MAP_PAGES: u64 = 32;

/// The size of a page, or of four, as kernels for arm64 have pages of 4 or 16 KB.
pub const PAGE: u64 = if cfg!(target_arch = "aarch64") {
    16384
} else {
    4096
};

/// The address of the range.
pub const BASE: u64 = 0x10_0000_0000;

const ARGUMENTS: u64 = BASE;
const BUFFER: u64 = BASE + 8 * PAGE;
const READ_ONLY: u64 = BASE + 16 * PAGE;
const FAULTING: u64 = BASE + 18 * PAGE;
const NO_ACCESS: u64 = BASE + 22 * PAGE;
const MAP: u64 = BASE + 24 * PAGE;
const SIZE: u64 = (24 + MAPS * MAP_PAGES) * PAGE;

/// The number of pointers that [`pointer`] distinguishes.
pub const POINTERS: u64 = 15;

/// The number of places that [`place`] distinguishes.
pub const PLACES: u64 = 8;

/// Maps the areas.
pub fn map() -> std::io::Result<()> {
    sys::map_anonymous(BASE, SIZE, libc::PROT_NONE)?;
    let both = libc::PROT_READ | libc::PROT_WRITE;
    for thread in 0..THREADS as u64 {
        sys::map_anonymous(ARGUMENTS + 2 * thread * PAGE, PAGE, both)?;
        sys::map_anonymous(FAULTING + thread * PAGE, PAGE, both)?;
    }
    for buffer in 0..BUFFERS {
        sys::map_anonymous(BUFFER + 2 * buffer * PAGE, PAGE, both)?;
    }
    sys::map_anonymous(READ_ONLY, PAGE, libc::PROT_READ)
}

/// Fills the buffers with zeroes.
pub fn clear() {
    for buffer in 0..BUFFERS {
        sys::store(address(BUFFER + 2 * buffer * PAGE), &[0; PAGE as usize]);
    }
}

/// Returns an address in the range, or one that no mapping of this process can have.
fn address(at: u64) -> Address {
    debug_assert!((BASE..BASE + SIZE).contains(&at));
    Address::unused(at)
}

/// Returns the normal place of the argument of `thread`.
pub fn argument(thread: usize) -> Address {
    address(ARGUMENTS + 2 * thread as u64 * PAGE)
}

/// Returns the page of `thread` that userfaultfd handles.
pub fn faulting(thread: usize) -> Address {
    address(FAULTING + thread as u64 * PAGE)
}

/// Returns the address that the number `place` stands for, of an argument of `size` bytes.
pub fn place(thread: usize, place: u64, size: usize) -> Address {
    let normal = ARGUMENTS + 2 * thread as u64 * PAGE;
    match place % PLACES {
        1 => address(normal + PAGE - size as u64),
        2 => address(normal + PAGE - 8),
        3 => address(READ_ONLY),
        4 => faulting(thread),
        5 => Address::unused(0),
        6 => Address::unused(0xffff_8000_0000_0000),
        7 => address(normal + 1),
        _ => address(normal),
    }
}

/// Returns the address that the number `pointer` stands for: nothing, a buffer, its end, or one that is
/// not valid.
pub fn pointer(thread: usize, pointer: u64) -> Address {
    match pointer % POINTERS {
        n @ 1..=4 => address(BUFFER + 2 * (n - 1) * PAGE),
        n @ 5..=8 => address(BUFFER + 2 * (n - 5) * PAGE + PAGE - 16),
        9 => address(READ_ONLY),
        10 => faulting(thread),
        11 => address(NO_ACCESS),
        12 => Address::unused(0xffff_8000_0000_0000),
        13 => Address::unused(0x0100_0000_0000_0000),
        14 => address(BUFFER + 1),
        _ => Address::unused(0),
    }
}

/// Returns the address `offset` bytes into a buffer, if `size` bytes fit there.
pub fn buffer(buffer: u64, offset: u64, size: usize) -> Option<Address> {
    let fits = offset.checked_add(size as u64)? <= PAGE;
    fits.then(|| address(BUFFER + 2 * (buffer % BUFFERS) * PAGE + offset))
}

/// Returns the words of the buffer that `pointer` stands for, as far as the buffer goes. Returns none for
/// any other pointer.
pub fn words(pointer: u64, count: usize) -> Option<Vec<u64>> {
    let pointer = pointer % POINTERS;
    if !(1..=4).contains(&pointer) || count as u64 * 8 > PAGE {
        return None;
    }
    let mut bytes = vec![0; count * 8];
    sys::load(address(BUFFER + 2 * (pointer - 1) * PAGE), &mut bytes);
    let words = bytes.chunks_exact(8);
    Some(
        words
            .map(|word| u64::from_ne_bytes(word.try_into().unwrap_or_default()))
            .collect(),
    )
}

/// Returns the place for mapping `map`.
pub fn mapping(map: u64, offset: u64) -> Address {
    address(MAP + (map % MAPS) * MAP_PAGES * PAGE + offset % (MAP_PAGES * PAGE))
}
