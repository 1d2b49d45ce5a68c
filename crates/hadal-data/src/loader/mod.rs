//! Batches in a fixed order, read ahead by worker threads or in the calling thread.
//!
//! Order and augmentation are functions of (seed, epoch, index) alone, so the batches are the same
//! bits for any number of workers, and reading can go on in the middle of an epoch.

mod collate;
mod pool;
mod workers;

use crate::dataset::{Batch, Dataset, SampleCtx};
use crate::error::{DataError, Result};
use crate::sampler::{BatchPlan, BatchSampler, Batching, RandomSampler, Sampler, SequentialSampler};
use collate::Job;
use pool::Pool;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use workers::Workers;

/// Reads a data set in batches.
///
/// ```
/// use hadal_data::{Array, ArrayDataset, DataLoader};
/// use std::sync::Arc;
/// let set = ArrayDataset::new(
///     Array::f32(&[5, 1], vec![0., 1., 2., 3., 4.])?,
///     Array::i64(&[5], vec![0, 1, 2, 3, 4])?,
/// )?;
/// let loader = DataLoader::new(Arc::new(set)).batch_size(2).shuffle(42).workers(2);
/// let mut seen = Vec::new();
/// for batch in loader.epoch(0).iter() {
///     let batch = batch?;
///     seen.extend_from_slice(batch.targets.as_i64().unwrap());
///     loader.recycle(batch);
/// }
/// seen.sort();
/// assert_eq!(seen, [0, 1, 2, 3, 4]);
/// # Ok::<(), hadal_data::DataError>(())
/// ```
#[derive(Clone)]
pub struct DataLoader {
    dataset: Arc<dyn Dataset>,
    batch_size: usize,
    seed: u64,
    drop_last: bool,
    workers: usize,
    prefetch: usize,
    sampler: Arc<dyn Sampler>,
    batching: Option<Arc<dyn Batching>>,
    /// Buffers that were given back, by the caller and by iterators that ended.
    pool: Arc<Mutex<Pool>>,
}

impl DataLoader {
    /// One sample a batch, in order, read in the calling thread.
    pub fn new(dataset: Arc<dyn Dataset>) -> Self {
        Self {
            dataset,
            batch_size: 1,
            seed: 0,
            drop_last: false,
            workers: 0,
            prefetch: 2,
            sampler: Arc::new(SequentialSampler),
            batching: None,
            pool: Arc::default(),
        }
    }

    /// Samples in a batch; 1 by default. 0 is an error at the first batch.
    #[must_use]
    pub fn batch_size(mut self, n: usize) -> Self {
        self.batch_size = n;
        self
    }

    /// Reads in another random order each epoch, and sets the seed of order and augmentation.
    #[must_use]
    pub fn shuffle(self, seed: u64) -> Self {
        self.sampler(Arc::new(RandomSampler)).seed(seed)
    }

    /// The seed of order and augmentation; 0 by default.
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// Leaves out a last batch that is not full; off by default.
    #[must_use]
    pub fn drop_last(mut self, drop: bool) -> Self {
        self.drop_last = drop;
        self
    }

    /// Threads that read ahead; 0 (the default) reads in the calling thread.
    #[must_use]
    pub fn workers(mut self, n: usize) -> Self {
        self.workers = n;
        self
    }

    /// Batches that each worker may be ahead; 2 by default, as in PyTorch.
    #[must_use]
    pub fn prefetch(mut self, k: usize) -> Self {
        self.prefetch = k;
        self
    }

    /// Another choice and order of samples.
    #[must_use]
    pub fn sampler(mut self, sampler: Arc<dyn Sampler>) -> Self {
        self.sampler = sampler;
        self
    }

    /// Other batches altogether; batch size, sampler and `drop_last` are not used then.
    #[must_use]
    pub fn batching(mut self, batching: Arc<dyn Batching>) -> Self {
        self.batching = Some(batching);
        self
    }

    /// The data set.
    pub fn dataset(&self) -> &Arc<dyn Dataset> {
        &self.dataset
    }

    /// Number of batches in an epoch.
    ///
    /// # Errors
    /// When the settings do not fit the data set.
    pub fn batches(&self, epoch: u64) -> Result<usize> {
        Ok(self.plan(epoch)?.len())
    }

    /// An epoch, to iterate over.
    pub fn epoch(&self, epoch: u64) -> Epoch<'_> {
        Epoch { loader: self, epoch }
    }

    /// Takes a finished batch's memory back, to build further batches in, of this epoch and later ones.
    pub fn recycle(&self, batch: Batch) {
        self.pool.lock().unwrap_or_else(PoisonError::into_inner).give(batch);
    }

    /// Goes on where a saved position stands: the remaining batches of its epoch, the same as if
    /// the epoch had been read from its start. Skipped samples are not read.
    ///
    /// # Errors
    /// When the position was saved by a loader with another seed, data set size or order.
    pub fn resume(&self, state: &LoaderState) -> Result<BatchIter> {
        let plan = self.plan(state.epoch)?;
        let differs = |what: &str, saved: u64, now: u64| {
            let message = format!(
                "the saved position has {what} {saved}, this loader has {now}; use the settings and data of the run that saved it"
            );
            Err(DataError::Resume(message))
        };
        if state.seed != self.seed {
            return differs("seed", state.seed, self.seed);
        }
        if state.samples != self.dataset.len() as u64 {
            return differs("samples", state.samples, self.dataset.len() as u64);
        }
        if state.batches != plan.len() as u64 {
            return differs("batches per epoch", state.batches, plan.len() as u64);
        }
        if state.digest != plan.digest() {
            return Err(DataError::Resume(
                "the order of samples differs from the saved one; use the batch size, sampler and data of the run that saved it".into(),
            ));
        }
        let start = usize::try_from(state.batch_index).ok().filter(|&b| b <= plan.len());
        match start {
            Some(start) => self.start(state.epoch, plan, start),
            None => differs("batch index", state.batch_index, plan.len() as u64),
        }
    }

    fn plan(&self, epoch: u64) -> Result<BatchPlan> {
        let len = self.dataset.len();
        if len == 0 {
            return Err(DataError::Empty {
                what: "the data set".into(),
                hint: "a loader needs at least one sample".into(),
            });
        }
        let plan = match &self.batching {
            Some(b) => b.plan(len, self.seed, epoch)?,
            None => BatchSampler::new(Arc::clone(&self.sampler), self.batch_size, self.drop_last)?
                .plan(len, self.seed, epoch)?,
        };
        if plan.is_empty() {
            return Err(DataError::Empty {
                what: "the epoch".into(),
                hint: format!(
                    "{len} samples give no batch of {}; use a smaller batch, or keep the last one",
                    self.batch_size
                ),
            });
        }
        Ok(plan)
    }

    fn start(&self, epoch: u64, plan: BatchPlan, start: usize) -> Result<BatchIter> {
        let state = LoaderState {
            seed: self.seed,
            epoch,
            batch_index: start as u64,
            batches: plan.len() as u64,
            samples: self.dataset.len() as u64,
            digest: plan.digest(),
        };
        let job = Arc::new(Job {
            dataset: Arc::clone(&self.dataset),
            largest: plan.largest(),
            plan,
            epoch,
            pool: Arc::clone(&self.pool),
        });
        let remaining = job.plan.len() - start;
        let source = if self.workers == 0 || remaining == 0 {
            let cx = Box::new(job.pool().begin(self.seed, epoch));
            Source::Here(Here { cx, job })
        } else {
            let ahead = self.workers.saturating_mul(self.prefetch.max(1));
            Source::Workers(Workers::spawn(job, self.seed, start, self.workers.min(remaining), ahead)?)
        };
        Ok(BatchIter { state, source: Some(source), error: None })
    }
}

impl fmt::Debug for DataLoader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DataLoader")
            .field("samples", &self.dataset.len())
            .field("batch_size", &self.batch_size)
            .field("seed", &self.seed)
            .field("drop_last", &self.drop_last)
            .field("workers", &self.workers)
            .field("prefetch", &self.prefetch)
            .field("sampler", &self.sampler)
            .finish_non_exhaustive()
    }
}

/// One pass over the data.
#[derive(Clone, Copy, Debug)]
pub struct Epoch<'a> {
    loader: &'a DataLoader,
    epoch: u64,
}

impl Epoch<'_> {
    /// The batches. Settings that cannot be right come as a single error.
    pub fn iter(&self) -> BatchIter {
        let started = self.loader.plan(self.epoch).and_then(|plan| self.loader.start(self.epoch, plan, 0));
        started.unwrap_or_else(|e| BatchIter {
            state: LoaderState {
                seed: self.loader.seed,
                epoch: self.epoch,
                batch_index: 0,
                batches: 0,
                samples: self.loader.dataset.len() as u64,
                digest: 0,
            },
            source: None,
            error: Some(e),
        })
    }
}

impl IntoIterator for Epoch<'_> {
    type Item = Result<Batch>;
    type IntoIter = BatchIter;

    fn into_iter(self) -> BatchIter {
        self.iter()
    }
}

/// A position in the data: which batch of which epoch comes next.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LoaderState {
    /// The loader's seed.
    pub seed: u64,
    /// The epoch.
    pub epoch: u64,
    /// Batches of the epoch that were taken.
    pub batch_index: u64,
    /// Batches of the epoch in all.
    pub batches: u64,
    /// Samples in the data set.
    pub samples: u64,
    /// Digest of the epoch's order, to notice another one.
    pub digest: u64,
}

enum Source {
    Here(Here),
    Workers(Workers),
}

/// Reads in the calling thread.
struct Here {
    cx: Box<SampleCtx>,
    job: Arc<Job>,
}

impl Drop for Here {
    fn drop(&mut self) {
        self.job.pool().end(&mut self.cx);
    }
}

/// Iterator over the batches of an epoch. Dropping it stops the workers, and gives its memory back to the
/// loader.
///
/// A batch that cannot be read is an error in its place; the batches after it still come.
pub struct BatchIter {
    state: LoaderState,
    source: Option<Source>,
    error: Option<DataError>,
}

impl BatchIter {
    /// The position after the batches taken so far, to be given to [`DataLoader::resume`].
    pub fn state(&self) -> LoaderState {
        self.state.clone()
    }
}

impl Iterator for BatchIter {
    type Item = Result<Batch>;

    fn next(&mut self) -> Option<Result<Batch>> {
        if let Some(e) = self.error.take() {
            return Some(Err(e));
        }
        if self.state.batch_index >= self.state.batches {
            self.source = None;
            return None;
        }
        let index = self.state.batch_index as usize;
        let batch = match self.source.as_mut()? {
            Source::Here(here) => here.job.load(index, &mut here.cx, &|| false),
            Source::Workers(workers) => workers.next(),
        };
        self.state.batch_index += 1;
        Some(batch)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = (self.state.batches - self.state.batch_index) as usize + usize::from(self.error.is_some());
        (left, Some(left))
    }
}

impl ExactSizeIterator for BatchIter {}

impl fmt::Debug for BatchIter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BatchIter").field("state", &self.state).finish_non_exhaustive()
    }
}
