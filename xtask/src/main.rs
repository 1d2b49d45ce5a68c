//! `cargo xtask`: what looks after the repository. Run without arguments for the list.

mod bench;
mod check;
mod layers;
mod optable;
mod rust_text;
mod sanitize;
mod soak;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

const HELP: &str = "\
usage: cargo xtask COMMAND

  check              everything that must hold: format, clippy, layers, tests, table of operations, docs
  layers             who may import whom, unsafe, HashMap, printing, panics, length of files
  optable [--check]  write docs/ops.md from the results of the gradient tests, or compare it with them
  sanitize [ARGS]    tests of kernels and buffers under the address sanitizer; ARGS go to cargo test
  soak [--minutes N] training steps for N minutes (default 60): memory must not grow
  bench [OPTIONS]    Hadal against PyTorch, candle and burn; `bench --help` lists the options
";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    let root = root();
    let outcome = match words.as_slice() {
        ["check"] => check::run(&root),
        ["layers"] => layers::run(&root),
        ["optable"] => optable::run(&root, false),
        ["optable", "--check"] => optable::run(&root, true),
        ["sanitize", rest @ ..] => sanitize::run(&root, rest),
        ["soak"] => soak::run(&root, "60"),
        ["soak", "--minutes", minutes] => soak::run(&root, minutes),
        ["bench", rest @ ..] => bench::run(&root, rest),
        [] | ["help" | "--help" | "-h"] => {
            print!("{HELP}");
            Ok(())
        }
        _ => Err(format!("unknown command: {}\n\n{HELP}", words.join(" "))),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("{e}");
            ExitCode::FAILURE
        }
    }
}

/// The repository's root: this crate lies one folder below it.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().map_or_else(|| PathBuf::from("."), Path::to_path_buf)
}

/// Cargo's target folder.
fn target(root: &Path) -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), |t| root.join(t))
}
