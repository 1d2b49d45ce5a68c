//! Which choice reads which field, so that a setting that nothing reads is told and not dropped.

use super::{Config, Height, OptimizerKind, Precision, ScheduleKind, Setting, field, recipe};
use crate::data::LINEAR;
use crate::{Result, TrainError};
use hadal_data::named_set;
use hadal_zoo::Output;

use OptimizerKind::{Adadelta, Adagrad, Adam, AdamW, Adamax, Lion, NAdam, RAdam, RmsProp, Sgd, Yogi};
use ScheduleKind::{
    Cosine, CosineRestarts, Cyclic, Exponential, Factor, Linear, MultiStep, OneCycle, Plateau, Polynomial,
};

/// Optimizers with two moments.
const MOMENTS: &[OptimizerKind] = &[Adam, Adamax, AdamW, Yogi, NAdam, RAdam, Lion];
/// Optimizers that divide by something which may be 0.
const DIVIDING: &[OptimizerKind] = &[Adagrad, RmsProp, Adadelta, Adam, Adamax, AdamW, Yogi, NAdam, RAdam];

/// What must hold for a field to have an effect.
enum Needs {
    /// One of these optimizers.
    Optimizer(&'static [OptimizerKind]),
    /// One of these schedules.
    Schedule(&'static [ScheduleKind]),
    /// A model with hidden layers of free size.
    HiddenLayers,
    /// A model that tells classes apart.
    Classes,
    /// Data made of images.
    Images,
    /// Data in files.
    Files,
    /// Something else: whether it holds, what stands against it, and what to do.
    Other(fn(&Config) -> bool, &'static str, &'static str),
}

/// The table. A field that is not in it always has an effect, and so has `download`: that nothing be
/// downloaded is a promise, which data without downloads keeps too.
const TABLE: &[(&str, &[Needs])] = &[
    ("hidden", &[Needs::HiddenLayers]),
    ("data-dir", &[Needs::Files]),
    (
        "cache-dir",
        &[Needs::Files, Needs::Other(|c| c.data_dir.is_none(), "data-dir", "only that folder is looked at")],
    ),
    ("augment", &[Needs::Images]),
    ("label-smoothing", &[Needs::Classes]),
    ("momentum", &[Needs::Optimizer(&[Sgd, RmsProp])]),
    ("nesterov", &[Needs::Optimizer(&[Sgd])]),
    (
        "dampening",
        &[
            Needs::Optimizer(&[Sgd]),
            Needs::Other(|c| c.momentum > 0.0, "momentum 0", "it dampens --momentum: give that too"),
        ],
    ),
    (
        "decay-vectors",
        &[Needs::Other(
            |c| c.weight_decay.unwrap_or(c.usual_weight_decay()) > 0.0,
            "weight decay 0",
            "give --weight-decay too",
        )],
    ),
    ("beta1", &[Needs::Optimizer(MOMENTS)]),
    ("beta2", &[Needs::Optimizer(MOMENTS)]),
    ("eps", &[Needs::Optimizer(DIVIDING)]),
    ("rho", &[Needs::Optimizer(&[RmsProp, Adadelta])]),
    ("amsgrad", &[Needs::Optimizer(&[Adam, AdamW])]),
    ("centered", &[Needs::Optimizer(&[RmsProp])]),
    (
        "warmup-start",
        &[Needs::Other(|c| c.warmup > 0, "warmup 0", "it is where --warmup begins: give that too")],
    ),
    (
        "warmup",
        &[Needs::Other(|c| c.schedule != Cyclic, "schedule cyclic", "it begins with a way up: --cycle-up")],
    ),
    ("lr-min", &[Needs::Schedule(&[Factor, Cosine, CosineRestarts, Cyclic, Plateau])]),
    (
        "lr-factor",
        &[
            Needs::Schedule(&[Factor, MultiStep, Exponential, Cyclic, Plateau]),
            Needs::Other(
                |c| c.schedule != Cyclic || c.cycle_height == Height::Falling,
                "this --cycle-height",
                "falling reads it",
            ),
        ],
    ),
    ("cycle-up", &[Needs::Schedule(&[Cyclic])]),
    ("cycle-down", &[Needs::Schedule(&[Cyclic])]),
    ("cycle-height", &[Needs::Schedule(&[Cyclic])]),
    (
        "master-weights",
        &[Needs::Other(|c| c.dtype == Precision::Bf16, "this --dtype", "weights of bf16 have masters")],
    ),
    ("lr-every", &[Needs::Schedule(&[Factor])]),
    ("lr-milestones", &[Needs::Schedule(&[MultiStep])]),
    ("lr-power", &[Needs::Schedule(&[Polynomial])]),
    ("lr-end", &[Needs::Schedule(&[Linear])]),
    ("lr-rise", &[Needs::Schedule(&[OneCycle])]),
    ("restart-epochs", &[Needs::Schedule(&[CosineRestarts])]),
    ("restart-mult", &[Needs::Schedule(&[CosineRestarts])]),
    ("plateau-patience", &[Needs::Schedule(&[Plateau])]),
    ("out", &[Needs::Other(|c| c.artifacts, "artifacts false", "no run folder is written")]),
    ("checkpoint-every", &[CHECKPOINTS]),
    ("checkpoint-seconds", &[CHECKPOINTS]),
    ("keep-checkpoints", &[CHECKPOINTS]),
];

const CHECKPOINTS: Needs =
    Needs::Other(|c| c.artifacts, "artifacts false", "without a run folder there are no checkpoints");

/// `sgd`, `sgd and rmsprop`, `sgd, adam and rmsprop`; and whether `read` has an `s`.
fn read_by<T: ToString>(names: &[T]) -> String {
    let names: Vec<String> = names.iter().map(ToString::to_string).collect();
    match names.as_slice() {
        [] => "nothing reads it".into(),
        [one] => format!("{one} reads it"),
        [first @ .., last] => format!("{} and {last} read it", first.join(", ")),
    }
}

impl Needs {
    /// What stands against the field's effect, and what would read it; `None` when it has one. A model
    /// or data set that is not known is somebody else's error.
    fn refusal(&self, c: &Config) -> Option<String> {
        let model = |reads: fn(&hadal_zoo::ModelInfo) -> bool| {
            let known = hadal_zoo::model(&c.model).ok()?;
            let readers =
                || hadal_zoo::models().iter().filter(|m| reads(m)).map(|m| m.name).collect::<Vec<_>>();
            (!reads(known)).then(|| format!("with model {}; {}", known.name, read_by(&readers())))
        };
        let linear = c.data.trim().eq_ignore_ascii_case(LINEAR);
        match self {
            Needs::Optimizer(kinds) => (!kinds.contains(&c.optimizer))
                .then(|| format!("with optimizer {}; {}", c.optimizer, read_by(kinds))),
            Needs::Schedule(kinds) => (!kinds.contains(&c.schedule))
                .then(|| format!("with schedule {}; {}", c.schedule, read_by(kinds))),
            Needs::HiddenLayers => model(|m| !(m.options)().hidden.is_empty()),
            Needs::Classes => model(|m| m.output == Output::Logits),
            Needs::Images => linear.then(|| format!("with data {LINEAR}; data sets of images read it")),
            Needs::Files => {
                let files = |s: &hadal_data::NamedSpec| !s.files.is_empty();
                let without = if linear {
                    Some(LINEAR)
                } else {
                    named_set(&c.data).ok().filter(|s| !files(s)).map(|s| s.name)
                };
                let readers = || {
                    hadal_data::named_sets().iter().filter(|s| files(s)).map(|s| s.name).collect::<Vec<_>>()
                };
                without.map(|name| format!("with data {name}; {}", read_by(&readers())))
            }
            Needs::Other(holds, against, remedy) => (!holds(c)).then(|| format!("with {against}; {remedy}")),
        }
    }
}

impl Config {
    /// Why this field has no effect with the choices made: `with optimizer adamw; sgd and rmsprop read
    /// it`. `None` when it has one.
    ///
    /// ```
    /// use hadal_train::Config;
    /// let config = Config::default();
    /// assert_eq!(config.idle("momentum").unwrap(), "with optimizer adamw; sgd and rmsprop read it");
    /// assert_eq!(config.idle("lr"), None);
    /// ```
    pub fn idle(&self, name: &str) -> Option<String> {
        let (_, needs) = TABLE.iter().find(|(field, _)| *field == name)?;
        needs.iter().find_map(|n| n.refusal(self))
    }

    /// Refuses the first of these settings that has no effect with the choices made.
    ///
    /// # Errors
    /// Names the setting with its place, the choice that ignores it, and which choices read it.
    pub fn refuse_idle(&self, settings: &[Setting]) -> Result<()> {
        settings.iter().try_for_each(|s| match self.idle(field(&s.name)?.name) {
            Some(why) => Err(idle_error(s, &why)),
            None => Ok(()),
        })
    }

    /// As [`Config::from_settings`], for settings that a user wrote: a flag that has no effect is
    /// refused, and so is such a line of the file, unless
    /// - the file's own choices read it, and a flag chose otherwise; or
    /// - it only repeats what holds without it, as a run folder's complete `config.toml` does.
    ///
    /// # Errors
    /// Also the first setting that has no effect.
    pub fn from_file_and_flags(file: &[Setting], flags: &[Setting]) -> Result<Config> {
        let config = Self::from_settings(&[file, flags].concat())?;
        config.refuse_idle(flags)?;
        let alone = Self::assemble(file)?;
        // What the file's model comes with.
        let mut usual = Config { model: alone.model.clone(), ..Config::default() };
        for (name, value) in recipe(&alone.model) {
            usual.set(name, value)?;
        }
        for s in file {
            let name = field(&s.name)?.name;
            if alone.get(name) == usual.get(name) || config.idle(name).is_none() {
                continue;
            }
            if let Some(why) = alone.idle(name) {
                return Err(idle_error(s, &why));
            }
        }
        Ok(config)
    }
}

fn idle_error(s: &Setting, why: &str) -> TrainError {
    // As it was typed: `--no-decay-vectors` comes as its field's `false`.
    let off = s.place == "--" && s.value == "false" && field(&s.name).is_ok_and(|f| f.on);
    let no = if off { "no-" } else { "" };
    TrainError::Config { place: s.place.clone(), message: format!("{no}{} has no effect {why}", s.name) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{FIELDS, Value};
    use hadal_nn::{Backward, Ctx, Forward, Init, Module};
    use hadal_tensor::{DType, Key, Tensor};

    fn settings(place: &str, all: &[(&str, &str)]) -> Vec<Setting> {
        let one =
            |(n, v): &(&str, &str)| Setting { name: (*n).into(), value: (*v).into(), place: place.into() };
        all.iter().map(one).collect()
    }

    fn error(file: &[(&str, &str)], flags: &[(&str, &str)]) -> String {
        let (file, flags) = (settings("a.toml, line 1: ", file), settings("--", flags));
        Config::from_file_and_flags(&file, &flags).err().map(|e| e.to_string()).unwrap_or_default()
    }

    /// The weights after steps with gradients of changing sign and size.
    fn steps(config: &Config) -> Vec<f32> {
        let mut model = hadal_nn::Linear::new(&Init::new(0), 32, 1);
        let mut optimizer = config.build_optimizer();
        for step in 0..8 {
            // Shrinking, so that AMSGrad's maximum is not the last value.
            let x = Tensor::randn([1, 32], DType::F32, Key::new(step)) * (1.0 / (step + 1) as f64);
            let grads = model.forward(&x, &Ctx::eval()).sum(..).backward(&model).unwrap();
            optimizer.step(&mut model, &grads).unwrap();
        }
        model.state_dict()[0].1.to_vec().unwrap()
    }

    /// Each optimizer, with every field of an optimizer once at a value of its own: what it
    /// computes differs exactly where the table says that the field is read.
    #[test]
    fn the_table_of_optimizers_is_what_they_read() {
        let values = [
            ("momentum", "0.5"),
            ("nesterov", "true"),
            ("dampening", "0.25"),
            ("beta1", "0.5"),
            ("beta2", "0.5"),
            ("eps", "0.5"),
            ("rho", "0.5"),
            ("amsgrad", "true"),
            ("centered", "true"),
            ("weight-decay", "0.5"),
        ];
        for optimizer in OptimizerKind::CHOICES {
            let mut base = Config::default();
            base.set("optimizer", optimizer).unwrap();
            base.set("momentum", "0.125").unwrap();
            for (name, value) in values {
                let mut changed = base.clone();
                changed.set(name, value).unwrap();
                let differs = steps(&changed) != steps(&base);
                assert_eq!(differs, changed.idle(name).is_none(), "{name} of {optimizer}");
            }
        }
    }

    #[test]
    fn the_table_of_schedules_is_what_they_read() {
        let values = [
            ("lr-min", "0.5"),
            ("lr-factor", "0.5"),
            ("lr-every", "2"),
            ("lr-milestones", "2"),
            ("lr-power", "2"),
            ("lr-end", "0.5"),
            ("lr-rise", "0.5"),
            ("restart-epochs", "3"),
            ("restart-mult", "3"),
            ("cycle-up", "3"),
            ("cycle-down", "3"),
            ("cycle-height", "halved"),
            ("warmup", "9"),
            ("plateau-patience", "7"),
        ];
        for schedule in ScheduleKind::CHOICES {
            let mut base = Config::default();
            base.set("schedule", schedule).unwrap();
            base.set("lr-milestones", "1").unwrap();
            for (name, value) in values {
                let mut changed = base.clone();
                changed.set(name, value).unwrap();
                let built = |c: &Config| {
                    format!("{:?} {:?} {}", c.build_schedule(100), c.build_plateau(), c.base_rate())
                };
                assert_eq!(
                    built(&changed) != built(&base),
                    changed.idle(name).is_none(),
                    "{name} of {schedule}"
                );
            }
        }
    }

    #[test]
    fn a_flag_without_effect_is_refused() {
        for (flags, message) in [
            (
                &[("momentum", "0.9")][..],
                "--momentum has no effect with optimizer adamw; sgd and rmsprop read it",
            ),
            // Also where it says what holds anyway.
            (&[("hidden", "256")], "--hidden has no effect with model lenet; mlp reads it"),
            (
                &[("data-dir", "d")],
                "--data-dir has no effect with data digits; mnist, fashion-mnist, cifar10 and cifar100 read it",
            ),
            (
                &[("data-dir", "d"), ("cache-dir", "c"), ("data", "mnist")],
                "--cache-dir has no effect with data-dir; only that folder is looked at",
            ),
            (&[("lr-power", "2")], "--lr-power has no effect with schedule one-cycle; polynomial reads it"),
            (
                &[("warmup-start", "0.5")],
                "--warmup-start has no effect with warmup 0; it is where --warmup begins: give that too",
            ),
            (
                &[("optimizer", "sgd"), ("decay-vectors", "false")],
                "--no-decay-vectors has no effect with weight decay 0; give --weight-decay too",
            ),
            (
                &[("model", "linear-regression"), ("label-smoothing", "0.1")],
                "--label-smoothing has no effect with model linear-regression; softmax-regression, mlp and lenet read it",
            ),
            (
                &[("model", "linear-regression"), ("augment", "light")],
                "--augment has no effect with data linear; data sets of images read it",
            ),
            (
                &[("artifacts", "false"), ("out", "run")],
                "--out has no effect with artifacts false; no run folder is written",
            ),
        ] {
            assert_eq!(error(&[], flags), message);
        }
        for flags in [
            &[("optimizer", "sgd"), ("momentum", "0.9"), ("dampening", "0.1")][..],
            &[("model", "mlp"), ("hidden", "3")],
            &[("data", "mnist"), ("data-dir", "d")],
            &[("download", "false")],
            &[("schedule", "cosine"), ("lr-min", "0.001"), ("warmup", "5"), ("warmup-start", "0.5")],
            &[("decay-vectors", "false")],
        ] {
            assert_eq!(error(&[], flags), "", "{flags:?}");
        }
    }

    #[test]
    fn a_line_of_a_file_without_effect_is_refused_unless_a_flag_chose_otherwise() {
        let sgd = &[("optimizer", "sgd"), ("momentum", "0.9")];
        assert_eq!(error(sgd, &[]), "");
        assert_eq!(error(sgd, &[("optimizer", "adam")]), "");
        assert_eq!(error(&sgd[1..], &[("optimizer", "sgd")]), "");
        assert_eq!(
            error(&sgd[1..], &[]),
            "a.toml, line 1: momentum has no effect with optimizer adamw; sgd and rmsprop read it"
        );
        assert!(error(&[("lr_rise", "0.5"), ("schedule", "cosine")], &[]).contains("lr_rise has no effect"));
        // What a flag completes.
        assert_eq!(error(&[("schedule", "multi-step")], &[("lr-milestones", "3")]), "");
    }

    /// A run folder's complete file starts another run, whatever the model, also with other choices.
    #[test]
    fn a_complete_file_is_taken() {
        for model in hadal_zoo::models() {
            let flags = settings("--", &[("model", model.name)]);
            let config = Config::from_file_and_flags(&[], &flags).unwrap();
            let file = Config::settings_from_toml(&config.to_toml(), "config.toml").unwrap();
            assert!(file.len() > FIELDS.len() / 2);
            assert_eq!(Config::from_file_and_flags(&file, &[]).unwrap(), config);
            for (field, choices) in
                [("optimizer", OptimizerKind::CHOICES), ("schedule", ScheduleKind::CHOICES)]
            {
                for choice in choices.iter().filter(|c| **c != "multi-step") {
                    let e = Config::from_file_and_flags(&file, &settings("--", &[(field, choice)])).err();
                    assert!(e.is_none(), "{} {choice}: {e:?}", model.name);
                }
            }
        }
    }
}
