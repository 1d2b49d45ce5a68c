//! Shared by the kernel tests: a small random generator and comparisons.
#![allow(dead_code)]

/// Knuth's MMIX linear congruential generator.
pub struct Lcg(pub u64);

impl Lcg {
    /// 31 random bits.
    pub fn draw(&mut self) -> u32 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 33) as u32
    }
    /// A number in `lo..=hi`.
    pub fn range(&mut self, lo: usize, hi: usize) -> usize {
        lo + self.draw() as usize % (hi - lo + 1)
    }
    /// A number in [-1, 1).
    pub fn unit(&mut self) -> f64 {
        self.draw() as f64 / (1u64 << 30) as f64 - 1.0
    }
    /// Numbers in [-1, 1).
    pub fn vec(&mut self, n: usize) -> Vec<f64> {
        (0..n).map(|_| self.unit()).collect()
    }
    /// One of several.
    pub fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.draw() as usize % of.len()]
    }
}

/// Panics when two vectors differ by more than `tol` times the larger of 1 and the value.
pub fn assert_close(got: &[f64], want: &[f64], tol: f64, what: &str) {
    assert_eq!(got.len(), want.len(), "{what}");
    for (i, (&g, &w)) in got.iter().zip(want).enumerate() {
        assert!((g - w).abs() <= tol * w.abs().max(1.0), "{what}: element {i}: {g} instead of {w}");
    }
}
