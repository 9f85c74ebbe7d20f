// SPDX-License-Identifier: GPL-2.0-only

//! Time stamps of the guest.

use crate::guest::Entry;

impl Entry {
    /// Returns the number of time stamps of `n` writes.
    pub(crate) fn stamps(self, n: u32) -> usize {
        let n = n as usize;
        match self {
            Entry::Circle | Entry::Whole | Entry::Ping => 2 * n,
            Entry::Pong => n,
            _ => n + 1,
        }
    }

    /// Returns the ticks of each write, from its time stamps.
    pub(crate) fn ticks(self, stamps: &[u64]) -> Vec<u64> {
        let took = |pair: &[u64]| pair[1].wrapping_sub(pair[0]);
        match self {
            Entry::Circle | Entry::Ping => stamps.chunks_exact(2).map(took).collect(),
            // The first one has no interrupt before it: from its write.
            Entry::Whole => {
                let interrupts = stamps.iter().copied().skip(1).step_by(2);
                let from: Vec<u64> = stamps.iter().copied().take(1).chain(interrupts).collect();
                from.windows(2).map(took).collect()
            }
            _ => stamps.windows(2).map(took).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stamps_are_of_writes_or_of_pairs() {
        assert_eq!(Entry::Mmio.stamps(3), 4);
        assert_eq!(Entry::Mmio.ticks(&[10, 13, 17, 30]), [3, 4, 13]);
        assert_eq!(Entry::Circle.stamps(2), 4);
        assert_eq!(Entry::Circle.ticks(&[10, 13, 17, 30]), [3, 13]);
        assert_eq!(Entry::Whole.stamps(3), 6);
        assert_eq!(Entry::Whole.ticks(&[10, 13, 17, 30, 35, 36]), [3, 17, 6]);
        assert_eq!(Entry::Ping.ticks(&[u64::MAX, 4]), [5]);
        assert_eq!(Entry::Pong.stamps(5), 5);
    }
}
