//! The order in which samples are read, and how it is cut into batches.

use crate::error::{DataError, Result};
use crate::rng::{Purpose, Rng};
use std::fmt::Debug;
use std::sync::Arc;

/// Chooses the samples of an epoch and their order, as a function of (seed, epoch) only.
pub trait Sampler: Send + Sync + Debug {
    /// The indices to read, each below `len`.
    ///
    /// # Errors
    /// When the sampler does not fit a data set of that many samples.
    fn indices(&self, len: usize, seed: u64, epoch: u64) -> Result<Vec<usize>>;
}

/// `0, 1, 2, …`
#[derive(Clone, Copy, Debug, Default)]
pub struct SequentialSampler;

impl Sampler for SequentialSampler {
    fn indices(&self, len: usize, _seed: u64, _epoch: u64) -> Result<Vec<usize>> {
        Ok((0..len).collect())
    }
}

/// Every sample once, in another random order each epoch.
#[derive(Clone, Copy, Debug, Default)]
pub struct RandomSampler;

impl Sampler for RandomSampler {
    fn indices(&self, len: usize, seed: u64, epoch: u64) -> Result<Vec<usize>> {
        let mut order: Vec<usize> = (0..len).collect();
        Rng::new(seed, Purpose::Order, epoch, 0, 0).shuffle(&mut order);
        Ok(order)
    }
}

/// Draws with replacement, each sample in proportion to its weight.
#[derive(Clone, Debug)]
pub struct WeightedSampler {
    cumulative: Vec<f64>,
    count: usize,
}

impl WeightedSampler {
    /// One weight per sample; `count` draws an epoch.
    ///
    /// # Errors
    /// When a weight is negative or not finite, or all are zero.
    pub fn new(weights: &[f64], count: usize) -> Result<Self> {
        let mut sum = 0.0;
        let mut cumulative = Vec::with_capacity(weights.len());
        for (i, &w) in weights.iter().enumerate() {
            if !(w.is_finite() && w >= 0.0) {
                return Err(DataError::argument(
                    "WeightedSampler",
                    format!("weight {i} is {w}; weights are finite and at least 0"),
                ));
            }
            sum += w;
            cumulative.push(sum);
        }
        if !(sum > 0.0 && f64::is_finite(sum)) {
            return Err(DataError::argument("WeightedSampler", format!("the weights sum to {sum}")));
        }
        Ok(Self { cumulative, count })
    }

    /// Weights that draw every class equally often: `1 / count of the sample's class`.
    ///
    /// # Errors
    /// When there are no labels.
    pub fn balanced(labels: &[i64], count: usize) -> Result<Self> {
        let mut counts = std::collections::BTreeMap::new();
        for &l in labels {
            *counts.entry(l).or_insert(0u32) += 1;
        }
        let weights: Vec<f64> = labels.iter().map(|l| 1.0 / f64::from(counts[l])).collect();
        Self::new(&weights, count)
    }
}

impl Sampler for WeightedSampler {
    fn indices(&self, len: usize, seed: u64, epoch: u64) -> Result<Vec<usize>> {
        if self.cumulative.len() != len {
            return Err(DataError::Counts {
                what: "WeightedSampler".into(),
                left: "weights",
                left_count: self.cumulative.len(),
                right: "samples",
                right_count: len,
            });
        }
        let total = self.cumulative.last().copied().unwrap_or(0.0);
        // A draw that rounds up to the total must not land on trailing samples of weight 0.
        let last = self.cumulative.partition_point(|&c| c < total);
        let mut rng = Rng::new(seed, Purpose::Order, epoch, 0, 0);
        let draw = |_| {
            let x = rng.uniform_wide() * total;
            self.cumulative.partition_point(|&c| c <= x).min(last)
        };
        Ok((0..self.count).map(draw).collect())
    }
}

/// The given samples, in another random order each epoch.
#[derive(Clone, Debug)]
pub struct SubsetSampler {
    indices: Vec<usize>,
}

impl SubsetSampler {
    /// The indices to read.
    pub fn new(indices: Vec<usize>) -> Self {
        Self { indices }
    }
}

impl Sampler for SubsetSampler {
    fn indices(&self, len: usize, seed: u64, epoch: u64) -> Result<Vec<usize>> {
        if let Some(&index) = self.indices.iter().find(|&&i| i >= len) {
            return Err(DataError::Index { what: "the data set of a SubsetSampler", index, len });
        }
        let mut order = self.indices.clone();
        Rng::new(seed, Purpose::Order, epoch, 0, 0).shuffle(&mut order);
        Ok(order)
    }
}

/// The batches of an epoch: an order and where it is cut.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BatchPlan {
    order: Vec<usize>,
    /// How many times the sample came before in this epoch; empty when none repeats.
    occurrences: Vec<u32>,
    ends: Vec<usize>,
}

impl BatchPlan {
    /// A plan of the given batches for a data set of `len` samples.
    ///
    /// # Errors
    /// When a batch is empty or an index past the end.
    pub fn new(batches: &[Vec<usize>], len: usize) -> Result<Self> {
        let mut ends = Vec::with_capacity(batches.len());
        let mut total = 0;
        for (i, b) in batches.iter().enumerate() {
            if b.is_empty() {
                return Err(DataError::argument("BatchPlan", format!("batch {i} has no samples")));
            }
            total += b.len();
            ends.push(total);
        }
        Self::cut(batches.concat(), ends, len)
    }

    fn cut(order: Vec<usize>, ends: Vec<usize>, len: usize) -> Result<Self> {
        let mut seen = vec![0u32; len];
        let mut occurrences = Vec::new();
        for (position, &index) in order.iter().enumerate() {
            let Some(times) = seen.get_mut(index) else {
                return Err(DataError::Index { what: "the data set of a sampler", index, len });
            };
            if *times > 0 {
                occurrences.resize(order.len(), 0);
                occurrences[position] = *times;
            }
            *times += 1;
        }
        Ok(Self { order, occurrences, ends })
    }

    /// Number of batches.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there are no batches.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Samples in the largest batch.
    pub(crate) fn largest(&self) -> usize {
        (0..self.len()).map(|b| self.range(b).len()).max().unwrap_or(0)
    }

    /// The samples of a batch; empty past the end.
    pub fn batch(&self, index: usize) -> &[usize] {
        &self.order[self.range(index)]
    }

    /// How many times each sample of the batch came before in this epoch; empty for never.
    pub(crate) fn occurrences(&self, index: usize) -> &[u32] {
        self.occurrences.get(self.range(index)).unwrap_or_default()
    }

    fn range(&self, index: usize) -> std::ops::Range<usize> {
        let Some(&end) = self.ends.get(index) else { return 0..0 };
        let start = if index == 0 { 0 } else { self.ends[index - 1] };
        start..end
    }

    /// A number that changes with the order or the cuts (FNV-1a over words): tells whether a saved
    /// position belongs to this plan.
    pub fn digest(&self) -> u64 {
        let words = self.order.iter().chain([&usize::MAX]).chain(&self.ends);
        words.fold(0xcbf2_9ce4_8422_2325, |h, &w| {
            (h ^ w as u64).wrapping_mul(0x0100_0000_01b3).rotate_left(23)
        })
    }
}

/// Cuts an epoch into batches, as a function of (seed, epoch) only.
pub trait Batching: Send + Sync + Debug {
    /// The batches of an epoch.
    ///
    /// # Errors
    /// When this does not fit a data set of that many samples.
    fn plan(&self, len: usize, seed: u64, epoch: u64) -> Result<BatchPlan>;
}

/// Batches of one size out of a [`Sampler`]'s order; the last may be smaller, or is dropped.
#[derive(Clone, Debug)]
pub struct BatchSampler {
    sampler: Arc<dyn Sampler>,
    batch_size: usize,
    drop_last: bool,
}

impl BatchSampler {
    /// Batches of `batch_size`.
    ///
    /// # Errors
    /// When `batch_size` is 0.
    pub fn new(sampler: Arc<dyn Sampler>, batch_size: usize, drop_last: bool) -> Result<Self> {
        if batch_size == 0 {
            return Err(DataError::argument("batch_size", "is 0; a batch has at least one sample"));
        }
        Ok(Self { sampler, batch_size, drop_last })
    }
}

impl Batching for BatchSampler {
    fn plan(&self, len: usize, seed: u64, epoch: u64) -> Result<BatchPlan> {
        let mut order = self.sampler.indices(len, seed, epoch)?;
        if self.drop_last {
            order.truncate(order.len() - order.len() % self.batch_size);
        }
        let ends = (0..order.len()).step_by(self.batch_size);
        let ends = ends.map(|s| s.saturating_add(self.batch_size).min(order.len())).collect();
        BatchPlan::cut(order, ends, len)
    }
}
