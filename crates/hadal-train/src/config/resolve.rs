//! From settings to optimizer and schedule; and what cannot be right.

use super::{Config, Height, OptimizerKind, ScheduleKind};
use crate::{Result, TrainError};
use hadal_optim::{
    Adadelta, Adagrad, Adam, AdamW, Adamax, CycleHeight, GroupOptions, Lion, Mode, NAdam, Optimizer, Plateau,
    RAdam, RmsProp, Schedule, Sgd, Yogi,
};

/// The most threads that can be asked for: the pool's own bound.
const MAX_THREADS: usize = 1024;

impl Config {
    /// The learning rate: as set, or the optimizer's usual one (PyTorch's default; for sgd d2l's 0.1,
    /// since PyTorch's 0.001 without momentum hardly learns).
    pub fn learning_rate(&self) -> f64 {
        use OptimizerKind::{Adadelta, Adagrad, Adam, AdamW, Adamax, Lion, NAdam, RAdam, RmsProp, Sgd, Yogi};
        self.lr.unwrap_or(match self.optimizer {
            Sgd => 0.1,
            Adagrad | RmsProp | Yogi => 1e-2,
            Adadelta => 1.0,
            Adam | AdamW | RAdam => 1e-3,
            Adamax | NAdam => 2e-3,
            Lion => 1e-4,
        })
    }

    /// What the schedule starts from: the learning rate, or the lowest one where cycles rise to it.
    pub(crate) fn base_rate(&self) -> f64 {
        if self.schedule == ScheduleKind::Cyclic { self.lr_min } else { self.learning_rate() }
    }

    /// The optimizer's usual weight decay: PyTorch's default.
    pub(crate) fn usual_weight_decay(&self) -> f64 {
        if self.optimizer == OptimizerKind::AdamW { 1e-2 } else { 0.0 }
    }

    /// How many values the optimizer keeps for each parameter.
    pub fn moments(&self) -> u64 {
        use OptimizerKind::{Adadelta, Adagrad, Adam, AdamW, Adamax, Lion, NAdam, RAdam, RmsProp, Sgd, Yogi};
        let momentum = u64::from(self.momentum > 0.0);
        match self.optimizer {
            Sgd => momentum,
            Adagrad | Lion => 1,
            RmsProp => 1 + momentum + u64::from(self.centered),
            Adam | AdamW => 2 + u64::from(self.amsgrad),
            Adadelta | Adamax | Yogi | NAdam | RAdam => 2,
        }
    }

    /// The optimizer, with its parameter groups.
    pub fn build_optimizer(&self) -> Optimizer {
        let lr = self.learning_rate();
        let decay = self.weight_decay.unwrap_or(self.usual_weight_decay());
        let betas = |b1: f64, b2: f64| (self.beta1.unwrap_or(b1), self.beta2.unwrap_or(b2));
        let eps = |usual: f64| self.eps.unwrap_or(usual);
        let mut optimizer = match self.optimizer {
            OptimizerKind::Sgd => Optimizer::new(
                Sgd::new(lr)
                    .momentum(self.momentum)
                    .dampening(self.dampening)
                    .nesterov(self.nesterov)
                    .weight_decay(decay),
            ),
            OptimizerKind::Adagrad => Optimizer::new(Adagrad::new(lr).eps(eps(1e-10)).weight_decay(decay)),
            OptimizerKind::RmsProp => Optimizer::new(
                RmsProp::new(lr)
                    .alpha(self.rho.unwrap_or(0.99))
                    .eps(eps(1e-8))
                    .momentum(self.momentum)
                    .centered(self.centered)
                    .weight_decay(decay),
            ),
            OptimizerKind::Adadelta => Optimizer::new(
                Adadelta::new(lr).rho(self.rho.unwrap_or(0.9)).eps(eps(1e-6)).weight_decay(decay),
            ),
            OptimizerKind::Adam => Optimizer::new(
                Adam::new(lr)
                    .betas(betas(0.9, 0.999))
                    .eps(eps(1e-8))
                    .amsgrad(self.amsgrad)
                    .weight_decay(decay),
            ),
            OptimizerKind::AdamW => Optimizer::new(
                AdamW::new(lr)
                    .betas(betas(0.9, 0.999))
                    .eps(eps(1e-8))
                    .amsgrad(self.amsgrad)
                    .weight_decay(decay),
            ),
            OptimizerKind::Adamax => {
                Optimizer::new(Adamax::new(lr).betas(betas(0.9, 0.999)).eps(eps(1e-8)).weight_decay(decay))
            }
            OptimizerKind::Yogi => {
                Optimizer::new(Yogi::new(lr).betas(betas(0.9, 0.999)).eps(eps(1e-3)).weight_decay(decay))
            }
            OptimizerKind::NAdam => {
                Optimizer::new(NAdam::new(lr).betas(betas(0.9, 0.999)).eps(eps(1e-8)).weight_decay(decay))
            }
            OptimizerKind::RAdam => {
                Optimizer::new(RAdam::new(lr).betas(betas(0.9, 0.999)).eps(eps(1e-8)).weight_decay(decay))
            }
            OptimizerKind::Lion => Optimizer::new(Lion::new(lr).betas(betas(0.9, 0.99)).weight_decay(decay)),
        };
        if !self.decay_vectors {
            let none = GroupOptions { weight_decay: Some(0.0), ..Default::default() };
            optimizer = optimizer.group(|_, shape| shape.rank() < 2, none);
        }
        // Weights of other types have no masters.
        let optimizer = optimizer.master_weights(self.master_weights);
        if self.l1 == 0.0 { optimizer } else { optimizer.l1(self.l1) }
    }

    /// The schedule over updates; constant for plateau, which [`build_plateau`](Self::build_plateau) makes.
    pub fn build_schedule(&self, steps_per_epoch: u64) -> Schedule {
        let total = self.total_steps(steps_per_epoch).saturating_sub(self.warmup).max(1);
        let steps = |epochs: f64| ((epochs * steps_per_epoch as f64).round() as u64).max(1);
        let schedule = match self.schedule {
            ScheduleKind::Constant | ScheduleKind::Plateau => Schedule::Constant,
            ScheduleKind::Factor => {
                Schedule::Factor { factor: self.lr_factor, every: steps(self.lr_every), floor: self.lr_min }
            }
            ScheduleKind::MultiStep => Schedule::MultiStep {
                milestones: self
                    .lr_milestones
                    .iter()
                    .map(|&e| steps(e).saturating_sub(self.warmup))
                    .collect(),
                gamma: self.lr_factor,
            },
            ScheduleKind::Exponential => {
                Schedule::Exponential { gamma: self.lr_factor.powf(1.0 / steps_per_epoch.max(1) as f64) }
            }
            ScheduleKind::Polynomial => Schedule::Polynomial { total, power: self.lr_power },
            ScheduleKind::SquareRoot => Schedule::SquareRoot,
            ScheduleKind::Cosine => Schedule::cosine(total, self.lr_min),
            ScheduleKind::CosineRestarts => Schedule::CosineRestarts {
                t_0: steps(self.restart_epochs),
                t_mult: self.restart_mult,
                eta_min: self.lr_min,
            },
            ScheduleKind::Cyclic => Schedule::Cyclic {
                max: self.learning_rate(),
                up: steps(self.cycle_up),
                down: steps(self.cycle_down.unwrap_or(self.cycle_up)),
                height: match self.cycle_height {
                    Height::Constant => CycleHeight::Constant,
                    Height::Halved => CycleHeight::Halved,
                    Height::Falling => {
                        CycleHeight::Exponential(self.lr_factor.powf(1.0 / steps_per_epoch.max(1) as f64))
                    }
                },
            },
            ScheduleKind::Linear => Schedule::Linear { start: 1.0, end: self.lr_end, total },
            ScheduleKind::OneCycle => match Schedule::one_cycle(total) {
                Schedule::OneCycle { total, div_factor, final_div_factor, anneal, three_phase, .. } => {
                    let pct_start = self.lr_rise;
                    Schedule::OneCycle { total, pct_start, div_factor, final_div_factor, anneal, three_phase }
                }
                other => other,
            },
        };
        // Cycles begin with a way up.
        let warmup = if self.schedule == ScheduleKind::Cyclic { 0 } else { self.warmup };
        schedule.with_warmup(warmup, self.warmup_start)
    }

    /// The plateau rule, where it is the schedule.
    pub fn build_plateau(&self) -> Option<Plateau> {
        (self.schedule == ScheduleKind::Plateau).then(|| {
            let mut p = Plateau::new(Mode::Min);
            (p.factor, p.patience, p.min_lr) = (self.lr_factor, self.plateau_patience, self.lr_min);
            p
        })
    }

    /// Whether the schedule depends on the number of epochs.
    pub(crate) fn looks_at_the_end(&self) -> bool {
        use ScheduleKind::{Cosine, Linear, OneCycle, Polynomial};
        matches!(self.schedule, Cosine | Linear | OneCycle | Polynomial)
    }

    /// Updates of the whole run.
    pub fn total_steps(&self, steps_per_epoch: u64) -> u64 {
        self.epochs.saturating_mul(steps_per_epoch)
    }

    /// Checks what can be checked without data and model.
    ///
    /// # Errors
    /// The first field whose value cannot be right, with what would be.
    pub fn validate(&self) -> Result<()> {
        let check = |ok: bool, field: &str, value: &dyn std::fmt::Display, right: &str| {
            if ok { Ok(()) } else { Err(TrainError::config(format!("{field}: {value} cannot be; {right}"))) }
        };
        let share = "use a number from 0 to 1";
        let below_one = "use a number from 0 to below 1";
        let at_least_0 = "use a number of at least 0";
        check(self.epochs > 0, "epochs", &self.epochs, "train for at least 1")?;
        check(self.max_steps != Some(0), "max-steps", &0, "make at least 1 step")?;
        check(self.batch_size > 0, "batch-size", &self.batch_size, "a batch has at least 1 sample")?;
        check(self.accumulate > 0, "accumulate", &self.accumulate, "an update takes at least 1 batch")?;
        // What the loop can hold ahead; more are no batches but a mistake.
        let most = 1_000_000;
        check(self.accumulate <= most, "accumulate", &self.accumulate, "use at most 1000000 batches")?;
        let threads = "use 0 for all cores, or a number from 1 to 1024";
        check(self.threads <= MAX_THREADS, "threads", &self.threads, threads)?;
        let workers = "use a number from 0 to 1024";
        check(self.workers <= MAX_THREADS, "workers", &self.workers, workers)?;
        for (field, folder) in
            [("out", &self.out), ("data-dir", &self.data_dir), ("cache-dir", &self.cache_dir)]
        {
            let named = folder.as_ref().is_none_or(|f| !f.trim().is_empty());
            check(named, field, &"an empty name", "name a folder, or leave it out")?;
        }
        check(!self.hidden.contains(&0), "hidden", &0, "a hidden layer has at least 1 unit")?;
        check(self.early_stop != Some(0), "early-stop", &0, "wait for at least 1 epoch, or leave it out")?;
        if self.optimizer == OptimizerKind::Sgd && self.nesterov {
            let momentum = "Nesterov's momentum needs --momentum above 0, 0.9 say";
            check(self.momentum > 0.0, "nesterov", &"momentum 0", momentum)?;
            let dampening = "Nesterov's momentum needs dampening 0";
            check(self.dampening == 0.0, "nesterov", &format!("dampening {}", self.dampening), dampening)?;
        }
        check(self.log_every > 0, "log-every", &self.log_every, "use at least 1")?;
        check(self.keep_checkpoints > 0, "keep-checkpoints", &self.keep_checkpoints, "keep at least 1")?;
        let lr = self.learning_rate();
        check(lr >= 0.0, "lr", &lr, at_least_0)?;
        for (field, x) in [
            ("momentum", Some(self.momentum)),
            ("beta1", self.beta1),
            ("beta2", self.beta2),
            ("rho", self.rho),
            ("ema", self.ema),
            ("label-smoothing", Some(self.label_smoothing)),
            ("valid-fraction", Some(self.valid_fraction)),
        ] {
            check(x.is_none_or(|x| (0.0..1.0).contains(&x)), field, &x.unwrap_or_default(), below_one)?;
        }
        for (field, x) in [("dampening", Some(self.dampening)), ("warmup-start", Some(self.warmup_start))] {
            check(x.is_none_or(|x| (0.0..=1.0).contains(&x)), field, &x.unwrap_or_default(), share)?;
        }
        for (field, x) in [
            ("weight-decay", self.weight_decay),
            ("l1", Some(self.l1)),
            ("eps", self.eps),
            ("lr-min", Some(self.lr_min)),
            ("lr-factor", Some(self.lr_factor)),
            ("lr-power", Some(self.lr_power)),
            ("lr-end", Some(self.lr_end)),
            ("checkpoint-seconds", Some(self.checkpoint_seconds)),
        ] {
            check(x.is_none_or(|x| x >= 0.0), field, &x.unwrap_or_default(), at_least_0)?;
        }
        let above_0 = "use a number above 0";
        for (field, x) in [
            ("clip-norm", self.clip_norm),
            ("clip-value", self.clip_value),
            ("lr-every", Some(self.lr_every)),
            ("restart-epochs", Some(self.restart_epochs)),
            ("cycle-up", Some(self.cycle_up)),
            ("cycle-down", self.cycle_down),
        ] {
            check(x.is_none_or(|x| x > 0.0), field, &x.unwrap_or_default(), above_0)?;
        }
        check(
            self.lr_rise > 0.0 && self.lr_rise < 1.0,
            "lr-rise",
            &self.lr_rise,
            "use a share between 0 and 1",
        )?;
        check(self.restart_mult > 0, "restart-mult", &self.restart_mult, "use at least 1")?;
        let milestones = self.schedule != ScheduleKind::MultiStep || !self.lr_milestones.is_empty();
        check(
            milestones,
            "lr-milestones",
            &"an empty list",
            "name the epochs of multi-step's changes: 10,20",
        )?;
        check(
            self.lr_milestones.iter().all(|e| *e >= 0.0),
            "lr-milestones",
            &"a negative epoch",
            at_least_0,
        )?;
        check(
            self.lr_milestones.is_sorted(),
            "lr-milestones",
            &"an unsorted list",
            "name the epochs in rising order: 10,20",
        )?;
        hadal_zoo::model(&self.model).map_err(|e| TrainError::config(e.to_string()))?;
        Ok(())
    }
}
