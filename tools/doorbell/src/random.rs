// SPDX-License-Identifier: GPL-2.0-only

//! Pseudo-random choices that a seed reproduces.

/// A generator whose numbers depend on its seed alone.
///
/// The generator is fastrand's. This type adds the choices that the tools make, and has no
/// constructor without a seed.
pub(crate) struct Random(fastrand::Rng);

impl Random {
    /// Returns a generator. The same seed gives the same numbers.
    pub(crate) fn new(seed: u64) -> Self {
        Self(fastrand::Rng::with_seed(seed))
    }

    /// Returns a number less than `n`.
    ///
    /// # Panics
    ///
    /// If `n` is zero.
    #[inline]
    pub(crate) fn below(&mut self, n: usize) -> usize {
        self.0.usize(..n)
    }

    /// Returns true with a probability of 1 in `n`.
    #[inline]
    pub(crate) fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    /// Returns one of `items`.
    ///
    /// # Panics
    ///
    /// If `items` is empty.
    #[inline]
    pub(crate) fn pick<T: Copy>(&mut self, items: &[T]) -> T {
        items[self.below(items.len())]
    }

    /// Puts `items` into a random order.
    pub(crate) fn shuffle<T>(&mut self, items: &mut [T]) {
        self.0.shuffle(items);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shuffle_keeps_all_items() {
        let mut items: Vec<u32> = (0..20).collect();
        Random::new(1).shuffle(&mut items);
        assert_ne!(items, (0..20).collect::<Vec<_>>());
        items.sort_unstable();
        assert_eq!(items, (0..20).collect::<Vec<_>>());
    }

    #[test]
    fn seed_determines_the_numbers() {
        let first = |seed| {
            let mut random = Random::new(seed);
            [(); 4].map(|()| random.below(1 << 30))
        };
        assert_eq!(first(7), first(7));
        assert_ne!(first(7), first(8));
        // A bad generator stays at zero with such a seed.
        for seed in [0, u64::MAX, 0x9e37_79b9_7f4a_7c15u64.wrapping_neg()] {
            assert_ne!(first(seed), [0; 4]);
        }
    }

    #[test]
    fn pick_and_below_cover_their_range() {
        let mut random = Random::new(1);
        let mut seen = [0; 5];
        for _ in 0..1000 {
            seen[random.below(5)] += 1;
            seen[random.pick(&[0, 1, 2, 3, 4])] += 1;
        }
        assert!(seen.iter().all(|&n| n > 300), "{seen:?}");
    }
}
