//! `hadal predict`: what a run's model takes images for.

use crate::failure::{ERROR, Failure, Result};
use crate::table::bar;
use crate::terminal;
use hadal::io::Image;
use hadal::tensor::set_threads;
use hadal::train::{Prediction, Predictor, Run};
use serde::Serialize;
use std::path::{Path, PathBuf};

const EXAMPLES: &str = "\
Examples:
  hadal predict runs/lenet-1 seven.png
  hadal predict runs/lenet-1 *.png --top 3
  hadal predict runs/lenet-1/model.safetensors photo.jpg --json

Images may be PNG or JPEG of any size and colour. They are converted as the
training data was, and what was done is said.";

/// With which run, on which images.
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// A run folder, or a weights file that training wrote
    run: PathBuf,
    /// Images, PNG or JPEG
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<PathBuf>,
    /// How many classes to show, the most probable first
    #[arg(long, default_value_t = 5, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    top: u32,
    /// Threads that compute; the result does not depend on it [default: all]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,
    /// Print one JSON object per image, one a line
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct ClassJson<'a> {
    class: &'a str,
    probability: f64,
}

#[derive(Serialize)]
struct ImageJson<'a> {
    image: String,
    top: Vec<ClassJson<'a>>,
    conversion: &'a [String],
}

/// Predicts. An image that cannot be read is told and the others still come; the exit code is 1 then.
pub fn run(args: &Args) -> Result {
    if let Some(n) = args.threads {
        set_threads(usize::from(n));
    }
    let run = Run::open(&args.run)?;
    let predictor = run.predictor()?;
    let mut failed = false;
    for (i, path) in args.images.iter().enumerate() {
        let (image, p) = match predict(&predictor, path, args.top as usize) {
            Ok(found) => found,
            Err(failure) => {
                failure.report(terminal::stderr_color());
                failed = true;
                continue;
            }
        };
        if args.json {
            let top = p.top.iter().map(|(class, p)| ClassJson { class, probability: *p }).collect();
            let conversion = &p.conversion;
            terminal::print_json(&ImageJson { image: path.display().to_string(), top, conversion })?;
        } else {
            let gap = if i > 0 { "\n" } else { "" };
            terminal::print(&format!("{gap}{}", describe(path, &image, &p)))?;
        }
    }
    if failed { Err(Failure::quiet(ERROR)) } else { Ok(()) }
}

fn predict(predictor: &Predictor<'_>, path: &Path, top: usize) -> Result<(Image, Prediction)> {
    let image = Image::read(path)?;
    let prediction = predictor.predict(&image, top)?;
    Ok((image, prediction))
}

fn describe(path: &Path, image: &Image, p: &Prediction) -> String {
    let colour = if image.channels() == 1 { "grey" } else { "colour" };
    let mut text = format!(
        "{} ({} x {} pixels, {colour})\n",
        terminal::bold(&path.display().to_string()),
        image.width(),
        image.height()
    );
    for step in &p.conversion {
        text.push_str(&crate::table::wrap(step, terminal::WIDTH, "  "));
    }
    let widest = p.top.iter().map(|(class, _)| class.chars().count()).max().unwrap_or(0).min(40);
    for (class, probability) in &p.top {
        let gap = " ".repeat(widest.saturating_sub(class.chars().count()));
        text.push_str(&format!(
            "    {class}{gap}  {:5.1} %  {}\n",
            100.0 * probability,
            bar(*probability, 24).trim_end()
        ));
    }
    text
}
