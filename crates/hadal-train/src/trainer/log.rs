//! The metrics a run writes down.

use super::Trainer;
use crate::Result;
use crate::metrics::{EpochRecord, Record, StepRecord};
use hadal_io::jsonl::JsonlWriter;
use hadal_io::tensorboard::EventWriter;
use std::time::{Duration, SystemTime};

/// The open files of a run.
pub(super) struct Log {
    metrics: JsonlWriter,
    events: EventWriter,
}

impl Trainer {
    /// The open files; opened at the first line, so that the first step does not wait for them.
    fn log(&mut self) -> Result<Option<&mut Log>> {
        if let (None, Some(folder)) = (&self.log, &self.folder) {
            // Step 1 makes the first file; a resumed run voids what an earlier file says of later steps.
            let (first, now) = (self.progress.step as i64, wall_time());
            self.log = Some(Log {
                metrics: JsonlWriter::append(folder.metrics())?,
                events: EventWriter::resume(folder.root(), first, now)?,
            });
        }
        Ok(self.log.as_mut())
    }

    pub(super) fn log_step(&mut self, r: &StepRecord) -> Result<()> {
        let Some(log) = self.log()? else { return Ok(()) };
        log.metrics.write(&Record::Step(r.clone()))?;
        let values = [
            ("train/loss", r.loss as f32),
            ("train/lr", r.lr as f32),
            ("train/grad_norm", r.grad_norm as f32),
            ("train/samples_per_second", r.samples_per_second as f32),
        ];
        Ok(log.events.scalars(r.step as i64, &values, wall_time())?)
    }

    pub(super) fn log_epoch(&mut self, r: &EpochRecord) -> Result<()> {
        let Some(log) = self.log()? else { return Ok(()) };
        log.metrics.write(&Record::Epoch(r.clone()))?;
        let values: Vec<(&str, f32)> = [
            ("epoch/train_loss", Some(r.train_loss)),
            ("epoch/train_accuracy", r.train_accuracy),
            ("epoch/valid_loss", r.valid_loss),
            ("epoch/valid_accuracy", r.valid_accuracy),
            ("epoch/test_loss", r.test_loss),
            ("epoch/test_accuracy", r.test_accuracy),
            ("epoch/peak_memory_mb", Some(r.peak_memory_bytes as f64 / 1e6)),
        ]
        .into_iter()
        .filter_map(|(tag, v)| Some((tag, v? as f32)))
        .collect();
        Ok(log.events.scalars(r.step as i64, &values, wall_time())?)
    }
}

/// Seconds since 1970.
pub(super) fn wall_time() -> f64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs_f64()
}
