//! The one error type of this crate: what was being done, to which file, what is wrong, and what
//! to do about it.

use std::borrow::Cow;
use std::io;
use std::path::{Path, PathBuf};

/// What went wrong while reading or writing a file.
///
/// Every variant names the operation (`read safetensors file`), the path, and a hint that says
/// what to do. The text is one line: `cannot OPERATION PATH: PROBLEM; HINT`.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IoError {
    /// The operating system refused: no such file, no permission, disk full, ….
    #[error("cannot {operation} {}: {source}; {hint}", .path.display())]
    Os {
        /// What was being done, as a verb phrase.
        operation: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's own words.
        source: io::Error,
        /// What to do about it.
        hint: Cow<'static, str>,
    },
    /// The file's content breaks its format's rules: truncated, damaged, or made up.
    #[error("cannot {operation} {}: {problem}; {hint}", .path.display())]
    Format {
        /// What was being done, as a verb phrase.
        operation: &'static str,
        /// The file, or `(bytes in memory)`.
        path: PathBuf,
        /// Which rule is broken, and where.
        problem: String,
        /// What to do about it.
        hint: Cow<'static, str>,
    },
    /// The file is right, but holds something that Hadal has no type for.
    #[error("cannot {operation} {}: {problem}; {hint}", .path.display())]
    Unsupported {
        /// What was being done, as a verb phrase.
        operation: &'static str,
        /// The file, or `(bytes in memory)`.
        path: PathBuf,
        /// What is not supported.
        problem: String,
        /// What to do about it.
        hint: Cow<'static, str>,
    },
    /// The caller asked to write something that cannot be written.
    #[error("cannot {operation} {}: {problem}; {hint}", .path.display())]
    Argument {
        /// What was being done, as a verb phrase.
        operation: &'static str,
        /// The file, or `(bytes in memory)`.
        path: PathBuf,
        /// Which argument is wrong.
        problem: String,
        /// What to do about it.
        hint: Cow<'static, str>,
    },
}

/// This crate's result.
pub type Result<T, E = IoError> = std::result::Result<T, E>;

/// Stands for the path in the errors of functions that read from memory.
pub(crate) const IN_MEMORY: &str = "(bytes in memory)";

impl IoError {
    /// An error of the operating system; the hint follows from its kind.
    pub fn os(operation: &'static str, path: impl AsRef<Path>, source: io::Error) -> Self {
        let path = path.as_ref().to_path_buf();
        let hint = os_hint(&path, &source);
        IoError::Os { operation, path, source, hint }
    }

    /// What was being done, as a verb phrase.
    pub fn operation(&self) -> &'static str {
        match self {
            IoError::Os { operation, .. }
            | IoError::Format { operation, .. }
            | IoError::Unsupported { operation, .. }
            | IoError::Argument { operation, .. } => operation,
        }
    }

    /// The file, or `(bytes in memory)`.
    pub fn path(&self) -> &Path {
        match self {
            IoError::Os { path, .. }
            | IoError::Format { path, .. }
            | IoError::Unsupported { path, .. }
            | IoError::Argument { path, .. } => path,
        }
    }

    /// What to do about it.
    pub fn hint(&self) -> &str {
        match self {
            IoError::Os { hint, .. }
            | IoError::Format { hint, .. }
            | IoError::Unsupported { hint, .. }
            | IoError::Argument { hint, .. } => hint,
        }
    }

    /// The system's error kind, where the system refused.
    pub fn os_kind(&self) -> Option<io::ErrorKind> {
        match self {
            IoError::Os { source, .. } => Some(source.kind()),
            _ => None,
        }
    }
}

fn os_hint(path: &Path, e: &io::Error) -> Cow<'static, str> {
    use io::ErrorKind::*;
    match e.kind() {
        NotFound => match path.parent() {
            Some(dir) if !dir.as_os_str().is_empty() && !dir.exists() => {
                format!("the folder {} does not exist: create it or correct the path", dir.display()).into()
            }
            _ => "check the path".into(),
        },
        PermissionDenied => "check who owns the file and its folder, or choose another place".into(),
        ReadOnlyFilesystem => "the file system is mounted read-only: choose another place".into(),
        StorageFull | QuotaExceeded => {
            "free some space or choose another place; what was there before is untouched".into()
        }
        FileTooLarge => "the file would be larger than a limit allows (`ulimit -f`, a quota, the file system): raise it or \
                         choose another place; what was there before is untouched"
            .into(),
        IsADirectory => "this is a folder: name a file in it".into(),
        NotADirectory => "a part of the path is a file, not a folder: correct the path".into(),
        UnexpectedEof => "the file is shorter than it was a moment ago: is something else writing it?".into(),
        _ => "check the disk and the path, then try again".into(),
    }
}

/// A problem found by a parser that does not know the path; [`Problem::at`] adds it.
#[derive(Debug)]
pub(crate) struct Problem {
    kind: Kind,
    what: String,
    hint: Cow<'static, str>,
}

#[derive(Debug)]
enum Kind {
    Format,
    Unsupported,
    Argument,
    Os(io::Error),
}

/// The hint of most broken files.
const DAMAGED: &str = "the file is damaged or not of this format: make or download it again";
/// The hint of files that end too soon.
const TRUNCATED: &str = "the file is truncated: make or download it again";

impl Problem {
    pub(crate) fn damaged(what: impl Into<String>) -> Self {
        Problem { kind: Kind::Format, what: what.into(), hint: DAMAGED.into() }
    }
    pub(crate) fn truncated(what: impl Into<String>) -> Self {
        Problem { kind: Kind::Format, what: what.into(), hint: TRUNCATED.into() }
    }
    pub(crate) fn format(what: impl Into<String>, hint: impl Into<Cow<'static, str>>) -> Self {
        Problem { kind: Kind::Format, what: what.into(), hint: hint.into() }
    }
    pub(crate) fn unsupported(what: impl Into<String>, hint: impl Into<Cow<'static, str>>) -> Self {
        Problem { kind: Kind::Unsupported, what: what.into(), hint: hint.into() }
    }
    pub(crate) fn argument(what: impl Into<String>, hint: impl Into<Cow<'static, str>>) -> Self {
        Problem { kind: Kind::Argument, what: what.into(), hint: hint.into() }
    }
    /// Puts words (a member's name, a line's number) before what is wrong.
    pub(crate) fn inside(mut self, place: &str) -> Self {
        self.what = format!("{place}: {}", self.what);
        self
    }
    pub(crate) fn at(self, operation: &'static str, path: impl AsRef<Path>) -> IoError {
        let (path, problem, hint) = (path.as_ref().to_path_buf(), self.what, self.hint);
        match self.kind {
            Kind::Format => IoError::Format { operation, path, problem, hint },
            Kind::Unsupported => IoError::Unsupported { operation, path, problem, hint },
            Kind::Argument => IoError::Argument { operation, path, problem, hint },
            Kind::Os(e) => IoError::os(operation, path, e),
        }
    }
}

impl From<io::Error> for Problem {
    fn from(e: io::Error) -> Self {
        Problem { kind: Kind::Os(e), what: String::new(), hint: Cow::Borrowed("") }
    }
}
