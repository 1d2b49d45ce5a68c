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
        return failure.help("name the folder that holds the files with --data-dir DIR");
    }
    failure
}

/// Opens a run folder, or a weights file that training wrote, and tells what is odd about it.
///
/// # Errors
/// Also for a checkpoint: it is for resuming, and does not say what its model is.
pub fn open_run(path: &Path) -> Result<Run> {
    let folder = path.parent().filter(|p| p.ends_with("checkpoints")).and_then(Path::parent);
    let run = folder.map(|f| if f.as_os_str().is_empty() { Path::new(".") } else { f });
    match run.filter(|r| path.is_file() && r.join("config.toml").is_file()) {
        Some(run) => Err(Failure::new(format!(
            "{} is a checkpoint, which holds what resuming needs, not a model by itself",
            path.display()
        ))
        .help(format!(
            "name the run: {}. Its final weights are used or, before there are any, its latest checkpoint",
            run.display()
        ))),
        None => {
            let run = Run::open(path)?;
            run.notes().iter().for_each(|n| terminal::note(n));
            Ok(run)
        }
    }
}
