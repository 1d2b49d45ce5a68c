//! `hadal train`: a new run, or one continued.

use crate::commands::data::progress;
use crate::commands::devices::memory_bytes;
use crate::commands::profile;
use crate::failure::{Failure, INTERRUPTED, Result, USAGE};
use crate::places::{cache_dir, data_help, refuse_file};
use crate::table::grouped;
use crate::terminal;
use crate::ui::{self, Bar, JsonLines, Lines};
use clap::builder::PossibleValuesParser;
use clap::{Arg, ArgAction, ArgMatches, Command, FromArgMatches};
use hadal::nn::{Init, Module};
use hadal::profile::Report;
use hadal::train::config::{FIELDS, Field, Precision, Setting};
use hadal::train::shell::quoted;
use hadal::train::{Config, Places, Status, StopHandle, Summary, TrainData, TrainError, Trainer, data};
use serde_json::json;
use std::cell::RefCell;
use std::io::IsTerminal;
use std::path::PathBuf;
use std::rc::Rc;

const EXAMPLES: &str = "\
Examples:
  hadal train
  hadal train --model mlp --hidden 512,128 --epochs 5 --optimizer sgd --lr 0.1
  hadal train --data mnist --augment light --ema 0.999 --clip-norm 1 --out runs/best
  hadal train --config runs/best/config.toml --seed 1 --out runs/again
  hadal train --resume runs/best
  hadal train --model linear-regression --json
  hadal train --profile --max-steps 100

A flag that has no effect with the model, data, optimizer and schedule chosen is
refused, and so is such a line of a file. What --no-download, --no-decay-vectors,
--no-evaluate and --no-artifacts switch off, or a file does, --download,
--decay-vectors, --evaluate and --artifacts switch on again.

A run folder holds config.toml, metrics.jsonl, events for TensorBoard, curves,
confusion matrix, worst mistakes, checkpoints, model.json, model.safetensors and
result.json; with --profile also profile/ with table.txt, profile.json,
trace.json (for ui.perfetto.dev), flame.svg, roofline.png, roofline.svg and
memory.svg.";

/// What to train, and how.
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Take settings from this TOML file; flags win over it
    #[arg(long, value_name = "FILE", conflicts_with = "resume")]
    config: Option<PathBuf>,
    /// Continue this run, to the same bits as if it had never stopped
    #[arg(long, value_name = "RUN")]
    resume: Option<PathBuf>,
    /// Record so many steps, after 5 to warm up, and tell where their time goes:
    /// a table, and more in profile/ of the run folder [default: 20]
    #[arg(long, value_name = "N", num_args = 0..=1, default_missing_value = "20", hide_default_value = true, value_parser = clap::value_parser!(u32).range(1..=1000))]
    profile: Option<u32>,
    /// Print nothing but errors
    #[arg(long, short)]
    quiet: bool,
    /// Print one JSON object a line, the last with the result
    #[arg(long, conflicts_with = "quiet")]
    json: bool,
    #[command(flatten)]
    fields: Fields,
}

/// A flag for each field of the configuration.
#[derive(Clone, Debug, Default)]
struct Fields(Vec<Setting>);

/// Headings of the help, and the field each begins with.
const HEADINGS: &[(&str, &str)] = &[
    ("model", "Model and data"),
    ("epochs", "Length and batches"),
    ("optimizer", "Optimizer"),
    ("schedule", "Learning-rate schedule"),
    ("clip-norm", "Regularisation"),
    ("seed", "Run"),
];

fn flag(f: &'static Field) -> Arg {
    let mut help = f.help.trim().trim_end_matches('.').to_owned();
    let default =
        Config::default().get(f.name).map(|v| v.replace(['"', '[', ']'], "")).filter(|v| !v.is_empty());
    let switch = f.kind == "BOOL";
    if let (Some(v), false) = (default, switch) {
        help.push_str(&format!(" [default: {v}]"));
    }
    let arg = Arg::new(f.name).long(f.name).help(help).action(ArgAction::Append).overrides_with(f.name);
    if switch {
        // `--nesterov`, or `--nesterov=false` over a file that says true.
        let arg = arg.num_args(0..=1).require_equals(true).default_missing_value("true");
        return arg.value_parser(["true", "false"]).hide_possible_values(true).value_name("BOOL").hide(f.on);
    }
    let folder = matches!(f.name, "data-dir" | "cache-dir" | "out");
    let arg = arg.value_name(if folder { "DIR" } else { f.kind }).allow_negative_numbers(true);
    if f.choices.is_empty() {
        arg
    } else {
        arg.value_parser(PossibleValuesParser::new(f.choices)).ignore_case(true)
    }
}

/// The flag that switches off what is on unless it is switched off, and its help.
fn off(f: &Field) -> Option<(&'static str, &'static str)> {
    f.on.then_some(match f.name {
        "download" => ("no-download", "Do not download a data set that is not there"),
        "decay-vectors" => ("no-decay-vectors", "No weight decay on biases and other vectors"),
        "master-weights" => ("no-master-weights", "Keep no f32 copies of bf16 weights"),
        "evaluate" => ("no-evaluate", "Evaluate neither after epochs nor at the end"),
        _ => ("no-artifacts", "Write no run folder"),
    })
}

impl clap::Args for Fields {
    fn augment_args(mut command: Command) -> Command {
        let mut heading = None;
        for f in FIELDS {
            heading = HEADINGS.iter().find(|(first, _)| *first == f.name).map(|(_, h)| *h).or(heading);
            command = command.arg(flag(f).help_heading(heading));
            if let Some((name, help)) = off(f) {
                let off = Arg::new(name).long(name).help(help).action(ArgAction::SetTrue);
                command = command.arg(off.help_heading(heading).conflicts_with(f.name));
            }
        }
        command
    }
    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for Fields {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut fields = Fields::default();
        fields.update_from_arg_matches(matches)?;
        Ok(fields)
    }
    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        for f in FIELDS {
            let value = match matches.get_raw(f.name).and_then(Iterator::last) {
                Some(v) => v.to_string_lossy().into_owned(),
                None if off(f).is_some_and(|(name, _)| matches.get_flag(name)) => "false".to_owned(),
                None => continue,
            };
            self.0.push(Setting { name: f.name.to_owned(), value, place: "--".to_owned() });
        }
        Ok(())
    }
}

/// Trains.
pub fn run(args: &Args) -> Result {
    // For programs, whatever ends a run that was asked for properly ends the lines too.
    let told = |f: Failure| {
        if args.json && !f.is_usage() {
            JsonLines::end(&f);
        }
        f
    };
    let mut trainer = prepare(args).map_err(told)?;
    if let Some(steps) = args.profile {
        trainer.record(profile::WARM_UP, u64::from(steps));
    }
    let lines = Rc::new(RefCell::new(JsonLines::new(args.profile.is_some())));
    if args.json {
        trainer.observe(lines.clone());
    } else if args.quiet {
        // Nobody watches.
    } else if std::io::stdout().is_terminal() && !terminal::dumb() {
        trainer.observe(Bar::default());
    } else {
        trainer.observe(Lines::default());
    }
    stop_on_signal(trainer.stop_handle())?;
    let summary = trainer.run().map_err(|e| told(failure(e)))?;
    let talk = !args.json && !args.quiet;
    let profiled = profiled(&trainer, &summary).map_err(told)?;
    if args.json {
        lines.borrow_mut().release_end(
            profiled
                .as_ref()
                .map(|(report, dir)| json!({ "event": "profile", "folder": dir, "profile": report.json() })),
        );
    }
    let run = summary.run.as_ref().map(|p| p.display().to_string());
    if summary.status == Status::Interrupted {
        let mut message = format!("interrupted after {} steps", summary.steps);
        match &run {
            Some(run) => message.push_str(&format!(
                "; everything is saved\ngo on with: hadal train --resume {}",
                quoted(run)
            )),
            None => message.push_str("; nothing is saved, since no run folder was wanted"),
        }
        if !args.quiet {
            terminal::note(&message);
        }
        return Err(Failure::quiet(INTERRUPTED));
    }
    if let Some(f) = lines.borrow_mut().failed() {
        return Err(f);
    }
    if talk {
        let why = match summary.status {
            Status::EarlyStopped => {
                "stopped early: the held-out loss no longer falls; the best weights are kept\n"
            }
            _ => "",
        };
        let mut text = format!("\n{why}{}", ui::result(&summary));
        if let Some(run) = run {
            text.push_str(&format!("weights and pictures in {run}\n"));
            if trainer.data().info.classes().is_some() {
                text.push_str(&format!("use them: hadal predict {} IMAGE.png\n", quoted(&run)));
            }
        }
        if let Some((report, dir)) = &profiled {
            text.push_str(&format!("\n{}", profile::told(report, dir.as_deref())));
        }
        terminal::print(&text)?;
    }
    Ok(())
}

/// A report of the steps that were recorded, and the folder of the run that it was written into.
fn profiled(trainer: &Trainer, summary: &Summary) -> Result<Option<(Report, Option<PathBuf>)>> {
    let Some(recorded) = trainer.recorded() else { return Ok(None) };
    let config = trainer.config();
    let batch = config.batch_size.saturating_mul(config.accumulate);
    let title = format!("training of {}, batch {batch}", config.model);
    let report = profile::report(recorded.clone(), title);
    let dir = summary.run.as_ref().map(|run| run.join("profile"));
    if let Some(dir) = &dir {
        report.write(dir)?;
    }
    Ok(Some((report, dir)))
}

fn prepare(args: &Args) -> Result<Trainer> {
    let file = match &args.config {
        // A file that cannot be read is a wrong configuration as well.
        Some(file) => Config::settings_from_file(file).map_err(|e| Failure::from(e).code(USAGE))?,
        None => Vec::new(),
    };
    let flags = &args.fields.0;
    args.resume.as_deref().map_or(Ok(()), refuse_file)?;
    let config = match &args.resume {
        Some(run) => Trainer::resume_config(run, flags).and_then(|c| c.refuse_idle(flags).map(|()| c)),
        None => Config::from_file_and_flags(&file, flags),
    }
    .map_err(failure)?;
    // A machine without a home can still train on what needs no cache.
    let cache = cache_dir(None).ok();
    let places = Places::of(&config, cache.as_deref());
    let data = data::load(&config, &places, &mut progress()).map_err(|e| data_help(failure(e)))?;
    fits(&config, &data)?;
    if args.resume.is_some() { Trainer::resume_with(config, data) } else { Trainer::with_data(config, data) }
        .map_err(failure)
}

/// Refuses a model that this machine cannot hold, before anything is written. Nothing of it is computed:
/// weights come to be when they are first needed.
fn fits(config: &Config, data: &TrainData) -> Result {
    let Some(memory) = memory_bytes() else { return Ok(()) };
    let options = data.info.model_options(&config.hidden);
    let model = hadal::zoo::build(&config.model, &options, &Init::new(config.seed))?;
    // bf16: of two bytes, but moments and masters are in f32.
    let bytes: u64 = if config.dtype == Precision::F64 { 8 } else { 4 };
    // The least there is at once: a weight, its gradient, its moments, its averages.
    let copies =
        2 + config.moments() + u64::from(config.ema.is_some()) + u64::from(config.early_stop.is_some());
    let parameters = model.num_parameters() as u64;
    let needed = parameters.saturating_mul(bytes * copies);
    if needed <= memory {
        return Ok(());
    }
    Err(Failure::new(format!(
        "model {} has {} parameters; with gradients and the state of {} they take {}, this machine has {}",
        config.model,
        grouped(parameters),
        config.optimizer,
        crate::table::bytes(needed),
        crate::table::bytes(memory),
    ))
    .help("use fewer or smaller layers (--hidden), or an --optimizer with less state, as sgd"))
}

/// A wrong setting is a wrong command line.
fn failure(e: TrainError) -> Failure {
    match e {
        TrainError::Config { .. } => Failure::usage(e),
        e => e.into(),
    }
}

/// The first Ctrl-C (or SIGTERM) asks the run to save and stop, the second ends it at once.
fn stop_on_signal(stop: StopHandle) -> Result {
    let handler = move || {
        if stop.is_stopped() {
            std::process::exit(i32::from(INTERRUPTED));
        }
        terminal::note("stopping after this step; again to stop at once");
        stop.stop();
    };
    ctrlc::set_handler(handler).map_err(|e| Failure::new(format!("cannot listen for Ctrl-C: {e}")))
}
