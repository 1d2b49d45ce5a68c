//! What can go wrong in training, as values: the place, and the remedy.

use hadal_data::DataError;
use hadal_io::IoError;
use std::path::PathBuf;

/// The result of everything in this crate that can fail.
pub type Result<T, E = TrainError> = std::result::Result<T, E>;

/// An error of configuring, training, or opening a run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrainError {
    /// A field that is not there, or a value that it cannot have.
    #[error("{place}{message}")]
    Config {
        /// `file.toml, line 3: `, or empty.
        place: String,
        /// What is wrong and what would be right.
        message: String,
    },
    /// The run folder, or a file in it, cannot be used.
    #[error("{}: {message}", path.display())]
    Run {
        /// The folder or file.
        path: PathBuf,
        /// What is wrong and what to do.
        message: String,
    },
    /// The loss or the gradient became NaN or infinite. The parameters were not updated with it.
    #[error("training diverged at step {step} (epoch {epoch}): {message}")]
    Diverged {
        /// The step that could not be made, counted from 1.
        step: u64,
        /// Its epoch, counted from 1.
        epoch: u64,
        /// The first operation that made a value that is not finite, and what to do.
        message: String,
    },
    /// Something could not be saved; what was saved before is intact.
    #[error("{source}\n  {kept}")]
    Saving {
        /// What happened.
        source: Box<TrainError>,
        /// Where training can go on from.
        kept: String,
    },
    /// From the data.
    #[error(transparent)]
    Data(#[from] DataError),
    /// From a file.
    #[error(transparent)]
    Io(#[from] IoError),
    /// From a tensor operation.
    #[error(transparent)]
    Tensor(#[from] hadal_core::Error),
}

impl TrainError {
    /// A configuration error without a place.
    pub(crate) fn config(message: impl Into<String>) -> Self {
        Self::Config { place: String::new(), message: message.into() }
    }

    /// An error of a run folder or a file in it.
    pub(crate) fn run(path: impl Into<PathBuf>, message: impl Into<String>) -> Self {
        Self::Run { path: path.into(), message: message.into() }
    }
}
