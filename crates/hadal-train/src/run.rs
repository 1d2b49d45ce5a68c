//! Run folders: what is where, and opening a run to use its model.

use crate::checkpoint::{self, Checkpoint, Found, remove_temporaries};
use crate::data::{Places, load_test_like};
use crate::metrics::Record;
use crate::model_file::{ModelFile, load_model};
use crate::plot::RunCurves;
use crate::predict::Predictor;
use crate::{Config, Evaluation, Result, TrainError, evaluate};
use hadal_data::FetchEvent;
use hadal_nn::{Init, Layer, Module};
use hadal_tensor::DType;
use std::path::{Path, PathBuf};

/// Names in a run folder.
#[derive(Clone, Debug)]
pub struct RunFolder {
    root: PathBuf,
}

impl RunFolder {
    /// A folder, which need not exist.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }
    /// The folder.
    pub fn root(&self) -> &Path {
        &self.root
    }
    /// The configuration in full.
    pub fn config(&self) -> PathBuf {
        self.root.join("config.toml")
    }
    /// A line of metrics per step and epoch.
    pub fn metrics(&self) -> PathBuf {
        self.root.join("metrics.jsonl")
    }
    /// Checkpoints.
    pub fn checkpoints(&self) -> PathBuf {
        self.root.join("checkpoints")
    }
    /// What describes the model, while there are no final weights yet.
    pub fn about(&self) -> PathBuf {
        self.root.join("model.json")
    }
    /// The final weights.
    pub fn model(&self) -> PathBuf {
        self.root.join("model.safetensors")
    }
    /// The end of a completed run, written last.
    pub fn result(&self) -> PathBuf {
        self.root.join("result.json")
    }
    /// Locked by the process that trains the run; the lock ends with the process, the file stays.
    pub fn lock_file(&self) -> PathBuf {
        self.root.join("lock")
    }
    /// A picture by name.
    pub fn picture(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// Makes the folder for a new run, and locks it.
    ///
    /// # Errors
    /// There is something already, or it cannot be made.
    pub(crate) fn create(&self) -> Result<Lock> {
        let no_run = || {
            if !self.config().exists() {
                return Ok(());
            }
            Err(TrainError::run(
                &self.root,
                format!(
                    "there is a run already; continue it with --resume {}, or choose another folder with --out",
                    self.root.display()
                ),
            ))
        };
        no_run()?;
        let entries = std::fs::read_dir(&self.root);
        if entries.is_ok_and(|mut e| e.next().is_some()) {
            return Err(TrainError::run(&self.root, "the folder is not empty; choose another with --out"));
        }
        for dir in [&self.root, &self.checkpoints()] {
            std::fs::create_dir_all(dir).map_err(|e| hadal_io::IoError::os("make the run folder", dir, e))?;
        }
        let lock = self.lock()?;
        // Another process may have begun and ended a run here between the look and the lock.
        no_run()?;
        Ok(lock)
    }

    /// Locks the run against other processes, for as long as the result lives.
    fn lock(&self) -> Result<Lock> {
        let path = self.lock_file();
        let file = std::fs::File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .map_err(|e| hadal_io::IoError::os("make the lock", &path, e))?;
        match file.try_lock() {
            Ok(()) => Ok(Lock(Some(file))),
            Err(std::fs::TryLockError::WouldBlock) => Err(TrainError::run(
                &self.root,
                "another process is training this run; wait for its end, or stop it first",
            )),
            // Some network file systems have no locks; they shall be no reason not to train.
            Err(std::fs::TryLockError::Error(_)) => Ok(Lock(None)),
        }
    }

    /// Whether there is a run that can be continued.
    pub(crate) fn check(&self) -> Result<()> {
        if !self.config().is_file() {
            let message = if self.root.is_dir() {
                "there is no config.toml: this is no run folder, or the run was killed before it began; start it anew"
            } else {
                "there is no such run folder; look for it under runs/"
            };
            return Err(TrainError::run(&self.root, message));
        }
        Ok(())
    }

    /// Locks an existing run's folder and makes it ready to be continued.
    pub(crate) fn reopen(&self) -> Result<Lock> {
        self.check()?;
        let lock = self.lock()?;
        remove_temporaries(&self.root);
        remove_temporaries(&self.checkpoints());
        let dir = self.checkpoints();
        std::fs::create_dir_all(&dir).map_err(|e| hadal_io::IoError::os("make the run folder", &dir, e))?;
        Ok(lock)
    }

    /// Removes what says that the run is complete, and its final weights: they are not those of a run
    /// that goes on. The weights last: what is left when this is interrupted, the next call removes.
    pub(crate) fn remove_result(&self) -> Result<()> {
        for path in [self.result(), self.model()] {
            if path.is_file() {
                std::fs::remove_file(&path)
                    .map_err(|e| hadal_io::IoError::os("remove the earlier result", &path, e))?;
            }
        }
        Ok(())
    }
}

/// Keeps other processes from training the same run while it lives; `None` where there are no locks.
#[derive(Debug)]
pub(crate) struct Lock(Option<std::fs::File>);

impl Drop for Lock {
    fn drop(&mut self) {
        if let Some(file) = &self.0 {
            // Closing alone would leave it locked for as long as a process that another thread is just
            // starting has a copy of the open file.
            let _ = file.unlock();
        }
    }
}

impl Lock {
    /// What the user should know when the file system has no locks.
    pub(crate) fn note(&self) -> Option<String> {
        let text =
            "the run folder's file system has no locks: take care that no other process trains this run";
        self.0.is_none().then(|| text.to_owned())
    }
}

/// `runs/<model>-<time>`, the time being UTC as `20261121-101250`.
pub fn default_folder(model: &str, unix_seconds: u64) -> PathBuf {
    let (days, rest) = (unix_seconds / 86_400, unix_seconds % 86_400);
    // Howard Hinnant's days-to-civil algorithm, for days since 1970.
    let z = days + 719_468;
    let (era, doe) = (z / 146_097, z % 146_097);
    let yoe = (doe - doe / 1460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let (day, month) = (doy - (153 * mp + 2) / 5 + 1, if mp < 10 { mp + 3 } else { mp - 9 });
    let year = yoe + era * 400 + u64::from(month <= 2);
    let (h, m, s) = (rest / 3600, rest / 60 % 60, rest % 60);
    Path::new("runs").join(format!("{model}-{year:04}{month:02}{day:02}-{h:02}{m:02}{s:02}"))
}

/// A run, opened to use its model.
pub struct Run {
    folder: RunFolder,
    config: Option<Config>,
    about: ModelFile,
    model: Box<dyn Layer>,
    source: PathBuf,
    notes: Vec<String>,
}

impl Run {
    /// Opens a run folder, a weights file that training wrote, or a checkpoint. Where a run has no final
    /// weights yet, or they are damaged, those of its latest checkpoint are taken; of damage [`Run::notes`]
    /// tells.
    ///
    /// # Errors
    /// There is no such run, it has no weights yet, or a file is damaged and nothing can stand in for it.
    pub fn open(path: &Path) -> Result<Run> {
        if path.is_file() {
            let parent = path.parent().unwrap_or(Path::new("."));
            if Checkpoint::is_one(path) {
                let folder = RunFolder::new(parent.parent().unwrap_or(parent));
                let config = Config::read(&folder.config()).ok();
                return Self::of_checkpoint(folder, config, path.to_path_buf(), Checkpoint::read(path)?);
            }
            let (model, about) = load_model(path)?;
            let folder = RunFolder::new(parent);
            let config = Config::read(&folder.config()).ok();
            return Ok(Run { folder, config, about, model, source: path.to_path_buf(), notes: Vec::new() });
        }
        let folder = RunFolder::new(path);
        if !path.is_dir() {
            return Err(TrainError::run(
                path,
                "there is no such run folder or weights file; look under runs/",
            ));
        }
        let config = if folder.config().is_file() { Some(Config::read(&folder.config())?) } else { None };
        let mut damage = None;
        if folder.model().is_file() {
            match load_model(&folder.model()) {
                Ok((model, about)) => {
                    let source = folder.model();
                    return Ok(Run { folder, config, about, model, source, notes: Vec::new() });
                }
                // Only for a file that is broken: another error would come from a checkpoint too.
                Err(e @ TrainError::Io(_)) => damage = Some(e),
                Err(e) => return Err(e),
            }
        }
        let found = match (checkpoint::find(&folder.checkpoints()), damage) {
            (Ok(Found { latest: Some(latest), notes, .. }), damage) => (latest, notes, damage),
            (_, Some(damage)) => return Err(damage),
            (Err(e), None) => return Err(e),
            (Ok(_), None) => {
                return Err(TrainError::run(
                    path,
                    "there are no weights: neither model.safetensors nor a checkpoint; train first",
                ));
            }
        };
        let ((source, checkpoint), mut notes, damage) = found;
        if let Some(e) = damage {
            notes.insert(
                0,
                format!("{e}\n  using the run's last checkpoint, of step {}", checkpoint.progress.step),
            );
        }
        let run = Self::of_checkpoint(folder, config, source, checkpoint)?;
        Ok(Run { notes, ..run })
    }

    /// With a checkpoint's weights.
    fn of_checkpoint(
        folder: RunFolder,
        config: Option<Config>,
        source: PathBuf,
        c: Checkpoint,
    ) -> Result<Run> {
        let about = match c.about {
            Some(about) => about,
            // Of an earlier version.
            None => {
                let path = folder.about();
                let text = std::fs::read_to_string(&path)
                    .map_err(|e| hadal_io::IoError::os("read the model's description", &path, e))?;
                ModelFile::from_json(&text, &path)?
            }
        };
        let dtype = c.model.first().map_or(DType::F32, |(_, t)| t.dtype());
        let model = hadal_zoo::build(&about.model, &about.options, &Init::new(0).dtype(dtype))?;
        model.name_layers();
        // As the finished run would: the best, or the averages where there are some.
        model.load_state_dict(c.best.as_ref().or(c.ema.as_ref()).unwrap_or(&c.model), true)?;
        let about = ModelFile { step: c.progress.step, ..about };
        Ok(Run { folder, config, about, model, source, notes: Vec::new() })
    }

    /// What the user should know of how it was opened: damage, and what was taken instead.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }
    /// The folder.
    pub fn folder(&self) -> &RunFolder {
        &self.folder
    }
    /// The configuration; `None` for a weights file outside a run folder.
    pub fn config(&self) -> Option<&Config> {
        self.config.as_ref()
    }
    /// What the weights are of.
    pub fn about(&self) -> &ModelFile {
        &self.about
    }
    /// The model.
    pub fn model(&self) -> &dyn Layer {
        &*self.model
    }
    /// The file the weights are from.
    pub fn source(&self) -> &Path {
        &self.source
    }

    /// Evaluates on the test part of the run's data set, or of another.
    ///
    /// # Errors
    /// The data is not there or does not fit.
    pub fn evaluate(
        &self,
        data: Option<&str>,
        places: &Places,
        batch_size: usize,
        progress: &mut dyn FnMut(FetchEvent<'_>),
    ) -> Result<Evaluation> {
        let seed = self.config.as_ref().map_or(0, |c| c.seed);
        let name = data.unwrap_or(&self.about.data.name);
        let set = load_test_like(&self.about.data, name, seed, places, progress)?;
        evaluate(&*self.model, &set, &self.about.data.task, batch_size)
    }

    /// For predictions on images.
    ///
    /// # Errors
    /// The model does not classify images.
    pub fn predictor(&self) -> Result<Predictor<'_>> {
        Predictor::new(&*self.model, &self.about.data)
    }

    /// The curves of a run folder's metrics over epochs, named after the folder.
    ///
    /// # Errors
    /// The metrics cannot be read.
    pub fn curves(path: &Path) -> Result<RunCurves> {
        let folder = RunFolder::new(path);
        let records: Vec<Record> = hadal_io::jsonl::read(folder.metrics())?;
        let name =
            path.file_name().map_or_else(|| path.display().to_string(), |n| n.to_string_lossy().into_owned());
        let mut curves = RunCurves { name, ..Default::default() };
        for record in records {
            let Record::Epoch(e) = record else { continue };
            let x = e.epoch as f64;
            curves.train_loss.push((x, e.train_loss));
            curves.test_loss.extend(e.held_out_loss().map(|y| (x, y)));
            curves.train_accuracy.extend(e.train_accuracy.map(|y| (x, y)));
            curves.test_accuracy.extend(e.held_out_accuracy().map(|y| (x, y)));
        }
        Ok(curves)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folder_names_carry_the_utc_time() {
        let name = |t| default_folder("lenet", t).display().to_string();
        assert_eq!(name(0), "runs/lenet-19700101-000000");
        // date -u -d @1795255970
        assert_eq!(name(1_795_255_970), "runs/lenet-20261121-101250");
        // The 29th of February.
        assert_eq!(name(1_709_164_800), "runs/lenet-20240229-000000");
    }
}
