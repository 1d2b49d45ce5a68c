//! Random numbers by counter (Philox4x32-10), so that a draw depends on what it is for and not on
//! what was drawn before it or on which thread.

use rand_philox::{Philox, splitmix64, u32_to_unit_f64};

/// What a stream of numbers is for; two purposes never share numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub enum Purpose {
    /// The order of samples in an epoch.
    Order = 1,
    /// Augmentation of one sample.
    Augment = 2,
    /// Splitting a data set into parts.
    Split = 3,
}

/// 2^64 divided by the golden ratio: the usual odd constant to spread small integers.
const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;

/// A generator of one stream.
#[derive(Clone, Debug)]
pub struct Rng(Philox);

impl Rng {
    /// The stream for a purpose in an epoch: key from (seed, purpose, epoch), counter from
    /// (item, occurrence), leaving 2^32 blocks of four words to each item.
    pub fn new(seed: u64, purpose: Purpose, epoch: u64, item: u64, occurrence: u32) -> Self {
        let base = splitmix64(seed.wrapping_add(SPREAD.wrapping_mul(purpose as u64)));
        let key = splitmix64(base ^ epoch.wrapping_mul(SPREAD).wrapping_add(SPREAD));
        let counter = (u128::from(item) << 64) | (u128::from(occurrence) << 32);
        Self(Philox::new([key as u32, (key >> 32) as u32], counter))
    }

    /// Uniform on the open interval (0, 1), 32 bits of it.
    pub fn uniform(&mut self) -> f64 {
        u32_to_unit_f64(self.0.next_u32())
    }

    /// Uniform on (0, 1) with 64 random bits behind it (the largest may round to 1 − 2⁻⁵³).
    pub fn uniform_wide(&mut self) -> f64 {
        // 53 bits centred, as the 32-bit version does with its bits.
        let bits = self.0.next_u64() >> 12;
        (bits as f64 + 0.5) * (1.0 / (1u64 << 52) as f64)
    }

    /// Uniform between the two bounds; no number is drawn when they are equal.
    pub fn range(&mut self, low: f64, high: f64) -> f64 {
        if low == high { low } else { low + (high - low) * self.uniform() }
    }

    /// Uniform integer in `0..n` without bias; 0 for `n` of 0 or 1.
    pub fn below(&mut self, n: usize) -> usize {
        if n <= 1 {
            return 0;
        }
        if let Ok(n) = u32::try_from(n) {
            return self.0.bounded(n) as usize;
        }
        // Lemire's method as `bounded` has it, with 64-bit words.
        let n = n as u64;
        let threshold = n.wrapping_neg() % n;
        loop {
            let product = u128::from(self.0.next_u64()) * u128::from(n);
            if product as u64 >= threshold {
                return (product >> 64) as usize;
            }
        }
    }

    /// True with probability `p`.
    pub fn chance(&mut self, p: f64) -> bool {
        self.uniform() < p
    }

    /// Standard normal, by Box and Muller.
    pub fn normal(&mut self) -> f64 {
        let (u, v) = (self.uniform(), self.uniform());
        (-2.0 * u.ln()).sqrt() * (std::f64::consts::TAU * v).cos()
    }

    /// Shuffles in place (Fisher–Yates from the end).
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for i in (1..items.len()).rev() {
            items.swap(i, self.below(i + 1));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_differ_by_every_part_of_their_name() {
        let first = |s, p, e, i, o| Rng::new(s, p, e, i, o).0.next_u64();
        let mut seen: Vec<u64> = Vec::new();
        for seed in 0..4 {
            for purpose in [Purpose::Order, Purpose::Augment, Purpose::Split] {
                for epoch in 0..4 {
                    for item in 0..4 {
                        for occurrence in 0..3 {
                            seen.push(first(seed, purpose, epoch, item, occurrence));
                        }
                    }
                }
            }
        }
        let count = seen.len();
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen.len(), count);
    }

    #[test]
    fn shuffle_is_a_fair_permutation() {
        // Each of the 24 orders of four items about equally often: chi-square with 23 degrees of
        // freedom stays below 49.7 (the 0.999 quantile) for this fixed seed.
        let mut counts = std::collections::BTreeMap::new();
        for epoch in 0..24_000 {
            let mut items = [0u8, 1, 2, 3];
            Rng::new(7, Purpose::Order, epoch, 0, 0).shuffle(&mut items);
            *counts.entry(items).or_insert(0u32) += 1;
        }
        assert_eq!(counts.len(), 24);
        let chi: f64 = counts.values().map(|&c| (f64::from(c) - 1000.0).powi(2) / 1000.0).sum();
        assert!(chi < 49.7, "{chi}");
    }

    #[test]
    fn normal_has_mean_zero_and_variance_one() {
        let mut rng = Rng::new(1, Purpose::Augment, 0, 0, 0);
        let v: Vec<f64> = (0..20_000).map(|_| rng.normal()).collect();
        let mean = v.iter().sum::<f64>() / v.len() as f64;
        let var = v.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / v.len() as f64;
        assert!(mean.abs() < 0.03 && (var - 1.0).abs() < 0.04, "{mean} {var}");
    }
}
