//! `hadal inspect`: the layers of a model or run, the tensors of a file.

use crate::failure::{Failure, Result};
use crate::places::open_run;
use crate::table::{Table, bytes, grouped, shape, si, wrap};
use crate::terminal;
use hadal::io::{RawTensor, npy, safetensors};
use hadal::nn::{Init, Layer, Module};
use hadal::zoo::{ModelOptions, build, model, models, nearest};
use hadal::{DType, Summary, Tensor, summary};
use serde::Serialize;
use std::io::Read;
use std::path::Path;

const EXAMPLES: &str = "\
Examples:
  hadal inspect
  hadal inspect lenet
  hadal inspect mlp --input 1,32,32 --classes 100
  hadal inspect runs/lenet-1
  hadal inspect runs/lenet-1/model.safetensors
  hadal inspect weights.npz --json

FLOPs are of one forward pass in evaluation mode; a multiplication with its
addition counts 2. Nothing is computed for the table.";

/// What to look at.
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// A model's name, a run folder, or a .safetensors, .npy or .npz file;
    /// without it, all models are listed
    #[arg(value_name = "FILE|RUN|MODEL")]
    what: Option<String>,
    /// Input of one sample for a model: channels,height,width or features
    #[arg(long, value_name = "SIZES", value_delimiter = ',', value_parser = clap::value_parser!(u32).range(1..))]
    input: Option<Vec<u32>>,
    /// Classes of a model
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    classes: Option<u32>,
    /// Samples in a batch
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    batch_size: u32,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Looks.
pub fn run(args: &Args) -> Result {
    let layered = args.input.is_some() || args.classes.is_some();
    let Some(what) = &args.what else {
        refuse(layered, "name one")?;
        return list(args);
    };
    let path = Path::new(what);
    if path.is_dir() {
        refuse(layered, "a run knows its own sizes")?;
        return run_folder(path, args);
    }
    if path.exists() {
        refuse(layered, "a file has no layers")?;
        return file(path, args);
    }
    match model(what) {
        Ok(info) => {
            let options = options((info.options)(), args)?;
            let net = build(info.name, &options, &Init::new(0))?;
            show(info.name, info.about, net.as_ref(), &options, args)
        }
        Err(_) => Err(unknown(what)),
    }
}

fn refuse(given: bool, why: &str) -> Result {
    if given {
        return Err(Failure::usage(format!("--input and --classes are for models by name: {why}")));
    }
    Ok(())
}

fn unknown(what: &str) -> Failure {
    let names: Vec<&str> = models().iter().map(|m| m.name).collect();
    // What looks like a path was meant as one.
    if what.contains(['/', '\\', '.']) {
        return Failure::new(format!("there is no file or run folder {what}")).help("check the path");
    }
    let failure = Failure::new(format!("there is no file, run folder or model named '{what}'"));
    match nearest(&what.to_lowercase(), &names) {
        Some(near) => failure.help(format!("did you mean '{near}'?")),
        None => failure,
    }
    .help(format!("models are {}", names.join(", ")))
}

fn options(known: ModelOptions, args: &Args) -> Result<ModelOptions> {
    let mut o = known;
    let sizes: Vec<usize> = args.input.iter().flatten().map(|&n| n as usize).collect();
    match sizes.as_slice() {
        [] => {}
        &[features] => (o.in_channels, o.height, o.width) = (features, 1, 1),
        &[c, h, w] => (o.in_channels, o.height, o.width) = (c, h, w),
        _ => {
            return Err(Failure::usage(format!("--input takes 1 or 3 sizes, not {}", sizes.len()))
                .help("give channels,height,width as in --input 3,32,32, or --input FEATURES"));
        }
    }
    if let Some(n) = args.classes {
        o.classes = n as usize;
    }
    Ok(o)
}

/// Shows a model by a forward pass that is not computed.
fn show(name: &str, about: &str, net: &dyn Layer, o: &ModelOptions, args: &Args) -> Result {
    let s = summarize(net, o, args)?;
    if args.json {
        return terminal::print_json(&model_json(name, &s));
    }
    let title = wrap(&format!("{name}: {about}"), terminal::WIDTH, "");
    terminal::print(&format!("{title}\n{}", layers(&s)))
}

fn summarize(net: &dyn Layer, o: &ModelOptions, args: &Args) -> Result<Summary> {
    let sizes = [args.batch_size as usize, o.in_channels, o.height, o.width];
    let dtype = net.parameters().first().map_or(DType::F32, |(_, p)| p.dtype());
    Ok(summary(net, &Tensor::zeros(sizes, dtype))?)
}

#[derive(Serialize)]
struct LayerJson<'a> {
    name: &'a str,
    r#type: &'a str,
    output: &'a [usize],
    parameters: usize,
    flops: u64,
}

#[derive(Serialize)]
struct ModelJson<'a> {
    model: &'a str,
    input: &'a [usize],
    output: &'a [usize],
    parameters: usize,
    parameter_bytes: usize,
    frozen: usize,
    buffers: usize,
    flops: u64,
    layers: Vec<LayerJson<'a>>,
}

fn model_json<'a>(name: &'a str, s: &'a Summary) -> ModelJson<'a> {
    let layers = s.rows.iter().map(|r| LayerJson {
        name: &r.name,
        r#type: &r.kind,
        output: r.output.dims(),
        parameters: r.parameters,
        flops: r.flops,
    });
    ModelJson {
        model: name,
        input: s.input.dims(),
        output: s.output.dims(),
        parameters: s.parameters,
        parameter_bytes: s.parameter_bytes,
        frozen: s.frozen,
        buffers: s.buffers,
        flops: s.flops,
        layers: layers.collect(),
    }
}

/// The table of layers and its totals.
pub fn layers(s: &Summary) -> String {
    let mut table = Table::new(&["layer", "type", "output", ">parameters", ">FLOPs"]);
    let dash = |n: u64, text: String| if n == 0 { "-".to_owned() } else { text };
    let count = |n: usize| dash(n as u64, grouped(n as u64));
    table.row(vec!["input".into(), String::new(), shape(&s.input), String::new(), String::new()]);
    for r in &s.rows {
        table.row(vec![
            r.name.clone(),
            r.kind.clone(),
            shape(&r.output),
            count(r.parameters),
            dash(r.flops, si(r.flops as f64)),
        ]);
    }
    table.rule();
    table.row(vec![
        "total".into(),
        String::new(),
        String::new(),
        grouped(s.parameters as u64),
        si(s.flops as f64),
    ]);
    let mut text = table.render(terminal::WIDTH);
    text.push_str(&format!("\nparameters take {}", bytes(s.parameter_bytes as u64)));
    if s.frozen > 0 {
        text.push_str(&format!("; {} of them are frozen", grouped(s.frozen as u64)));
    }
    if s.buffers > 0 {
        text.push_str(&format!("; {} values are kept and not learned", grouped(s.buffers as u64)));
    }
    text.push('\n');
    text
}

/// A tensor in a file.
#[derive(Serialize)]
struct Stored {
    name: String,
    dtype: String,
    shape: Vec<usize>,
    bytes: u64,
}

#[derive(Serialize)]
struct FileJson<'a> {
    file: &'a str,
    format: &'a str,
    tensors: Vec<Stored>,
    values: u64,
    bytes: u64,
    metadata: std::collections::BTreeMap<String, String>,
}

/// The kinds of files that are understood, told apart by their first bytes.
fn file(path: &Path, args: &Args) -> Result {
    let mut first = Vec::new();
    let os = |e| hadal::io::IoError::os("read", path, e);
    std::fs::File::open(path).map_err(os)?.take(8).read_to_end(&mut first).map_err(os)?;
    let numpy = |(name, t): (String, RawTensor)| Stored {
        name,
        dtype: t.dtype.to_string(),
        bytes: t.data.len() as u64,
        shape: t.shape,
    };
    let ends = |e: &str| path.extension().is_some_and(|x| x.eq_ignore_ascii_case(e));
    let mut metadata = std::collections::BTreeMap::new();
    let (format, tensors) = if first.starts_with(b"\x93NUMPY") || ends("npy") {
        ("npy", vec![numpy(("array".into(), npy::read(path)?))])
    } else if first.starts_with(b"PK") || ends("npz") {
        ("npz", npy::read_npz(path)?.into_iter().map(numpy).collect())
    } else if ends("safetensors") || safetensors::inspect(path).is_ok() {
        let header = safetensors::inspect(path)?;
        metadata = header.metadata;
        let stored = |e: safetensors::Entry| Stored {
            dtype: e.dtype.map_or(e.dtype_name, |d| d.to_string()),
            name: e.name,
            shape: e.shape,
            bytes: e.bytes,
        };
        ("safetensors", header.entries.into_iter().map(stored).collect())
    } else {
        return Err(Failure::new(format!("{} holds no tensors that are understood", path.display()))
            .help("files may be .safetensors, .npy and .npz"));
    };
    let values = |t: &Stored| t.shape.iter().map(|&d| d as u64).product::<u64>();
    let json = FileJson {
        file: &path.display().to_string(),
        format,
        values: tensors.iter().map(values).sum(),
        bytes: tensors.iter().map(|t| t.bytes).sum(),
        tensors,
        metadata,
    };
    if args.json {
        return terminal::print_json(&json);
    }
    let mut table = Table::new(&["tensor", "dtype", "shape", ">values", ">bytes"]);
    for t in &json.tensors {
        table.row(vec![
            t.name.clone(),
            t.dtype.clone(),
            shape(&t.shape),
            grouped(values(t)),
            grouped(t.bytes),
        ]);
    }
    table.rule();
    let count = json.tensors.len();
    let total = if count == 1 { "1 tensor".to_owned() } else { format!("{count} tensors") };
    table.row(vec![total, String::new(), String::new(), grouped(json.values), grouped(json.bytes)]);
    let mut text = format!("{} ({format})\n\n{}", path.display(), table.render(terminal::WIDTH));
    if !json.metadata.is_empty() {
        text.push_str("\nmetadata\n");
        for (key, value) in &json.metadata {
            // A value may be a whole configuration; its beginning tells what it is.
            let line: String = value.replace('\n', " ").chars().take(60).collect();
            let more = if line.chars().count() < value.chars().count() { "…" } else { "" };
            text.push_str(&format!("  {key}: {line}{more}\n"));
        }
    }
    terminal::print(&text)
}

#[derive(Serialize)]
struct RunJson<'a> {
    run: String,
    weights: String,
    data: &'a str,
    step: u64,
    #[serde(flatten)]
    model: ModelJson<'a>,
}

fn run_folder(path: &Path, args: &Args) -> Result {
    let run = open_run(path)?;
    let (about, net) = (run.about(), run.model());
    let s = summarize(net, &about.options, args)?;
    if args.json {
        return terminal::print_json(&RunJson {
            run: path.display().to_string(),
            weights: run.source().display().to_string(),
            data: &about.data.name,
            step: about.step,
            model: model_json(&about.model, &s),
        });
    }
    let mut text =
        format!("{}: {} on {}\n", terminal::bold(&path.display().to_string()), about.model, about.data.name);
    text.push_str(&format!("weights: {}, after {} updates\n", run.source().display(), grouped(about.step)));
    if let Some(c) = run.config() {
        let lr = c.lr.map_or("the usual rate".to_owned(), |lr| format!("rate {lr}"));
        let value = |name| c.get(name).unwrap_or_default().trim_matches('"').to_owned();
        text.push_str(&format!(
            "trained: {} epochs in batches of {}, {} with {lr}, schedule {}, seed {}\n",
            c.epochs,
            c.batch_size,
            value("optimizer"),
            value("schedule"),
            c.seed
        ));
    }
    terminal::print(&format!("{text}\n{}", layers(&s)))
}

/// A line of the list of models.
#[derive(Serialize)]
struct Listed {
    model: &'static str,
    about: &'static str,
    input: [usize; 3],
    parameters: usize,
}

fn list(args: &Args) -> Result {
    let mut listed = Vec::new();
    for m in models() {
        let o = (m.options)();
        let parameters = build(m.name, &o, &Init::new(0))?.num_parameters();
        listed.push(Listed {
            model: m.name,
            about: m.about,
            input: [o.in_channels, o.height, o.width],
            parameters,
        });
    }
    if args.json {
        return listed.iter().try_for_each(terminal::print_json);
    }
    let mut table = Table::new(&["model", "input", ">parameters"]);
    let mut notes = String::from("\n");
    for m in listed {
        table.row(vec![m.model.to_owned(), shape(&m.input), grouped(m.parameters as u64)]);
        notes.push_str(&wrap(&format!("{}: {}", m.model, m.about), terminal::WIDTH, ""));
    }
    terminal::print(&(table.render(terminal::WIDTH) + &notes))
}
