//! JSON lines that only grow: one value a line, for metrics.
//!
//! Numbers that JSON does not have (NaN, infinities) become `null`, as `serde_json` writes them.

use crate::error::{IoError, Problem, Result};
use crate::files::open_regular;
use crate::tensorboard::append_whole;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

const READ: &str = "read JSON lines";
const WRITE: &str = "write JSON lines";
const TRUNCATE: &str = "shorten JSON lines";
/// A line of metrics has some hundred bytes; a longer one than this is no metrics file.
const MAX_LINE: u64 = 16 << 20;

/// Appends lines. Each is one write to the system, so that a process killed at any moment leaves
/// at most one partial last line.
#[derive(Debug)]
pub struct JsonlWriter {
    file: File,
    path: PathBuf,
}

impl JsonlWriter {
    /// Starts a new file, replacing what was there.
    ///
    /// # Errors
    /// [`IoError::Os`] when the file cannot be made.
    pub fn create(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        crate::write_atomic(path, |_| Ok(()))?;
        Self::append(path)
    }

    /// Continues a file, or starts one. A partial last line is cut off first.
    ///
    /// ```
    /// # fn main() -> hadal_io::Result<()> {
    /// # let dir = std::env::temp_dir().join(format!("hadal-doc-jsonl-{}", std::process::id()));
    /// # std::fs::create_dir_all(&dir).unwrap();
    /// # let path = dir.join("metrics.jsonl");
    /// use hadal_io::jsonl;
    /// use serde_json::json;
    /// let mut log = jsonl::JsonlWriter::append(&path)?;
    /// for step in 1..=5 {
    ///     log.write(&json!({ "step": step, "loss": 1.0 / step as f64 }))?;
    /// }
    /// drop(log);
    /// assert_eq!(jsonl::truncate_after(&path, "step", 3)?, 2);
    /// assert_eq!(jsonl::read::<serde_json::Value>(&path)?.len(), 3);
    /// # std::fs::remove_dir_all(&dir).unwrap();
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`IoError::Os`] when the file cannot be opened.
    pub fn append(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let os = |e| IoError::os(WRITE, path, e);
        let file = OpenOptions::new().read(true).append(true).create(true).open(path).map_err(os)?;
        let mut whole = 0;
        each_line(path, WRITE, |_, end, _| {
            whole = end;
            Ok(true)
        })?;
        if file.metadata().map_err(os)?.len() != whole {
            file.set_len(whole).map_err(os)?;
        }
        Ok(JsonlWriter { file, path: path.to_path_buf() })
    }

    /// Appends one value as one line. On an error, a full disk for one, the file is as before.
    ///
    /// # Errors
    /// [`IoError::Argument`] when the value has no JSON form, [`IoError::Os`] when writing fails.
    pub fn write(&mut self, value: &impl Serialize) -> Result<()> {
        let mut line = serde_json::to_vec(value).map_err(|e| {
            Problem::argument(format!("the value has no JSON form: {e}"), "use string keys")
                .at(WRITE, &self.path)
        })?;
        line.push(b'\n');
        append_whole(&self.file, &line).map_err(|e| IoError::os(WRITE, &self.path, e))
    }

    /// Waits until everything is on the disk.
    ///
    /// # Errors
    /// [`IoError::Os`] when the disk refuses.
    pub fn sync(&self) -> Result<()> {
        self.file.sync_all().map_err(|e| IoError::os(WRITE, &self.path, e))
    }
}

/// Reads all lines. A last line without its newline, as a killed process leaves it, is ignored;
/// so are empty lines.
///
/// # Errors
/// [`IoError::Format`] with the number of the line that is not JSON or does not fit `T`.
pub fn read<T: DeserializeOwned>(path: impl AsRef<Path>) -> Result<Vec<T>> {
    let path = path.as_ref();
    let mut out = Vec::new();
    each_line(path, READ, |number, _, line| {
        if !line.trim_ascii().is_empty() {
            out.push(parse(number, line).map_err(|p| p.at(READ, path))?);
        }
        Ok(true)
    })?;
    Ok(out)
}

/// Shortens a file to what was known at step `last`: cuts it before the first line whose number
/// under `key` is greater, and cuts off a partial last line. Returns how many whole lines went.
/// Lines without that key stay when they come earlier. The file is cut in place in one call, so a
/// kill leaves the old length or the new one.
///
/// # Errors
/// [`IoError::Format`] with the number of a line that is not JSON, in which case nothing is cut;
/// [`IoError::Os`] when the file cannot be read or written.
pub fn truncate_after(path: impl AsRef<Path>, key: &str, last: u64) -> Result<usize> {
    let path = path.as_ref();
    let mut keep = 0;
    let mut dropped = 0;
    each_line(path, TRUNCATE, |number, end, line| {
        if dropped > 0 {
            dropped += 1;
            return Ok(true);
        }
        if !line.trim_ascii().is_empty() {
            let value: Value = parse(number, line).map_err(|p| p.at(TRUNCATE, path))?;
            if value.get(key).and_then(Value::as_f64).is_some_and(|step| step > last as f64) {
                dropped = 1;
                return Ok(true);
            }
        }
        keep = end;
        Ok(true)
    })?;
    let os = |e| IoError::os(TRUNCATE, path, e);
    let file = OpenOptions::new().write(true).open(path).map_err(os)?;
    if file.metadata().map_err(os)?.len() != keep {
        file.set_len(keep).and_then(|()| file.sync_all()).map_err(os)?;
    }
    Ok(dropped)
}

fn parse<T: DeserializeOwned>(number: usize, line: &[u8]) -> Result<T, Problem> {
    serde_json::from_slice(line).map_err(|e| {
        Problem::format(format!("line {number} is not what it should be: {e}"), "repair or remove that line")
    })
}

/// Calls `visit(number from 1, position after the newline, line)` for every whole line, until it
/// returns false.
fn each_line(
    path: &Path,
    operation: &'static str,
    mut visit: impl FnMut(usize, u64, &[u8]) -> Result<bool>,
) -> Result<()> {
    let (file, _) = open_regular(path, operation)?;
    let mut reader = BufReader::new(file);
    let (mut line, mut end, mut number) = (Vec::new(), 0, 0);
    loop {
        line.clear();
        reader
            .by_ref()
            .take(MAX_LINE)
            .read_until(b'\n', &mut line)
            .map_err(|e| IoError::os(operation, path, e))?;
        number += 1;
        if line.len() as u64 == MAX_LINE && line.last() != Some(&b'\n') {
            return Err(
                Problem::damaged(format!("line {number} has more than {MAX_LINE} bytes")).at(operation, path)
            );
        }
        end += line.len() as u64;
        if line.pop() != Some(b'\n') || !visit(number, end, &line)? {
            return Ok(());
        }
    }
}
