//! `cargo xtask sanitize`: tests of the crates with `unsafe` kernels under the address sanitizer.
//!
//! The sanitizer is a flag that stable compilers only take with `RUSTC_BOOTSTRAP`; nothing that is shipped is
//! built so. `hadal_exact` gives each buffer an allocation of its own of just its length, so that reading a
//! byte too far is seen.

use std::path::Path;
use std::process::Command;

/// Crates whose tests run: those with `unsafe` code.
const CRATES: [&str; 2] = ["hadal-core", "hadal-cpu"];

/// Runs the tests; more arguments go to `cargo test`.
pub fn run(root: &Path, args: &[&str]) -> Result<(), String> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(["test", "--tests", "--target", &host(root)?]);
    // What is shared between targets, such as procedural macros, must not be built with the flag.
    if !args.iter().any(|a| *a == "-p" || a.starts_with("--package")) {
        CRATES.iter().for_each(|c| {
            command.args(["--package", c]);
        });
    }
    command
        .args(args)
        .env("RUSTC_BOOTSTRAP", "1")
        .env("RUSTFLAGS", "-Zsanitizer=address --cfg hadal_exact")
        // Everything is built anew: a folder of its own leaves the ordinary builds alone.
        .env("CARGO_TARGET_DIR", crate::target(root).join("sanitize"))
        .current_dir(root);
    match command.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(_) => Err("the address sanitizer, or a test, found something".to_owned()),
        Err(e) => Err(format!("cargo: {e}")),
    }
}

/// The target that the compiler builds for by itself.
fn host(root: &Path) -> Result<String, String> {
    let output =
        Command::new("rustc").arg("-vV").current_dir(root).output().map_err(|e| format!("rustc: {e}"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let line = text.lines().find_map(|l| l.strip_prefix("host: "));
    line.map(str::to_owned).ok_or_else(|| "rustc -vV names no host".to_owned())
}
