//! `hadal plot`: the curves of several runs in one picture.

use crate::failure::{Failure, Result};
use crate::terminal;
use hadal::train::Run;
use hadal::train::plot::{RunCurves, training_curves};
use std::path::{Path, PathBuf};

const EXAMPLES: &str = "\
Examples:
  hadal plot runs/lenet-1
  hadal plot runs/lenet-1 runs/mlp-1 -o compare.svg
  hadal plot runs/*

Training data is drawn solid, held-out data dashed.";

/// Which runs.
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Run folders
    #[arg(required = true, value_name = "RUN")]
    runs: Vec<PathBuf>,
    /// The picture to write, .png or .svg
    #[arg(short, long, alias = "output", value_name = "FILE", default_value = "curves.png")]
    out: PathBuf,
}

/// Draws.
pub fn run(args: &Args) -> Result {
    let mut all = args.runs.iter().map(|p| curves(p)).collect::<Result<Vec<_>>>()?;
    // Runs of the same name in different folders are told apart by their paths.
    let names: Vec<String> = all.iter().map(|c| c.name.clone()).collect();
    for (i, c) in all.iter_mut().enumerate() {
        if names.iter().filter(|n| **n == names[i]).count() > 1 {
            c.name = args.runs[i].display().to_string();
        }
    }
    training_curves(&all, &args.out)?;
    let runs = if all.len() == 1 { "1 run".to_owned() } else { format!("{} runs", all.len()) };
    terminal::print(&format!("{runs} in {}\n", args.out.display()))
}

fn curves(path: &Path) -> Result<RunCurves> {
    if !path.is_dir() {
        return Err(Failure::new(format!("there is no run folder {}", path.display()))
            .help("name folders that hadal train has made; by default they are under runs/"));
    }
    if !path.join("metrics.jsonl").exists() {
        return Err(Failure::new(format!(
            "{} is not a run's folder: it has no metrics.jsonl",
            path.display()
        ))
        .help("name folders that hadal train has made; by default they are under runs/"));
    }
    let curves = Run::curves(path)?;
    if curves.train_loss.is_empty() {
        return Err(Failure::new(format!("{} has no complete epoch to draw", path.display()))
            .help("train longer, or leave it out"));
    }
    Ok(curves)
}
