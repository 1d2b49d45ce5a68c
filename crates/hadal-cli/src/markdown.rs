//! The help of every command as a page of the documentation (`docs/cli.md`).

use crate::cli::Cli;
use clap::{Command, CommandFactory};

/// The page. The same text on every machine: help is 80 columns wide and not coloured.
pub fn page() -> String {
    let mut program = Cli::command();
    program.build();
    let mut out = String::from(
        "# The command line\n\n\
         What `hadal --help` and `hadal COMMAND --help` print.\n\
         Made by `hadal markdown-help`; a test compares.\n",
    );
    section(&mut program, "hadal", &mut out);
    out
}

fn section(command: &mut Command, path: &str, out: &mut String) {
    let help = command.render_long_help().to_string();
    let lines: Vec<&str> = help.lines().map(str::trim_end).collect();
    out.push_str(&format!("\n## {path}\n\n```text\n{}\n```\n", lines.join("\n").trim_end()));
    for sub in command.get_subcommands_mut() {
        if sub.is_hide_set() || sub.get_name() == "help" {
            continue;
        }
        let path = format!("{path} {}", sub.get_name());
        section(sub, &path, out);
    }
}
