// SPDX-License-Identifier: GPL-2.0-only

//! Statistics of ranks: the Mann-Whitney U test, and the shift of Hodges and Lehmann.
//!
//! Latencies have long tails and several modes. These statistics assume no distribution, and a few
//! outliers do not matter. Crates that have the test need a newer rustc than 1.85.

use crate::rtt::quantile;

/// The number of pairs up to which the distribution of U is computed exactly.
const EXACT_PAIRS: usize = 400;

/// Returns the probability that `b` would exceed `a` as much as it does by ranks, or more, if both
/// were from one distribution: the one-sided p-value of the Mann-Whitney U test.
///
/// The p-value is exact for small samples without ties. For others it is that of the normal
/// distribution, corrected for ties and for continuity.
///
/// # Panics
///
/// If a sample is empty.
pub fn p_greater(a: &[f64], b: &[f64]) -> f64 {
    assert!(!a.is_empty() && !b.is_empty(), "a sample is empty");
    let (u, ties) = u_of(a, b);
    let (n, m) = (a.len(), b.len());
    if ties == 0.0 && n * m <= EXACT_PAIRS {
        // U is whole, as there are no ties.
        return distribution(n, m)
            .iter()
            .skip(u as usize)
            .sum::<f64>()
            .min(1.0);
    }
    let (n, m) = (n as f64, m as f64);
    let all = n + m;
    let variance = n * m / 12.0 * (all + 1.0 - ties / (all * (all - 1.0)));
    if variance <= 0.0 {
        // All values are equal.
        return 1.0;
    }
    normal_tail((u - n * m / 2.0 - 0.5) / variance.sqrt())
}

/// Returns the smallest p-value that [`p_greater`] can return for samples of these sizes.
pub fn smallest_p(n: usize, m: usize) -> f64 {
    // One order of all values of n + m over n.
    (1..=n).map(|i| i as f64 / (m + i) as f64).product()
}

/// Returns U, the number of pairs in which `b` is greater, and a half for each pair of equals. Also
/// returns the sum of t³ - t over all groups of t equal values.
fn u_of(a: &[f64], b: &[f64]) -> (f64, f64) {
    let mut all: Vec<(f64, bool)> = a.iter().map(|&value| (value, false)).collect();
    all.extend(b.iter().map(|&value| (value, true)));
    all.sort_by(|x, y| x.0.total_cmp(&y.0));
    let (mut u, mut ties, mut below) = (0.0, 0.0, 0.0);
    for group in all.chunk_by(|x, y| x.0 == y.0) {
        let t = group.len() as f64;
        let ours = group.iter().filter(|(_, is_b)| *is_b).count() as f64;
        let theirs = t - ours;
        u += ours * (below + theirs / 2.0);
        ties += t * t * t - t;
        below += theirs;
    }
    (u, ties)
}

/// Returns the distribution of U for samples of `n` and `m` values without ties.
///
/// The largest value is one of the second sample with probability m / (n + m). It then exceeds all
/// n values of the first one.
fn distribution(n: usize, m: usize) -> Vec<f64> {
    // The row for i values of the first sample, by the number of values of the second one.
    let mut rows: Vec<Vec<f64>> = vec![vec![1.0]; m + 1];
    for i in 1..=n {
        for j in 1..=m {
            let all = (i + j) as f64;
            let mut next = vec![0.0; i * j + 1];
            for (u, p) in rows[j].iter().enumerate() {
                next[u] += p * i as f64 / all;
            }
            for (u, p) in rows[j - 1].iter().enumerate() {
                next[u + i] += p * j as f64 / all;
            }
            rows[j] = next;
        }
    }
    rows.swap_remove(m)
}

/// Returns the probability that a standard normal variable exceeds `z`.
fn normal_tail(z: f64) -> f64 {
    libm::erfc(z / std::f64::consts::SQRT_2) / 2.0
}

/// Returns the value that a standard normal variable exceeds with probability `p`.
fn normal_quantile(p: f64) -> f64 {
    let (mut low, mut high) = (-40.0, 40.0);
    for _ in 0..100 {
        let middle = (low + high) / 2.0;
        match normal_tail(middle) > p {
            true => low = middle,
            false => high = middle,
        }
    }
    low
}

/// An estimate of a shift, with its confidence interval.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Shift {
    /// The median of the differences of all pairs.
    pub estimate: f64,
    /// The interval. It is infinite if there are too few values.
    pub interval: (f64, f64),
}

/// Estimates by how much `b` is greater than `a`, with a two-sided interval of this confidence.
///
/// # Panics
///
/// If a sample is empty.
pub fn shift(a: &[f64], b: &[f64], confidence: f64) -> Shift {
    let mut differences: Vec<f64> = b
        .iter()
        .flat_map(|b| a.iter().map(move |a| b - a))
        .collect();
    let estimate = quantile(&mut differences, 0.5);
    let (n, m) = (a.len(), b.len());
    let tail = (1.0 - confidence) / 2.0;
    // The number of differences to leave out at each end.
    let out = if n * m <= EXACT_PAIRS {
        let mut sum = 0.0;
        let below = |p: &&f64| {
            sum += **p;
            sum <= tail
        };
        distribution(n, m).iter().take_while(below).count()
    } else {
        let (n, m) = (n as f64, m as f64);
        let deviation = (n * m * (n + m + 1.0) / 12.0).sqrt();
        (n * m / 2.0 - normal_quantile(tail) * deviation)
            .floor()
            .max(0.0) as usize
    };
    // quantile() has sorted the differences.
    let interval = match out.checked_sub(1) {
        Some(at) => (differences[at], differences[differences.len() - 1 - at]),
        None => (f64::NEG_INFINITY, f64::INFINITY),
    };
    Shift { estimate, interval }
}

/// Adjusts p-values of several tests by Holm's method: the probability that any of them is below a
/// level by chance is that level at most.
pub fn holm(ps: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..ps.len()).collect();
    order.sort_by(|&x, &y| ps[x].total_cmp(&ps[y]));
    let mut adjusted = vec![1.0; ps.len()];
    let mut floor = 0.0_f64;
    for (rank, at) in order.into_iter().enumerate() {
        floor = floor.max(ps[at] * (ps.len() - rank) as f64).min(1.0);
        adjusted[at] = floor;
    }
    adjusted
}

#[cfg(test)]
mod tests {
    use super::*;
    use fastrand::Rng;

    /// Returns `n` values of a skewed distribution with a long tail, as latencies have.
    fn sample(random: &mut Rng, n: usize) -> Vec<f64> {
        (0..n).map(|_| 1.0 / (1.0 - random.f64())).collect()
    }

    #[test]
    fn published_example_is_reproduced() {
        // scipy.stats.mannwhitneyu: U = 17, p = 0.1111 two-sided.
        let (male, female) = ([19.0, 22.0, 16.0, 29.0, 24.0], [20.0, 11.0, 17.0, 12.0]);
        assert_eq!(u_of(&female, &male), (17.0, 0.0));
        let p = 2.0 * p_greater(&female, &male);
        assert!((p - 0.111_111_11).abs() < 1e-6, "{p}");
    }

    #[test]
    fn exact_p_is_the_share_of_all_orders() {
        let mut random = Rng::with_seed(1);
        for n in 1..=4 {
            for m in 1..=5 {
                let mut values = sample(&mut random, n + m);
                values.sort_by(f64::total_cmp);
                // Each choice of n values as the first sample is as likely as each other.
                let mut all = Vec::new();
                for choice in 0_u32..1 << (n + m) {
                    if choice.count_ones() as usize == n {
                        let of = |first: bool| -> Vec<f64> {
                            let is = |&at: &usize| ((choice >> at) & 1 == 1) == first;
                            (0..n + m).filter(is).map(|at| values[at]).collect()
                        };
                        all.push((of(true), of(false)));
                    }
                }
                let us: Vec<f64> = all.iter().map(|(a, b)| u_of(a, b).0).collect();
                for ((a, b), u) in all.iter().zip(&us) {
                    let as_large = us.iter().filter(|other| *other >= u).count();
                    let expected = as_large as f64 / us.len() as f64;
                    let p = p_greater(a, b);
                    assert!((p - expected).abs() < 1e-12, "{a:?} {b:?}: {p} {expected}");
                }
                let smallest = 1.0 / us.len() as f64;
                assert!((smallest_p(n, m) - smallest).abs() < 1e-12);
            }
        }
    }

    #[test]
    fn u_counts_pairs() {
        let mut random = Rng::with_seed(2);
        for _ in 0..200 {
            let (n, m) = (random.usize(1..20), random.usize(1..20));
            // Few different values, so there are ties.
            let mut some = |n| -> Vec<f64> { (0..n).map(|_| f64::from(random.u8(0..9))).collect() };
            let (a, b) = (some(n), some(m));
            let pairs = b.iter().flat_map(|b| a.iter().map(move |a| (a, b)));
            let expected: f64 = pairs
                .map(|(a, b)| match a.total_cmp(b) {
                    std::cmp::Ordering::Less => 1.0,
                    std::cmp::Ordering::Equal => 0.5,
                    std::cmp::Ordering::Greater => 0.0,
                })
                .sum();
            assert_eq!(u_of(&a, &b).0, expected, "{a:?} {b:?}");
            assert_eq!(u_of(&b, &a).0, (n * m) as f64 - expected);
            let p = p_greater(&a, &b);
            assert!((0.0..=1.0).contains(&p), "{p}");
        }
    }

    #[test]
    fn normal_approximation_meets_the_exact_distribution() {
        for (n, m) in [(20, 20), (16, 25), (10, 40)] {
            let exact = distribution(n, m);
            assert!((exact.iter().sum::<f64>() - 1.0).abs() < 1e-9);
            let deviation = (n as f64 * m as f64 * (n + m + 1) as f64 / 12.0).sqrt();
            for u in 0..=n * m {
                let tail: f64 = exact[u..].iter().sum();
                let z = (u as f64 - (n * m) as f64 / 2.0 - 0.5) / deviation;
                assert!((tail - normal_tail(z)).abs() < 0.005, "{n} {m} {u}");
            }
        }
        for p in [0.5, 0.025, 0.005, 1e-6] {
            assert!(
                (normal_tail(normal_quantile(p)) / p - 1.0).abs() < 1e-9,
                "{p}"
            );
        }
        assert!((normal_quantile(0.025) - 1.959_963_985).abs() < 1e-8);
    }

    #[test]
    fn equal_samples_are_not_significant() {
        assert_eq!(p_greater(&[7.0; 30], &[7.0; 30]), 1.0);
        // Each run of an emulator that counts instructions may give one value.
        assert!(p_greater(&[7.0; 30], &[8.0; 30]) < 1e-9);
        assert!(p_greater(&[8.0; 30], &[7.0; 30]) > 0.999);
    }

    /// Tests samples of one distribution, and returns the share with a p-value below `level`.
    fn false_alarms(n: usize, level: f64) -> f64 {
        let mut random = Rng::with_seed(3);
        const TRIALS: usize = 4000;
        let alarm = |_: &usize| {
            let (a, b) = (sample(&mut random, n), sample(&mut random, n));
            p_greater(&a, &b) < level
        };
        (0..TRIALS).filter(alarm).count() as f64 / TRIALS as f64
    }

    #[test]
    fn false_alarms_are_as_rare_as_promised() {
        for n in [10, 40] {
            for level in [0.05, 0.01] {
                let share = false_alarms(n, level);
                assert!(
                    (level * 0.5..level * 1.5).contains(&share),
                    "{n} {level}: {share}"
                );
            }
        }
    }

    #[test]
    fn shift_moves_with_the_samples() {
        let mut random = Rng::with_seed(4);
        for n in [5, 15, 40] {
            let (a, b) = (sample(&mut random, n), sample(&mut random, n));
            let before = shift(&a, &b, 0.99);
            let moved: Vec<f64> = b.iter().map(|b| b + 3.0).collect();
            let after = shift(&a, &moved, 0.99);
            assert!((after.estimate - before.estimate - 3.0).abs() < 1e-9);
            assert!((after.interval.0 - before.interval.0 - 3.0).abs() < 1e-9);
            let back = shift(&b, &a, 0.99);
            assert!((back.estimate + before.estimate).abs() < 1e-9);
            assert!((back.interval.0 + before.interval.1).abs() < 1e-9);
            let (low, high) = before.interval;
            assert!(
                low <= before.estimate && before.estimate <= high,
                "{before:?}"
            );
        }
        // Three values say nothing with that confidence.
        let few = shift(&[1.0, 2.0, 3.0], &[4.0, 5.0, 6.0], 0.99);
        assert_eq!(few.interval, (f64::NEG_INFINITY, f64::INFINITY));
        assert_eq!(few.estimate, 3.0);
    }

    #[test]
    fn interval_covers_the_shift_as_often_as_promised() {
        let mut random = Rng::with_seed(5);
        for n in [12, 40] {
            const TRIALS: usize = 1000;
            let covers = |_: &usize| {
                let a = sample(&mut random, n);
                let b: Vec<f64> = sample(&mut random, n).iter().map(|b| b + 0.5).collect();
                let (low, high) = shift(&a, &b, 0.95).interval;
                low <= 0.5 && 0.5 <= high
            };
            let share = (0..TRIALS).filter(covers).count() as f64 / TRIALS as f64;
            assert!((0.93..=0.975).contains(&share), "{n}: {share}");
        }
    }

    #[test]
    fn holm_keeps_the_order_and_multiplies() {
        let adjusted = holm(&[0.01, 0.04, 0.03, 0.005]);
        let expected = [0.03, 0.06, 0.06, 0.02];
        for (adjusted, expected) in adjusted.iter().zip(expected) {
            assert!((adjusted - expected).abs() < 1e-12, "{adjusted} {expected}");
        }
        assert_eq!(holm(&[0.9, 0.8]), [1.0, 1.0]);
        assert!(holm(&[]).is_empty());
    }
}
