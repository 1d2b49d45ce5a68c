//! Watching a run, and stopping it.

use crate::metrics::{EpochRecord, StepRecord};
use crate::{Config, DataInfo, Summary};
use std::path::{Path, PathBuf};

/// Whether to go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Control {
    /// Go on.
    Continue,
    /// Save, finish and stop.
    Stop,
}

/// What is known when training starts.
#[derive(Clone, Debug)]
pub struct Start<'a> {
    /// The configuration.
    pub config: &'a Config,
    /// The data.
    pub data: &'a DataInfo,
    /// Samples to learn from.
    pub train_samples: usize,
    /// Samples to judge by.
    pub test_samples: usize,
    /// Learnable numbers.
    pub parameters: usize,
    /// Threads that compute.
    pub threads: usize,
    /// Updates in an epoch.
    pub steps_per_epoch: u64,
    /// Updates in all.
    pub total_steps: u64,
    /// Updates made already, by the run that is resumed.
    pub step: u64,
    /// The run folder, where one is written.
    pub run: Option<&'a Path>,
}

/// Watches a run. Methods not written do nothing.
pub trait Observer {
    /// Training starts.
    fn on_start(&mut self, _start: &Start<'_>) {}
    /// An update was made.
    fn on_step(&mut self, _step: &StepRecord) -> Control {
        Control::Continue
    }
    /// An epoch ended and was evaluated.
    fn on_epoch(&mut self, _epoch: &EpochRecord) -> Control {
        Control::Continue
    }
    /// A checkpoint was written.
    fn on_checkpoint(&mut self, _step: u64, _path: &Path) {}
    /// Something the user should know that is no error.
    fn on_note(&mut self, _text: &str) {}
    /// Training ended.
    fn on_end(&mut self, _summary: &Summary) {}
}

/// Keeps everything it sees, for tests and for code that wants the numbers.
#[derive(Clone, Debug, Default)]
pub struct Collect {
    /// All updates.
    pub steps: Vec<StepRecord>,
    /// All epochs.
    pub epochs: Vec<EpochRecord>,
    /// All checkpoints.
    pub checkpoints: Vec<(u64, PathBuf)>,
    /// All notes.
    pub notes: Vec<String>,
}

impl Observer for Collect {
    fn on_step(&mut self, step: &StepRecord) -> Control {
        self.steps.push(step.clone());
        Control::Continue
    }
    fn on_epoch(&mut self, epoch: &EpochRecord) -> Control {
        self.epochs.push(epoch.clone());
        Control::Continue
    }
    fn on_checkpoint(&mut self, step: u64, path: &Path) {
        self.checkpoints.push((step, path.to_path_buf()));
    }
    fn on_note(&mut self, text: &str) {
        self.notes.push(text.to_owned());
    }
}

/// An observer that is shared: the trainer watches with one handle, the caller reads the other.
impl<O: Observer> Observer for std::rc::Rc<std::cell::RefCell<O>> {
    fn on_start(&mut self, start: &Start<'_>) {
        self.borrow_mut().on_start(start);
    }
    fn on_step(&mut self, step: &StepRecord) -> Control {
        self.borrow_mut().on_step(step)
    }
    fn on_epoch(&mut self, epoch: &EpochRecord) -> Control {
        self.borrow_mut().on_epoch(epoch)
    }
    fn on_checkpoint(&mut self, step: u64, path: &Path) {
        self.borrow_mut().on_checkpoint(step, path);
    }
    fn on_note(&mut self, text: &str) {
        self.borrow_mut().on_note(text);
    }
    fn on_end(&mut self, summary: &Summary) {
        self.borrow_mut().on_end(summary);
    }
}
