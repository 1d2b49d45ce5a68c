//! Holds the documentation true: what it links to exists, the files that it lists are the files there
//! are, error texts and flags in it are the program's. Its Rust blocks are documentation tests
//! (`src/doc_pages.rs`).

use hadal::prelude::*;
use hadal::tensor::Tag;
use hadal::train::config::FIELDS;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

fn read(path: impl AsRef<Path>) -> String {
    let path = root().join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// All files below a folder with this ending.
fn files(folder: &Path, ending: &str, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, ending, found);
        } else if path.extension().is_some_and(|e| e == ending) {
            found.push(path);
        }
    }
}

/// The written pages: everything under docs, and those in the root.
fn pages() -> Vec<PathBuf> {
    let mut found =
        vec![root().join("README.md"), root().join("CONTRIBUTING.md"), root().join("CHANGELOG.md")];
    files(&root().join("docs"), "md", &mut found);
    found
}

/// A page without its code blocks.
fn prose(text: &str) -> String {
    let mut code = false;
    let keep = |line: &&str| {
        let fence = line.trim_start().starts_with("```");
        code ^= fence;
        !code && !fence
    };
    text.lines().filter(keep).collect::<Vec<_>>().join("\n")
}

/// GitHub's anchor of a heading.
fn anchor(heading: &str) -> String {
    let text = heading.trim_start_matches('#').trim().to_lowercase();
    let kept = text.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.map(|c| if c == ' ' { '-' } else { c }).collect()
}

#[test]
fn links_lead_somewhere() {
    let (mut wrong, mut links) = (Vec::new(), 0);
    for page in pages() {
        let text = prose(&std::fs::read_to_string(&page).unwrap());
        for part in text.split("](").skip(1) {
            let Some((target, _)) = part.split_once(')') else { continue };
            if target.starts_with("http") {
                continue;
            }
            links += 1;
            let (file, fragment) = target.split_once('#').unwrap_or((target, ""));
            let to = if file.is_empty() { page.clone() } else { page.parent().unwrap().join(file) };
            let found = to.exists()
                && (fragment.is_empty()
                    || std::fs::read_to_string(&to)
                        .is_ok_and(|t| t.lines().any(|l| l.starts_with('#') && anchor(l) == fragment)));
            if !found {
                wrong.push(format!("{}: {target}", page.strip_prefix(root()).unwrap().display()));
            }
        }
    }
    assert!(links > 40, "only {links} links were found");
    assert!(wrong.is_empty(), "links to nowhere:\n{}", wrong.join("\n"));
}

/// A row of a table of files: path, and what stands in the file.
fn file_rows(text: &str) -> Vec<(String, String)> {
    let quoted = |cell: &str| Some(cell.trim().strip_prefix('`')?.strip_suffix('`')?.to_owned());
    text.lines()
        .filter_map(|line| {
            let cells: Vec<&str> = line.split('|').collect();
            let [_, path, _, look, _] = cells[..] else { return None };
            Some((quoted(path)?, quoted(look)?)).filter(|(path, _)| path.contains('/'))
        })
        .collect()
}

/// Whether a text has a word, not as a part of another.
fn has_word(text: &str, word: &str) -> bool {
    let inside = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
    text.match_indices(word).any(|(i, _)| {
        !inside(text[..i].chars().next_back()) && !inside(text[i + word.len()..].chars().next())
    })
}

#[test]
fn lists_of_files_are_complete() {
    let mut sources = Vec::new();
    for entry in std::fs::read_dir(root().join("crates")).unwrap() {
        let src = entry.unwrap().path().join("src");
        if src.is_dir() {
            files(&src, "rs", &mut sources);
        }
    }
    let sources: Vec<(String, String)> = sources
        .iter()
        .map(|p| {
            let path = p.strip_prefix(root()).unwrap().to_str().unwrap().replace('\\', "/");
            (path, std::fs::read_to_string(p).unwrap())
        })
        .collect();
    let mut traced = 0;
    for page in ["docs/adding-an-operation.md", "docs/adding-a-layer.md", "docs/adding-a-model.md"] {
        let text = read(page);
        for (path, look) in file_rows(&text) {
            assert!(root().join(&path).is_file(), "{page} names {path}, which is not there");
            assert!(read(&path).contains(&look), "{page}: {path} does not have `{look}`");
        }
        // Under each mark: every file of the library that names the example is in the table.
        for section in text.split("<!-- files: ").skip(1) {
            let (words, rest) = section.split_once(" -->").unwrap();
            let table: String =
                rest.lines().skip(1).take_while(|l| l.starts_with('|')).map(|l| format!("{l}\n")).collect();
            let listed: BTreeSet<String> = file_rows(&table).into_iter().map(|(path, _)| path).collect();
            assert!(!listed.is_empty(), "{page}: no table after the mark for {words}");
            for word in words.split(' ') {
                traced += 1;
                let naming: Vec<&String> =
                    sources.iter().filter(|(_, text)| has_word(text, word)).map(|(p, _)| p).collect();
                assert!(!naming.is_empty(), "{page}: nothing is named {word}");
                for path in naming {
                    // The page on compositions names a method, which others may call.
                    let defines = read(path).contains(&format!("fn {word}"));
                    let uses = word.chars().next().is_some_and(char::is_lowercase) && !defines;
                    assert!(uses || listed.contains(path), "{page}: {path} names {word} and is not listed");
                }
            }
        }
    }
    assert!(traced >= 9, "only {traced} examples are followed");
}

/// A pointwise operation is one row: the table's operations have methods, gradients and tests without
/// being named anywhere else. (The gradient suite and docs/ops.md check the rest by reading the table.)
#[test]
fn the_table_of_operations_is_the_only_place() {
    use hadal_core::ops::{BinaryOp, UnaryOp};
    let mut sources = Vec::new();
    for name in ["hadal-core", "hadal-cpu", "hadal-tensor"] {
        files(&root().join("crates").join(name).join("src"), "rs", &mut sources);
    }
    let text: String = sources
        .iter()
        // Beside the table, the formulas that run as one block function, and which steps go into a kernel or
        // its weights: a new operation needs none of these.
        .filter(|p| {
            let program = ["compound.rs", "joint.rs", "steps.rs"].map(|f| format!("program/{f}"));
            let apart = ["ops/pointwise.rs", "compiled/fold.rs"].map(str::to_owned);
            !program.iter().chain(&apart).any(|a| p.ends_with(a))
        })
        .map(|p| std::fs::read_to_string(p).unwrap())
        .collect();
    let variants = UnaryOp::ALL.iter().map(|o| format!("UnaryOp::{o:?}"));
    let variants = variants.chain(BinaryOp::ALL.iter().map(|o| format!("BinaryOp::{o:?}")));
    let named: Vec<String> = variants.filter(|v| has_word(&text, v)).collect();
    // Compositions that build these nodes directly, and what the planner computes twice; no list that a
    // new operation would have to join.
    for v in &named {
        let allowed = ["Add", "Sub", "Mul", "Le", "Ge"].map(|name| format!("BinaryOp::{name}"));
        assert!(allowed.contains(v), "{v} is named outside the table");
    }
    let table = read("docs/ops.md");
    for name in UnaryOp::ALL.iter().map(|o| o.name()).chain(BinaryOp::ALL.iter().map(|o| o.name())) {
        assert!(
            table.contains(&format!("`{name}`")),
            "docs/ops.md has no row for {name}: run cargo xtask optable"
        );
    }
}

#[test]
fn every_model_has_a_file_and_is_listed() {
    let lib = read("crates/hadal-zoo/src/lib.rs");
    let mut names = BTreeSet::new();
    for m in hadal::zoo::models() {
        let module = m.name.replace('-', "_");
        let file = format!("crates/hadal-zoo/src/{module}.rs");
        assert!(root().join(&file).is_file(), "{} has no file {file}", m.name);
        assert!(has_word(&lib, &module), "{module} is not in crates/hadal-zoo/src/lib.rs");
        names.insert(format!("{module}.rs"));
    }
    // And no file without an entry in the registry.
    let mut found = Vec::new();
    files(&root().join("crates/hadal-zoo/src"), "rs", &mut found);
    for file in found {
        let file = file.file_name().unwrap().to_str().unwrap().to_owned();
        assert!(
            ["lib.rs", "registry.rs"].contains(&&*file) || names.contains(&file),
            "{file} is in no registry"
        );
    }
}

#[test]
fn flags_in_shell_blocks_exist() {
    let other = ["config", "resume", "quiet", "json", "release", "workspace", "example", "open", "profile"];
    let mut seen = 0;
    for page in pages() {
        for block in std::fs::read_to_string(&page).unwrap().split("```sh").skip(1) {
            let block = block.split("```").next().unwrap();
            for line in block.lines().map(|l| l.split('#').next().unwrap()).filter(|l| l.contains("train")) {
                for word in line.split_whitespace().filter(|w| w.len() > 2) {
                    let Some(flag) = word.strip_prefix("--") else { continue };
                    seen += 1;
                    let known = FIELDS.iter().any(|f| f.name == flag) || other.contains(&flag);
                    assert!(known, "{}: there is no flag --{flag}", page.display());
                }
            }
        }
    }
    assert!(seen > 5, "only {seen} flags were found");
}

/// An error's text without the line numbers in it.
fn without_lines(text: &str) -> String {
    let line = |l: &str| match l.trim_start().strip_prefix("at: ") {
        Some(place) => format!("  at: {}", place.split(':').next().unwrap()),
        None => l.to_owned(),
    };
    text.trim().lines().map(line).collect::<Vec<_>>().join("\n")
}

#[test]
fn error_texts_are_the_ones_printed() {
    let net = hadal::zoo::LeNet::new(&Init::new(0), 10);
    net.name_layers();
    let forward = |x: Tensor| net.forward(&x, &Ctx::eval()).eval().unwrap_err().to_string();
    let ones = |shape: &[usize], dtype| Tensor::ones(shape, dtype);
    let x = ones(&[8, 3], DType::F32);
    let [n, _c, _h, _w] = x.sizes();
    let sizes = x.reshape([n as isize, -1]).eval().unwrap_err().to_string();
    let printed = [
        ("shape", forward(ones(&[1, 1, 32, 32], DType::F32))),
        ("rank", forward(ones(&[28, 28], DType::F32))),
        ("dtype", forward(ones(&[1, 1, 28, 28], DType::F64))),
        ("sizes", sizes),
    ];
    let page = read("docs/design/spike.md");
    for (name, text) in &printed {
        let mark = format!("<!-- error: {name} -->\n```text\n");
        let block = page.split(&mark).nth(1).and_then(|rest| rest.split("```").next());
        let block = block.unwrap_or_else(|| panic!("docs/design/spike.md has no block marked {name}"));
        assert_eq!(without_lines(block), without_lines(text), "{name}");
    }
    let guide = read("docs/guide/06-errors-and-debugging.md");
    let shown = guide.split("```text\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    assert_eq!(without_lines(shown), without_lines(&printed[0].1));
    // A layer that was never walked says its type.
    assert_eq!(Tag::new("Linear").to_string(), "a Linear layer");
}

#[test]
fn the_readme_names_what_is_there() {
    let readme = read("README.md");
    for mark in ["<!-- ci:main -->\n```sh\n", "<!-- ci:test -->\n```sh\n"] {
        assert!(readme.contains(mark), "the README has no block after {mark}");
    }
    for entry in std::fs::read_dir(root().join("crates")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(readme.contains(&format!("`{name}`")), "the README does not name the crate {name}");
    }
    let rust = readme.split("```rust\n").nth(1).and_then(|t| t.split("```").next()).expect("a program");
    let lines = rust.lines().filter(|l| !l.trim().is_empty()).count();
    assert!(lines <= 45, "the first program has {lines} lines");
    let manifest = read("Cargo.toml");
    let version = manifest.split("rust-version = \"").nth(1).and_then(|t| t.split('"').next()).unwrap();
    assert!(readme.contains(&format!("Rust {version}")), "the README does not name Rust {version}");
}
