//! `hadal data`: data sets by name.

use crate::failure::{Failure, Result};
use crate::places::{cache_dir, data_help, refuse_idle_places};
use crate::table::{Table, bytes, grouped, wrap};
use crate::terminal;
use hadal::data::{
    Dataset, FetchEvent, ImageDataset, NamedSpec, Places, Split, fetch, load_named, named_set, named_sets,
};
use hadal::io::Image;
use hadal::train::plot::{Tile, contact_sheet};
use serde::Serialize;
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};

const EXAMPLES: &str = "\
Examples:
  hadal data list
  hadal data fetch fashion-mnist
  hadal data show digits -o digits.png";

/// What to do with data sets.
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES, arg_required_else_help = true)]
pub struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(clap::Subcommand, Debug)]
enum Action {
    /// List all data sets that have a name, and whether they are there
    List(ListArgs),
    /// Download data sets into the cache
    Fetch(FetchArgs),
    /// Draw images of a data set into a picture
    Show(ShowArgs),
}

/// Where the data may be.
#[derive(clap::Args, Debug)]
struct CacheArgs {
    /// Folder that downloads are kept in [default: $HADAL_CACHE, else ~/.cache/hadal]
    #[arg(long, value_name = "DIR")]
    cache_dir: Option<PathBuf>,
}

#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:\n  hadal data list\n  hadal data list --json")]
struct ListArgs {
    #[command(flatten)]
    cache: CacheArgs,
    /// Print one JSON object a line
    #[arg(long)]
    json: bool,
}

#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  hadal data fetch mnist
  HADAL_CACHE=/data/hadal hadal data fetch cifar10 cifar100

Downloads run through the system's curl or wget and are checked against their
SHA-256 sums. Without a network, put the files into the folder by hand; the
message says which and where.")]
struct FetchArgs {
    /// Data sets to download
    #[arg(required = true, value_name = "NAME")]
    names: Vec<String>,
    #[command(flatten)]
    cache: CacheArgs,
}

#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  hadal data show digits
  hadal data show mnist --split test --count 100 --columns 20 -o mnist.svg
  hadal data show digits --class 7")]
struct ShowArgs {
    /// The data set
    name: String,
    /// The picture to write, .png or .svg [default: NAME.png]
    #[arg(short, long, alias = "output", value_name = "FILE")]
    out: Option<PathBuf>,
    /// Which part to show
    #[arg(long, value_enum, default_value = "train")]
    split: Part,
    /// How many images, from 1 to 2000
    #[arg(long, default_value_t = 50, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=2000))]
    count: u32,
    /// Images in a row, from 1 to 100
    #[arg(long, default_value_t = 10, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100))]
    columns: u32,
    /// Only images of this class, by name or number
    #[arg(long, value_name = "CLASS")]
    class: Option<String>,
    /// Folder that holds the data set's files; only it is looked at
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    #[command(flatten)]
    cache: CacheArgs,
    /// Do not download a data set that is not there
    #[arg(long, alias = "offline")]
    no_download: bool,
}

#[derive(clap::ValueEnum, Clone, Copy, Debug, PartialEq)]
enum Part {
    Train,
    Test,
}

/// Runs the action.
pub fn run(args: &Args) -> Result {
    match &args.action {
        Action::List(a) => list(a),
        Action::Fetch(a) => fetch_all(a),
        Action::Show(a) => show(a),
    }
}

/// A data set's line.
#[derive(Serialize)]
struct Listed<'a> {
    name: &'a str,
    about: &'a str,
    shape: [usize; 3],
    train: usize,
    test: usize,
    classes: usize,
    download_bytes: u64,
    present: bool,
    folder: Option<String>,
    licence: &'a str,
    origin: &'a str,
}

fn list(args: &ListArgs) -> Result {
    // A list needs no cache folder.
    let cache = cache_dir(args.cache.cache_dir.as_deref()).ok();
    let listed: Vec<Listed<'_>> = named_sets().iter().map(|s| describe(s, cache.as_deref())).collect();
    if args.json {
        return listed.iter().try_for_each(terminal::print_json);
    }
    let mut table = Table::new(&["name", "images", ">train", ">test", ">classes", ">download", "here"]);
    for l in &listed {
        let [c, h, w] = l.shape;
        let download = if l.download_bytes == 0 { "-".into() } else { bytes(l.download_bytes) };
        let here = match (l.download_bytes, l.present) {
            (0, _) => "in the program",
            (_, true) => "yes",
            (_, false) => "no",
        };
        table.row(vec![
            l.name.to_owned(),
            format!("{c} x {h} x {w}"),
            grouped(l.train as u64),
            grouped(l.test as u64),
            l.classes.to_string(),
            download,
            here.to_owned(),
        ]);
    }
    let mut text = table.render(terminal::WIDTH);
    text.push('\n');
    for l in &listed {
        text.push_str(&format!("{}: {}\n", terminal::bold(l.name), l.about));
        text.push_str(&wrap(&format!("{}; licence: {}", l.origin, l.licence), terminal::WIDTH, "  "));
    }
    if let Some(cache) = cache {
        text.push_str(&format!("\nDownloads are kept in {}.\n", cache.display()));
    }
    terminal::print(&text)
}

fn describe<'a>(spec: &'a NamedSpec, cache: Option<&Path>) -> Listed<'a> {
    let folder = cache.map(|c| c.join(spec.name));
    // As a fetch leaves it; whether the bytes are right is checked when they are read.
    let there = |folder: &Path| {
        spec.files.iter().all(|f| folder.join(f.name).metadata().is_ok_and(|m| m.len() == f.bytes))
    };
    Listed {
        name: spec.name,
        about: spec.about,
        shape: spec.shape,
        train: spec.train,
        test: spec.test,
        classes: spec.classes.len(),
        download_bytes: spec.files.iter().map(|f| f.bytes).sum(),
        present: spec.files.is_empty() || folder.as_deref().is_some_and(there),
        folder: folder.filter(|_| !spec.files.is_empty()).map(|f| f.display().to_string()),
        licence: spec.licence,
        origin: spec.origin,
    }
}

/// Tells of a download on standard error: a line a file, with a counter where somebody watches.
pub fn progress() -> impl FnMut(FetchEvent<'_>) {
    let watched = std::io::stderr().is_terminal() && !terminal::dumb();
    move |event| {
        let line = match event {
            FetchEvent::Present(f) => format!("{} is there already\n", f.name),
            FetchEvent::Start { file, url } => format!("{} ({}) from {url}\n", file.name, bytes(file.bytes)),
            FetchEvent::Progress { file, bytes: so_far } if watched => {
                format!("\r  {} of {} ", bytes(so_far), bytes(file.bytes))
            }
            FetchEvent::Progress { .. } => return,
            FetchEvent::Done(f) => {
                let back = if watched { "\r" } else { "" };
                format!("{back}  {} complete, checksum right\n", f.name)
            }
        };
        // Nobody may be listening; the download goes on.
        let _ = std::io::stderr().write_all(line.as_bytes());
    }
}

fn fetch_all(args: &FetchArgs) -> Result {
    let cache = cache_dir(args.cache.cache_dir.as_deref())?;
    // A wrong name is told before the first download.
    let specs = args.names.iter().map(|n| named_set(n)).collect::<Result<Vec<_>, _>>()?;
    for spec in specs {
        if spec.files.is_empty() {
            terminal::print(&format!("{} is in the program; there is nothing to download\n", spec.name))?;
            continue;
        }
        fetch(spec.name, &cache, &mut progress()).map_err(|e| data_help(e.into()))?;
        terminal::print(&format!("{} is in {}\n", spec.name, cache.join(spec.name).display()))?;
    }
    Ok(())
}

fn show(args: &ShowArgs) -> Result {
    let spec = named_set(&args.name)?;
    refuse_idle_places(spec.name, args.data_dir.as_deref(), args.cache.cache_dir.as_deref())?;
    let cache = if spec.files.is_empty() || args.data_dir.is_some() {
        None
    } else {
        Some(cache_dir(args.cache.cache_dir.as_deref())?)
    };
    let places = Places {
        data_dir: args.data_dir.as_deref(),
        cache_dir: cache.as_deref(),
        download: !args.no_download,
    };
    let split = if args.split == Part::Train { Split::Train } else { Split::Test };
    let class = args.class.as_deref().map(|c| class_of(spec, c)).transpose()?;
    let set = load_named(spec.name, split, places, &mut progress()).map_err(|e| data_help(e.into()))?;
    let tiles = tiles(&set, class, args.count as usize)?;
    let output = args.out.clone().unwrap_or_else(|| PathBuf::from(format!("{}.png", spec.name)));
    contact_sheet(&tiles, args.columns as usize, &output)?;
    let [n, c, h, w] = set.shape();
    let mut text = format!(
        "{}, {} part: {} images of {c} x {h} x {w}; {} of them in {}\n",
        spec.name,
        if split == Split::Train { "training" } else { "test" },
        grouped(n as u64),
        tiles.len(),
        output.display()
    );
    let mut table = Table::new(&["class", ">images"]);
    for (name, count) in set.classes().iter().zip(set.histogram()) {
        table.row(vec![name.clone(), grouped(count as u64)]);
    }
    if set.classes().len() <= 20 {
        text.push_str(&table.render(terminal::WIDTH));
    }
    terminal::print(&text)
}

/// A class by name, or by number where no class has that name.
fn class_of(spec: &NamedSpec, wanted: &str) -> Result<i64> {
    let classes = spec.classes;
    let named = classes.iter().position(|c| c.eq_ignore_ascii_case(wanted));
    let number = || wanted.parse().ok().filter(|&n: &usize| n < classes.len());
    if let Some(i) = named.or_else(number) {
        return Ok(i as i64);
    }
    let mut failure = Failure::new(format!("data set {} has no class '{wanted}'", spec.name));
    if let Some(near) = hadal::zoo::nearest(&wanted.to_lowercase(), classes) {
        failure = failure.help(format!("did you mean '{near}'?"));
    }
    Err(failure.help(format!("give a name or a number from 0 to {}", classes.len().saturating_sub(1))))
}

fn tiles(set: &ImageDataset, class: Option<i64>, count: usize) -> Result<Vec<Tile>> {
    let [_, channels, height, width] = set.shape();
    let chosen = (0..set.len()).filter(|&i| class.is_none_or(|c| set.labels()[i] == c)).take(count);
    let mut tiles = Vec::with_capacity(count);
    for i in chosen {
        let planes = set.pixels(i).unwrap_or_default();
        let area = height * width;
        let data: Vec<u8> =
            (0..area).flat_map(|p| (0..channels).map(move |c| planes[c * area + p])).collect();
        let caption = usize::try_from(set.labels()[i]).ok().and_then(|l| set.classes().get(l)).cloned();
        tiles.push(Tile {
            image: Image::new(width, height, channels, data)?,
            caption: caption.unwrap_or_default(),
            highlight: false,
        });
    }
    if tiles.is_empty() {
        return Err(Failure::new("no image of this class is in this part of the data set"));
    }
    Ok(tiles)
}
