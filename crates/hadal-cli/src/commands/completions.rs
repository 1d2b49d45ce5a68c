//! `hadal completions`.

use crate::cli::Cli;
use crate::failure::Result;
use crate::terminal;
use clap::CommandFactory;
use clap_complete::Shell;

const EXAMPLES: &str = "\
Examples:
  hadal completions bash > ~/.local/share/bash-completion/completions/hadal
  hadal completions zsh > ~/.zfunc/_hadal
  hadal completions fish > ~/.config/fish/completions/hadal.fish";

/// Which shell.
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The shell
    shell: Shell,
}

/// Prints the script.
pub fn run(args: &Args) -> Result {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "hadal", &mut script);
    terminal::print(&String::from_utf8_lossy(&script))
}
