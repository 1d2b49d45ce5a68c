//! `hadal eval`: how a run's model does on data it has not learned from.

use crate::commands::data::progress;
use crate::failure::{Failure, Result};
use crate::places::{cache_dir, data_help, open_run, refuse_idle_places, use_threads};
use crate::table::{Table, bar, grouped};
use crate::terminal;
use hadal::train::plot::confusion_matrix;
use hadal::train::{Evaluation, Places};
use serde::Serialize;
use std::path::PathBuf;
use std::time::Instant;

const EXAMPLES: &str = "\
Examples:
  hadal eval runs/lenet-1
  hadal eval runs/lenet-1 --data mnist --confusion mnist.png
  hadal eval runs/lenet-1/model.safetensors --json";

/// What to evaluate, on what.
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// A run folder, or a weights file or checkpoint that training wrote
    run: PathBuf,
    /// Evaluate on the test part of this data set [default: the run's own]
    #[arg(long, value_name = "NAME")]
    data: Option<String>,
    /// Folder that holds the data set's files; only it is looked at
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Folder that downloads are kept in [default: $HADAL_CACHE, else ~/.cache/hadal]
    #[arg(long, value_name = "DIR")]
    cache_dir: Option<PathBuf>,
    /// Do not download a data set that is not there
    #[arg(long, alias = "offline")]
    no_download: bool,
    /// Samples in a batch
    #[arg(long, default_value_t = 256, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    batch_size: u32,
    /// Threads that compute; 0 takes all cores. The result does not depend on it
    /// [default: 0]
    #[arg(
        long,
        value_name = "N",
        default_value = "0",
        hide_default_value = true,
        allow_negative_numbers = true
    )]
    threads: String,
    /// Draw the confusion matrix into this file, .png or .svg
    #[arg(long, value_name = "FILE")]
    confusion: Option<PathBuf>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct ClassJson<'a> {
    class: &'a str,
    samples: u64,
    recall: Option<f64>,
    precision: Option<f64>,
}

#[derive(Serialize)]
struct EvalJson<'a> {
    run: String,
    model: &'a str,
    data: &'a str,
    test_loss: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    test_accuracy: Option<f64>,
    samples: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    correct: Option<usize>,
    seconds: f64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    classes: Vec<ClassJson<'a>>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    confusion: &'a [Vec<u64>],
}

/// Evaluates.
pub fn run(args: &Args) -> Result {
    use_threads(&args.threads)?;
    let run = open_run(&args.run)?;
    let about = run.about();
    let classes = about.data.classes();
    if args.confusion.is_some() && classes.is_none() {
        return Err(Failure::usage(
            "--confusion is for models that tell classes apart; this one predicts numbers",
        ));
    }
    let name = args.data.as_deref().unwrap_or(&about.data.name);
    refuse_idle_places(name, args.data_dir.as_deref(), args.cache_dir.as_deref())?;
    let config = run.config();
    // Where the run found its data, unless told otherwise; another data set lies elsewhere.
    let of_run =
        || config.filter(|_| args.data.is_none()).and_then(|c| c.data_dir.as_ref()).map(PathBuf::from);
    let of_cache = || config.and_then(|c| c.cache_dir.as_ref()).map(PathBuf::from);
    let places = Places {
        data_dir: args.data_dir.clone().or_else(of_run),
        // The embedded digits need no cache: a missing home is told only where it matters.
        cache_dir: cache_dir(args.cache_dir.clone().or_else(of_cache).as_deref()).ok(),
        download: !args.no_download,
    };
    let start = Instant::now();
    let e = run
        .evaluate(args.data.as_deref(), &places, args.batch_size as usize, &mut progress())
        .map_err(|e| data_help(e.into()))?;
    let seconds = start.elapsed().as_secs_f64();
    let names = classes.unwrap_or_default();
    if let Some(path) = &args.confusion {
        confusion_matrix(&e.confusion, names, path)?;
    }
    let data = args.data.as_deref().unwrap_or(&about.data.name);
    let lines = class_lines(&e, names);
    if args.json {
        return terminal::print_json(&EvalJson {
            run: args.run.display().to_string(),
            model: &about.model,
            data,
            test_loss: e.loss,
            test_accuracy: e.accuracy,
            samples: e.samples,
            correct: e.accuracy.map(|_| e.correct),
            seconds,
            classes: lines,
            confusion: &e.confusion,
        });
    }
    let mut text = format!(
        "{} on {data}: {} test samples in {seconds:.2} s\n",
        terminal::bold(&about.model),
        grouped(e.samples as u64)
    );
    match e.accuracy {
        Some(a) => text.push_str(&format!(
            "accuracy {:.2} %, {} wrong; loss {:.4} nats a sample\n",
            100.0 * a,
            grouped((e.samples - e.correct) as u64),
            e.loss
        )),
        None => text.push_str(&format!("mean squared error {:.6}\n", e.loss)),
    }
    if !lines.is_empty() {
        text.push('\n');
        text.push_str(&class_table(&lines, &e, names));
    }
    if let Some(path) = &args.confusion {
        text.push_str(&format!("\nconfusion matrix in {}\n", path.display()));
    }
    terminal::print(&text)
}

fn class_lines<'a>(e: &Evaluation, names: &'a [String]) -> Vec<ClassJson<'a>> {
    let per_class = e.per_class();
    let line = |(c, name): (usize, &'a String)| {
        let predicted: u64 = e.confusion.iter().map(|row| row[c]).sum();
        ClassJson {
            class: name,
            samples: e.confusion[c].iter().sum(),
            recall: per_class[c],
            precision: (predicted > 0).then(|| e.confusion[c][c] as f64 / predicted as f64),
        }
    };
    names.iter().enumerate().take(e.confusion.len()).map(line).collect()
}

fn class_table(lines: &[ClassJson<'_>], e: &Evaluation, names: &[String]) -> String {
    let mut table = Table::new(&["class", ">samples", ">recall", "", ">precision", "mostly mistaken for"]);
    let percent = |x: Option<f64>| x.map_or("-".to_owned(), |x| format!("{:.1} %", 100.0 * x));
    for (c, l) in lines.iter().enumerate() {
        let wrong = e.confusion[c].iter().enumerate().filter(|&(p, n)| p != c && *n > 0);
        // The first of the most frequent.
        let worst = wrong.max_by_key(|&(p, n)| (*n, std::cmp::Reverse(p)));
        table.row(vec![
            l.class.to_owned(),
            grouped(l.samples),
            percent(l.recall),
            bar(l.recall.unwrap_or(0.0), 10),
            percent(l.precision),
            worst.map_or(String::new(), |(p, n)| format!("{} ({n}x)", names[p])),
        ]);
    }
    table.render(terminal::WIDTH)
}
