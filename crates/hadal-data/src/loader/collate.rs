//! Reading the samples of one batch and stacking them.

use super::pool::Pool;
use crate::array::{Array, ArrayData, Buffers};
use crate::dataset::{Batch, Dataset, Sample, SampleCtx};
use crate::error::{DataError, Result};
use crate::sampler::BatchPlan;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What every worker of an epoch needs.
pub(super) struct Job {
    pub dataset: Arc<dyn Dataset>,
    pub plan: BatchPlan,
    pub epoch: u64,
    /// Samples in the epoch's largest batch.
    pub largest: usize,
    pub pool: Arc<Mutex<Pool>>,
}

impl Job {
    /// Reads a batch; a panic on the way becomes an error. `stop` is asked between samples.
    pub fn load(&self, batch: usize, cx: &mut SampleCtx, stop: &dyn Fn() -> bool) -> Result<Batch> {
        // Unwind safety: of what the closure touches only `cx` lives on, and its buffers are
        // valid in any state; its random numbers start anew at each sample.
        let outcome = catch_unwind(AssertUnwindSafe(|| self.read(batch, cx, stop)));
        outcome.unwrap_or_else(|panic| {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
            let message = text.unwrap_or("no message").to_string();
            Err(DataError::WorkerPanic { batch, epoch: self.epoch, message })
        })
    }

    fn read(&self, batch: usize, cx: &mut SampleCtx, stop: &dyn Fn() -> bool) -> Result<Batch> {
        // Both a whole-batch read and stacking build their result in `cx.buffers`.
        self.pool().lend(cx);
        let read = self.build(batch, cx, stop);
        if let Ok(read) = &read {
            self.pool().settle(cx, read, self.largest);
        }
        read
    }

    fn build(&self, batch: usize, cx: &mut SampleCtx, stop: &dyn Fn() -> bool) -> Result<Batch> {
        let indices = self.plan.batch(batch);
        if let Some(whole) = self.dataset.gather(indices, cx) {
            return whole;
        }
        let occurrences = self.plan.occurrences(batch);
        let mut stack: Option<(Stack, Stack)> = None;
        for (position, &index) in indices.iter().enumerate() {
            if stop() {
                break;
            }
            cx.at(index, occurrences.get(position).copied().unwrap_or(0));
            let Sample { input, target } = self.dataset.get(index, cx)?;
            let (inputs, targets) = stack.get_or_insert_with(|| {
                let mut new = |a: &Array| Stack::new(a, index, indices.len(), &mut cx.buffers);
                (new(&input), new(&target))
            });
            inputs.push(input, "input", index, &mut cx.buffers)?;
            targets.push(target, "target", index, &mut cx.buffers)?;
        }
        let (inputs, targets) = stack.ok_or_else(|| DataError::Resume("the loader was stopped".into()))?;
        Ok(Batch { inputs: inputs.finish(), targets: targets.finish() })
    }

    /// The loader's memory.
    pub fn pool(&self) -> MutexGuard<'_, Pool> {
        // Valid in any state: it only holds buffers.
        self.pool.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A batch's input or target as it grows.
struct Stack {
    first: usize,
    sample_shape: Vec<usize>,
    count: usize,
    data: ArrayData,
}

impl Stack {
    fn new(sample: &Array, first: usize, batch: usize, buffers: &mut Buffers) -> Self {
        let len = sample.len().saturating_mul(batch);
        let data = match sample.data() {
            ArrayData::F32(_) => ArrayData::F32(buffers.take_f32(len)),
            ArrayData::I64(_) => ArrayData::I64(buffers.take_i64(len)),
            ArrayData::U8(_) => ArrayData::U8(buffers.take_u8(len)),
        };
        Self { first, sample_shape: sample.shape().to_vec(), count: 0, data }
    }

    fn push(&mut self, sample: Array, part: &'static str, index: usize, buffers: &mut Buffers) -> Result<()> {
        match (&mut self.data, sample.data()) {
            _ if sample.shape() != self.sample_shape => return Err(self.differs(&sample, part, index)),
            (ArrayData::F32(to), ArrayData::F32(from)) => to.extend_from_slice(from),
            (ArrayData::I64(to), ArrayData::I64(from)) => to.extend_from_slice(from),
            (ArrayData::U8(to), ArrayData::U8(from)) => to.extend_from_slice(from),
            _ => return Err(self.differs(&sample, part, index)),
        }
        self.count += 1;
        buffers.give(sample);
        Ok(())
    }

    fn differs(&self, sample: &Array, part: &'static str, index: usize) -> DataError {
        DataError::Collate {
            part,
            index,
            found: sample.describe(),
            first: self.first,
            expected: format!("{} {:?}", self.data.dtype(), self.sample_shape),
        }
    }

    fn finish(self) -> Array {
        let mut shape = vec![self.count];
        shape.extend(self.sample_shape);
        Array::trusted(shape, self.data)
    }
}
