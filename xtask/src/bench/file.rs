//! Results as JSON, and what has become slower between two of them.

use super::contender::Kind;
use super::machine;
use super::measure::{Measured, Results};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

/// Times that differ by less are ties: by a tenth, for steps under 3 ms by four tenths. With two threads the same
/// program has been seen to drift so far from run to run.
fn tie(ms: f64) -> f64 {
    if ms < 3.0 { 1.4 } else { 1.1 }
}

fn measured(m: &Measured) -> Value {
    match (&m.ms, m.best_and_median()) {
        (Ok(ms), Some((best, median))) => json!({
            "best": best, "median": median, "worst": ms.iter().copied().fold(0.0, f64::max), "repetitions": ms.len(),
            "peak": m.peak, "resident": m.resident, "fresh": m.fresh, "nodes": m.nodes, "work": m.work,
        }),
        (Err(e), _) => json!({"error": e}),
        _ => json!({"error": "not measured"}),
    }
}

/// Everything that was measured.
pub fn json(root: &Path, results: &Results) -> Value {
    let machine: BTreeMap<&str, String> = machine::describe(root).into_iter().collect();
    let versions: BTreeMap<&str, &String> = results.contenders.iter().map(|(k, v)| (k.name(), v)).collect();
    let mut all = rows(results);
    all["machine"] = json!(machine);
    all["contenders"] = json!(versions);
    all
}

/// The tables alone.
pub fn rows(results: &Results) -> Value {
    let tables = results.tables.iter().map(|t| {
        let rows = t.rows.iter().map(|r| {
            let by: BTreeMap<&str, Value> = r.measured.iter().map(|m| (m.kind.name(), measured(m))).collect();
            json!({"workload": r.workload, "ms": by, "refused": r.refused})
        });
        json!({"threads": t.threads, "ceiling": t.ceiling, "rows": rows.collect::<Vec<_>>()})
    });
    json!({"tables": tables.collect::<Vec<_>>()})
}

/// Writes them to a file.
pub fn save(root: &Path, path: &str, results: &Results) -> Result<(), String> {
    let text = serde_json::to_string_pretty(&json(root, results)).map_err(|e| e.to_string())?;
    std::fs::write(path, text + "\n").map_err(|e| format!("{path}: {e}"))?;
    println!("written to {path}");
    Ok(())
}

/// Best times by threads, workload and contender.
pub type Times = BTreeMap<(u64, String, String), f64>;

/// The times in a file that [`save`] has written.
pub fn read(path: &str) -> Result<Times, String> {
    times(&std::fs::read_to_string(path).map_err(|e| format!("{path}: {e}"))?)
}

fn times(text: &str) -> Result<Times, String> {
    times_of(&serde_json::from_str(text).map_err(|e| e.to_string())?)
}

/// The times in what [`json()`] gives.
pub fn times_of(all: &Value) -> Result<Times, String> {
    let list = |v: &Value, name: &str| v.get(name).and_then(Value::as_array).cloned();
    let mut times = Times::new();
    for table in list(all, "tables").ok_or("no tables: not a file that --json has written")? {
        let threads = table.get("threads").and_then(Value::as_u64).ok_or("a table without threads")?;
        for row in list(&table, "rows").ok_or("a table without rows")? {
            let name = row.get("workload").and_then(Value::as_str).ok_or("a row without workload")?;
            for (who, m) in row.get("ms").and_then(Value::as_object).into_iter().flatten() {
                if let Some(best) = m.get("best").and_then(Value::as_f64) {
                    times.insert((threads, name.to_owned(), who.clone()), best);
                }
            }
        }
    }
    Ok(times)
}

/// What has changed, and whether anything has become slower or is missing.
fn compare(old: &Times, new: &Times) -> (String, bool) {
    let hadal = Kind::Hadal.name();
    let (mut text, mut worse, mut ties) = (String::new(), false, 0);
    let mut peers = Vec::new();
    for (key, &before) in old {
        let (threads, workload, who) = key;
        let now = new.get(key).copied();
        if who != hadal {
            peers.extend(now.map(|n| n / before));
            continue;
        }
        let (verdict, after) = match now {
            None => ("missing", "-".to_owned()),
            Some(n) if n > before * tie(before) => ("slower", format!("{n:.4} ms, {:.2} times", n / before)),
            Some(n) if n * tie(n) < before => ("faster", format!("{n:.4} ms, {:.2} times", n / before)),
            Some(_) => {
                ties += 1;
                continue;
            }
        };
        worse |= verdict != "faster";
        let _ =
            writeln!(text, "{verdict:<8} {workload:<28} {threads} thread(s): {before:.4} ms, now {after}");
    }
    let _ = writeln!(text, "{ties} unchanged");
    if let Some(mean) = super::measure::geometric_mean(&peers) {
        let _ = writeln!(
            text,
            "the peers took {mean:.2} times as long as before (geometric mean): so far the machine"
        );
    }
    (text, worse)
}

/// Compares two files; an error if anything has become slower.
pub fn compare_files(old: &str, new: &str) -> Result<(), String> {
    let (text, worse) = compare(&read(old)?, &read(new)?);
    print!("{text}");
    if worse { Err(format!("{new} is behind {old}")) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(rows: &[(&str, f64, f64)]) -> Times {
        let rows: Vec<Value> = rows
            .iter()
            .map(|(w, hadal, torch)| json!({"workload": w, "ms": {"hadal": {"best": hadal}, "torch": {"best": torch}}}))
            .collect();
        times(&json!({"tables": [{"threads": 2, "rows": rows}]}).to_string()).unwrap()
    }

    #[test]
    fn slower_and_missing_rows_are_regressions_and_ties_are_not() {
        let old = file(&[("long", 10.0, 4.0), ("short", 1.0, 1.0)]);
        let (text, worse) = compare(&old, &file(&[("long", 10.9, 4.0), ("short", 1.3, 1.0)]));
        assert!(!worse && text.contains("2 unchanged"), "{text}");
        let (text, worse) = compare(&old, &file(&[("long", 11.5, 8.0), ("short", 0.5, 2.0)]));
        assert!(worse && text.contains("slower   long") && text.contains("faster   short"), "{text}");
        assert!(text.contains("2.00 times as long"), "{text}");
        let (text, worse) = compare(&old, &file(&[("long", 10.0, 4.0)]));
        assert!(worse && text.contains("missing  short"), "{text}");
        assert!(times("{}").is_err());
    }
}
