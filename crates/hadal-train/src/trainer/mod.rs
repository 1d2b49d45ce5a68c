//! The training loop.

mod create;
mod log;
mod record;

use crate::checkpoint::{self, Checkpoint, Progress};
use crate::config::Config;
use crate::data::TrainData;
use crate::divergence::diagnose;
use crate::evaluate::{Evaluation, evaluate};
use crate::loss::Loss;
use crate::metrics::{EpochRecord, StepRecord};
use crate::model_file::{ModelFile, json, save_model};
use crate::observer::{Control, Observer, Start};
use crate::run::{Lock, RunFolder};
use crate::shell::quoted;
use crate::step::{Computed, StepOptions, gradients};
use crate::{Result, StopHandle, TrainError, artifacts};
use hadal_data::{Batch, BatchIter, DataLoader, Dataset};
use hadal_nn::{Layer, Module};
use hadal_optim::{Ema, Optimizer, Schedule};
use hadal_tensor::{Key, Tensor, memory_stats, threads};
use log::Log;
pub use record::Recorded;
use record::Recording;
pub(crate) use record::append;
use serde::Serialize;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

/// Samples of a batch in evaluation, where the training batch is smaller.
const EVAL_BATCH: usize = 500;

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Status {
    /// All epochs were made.
    Finished,
    /// `max-steps` was reached.
    MaxSteps,
    /// The held-out loss stopped falling.
    EarlyStopped,
    /// An observer asked for it.
    Stopped,
    /// It was asked to stop at once: state is saved, nothing evaluated.
    Interrupted,
}

/// What came out of a run.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Summary {
    /// How it ended.
    pub status: Status,
    /// Epochs completed.
    pub epochs: u64,
    /// Updates made.
    pub steps: u64,
    /// Loss on the test part; `None` when nothing was evaluated.
    pub test_loss: Option<f64>,
    /// Accuracy on the test part; `None` for a regression.
    pub test_accuracy: Option<f64>,
    /// Seconds from the start of training, earlier parts of a resumed run included.
    pub seconds: f64,
    /// Most bytes of tensors at once.
    pub peak_memory_bytes: u64,
    /// The run folder.
    pub run: Option<PathBuf>,
}

/// Trains a model.
///
/// ```
/// use hadal_train::{Config, Trainer};
/// let mut config = Config::default();
/// for (name, value) in [("model", "linear-regression"), ("data", "linear"), ("optimizer", "sgd"),
///                       ("lr", "0.03"), ("schedule", "constant"), ("epochs", "3"), ("batch-size", "10"),
///                       ("artifacts", "false")] {
///     config.set(name, value)?;
/// }
/// let summary = Trainer::new(config)?.run()?;
/// assert!(summary.test_loss.unwrap() < 1e-3);
/// # Ok::<(), hadal_train::TrainError>(())
/// ```
pub struct Trainer {
    config: Config,
    model: Box<dyn Layer>,
    data: TrainData,
    about: ModelFile,
    folder: Option<RunFolder>,
    /// Held while the trainer lives.
    _lock: Option<Lock>,
    observers: Vec<Box<dyn Observer>>,
    stop: StopHandle,
    optimizer: Optimizer,
    ema: Option<Ema>,
    best: Option<Vec<(String, Tensor)>>,
    progress: Progress,
    log: Option<Log>,
    notes: Vec<String>,
    last_evaluation: Option<(u64, Evaluation)>,
    recording: Option<Recording>,
}

/// Clocks of one call of [`Trainer::run`].
struct Clock {
    start: Instant,
    seconds_before: f64,
    last_checkpoint: Instant,
}

impl Trainer {
    /// Adds somebody who watches.
    pub fn observe(&mut self, observer: impl Observer + 'static) -> &mut Self {
        self.observers.push(Box::new(observer));
        self
    }
    /// A handle that asks this run to save and stop.
    pub fn stop_handle(&self) -> StopHandle {
        self.stop.clone()
    }
    /// The model; after [`run`](Trainer::run), with its final weights.
    pub fn model(&self) -> &dyn Layer {
        &*self.model
    }
    /// The configuration, with the run folder that was chosen.
    pub fn config(&self) -> &Config {
        &self.config
    }
    /// The data.
    pub fn data(&self) -> &TrainData {
        &self.data
    }
    /// The run folder, where one is written.
    pub fn folder(&self) -> Option<&RunFolder> {
        self.folder.as_ref()
    }

    /// Trains to the end, or until somebody asks to stop; evaluates; writes the run folder.
    ///
    /// # Errors
    /// [`TrainError::Diverged`] when loss or gradient are not finite, before the update is made; what
    /// cannot be read, computed or written. Checkpoints made before are intact and can be resumed.
    pub fn run(&mut self) -> Result<Summary> {
        let now = Instant::now();
        let mut clock = Clock { start: now, seconds_before: self.progress.seconds, last_checkpoint: now };
        let loader = DataLoader::new(self.data.train.clone())
            .batch_size(self.config.batch_size)
            .shuffle(self.config.seed)
            .workers(self.config.workers);
        let steps_per_epoch = loader.batches(0)?.div_ceil(self.config.accumulate) as u64;
        let schedule = self.config.build_schedule(steps_per_epoch);
        let total = self.config.total_steps(steps_per_epoch);
        let total = self.config.max_steps.map_or(total, |m| m.min(total));
        self.shorten_warm_up(total.saturating_sub(self.progress.step));
        self.announce(steps_per_epoch, total);
        let outcome = self.epochs(&loader, &schedule, &mut clock).and_then(|status| {
            if status == Status::Interrupted {
                Ok((status, None))
            } else {
                Ok((status, self.finish(&clock)?))
            }
        });
        let (status, evaluation) = outcome.map_err(|e| self.saving(e))?;
        let summary = self.summary(status, evaluation.as_ref(), &clock);
        if let (Some(folder), true) = (&self.folder, status != Status::Interrupted) {
            // The mark of a complete run.
            let text = json(&summary, &folder.result())? + "\n";
            hadal_io::write_atomic(folder.result(), |w| w.write_all(text.as_bytes()))?;
        }
        self.each(|o| o.on_end(&summary));
        Ok(summary)
    }

    fn announce(&mut self, steps_per_epoch: u64, total_steps: u64) {
        let mut observers = std::mem::take(&mut self.observers);
        let start = Start {
            config: &self.config,
            data: &self.data.info,
            train_samples: self.data.train.len(),
            test_samples: self.data.test.len(),
            parameters: self.model.num_parameters(),
            threads: threads(),
            steps_per_epoch,
            total_steps,
            step: self.progress.step,
            run: self.folder.as_ref().map(RunFolder::root),
        };
        for o in &mut observers {
            o.on_start(&start);
        }
        self.observers = observers;
        for note in std::mem::take(&mut self.notes) {
            self.each(|o| o.on_note(&note));
        }
    }

    fn each(&mut self, mut f: impl FnMut(&mut dyn Observer)) {
        for o in &mut self.observers {
            f(&mut **o);
        }
    }

    /// Whether any observer wants to stop; all of them see the event.
    fn ask(&mut self, mut f: impl FnMut(&mut dyn Observer) -> Control) -> bool {
        let mut stop = false;
        for o in &mut self.observers {
            stop |= f(&mut **o) == Control::Stop;
        }
        stop
    }

    /// Where training can go on from after something could not be saved.
    fn saving(&mut self, e: TrainError) -> TrainError {
        let Some(folder) = &self.folder else { return e };
        let checkpoints = checkpoint::list(&folder.checkpoints()).unwrap_or_default();
        let resume = format!("hadal train --resume {}", quoted(&folder.root().display().to_string()));
        let Some((step, _)) = checkpoints.first() else {
            return match e {
                TrainError::Io(_) => TrainError::Saving {
                    source: Box::new(e),
                    kept: format!("there is no checkpoint yet; begin again with: {resume}"),
                },
                other => other,
            };
        };
        match e {
            TrainError::Io(_) => TrainError::Saving {
                source: Box::new(e),
                kept: format!("training is saved up to step {step}; go on from there with: {resume}"),
            },
            TrainError::Diverged { step: at, epoch, message } => TrainError::Diverged {
                step: at,
                epoch,
                message: format!(
                    "{message}\n  the state of step {step} is saved in {}",
                    folder.checkpoints().display()
                ),
            },
            other => other,
        }
    }

    fn epochs(&mut self, loader: &DataLoader, schedule: &Schedule, clock: &mut Clock) -> Result<Status> {
        let mut stopped = false;
        loop {
            if self.progress.stopped_early {
                return Ok(Status::EarlyStopped);
            }
            if self.progress.epoch >= self.config.epochs {
                return Ok(Status::Finished);
            }
            if stopped {
                return Ok(Status::Stopped);
            }
            if self.steps_done() {
                return Ok(Status::MaxSteps);
            }
            let mut batches = match self.progress.position.take() {
                Some(position) => loader.resume(&position)?,
                None => loader.epoch(self.progress.epoch).iter(),
            };
            loop {
                stopped |= self.step(loader, &mut batches, schedule)?;
                if batches.len() == 0 {
                    break;
                }
                if self.stop.is_stopped() {
                    self.checkpoint(clock)?;
                    return Ok(Status::Interrupted);
                }
                if stopped || self.steps_done() {
                    self.checkpoint(clock)?;
                    return Ok(if stopped { Status::Stopped } else { Status::MaxSteps });
                }
                let every = self.config.checkpoint_every;
                let seconds = self.config.checkpoint_seconds;
                // By the clock too: a checkpoint changes nothing, so when it is made does not matter.
                let due = seconds > 0.0 && clock.last_checkpoint.elapsed().as_secs_f64() >= seconds;
                if due || (every > 0 && self.progress.step.is_multiple_of(every)) {
                    self.checkpoint(clock)?;
                }
            }
            stopped |= self.end_epoch(schedule)?;
            self.checkpoint(clock)?;
            if self.stop.is_stopped()
                && self.progress.epoch < self.config.epochs
                && !self.progress.stopped_early
            {
                return Ok(Status::Interrupted);
            }
        }
    }

    fn steps_done(&self) -> bool {
        self.config.max_steps.is_some_and(|m| self.progress.step >= m)
    }

    /// Makes one update; gives whether an observer wants to stop.
    fn update(&mut self, loader: &DataLoader, batches: &mut BatchIter, schedule: &Schedule) -> Result<bool> {
        let started = Instant::now();
        // Stream 1 of a seed is initialisation.
        let key = Key::new(self.config.seed).split(2);
        let mut group: Vec<(Batch, Key)> = Vec::with_capacity(self.config.accumulate);
        while group.len() < self.config.accumulate
            && let Some(batch) = batches.next()
        {
            group.push((batch?, key.split(self.progress.batches + group.len() as u64)));
        }
        let options = StepOptions {
            loss: Loss::of(&self.data.info.task, self.config.label_smoothing),
            dtype: self.config.dtype.dtype(),
            clip_norm: self.config.clip_norm,
            norm_type: self.config.clip_norm_type.0,
            clip_value: self.config.clip_value,
        };
        let computed = gradients(&*self.model, &group, &options)?;
        if !computed.is_finite() {
            return Err(self.diverged(&computed, &group, &options));
        }
        let lr = schedule.lr(self.progress.base_lr, self.progress.step);
        self.optimizer.set_lr(lr);
        let Computed { grads, loss, correct, samples, grad_norm } = computed;
        self.optimizer.apply(&grads)?;
        drop(grads);
        if let Some(ema) = &mut self.ema {
            ema.update(&*self.model)?;
        }
        let p = &mut self.progress;
        p.step += 1;
        p.batches += group.len() as u64;
        p.position = Some(batches.state());
        p.loss_sum += loss * samples as f64;
        p.correct += correct;
        p.seen += samples;
        for (batch, _) in group {
            loader.recycle(batch);
        }
        let seconds = started.elapsed().as_secs_f64();
        p.epoch_seconds += seconds;
        let record = StepRecord {
            step: p.step,
            epoch: p.epoch + 1,
            loss,
            accuracy: self.data.info.classes().map(|_| correct as f64 / samples.max(1) as f64),
            lr,
            grad_norm,
            samples_per_second: samples as f64 / seconds.max(1e-9),
        };
        if record.step.is_multiple_of(self.config.log_every) {
            self.log_step(&record)?;
        }
        Ok(self.ask(|o| o.on_step(&record)))
    }

    fn diverged(&self, computed: &Computed, group: &[(Batch, Key)], options: &StepOptions) -> TrainError {
        let found = diagnose(&*self.model, group, options);
        let message = format!(
            "loss {}, gradient norm {}; {found}\n  the update was not made. Try a lower --lr, a --warmup, or --clip-norm 1",
            computed.loss, computed.grad_norm
        );
        TrainError::Diverged { step: self.progress.step + 1, epoch: self.progress.epoch + 1, message }
    }

    /// Evaluates and closes an epoch; gives whether an observer wants to stop.
    fn end_epoch(&mut self, schedule: &Schedule) -> Result<bool> {
        let classes = self.data.info.classes().is_some();
        let p = &self.progress;
        let seen = p.seen.max(1) as f64;
        let mut record = EpochRecord {
            step: p.step,
            epoch: p.epoch + 1,
            train_loss: p.loss_sum / seen,
            train_accuracy: classes.then_some(p.correct as f64 / seen),
            valid_loss: None,
            valid_accuracy: None,
            test_loss: None,
            test_accuracy: None,
            lr: schedule.lr(p.base_lr, p.step.saturating_sub(1)),
            seconds: p.epoch_seconds,
            samples_per_second: seen / p.epoch_seconds.max(1e-9),
            peak_memory_bytes: 0,
        };
        let mut judged = record.train_loss;
        if self.config.evaluate {
            self.swap_ema()?;
            let held_out = self.data.valid.clone();
            let evaluation = self.evaluate_on(held_out.as_ref().unwrap_or(&self.data.test));
            let weights = self
                .improved(evaluation.as_ref().map_or(f64::NAN, |e| e.loss))
                .then(|| self.model.state_dict());
            self.swap_ema()?;
            let evaluation = evaluation?;
            if !evaluation.loss.is_finite() {
                return Err(TrainError::Diverged {
                    step: record.step,
                    epoch: record.epoch,
                    message:
                        "the held-out loss is not finite, though every training loss was; try a lower --lr"
                            .into(),
                });
            }
            self.best = weights.or(self.best.take());
            judged = evaluation.loss;
            if held_out.is_some() {
                (record.valid_loss, record.valid_accuracy) = (Some(evaluation.loss), evaluation.accuracy);
            } else {
                (record.test_loss, record.test_accuracy) = (Some(evaluation.loss), evaluation.accuracy);
                self.last_evaluation = Some((record.step, evaluation));
            }
        }
        record.peak_memory_bytes = memory_stats().peak as u64;
        let improved = self.improved(judged);
        let p = &mut self.progress;
        if let Some(patience) = self.config.early_stop {
            if improved {
                (p.best_loss, p.bad_epochs) = (Some(judged), 0);
            } else {
                p.bad_epochs += 1;
            }
            p.stopped_early = p.bad_epochs >= patience.max(1);
        }
        if let Some(plateau) = &mut p.plateau {
            p.base_lr = plateau.step(judged, p.base_lr);
        }
        p.epoch += 1;
        p.position = None;
        (p.loss_sum, p.correct, p.seen, p.epoch_seconds) = (0.0, 0, 0, 0.0);
        self.log_epoch(&record)?;
        Ok(self.ask(|o| o.on_epoch(&record)))
    }

    /// Whether early stopping would take this for the best loss so far.
    fn improved(&self, loss: f64) -> bool {
        self.config.early_stop.is_some() && self.progress.best_loss.is_none_or(|b| loss < b)
    }

    fn evaluate_on(&self, data: &Arc<dyn Dataset>) -> Result<Evaluation> {
        evaluate(&*self.model, data, &self.data.info.task, self.config.batch_size.max(EVAL_BATCH))
    }

    fn swap_ema(&mut self) -> Result<()> {
        if let Some(ema) = &mut self.ema {
            ema.swap(&*self.model)?;
        }
        Ok(())
    }

    fn checkpoint(&mut self, clock: &mut Clock) -> Result<()> {
        let Some(folder) = &self.folder else { return Ok(()) };
        self.progress.seconds = clock.seconds();
        let c = Checkpoint {
            progress: self.progress.clone(),
            model: self.model.state_dict(),
            optimizer: self.optimizer.state(),
            ema: self.ema.as_ref().map(|e| e.state().to_vec()),
            best: self.best.clone(),
            about: Some(ModelFile { step: self.progress.step, ..self.about.clone() }),
        };
        let dir = folder.checkpoints();
        let path = c.write(&dir)?;
        drop(c);
        checkpoint::prune(&dir, self.config.keep_checkpoints, self.progress.step)?;
        clock.last_checkpoint = Instant::now();
        let step = self.progress.step;
        self.each(|o| o.on_checkpoint(step, &path));
        Ok(())
    }

    /// The final weights, their evaluation, and the pictures.
    fn finish(&mut self, clock: &Clock) -> Result<Option<Evaluation>> {
        self.progress.seconds = clock.seconds();
        match self.best.take() {
            Some(best) => self.model.load_state_dict(&best, true)?,
            None => self.swap_ema()?,
        }
        if let Some(folder) = &self.folder {
            let about = ModelFile { step: self.progress.step, ..self.about.clone() };
            save_model(&folder.model(), &*self.model, &about)?;
        }
        let known = self.last_evaluation.take().filter(|(step, _)| {
            *step == self.progress.step && self.config.early_stop.is_none() && self.data.valid.is_none()
        });
        let evaluation = match known {
            Some((_, e)) => Some(e),
            None if self.config.evaluate => Some(self.evaluate_on(&self.data.test)?),
            None => None,
        };
        if let Some(folder) = &self.folder {
            if folder.metrics().is_file() {
                artifacts::curves(folder)?;
            }
            if let Some(e) = &evaluation {
                artifacts::judgement(folder, &self.data.info, &self.data.test, e)?;
            }
        }
        Ok(evaluation)
    }

    fn summary(&self, status: Status, evaluation: Option<&Evaluation>, clock: &Clock) -> Summary {
        Summary {
            status,
            epochs: self.progress.epoch,
            steps: self.progress.step,
            test_loss: evaluation.map(|e| e.loss),
            test_accuracy: evaluation.and_then(|e| e.accuracy),
            seconds: clock.seconds(),
            peak_memory_bytes: memory_stats().peak as u64,
            run: self.folder.as_ref().map(|f| f.root().to_path_buf()),
        }
    }
}

impl Clock {
    fn seconds(&self) -> f64 {
        self.seconds_before + self.start.elapsed().as_secs_f64()
    }
}
