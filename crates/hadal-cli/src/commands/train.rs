//! `hadal train`. (Stub: the real one defines `Args` with clap's derive and `run`; main.rs calls
//! `run(&args)`; errors as `crate::failure::Failure`, whose `code` carries DIVERGED and INTERRUPTED.)

use crate::failure::{Failure, Result};

/// Trains a model.
#[derive(clap::Args, Debug)]
pub struct Args {}

/// Trains.
pub fn run(_args: &Args) -> Result {
    Err(Failure::new("training is not built in yet"))
}
