//! The configuration of a run: one list of fields, from which the TOML file, the flags of `hadal
//! train` and the help texts come.

mod idle;
mod recipe;
mod resolve;
mod value;

pub use recipe::recipe;
pub use value::{Augment, Height, NormType, OptimizerKind, Precision, ScheduleKind, Value};

use crate::{Result, TrainError};
use hadal_zoo::nearest;
use std::path::Path;

/// What is known of a field.
#[derive(Clone, Copy, Debug)]
pub struct Field {
    /// Name in the file, and the flag without its dashes.
    pub name: &'static str,
    /// What it means, its unit, its default.
    pub help: &'static str,
    /// What to write: `N`, `X`, `NAME`, `BOOL`, `N,N,...`.
    pub kind: &'static str,
    /// The words that are possible, where only some are.
    pub choices: &'static [&'static str],
    /// Whether it is on unless it is switched off.
    pub on: bool,
}

macro_rules! fields {
    ($( $(#[doc = $doc:literal])+ $field:ident $name:literal: $t:ty = $default:expr; )*) => {
        /// How to train: every field with its default. See [`FIELDS`] for the list with help texts.
        ///
        /// ```
        /// use hadal_train::Config;
        /// let mut config = Config::default();
        /// config.set("batch-size", "128")?;
        /// assert_eq!(config.batch_size, 128);
        /// let e = config.set("batchsize", "128").unwrap_err();
        /// assert!(e.to_string().starts_with("there is no field 'batchsize' (did you mean 'batch-size'?)"));
        /// # Ok::<(), hadal_train::TrainError>(())
        /// ```
        #[derive(Clone, Debug, PartialEq)]
        pub struct Config { $( $(#[doc = $doc])+ pub $field: $t, )* }

        impl Default for Config {
            /// LeNet on the embedded digits.
            fn default() -> Self { Self { $( $field: $default, )* } }
        }

        /// All fields, in the order of the file.
        pub static FIELDS: &[Field] = &[ $( Field {
            name: $name,
            help: concat!($($doc),+),
            kind: <$t as Value>::KIND,
            choices: <$t as Value>::CHOICES,
            on: is_on(stringify!($default)),
        }, )* ];

        impl Config {
            fn assign(&mut self, name: &str, text: &str) -> Option<Result<(), String>> {
                match name {
                    $( $name => Some(<$t as Value>::parse(text).map(|v| self.$field = v)), )*
                    _ => None,
                }
            }
            /// A field's value as TOML has it; `None` where there is none, or no such field.
            pub fn get(&self, name: &str) -> Option<String> {
                match name {
                    $( $name => self.$field.toml(), )*
                    _ => None,
                }
            }
        }
    };
}

const fn is_on(default: &str) -> bool {
    matches!(default.as_bytes(), b"true")
}

fields! {
    /// Model, by name: `hadal inspect` lists them.
    model "model": String = "lenet".into();
    /// Units of each hidden layer, for models that have them.
    hidden "hidden": Vec<usize> = vec![256];
    /// Data set, by name: `hadal data list` lists them; `linear` is d2l's synthetic line.
    data "data": String = "digits".into();
    /// Folder that holds the data set's files; only it is looked at then.
    data_dir "data-dir": Option<String> = None;
    /// Folder that downloaded data sets are kept in.
    cache_dir "cache-dir": Option<String> = None;
    /// Whether to download a data set that is not there.
    download "download": bool = true;
    /// Passes over the training data.
    epochs "epochs": u64 = 15;
    /// Stop after so many updates, whatever the epoch; the schedule keeps the length of all epochs.
    max_steps "max-steps": Option<u64> = None;
    /// Samples in a batch.
    batch_size "batch-size": usize = 64;
    /// Batches whose gradients are averaged before each update.
    accumulate "accumulate": usize = 1;
    /// Update rule.
    optimizer "optimizer": OptimizerKind = OptimizerKind::AdamW;
    /// Learning rate at its highest; without it, the optimizer's usual one.
    lr "lr": Option<f64> = Some(0.01);
    /// Momentum, of sgd and rmsprop.
    momentum "momentum": f64 = 0.0;
    /// Nesterov's momentum, of sgd.
    nesterov "nesterov": bool = false;
    /// Dampening of momentum, of sgd.
    dampening "dampening": f64 = 0.0;
    /// Weight decay; without it, the optimizer's usual one.
    weight_decay "weight-decay": Option<f64> = None;
    /// Whether weight decay also acts on biases and other vectors.
    decay_vectors "decay-vectors": bool = true;
    /// Factor on the absolute value of weights in the loss (L1).
    l1 "l1": f64 = 0.0;
    /// Decay of the first moment; without it, the optimizer's usual one.
    beta1 "beta1": Option<f64> = None;
    /// Decay of the second moment; without it, the optimizer's usual one.
    beta2 "beta2": Option<f64> = None;
    /// Smallest denominator; without it, the optimizer's usual one.
    eps "eps": Option<f64> = None;
    /// Decay of the mean square, of rmsprop (alpha) and adadelta (rho).
    rho "rho": Option<f64> = None;
    /// The AMSGrad variant, of adam and adamw.
    amsgrad "amsgrad": bool = false;
    /// The centred variant, of rmsprop.
    centered "centered": bool = false;
    /// How the learning rate moves.
    schedule "schedule": ScheduleKind = ScheduleKind::OneCycle;
    /// Updates in which the rate rises in a line to `lr`, before the schedule.
    warmup "warmup": u64 = 0;
    /// Where the warm-up begins, as a share of `lr`.
    warmup_start "warmup-start": f64 = 0.1;
    /// Lowest rate, of factor, cosine, cosine-restarts, cyclic and plateau.
    lr_min "lr-min": f64 = 0.0;
    /// Factor, of factor, multi-step, exponential and plateau; of cyclic with falling heights.
    lr_factor "lr-factor": f64 = 0.1;
    /// Epochs between changes, of factor.
    lr_every "lr-every": f64 = 1.0;
    /// Epochs of the changes, of multi-step.
    lr_milestones "lr-milestones": Vec<f64> = vec![];
    /// Exponent, of polynomial.
    lr_power "lr-power": f64 = 1.0;
    /// Last rate as a share of `lr`, of linear.
    lr_end "lr-end": f64 = 0.0;
    /// Share of the updates with rising rate, of one-cycle.
    lr_rise "lr-rise": f64 = 0.3;
    /// Epochs of the first cosine, of cosine-restarts.
    restart_epochs "restart-epochs": f64 = 1.0;
    /// Growth of each further cosine, of cosine-restarts.
    restart_mult "restart-mult": u64 = 2;
    /// Epochs of a way up to `lr`, of cyclic.
    cycle_up "cycle-up": f64 = 1.0;
    /// Epochs of a way down to `lr-min`, of cyclic; without it, those of a way up.
    cycle_down "cycle-down": Option<f64> = None;
    /// How high a cycle is, of cyclic: falling is times `lr-factor` each epoch.
    cycle_height "cycle-height": Height = Height::Constant;
    /// Epochs without a lower loss before the rate falls, of plateau.
    plateau_patience "plateau-patience": u64 = 2;
    /// Longest gradient; longer ones are shortened to it.
    clip_norm "clip-norm": Option<f64> = None;
    /// The p of the norm that is clipped by and logged: a number above 0, or inf.
    clip_norm_type "clip-norm-type": NormType = NormType(2.0);
    /// Largest absolute value of a gradient's element; larger ones are cut.
    clip_value "clip-value": Option<f64> = None;
    /// Share of each label that is spread over all classes.
    label_smoothing "label-smoothing": f64 = 0.0;
    /// Decay of a moving average of the weights, which is then evaluated and saved (0.999, say).
    ema "ema": Option<f64> = None;
    /// Stop after so many epochs without a lower held-out loss, and keep the best weights.
    early_stop "early-stop": Option<u64> = None;
    /// Random changes of training images.
    augment "augment": Augment = Augment::Light;
    /// Share of the training data held out for validation; without it, epochs are judged by the test part.
    valid_fraction "valid-fraction": f64 = 0.0;
    /// Seed of everything random: weights, order, augmentation, dropout.
    seed "seed": u64 = 0;
    /// Threads that compute; 0 takes all cores. Results do not depend on it.
    threads "threads": usize = 0;
    /// Threads that read data ahead; 0 reads between steps. Results do not depend on it.
    workers "workers": usize = 0;
    /// Number type of weights and arithmetic.
    dtype "dtype": Precision = Precision::F32;
    /// Whether the optimizer keeps bf16 weights in f32 too, so that small updates add up.
    master_weights "master-weights": bool = true;
    /// Whether to evaluate after each epoch and at the end.
    evaluate "evaluate": bool = true;
    /// Run folder; without it, `runs/<model>-<time>`.
    out "out": Option<String> = None;
    /// Updates between lines of metrics.
    log_every "log-every": u64 = 1;
    /// Updates between checkpoints; 0 makes them at the end of epochs only.
    checkpoint_every "checkpoint-every": u64 = 0;
    /// Seconds after which a checkpoint is made within an epoch; 0 never.
    checkpoint_seconds "checkpoint-seconds": f64 = 30.0;
    /// Checkpoints to keep, the latest.
    keep_checkpoints "keep-checkpoints": usize = 2;
    /// Whether to write a run folder at all.
    artifacts "artifacts": bool = true;
}

/// Fields that may differ when a run is resumed: they do not change what is computed up to where the
/// run stood.
pub const RESUMABLE: &[&str] = &[
    "epochs",
    "max-steps",
    "early-stop",
    "threads",
    "workers",
    "data-dir",
    "cache-dir",
    "download",
    "evaluate",
    "log-every",
    "checkpoint-every",
    "checkpoint-seconds",
    "keep-checkpoints",
];

/// What fields are called elsewhere, for the nearest name only.
const ELSEWHERE: &[(&str, &str)] = &[
    ("learning-rate", "lr"),
    ("batch", "batch-size"),
    ("dataset", "data"),
    ("hidden-size", "hidden"),
    ("hidden-units", "hidden"),
    ("num-epochs", "epochs"),
    ("steps", "max-steps"),
    ("patience", "early-stop"),
    ("early-stopping", "early-stop"),
    ("scheduler", "schedule"),
    ("lr-scheduler", "schedule"),
    ("lr-schedule", "schedule"),
    ("gamma", "lr-factor"),
    ("milestones", "lr-milestones"),
    ("warmup-steps", "warmup"),
    ("alpha", "rho"),
    ("epsilon", "eps"),
    ("wd", "weight-decay"),
    ("gradient-clip", "clip-norm"),
    ("grad-clip", "clip-norm"),
    ("validation-split", "valid-fraction"),
    ("num-workers", "workers"),
    ("num-threads", "threads"),
    ("precision", "dtype"),
    ("random-seed", "seed"),
    ("output", "out"),
    ("output-dir", "out"),
];

/// A field by name; `_` for `-` does not matter.
///
/// # Errors
/// There is none of that name; the nearest is offered.
pub fn field(name: &str) -> Result<&'static Field> {
    let wanted = name.trim().to_lowercase().replace('_', "-");
    FIELDS.iter().find(|f| f.name == wanted).ok_or_else(|| {
        let names: Vec<&str> = FIELDS.iter().map(|f| f.name).collect();
        let all: Vec<&str> = names.iter().copied().chain(ELSEWHERE.iter().map(|(other, _)| *other)).collect();
        let near = nearest(&wanted, &all)
            .map(|near| ELSEWHERE.iter().find(|(other, _)| *other == near).map_or(near, |(_, ours)| ours));
        TrainError::config(match near {
            Some(near) => format!("there is no field '{name}' (did you mean '{near}'?)"),
            None => format!("there is no field '{name}'; possible are {}", names.join(", ")),
        })
    })
}

/// A value for a field, and where it comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// The field.
    pub name: String,
    /// The value, as a flag has it.
    pub value: String,
    /// For messages: `train.toml, line 3: `, or `--lr: `.
    pub place: String,
}

impl Config {
    /// Sets a field from text, as a flag does.
    ///
    /// # Errors
    /// No such field, or a value that it cannot have.
    pub fn set(&mut self, name: &str, value: &str) -> Result<()> {
        let field = field(name)?;
        match self.assign(field.name, value) {
            Some(Ok(())) | None => Ok(()),
            Some(Err(message)) => Err(TrainError::config(format!("{}: {message}", field.name))),
        }
    }

    /// The configuration that settings make, later ones winning: defaults, then the model's
    /// [`recipe`], then the settings.
    ///
    /// # Errors
    /// The first setting that is wrong, with its place.
    pub fn from_settings(settings: &[Setting]) -> Result<Config> {
        let config = Self::assemble(settings)?;
        config.validate()?;
        Ok(config)
    }

    /// What settings make, not yet judged as a whole.
    fn assemble(settings: &[Setting]) -> Result<Config> {
        let mut config = Config::default();
        let apply = |config: &mut Config, s: &Setting| {
            config.set(&s.name, &s.value).map_err(|e| match e {
                TrainError::Config { message, .. } => TrainError::Config { place: s.place.clone(), message },
                other => other,
            })
        };
        let is = |s: &&Setting, name: &str| field(&s.name).is_ok_and(|f| f.name == name);
        if let Some(model) = settings.iter().rfind(|s| is(s, "model")) {
            apply(&mut config, model)?;
        }
        for (name, value) in recipe(&config.model) {
            config.set(name, value)?;
        }
        // The recipe's rate is for the recipe's optimizer.
        if let Some(optimizer) = settings.iter().rfind(|s| is(s, "optimizer")) {
            let before = config.optimizer;
            apply(&mut config, optimizer)?;
            if before != config.optimizer {
                config.lr = None;
            }
        }
        for s in settings {
            apply(&mut config, s)?;
        }
        // `LeNet` is accepted; files and folders get the one name it has.
        if let Ok(known) = hadal_zoo::model(&config.model) {
            config.model = known.name.to_owned();
        }
        Ok(config)
    }

    /// Settings from TOML text; `name` is for messages.
    ///
    /// # Errors
    /// Text that is no TOML, or has a field that is not there: with its line and the nearest name.
    pub fn settings_from_toml(text: &str, name: &str) -> Result<Vec<Setting>> {
        let line = |at: usize| text.get(..at).map_or(1, |t| t.bytes().filter(|b| *b == b'\n').count() + 1);
        let table = toml::de::DeTable::parse(text).map_err(|e| TrainError::Config {
            place: format!("{name}, line {}: ", e.span().map_or(1, |s| line(s.start))),
            message: e.message().to_owned(),
        })?;
        // In the order of the file, so that the first wrong line is the one named.
        let mut entries: Vec<_> = table.get_ref().iter().collect();
        entries.sort_by_key(|(key, _)| key.span().start);
        let mut settings = Vec::new();
        for (key, value) in entries {
            let place = format!("{name}, line {}: ", line(key.span().start));
            let wrong = |message| TrainError::Config { place: place.clone(), message };
            if let Err(TrainError::Config { message, .. }) = field(key.get_ref()) {
                return Err(wrong(message));
            }
            let value = text_of(value.get_ref()).ok_or_else(|| {
                wrong(format!("{}: a table or date is no value of this field", key.get_ref()))
            })?;
            settings.push(Setting { name: key.get_ref().to_string(), value, place });
        }
        Ok(settings)
    }

    /// Settings from a TOML file; see [`Config::settings_from_toml`].
    ///
    /// # Errors
    /// Also when the file cannot be read.
    pub fn settings_from_file(path: &Path) -> Result<Vec<Setting>> {
        let text = std::fs::read_to_string(path)
            .map_err(|e| hadal_io::IoError::os("read the configuration", path, e))?;
        Self::settings_from_toml(&text, &path.display().to_string())
    }

    /// The configuration that a run folder's `config.toml` has, in full: no recipe is mixed in.
    ///
    /// # Errors
    /// As [`Config::settings_from_file`], or a wrong value.
    pub fn read(path: &Path) -> Result<Config> {
        let mut config = Config::default();
        for f in FIELDS {
            // What is not in the file was `none` where that is possible.
            if config.get(f.name).is_some() {
                let _ = config.assign(f.name, "none");
            }
        }
        for s in Self::settings_from_file(path)? {
            config.set(&s.name, &s.value)?;
        }
        config.validate()?;
        Ok(config)
    }

    /// All fields as TOML, each with what it means.
    pub fn to_toml(&self) -> String {
        let mut out =
            String::from("# Everything this run was told. Train again with: hadal train --config FILE\n");
        for f in FIELDS {
            out.push_str(&format!("\n#{}\n", f.help));
            match self.get(f.name) {
                Some(value) => out.push_str(&format!("{} = {value}\n", f.name)),
                None => out.push_str(&format!("# {} =\n", f.name)),
            }
        }
        out
    }
}

/// A TOML value as a flag would have it.
fn text_of(value: &toml::de::DeValue<'_>) -> Option<String> {
    use toml::de::DeValue;
    Some(match value {
        DeValue::String(s) => s.to_string(),
        DeValue::Integer(i) => match i.radix() {
            10 => i.as_str().to_owned(),
            r => i64::from_str_radix(&i.as_str().replace('_', ""), r).ok()?.to_string(),
        },
        DeValue::Float(f) => f.as_str().to_owned(),
        DeValue::Boolean(b) => b.to_string(),
        DeValue::Array(a) => {
            let parts: Option<Vec<String>> = a.iter().map(|v| text_of(v.get_ref())).collect();
            parts?.join(",")
        }
        DeValue::Datetime(_) | DeValue::Table(_) => return None,
    })
}

#[cfg(test)]
mod tests;
