//! `cargo xtask soak`: the soak test of `hadal-train` for longer than tests run.

use std::path::Path;
use std::process::Command;

/// Runs it for so many minutes, in release mode, and shows what it measures.
pub fn run(root: &Path, minutes: &str) -> Result<(), String> {
    let right = minutes.parse::<f64>().is_ok_and(|m| m.is_finite() && m > 0.0);
    if !right {
        return Err(format!("--minutes {minutes} is no number above 0"));
    }
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(cargo)
        .args(["test", "--release", "--package", "hadal-train", "--test", "soak", "--", "--nocapture"])
        .env("HADAL_SOAK_MINUTES", minutes)
        .current_dir(root)
        .status();
    match status {
        Ok(status) if status.success() => Ok(()),
        Ok(_) => Err("memory grew, or a step failed".to_owned()),
        Err(e) => Err(format!("cargo: {e}")),
    }
}
