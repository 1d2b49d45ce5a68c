//! `docs/ops.md`: which operation has which gradient, from the tests that prove it.
//!
//! The test suites write what they proved into `target/optable/*.json`, one JSON object a line:
//!
//! ```json
//! {"op": "exp", "forward": true, "grad": true, "double": true, "dtypes": ["f32", "f64", "f16", "bf16"]}
//! {"op": "matmul", "class": "matmul", "doc": "Matrix product", "forward": true, "grad": true, "double": true, "dtypes": ["f64"]}
//! {"op": "argmax", "class": "reduce", "forward": true, "grad": null, "double": null, "dtypes": ["f32"]}
//! ```
//!
//! - `op` (required): the method's name; a pointwise one as in the table of `hadal-core`.
//! - `forward`, `grad`, `double`: `true`, a test has proved it; `null` or absent, there is nothing to
//!   prove (a comparison has no gradient); `false`, it is known not to work.
//! - `dtypes`: those the forward test ran with. Optional: `class` and `doc` (pointwise rows take them
//!   from the table), `device` (default `cpu`), `note` (shown after the doc).
//!
//! Several lines about one operation are joined: `false` wins over `true`, `true` over `null`, dtypes
//! are added up. From an integration test the folder is
//! `concat!(env!("CARGO_TARGET_TMPDIR"), "/../optable")`; a suite writes a file of its own name, whole.
//!
//! A pointwise operation without a row, or a differentiable one without a proof of both gradients, is
//! an error and not a gap in the table.

use hadal_core::ops::{BinaryOp, Kind, UnaryOp};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;

const PAGE: &str = "docs/ops.md";
const DTYPES: &[&str] = &["f32", "f64", "f16", "bf16", "i64", "i32", "u8", "bool"];
/// Classes in the order of the page; others follow by name.
const CLASSES: &[&str] = &[
    "unary",
    "binary",
    "creation",
    "reduce",
    "scan",
    "view",
    "movement",
    "matmul",
    "convolution",
    "pooling",
    "index",
    "sort",
    "random",
    "composition",
    "layer",
    "loss",
];

/// What is known about one operation.
#[derive(Clone, Debug, Default, PartialEq)]
struct Row {
    class: String,
    doc: String,
    proofs: [Option<bool>; 3],
    dtypes: BTreeSet<String>,
    devices: BTreeSet<String>,
    note: String,
}

/// A pointwise operation of the table: name, class, doc, whether it has a gradient.
struct Entry {
    name: &'static str,
    class: &'static str,
    doc: &'static str,
    differentiable: bool,
}

/// Writes the page, or compares it.
pub fn run(root: &Path, check: bool) -> Result<(), String> {
    let folder = crate::target(root).join("optable");
    let mut files: Vec<_> = std::fs::read_dir(&folder)
        .map_err(|e| {
            format!("{}: {e}\nthe gradient tests write it: cargo test --workspace", folder.display())
        })?
        .filter_map(|e| Some(e.ok()?.path()))
        .filter(|p| p.extension().is_some_and(|e| e == "json"))
        .collect();
    files.sort();
    let mut rows = BTreeMap::new();
    for file in files {
        let text = std::fs::read_to_string(&file).map_err(|e| format!("{}: {e}", file.display()))?;
        for (i, line) in text.lines().enumerate().filter(|(_, l)| !l.trim().is_empty()) {
            add(&mut rows, line).map_err(|e| format!("{}:{}: {e}", file.display(), i + 1))?;
        }
    }
    complete(&mut rows, &pointwise())?;
    let page = page(&rows);
    let path = root.join(PAGE);
    if check {
        let committed = std::fs::read_to_string(&path).map_err(|e| format!("{PAGE}: {e}"))?;
        if let Some((i, (old, new))) =
            (1..).zip(lines(&committed).zip(lines(&page))).find(|(_, (old, new))| old != new)
        {
            return Err(format!(
                "{PAGE}:{i} differs from what the tests prove\n  there: {old}\n  now:   {new}\n\
                 run: cargo xtask optable"
            ));
        }
        println!("{PAGE} is what the tests prove ({} operations)", rows.len());
        return Ok(());
    }
    if let Some(dir) = path.parent() {
        std::fs::create_dir_all(dir).map_err(|e| format!("{}: {e}", dir.display()))?;
    }
    std::fs::write(&path, page).map_err(|e| format!("{PAGE}: {e}"))?;
    println!("{PAGE}: {} operations", rows.len());
    Ok(())
}

/// Lines without end, so that two pages of different length differ somewhere.
fn lines(page: &str) -> impl Iterator<Item = &str> {
    page.lines().chain(["(end)"])
}

fn pointwise() -> Vec<Entry> {
    let kind = |k: Kind| match k {
        Kind::Compare | Kind::Logic | Kind::Bit | Kind::Test => false,
        Kind::Float | Kind::Num => true,
    };
    let unary = UnaryOp::ALL.iter().map(|o| Entry {
        name: o.name(),
        class: "unary",
        doc: o.doc(),
        differentiable: o.differentiable() && kind(o.kind()),
    });
    let binary = BinaryOp::ALL.iter().map(|o| Entry {
        name: o.name(),
        class: "binary",
        doc: o.doc(),
        differentiable: o.differentiable() && kind(o.kind()),
    });
    unary.chain(binary).collect()
}

/// Joins one line of the tests' results into the rows.
fn add(rows: &mut BTreeMap<String, Row>, line: &str) -> Result<(), String> {
    let value: Value = serde_json::from_str(line).map_err(|e| e.to_string())?;
    let object = value.as_object().ok_or("not an object")?;
    let text = |key: &str| match object.get(key) {
        None => Ok(None),
        Some(Value::String(s)) => Ok(Some(s.as_str())),
        Some(other) => Err(format!("`{key}` is {other}, not a string")),
    };
    let op = text("op")?.ok_or("`op` is missing")?;
    let row = rows.entry(op.to_owned()).or_default();
    for (proof, key) in row.proofs.iter_mut().zip(["forward", "grad", "double"]) {
        let new = match object.get(key) {
            None | Some(Value::Null) => None,
            Some(Value::Bool(b)) => Some(*b),
            Some(other) => return Err(format!("`{key}` is {other}, not true, false or null")),
        };
        *proof = match (*proof, new) {
            (Some(false), _) | (_, Some(false)) => Some(false),
            (old, new) => old.or(new),
        };
    }
    for dtype in object.get("dtypes").and_then(Value::as_array).into_iter().flatten() {
        let name = dtype.as_str().filter(|d| DTYPES.contains(d));
        row.dtypes.insert(name.ok_or(format!("{dtype} is no dtype"))?.to_owned());
    }
    row.devices.insert(text("device")?.unwrap_or("cpu").to_owned());
    for (place, key) in [(&mut row.class, "class"), (&mut row.doc, "doc"), (&mut row.note, "note")] {
        if let Some(s) = text(key)? {
            s.clone_into(place);
        }
    }
    if let Some(unknown) = object.keys().find(|k| {
        !["op", "forward", "grad", "double", "dtypes", "device", "class", "doc", "note"].contains(&k.as_str())
    }) {
        return Err(format!("unknown field `{unknown}`"));
    }
    Ok(())
}

/// Class and doc of pointwise rows from the table, and an error for what is not proved.
fn complete(rows: &mut BTreeMap<String, Row>, table: &[Entry]) -> Result<(), String> {
    let mut problems = Vec::new();
    for e in table {
        let Some(row) = rows.get_mut(e.name) else {
            problems.push(format!("{} has no row", e.name));
            continue;
        };
        e.class.clone_into(&mut row.class);
        e.doc.clone_into(&mut row.doc);
        if row.proofs[0] != Some(true) {
            problems.push(format!("{}: forward is not proved", e.name));
        }
        if e.differentiable && row.proofs[1..] != [Some(true); 2] {
            problems.push(format!("{}: it has a gradient, but both orders are not proved", e.name));
        }
    }
    for (name, row) in rows.iter() {
        if row.class.is_empty() {
            problems.push(format!("{name}: not in the pointwise table, and the tests give it no class"));
        }
        if row.proofs.contains(&Some(false)) {
            problems.push(format!("{name}: a test says that it does not work"));
        }
    }
    if problems.is_empty() {
        Ok(())
    } else {
        Err(format!("operations without proof:\n  {}", problems.join("\n  ")))
    }
}

fn page(rows: &BTreeMap<String, Row>) -> String {
    let mut classes: Vec<&str> = CLASSES.to_vec();
    let others: BTreeSet<&str> = rows.values().map(|r| r.class.as_str()).collect();
    classes.extend(others.into_iter().filter(|c| !CLASSES.contains(c)));
    let mut out = String::from(
        "# Operations\n\n\
         Generated by `cargo xtask optable` from what the tests prove; do not edit. ✓: a test compares the value with \
         a reference, the gradient with central differences in f64, and the gradient's gradient likewise, over \
         contiguous, transposed, broadcast, empty and 0-d inputs. –: nothing to prove (no gradient, or zero almost \
         everywhere).\n",
    );
    let gradients = rows.values().filter(|r| r.proofs[1] == Some(true)).count();
    let _ = writeln!(out, "\n{} operations, {gradients} of them with a gradient.", rows.len());
    for class in classes {
        let of_class: Vec<_> = rows.iter().filter(|(_, r)| r.class == class).collect();
        if of_class.is_empty() {
            continue;
        }
        let _ = writeln!(out, "\n## {}{}\n", class[..1].to_uppercase(), &class[1..]);
        out.push_str("| operation | what | forward | gradient | double gradient | dtypes | device |\n");
        out.push_str("|---|---|:-:|:-:|:-:|---|---|\n");
        for (name, row) in of_class {
            let [f, g, d] = row.proofs.map(|p| match p {
                Some(true) => "✓",
                Some(false) => "✗",
                None => "–",
            });
            let dtypes: Vec<&str> = DTYPES.iter().copied().filter(|d| row.dtypes.contains(*d)).collect();
            let devices: Vec<&str> = row.devices.iter().map(String::as_str).collect();
            let what = [row.doc.trim(), row.note.trim()].join(" ").replace('|', "\\|");
            let (what, dtypes, devices) = (what.trim(), dtypes.join(" "), devices.join(" "));
            let _ = writeln!(out, "| `{name}` | {what} | {f} | {g} | {d} | {dtypes} | {devices} |");
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &[Entry] = &[
        Entry { name: "exp", class: "unary", doc: " eˣ", differentiable: true },
        Entry { name: "eq", class: "binary", doc: " `a = b` | same", differentiable: false },
    ];
    const EXP: &str = r#"{"op": "exp", "forward": true, "grad": true, "double": true, "dtypes": ["f64"]}"#;
    const EQ: &str = r#"{"op": "eq", "forward": true, "grad": null, "dtypes": ["i64", "f32"]}"#;

    fn rows(lines: &[&str]) -> Result<BTreeMap<String, Row>, String> {
        let mut rows = BTreeMap::new();
        lines.iter().try_for_each(|l| add(&mut rows, l))?;
        complete(&mut rows, TABLE)?;
        Ok(rows)
    }

    #[test]
    fn a_page_is_made() {
        let again = r#"{"op": "exp", "forward": true, "dtypes": ["f32"], "note": "Vectorised."}"#;
        let matmul =
            r#"{"op": "matmul", "class": "matmul", "doc": "Product", "forward": true, "dtypes": ["f64"]}"#;
        let page = page(&rows(&[EXP, EQ, again, matmul]).unwrap());
        assert!(page.contains("| `exp` | eˣ Vectorised. | ✓ | ✓ | ✓ | f32 f64 | cpu |"), "{page}");
        assert!(page.contains("| `eq` | `a = b` \\| same | ✓ | – | – | f32 i64 | cpu |"), "{page}");
        let order: Vec<_> =
            ["## Unary", "## Binary", "## Matmul"].iter().map(|h| page.find(h).unwrap()).collect();
        assert!(order.is_sorted(), "{page}");
        assert!(page.contains("3 operations, 1 of them"), "{page}");
    }

    #[test]
    fn what_is_not_proved_is_an_error() {
        let fails = |lines: &[&str], with: &str| {
            let e = rows(lines).unwrap_err();
            assert!(e.contains(with), "{e}");
        };
        fails(&[EQ], "exp has no row");
        fails(&[EQ, r#"{"op": "exp", "forward": true, "grad": true}"#], "exp: it has a gradient");
        fails(&[EXP, r#"{"op": "eq"}"#], "eq: forward is not proved");
        fails(&[EXP, EQ, r#"{"op": "new", "forward": true}"#], "new: not in the pointwise table");
        fails(&[EXP, EQ, r#"{"op": "exp", "double": false}"#], "exp: it has a gradient");
        fails(&[EXP, EQ, r#"{"op": "eq", "grad": false}"#], "eq: a test says");
    }

    #[test]
    fn bad_lines_are_refused() {
        for (line, with) in [
            ("{", "EOF"),
            ("[]", "not an object"),
            ("{}", "`op` is missing"),
            (r#"{"op": 1}"#, "not a string"),
            (r#"{"op": "a", "grad": 1}"#, "not true"),
            (r#"{"op": "a", "dtypes": ["f8"]}"#, "no dtype"),
            (r#"{"op": "a", "gradient": true}"#, "unknown field"),
        ] {
            let e = add(&mut BTreeMap::new(), line).unwrap_err();
            assert!(e.contains(with), "{line}: {e}");
        }
    }

    #[test]
    fn the_real_table_is_read() {
        let all = pointwise();
        assert!(all.len() > 50);
        assert!(all.iter().any(|e| e.name == "exp" && e.differentiable));
        assert!(all.iter().any(|e| e.name == "eq" && !e.differentiable));
        assert!(all.iter().all(|e| !e.doc.trim().is_empty()));
    }
}
