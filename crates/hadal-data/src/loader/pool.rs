//! The memory of a loader, kept from batch to batch and from epoch to epoch.

use crate::array::Buffers;
use crate::dataset::{Batch, SampleCtx};

/// Buffers that nobody uses now.
#[derive(Debug, Default)]
pub(super) struct Pool {
    /// What batches are built in.
    batches: Buffers,
    /// What threads built samples in, one store for each thread that has ended.
    idle: Vec<Buffers>,
}

impl Pool {
    /// Takes a batch's memory back.
    pub fn give(&mut self, batch: Batch) {
        self.batches.give(batch.inputs);
        self.batches.give(batch.targets);
    }

    /// A thread's context for an epoch, with what an earlier one built samples in.
    pub fn begin(&mut self, seed: u64, epoch: u64) -> SampleCtx {
        let mut cx = SampleCtx::new(seed, epoch);
        cx.buffers = self.idle.pop().unwrap_or_default();
        cx
    }

    /// Takes the memory of a thread that ends.
    pub fn end(&mut self, cx: &mut SampleCtx) {
        self.idle.push(std::mem::take(&mut cx.buffers));
    }

    /// Lends a thread what a batch is built in.
    pub fn lend(&mut self, cx: &mut SampleCtx) {
        self.batches.move_batch_to(&mut cx.buffers);
    }

    /// Takes back what was lent and not used, so that no thread sits on memory that another needs:
    /// buffers that could hold `largest` samples as this batch has them. Of batches of one sample they
    /// cannot be told from those of samples, and stay.
    pub fn settle(&mut self, cx: &mut SampleCtx, batch: &Batch, largest: usize) {
        if largest < 2 || batch.is_empty() {
            return;
        }
        for part in [&batch.inputs, &batch.targets] {
            let len = part.len() / batch.len() * largest;
            if len > 0 {
                cx.buffers.move_large_to(part.dtype(), len, &mut self.batches);
            }
        }
    }
}
