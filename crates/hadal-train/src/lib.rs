//! Training: configuration, trainer, run folders with checkpoints that resume to the same bits,
//! evaluation, prediction, plots.
//!
//! [`Trainer`] runs the loop, [`Observer`]s watch it, [`Run`] opens what it left. Nothing here prints.

mod artifacts;
pub mod checkpoint;
pub mod config;
pub mod data;
mod divergence;
mod error;
pub mod evaluate;
pub mod files;
mod loss;
pub mod metrics;
pub mod model_file;
mod observer;
pub mod plot;
pub mod predict;
pub mod profile;
pub mod run;
pub mod shell;
mod step;
mod stop;
mod trainer;

pub use config::Config;
pub use data::{DataInfo, Input, Places, Task, TrainData};
pub use error::{Result, TrainError};
pub use evaluate::{Evaluation, Mistake, evaluate};
pub use metrics::{EpochRecord, StepRecord};
pub use model_file::{ModelFile, load_model, save_model};
pub use observer::{Collect, Control, Observer, Start};
pub use predict::{Prediction, Predictor};
pub use run::Run;
pub use stop::StopHandle;
pub use trainer::{Recorded, Status, Summary, Trainer};
