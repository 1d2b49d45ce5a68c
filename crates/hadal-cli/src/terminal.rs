//! Standard output and error: where they go, and colour.

use crate::failure::{Result, output};
use serde::Serialize;
use std::io::{IsTerminal, Write};

fn color_wanted() -> bool {
    // https://no-color.org: present and not empty.
    std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty()) && !dumb()
}

/// Whether the terminal understands no escapes: neither colour nor bars that move.
pub fn dumb() -> bool {
    std::env::var_os("TERM").is_some_and(|v| v == "dumb")
}

/// Whether standard error takes colour.
pub fn stderr_color() -> bool {
    std::io::stderr().is_terminal() && color_wanted()
}

/// Whether standard output takes colour.
pub fn stdout_color() -> bool {
    std::io::stdout().is_terminal() && color_wanted()
}

/// Text in bold, where standard output takes it.
pub fn bold(text: &str) -> String {
    if stdout_color() { format!("\x1b[1m{text}\x1b[0m") } else { text.to_owned() }
}

/// Columns that tables may take.
pub const WIDTH: usize = 80;

/// Writes text to standard output.
///
/// # Errors
/// Standard output is closed (a quiet end) or full.
pub fn print(text: &str) -> Result {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(output)
}

/// Writes a value as one line of JSON to standard output.
///
/// # Errors
/// As [`print()`].
pub fn print_json(value: &impl Serialize) -> Result {
    let text = serde_json::to_string(value).map_err(|e| output(e.into()))?;
    print(&(text + "\n"))
}

/// Writes a line to standard error; nothing happens when it is closed.
pub fn note(text: &str) {
    let _ = std::io::stderr().write_all(format!("{text}\n").as_bytes());
}
