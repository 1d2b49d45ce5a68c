//! The rules of the house that the compiler does not know: which crate may import which, where
//! `unsafe` may stand, and what a library may not do.

mod edges;
mod sources;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

/// One place that breaks a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The rule's short name.
    pub rule: &'static str,
    /// Path below the root, with `/`.
    pub path: String,
    /// Line, from 1; 0 when it is about the whole file.
    pub line: usize,
    /// What is wrong.
    pub what: String,
}

/// A place where a rule does not hold, and why that is right.
pub struct Allowed {
    /// The rule.
    pub rule: &'static str,
    /// A file, or a folder with `/` at its end.
    pub path: &'static str,
    /// What the line holds; "" allows the whole file or folder.
    pub text: &'static str,
    /// Why.
    #[allow(dead_code, reason = "written for the reader of the list")]
    pub reason: &'static str,
}

/// All exceptions. One that no longer excuses anything is itself an error.
const ALLOWED: &[Allowed] = &[
    Allowed {
        rule: "unsafe",
        path: "crates/hadal-core/src/buffer.rs",
        text: "",
        reason: "memory of tensors: allocation, and bytes seen as elements",
    },
    Allowed {
        rule: "unsafe",
        path: "crates/hadal-core/src/buffer/",
        text: "",
        reason: "memory of tensors: blocks from the system, and slabs of huge pages cut into blocks",
    },
    Allowed {
        rule: "unsafe",
        path: "crates/hadal-cpu/",
        text: "",
        reason: "kernels: SIMD intrinsics and disjoint parts written by several threads",
    },
    Allowed {
        rule: "unsafe",
        path: "crates/hadal-core/tests/math_bits.rs",
        text: "",
        reason: "calls target_feature functions, to compare instruction sets",
    },
    Allowed {
        rule: "unsafe",
        path: "crates/hadal-core/examples/bench_math.rs",
        text: "",
        reason: "calls target_feature functions, to time them",
    },
    Allowed {
        rule: "hashmap",
        path: "crates/hadal-tensor/src/idmap.rs",
        text: "",
        reason: "looks nodes up by id and is never iterated; the order of nodes is that of a vector",
    },
    Allowed {
        rule: "panic",
        path: "crates/hadal-tensor/src/tensor.rs",
        text: "panic!(\"{error}\")",
        reason: "strict mode, switched on by the user, stops at the call that is wrong",
    },
];

/// Checks the repository and prints what it finds.
pub fn run(root: &Path) -> Result<(), String> {
    let (checked, findings) = findings(root, ALLOWED)?;
    for f in &findings {
        let line = if f.line > 0 { format!(":{}", f.line) } else { String::new() };
        println!("{}{line}: [{}] {}", f.path, f.rule, f.what);
    }
    if findings.is_empty() {
        println!("layers: {checked} files, nothing found");
        return Ok(());
    }
    Err(format!("layers: {} findings in {checked} files", findings.len()))
}

/// The number of files seen and all findings, in order of paths.
fn findings(root: &Path, allowed: &[Allowed]) -> Result<(usize, Vec<Finding>), String> {
    let mut found = edges::check(root)?;
    let files = sources::files(root)?;
    for file in &files {
        found.extend(sources::check(root, file)?);
    }
    let mut used = vec![false; allowed.len()];
    found.retain(|f| {
        let excused = allowed.iter().position(|a| {
            let place = if a.path.ends_with('/') { f.path.starts_with(a.path) } else { f.path == a.path };
            a.rule == f.rule && place && f.what.contains(a.text)
        });
        if let Some(i) = excused {
            used[i] = true;
        }
        excused.is_none()
    });
    for (a, _) in allowed.iter().zip(used).filter(|(_, used)| !used) {
        found.push(Finding {
            rule: "stale",
            path: a.path.to_owned(),
            line: 0,
            what: format!("an exception from `{}` is listed but nothing here needs it {}", a.rule, a.text),
        });
    }
    found.sort_by(|a, b| (&a.path, a.line, a.rule).cmp(&(&b.path, b.line, b.rule)));
    Ok((files.len(), found))
}

/// Reads a file of the repository.
fn read(path: &Path) -> Result<String, String> {
    std::fs::read_to_string(path).map_err(|e| format!("{}: {e}", path.display()))
}

/// Entries of a folder by name; none when it is not there.
fn entries(dir: &Path) -> Result<Vec<PathBuf>, String> {
    if !dir.is_dir() {
        return Ok(Vec::new());
    }
    let read = std::fs::read_dir(dir).map_err(|e| format!("{}: {e}", dir.display()))?;
    let mut all =
        read.map(|e| e.map(|e| e.path())).collect::<Result<Vec<_>, _>>().map_err(|e| e.to_string())?;
    all.sort();
    Ok(all)
}

/// A path below the root, written with `/`.
fn below(root: &Path, path: &Path) -> String {
    let path = path.strip_prefix(root).unwrap_or(path);
    path.components().map(|c| c.as_os_str().to_string_lossy()).collect::<Vec<_>>().join("/")
}
