//! Recording some updates of a run for the profiler. What is trained stays the same bits.

use super::Trainer;
use crate::Result;
use hadal_data::{BatchIter, DataLoader};
use hadal_optim::Schedule;
use hadal_tensor::{Profile, profile};
use std::time::Duration;

/// What was recorded of a run.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Recorded {
    /// The updates, one behind the other: reading the batch, the update, what observers and logs do with
    /// it. Evaluations of the model and checkpoints between them are left out.
    pub profile: Profile,
    /// The first of the updates, counted from 1.
    pub first: u64,
    /// How many there are.
    pub steps: u64,
}

/// What is to be recorded.
#[derive(Clone, Debug)]
pub(super) struct Recording {
    warm_up: u64,
    steps: u64,
    /// Updates that this call has made.
    made: u64,
    recorded: Recorded,
}

impl Trainer {
    /// Records `steps` of the next [`run`](Trainer::run)'s updates after `warm_up` of them, which are
    /// slower than the others: memory is touched for the first time. A run that has fewer updates left
    /// warms up for fewer, and records what there is. The results are the same bits as without.
    ///
    /// ```
    /// use hadal_train::{Config, Trainer, profile::{Ceilings, Report}};
    /// let mut config = Config::default();
    /// for (name, value) in [("model", "linear-regression"), ("data", "linear"), ("epochs", "1"),
    ///                       ("artifacts", "false"), ("evaluate", "false")] {
    ///     config.set(name, value)?;
    /// }
    /// let mut trainer = Trainer::new(config)?;
    /// trainer.record(5, 3).run()?;
    /// let seen = trainer.recorded().unwrap();
    /// assert_eq!((seen.first, seen.steps), (6, 3));
    /// # let ceilings = Ceilings::default();
    /// # let _ = stringify!(
    /// let ceilings = Ceilings::measure();
    /// # );
    /// println!("{}", Report::new(seen.profile.clone(), ceilings).steps(seen.steps).table());
    /// # Ok::<(), hadal_train::TrainError>(())
    /// ```
    pub fn record(&mut self, warm_up: u64, steps: u64) -> &mut Self {
        self.recording = Some(Recording { warm_up, steps, made: 0, recorded: Recorded::default() });
        self
    }

    /// What was recorded; `None` when nothing was asked for, or no update was made.
    pub fn recorded(&self) -> Option<&Recorded> {
        self.recording.as_ref().map(|r| &r.recorded).filter(|r| r.steps > 0)
    }

    /// Warms up for less where the run has too few updates left, so that there is something to record.
    pub(super) fn shorten_warm_up(&mut self, left: u64) {
        if let Some(r) = &mut self.recording {
            r.warm_up = r.warm_up.min(left.saturating_sub(1));
        }
    }

    /// An update, recorded when it is one of those that are to be.
    pub(super) fn step(
        &mut self,
        loader: &DataLoader,
        batches: &mut BatchIter,
        schedule: &Schedule,
    ) -> Result<bool> {
        let Some(r) = &mut self.recording else { return self.update(loader, batches, schedule) };
        r.made += 1;
        if r.made <= r.warm_up || r.recorded.steps >= r.steps {
            return self.update(loader, batches, schedule);
        }
        let (outcome, seen) = profile(|| self.update(loader, batches, schedule));
        let stop = outcome?;
        if let Some(r) = &mut self.recording {
            let to = &mut r.recorded;
            if to.steps == 0 {
                to.first = self.progress.step;
            }
            to.steps += 1;
            append(&mut to.profile, seen);
        }
        Ok(stop)
    }
}

/// Adds a recording behind another.
pub(crate) fn append(to: &mut Profile, seen: Profile) {
    let later = |d: Duration| d + to.total;
    to.work.extend(seen.work.into_iter().map(|w| hadal_tensor::Work { start: later(w.start), ..w }));
    let evaluations = seen.evaluations.into_iter();
    to.evaluations.extend(evaluations.map(|e| hadal_tensor::Evaluation { start: later(e.start), ..e }));
    to.total += seen.total;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Config;
    use hadal_tensor::Tensor;

    fn trainer(more: &[(&str, &str)]) -> Trainer {
        let mut config = Config::default();
        let base = [
            ("model", "mlp"),
            ("hidden", "8"),
            ("data", "digits"),
            ("max-steps", "12"),
            ("artifacts", "false"),
            ("evaluate", "false"),
        ];
        for (name, value) in base.iter().chain(more) {
            config.set(name, value).unwrap();
        }
        Trainer::new(config).unwrap()
    }

    #[test]
    fn the_results_are_the_same_bits_and_the_right_steps_are_seen() {
        let weights = |t: &Trainer| -> Vec<Vec<f32>> {
            t.model()
                .state_dict()
                .iter()
                .map(|(_, t): &(String, Tensor)| t.to_vec::<f32>().unwrap())
                .collect()
        };
        let mut plain = trainer(&[]);
        plain.run().unwrap();
        assert_eq!(plain.recorded(), None);
        let mut seen = trainer(&[]);
        seen.record(5, 4).run().unwrap();
        assert_eq!(weights(&plain), weights(&seen));
        let r = seen.recorded().unwrap();
        assert_eq!((r.first, r.steps), (6, 4));
        // The layers' names are there, and each step is like the others.
        let of = |layer: &str| r.profile.work.iter().filter(|w| w.layer.as_deref() == Some(layer)).count();
        let names: Vec<String> = seen.model().parameters().into_iter().map(|(n, _)| n).collect();
        let layer = names[0].rsplit_once('.').unwrap().0;
        assert!(of(layer) > 0 && of(layer) % 4 == 0, "{layer}: {}", of(layer));
        assert!(r.profile.work.windows(2).all(|w| w[0].start + w[0].time <= w[1].start));
        let last = r.profile.work.last().unwrap();
        assert!(last.start + last.time <= r.profile.total);
        assert_eq!(r.profile.evaluations.iter().map(|e| e.work).sum::<usize>(), r.profile.work.len());
    }

    #[test]
    fn short_runs_are_recorded_as_far_as_they_go() {
        for (steps, first, recorded) in [("1", 1, 1), ("3", 3, 1), ("7", 6, 2)] {
            let mut t = trainer(&[("max-steps", steps)]);
            t.record(5, 20).run().unwrap();
            let r = t.recorded().unwrap();
            assert_eq!((r.first, r.steps), (first, recorded), "{steps} steps");
        }
    }
}
