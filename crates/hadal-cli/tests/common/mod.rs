//! Running the program and looking at what it said.

#![allow(dead_code)] // Each test program uses a part of it.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// What a command said and how it ended.
#[derive(Debug)]
pub struct Said {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

/// The program, without the environment's opinion on caches and colours.
pub fn hadal(args: &[&str]) -> Command {
    let mut c = Command::new(env!("CARGO_BIN_EXE_hadal"));
    c.args(args).env_remove("HADAL_CACHE").env_remove("NO_COLOR").stdin(Stdio::null());
    c
}

/// Runs a command in a folder.
pub fn run_in(dir: &Path, args: &[&str]) -> Said {
    finish(hadal(args).current_dir(dir))
}

/// Runs a command wherever the test is.
pub fn run(args: &[&str]) -> Said {
    finish(&mut hadal(args))
}

/// Runs a command to its end.
pub fn finish(command: &mut Command) -> Said {
    let o = command.output().expect("the program starts");
    let text = |b: Vec<u8>| String::from_utf8(b).expect("the program writes UTF-8");
    Said { code: o.status.code(), out: text(o.stdout), err: text(o.stderr) }
}

/// Runs a command that must succeed and say nothing on standard error; gives what it printed.
pub fn ok(args: &[&str]) -> String {
    let said = run(args);
    assert_eq!((said.code, said.err.as_str()), (Some(0), ""), "{args:?}: {said:?}");
    said.out
}

/// The only line of a command that prints one JSON object.
pub fn json(args: &[&str]) -> serde_json::Value {
    serde_json::from_str(ok(args).trim_end()).expect("one JSON object")
}

/// A path as text.
pub fn text(path: &Path) -> &str {
    path.to_str().expect("test paths are UTF-8")
}

/// No line is wider than a terminal.
pub fn assert_narrow(out: &str) {
    for line in out.lines() {
        assert!(line.chars().count() <= 80, "{} columns: {line}", line.chars().count());
    }
}

/// The repository's root.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}
