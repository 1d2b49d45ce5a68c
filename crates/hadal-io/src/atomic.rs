//! Writing a file so that there is always either the old one or the new one, never a half.

use crate::error::{IoError, Problem, Result};
use std::cell::Cell;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

const WRITE: &str = "write";
/// Bytes gathered before each system call.
const BUFFER_BYTES: usize = 256 * 1024;

/// Writes a file in one piece: `fill` writes into a temporary file in the same folder, which is
/// synced to disk and then renamed over `path`, and the folder is synced too. On any error, from
/// `fill` or from the system, the temporary file is removed and whatever was at `path` before is
/// untouched.
///
/// A symbolic link is followed, so that the link stays and its target is replaced. An existing
/// file's permissions are kept. A device or a pipe (`/dev/stdout`) cannot be replaced and is
/// written directly.
///
/// The temporary file is named `.NAME.PID.COUNT.tmp`. A process killed in the middle leaves it
/// behind; [`remove_stale`] clears it away.
///
/// ```
/// # fn main() -> hadal_io::Result<()> {
/// # let dir = std::env::temp_dir().join(format!("hadal-doc-atomic-{}", std::process::id()));
/// # std::fs::create_dir_all(&dir).unwrap();
/// let path = dir.join("notes.txt");
/// hadal_io::write_atomic(&path, |w| w.write_all(b"all or nothing"))?;
/// assert_eq!(std::fs::read(&path).unwrap(), b"all or nothing");
/// # std::fs::remove_dir_all(&dir).unwrap();
/// # Ok(()) }
/// ```
///
/// # Errors
/// [`IoError::Os`] with the path and a hint when the folder is missing or not writable, when the
/// disk is full, or when `fill` fails; [`IoError::Argument`] when the path names a folder.
pub fn write_atomic(
    path: impl AsRef<Path>,
    fill: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> Result<()> {
    let path = path.as_ref();
    let os = |e| IoError::os(WRITE, path, e);
    let mut target = path.to_path_buf();
    let mut permissions = None;
    match fs::metadata(path) {
        Ok(m) if m.is_dir() => {
            return Err(Problem::argument("it is a folder", "name a file in it").at(WRITE, path));
        }
        Ok(m) if !m.is_file() => {
            let file = OpenOptions::new().write(true).open(path).map_err(os)?;
            let mut w = BufWriter::with_capacity(BUFFER_BYTES, Metered { file: &file });
            return fill(&mut w).and_then(|()| w.flush()).map_err(os);
        }
        Ok(m) => {
            permissions = Some(m.permissions());
            if fs::symlink_metadata(path).is_ok_and(|m| m.is_symlink()) {
                target = fs::canonicalize(path).map_err(os)?;
            }
        }
        // A missing file is the usual case; a missing folder shows when the temporary is made.
        Err(_) => {}
    }
    let Some(name) = target.file_name() else {
        return Err(Problem::argument("the path has no file name", "name a file").at(WRITE, path));
    };
    let dir = folder_of(&target);
    let (file, temporary) = create_temporary(&dir, name).map_err(os)?;
    let guard = RemoveOnDrop(Some(temporary));
    let filled = (|| {
        let mut w = BufWriter::with_capacity(BUFFER_BYTES, Metered { file: &file });
        fill(&mut w)?;
        w.flush()?;
        drop(w);
        if let Some(p) = permissions {
            // Not worth failing for: a foreign owner's mode may not be ours to set.
            let _ = file.set_permissions(p);
        }
        file.sync_all()
    })();
    // Windows renames no open file.
    drop(file);
    filled.map_err(os)?;
    guard.rename_to(&target).map_err(os)?;
    sync_folder(&dir).map_err(os)
}

/// Removes temporary files that earlier, killed processes left behind while writing `path` with
/// [`write_atomic`], and returns how many. Call it only where no other process writes `path`.
///
/// # Errors
/// [`IoError::Os`] when the folder cannot be listed or a file not removed. A missing folder is no
/// error: nothing is stale there.
pub fn remove_stale(path: impl AsRef<Path>) -> Result<usize> {
    const OPERATION: &str = "clean up after";
    let path = path.as_ref();
    let Some(name) = path.file_name() else { return Ok(0) };
    let dir = folder_of(path);
    let entries = match fs::read_dir(&dir) {
        Ok(e) => e,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(0),
        Err(e) => return Err(IoError::os(OPERATION, path, e)),
    };
    let mut removed = 0;
    for entry in entries {
        let entry = entry.map_err(|e| IoError::os(OPERATION, path, e))?;
        if is_temporary_of(name, &entry.file_name()) {
            fs::remove_file(entry.path()).map_err(|e| IoError::os(OPERATION, entry.path(), e))?;
            removed += 1;
        }
    }
    Ok(removed)
}

/// Runs `work` as if the disk had only `bytes` free: on this thread, [`write_atomic`] and the
/// append-only writers of this crate fail with "no space left" after that many bytes. For tests
/// of what survives a full disk.
#[doc(hidden)]
pub fn with_disk_of<T>(bytes: u64, work: impl FnOnce() -> T) -> T {
    struct Restore(Option<u64>);
    impl Drop for Restore {
        fn drop(&mut self) {
            DISK_LEFT.set(self.0);
        }
    }
    let _restore = Restore(DISK_LEFT.replace(Some(bytes)));
    work()
}

thread_local! {
    /// Bytes that may still be written on this thread; `None` outside of tests.
    static DISK_LEFT: Cell<Option<u64>> = const { Cell::new(None) };
}

/// A file that obeys [`with_disk_of`].
pub(crate) struct Metered<'a> {
    pub(crate) file: &'a File,
}

impl Write for Metered<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let Some(left) = DISK_LEFT.get() else { return self.file.write(bytes) };
        if left == 0 && !bytes.is_empty() {
            return Err(io::Error::from(io::ErrorKind::StorageFull));
        }
        // As a real disk does: what still fits is written, the rest fails at the next call.
        let n = self.file.write(&bytes[..bytes.len().min(left as usize)])?;
        DISK_LEFT.set(Some(left - n as u64));
        Ok(n)
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn folder_of(path: &Path) -> PathBuf {
    match path.parent() {
        Some(p) if !p.as_os_str().is_empty() => p.to_path_buf(),
        _ => PathBuf::from("."),
    }
}

fn create_temporary(dir: &Path, name: &OsStr) -> io::Result<(File, PathBuf)> {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    loop {
        let mut temporary = OsString::from(".");
        temporary.push(name);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        temporary.push(format!(".{}.{count}.tmp", std::process::id()));
        let temporary = dir.join(temporary);
        match OpenOptions::new().write(true).create_new(true).open(&temporary) {
            Ok(file) => return Ok((file, temporary)),
            // Left by a killed process that had our id: the next number is free.
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => continue,
            Err(e) => return Err(e),
        }
    }
}

/// Whether `candidate` is `.NAME.<digits>.<digits>.tmp`.
fn is_temporary_of(name: &OsStr, candidate: &OsStr) -> bool {
    let (Some(name), Some(candidate)) = (name.to_str(), candidate.to_str()) else { return false };
    let Some(rest) = candidate
        .strip_prefix('.')
        .and_then(|c| c.strip_prefix(name))
        .and_then(|c| c.strip_prefix('.'))
        .and_then(|c| c.strip_suffix(".tmp"))
    else {
        return false;
    };
    let digits = |s: &str| !s.is_empty() && s.bytes().all(|b| b.is_ascii_digit());
    rest.split_once('.').is_some_and(|(pid, count)| digits(pid) && digits(count))
}

struct RemoveOnDrop(Option<PathBuf>);

impl RemoveOnDrop {
    fn rename_to(mut self, target: &Path) -> io::Result<()> {
        if let Some(temporary) = &self.0 {
            fs::rename(temporary, target)?;
            self.0 = None;
        }
        Ok(())
    }
}

impl Drop for RemoveOnDrop {
    fn drop(&mut self) {
        if let Some(temporary) = &self.0 {
            let _ = fs::remove_file(temporary);
        }
    }
}

/// Makes the rename itself survive a power cut. Only Unix lets a folder be opened and synced.
fn sync_folder(dir: &Path) -> io::Result<()> {
    if cfg!(unix) {
        match File::open(dir).and_then(|d| d.sync_all()) {
            // Some network and FUSE file systems refuse to sync a folder; the file itself is safe.
            Err(e) if matches!(e.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported) => Ok(()),
            // A folder that may be written but not listed cannot be opened; same reasoning.
            Err(e) if e.kind() == io::ErrorKind::PermissionDenied => Ok(()),
            r => r,
        }
    } else {
        Ok(())
    }
}
