//! Data for Hadal: data sets, readers, named sets with an embedded default, transforms, samplers
//! and a loader whose batches are the same bits for any number of workers.
//!
//! Everything here works on plain [`Array`]s; no tensor and no device is known.

mod array;
pub mod dataset;
mod decode;
mod error;
pub mod loader;
pub mod named;
pub mod read;
pub mod rng;
pub mod sampler;
pub mod transform;

pub use array::{Array, ArrayData, Buffers};
pub use dataset::{
    ArrayDataset, Batch, Channels, ColumnKind, Concat, CsvColumn, CsvDataset, CsvOptions, Dataset,
    ImageDataset, ImageFolder, MapDataset, Missing, Sample, SampleCtx, Subset, Task, random_split,
};
pub use error::{DataError, Result};
pub use loader::{BatchIter, DataLoader, Epoch, LoaderState};
pub use named::{FetchEvent, NamedSpec, Places, Split, fetch, load_named, named_set, named_sets};
pub use read::{CifarLabels, IdxArray, IdxData, parse_cifar10, parse_cifar100, parse_idx, read_idx};
pub use sampler::{
    BatchPlan, BatchSampler, Batching, RandomSampler, Sampler, SequentialSampler, SubsetSampler,
    WeightedSampler,
};
pub use transform::{Compose, Transform, TransformSpec};
