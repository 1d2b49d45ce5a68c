//! The training loop.

use crate::checkpoint::{self, Checkpoint, Progress};
use crate::config::{Config, RESUMABLE, Setting};
use crate::data::{self, Places, TrainData};
use crate::divergence::diagnose;
use crate::evaluate::{Evaluation, evaluate};
use crate::loss::Loss;
use crate::metrics::{EpochRecord, Record, StepRecord};
use crate::model_file::{ModelFile, json, save_model};
use crate::observer::{Control, Observer, Start};
use crate::run::{RunFolder, default_folder};
use crate::step::{Computed, StepOptions, gradients};
use crate::{Result, StopHandle, TrainError, artifacts};
use hadal_data::{Batch, BatchIter, DataLoader, Dataset};
use hadal_io::jsonl::{self, JsonlWriter};
use hadal_io::tensorboard::EventWriter;
use hadal_nn::{Init, Layer, Module};
use hadal_optim::{Ema, Optimizer, Schedule};
use hadal_tensor::{Key, Tensor, memory_stats, set_threads, threads};
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

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
    observers: Vec<Box<dyn Observer>>,
    stop: StopHandle,
    optimizer: Optimizer,
    ema: Option<Ema>,
    best: Option<Vec<(String, Tensor)>>,
    progress: Progress,
    log: Option<Log>,
    notes: Vec<String>,
    last_evaluation: Option<(u64, Evaluation)>,
}

/// The open files of a run.
struct Log {
    metrics: JsonlWriter,
    events: EventWriter,
}

/// Clocks of one call of [`Trainer::run`].
struct Clock {
    start: Instant,
    seconds_before: f64,
    last_checkpoint: Instant,
}

impl Trainer {
    /// A new run of a model and data set by name.
    ///
    /// # Errors
    /// Whatever is wrong with the configuration, data or run folder.
    pub fn new(config: Config) -> Result<Trainer> {
        let data = data::load(&config, &Places::of(&config, None), &mut |_| {})?;
        Self::with_data(config, data)
    }

    /// A new run of a model by name on this data.
    ///
    /// # Errors
    /// As [`Trainer::new`].
    pub fn with_data(config: Config, data: TrainData) -> Result<Trainer> {
        let model = Self::build_model(&config, &data)?;
        Self::with_model(config, model, data)
    }

    /// A new run of this model on this data; the configuration's `model` is only a name for it.
    ///
    /// # Errors
    /// As [`Trainer::new`].
    pub fn with_model(mut config: Config, model: Box<dyn Layer>, data: TrainData) -> Result<Trainer> {
        config.validate()?;
        if data.train.is_empty() {
            return Err(TrainError::Data(hadal_data::DataError::Empty {
                what: format!("the training part of {}", data.info.name),
                hint: "training needs at least one sample".into(),
            }));
        }
        let folder = if config.artifacts {
            let folder = RunFolder::new(match &config.out {
                Some(out) => PathBuf::from(out),
                None => free_folder(&config.model),
            });
            folder.create()?;
            config.out = Some(folder.root().display().to_string());
            Some(folder)
        } else {
            None
        };
        let trainer = Self::assemble(config, model, data, folder)?;
        if let Some(folder) = &trainer.folder {
            let about = json(&trainer.about, &folder.about())?;
            hadal_io::write_atomic(folder.about(), |w| w.write_all(about.as_bytes()))?;
            // Last: a folder with it is a run that can be resumed.
            trainer.write_config(folder)?;
        }
        Ok(trainer)
    }

    /// The configuration without the folder's own place, so that it can be moved, and used for
    /// another run.
    fn write_config(&self, folder: &RunFolder) -> Result<()> {
        let text = Config { out: None, ..self.config.clone() }.to_toml();
        Ok(hadal_io::write_atomic(folder.config(), |w| w.write_all(text.as_bytes()))?)
    }

    /// The configuration with which a run would be resumed: its own, with changes that do not alter
    /// what was computed so far.
    ///
    /// # Errors
    /// There is no run, or a change would alter it.
    pub fn resume_config(run: &Path, changes: &[Setting]) -> Result<Config> {
        let folder = RunFolder::new(run);
        folder.reopen()?;
        let mut config = Config::read(&folder.config())?;
        for s in changes {
            let field = crate::config::field(&s.name)?;
            if !RESUMABLE.contains(&field.name) {
                return Err(TrainError::Config {
                    place: s.place.clone(),
                    message: format!(
                        "{} cannot change when a run is resumed; possible are {}. Start a new run with --config {} \
                         for anything else",
                        field.name,
                        RESUMABLE.join(", "),
                        folder.config().display()
                    ),
                });
            }
            config.set(field.name, &s.value)?;
        }
        config.validate()?;
        // The folder may have been moved.
        config.out = Some(run.display().to_string());
        Ok(config)
    }

    /// Continues a run of a model and data set by name, to the same bits as if it had never stopped.
    ///
    /// # Errors
    /// There is no run, it is complete, or a file is damaged.
    pub fn resume(run: &Path) -> Result<Trainer> {
        let config = Self::resume_config(run, &[])?;
        let data = data::load(&config, &Places::of(&config, None), &mut |_| {})?;
        Self::resume_with(config, data)
    }

    /// Continues the run in the configuration's `out` with this data; see [`Trainer::resume_config`].
    ///
    /// # Errors
    /// As [`Trainer::resume`].
    pub fn resume_with(config: Config, data: TrainData) -> Result<Trainer> {
        let model = Self::build_model(&config, &data)?;
        Self::resume_model(config, model, data)
    }

    /// Continues the run in the configuration's `out` with a model built as the run's was.
    ///
    /// # Errors
    /// As [`Trainer::resume`].
    pub fn resume_model(config: Config, model: Box<dyn Layer>, data: TrainData) -> Result<Trainer> {
        let root = config.out.clone().ok_or_else(|| TrainError::config("out: name the run folder to resume"))?;
        let folder = RunFolder::new(root);
        folder.reopen()?;
        let (saved, notes) = checkpoint::latest(&folder.checkpoints())?;
        let epochs = config.epochs;
        let max_steps = config.max_steps;
        let mut trainer = Self::assemble(config, model, data, Some(folder.clone()))?;
        trainer.notes = notes;
        if let Some(c) = saved {
            trainer.restore(c)?;
        } else {
            trainer.notes.push("there is no checkpoint yet: training starts from the beginning".into());
        }
        let p = &trainer.progress;
        let over = p.stopped_early || p.epoch >= epochs || max_steps.is_some_and(|m| p.step >= m);
        if over && folder.result().is_file() {
            return Err(TrainError::run(
                folder.root(),
                format!(
                    "the run is complete after {} epochs and {} steps; give more with --epochs (or --max-steps)",
                    p.epoch, p.step
                ),
            ));
        }
        if folder.result().is_file() {
            std::fs::remove_file(folder.result())
                .map_err(|e| hadal_io::IoError::os("remove the result of", folder.result(), e))?;
        }
        trainer.write_config(&folder)?;
        if folder.metrics().is_file() {
            jsonl::truncate_after(folder.metrics(), "step", trainer.progress.step)?;
        }
        Ok(trainer)
    }

    fn build_model(config: &Config, data: &TrainData) -> Result<Box<dyn Layer>> {
        let options = data.info.model_options(&config.hidden);
        let init = Init::new(config.seed).dtype(config.dtype.dtype());
        Ok(hadal_zoo::build(&config.model, &options, &init)?)
    }

    fn assemble(
        config: Config,
        model: Box<dyn Layer>,
        data: TrainData,
        folder: Option<RunFolder>,
    ) -> Result<Trainer> {
        if config.threads > 0 {
            set_threads(config.threads);
        }
        model.name_layers();
        let ema = config.ema.map(|decay| Ema::new(&*model, decay)).transpose()?;
        let optimizer = config.build_optimizer();
        let progress = Progress::new(config.learning_rate(), config.build_plateau());
        let about = ModelFile {
            model: config.model.clone(),
            options: data.info.model_options(&config.hidden),
            data: data.info.clone(),
            step: 0,
        };
        Ok(Trainer {
            config,
            model,
            data,
            about,
            folder,
            observers: Vec::new(),
            stop: StopHandle::new(),
            optimizer,
            ema,
            best: None,
            progress,
            log: None,
            notes: Vec::new(),
            last_evaluation: None,
        })
    }

    fn restore(&mut self, c: Checkpoint) -> Result<()> {
        self.model.load_state_dict(&c.model, true)?;
        self.optimizer.load_state(&c.optimizer)?;
        if let (Some(ema), Some(saved)) = (&mut self.ema, &c.ema) {
            ema.load_state(saved)?;
        }
        self.best = c.best;
        self.progress = c.progress;
        Ok(())
    }

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
        self.announce(steps_per_epoch);
        let outcome = self.epochs(&loader, &schedule, &mut clock).and_then(|status| {
            if status == Status::Interrupted { Ok((status, None)) } else { Ok((status, self.finish(&clock)?)) }
        });
        let (status, evaluation) = outcome.map_err(|e| self.saving(e))?;
        let summary = self.summary(status, evaluation.as_ref(), &clock);
        if let (Some(folder), true) = (&self.folder, status != Status::Interrupted) {
            // The mark of a complete run.
            let text = json(&summary, &folder.result())?;
            hadal_io::write_atomic(folder.result(), |w| w.write_all(text.as_bytes()))?;
        }
        self.each(|o| o.on_end(&summary));
        Ok(summary)
    }

    fn announce(&mut self, steps_per_epoch: u64) {
        let mut observers = std::mem::take(&mut self.observers);
        let total = self.config.total_steps(steps_per_epoch);
        let start = Start {
            config: &self.config,
            data: &self.data.info,
            train_samples: self.data.train.len(),
            test_samples: self.data.test.len(),
            parameters: self.model.num_parameters(),
            threads: threads(),
            steps_per_epoch,
            total_steps: self.config.max_steps.map_or(total, |m| m.min(total)),
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
        let Some((step, _)) = checkpoints.first() else { return e };
        let resume = format!("hadal train --resume {}", folder.root().display());
        match e {
            TrainError::Io(_) => TrainError::Saving {
                source: Box::new(e),
                kept: format!("training is saved up to step {step}; go on from there with: {resume}"),
            },
            TrainError::Diverged { step: at, epoch, message } => TrainError::Diverged {
                step: at,
                epoch,
                message: format!("{message}\n  the state of step {step} is saved in {}", folder.checkpoints().display()),
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
                stopped |= self.update(loader, &mut batches, schedule)?;
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
            if self.stop.is_stopped() && self.progress.epoch < self.config.epochs && !self.progress.stopped_early {
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
            let weights = self.improved(evaluation.as_ref().map_or(f64::NAN, |e| e.loss)).then(|| self.model.state_dict());
            self.swap_ema()?;
            let evaluation = evaluation?;
            if !evaluation.loss.is_finite() {
                return Err(TrainError::Diverged {
                    step: record.step,
                    epoch: record.epoch,
                    message: "the held-out loss is not finite, though every training loss was; try a lower --lr".into(),
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
            p.stopped_early = p.bad_epochs > patience;
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
        };
        let dir = folder.checkpoints();
        let path = c.write(&dir)?;
        drop(c);
        checkpoint::prune(&dir, self.config.keep_checkpoints)?;
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

    fn log_step(&mut self, r: &StepRecord) -> Result<()> {
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

    fn log_epoch(&mut self, r: &EpochRecord) -> Result<()> {
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

impl Clock {
    fn seconds(&self) -> f64 {
        self.seconds_before + self.start.elapsed().as_secs_f64()
    }
}

/// Seconds since 1970.
fn wall_time() -> f64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs_f64()
}

/// `runs/<model>-<time>`, with a number behind it when another run began in the same second.
fn free_folder(model: &str) -> PathBuf {
    let first = default_folder(model, wall_time() as u64);
    let numbered = (2..1000).map(|n| PathBuf::from(format!("{}-{n}", first.display())));
    let mut candidates = std::iter::once(first.clone()).chain(numbered);
    candidates.find(|p| !p.exists()).unwrap_or(first)
}
