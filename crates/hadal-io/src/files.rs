//! Opening files for reading, with a bound on what is read.

use crate::error::{IoError, Problem, Result};
use std::fs::File;
use std::io::Read;
use std::path::Path;

/// Opens a regular file and tells its length. Folders and devices are refused: a device has no
/// length to check a header against.
pub(crate) fn open_regular(path: &Path, operation: &'static str) -> Result<(File, u64)> {
    let file = File::open(path).map_err(|e| IoError::os(operation, path, e))?;
    let meta = file.metadata().map_err(|e| IoError::os(operation, path, e))?;
    if meta.is_dir() {
        return Err(Problem::argument("it is a folder", "name a file in it").at(operation, path));
    }
    if !meta.is_file() {
        return Err(Problem::argument(
            "it is a device or a pipe, which has no length",
            "copy it into a file first",
        )
        .at(operation, path));
    }
    Ok((file, meta.len()))
}

/// Reads a whole regular file of at most `limit` bytes.
pub(crate) fn read_whole(path: &Path, operation: &'static str, limit: u64) -> Result<Vec<u8>> {
    let (file, len) = open_regular(path, operation)?;
    if len > limit {
        return Err(Problem::argument(
            format!("it has {len} bytes, more than the {limit} that are read at once"),
            "make it smaller",
        )
        .at(operation, path));
    }
    let mut bytes = Vec::with_capacity(len as usize);
    // The file may grow while it is read; what it had at opening is what counts.
    file.take(len).read_to_end(&mut bytes).map_err(|e| IoError::os(operation, path, e))?;
    Ok(bytes)
}
