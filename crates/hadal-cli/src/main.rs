//! The `hadal` program: reads the command line, runs a command, ends with its exit code.

mod cli;
mod commands;
mod failure;
mod markdown;
mod places;
mod table;
mod terminal;
mod ui;

use clap::Parser;
use cli::{Cli, Command};
use failure::{ERROR, Failure, Result};
use std::process::ExitCode;

fn main() -> ExitCode {
    // For the documentation only: no command, so that neither help nor completions offer it.
    if std::env::args_os().nth(1).is_some_and(|a| a == "markdown-help") {
        return ExitCode::from(
            terminal::print(&markdown::page()).map_or_else(|f| f.report(false), |()| failure::OK),
        );
    }
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(e) => {
            // Help and version come this way too. A closed pipe is nobody's error.
            let _ = e.print();
            return ExitCode::from(u8::try_from(e.exit_code()).unwrap_or(ERROR));
        }
    };
    // A panic is a bug: say so in one line, and where, instead of a backtrace.
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(|l| format!(" at {}:{}", l.file(), l.line())).unwrap_or_default();
        let what = panic.payload_as_str().unwrap_or("no message");
        Failure::new(format!("hadal has a bug{place}: {what}"))
            .help("please report it with the command line and this message")
            .report(terminal::stderr_color());
    }));
    let result = std::panic::catch_unwind(|| run(&cli.command));
    ExitCode::from(match result {
        Ok(Ok(())) => failure::OK,
        Ok(Err(failure)) => failure.report(terminal::stderr_color()),
        Err(_) => ERROR,
    })
}

fn run(command: &Command) -> Result {
    match command {
        Command::Train(args) => commands::train::run(args),
        Command::Eval(args) => commands::eval::run(args),
        Command::Predict(args) => commands::predict::run(args),
        Command::Inspect(args) => commands::inspect::run(args),
        Command::Data(args) => commands::data::run(args),
        Command::Plot(args) => commands::plot::run(args),
        Command::Profile(args) => commands::profile::run(args),
        Command::Devices(args) => commands::devices::run(args),
        Command::Completions(args) => commands::completions::run(args),
    }
}
