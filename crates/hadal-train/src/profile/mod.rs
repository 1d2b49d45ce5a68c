//! Reports of a recording: where the time of a training step, or of anything else, went, and how near
//! that is to what the machine can do.
//!
//! [`profile()`] records, [`Ceilings`] say what is possible, a [`Report`] puts them together: as tables
//! by operation and by module, as JSON, as a trace for Chrome or Perfetto, as a flame graph and as a
//! roofline.
//!
//! ```
//! use hadal_nn::{Ctx, Forward, Init, Linear, Module};
//! use hadal_tensor::{DType, Tensor};
//! use hadal_train::profile::{Ceilings, Report, profile};
//!
//! let net = Linear::new(&Init::new(0), 64, 64);
//! net.name_layers();
//! let x = Tensor::ones([8, 64], DType::F32);
//! // A first call warms memory and threads up.
//! net.forward(&x, &Ctx::eval()).eval()?;
//! let (outcome, seen) = profile(|| (0..5).try_for_each(|_| net.forward(&x, &Ctx::eval()).eval()));
//! outcome?;
//! # let ceilings = Ceilings { gflops: 100.0, read_gbs: 30.0, ..Default::default() };
//! # let _ = stringify!(
//! let ceilings = Ceilings::measure();
//! # );
//! let report = Report::new(seen, ceilings).title("a linear layer").steps(5);
//! let product = report.operations().iter().find(|o| o.name.contains("matmul")).unwrap();
//! // The product runs the addition of the bias on its result.
//! assert_eq!((product.sum.calls, product.sum.flops), (5, 5 * (2 * 8 * 64 * 64 + 8 * 64)));
//! assert!(report.table().starts_with("a linear layer: 5 steps of "));
//! # let dir = std::env::temp_dir().join(format!("hadal-doc-profile-{}", std::process::id()));
//! report.write(&dir)?; // table.txt, profile.json, trace.json, flame.svg, roofline.png and more
//! # std::fs::remove_dir_all(&dir).unwrap();
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod ceilings;
mod flame;
mod inference;
mod json;
mod pictures;
mod sums;
mod table;
#[cfg(test)]
mod tests;
mod trace;

pub use ceilings::{Ceilings, processor};
pub use hadal_tensor::{Evaluation, Phase, Profile, Work, profile};
pub use inference::{inference, random_data};
pub use sums::{Layer, Operation, Sum, Times};

use crate::Result;
use hadal_io::{IoError, write_atomic};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A recording, added up and held against the machine's ceilings.
#[derive(Clone, Debug)]
pub struct Report {
    title: String,
    steps: u64,
    profile: Profile,
    ceilings: Ceilings,
    times: Times,
    operations: Vec<Operation>,
    layers: Vec<Layer>,
}

impl Report {
    /// Adds a recording up. It counts as one step until [`steps`](Report::steps) says otherwise.
    pub fn new(profile: Profile, ceilings: Ceilings) -> Report {
        Report {
            title: "profile".into(),
            steps: 1,
            times: Times::of(&profile),
            operations: sums::operations(&profile.work, &ceilings),
            layers: sums::layers(&profile, &ceilings),
            profile,
            ceilings,
        }
    }

    /// Names what was recorded.
    #[must_use]
    pub fn title(mut self, title: impl Into<String>) -> Report {
        self.title = title.into();
        self
    }

    /// Says how many equal steps were recorded: tables and pictures show one of them, the mean.
    #[must_use]
    pub fn steps(mut self, steps: u64) -> Report {
        self.steps = steps.max(1);
        self
    }

    /// The recording.
    pub fn profile(&self) -> &Profile {
        &self.profile
    }
    /// What the machine can do.
    pub fn ceilings(&self) -> &Ceilings {
        &self.ceilings
    }
    /// Where the time of all steps went.
    pub fn times(&self) -> Times {
        self.times
    }
    /// Operations by name and phase, of all steps together, the longest first.
    pub fn operations(&self) -> &[Operation] {
        &self.operations
    }
    /// Modules, of all steps together, in the order in which they first ran, each followed by those in it.
    pub fn layers(&self) -> &[Layer] {
        &self.layers
    }

    /// Forward pass, backward pass and optimizer, of all steps together.
    pub fn phases(&self) -> [(Phase, Sum); 3] {
        let sums = sums::by_phase(&self.operations);
        sums::PHASES.map(|phase| (phase, sums[phase as usize]))
    }

    /// All pieces of work together.
    pub fn work(&self) -> Sum {
        self.operations.iter().map(|o| &o.sum).collect()
    }

    /// Writes everything into a folder, which is made where there is none: `table.txt`, `profile.json`,
    /// `trace.json` (open it in Perfetto or `chrome://tracing`), `flame.svg`, `roofline.png`,
    /// `roofline.svg` and, where something was computed, `memory.svg`. Files of these names are replaced.
    /// Gives their paths.
    ///
    /// # Errors
    /// The folder or a file cannot be written.
    pub fn write(&self, dir: &Path) -> Result<Vec<PathBuf>> {
        std::fs::create_dir_all(dir).map_err(|e| IoError::os("make the folder", dir, e))?;
        let texts = [
            ("table.txt", self.table()),
            ("profile.json", format!("{}\n", self.json())),
            ("trace.json", self.trace()),
            ("flame.svg", self.flame()),
        ];
        let mut written = Vec::new();
        for (name, text) in texts {
            let path = dir.join(name);
            write_atomic(&path, |w| w.write_all(text.as_bytes()))?;
            written.push(path);
        }
        for name in ["roofline.png", "roofline.svg"] {
            let path = dir.join(name);
            self.roofline(&path)?;
            written.push(path);
        }
        if !self.profile.work.is_empty() {
            let path = dir.join("memory.svg");
            self.memory(&path)?;
            written.push(path);
        }
        Ok(written)
    }

    /// Milliseconds of one step.
    fn ms(&self, all: Duration) -> f64 {
        all.as_secs_f64() * 1e3 / self.steps as f64
    }

    /// Share of the whole time, from 0 to 1; 0 of nothing.
    fn share(&self, part: Duration) -> f64 {
        let total = self.times.total().as_secs_f64();
        if total > 0.0 { part.as_secs_f64() / total } else { 0.0 }
    }

    /// Evaluations that used the plan of an earlier one.
    fn plans_reused(&self) -> usize {
        self.profile.evaluations.iter().filter(|e| e.reused).count()
    }

    /// `lenet: 20 steps of 1.234 ms on 2 threads`.
    fn headline(&self) -> String {
        let (n, ms, threads) = (self.steps, self.ms(self.times.total()), self.ceilings.threads);
        let steps = if n == 1 { "1 step".to_owned() } else { format!("{n} steps") };
        let on = match threads {
            0 => String::new(),
            1 => " on 1 thread".into(),
            n => format!(" on {n} threads"),
        };
        format!("{}: {steps} of {ms:.3} ms{on}", self.title)
    }
}

/// The parts of the time that are no work, named.
fn other(times: &Times) -> [(&'static str, Duration); 3] {
    [
        ("planning", times.planning),
        ("between operations", times.between),
        ("outside evaluations", times.outside),
    ]
}

/// A number with three digits and a prefix of a thousand each: `842k`, `1.21M`.
fn si(n: f64) -> String {
    let (mut v, mut unit) = (n, 0);
    const UNITS: [&str; 6] = ["", "k", "M", "G", "T", "P"];
    // Rounding to three digits must not give 1000 of a unit.
    while v >= 999.5 && unit + 1 < UNITS.len() {
        v /= 1000.0;
        unit += 1;
    }
    three(v, unit == 0 && v.fract() == 0.0) + UNITS[unit]
}

/// Three digits, or what a whole number has.
fn three(v: f64, whole: bool) -> String {
    match v {
        v if whole || v >= 99.95 => format!("{v:.0}"),
        v if v >= 9.995 => format!("{v:.1}"),
        v => format!("{v:.2}"),
    }
}
