//! Data sets: a number of samples, each read by index.

mod combine;
mod csv;
mod folder;
mod memory;

pub use combine::{Concat, MapDataset, Subset, random_split};
pub use csv::{ColumnKind, CsvColumn, CsvDataset, CsvOptions, Missing, Task};
pub use folder::{Channels, ImageFolder};
pub use memory::{ArrayDataset, ImageDataset, ImageOutput};

use crate::array::{Array, Buffers};
use crate::error::{DataError, Result};
use crate::rng::{Purpose, Rng};

/// One sample: what goes into the model and what should come out.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// Model input, without the batch axis.
    pub input: Array,
    /// Target, without the batch axis; a class label is an i64 of shape `[]`.
    pub target: Array,
}

/// Several samples, stacked along a new first axis.
#[derive(Clone, Debug, PartialEq)]
pub struct Batch {
    /// Inputs, `[n, …]`.
    pub inputs: Array,
    /// Targets, `[n, …]`.
    pub targets: Array,
}

impl Batch {
    /// Number of samples.
    pub fn len(&self) -> usize {
        self.inputs.shape().first().copied().unwrap_or(0)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// What a data set or transform gets along with the index: its random numbers and buffers to use.
///
/// The numbers depend on seed, epoch and index only (and, where a sampler draws a sample several
/// times in an epoch, on which time it is), so they are the same for any number of workers.
#[derive(Debug)]
pub struct SampleCtx {
    seed: u64,
    epoch: u64,
    rng: Rng,
    /// Buffers to build the sample in.
    pub buffers: Buffers,
}

impl SampleCtx {
    /// A context for an epoch, standing at sample 0.
    pub fn new(seed: u64, epoch: u64) -> Self {
        let rng = Rng::new(seed, Purpose::Augment, epoch, 0, 0);
        Self { seed, epoch, rng, buffers: Buffers::default() }
    }

    /// Moves to another sample, at the beginning of its random numbers.
    pub fn at(&mut self, index: usize, occurrence: u32) -> &mut Self {
        self.rng = Rng::new(self.seed, Purpose::Augment, self.epoch, index as u64, occurrence);
        self
    }

    /// A class label as an array of shape `[]`, in a buffer used before where there is one.
    pub fn label(&mut self, value: i64) -> Array {
        let mut buffer = self.buffers.take_i64(1);
        buffer.push(value);
        Array::trusted(Vec::new(), crate::array::ArrayData::I64(buffer))
    }

    /// The epoch being read.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// This sample's random numbers.
    pub fn rng(&mut self) -> &mut Rng {
        &mut self.rng
    }
}

/// A number of samples, each read by its index.
pub trait Dataset: Send + Sync {
    /// Number of samples.
    fn len(&self) -> usize;

    /// Whether there are none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Reads one sample.
    ///
    /// # Errors
    /// For an index past the end, and whatever reading the sample runs into.
    fn get(&self, index: usize, cx: &mut SampleCtx) -> Result<Sample>;

    /// The classes' names in label order, when the targets are labels.
    fn class_names(&self) -> Option<&[String]> {
        None
    }

    /// Reads a whole batch at once where that is cheaper than stacking samples, else `None`.
    ///
    /// Must give exactly what stacking the samples gives. Data sets whose samples use random
    /// numbers return `None`.
    fn gather(&self, _indices: &[usize], _cx: &mut SampleCtx) -> Option<Result<Batch>> {
        None
    }
}

/// An error for an index past the end.
pub(crate) fn check_index(what: &'static str, index: usize, len: usize) -> Result<()> {
    if index < len { Ok(()) } else { Err(DataError::Index { what, index, len }) }
}
