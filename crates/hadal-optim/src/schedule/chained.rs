//! Several schedules at once.
//!
//! PyTorch's `ChainedScheduler` lets one part after the other change the rate of the step before. For parts
//! that are factors that is the product of the factors, but not for a part with a floor of its own: then the
//! rate is a recurrence over the steps, which has no closed form.

use super::Schedule;
use std::cell::RefCell;
use std::f64::consts::PI;

/// A point that was reached on the way: going on from there gives the same bits as beginning at 0.
struct Reached {
    parts: Vec<Schedule>,
    base: f64,
    step: u64,
    lr: f64,
}

thread_local! {
    /// The latest point, so that a training loop, which asks for one step after the other, makes one step of
    /// the recurrence each time.
    static REACHED: RefCell<Option<Reached>> = const { RefCell::new(None) };
}

pub(super) fn lr(parts: &[Schedule], base: f64, step: u64) -> f64 {
    // Taken out while it is worked on: a part may be a chain itself.
    let known = REACHED.take().filter(|r| r.base == base && r.step <= step && r.parts == parts);
    let mut r = known.unwrap_or_else(|| Reached {
        parts: parts.to_vec(),
        base,
        step: 0,
        lr: parts.iter().fold(base, |lr, p| first(p, base, lr)),
    });
    while r.step < step {
        r.lr = parts.iter().fold(r.lr, |lr, p| next(p, base, lr, r.step + 1));
        r.step += 1;
    }
    let lr = r.lr;
    REACHED.set(Some(r));
    lr
}

/// Whether a part sets the rate, whatever it was.
fn sets(part: &Schedule) -> bool {
    matches!(part, Schedule::CosineRestarts { .. } | Schedule::OneCycle { .. } | Schedule::Cyclic { .. })
}

/// The rate at step 0, of which the parts before made `lr`.
fn first(part: &Schedule, base: f64, lr: f64) -> f64 {
    let own = part.lr(base, 0);
    if sets(part) { own } else { factor(lr, own, base) }
}

/// The rate at a step, of which the step before or the parts before made `lr`.
fn next(part: &Schedule, base: f64, lr: f64, step: u64) -> f64 {
    match part {
        part if sets(part) => part.lr(base, step),
        Schedule::Cosine { t_max, eta_min } => {
            let t_max = (*t_max).max(1);
            // From a trough the ratio below is 0/0: what comes is added.
            if (step - 1) % (2 * t_max) == t_max {
                return lr + (base - eta_min) * (1.0 - (PI / t_max as f64).cos()) / 2.0;
            }
            let height = |t: u64| 1.0 + (PI * t as f64 / t_max as f64).cos();
            eta_min + (lr - eta_min) * height(step) / height(step - 1)
        }
        part => factor(lr, part.lr(base, step), part.lr(base, step - 1)),
    }
}

/// `lr` times `to / from`; where that has no value, what was 0 stays so.
fn factor(lr: f64, to: f64, from: f64) -> f64 {
    if from == 0.0 { lr } else { lr * (to / from) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_way_to_a_step_does_not_matter() {
        let parts = vec![Schedule::cosine(10, 0.01), Schedule::Exponential { gamma: 0.9 }];
        let s = Schedule::Chained { parts };
        let one_by_one: Vec<f64> = (0..40).map(|t| s.lr(0.1, t)).collect();
        let back: Vec<f64> = (0..40).rev().map(|t| s.lr(0.1, t)).collect();
        assert_eq!(one_by_one, back.into_iter().rev().collect::<Vec<_>>());
        assert!((0..40).all(|t| s.lr(0.0, t).is_finite()));
        assert_eq!(Schedule::Chained { parts: vec![] }.lr(0.1, 7), 0.1);
        let nested = Schedule::Chained { parts: vec![s.clone(), Schedule::Constant] };
        assert!((nested.lr(0.1, 7) - s.lr(0.1, 7)).abs() < 1e-15);
    }
}
