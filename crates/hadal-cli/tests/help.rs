//! Help, version, completions, and the page of the documentation.

mod common;

use common::{assert_narrow, ok, root, run};

const COMMANDS: &[&str] =
    &["train", "eval", "predict", "inspect", "data", "plot", "profile", "devices", "completions"];

#[test]
fn the_page_is_the_programs_help() {
    let path = root().join("docs/cli.md");
    let page = std::fs::read_to_string(&path).unwrap_or_default();
    let now = ok(&["markdown-help"]);
    assert!(
        page == now,
        "docs/cli.md is not what the program says; run: cargo run -- markdown-help > docs/cli.md"
    );
}

#[test]
fn every_command_explains_itself() {
    let page = ok(&["markdown-help"]);
    assert_narrow(&page);
    let main = ok(&["--help"]);
    for code in ["0  ", "1  ", "2  ", "3  ", "130  "] {
        assert!(main.lines().any(|l| l.trim_start().starts_with(code)), "exit code {code} in:\n{main}");
    }
    for name in COMMANDS {
        assert!(main.contains(&format!("\n  {name}")), "{name} in:\n{main}");
        let help = ok(&[name, "--help"]);
        assert!(help.contains("Usage: hadal ") && help.contains("Examples:\n  hadal "), "{help}");
        assert!(page.contains(&format!("\n## hadal {name}\n")), "{name} in docs/cli.md");
        assert_narrow(&help);
    }
    for sub in ["list", "fetch", "show"] {
        assert!(ok(&["data", sub, "--help"]).contains("Examples:\n  hadal data"), "{sub}");
    }
}

#[test]
fn version_and_no_arguments() {
    assert_eq!(ok(&["--version"]), format!("hadal {}\n", env!("CARGO_PKG_VERSION")));
    let said = run(&[]);
    assert_eq!(said.code, Some(2));
    assert!(said.err.contains("Usage: hadal <COMMAND>"), "{said:?}");
}

#[test]
fn completions_know_the_commands() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = ok(&["completions", shell]);
        for name in COMMANDS {
            assert!(script.contains(name), "{name} for {shell}");
        }
        assert!(!script.contains("markdown-help"), "a hidden command is offered in {shell}");
    }
}

#[test]
#[cfg(unix)]
fn a_closed_pipe_ends_quietly() {
    use std::process::Stdio;
    for args in [&["completions", "bash"][..], &["data", "list"], &["--help"], &["markdown-help"]] {
        let mut child = common::hadal(args)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts");
        drop(child.stdout.take());
        let o = child.wait_with_output().expect("the program ends");
        assert_eq!(
            (o.status.code(), o.stderr.len()),
            (Some(0), 0),
            "{args:?}: {}",
            String::from_utf8_lossy(&o.stderr)
        );
    }
}
