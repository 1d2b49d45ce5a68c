//! Folders: where downloads are kept, and what a name on the command line stands for.

use crate::failure::{Failure, Result};
use crate::terminal;
use hadal::tensor::set_threads;
use hadal::train::config::Setting;
use hadal::train::{Config, Run};
use std::path::{Path, PathBuf};

/// The cache folder: the option, else `HADAL_CACHE`, else `hadal` in the user's cache folder.
///
/// # Errors
/// None of them is known.
pub fn cache_dir(option: Option<&Path>) -> Result<PathBuf> {
    if let Some(dir) = option {
        return Ok(dir.to_path_buf());
    }
    let set = |name| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    set("HADAL_CACHE")
        .or_else(|| set("XDG_CACHE_HOME").map(|d| d.join("hadal")))
        .or_else(|| set("HOME").map(|d| d.join(".cache").join("hadal")))
        .or_else(|| set("LOCALAPPDATA").map(|d| d.join("hadal").join("cache")))
        .ok_or_else(|| {
            Failure::new("no folder for downloads is known: neither HADAL_CACHE nor HOME is set")
                .help("name one with --cache-dir")
        })
}

/// Sets the number of threads from `--threads`, by the rule that training has: 0 takes all cores.
///
/// # Errors
/// No number, or more than can be had.
pub fn use_threads(text: &str) -> Result {
    let setting = Setting { name: "threads".into(), value: text.into(), place: "--".into() };
    let config = Config::from_settings(&[setting]).map_err(Failure::usage)?;
    if config.threads > 0 {
        set_threads(config.threads);
    }
    Ok(())
}

/// Refuses `--data-dir` and `--cache-dir` for data that lies in no files, as training does.
///
/// # Errors
/// The first of them that has no effect.
pub fn refuse_idle_places(data: &str, data_dir: Option<&Path>, cache_dir: Option<&Path>) -> Result {
    let setting = |name: &str, value: String| Setting { name: name.into(), value, place: "--".into() };
    let folder = |name, dir: Option<&Path>| dir.map(|d| setting(name, d.display().to_string()));
    let given: Vec<Setting> =
        [folder("data-dir", data_dir), folder("cache-dir", cache_dir)].into_iter().flatten().collect();
    let mut config = Config { data: data.to_owned(), ..Config::default() };
    config.data_dir = data_dir.map(|d| d.display().to_string());
    config.refuse_idle(&given).map_err(Failure::usage)
}

/// Adds how to name the folder where data that could not be had was put by hand.
pub fn data_help(failure: Failure) -> Failure {
    if failure.is_missing_data() {
        return failure.help(
            "files in any other folder are found with --data-dir DIR, by hadal train, eval and data show",
        );
    }
    failure
}

/// The run folder that something in it was named instead of: `runs/a` for `runs/a/metrics.jsonl`.
fn run_around(path: &Path) -> Option<&Path> {
    let run = path.ancestors().skip(1).take(2).find(|p| p.join("config.toml").is_file())?;
    Some(if run.as_os_str().is_empty() { Path::new(".") } else { run })
}

/// Opens a run folder, or a weights file or checkpoint that training wrote, and tells what is odd
/// about it.
///
/// # Errors
/// Also for something else out of a run folder.
pub fn open_run(path: &Path) -> Result<Run> {
    let weights = path.extension().is_some_and(|e| e == "safetensors");
    let part = (path.is_file() && !weights) || path.ends_with("checkpoints");
    if let Some(run) = run_around(path).filter(|_| part) {
        return Err(Failure::new(format!("{} is a part of a run, not the run", path.display())).help(format!(
            "name the run: {}. Its final weights are used or, before there are any, its latest checkpoint",
            run.display()
        )));
    }
    let run = Run::open(path)?;
    run.notes().iter().for_each(|n| terminal::note(n));
    Ok(run)
}

/// Refuses to resume a file: a run is a folder.
///
/// # Errors
/// It is a file; the help names the folder it is in.
pub fn refuse_file(path: &Path) -> Result {
    if !path.is_file() {
        return Ok(());
    }
    let failure = Failure::new(format!("{} is a file; a run is a folder", path.display()));
    Err(match run_around(path) {
        Some(run) => failure.help(format!("name the run: {}", run.display())),
        None => failure.help("name a folder that hadal train has made"),
    })
}
