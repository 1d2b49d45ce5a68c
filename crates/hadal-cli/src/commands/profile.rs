//! `hadal profile`: where the time of a training step or of an answer goes. `hadal train --profile`
//! tells the same of a real run.

use crate::commands::devices::memory_bytes;
use crate::failure::{Failure, Result};
use crate::places::{cache_dir, open_run, use_threads};
use crate::table::bytes;
use crate::terminal;
use hadal::nn::Init;
use hadal::profile::{Ceilings, Report, inference, random_data};
use hadal::train::config::{Precision, Setting};
use hadal::train::{Config, DataInfo, Input, Places, Recorded, Task, TrainData, Trainer, data};
use hadal::zoo::{ModelOptions, Output, build, model, models, nearest};
use std::path::{Path, PathBuf};

const EXAMPLES: &str = "\
Examples:
  hadal profile lenet
  hadal profile runs/lenet-1 --batch-size 256 --out lenet-profile
  hadal profile runs/lenet-1 --inference --threads 1
  hadal profile mlp --json

A run is profiled with its own configuration, on its data where that is here,
else on random data of the same form; the run is left as it is. --out writes
table.txt, profile.json, trace.json (for ui.perfetto.dev), flame.svg,
roofline.png, roofline.svg and memory.svg.

What this machine can do is measured once and kept in the cache folder;
`hadal devices --measure` measures it again.";

/// Steps before those that are recorded: memory is touched for the first time in them.
pub const WARM_UP: u64 = 5;
/// Operations shown on a terminal.
const ROWS: usize = 15;

/// What to profile.
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// A run folder, a weights file or checkpoint, or a model's name
    #[arg(value_name = "RUN|MODEL")]
    what: String,
    /// Profile answers in evaluation mode, not training steps
    #[arg(long)]
    inference: bool,
    /// Samples in a batch [default: those of training; 1 with --inference]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    batch_size: Option<u32>,
    /// Steps to record, after 5 to warm up
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1000))]
    steps: u32,
    /// Threads that compute; 0 takes all cores [default: 0]
    #[arg(
        long,
        value_name = "N",
        default_value = "0",
        hide_default_value = true,
        allow_negative_numbers = true
    )]
    threads: String,
    /// Write tables, trace and pictures into this folder
    #[arg(long, short, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// What was named.
struct Subject {
    name: String,
    options: ModelOptions,
    config: Config,
    data: TrainData,
    /// Weights to answer with; training begins with new ones, which are as fast.
    run: Option<hadal::train::Run>,
}

/// Profiles.
pub fn run(args: &Args) -> Result {
    use_threads(&args.threads)?;
    let path = Path::new(&args.what);
    let subject = if path.exists() { of_run(path, args)? } else { of_model(&args.what, args)? };
    let batch = batch_size(&subject.config, args);
    let steps = u64::from(args.steps);
    let (recorded, doing) = if args.inference {
        let built;
        let net = match &subject.run {
            Some(run) => run.model(),
            None => {
                built = build(&subject.name, &subject.options, &Init::new(0))?;
                built.as_ref()
            }
        };
        (inference(net, &subject.data.test, batch, WARM_UP, steps)?, "inference")
    } else {
        (train(&subject, batch, steps)?, "training")
    };
    let title = format!("{doing} of {}, batch {batch}", subject.name);
    let report = report(recorded, title);
    if let Some(dir) = &args.out {
        report.write(dir)?;
    }
    if args.json {
        return terminal::print_json(&report.json());
    }
    terminal::print(&told(&report, args.out.as_deref()))
}

/// A report of what was recorded, held against this machine's ceilings.
pub fn report(recorded: Recorded, title: String) -> Report {
    Report::new(recorded.profile, ceilings()).title(title).steps(recorded.steps)
}

/// The top rows, and where the rest is.
pub fn told(report: &Report, dir: Option<&Path>) -> String {
    let mut text = report.top(ROWS, terminal::WIDTH);
    if let Some(dir) = dir {
        text.push_str(&format!("\ntables, trace and pictures in {}\n", dir.display()));
    }
    text
}

/// This machine's, out of the cache folder; measured where they are not there.
fn ceilings() -> Ceilings {
    // A machine without a home measures each time.
    let cache = cache_dir(None).ok();
    if let Some(known) = cache.as_deref().and_then(Ceilings::load) {
        return known;
    }
    let measured = Ceilings::measure();
    keep(&measured);
    measured
}

/// Keeps ceilings in the cache folder; where that cannot be written, says so.
pub fn keep(ceilings: &Ceilings) {
    if let Ok(dir) = cache_dir(None)
        && let Err(e) = ceilings.save(&dir)
    {
        terminal::note(&format!("note: what was measured of this machine is not kept: {e}"));
    }
}

fn train(subject: &Subject, batch: usize, steps: u64) -> Result<Recorded> {
    let mut config = subject.config.clone();
    config.batch_size = batch;
    // Nothing of the run but its steps.
    (config.artifacts, config.evaluate, config.out, config.early_stop) = (false, false, None, None);
    config.max_steps = Some(WARM_UP + steps);
    // The number of threads is this command's, not the run's.
    config.threads = 0;
    // Epochs of one step each would do; schedules are stretched, which changes no step's work.
    config.epochs = config.epochs.max(WARM_UP + steps);
    let init = Init::new(config.seed).dtype(match config.dtype {
        Precision::F64 => hadal::DType::F64,
        Precision::F32 => hadal::DType::F32,
        Precision::Bf16 => hadal::DType::BF16,
    });
    let net = build(&subject.name, &subject.options, &init)?;
    let mut trainer = Trainer::with_model(config, net, subject.data.clone())?;
    trainer.record(WARM_UP, steps).run()?;
    trainer.recorded().cloned().ok_or_else(|| Failure::new("no step was made, so nothing was recorded"))
}

fn batch_size(config: &Config, args: &Args) -> usize {
    args.batch_size.map_or(if args.inference { 1 } else { config.batch_size }, |n| n as usize)
}

fn of_run(path: &Path, args: &Args) -> Result<Subject> {
    let run = open_run(path)?;
    let about = run.about().clone();
    let config = run.config().cloned().unwrap_or_default();
    let config = Config { model: about.model.clone(), data: about.data.name.clone(), ..config };
    let data = match here(&config) {
        Some(data) if data.info.model_options(&about.options.hidden) == about.options => data,
        _ => {
            terminal::note(&format!(
                "note: data set {} is not here; random data of the same form is used",
                about.data.name
            ));
            random(&about.data, &config, args)?
        }
    };
    Ok(Subject { name: about.model, options: about.options, config, data, run: Some(run) })
}

fn of_model(name: &str, args: &Args) -> Result<Subject> {
    let Ok(info) = model(name) else { return Err(unknown(name)) };
    let setting = Setting { name: "model".into(), value: info.name.into(), place: "--".into() };
    let config = Config::from_settings(&[setting])?;
    let options = ModelOptions { hidden: config.hidden.clone(), ..(info.options)() };
    let data = match here(&config) {
        Some(data) if data.info.model_options(&options.hidden) == options => data,
        // What the model is known for is no data set of this program.
        _ => random(&form(&options, info.output), &config, args)?,
    };
    Ok(Subject { name: info.name.to_owned(), options, config, data, run: None })
}

/// The configuration's data, where it needs no download.
fn here(config: &Config) -> Option<TrainData> {
    let cache = cache_dir(None).ok();
    let places = Places { download: false, ..Places::of(config, cache.as_deref()) };
    data::load(config, &places, &mut |_| {}).ok()
}

/// Two batches of random data.
fn random(info: &DataInfo, config: &Config, args: &Args) -> Result<TrainData> {
    let samples = 2 * batch_size(config, args);
    let features = match &info.input {
        Input::Image { channels, height, width, .. } => {
            channels.saturating_mul(*height).saturating_mul(*width)
        }
        Input::Vector { features } => *features,
    };
    let needed = (samples as u64).saturating_mul(features as u64).saturating_mul(4);
    if let Some(memory) = memory_bytes().filter(|m| needed > m / 2) {
        return Err(Failure::new(format!(
            "two batches of {} samples take {}, this machine has {}",
            samples / 2,
            bytes(needed),
            bytes(memory)
        ))
        .help("use a smaller --batch-size"));
    }
    Ok(random_data(info, samples)?)
}

/// What the data of a model of these sizes is like.
fn form(o: &ModelOptions, output: Output) -> DataInfo {
    let input = if o.height * o.width > 1 {
        Input::Image {
            channels: o.in_channels,
            height: o.height,
            width: o.width,
            mean: vec![0.0; o.in_channels],
            std: vec![1.0; o.in_channels],
            dark_background: false,
            centered: false,
        }
    } else {
        Input::Vector { features: o.in_channels }
    };
    let task = match output {
        Output::Logits => Task::Classification { classes: (0..o.classes).map(|c| c.to_string()).collect() },
        Output::Values => Task::Regression { outputs: o.classes },
    };
    DataInfo { name: "random".into(), task, input }
}

fn unknown(what: &str) -> Failure {
    let names: Vec<&str> = models().iter().map(|m| m.name).collect();
    // What looks like a path was meant as one.
    if what.contains(['/', '\\', '.']) {
        return Failure::new(format!("there is no run folder or weights file {what}")).help("check the path");
    }
    let failure = Failure::new(format!("there is no run folder or model named '{what}'"));
    match nearest(&what.to_lowercase(), &names) {
        Some(near) => failure.help(format!("did you mean '{near}'?")),
        None => failure,
    }
    .help(format!("models are {}", names.join(", ")))
}
