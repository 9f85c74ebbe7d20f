// SPDX-License-Identifier: GPL-2.0-only

//! Numbers that need not be unpredictable, only different each time.

/// xorshift.
pub(crate) struct Random(u64);

impl Random {
    /// The same seed gives the same numbers, and seeds that are close to each other different ones.
    pub(crate) fn new(seed: u64) -> Self {
        // splitmix64, which has one seed that it maps to zero, where xorshift would stay.
        let mut z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        Self((z ^ (z >> 31)).max(1))
    }

    /// Less than `n`, which is not zero.
    #[inline]
    pub(crate) fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % n as u64) as usize
    }

    /// True once in `n` times.
    #[inline]
    pub(crate) fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    /// One of `items`, which are some.
    #[inline]
    pub(crate) fn pick<T: Copy>(&mut self, items: &[T]) -> T {
        items[self.below(items.len())]
    }

    pub(crate) fn shuffle<T>(&mut self, items: &mut [T]) {
        for at in (1..items.len()).rev() {
            items.swap(at, self.below(at + 1));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shuffle_keeps_everything() {
        let mut items: Vec<u32> = (0..20).collect();
        Random::new(1).shuffle(&mut items);
        assert_ne!(items, (0..20).collect::<Vec<_>>());
        items.sort_unstable();
        assert_eq!(items, (0..20).collect::<Vec<_>>());
    }

    #[test]
    fn seed_decides() {
        let first = |seed| {
            let mut random = Random::new(seed);
            [(); 4].map(|()| random.below(1 << 30))
        };
        assert_eq!(first(7), first(7));
        assert_ne!(first(7), first(8));
        // The one that splitmix maps to zero.
        assert_ne!(first(0x9e37_79b9_7f4a_7c15u64.wrapping_neg()), [0; 4]);
    }
}
