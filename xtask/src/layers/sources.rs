//! What source files may hold.

use super::{Finding, below, entries, read};
use crate::rust_text::{has_word, mask, without_tests};
use std::path::{Path, PathBuf};

/// Files longer than this hold more than one idea.
const MAX_LINES: usize = 600;

/// What ends the process on a bad value. `debug_assert` is free: it is not in a release.
const PANICS: &[&str] =
    &["panic!", "todo!", "unimplemented!", "unreachable!", "assert!", "assert_eq!", "assert_ne!"];
const PRINTS: &[&str] = &["println!", "print!", "eprintln!", "eprint!", "dbg!", "io::stdout", "io::stderr"];
const ENVIRONMENT: &[&str] =
    &["env::var", "env::var_os", "env::vars", "env::vars_os", "env::set_var", "env::args", "env::args_os"];
const EXITS: &[&str] = &["process::exit", "process::abort"];

/// All Rust files of the workspace, peers left out.
pub fn files(root: &Path) -> Result<Vec<PathBuf>, String> {
    let mut files = Vec::new();
    let mut dirs =
        vec![root.join("crates"), root.join("xtask"), root.join("bench/hadal-bench"), root.join("examples")];
    while let Some(dir) = dirs.pop() {
        for path in entries(&dir)? {
            if path.is_dir() {
                if path.file_name().is_some_and(|n| n != "target") {
                    dirs.push(path);
                }
            } else if path.extension().is_some_and(|e| e == "rs") {
                files.push(path);
            }
        }
    }
    files.sort();
    Ok(files)
}

/// Checks one file.
pub fn check(root: &Path, file: &Path) -> Result<Vec<Finding>, String> {
    let path = below(root, file);
    let text = read(file)?;
    let masked = mask(&text);
    let mut found = Vec::new();
    let mut report = |rule, line, what: String| found.push(Finding { rule, path: path.clone(), line, what });

    let lines = text.lines().count();
    if lines > MAX_LINES {
        report("length", 0, format!("{lines} lines; at most {MAX_LINES}, one idea per file"));
    }
    let original: Vec<&str> = text.lines().collect();
    for (i, line) in masked.lines().enumerate() {
        if has_word(line, "unsafe") {
            report("unsafe", i + 1, original[i].trim().to_owned());
            if needs_reason(line) && !has_reason(&original, i) {
                report("safety", i + 1, "no `// SAFETY:` above says why this is sound".to_owned());
            }
        }
    }

    if path.starts_with("crates/") && path.contains("/src/") && !only_for_tests(root, file)? {
        let library = !path.starts_with("crates/hadal-cli/");
        let (code, _) = without_tests(&masked);
        for (i, line) in code.lines().enumerate() {
            let shown = || original[i].trim().to_owned();
            if ["HashMap", "HashSet"].iter().any(|w| has_word(line, w)) {
                report(
                    "hashmap",
                    i + 1,
                    format!("{} (its order is random: take a BTreeMap or a Vec)", shown()),
                );
            }
            let any = |words: &[&str]| words.iter().any(|w| has_word(line, w));
            if library && any(PRINTS) {
                report("prints", i + 1, shown());
            }
            if library && any(ENVIRONMENT) {
                report("environment", i + 1, shown());
            }
            if library && any(EXITS) {
                report("exits", i + 1, shown());
            }
            let unwraps = line.contains(".unwrap()") || line.contains(".unwrap_err()") || expects(line);
            if unwraps || (any(PANICS) && !has_word(line, "const")) {
                report("panic", i + 1, shown());
            }
        }
    }
    Ok(found)
}

/// `.expect(…)` of an Option or Result. A parser's method of that name takes a character.
fn expects(line: &str) -> bool {
    line.match_indices(".expect(").any(|(i, m)| !line[i + m.len()..].trim_start().starts_with('\''))
}

/// A block or an impl; an `unsafe fn` states its conditions under `# Safety` instead, which clippy
/// asks for.
fn needs_reason(masked: &str) -> bool {
    let Some((_, after)) = masked.split_once("unsafe") else { return false };
    let after = after.trim_start();
    after.starts_with('{') || after.starts_with("impl")
}

/// A reason on the line, or above the statement it belongs to.
fn has_reason(lines: &[&str], at: usize) -> bool {
    lines[at.saturating_sub(8)..=at].iter().any(|l| l.contains("SAFETY:"))
}

/// Whether the file is a module that is compiled for tests only: some parent declares it, or a folder
/// around it, under `#[cfg(test)]`.
fn only_for_tests(root: &Path, file: &Path) -> Result<bool, String> {
    let mut module = file.to_path_buf();
    while module.parent().is_some_and(|d| d != root) {
        let name = match module.file_name().and_then(|n| n.to_str()) {
            Some("src") | None => return Ok(false),
            Some(n) => n.strip_suffix(".rs").unwrap_or(n).to_owned(),
        };
        let Some(dir) = module.parent() else { return Ok(false) };
        let named_after_folder = dir.with_extension("rs");
        for parent in [dir.join("mod.rs"), dir.join("lib.rs"), dir.join("main.rs"), named_after_folder] {
            if parent.is_file() && without_tests(&mask(&read(&parent)?)).1.contains(&name) {
                return Ok(true);
            }
        }
        module = dir.to_path_buf();
    }
    Ok(false)
}
