//! Learning-rate schedules: functions of the step, so that there is nothing to save; and the plateau
//! rule, which looks at a metric.

mod chained;

use serde::{Deserialize, Serialize};

/// How a one-cycle schedule moves between its corners.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Anneal {
    /// Along half a cosine.
    Cos,
    /// Along a line.
    Linear,
}

/// A learning rate as a function of the step (0, 1, 2, …) and the base rate.
///
/// ```
/// use hadal_optim::Schedule;
/// let s = Schedule::cosine(100, 0.0).with_warmup(10, 0.1);
/// assert!((s.lr(1.0, 0) - 0.1).abs() < 1e-12);
/// assert!((s.lr(1.0, 10) - 1.0).abs() < 1e-12);
/// assert!(s.lr(1.0, 110).abs() < 1e-12);
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "name")]
pub enum Schedule {
    /// Always the base rate.
    Constant,
    /// `max(floor, base·factorᵗ)`, t counted in units of `every` steps (d2l 12.11).
    Factor {
        /// Factor per unit.
        factor: f64,
        /// Steps of a unit.
        every: u64,
        /// Lowest rate.
        floor: f64,
    },
    /// Times `gamma` at each of these steps.
    MultiStep {
        /// Steps, ascending.
        milestones: Vec<u64>,
        /// Factor.
        gamma: f64,
    },
    /// `base·gammaᵗ`.
    Exponential {
        /// Factor per step.
        gamma: f64,
    },
    /// `base·(1 - t/total)^power`, then 0.
    Polynomial {
        /// Steps down to 0.
        total: u64,
        /// Exponent.
        power: f64,
    },
    /// `base·(t + 1)^-½`.
    SquareRoot,
    /// Half a cosine from the base to `eta_min` in `t_max` steps (Loshchilov, Hutter 2017, eq. 5); past
    /// the end it goes on along the cosine, as PyTorch's does.
    Cosine {
        /// Steps to the minimum.
        t_max: u64,
        /// The minimum.
        eta_min: f64,
    },
    /// Cosines that start again, each `t_mult` times as long as the one before.
    CosineRestarts {
        /// Length of the first.
        t_0: u64,
        /// Growth of the length.
        t_mult: u64,
        /// The minimum.
        eta_min: f64,
    },
    /// A line from `start·base` to `end·base` in `total` steps, then `end·base`.
    Linear {
        /// First factor.
        start: f64,
        /// Last factor.
        end: f64,
        /// Steps between them.
        total: u64,
    },
    /// Up and down once (Smith, Topin 2019); the base rate is the highest.
    OneCycle {
        /// Steps of the whole.
        total: u64,
        /// Share of them going up.
        pct_start: f64,
        /// Highest over first rate.
        div_factor: f64,
        /// First over last rate.
        final_div_factor: f64,
        /// Shape.
        anneal: Anneal,
        /// A phase back down to the first rate before the last one.
        three_phase: bool,
    },
    /// One after the other; each starts counting at its milestone.
    Sequential {
        /// The parts.
        parts: Vec<Schedule>,
        /// Where the second and later parts begin.
        milestones: Vec<u64>,
    },
    /// All at once, as PyTorch's `ChainedScheduler`: each part in turn changes the rate of the step before as
    /// it would change its own. Parts that are factors on the rate multiply, a cosine draws the rate
    /// towards its minimum, and those that set the rate (restarts, one-cycle, cyclic) set it.
    Chained {
        /// The parts.
        parts: Vec<Schedule>,
    },
    /// Up and down again and again between the base rate and `max` (Smith 2017, arXiv:1506.01186; PyTorch's
    /// `CyclicLR`).
    Cyclic {
        /// The highest rate.
        max: f64,
        /// Steps of a way up.
        up: u64,
        /// Steps of a way down.
        down: u64,
        /// How the height changes.
        height: CycleHeight,
    },
}

/// How the height of a cyclic schedule changes.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CycleHeight {
    /// Always the same (`triangular`).
    Constant,
    /// Half as high in each cycle as in the one before (`triangular2`).
    Halved,
    /// Times this number to the power of the step (`exp_range`).
    Exponential(f64),
}

impl Schedule {
    /// A cosine down to `eta_min` in `t_max` steps.
    pub fn cosine(t_max: u64, eta_min: f64) -> Schedule {
        Schedule::Cosine { t_max, eta_min }
    }
    /// A linear warm-up from `start·base` over `steps` steps before this schedule.
    pub fn with_warmup(self, steps: u64, start: f64) -> Schedule {
        if steps == 0 {
            return self;
        }
        let warmup = Schedule::Linear { start, end: 1.0, total: steps };
        Schedule::Sequential { parts: vec![warmup, self], milestones: vec![steps] }
    }
    /// PyTorch's one-cycle with its defaults.
    pub fn one_cycle(total: u64) -> Schedule {
        Schedule::OneCycle {
            total,
            pct_start: 0.3,
            div_factor: 25.0,
            final_div_factor: 1e4,
            anneal: Anneal::Cos,
            three_phase: false,
        }
    }

    /// The rate at a step.
    pub fn lr(&self, base: f64, step: u64) -> f64 {
        let t = step as f64;
        match self {
            Schedule::Constant => base,
            Schedule::Factor { factor, every, floor } => {
                floor.max(base * factor.powf((step / (*every).max(1)) as f64))
            }
            Schedule::MultiStep { milestones, gamma } => {
                base * gamma.powi(milestones.iter().filter(|&&m| step >= m).count() as i32)
            }
            Schedule::Exponential { gamma } => base * gamma.powf(t),
            Schedule::Polynomial { total, power } => {
                let left = 1.0 - t.min(*total as f64) / (*total).max(1) as f64;
                base * left.powf(*power)
            }
            Schedule::SquareRoot => base / (t + 1.0).sqrt(),
            Schedule::Cosine { t_max, eta_min } => cosine(base, *eta_min, t / (*t_max).max(1) as f64),
            Schedule::CosineRestarts { t_0, t_mult, eta_min } => {
                let (mut length, mut at) = ((*t_0).max(1), step);
                if *t_mult <= 1 {
                    at %= length;
                }
                while at >= length {
                    at -= length;
                    length = length.saturating_mul((*t_mult).max(1));
                }
                cosine(base, *eta_min, at as f64 / length as f64)
            }
            Schedule::Linear { start, end, total } => {
                let share = if *total == 0 { 1.0 } else { t.min(*total as f64) / *total as f64 };
                base * (start + (end - start) * share)
            }
            Schedule::OneCycle { total, pct_start, div_factor, final_div_factor, anneal, three_phase } => {
                let first = base / div_factor;
                let last = first / final_div_factor;
                let levels = [first, base, first, last];
                one_cycle(*total, *pct_start, *three_phase, *anneal, t, levels)
            }
            Schedule::Sequential { parts, milestones } => {
                let k = milestones.iter().filter(|&&m| step >= m).count().min(parts.len().saturating_sub(1));
                let start = if k == 0 { 0 } else { milestones[k - 1] };
                parts.get(k).map_or(base, |p| p.lr(base, step.saturating_sub(start)))
            }
            Schedule::Chained { parts } => chained::lr(parts, base, step),
            Schedule::Cyclic { max, up, down, height } => {
                let (up, down) = ((*up).max(1), *down);
                let cycle = up.saturating_add(down);
                let (n, at) = (step / cycle, step % cycle);
                let share = if at <= up { at as f64 / up as f64 } else { (cycle - at) as f64 / down as f64 };
                let scale = match height {
                    CycleHeight::Constant => 1.0,
                    CycleHeight::Halved => 0.5f64.powf(n as f64),
                    CycleHeight::Exponential(gamma) => gamma.powf(t),
                };
                base + (max - base) * share * scale
            }
        }
    }

    /// The momentum that goes with a one-cycle schedule: from `high` down to `low` while the rate rises, and
    /// back (PyTorch's `cycle_momentum`, with 0.95 and 0.85). `None` for other schedules. For
    /// [`Optimizer::set_momentum`](crate::Optimizer::set_momentum).
    ///
    /// ```
    /// use hadal_optim::Schedule;
    /// let s = Schedule::one_cycle(100);
    /// assert_eq!(s.momentum(0.85, 0.95, 0), Some(0.95));
    /// assert_eq!(s.momentum(0.85, 0.95, 29), Some(0.85));
    /// ```
    pub fn momentum(&self, low: f64, high: f64, step: u64) -> Option<f64> {
        match self {
            Schedule::OneCycle { total, pct_start, anneal, three_phase, .. } => {
                let levels = [high, low, high, high];
                Some(one_cycle(*total, *pct_start, *three_phase, *anneal, step as f64, levels))
            }
            _ => None,
        }
    }
}

/// A path through levels at the corners of a one-cycle schedule; the third counts with three phases only.
fn one_cycle(total: u64, pct_start: f64, three_phase: bool, anneal: Anneal, t: f64, levels: [f64; 4]) -> f64 {
    let total = total as f64;
    // Corners of the path: step and level.
    let mut corners = vec![(0.0, levels[0]), (pct_start * total - 1.0, levels[1])];
    if three_phase {
        corners.push((2.0 * pct_start * total - 2.0, levels[2]));
    }
    corners.push((total - 1.0, levels[3]));
    let k = corners[1..].iter().position(|c| t <= c.0).unwrap_or(corners.len() - 2);
    let ((t0, r0), (t1, r1)) = (corners[k], corners[k + 1]);
    let share = if t1 > t0 { ((t - t0) / (t1 - t0)).clamp(0.0, 1.0) } else { 1.0 };
    match anneal {
        Anneal::Cos => cosine(r0, r1, share),
        Anneal::Linear => r0 + (r1 - r0) * share,
    }
}

fn cosine(from: f64, to: f64, share: f64) -> f64 {
    to + (from - to) * (1.0 + (std::f64::consts::PI * share).cos()) / 2.0
}

/// Whether a metric should fall or rise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// Lower is better.
    Min,
    /// Higher is better.
    Max,
}

/// Lowers the rate when a metric has not improved for a while (PyTorch's `ReduceLROnPlateau`). Its
/// fields are its state: save them all.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Plateau {
    /// Whether lower or higher is better.
    pub mode: Mode,
    /// What the rate is multiplied by.
    pub factor: f64,
    /// Epochs without improvement that are let pass.
    pub patience: u64,
    /// What counts as improvement.
    pub threshold: f64,
    /// The threshold is a share of the best value, not a difference.
    pub relative: bool,
    /// Epochs to wait after a change.
    pub cooldown: u64,
    /// Lowest rate.
    pub min_lr: f64,
    /// Changes that are not larger are not made.
    #[serde(default = "smallest_change")]
    pub eps: f64,
    best: Option<f64>,
    bad: u64,
    cooling: u64,
}

impl Plateau {
    /// PyTorch's defaults: factor 0.1, patience 10, threshold 1e-4 relative.
    pub fn new(mode: Mode) -> Plateau {
        Plateau {
            mode,
            factor: 0.1,
            patience: 10,
            threshold: 1e-4,
            relative: true,
            cooldown: 0,
            min_lr: 0.0,
            eps: smallest_change(),
            best: None,
            bad: 0,
            cooling: 0,
        }
    }
    /// Takes in an epoch's metric; gives the new rate.
    pub fn step(&mut self, metric: f64, lr: f64) -> f64 {
        let improved = match (self.best, self.mode, self.relative) {
            // A first metric that is NaN is not a best one: nothing would ever be better.
            (None, Mode::Min, _) => metric < f64::INFINITY,
            (None, Mode::Max, _) => metric > f64::NEG_INFINITY,
            (Some(b), Mode::Min, true) => metric < b * (1.0 - self.threshold),
            (Some(b), Mode::Min, false) => metric < b - self.threshold,
            (Some(b), Mode::Max, true) => metric > b * (1.0 + self.threshold),
            (Some(b), Mode::Max, false) => metric > b + self.threshold,
        };
        if improved {
            self.best = Some(metric);
            self.bad = 0;
        } else {
            self.bad += 1;
        }
        if self.cooling > 0 {
            self.cooling -= 1;
            self.bad = 0;
        }
        if self.bad <= self.patience {
            return lr;
        }
        self.cooling = self.cooldown;
        self.bad = 0;
        let lower = (lr * self.factor).max(self.min_lr);
        if lr - lower > self.eps { lower } else { lr }
    }
}

/// PyTorch's default.
fn smallest_change() -> f64 {
    1e-8
}
