// SPDX-License-Identifier: GPL-2.0-only

//! Generators of test cases.

use super::reference::{fits, Region};
use proptest::{prelude::*, sample::select};

/// Returns addresses that are near each other or near the largest number, to provoke conflicts and
/// matches.
fn addr() -> impl Strategy<Value = u64> {
    const HALF: u64 = 1 << 63;
    prop_oneof![0..16u64, u64::MAX - 15..=u64::MAX, HALF - 8..HALF + 8]
}

/// Returns legal lengths.
fn length() -> impl Strategy<Value = u32> {
    select(vec![0, 1, 2, 4, 8])
}

/// Returns few values: small ones, the largest of each length, and its successor.
fn value() -> impl Strategy<Value = u64> {
    select(vec![
        0,
        1,
        2,
        0xff,
        0x100,
        0xffff,
        0x1_0000,
        0xffff_ffff,
        0x1_0000_0000,
        u64::MAX,
    ])
}

/// Returns regions that need not be legal.
pub(super) fn any_region() -> impl Strategy<Value = Region> {
    let length = prop_oneof![8 => length(), 1 => 0..20u32, 1 => any::<u32>()];
    let space = prop_oneof![9 => 0..2u32, 1 => any::<u32>()];
    (space, addr(), length, proptest::option::of(value())).prop_map(
        |(space, addr, length, datamatch)| Region {
            space,
            addr,
            length,
            datamatch,
        },
    )
}

/// Returns legal regions.
fn region() -> impl Strategy<Value = Region> {
    (0..2u32, addr(), length(), proptest::option::of(value()))
        .prop_map(|(space, addr, length, datamatch)| {
            let datamatch = datamatch.filter(|&value| length != 0 && fits(value, length));
            Region {
                space,
                addr,
                length,
                datamatch,
            }
        })
        .prop_filter("beyond the end", Region::is_legal)
}

/// One call: the regions to remove, by a number modulo those that exist, and the regions to add.
pub(super) type Change = (Vec<usize>, Vec<Region>);

/// Returns a series of calls.
pub(super) fn changes() -> impl Strategy<Value = Vec<Change>> {
    let change = (
        prop::collection::vec(any::<usize>(), 0..6),
        prop::collection::vec(region(), 0..6),
    );
    prop::collection::vec(change, 1..8)
}
