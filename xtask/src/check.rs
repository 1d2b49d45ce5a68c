//! The one command that checks everything here.

use std::path::Path;
use std::process::Command;
use std::time::Instant;

/// Each stage: its name and cargo's arguments.
const STAGES: &[(&str, &[&str])] = &[
    ("format", &["fmt", "--all", "--check"]),
    ("clippy", &["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]),
    ("tests", &["test", "--workspace"]),
    ("documentation", &["doc", "--workspace", "--no-deps"]),
];

/// Runs all stages, the quick ones first, and stops at the first that fails.
pub fn run(root: &Path) -> Result<(), String> {
    let begin = Instant::now();
    let mut stages: Vec<Stage<'_>> = vec![("layers", Box::new(|| crate::layers::run(root)))];
    for &(name, args) in STAGES {
        stages.push((name, Box::new(move || cargo(root, args))));
    }
    // The gradient tests have just written what the table is made of.
    stages.push(("table of operations", Box::new(|| crate::optable::run(root, true))));
    for (name, stage) in stages {
        println!("== {name}");
        let start = Instant::now();
        stage().map_err(|e| format!("{name} failed: {e}"))?;
        println!("== {name}: {:.0} s", start.elapsed().as_secs_f64());
    }
    println!("everything holds ({:.0} s)", begin.elapsed().as_secs_f64());
    Ok(())
}

type Stage<'a> = (&'static str, Box<dyn Fn() -> Result<(), String> + 'a>);

fn cargo(root: &Path, args: &[&str]) -> Result<(), String> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(args).current_dir(root);
    if args[0] == "doc" {
        command.env("RUSTDOCFLAGS", "-D warnings");
    }
    match command.status() {
        Ok(s) if s.success() => Ok(()),
        Ok(s) => Err(format!("cargo {}: {s}", args.join(" "))),
        Err(e) => Err(format!("cargo {}: {e}", args.join(" "))),
    }
}
