//! Which crate may import which.

use super::{Finding, below, entries, read};
use std::path::Path;

/// Each crate and the crates of the workspace it may depend on. Tests and examples
/// (`dev-dependencies`) are free.
const EDGES: &[(&str, &[&str])] = &[
    ("hadal-core", &[]),
    ("hadal-derive", &[]),
    ("hadal-cpu", &["core"]),
    ("hadal-cuda", &["core"]),
    ("hadal-comm", &["core"]),
    ("hadal-tensor", &["core", "cpu", "cuda", "comm"]),
    ("hadal-nn", &["core", "tensor", "derive"]),
    ("hadal-optim", &["core", "tensor", "nn"]),
    ("hadal-zoo", &["core", "tensor", "nn"]),
    ("hadal-io", &["core"]),
    ("hadal-data", &["core", "io", "tensor"]),
    ("hadal-train", &["core", "tensor", "nn", "optim", "io", "data", "zoo"]),
    ("hadal", &["core", "tensor", "nn", "optim", "io", "data", "zoo", "train"]),
    ("hadal-cli", &["hadal", "core", "tensor", "nn", "optim", "io", "data", "zoo", "train"]),
    ("xtask", &["core"]),
    ("hadal-bench", &["core", "tensor", "nn", "optim", "zoo"]),
];

/// Checks every manifest of the workspace.
pub fn check(root: &Path) -> Result<Vec<Finding>, String> {
    let mut manifests: Vec<_> = entries(&root.join("crates"))?;
    manifests.push(root.join("xtask"));
    manifests.push(root.join("bench/hadal-bench"));
    let mut found = Vec::new();
    for dir in manifests {
        let path = dir.join("Cargo.toml");
        if path.is_file() {
            manifest(&below(root, &path), &read(&path)?, &below(&root.join("crates"), &dir), &mut found)?;
        }
    }
    Ok(found)
}

fn manifest(path: &str, text: &str, folder: &str, found: &mut Vec<Finding>) -> Result<(), String> {
    let table: toml::Table = text.parse().map_err(|e| format!("{path}: {e}"))?;
    let mut report =
        |what: String| found.push(Finding { rule: "edges", path: path.to_owned(), line: 0, what });
    let name = table.get("package").and_then(|p| p.get("name")).and_then(|n| n.as_str()).unwrap_or("");
    if path.starts_with("crates/") && name != folder {
        report(format!("the folder is {folder}, the crate {name}: they must have one name"));
    }
    if table.get("lints").and_then(|l| l.get("workspace")).and_then(|w| w.as_bool()) != Some(true) {
        report("`[lints] workspace = true` is missing".to_owned());
    }
    let Some((_, may)) = EDGES.iter().find(|(n, _)| *n == name) else {
        report(format!(
            "the crate {name} has no row in the table of who may import whom (xtask/src/layers/edges.rs)"
        ));
        return Ok(());
    };
    for dependency in dependencies(&table) {
        let Some((target, _)) = EDGES.iter().find(|(n, _)| *n == dependency) else { continue };
        let short = target.strip_prefix("hadal-").unwrap_or(target);
        if !may.contains(&short) {
            let may = if may.is_empty() { "no crate of the workspace".to_owned() } else { may.join(", ") };
            report(format!("{name} must not depend on {dependency}; it may import: {may}"));
        }
    }
    Ok(())
}

/// Packages named under `dependencies` and `build-dependencies`, those of single platforms included.
fn dependencies(table: &toml::Table) -> Vec<String> {
    let mut sections: Vec<&toml::Table> = vec![table];
    if let Some(targets) = table.get("target").and_then(|t| t.as_table()) {
        sections.extend(targets.values().filter_map(|t| t.as_table()));
    }
    let mut names = Vec::new();
    for section in sections {
        for kind in ["dependencies", "build-dependencies"] {
            for (key, value) in section.get(kind).and_then(|d| d.as_table()).into_iter().flatten() {
                let renamed = value.get("package").and_then(|p| p.as_str());
                names.push(renamed.unwrap_or(key).to_owned());
            }
        }
    }
    names
}
