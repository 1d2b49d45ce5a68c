//! How a training run looks: a bar on a terminal, lines elsewhere, JSON for programs.

use crate::failure::Failure;
use crate::table::grouped;
use crate::terminal;
use hadal::train::metrics::Record;
use hadal::train::{Control, EpochRecord, Input, Observer, Start, StepRecord, Summary, Task};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;
use serde_json::json;
use std::path::Path;
use std::time::{Duration, Instant};

/// What is known when training starts, as lines of text.
pub fn header(s: &Start<'_>) -> String {
    let inputs = match &s.data.input {
        Input::Image { channels, height, width, .. } => {
            format!("{height} x {width} {}", if *channels == 1 { "grey" } else { "colour" })
        }
        Input::Vector { features } => format!("{features} features"),
    };
    let outputs = match &s.data.task {
        Task::Classification { classes } => format!("{} classes", classes.len()),
        Task::Regression { outputs } => format!("{outputs} to predict"),
    };
    let c = s.config;
    let mut text = format!(
        "{} {}, {} parameters\n{} {}: {} to learn from, {} to test, {inputs}, {outputs}\n{} {}, batch {}, lr {:?} {}\n{} cpu, {} thread{}, seed {}\n",
        terminal::bold("model "),
        c.model,
        grouped(s.parameters as u64),
        terminal::bold("data  "),
        s.data.name,
        grouped(s.train_samples as u64),
        grouped(s.test_samples as u64),
        terminal::bold("train "),
        c.optimizer,
        c.batch_size.saturating_mul(c.accumulate),
        c.learning_rate(),
        c.schedule,
        terminal::bold("device"),
        s.threads,
        if s.threads == 1 { "" } else { "s" },
        c.seed,
    );
    if c.valid_fraction > 0.0 {
        text.push_str(&format!(
            "{} {} % of the training data, held out to judge epochs\n",
            terminal::bold("valid "),
            // 0.07 is 7.000000000000001 %.
            (c.valid_fraction * 1e8).round() / 1e6
        ));
    }
    if let Some(run) = s.run {
        text.push_str(&format!("{} {}\n", terminal::bold("run   "), run.display()));
    }
    if s.step > 0 {
        text.push_str(&format!("{} from step {} of {}\n", terminal::bold("resume"), s.step, s.total_steps));
    }
    text
}

fn epoch_line(e: &EpochRecord, epochs: u64) -> String {
    let width = epochs.to_string().len();
    let mut text = format!("epoch {:>width$}/{epochs}  loss {:.4}", e.epoch, e.train_loss);
    if let Some(a) = e.train_accuracy {
        text.push_str(&format!("  acc {:5.2}%", 100.0 * a));
    }
    let held_out = if e.valid_loss.is_some() { "valid" } else { "test" };
    if let Some(loss) = e.held_out_loss() {
        text.push_str(&format!("  {held_out} {loss:.4}"));
    }
    if let Some(a) = e.held_out_accuracy() {
        text.push_str(&format!("  acc {:5.2}%", 100.0 * a));
    }
    text + &format!("  {} samples/s", grouped(e.samples_per_second as u64))
}

/// What a finished run says.
pub fn result(s: &Summary) -> String {
    let mut text = String::new();
    match (s.test_accuracy, s.test_loss) {
        (Some(a), Some(loss)) => text.push_str(&format!("test accuracy {:.2} %, loss {loss:.4}", 100.0 * a)),
        (None, Some(loss)) => text.push_str(&format!("test loss {loss:.6}")),
        _ => text.push_str("not evaluated"),
    }
    text.push_str(&format!(" after {} steps in {:.1} s\n", grouped(s.steps), s.seconds));
    terminal::bold(text.trim_end()) + "\n"
}

/// Lines, one an epoch, for logs and pipes.
#[derive(Default)]
pub struct Lines {
    epochs: u64,
}

impl Observer for Lines {
    fn on_start(&mut self, start: &Start<'_>) {
        self.epochs = start.config.epochs;
        // A closed pipe shows at the end, where it can be returned.
        let _ = terminal::print(&format!("{}\n", header(start)));
    }
    fn on_epoch(&mut self, epoch: &EpochRecord) -> Control {
        let _ = terminal::print(&format!("{}\n", epoch_line(epoch, self.epochs)));
        Control::Continue
    }
    fn on_note(&mut self, text: &str) {
        terminal::note(text);
    }
}

/// A bar for the epoch under way, and a line for each that is over.
pub struct Bar {
    bar: ProgressBar,
    epochs: u64,
    total: u64,
    steps_per_epoch: u64,
    first: u64,
    started: Instant,
    /// Sums over the epoch's steps, for the running averages.
    loss: f64,
    right: f64,
    /// Sum of seconds per sample: its mean is steadier than the last step's rate.
    slowness: f64,
    steps: u64,
}

impl Default for Bar {
    fn default() -> Self {
        Self {
            bar: ProgressBar::hidden(),
            epochs: 0,
            total: 0,
            steps_per_epoch: 0,
            first: 0,
            started: Instant::now(),
            loss: 0.0,
            right: 0.0,
            slowness: 0.0,
            steps: 0,
        }
    }
}

impl Observer for Bar {
    fn on_start(&mut self, s: &Start<'_>) {
        let _ = terminal::print(&format!("{}\n", header(s)));
        (self.epochs, self.total, self.steps_per_epoch) =
            (s.config.epochs, s.total_steps, s.steps_per_epoch.max(1));
        (self.first, self.started) = (s.step, Instant::now());
        // Ten times a second is quick enough for eyes, and costs nothing.
        self.bar =
            ProgressBar::with_draw_target(Some(self.steps_per_epoch), ProgressDrawTarget::stdout_with_hz(10));
        // The message takes what is left of the line and is cut there: a narrow terminal shows no debris.
        let style = ProgressStyle::with_template("{prefix} {bar:20.cyan/blue} {pos}/{len}  {wide_msg}");
        if let Ok(style) = style {
            self.bar.set_style(style.progress_chars("━╸─"));
        }
    }
    fn on_step(&mut self, r: &StepRecord) -> Control {
        self.steps += 1;
        self.loss += r.loss;
        self.right += r.accuracy.unwrap_or(0.0);
        self.slowness += 1.0 / r.samples_per_second.max(1e-9);
        let n = self.steps as f64;
        let done = (r.step - self.first).max(1);
        let left = self.started.elapsed().mul_f64(self.total.saturating_sub(r.step) as f64 / done as f64);
        let mut message = format!("loss {:.4}", self.loss / n);
        if r.accuracy.is_some() {
            message.push_str(&format!("  acc {:.2}%", 100.0 * self.right / n));
        }
        message.push_str(&format!(
            "  {} samples/s  {} left",
            grouped((n / self.slowness) as u64),
            short(left)
        ));
        if self.steps == 1 {
            self.bar.reset();
            self.bar.set_prefix(format!("{}/{}", r.epoch, self.epochs));
        }
        self.bar.set_message(message);
        // A resumed epoch begins in its middle.
        self.bar.set_position(r.step - (r.epoch - 1) * self.steps_per_epoch);
        Control::Continue
    }
    fn on_epoch(&mut self, e: &EpochRecord) -> Control {
        (self.loss, self.right, self.slowness, self.steps) = (0.0, 0.0, 0.0, 0);
        self.bar.println(epoch_line(e, self.epochs));
        Control::Continue
    }
    fn on_note(&mut self, text: &str) {
        self.bar.println(text);
    }
    fn on_end(&mut self, _: &Summary) {
        self.bar.finish_and_clear();
    }
}

/// `3 s`, `2:05`, `1:02:05`.
fn short(d: Duration) -> String {
    let s = d.as_secs();
    match (s / 3600, s / 60 % 60, s % 60) {
        (0, 0, s) => format!("{s} s"),
        (0, m, s) => format!("{m}:{s:02}"),
        (h, m, s) => format!("{h}:{m:02}:{s:02}"),
    }
}

/// One JSON object a line, the last with the result.
#[derive(Default)]
pub struct JsonLines {
    /// Keeps the last line back until [`release_end`](JsonLines::release_end).
    hold_end: bool,
    end: Option<serde_json::Value>,
    log_every: u64,
    failed: Option<Failure>,
}

/// The last line.
#[derive(Serialize)]
struct End<'a> {
    event: &'static str,
    #[serde(flatten)]
    summary: &'a Summary,
}

impl JsonLines {
    fn put(&mut self, value: &impl Serialize) {
        // Output that is lost must not end the training; the exit code tells at the end.
        if let (Err(e), None) = (terminal::print_json(value), &self.failed) {
            self.failed = Some(e);
        }
    }

    /// With the last line kept back until [`release_end`](JsonLines::release_end), where that is wanted.
    pub fn new(hold_end: bool) -> JsonLines {
        JsonLines { hold_end, ..JsonLines::default() }
    }

    /// Prints a line that was made after the training, and the last line where it was held back.
    pub fn release_end(&mut self, before: Option<serde_json::Value>) {
        before.iter().chain(&self.end.take()).for_each(|line| self.put(line));
    }

    /// Why a line could not be written, the first of them; a quiet end when the reader went away.
    pub fn failed(&mut self) -> Option<Failure> {
        self.failed.take()
    }

    /// The last line of a run that failed.
    pub fn end(failure: &Failure) {
        let (status, error) = failure.status();
        // The failure itself is on its way to standard error and the exit code.
        let _ = terminal::print_json(&json!({ "event": "end", "status": status, "error": error }));
    }
}

impl Observer for JsonLines {
    fn on_start(&mut self, s: &Start<'_>) {
        self.log_every = s.config.log_every.max(1);
        self.put(&json!({
            "event": "start", "model": s.config.model, "parameters": s.parameters, "data": s.data.name,
            "train_samples": s.train_samples, "test_samples": s.test_samples, "device": "cpu",
            "valid_fraction": s.config.valid_fraction,
            "threads": s.threads, "seed": s.config.seed, "epochs": s.config.epochs,
            "steps_per_epoch": s.steps_per_epoch, "total_steps": s.total_steps, "step": s.step, "run": s.run,
        }));
    }
    fn on_step(&mut self, r: &StepRecord) -> Control {
        if r.step.is_multiple_of(self.log_every) {
            self.put(&Record::Step(r.clone()));
        }
        Control::Continue
    }
    fn on_epoch(&mut self, e: &EpochRecord) -> Control {
        self.put(&Record::Epoch(e.clone()));
        Control::Continue
    }
    fn on_checkpoint(&mut self, step: u64, path: &Path) {
        self.put(&json!({ "event": "checkpoint", "step": step, "path": path }));
    }
    fn on_note(&mut self, text: &str) {
        self.put(&json!({ "event": "note", "text": text }));
    }
    fn on_end(&mut self, s: &Summary) {
        let end = End { event: "end", summary: s };
        match serde_json::to_value(&end) {
            Ok(end) if self.hold_end => self.end = Some(end),
            _ => self.put(&end),
        }
    }
}
