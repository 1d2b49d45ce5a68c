//! The commands, a file each: `Args` as clap reads them, and `run`.

pub mod completions;
pub mod data;
pub mod devices;
pub mod eval;
pub mod inspect;
pub mod plot;
pub mod predict;
pub mod profile;
pub mod train;
