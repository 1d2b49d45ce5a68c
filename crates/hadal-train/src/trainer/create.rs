//! Beginning a run, and opening one to continue it.

use super::Trainer;
use super::log::wall_time;
use crate::checkpoint::{self, Checkpoint, Progress};
use crate::config::{Config, RESUMABLE, Setting};
use crate::data::{self, Places, TrainData};
use crate::model_file::{ModelFile, json};
use crate::run::{Lock, RunFolder, default_folder};
use crate::{Result, StopHandle, TrainError};
use hadal_io::jsonl;
use hadal_nn::{Init, Layer, Module};
use hadal_optim::Ema;
use hadal_tensor::set_threads;
use std::path::{Path, PathBuf};

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
            let lock = folder.create()?;
            config.out = Some(folder.root().display().to_string());
            Some((folder, lock))
        } else {
            None
        };
        let trainer = Self::assemble(config, model, data, folder)?;
        if let Some(folder) = &trainer.folder {
            let about = json(&trainer.about, &folder.about())? + "\n";
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
        folder.check()?;
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
        let root =
            config.out.clone().ok_or_else(|| TrainError::config("out: name the run folder to resume"))?;
        let folder = RunFolder::new(root);
        let lock = folder.reopen()?;
        let checkpoint::Found { latest, notes, damaged } = checkpoint::find(&folder.checkpoints())?;
        let epochs = config.epochs;
        let max_steps = config.max_steps;
        let mut trainer = Self::assemble(config, model, data, Some((folder.clone(), lock)))?;
        trainer.notes.extend(notes);
        let before = Config::read(&folder.config())?;
        if before.epochs != epochs && trainer.config.looks_at_the_end() {
            trainer.notes.push(format!(
                "the {} schedule now ends after {epochs} epochs, not {}: the learning rate jumps",
                trainer.config.schedule, before.epochs
            ));
        }
        let early_stop = before.early_stop;
        if let Some((_, c)) = latest {
            trainer.restore(c, early_stop)?;
        } else {
            trainer.notes.push("there is no checkpoint yet: training starts from the beginning".into());
        }
        let p = &trainer.progress;
        let over = p.stopped_early || p.epoch >= epochs || max_steps.is_some_and(|m| p.step >= m);
        if p.stopped_early && folder.result().is_file() {
            return Err(TrainError::run(
                folder.root(),
                format!(
                    "the run stopped early after {} epochs and {} steps, and its best weights are kept: it is \
                     complete, whatever --epochs; go on with a larger --early-stop than {}, or with --early-stop none",
                    p.epoch,
                    p.step,
                    trainer.config.early_stop.unwrap_or_default()
                ),
            ));
        }
        if over && folder.result().is_file() {
            return Err(TrainError::run(
                folder.root(),
                format!(
                    "the run is complete after {} epochs and {} steps; give more with --epochs (or --max-steps)",
                    p.epoch, p.step
                ),
            ));
        }
        checkpoint::set_aside(&damaged);
        folder.remove_result()?;
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
        folder: Option<(RunFolder, Lock)>,
    ) -> Result<Trainer> {
        let (folder, lock) = folder.unzip();
        if config.threads > 0 {
            set_threads(config.threads);
        }
        model.name_layers();
        let ema = config.ema.map(|decay| Ema::new(&*model, decay)).transpose()?;
        let optimizer = config.build_optimizer();
        let progress = Progress::new(config.base_rate(), config.build_plateau());
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
            notes: lock.as_ref().and_then(Lock::note).into_iter().collect(),
            _lock: lock,
            last_evaluation: None,
            recording: None,
        })
    }

    fn restore(&mut self, c: Checkpoint, early_stop_before: Option<u64>) -> Result<()> {
        self.model.load_state_dict(&c.model, true)?;
        // Every moment has its parameter's shape; a file that says otherwise would broadcast.
        let params = self.model.parameters();
        for (name, t) in &c.optimizer.tensors {
            let of = params
                .iter()
                .find(|(p, _)| name.strip_prefix(p.as_str()).is_some_and(|r| r.starts_with('.')));
            if of.is_none_or(|(_, p)| p.shape() != *t.shape()) {
                return Err(TrainError::config(format!(
                    "the checkpoint's optimizer tensor {name} {} belongs to no parameter of this model",
                    t.shape()
                )));
            }
        }
        self.optimizer.load_state(&c.optimizer)?;
        if let (Some(ema), Some(saved)) = (&mut self.ema, &c.ema) {
            ema.load_state(saved)?;
        }
        self.best = c.best;
        self.progress = c.progress;
        self.change_patience(early_stop_before)
    }

    /// Early stopping may become more patient, or go: then the run ends in the same bits as one that had
    /// it so from the start, since until it ends a run early stopping changes nothing but what it keeps.
    fn change_patience(&mut self, before: Option<u64>) -> Result<()> {
        let (now, p) = (self.config.early_stop, &mut self.progress);
        match (before, now) {
            (Some(before), Some(now)) if now >= before => p.stopped_early = p.bad_epochs >= now,
            (_, None) => {
                (p.best_loss, p.bad_epochs, p.stopped_early) = (None, 0, false);
                self.best = None;
            }
            (before, Some(now)) => {
                let was = before.map_or("none".to_owned(), |b| b.to_string());
                return Err(TrainError::config(format!(
                    "early-stop: is {was} in this run, and can only become larger or none when it is resumed, not \
                     {now}: the epochs until here would have been judged differently"
                )));
            }
        }
        Ok(())
    }
}

/// `runs/<model>-<time>`, with a number behind it when another run began in the same second.
fn free_folder(model: &str) -> PathBuf {
    let first = default_folder(model, wall_time() as u64);
    let numbered = (2..1000).map(|n| PathBuf::from(format!("{}-{n}", first.display())));
    let mut candidates = std::iter::once(first.clone()).chain(numbered);
    candidates.find(|p| !p.exists()).unwrap_or(first)
}
