//! TensorBoard's event files: a writer for scalars, text and pictures, and a reader of scalars.
//!
//! A file is a sequence of TFRecords (length, its masked CRC-32C, data, the data's masked CRC-32C),
//! each an `Event` message. TensorBoard shows every folder that has a file named
//! `events.out.tfevents.…`, and reads several of them in the order of their names.

mod crc32c;
mod proto;

use crate::error::{IoError, Problem, Result};
use crate::files::read_whole;
use crate::image::Image;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

const READ: &str = "read TensorBoard events";
const WRITE: &str = "write TensorBoard events";
const PREFIX: &str = "events.out.tfevents.";
const SUFFIX: &str = "hadal";

/// Appends events to a file of its own. Each call is one write to the system, so that a process
/// killed at any moment leaves at most one partial last record, which readers skip.
#[derive(Debug)]
pub struct EventWriter {
    file: File,
    path: PathBuf,
}

impl EventWriter {
    /// Starts a new file in a folder, which must exist. `wall_time` is in seconds since 1970; the
    /// library reads no clock.
    ///
    /// ```
    /// # fn main() -> hadal_io::Result<()> {
    /// # let dir = std::env::temp_dir().join(format!("hadal-doc-tb-{}", std::process::id()));
    /// # std::fs::create_dir_all(&dir).unwrap();
    /// use hadal_io::tensorboard::{EventWriter, read_scalars};
    /// let mut log = EventWriter::create(&dir, 1.7e9)?;
    /// log.scalars(1, &[("train/loss", 0.5), ("train/accuracy", 0.75)], 1.7e9)?;
    /// let points = read_scalars(&dir)?;
    /// assert_eq!((points[1].tag.as_str(), points[1].value), ("train/accuracy", 0.75));
    /// # std::fs::remove_dir_all(&dir).unwrap();
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`IoError::Os`] when the file cannot be made.
    pub fn create(dir: impl AsRef<Path>, wall_time: f64) -> Result<Self> {
        let dir = dir.as_ref();
        // The name sorts after every file that is there, even when the clock has gone back.
        let latest = event_files(dir, WRITE)?.last().and_then(|p| seconds_of(p)).unwrap_or(0);
        let seconds = (wall_time.max(0.0) as u64).max(latest);
        for count in 0..1000 {
            let path = dir.join(format!("{PREFIX}{seconds:010}.{SUFFIX}.{count:03}"));
            match OpenOptions::new().append(true).create_new(true).open(&path) {
                Ok(file) => {
                    let mut writer = EventWriter { file, path };
                    writer.append(proto::file_version(wall_time))?;
                    return Ok(writer);
                }
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => continue,
                Err(e) => return Err(IoError::os(WRITE, path, e)),
            }
        }
        Err(Problem::argument("a thousand event files were started in one second", "wait a second")
            .at(WRITE, dir))
    }

    /// Starts a new file that continues the folder's earlier ones from `first_step` on: whatever
    /// they say about that step or later ones is void, for TensorBoard and for [`read_scalars`].
    ///
    /// # Errors
    /// As [`EventWriter::create`].
    pub fn resume(dir: impl AsRef<Path>, first_step: i64, wall_time: f64) -> Result<Self> {
        let mut writer = Self::create(dir, wall_time)?;
        writer.append(proto::session_start(wall_time, first_step))?;
        Ok(writer)
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Appends numbers under their tags (`train/loss`), all of one step.
    ///
    /// # Errors
    /// [`IoError::Os`] when writing fails.
    pub fn scalars(&mut self, step: i64, values: &[(&str, f32)], wall_time: f64) -> Result<()> {
        let values = values.iter().map(|(tag, v)| proto::scalar(tag, *v)).collect();
        self.append(proto::event(wall_time, step, values))
    }

    /// Appends a text, shown as Markdown.
    ///
    /// # Errors
    /// [`IoError::Os`] when writing fails.
    pub fn text(&mut self, step: i64, tag: &str, markdown: &str, wall_time: f64) -> Result<()> {
        self.append(proto::event(wall_time, step, vec![proto::text(tag, markdown)]))
    }

    /// Appends a picture.
    ///
    /// # Errors
    /// [`IoError::Os`] when writing fails.
    pub fn image(&mut self, step: i64, tag: &str, image: &Image, wall_time: f64) -> Result<()> {
        let png = image.to_png()?;
        let value = proto::image(tag, image.width(), image.height(), image.channels(), &png);
        self.append(proto::event(wall_time, step, vec![value]))
    }

    /// Waits until everything is on the disk.
    ///
    /// # Errors
    /// [`IoError::Os`] when the disk refuses.
    pub fn sync(&self) -> Result<()> {
        self.file.sync_all().map_err(|e| IoError::os(WRITE, &self.path, e))
    }

    fn append(&mut self, event: proto::Message) -> Result<()> {
        let data = event.0;
        let len = (data.len() as u64).to_le_bytes();
        let mut record = Vec::with_capacity(data.len() + 16);
        record.extend_from_slice(&len);
        record.extend_from_slice(&crc32c::masked(&len).to_le_bytes());
        record.extend_from_slice(&data);
        record.extend_from_slice(&crc32c::masked(&data).to_le_bytes());
        append_whole(&self.file, &record).map_err(|e| IoError::os(WRITE, &self.path, e))
    }
}

/// Appends all of `bytes` or, when the disk fills up in between, nothing.
pub(crate) fn append_whole(file: &File, bytes: &[u8]) -> io::Result<()> {
    let before = file.metadata()?.len();
    let written = crate::atomic::Metered { file }.write_all(bytes);
    if written.is_err() {
        // Best effort: what cannot be cut off is a partial last record, which readers skip.
        let _ = file.set_len(before);
    }
    written
}

/// One number of a run.
#[derive(Clone, PartialEq, Debug)]
pub struct ScalarPoint {
    /// Training step.
    pub step: i64,
    /// Name, such as `train/loss`.
    pub tag: String,
    /// Value.
    pub value: f32,
    /// Seconds since 1970.
    pub wall_time: f64,
}

/// Reads all scalars of an event file, or of a folder's event files in the order of their names,
/// without those that a resumed session has made void. A last record that is cut off, as a killed
/// process leaves it, is skipped.
///
/// # Errors
/// [`IoError::Format`] with the position of a record whose checksum is wrong; [`IoError::Os`] when
/// a file cannot be read. A folder without event files gives no points.
pub fn read_scalars(path: impl AsRef<Path>) -> Result<Vec<ScalarPoint>> {
    let path = path.as_ref();
    let files = if path.is_dir() { event_files(path, READ)? } else { vec![path.to_path_buf()] };
    let mut items = Vec::new();
    for file in files {
        let bytes = read_whole(&file, READ, u64::MAX)?;
        read_records(&bytes, &mut items).map_err(|p| p.at(READ, &file))?;
    }
    Ok(valid(items))
}

/// Reads the scalars of an event file out of memory.
///
/// # Errors
/// As [`read_scalars`].
pub fn scalars_from_bytes(bytes: &[u8]) -> Result<Vec<ScalarPoint>> {
    let mut items = Vec::new();
    read_records(bytes, &mut items).map_err(|p| p.at(READ, crate::error::IN_MEMORY))?;
    Ok(valid(items))
}

/// What a reader of records meets.
enum Item {
    Point(ScalarPoint),
    /// A session starts at this step.
    Start(i64),
}

/// The points that no later session has made void, in one pass from the end: a file may hold as many
/// sessions as points.
fn valid(items: Vec<Item>) -> Vec<ScalarPoint> {
    let mut void_from = None;
    let mut points: Vec<ScalarPoint> = Vec::new();
    for item in items.into_iter().rev() {
        match item {
            Item::Start(step) => void_from = Some(void_from.map_or(step, |v: i64| v.min(step))),
            Item::Point(p) if void_from.is_none_or(|v| p.step < v) => points.push(p),
            Item::Point(_) => {}
        }
    }
    points.reverse();
    points
}

fn read_records(bytes: &[u8], items: &mut Vec<Item>) -> Result<(), Problem> {
    let mut rest = bytes;
    loop {
        let at = bytes.len() - rest.len();
        let Some((head, after)) = rest.split_first_chunk::<12>() else { return Ok(()) };
        let (len, crc) = head.split_at(8);
        check_crc(len, crc, "length", at)?;
        let len = len.iter().rev().fold(0u64, |v, &b| v << 8 | u64::from(b));
        let Some((data, after)) = usize::try_from(len).ok().and_then(|len| after.split_at_checked(len))
        else {
            return Ok(());
        };
        let Some((crc, after)) = after.split_first_chunk::<4>() else { return Ok(()) };
        check_crc(data, crc, "data", at)?;
        let Some(event) = proto::decode_event(data) else {
            return Err(Problem::damaged(format!("the record at byte {at} is not an event")));
        };
        if event.session_start {
            items.push(Item::Start(event.step));
        }
        items.extend(event.scalars.into_iter().map(|(tag, value)| {
            Item::Point(ScalarPoint { step: event.step, tag, value, wall_time: event.wall_time })
        }));
        rest = after;
    }
}

fn check_crc(bytes: &[u8], stored: &[u8], of: &str, at: usize) -> Result<(), Problem> {
    if crc32c::masked(bytes).to_le_bytes() != stored {
        return Err(Problem::damaged(format!("the record at byte {at} has a wrong checksum of its {of}")));
    }
    Ok(())
}

/// A folder's event files, sorted by name.
fn event_files(dir: &Path, operation: &'static str) -> Result<Vec<PathBuf>> {
    let os = |e| IoError::os(operation, dir, e);
    let mut files = Vec::new();
    for entry in fs::read_dir(dir).map_err(os)? {
        let entry = entry.map_err(os)?;
        if entry.file_name().to_string_lossy().starts_with(PREFIX) {
            files.push(entry.path());
        }
    }
    files.sort();
    Ok(files)
}

/// The seconds in an event file's name.
fn seconds_of(path: &Path) -> Option<u64> {
    path.file_name()?.to_str()?.strip_prefix(PREFIX)?.split('.').next()?.parse().ok()
}
