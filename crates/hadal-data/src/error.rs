//! What can go wrong with data, as values: each names the file or sample and says what to do.

use std::path::PathBuf;

/// The result of everything in this crate that can fail.
pub type Result<T, E = DataError> = std::result::Result<T, E>;

/// An error of reading, combining, transforming or loading data.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DataError {
    /// A file or folder could not be opened, read or written.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was tried: `read`, `list the folder`, `write`.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// A file's content is not what its format says.
    #[error("{file}: {message}")]
    Format {
        /// The file's name, or a name for a block of memory.
        file: String,
        /// What is wrong and what to do.
        message: String,
    },
    /// A CSV cell or row is wrong.
    #[error("{file}, line {line}{}: {message}", column_text(column))]
    Csv {
        /// The file's name.
        file: String,
        /// Line in the file, counted from 1.
        line: usize,
        /// The column's name, where one cell is meant.
        column: Option<String>,
        /// What is wrong and what to do.
        message: String,
    },
    /// A picture could not be read or decoded; the message names the file.
    #[error(transparent)]
    Image(hadal_io::IoError),
    /// A data set without samples where some are needed.
    #[error("{what} is empty: {hint}")]
    Empty {
        /// The data set.
        what: String,
        /// What to do.
        hint: String,
    },
    /// A class label outside `0..classes`.
    #[error(
        "{file}: label {label} of sample {index} is outside 0..{classes}; check the labels or give the right number of classes"
    )]
    LabelOutOfRange {
        /// The labels' file or data set.
        file: String,
        /// The sample's index, from 0.
        index: usize,
        /// The label found.
        label: i64,
        /// Number of classes.
        classes: usize,
    },
    /// Two parts that must have the same number of samples do not.
    #[error("{what}: {left_count} {left} but {right_count} {right}; both must have one entry per sample")]
    Counts {
        /// The data set.
        what: String,
        /// First part.
        left: &'static str,
        /// Its count.
        left_count: usize,
        /// Second part.
        right: &'static str,
        /// Its count.
        right_count: usize,
    },
    /// An argument that cannot be right.
    #[error("{op}: {message}")]
    Argument {
        /// The constructor or operation.
        op: &'static str,
        /// What is wrong and what would be right.
        message: String,
    },
    /// A sample index past the end.
    #[error("sample {index} was asked of {what}, which has {len} (valid: 0..{len})")]
    Index {
        /// The data set.
        what: &'static str,
        /// The index asked for.
        index: usize,
        /// Number of samples.
        len: usize,
    },
    /// Samples of one batch do not fit together.
    #[error(
        "cannot stack a batch: {part} of sample {index} is {found}, but the first sample of the batch (number {first}) has {expected}; make all samples alike, for images with Resize or a crop"
    )]
    Collate {
        /// `input` or `target`.
        part: &'static str,
        /// The sample that differs.
        index: usize,
        /// Its dtype and shape.
        found: String,
        /// The batch's first sample.
        first: usize,
        /// That one's dtype and shape.
        expected: String,
    },
    /// Reading a sample panicked (a bug in a data set or transform).
    #[error(
        "reading batch {batch} of epoch {epoch} panicked: {message}; this is a bug in the data set or a transform, the other batches are unaffected"
    )]
    WorkerPanic {
        /// Batch within the epoch.
        batch: usize,
        /// The epoch.
        epoch: u64,
        /// The panic's message.
        message: String,
    },
    /// A saved loader position does not belong to this loader.
    #[error("cannot resume the data loader: {0}")]
    Resume(String),
    /// No data set of that name.
    #[error("there is no data set named '{name}'{}; known are {known}", nearest_text(nearest))]
    UnknownName {
        /// The name asked for.
        name: String,
        /// The nearest known name, where one is near.
        nearest: Option<&'static str>,
        /// All known names.
        known: String,
    },
    /// The files of a named data set are not there.
    #[error("{0}")]
    Missing(String),
    /// A download failed.
    #[error("{0}")]
    Download(String),
}

fn column_text(column: &Option<String>) -> String {
    column.as_ref().map(|c| format!(", column '{c}'")).unwrap_or_default()
}

fn nearest_text(nearest: &Option<&'static str>) -> String {
    nearest.map(|n| format!(" (did you mean '{n}'?)")).unwrap_or_default()
}

impl DataError {
    /// An [`DataError::Io`].
    pub(crate) fn io(action: &'static str, path: impl Into<PathBuf>, source: std::io::Error) -> Self {
        Self::Io { action, path: path.into(), source }
    }

    /// A [`DataError::Format`].
    pub(crate) fn format(file: impl Into<String>, message: impl Into<String>) -> Self {
        Self::Format { file: file.into(), message: message.into() }
    }

    /// A [`DataError::Argument`].
    pub(crate) fn argument(op: &'static str, message: impl Into<String>) -> Self {
        Self::Argument { op, message: message.into() }
    }
}
