//! The command line: commands, options, help.

use crate::commands;
use clap::{Parser, Subcommand};

const EXAMPLES: &str = "\
Examples:
  hadal train                            train LeNet on the program's digits
  hadal train --model mlp --epochs 5     another model, five epochs
  hadal eval runs/lenet-1                test accuracy of a run, class by class
  hadal predict runs/lenet-1 seven.png   what is in the picture?
  hadal inspect lenet                    layers, shapes, parameters, FLOPs
  hadal profile lenet                    where does the time go?

Exit codes:
  0    done
  1    something failed; standard error says what and what to do
  2    the command line or the configuration was wrong
  3    training diverged: the loss is not a finite number any more
  130  interrupted (Ctrl-C); what was trained so far is saved

Environment:
  HADAL_CACHE  folder for downloaded data sets and for what was measured of
               this machine, else ~/.cache/hadal
  NO_COLOR     when set, nothing is coloured
  TERM         when it is dumb, plain lines: no colour, no bar that moves";

/// Deep learning in one program: train, evaluate and use networks, with the same numbers every run.
#[derive(Parser, Debug)]
#[command(
    name = "hadal",
    version,
    about,
    after_help = EXAMPLES,
    term_width = 80,
    propagate_version = false,
    arg_required_else_help = true,
    subcommand_required = true
)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Subcommand, Debug)]
pub enum Command {
    /// Train a model; with no options, LeNet on the digits in the program
    Train(Box<commands::train::Args>),
    /// Evaluate a run: loss, accuracy, and each class by itself
    Eval(commands::eval::Args),
    /// Say what is in an image, with a run's model
    Predict(commands::predict::Args),
    /// Show the layers of a model or run, or the tensors in a file
    Inspect(commands::inspect::Args),
    /// List, download and look at data sets
    Data(commands::data::Args),
    /// Draw the curves of one or several runs into one picture
    Plot(commands::plot::Args),
    /// Show where the time of a training step or an answer goes
    Profile(commands::profile::Args),
    /// Show what this machine computes with
    Devices(commands::devices::Args),
    /// Print a completion script for a shell
    Completions(commands::completions::Args),
}
