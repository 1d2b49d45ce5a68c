//! Folders: where downloads are kept, and what a name on the command line stands for.

use crate::failure::{Failure, Result};
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
