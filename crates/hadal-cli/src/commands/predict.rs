//! `hadal predict`: what a run's model takes images for.

use crate::failure::{ERROR, Failure, Result};
use crate::places::{open_run, use_threads};
use crate::table::bar;
use crate::terminal;
use hadal::io::Image;
use hadal::train::{Prediction, Predictor};
use serde::Serialize;
use std::path::{Path, PathBuf};

const EXAMPLES: &str = "\
Examples:
  hadal predict runs/lenet-1 seven.png
  hadal predict runs/lenet-1 *.png --top 3
  hadal predict runs/lenet-1/model.safetensors photo.jpg --json

Images may be PNG or JPEG, grey or colour, with transparency or without, of up to
67,108,864 pixels (64 Mi); the longer side at most 60,000 times the shorter one.
They are converted as the training data was, and what was done is said.";

/// With which run, on which images.
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// A run folder, or a weights file or checkpoint that training wrote
    run: PathBuf,
    /// Images, PNG or JPEG
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<PathBuf>,
    /// How many classes to show, the most probable first
    #[arg(long, default_value_t = 5, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    top: u32,
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
    #[serde(skip_serializing_if = "Option::is_none")]
    warning: Option<&'static str>,
}

/// Predicts. An image that cannot be read is told and the others still come; the exit code is 1 then.
pub fn run(args: &Args) -> Result {
    use_threads(&args.threads)?;
    let run = open_run(&args.run)?;
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
        let warning = blank(&image).then_some(BLANK);
        if let Some(warning) = warning {
            terminal::note(&format!("warning: {}: {warning}", path.display()));
        }
        if args.json {
            let top = p.top.iter().map(|(class, p)| ClassJson { class, probability: *p }).collect();
            let (image, conversion) = (path.display().to_string(), &p.conversion);
            terminal::print_json(&ImageJson { image, top, conversion, warning })?;
        } else {
            let gap = if i > 0 { "\n" } else { "" };
            terminal::print(&format!("{gap}{}", describe(path, &image, &p)))?;
        }
    }
    if failed { Err(Failure::quiet(ERROR)) } else { Ok(()) }
}

fn predict(predictor: &Predictor<'_>, path: &Path, top: usize) -> Result<(Image, Prediction)> {
    let (image, ground) = Image::read_ink(path)?;
    let (long, short) = (image.width().max(image.height()), image.width().min(image.height()));
    if long > MAX_RATIO * short {
        let size = format!("{} x {} pixels", image.width(), image.height());
        return Err(Failure::new(format!(
            "{}: {size}: one side is more than {MAX_RATIO} times the other",
            path.display()
        ))
        .help("cut out the part that shows something"));
    }
    let mut p = predictor.predict(&image, top).map_err(|e| Failure::from(e).of(path))?;
    if let Some(ground) = ground {
        // Said before anything else that was done.
        p.conversion.retain(|step| step != "used as it is");
        p.conversion.insert(
            0,
            format!(
                "its transparent parts laid over {}",
                if ground == 0 { "black, since the ink is bright" } else { "white" }
            ),
        );
    }
    Ok((image, p))
}

/// The most that one side may be longer: scaled to 32 pixels of the shorter one, an image stays below
/// 64 Mi pixels.
const MAX_RATIO: usize = 60_000;

/// What is said of an image in which nothing is to be seen.
const BLANK: &str = "the image is blank, every pixel is alike: what the model says of it means nothing";

/// Whether no two pixels differ by more than a step or two of noise.
fn blank(image: &Image) -> bool {
    (0..image.channels()).all(|k| {
        let values = image.data().iter().skip(k).step_by(image.channels());
        let (low, high) = values.fold((u8::MAX, u8::MIN), |(l, h), &v| (l.min(v), h.max(v)));
        high.saturating_sub(low) <= 4
    })
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
