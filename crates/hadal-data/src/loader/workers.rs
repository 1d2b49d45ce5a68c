//! Threads that read batches ahead, and hand them over in order.

use super::collate::Job;
use crate::dataset::{Batch, SampleCtx};
use crate::error::{DataError, Result};
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

/// What the threads and the iterator share.
struct Shared {
    job: Arc<Job>,
    queue: Mutex<Queue>,
    /// Told when there is room to read further ahead, or on stop.
    room: Condvar,
    /// Told when a batch is ready.
    ready: Condvar,
    stop: AtomicBool,
    /// Batches that may be read ahead of the iterator.
    ahead: usize,
}

struct Queue {
    /// The next batch that a thread will read.
    next_read: usize,
    /// The next batch that the iterator will give.
    next_given: usize,
    /// Finished batches from `next_given` on.
    slots: VecDeque<Option<Result<Batch>>>,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        // No panic happens under this lock; if one did, the queue would still be in order.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    fn work(&self, cx: &mut SampleCtx) {
        let mut queue = self.lock();
        loop {
            if self.stopped() || queue.next_read >= self.job.plan.len() {
                return;
            }
            if queue.next_read - queue.next_given >= self.ahead {
                queue = self.room.wait(queue).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            let batch = queue.next_read;
            queue.next_read += 1;
            queue.slots.push_back(None);
            drop(queue);
            let loaded = self.job.load(batch, cx, &|| self.stopped());
            queue = self.lock();
            let slot = batch - queue.next_given;
            queue.slots[slot] = Some(loaded);
            if slot == 0 {
                self.ready.notify_one();
            }
        }
    }
}

/// The iterator's side; dropping it stops and joins the threads.
pub(super) struct Workers {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

impl Workers {
    /// Starts `count` threads that read from batch `start` on.
    pub fn spawn(job: Arc<Job>, seed: u64, start: usize, count: usize, ahead: usize) -> Result<Self> {
        let queue = Queue { next_read: start, next_given: start, slots: VecDeque::new() };
        let shared = Arc::new(Shared {
            queue: Mutex::new(queue),
            room: Condvar::new(),
            ready: Condvar::new(),
            stop: AtomicBool::new(false),
            ahead,
            job,
        });
        let mut workers = Self { shared, threads: Vec::with_capacity(count) };
        for i in 0..count {
            let shared = Arc::clone(&workers.shared);
            let run = move || {
                let mut cx = shared.job.pool().begin(seed, shared.job.epoch);
                shared.work(&mut cx);
                shared.job.pool().end(&mut cx);
            };
            match std::thread::Builder::new().name(format!("hadal-data-{i}")).spawn(run) {
                Ok(handle) => workers.threads.push(handle),
                // Fewer threads give the same batches; none cannot.
                Err(e) if i == 0 => {
                    return Err(DataError::argument(
                        "DataLoader workers",
                        format!("cannot start a thread: {e}; use workers(0)"),
                    ));
                }
                Err(_) => break,
            }
        }
        Ok(workers)
    }

    /// The next batch, waiting for it.
    pub fn next(&mut self) -> Result<Batch> {
        let mut queue = self.shared.lock();
        loop {
            if let Some(slot @ Some(_)) = queue.slots.front_mut()
                && let Some(batch) = slot.take()
            {
                queue.slots.pop_front();
                queue.next_given += 1;
                drop(queue);
                self.shared.room.notify_one();
                return batch;
            }
            queue = self.shared.ready.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        // Under the lock, so that no thread can miss it between its check and its wait.
        drop(self.shared.lock());
        self.shared.room.notify_all();
        for thread in self.threads.drain(..) {
            // A panic of the data set was caught and handed over as that batch's error.
            let _ = thread.join();
        }
        // What was read ahead and nobody took.
        for batch in self.shared.lock().slots.drain(..).flatten().flatten() {
            self.shared.job.pool().give(batch);
        }
    }
}
