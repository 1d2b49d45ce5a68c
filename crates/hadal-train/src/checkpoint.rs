//! Everything a run needs to go on with the same bits, in one file that is there whole or not at all.
//!
//! A checkpoint is a safetensors file: weights as `model.<name>`, moments as `optimizer.<name>`,
//! averages as `ema.<name>`, the best weights so far as `best.<name>`; and the numbers and the model's
//! description as JSON in the metadata. Random numbers need no state: every stream is a function of seed
//! and step. A digest of the whole file is in the metadata too (`hadal_io::safetensors::write_sealed`):
//! damage anywhere is noticed, and [`latest`] takes the checkpoint before. Files without one still load.

use crate::model_file::{self, ModelFile, json, raw, tensors, write};
use crate::{Result, TrainError};
use hadal_data::LoaderState;
use hadal_io::safetensors;
use hadal_optim::{OptimizerState, Plateau};
use hadal_tensor::Tensor;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

const KEY: &str = "hadal-checkpoint";
const PREFIX: &str = "step-";
const SUFFIX: &str = ".safetensors";
/// Increased when the meaning of a field changes.
const VERSION: u32 = 1;

/// The numbers of a run between two updates.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Progress {
    /// The format's version.
    pub version: u32,
    /// Updates made.
    pub step: u64,
    /// Batches taken since the start: numbers the streams of randomness.
    pub batches: u64,
    /// Epochs completed.
    pub epoch: u64,
    /// Position in the data, within an epoch.
    pub position: Option<LoaderState>,
    /// Sum of the samples' losses in this epoch.
    pub loss_sum: f64,
    /// Right answers in this epoch.
    pub correct: u64,
    /// Samples in this epoch.
    pub seen: u64,
    /// Base of the learning rate, as the plateau rule has left it.
    pub base_lr: f64,
    /// The plateau rule.
    pub plateau: Option<Plateau>,
    /// Lowest held-out loss, for early stopping.
    pub best_loss: Option<f64>,
    /// Epochs since then.
    pub bad_epochs: u64,
    /// Whether early stopping has ended the run.
    pub stopped_early: bool,
    /// Seconds of training so far.
    pub seconds: f64,
    /// Seconds of training in this epoch.
    pub epoch_seconds: f64,
}

impl Progress {
    /// The beginning.
    pub fn new(base_lr: f64, plateau: Option<Plateau>) -> Self {
        Self {
            version: VERSION,
            step: 0,
            batches: 0,
            epoch: 0,
            position: None,
            loss_sum: 0.0,
            correct: 0,
            seen: 0,
            base_lr,
            plateau,
            best_loss: None,
            bad_epochs: 0,
            stopped_early: false,
            seconds: 0.0,
            epoch_seconds: 0.0,
        }
    }
}

/// A run between two updates.
#[derive(Clone, Debug)]
pub struct Checkpoint {
    /// The numbers.
    pub progress: Progress,
    /// Parameters and buffers.
    pub model: Vec<(String, Tensor)>,
    /// The optimizer.
    pub optimizer: OptimizerState,
    /// Averages of the weights.
    pub ema: Option<Vec<(String, Tensor)>>,
    /// Weights of the best epoch.
    pub best: Option<Vec<(String, Tensor)>>,
    /// What the weights are of; files of earlier versions do not say.
    pub about: Option<ModelFile>,
}

/// The optimizer without its tensors.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Numbers {
    rule: String,
    lr: f64,
    steps: u64,
    params: BTreeMap<String, (u64, f64)>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    progress: Progress,
    optimizer: Numbers,
    ema: bool,
    best: bool,
}

impl Checkpoint {
    /// Writes it into a folder as `step-<updates>.safetensors`; gives the path.
    ///
    /// # Errors
    /// The file cannot be written; older checkpoints are intact.
    pub fn write(&self, folder: &Path) -> Result<PathBuf> {
        let path = path_of(folder, self.progress.step);
        let header = Header {
            progress: self.progress.clone(),
            optimizer: Numbers {
                rule: self.optimizer.rule.clone(),
                lr: self.optimizer.lr,
                steps: self.optimizer.steps,
                params: self.optimizer.numbers.clone(),
            },
            ema: self.ema.is_some(),
            best: self.best.is_some(),
        };
        let none = Vec::new();
        let parts = [
            ("model", &self.model),
            ("optimizer", &self.optimizer.tensors),
            ("ema", self.ema.as_ref().unwrap_or(&none)),
            ("best", self.best.as_ref().unwrap_or(&none)),
        ];
        let mut all = Vec::new();
        for (part, tensors) in parts {
            all.extend(raw(tensors)?.into_iter().map(|(n, t)| (format!("{part}.{n}"), t)));
        }
        let mut metadata = BTreeMap::from([(KEY.to_owned(), json(&header, &path)?)]);
        if let Some(about) = &self.about {
            metadata.insert(model_file::KEY.to_owned(), json(about, &path)?);
        }
        write(&path, &all, &metadata)?;
        Ok(path)
    }

    /// Reads one.
    ///
    /// # Errors
    /// The file is damaged, or no checkpoint.
    pub fn read(path: &Path) -> Result<Checkpoint> {
        let file = safetensors::read(path)?;
        let Some(text) = file.metadata.get(KEY) else {
            return Err(TrainError::run(path, "this is no checkpoint; it has no state of training"));
        };
        let header: Header = serde_json::from_str(text)
            .map_err(|e| TrainError::run(path, format!("its state of training cannot be read: {e}")))?;
        if header.progress.version != VERSION {
            return Err(TrainError::run(
                path,
                format!("is of version {}, this program reads {VERSION}", header.progress.version),
            ));
        }
        let about = file.metadata.get(model_file::KEY).map(|t| ModelFile::from_json(t, path)).transpose()?;
        let mut parts: BTreeMap<String, Vec<_>> = BTreeMap::new();
        for (name, t) in file.tensors {
            let Some((part, rest)) = name.split_once('.') else {
                return Err(TrainError::run(
                    path,
                    format!("tensor {name} belongs to no part of a checkpoint"),
                ));
            };
            parts.entry(part.to_owned()).or_default().push((rest.to_owned(), t));
        }
        let mut take = |part: &str| tensors(parts.remove(part).unwrap_or_default());
        let n = header.optimizer;
        Ok(Checkpoint {
            progress: header.progress,
            model: take("model"),
            optimizer: OptimizerState {
                rule: n.rule,
                lr: n.lr,
                steps: n.steps,
                numbers: n.params,
                tensors: take("optimizer"),
            },
            ema: header.ema.then(|| take("ema")),
            best: header.best.then(|| take("best")),
            about,
        })
    }

    /// Whether a file says that it is one; what is in it is not checked.
    pub(crate) fn is_one(path: &Path) -> bool {
        safetensors::inspect(path).is_ok_and(|h| h.metadata.contains_key(KEY))
    }
}

fn path_of(folder: &Path, step: u64) -> PathBuf {
    folder.join(format!("{PREFIX}{step:010}{SUFFIX}"))
}

/// Checkpoints of a folder by updates, the latest first. A missing folder has none.
///
/// # Errors
/// The folder cannot be listed.
pub fn list(folder: &Path) -> Result<Vec<(u64, PathBuf)>> {
    let os = |e| TrainError::Io(hadal_io::IoError::os("list the checkpoints in", folder, e));
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(os(e)),
    };
    let mut found = Vec::new();
    for entry in entries {
        let path = entry.map_err(os)?.path();
        let name = path.file_name().and_then(|n| n.to_str());
        let step = name.and_then(|n| n.strip_prefix(PREFIX)?.strip_suffix(SUFFIX)?.parse().ok());
        if let Some(step) = step {
            found.push((step, path));
        }
    }
    found.sort();
    found.reverse();
    Ok(found)
}

/// The latest checkpoint that can be read, and notes on later ones that cannot.
///
/// # Errors
/// There are checkpoints, but none can be read: the error of the latest, and what to do.
pub fn latest(folder: &Path) -> Result<(Option<Checkpoint>, Vec<String>)> {
    let found = find(folder)?;
    Ok((found.latest.map(|(_, c)| c), found.notes))
}

/// What [`find`] finds.
pub(crate) struct Found {
    /// The latest that can be read, and its file.
    pub latest: Option<(PathBuf, Checkpoint)>,
    /// On later ones that cannot be read.
    pub notes: Vec<String>,
    /// Those.
    pub damaged: Vec<PathBuf>,
}

/// Looks for the latest checkpoint that can be read.
pub(crate) fn find(folder: &Path) -> Result<Found> {
    let (mut errors, mut damaged) = (Vec::new(), Vec::new());
    for (step, path) in list(folder)? {
        match Checkpoint::read(&path) {
            Ok(c) => {
                let instead = |e: &TrainError| {
                    format!("skipped a checkpoint: {e}\n  going on from the one before, of step {step}")
                };
                let notes = errors.iter().map(instead).collect();
                return Ok(Found { latest: Some((path, c)), notes, damaged });
            }
            Err(e) => {
                errors.push(e);
                damaged.push(path);
            }
        }
    }
    let count = errors.len();
    match errors.into_iter().next() {
        None => Ok(Found { latest: None, notes: Vec::new(), damaged }),
        Some(e) if count == 1 => Err(TrainError::run(
            folder,
            format!(
                "{e}\n  there is no earlier checkpoint: restore this one from a backup, or start a new run"
            ),
        )),
        Some(e) => Err(TrainError::run(
            folder,
            format!(
                "none of the {count} checkpoints can be read; restore one from a backup, or start a new run. The \
                 latest: {e}"
            ),
        )),
    }
}

/// Puts files that cannot be read out of the way, under a name that is not looked for, so that they do
/// not count among those that are kept.
pub(crate) fn set_aside(damaged: &[PathBuf]) {
    for path in damaged {
        let mut name = path.clone().into_os_string();
        name.push(".damaged");
        // One that stays where it is is skipped again.
        let _ = std::fs::rename(path, name);
    }
}

/// Removes all but the latest `keep` checkpoints of those up to step `now`. Later ones can only be
/// files that could not be read: they must not push out what a resumed run has just written.
///
/// # Errors
/// A file cannot be removed.
pub fn prune(folder: &Path, keep: usize, now: u64) -> Result<()> {
    for (_, path) in list(folder)?.into_iter().filter(|(step, _)| *step <= now).skip(keep) {
        std::fs::remove_file(&path)
            .map_err(|e| hadal_io::IoError::os("remove the old checkpoint", &path, e))?;
    }
    Ok(())
}

/// Removes what a killed process left half-written in a folder.
pub(crate) fn remove_temporaries(folder: &Path) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let stale = name.to_str().is_some_and(|n| n.starts_with('.') && n.ends_with(".tmp"));
        if stale {
            // One that cannot be removed costs space, nothing else.
            let _ = std::fs::remove_file(entry.path());
        }
    }
}
