//! What is printed, and what is written into `docs/benchmarks.md`.

use super::contender::Kind;
use super::machine;
use super::measure::{Measured, Results, Row, Table, geometric_mean};
use serde_json::Value;
use std::fmt::Write as _;
use std::path::Path;

const PAGE: &str = "docs/benchmarks.md";
const BEGIN: &str = "<!-- bench:begin -->";
const END: &str = "<!-- bench:end -->";

/// `GFLOP/s` or `GB/s` of the best time, and its share in percent of what the machine was seen to do.
fn rate(m: &Measured, ms: f64, ceiling: &Value) -> Option<(String, String)> {
    let of = |v: &Value, name: &str| v.get(name).and_then(Value::as_f64);
    let most = |name: &str| of(ceiling, name);
    let memory = || ["read_gbs", "copy_gbs", "update_gbs"].into_iter().filter_map(most).reduce(f64::max);
    let (amount, unit, most) = [
        ("flops", "GFLOP/s", most("gflops")),
        // A processor without products of bf16 computes them in f32.
        ("bf16_flops", "GFLOP/s", most("bf16_gflops").filter(|&n| n > 0.0).or(most("gflops"))),
        ("bytes", "GB/s", memory()),
    ]
    .into_iter()
    .find_map(|(name, unit, most)| Some((of(&m.work, name)?, unit, most?)))?;
    let rate = amount / ms / 1e6;
    let digits = usize::from(rate < 10.0);
    Some((format!("{rate:.digits$} {unit}"), format!("{:.0} %", 100.0 * rate / most)))
}

/// A time with three digits.
fn ms(t: f64) -> String {
    let digits = if t >= 100.0 {
        0
    } else if t >= 10.0 {
        1
    } else if t >= 1.0 {
        2
    } else if t >= 0.1 {
        3
    } else {
        4
    };
    format!("{t:.digits$}")
}

fn cell(m: Option<&Measured>) -> String {
    match m.map(|m| (m.best_and_median(), &m.ms)) {
        Some((Some((best, median)), _)) => format!("{} / {}", ms(best), ms(median)),
        Some((None, Err(_))) => "failed".to_owned(),
        _ => "–".to_owned(),
    }
}

/// Hadal's time over another's: of the best, and of the medians in brackets. Less than 1: Hadal is
/// ahead.
fn ratio(hadal: (f64, f64), other: (f64, f64)) -> String {
    format!("{:.2} ({:.2})", hadal.0 / other.0, hadal.1 / other.1)
}

struct Ratios {
    torch: String,
    peer: String,
}

fn ratios(row: &Row) -> Ratios {
    let none = || "–".to_owned();
    let Some(hadal) = row.of(Kind::Hadal) else { return Ratios { torch: none(), peer: none() } };
    Ratios {
        torch: row.of(Kind::Torch).map_or_else(none, |t| ratio(hadal, t)),
        peer: row.best_peer().map_or_else(none, |(k, t)| format!("{} {}", ratio(hadal, t), k.name())),
    }
}

/// What is known of Hadal beyond times.
struct Remarks {
    rate: String,
    share: String,
    memory: String,
}

fn remarks(row: &Row, ceiling: &Value) -> Remarks {
    let mut r = Remarks { rate: String::new(), share: String::new(), memory: String::new() };
    let Some(m) = row.measured.iter().find(|m| m.kind == Kind::Hadal) else { return r };
    let Some((best, median)) = m.best_and_median() else { return r };
    if let Some(n) = m.nodes {
        let per = |t: f64| t * 1e6 / n as f64;
        r.rate = format!("{:.0} / {:.0} ns a node, {n} nodes", per(best), per(median));
    } else if m.peak > 0 {
        r.memory = format!("{:.0} MiB", m.peak as f64 / (1 << 20) as f64);
    }
    let resident: Vec<String> = row
        .measured
        .iter()
        .filter_map(|m| {
            let name = if m.kind == Kind::Hadal { "resident" } else { m.kind.name() };
            Some(format!("{name} {:.0} MB", m.resident? as f64 / 1e6))
        })
        .collect();
    if !resident.is_empty() {
        let comma = if r.memory.is_empty() { "" } else { "; " };
        let _ = write!(r.memory, "{comma}{}", resident.join(", "));
    }
    if let Some((rate, share)) = rate(m, best, ceiling) {
        (r.rate, r.share) = (rate, share);
    }
    if m.fresh > 0 {
        let comma = if r.memory.is_empty() { "" } else { ", " };
        let _ = write!(r.memory, "{comma}fresh in a steady state: {} bytes", m.fresh);
    }
    r
}

/// Geometric means of the ratios of a table, by best times.
pub fn summary_line(table: &Table) -> String {
    let mean = |f: &dyn Fn(&Row) -> Option<f64>| {
        let ratios: Vec<f64> = table.rows.iter().filter_map(|r| Some(r.of(Kind::Hadal)?.0 / f(r)?)).collect();
        let behind = ratios.iter().filter(|r| **r > 1.0).count();
        geometric_mean(&ratios)
            .map_or_else(|| "–".to_owned(), |m| format!("{m:.2} ({behind} of {} rows above 1)", ratios.len()))
    };
    format!(
        "Geometric mean of hadal : torch {}, of hadal : best peer {}",
        mean(&|r| Some(r.of(Kind::Torch)?.0)),
        mean(&|r| Some(r.best_peer()?.1.0))
    )
}

/// The machine's ceiling in a line.
pub fn ceiling_line(threads: usize, ceiling: &Value) -> String {
    let of = |name: &str| ceiling.get(name).and_then(Value::as_f64).unwrap_or(f64::NAN);
    format!(
        "{threads} thread{}: peak {:.0} GFLOP/s in f32, {:.0} in bf16, reading {:.1} GB/s, copying {:.1} GB/s (read \
         and written), updating in place {:.1} GB/s (four streams read, three of them written), fresh memory {:.1} GB/s",
        if threads == 1 { "" } else { "s" },
        of("gflops"),
        of("bf16_gflops"),
        of("read_gbs"),
        of("copy_gbs"),
        of("update_gbs"),
        of("fresh_gbs")
    )
}

/// A workload in a line, for the terminal.
pub fn row_line(row: &Row, ceiling: &Value) -> String {
    if let Some(why) = &row.refused {
        return format!("  {:<28} refused: {why}", row.workload);
    }
    let (r, more) = (ratios(row), remarks(row, ceiling));
    let times: Vec<_> = row.measured.iter().map(|m| format!("{} {}", m.kind.name(), cell(Some(m)))).collect();
    let mut line = format!("  {:<28} {}", row.workload, times.join("   "));
    let _ = write!(
        line,
        "\n  {:<28} torch {}   best peer {}   {} {} {}",
        "", r.torch, r.peer, more.rate, more.share, more.memory
    );
    for (kind, e) in row.measured.iter().filter_map(|m| Some((m.kind, m.ms.as_ref().err()?))) {
        let _ = write!(line, "\n  {:<28} {} failed: {e}", "", kind.name());
    }
    line
}

/// The measured part of the page.
fn section(machine: &[(&str, String)], results: &Results) -> String {
    let mut out = String::from("| | |\n|---|---|\n");
    for (name, value) in machine {
        let _ = writeln!(out, "| {name} | {value} |");
    }
    for (kind, versions) in &results.contenders {
        let _ = writeln!(out, "| {} | {versions} |", kind.name());
    }
    for (kind, why) in &results.absent {
        let _ = writeln!(out, "| {} | not measured: {why} |", kind.name());
    }
    let peers: Vec<Kind> = results.contenders.iter().map(|(k, _)| *k).filter(|k| *k != Kind::Hadal).collect();
    for table in &results.tables {
        let plural = if table.threads == 1 { "" } else { "s" };
        let _ = writeln!(out, "\n### {} thread{plural}\n", table.threads);
        let _ = writeln!(out, "{}.\n", ceiling_line(table.threads, &table.ceiling));
        let names: Vec<&str> = peers.iter().map(|k| k.name()).collect();
        let joined = names.iter().map(|n| format!("{n} | ")).collect::<String>();
        let _ = writeln!(
            out,
            "| workload | hadal | {joined}hadal : torch | hadal : best peer | rate | of ceiling | memory |"
        );
        let _ = writeln!(out, "|---|---|{}---|---|---|---|---|", "---|".repeat(peers.len()));
        for row in &table.rows {
            let of = |kind: Kind| cell(row.measured.iter().find(|m| m.kind == kind));
            let peers: String = peers.iter().map(|k| format!("{} | ", of(*k))).collect();
            let (r, more) = (ratios(row), remarks(row, &table.ceiling));
            let _ = writeln!(
                out,
                "| `{}` | {} | {peers}{} | {} | {} | {} | {} |",
                row.workload,
                of(Kind::Hadal),
                r.torch,
                r.peer,
                more.rate,
                more.share,
                more.memory
            );
        }
        let _ = writeln!(out, "\n{}.", summary_line(table));
    }
    let times = super::file::times_of(&super::file::rows(results)).unwrap_or_default();
    if let Some(table) = super::scaling::table(&times) {
        let _ = writeln!(out, "\n### Scaling\n\n{table}");
    }
    let failed = results.tables.iter().flat_map(|t| t.rows.iter().map(move |r| (t.threads, r)));
    let failed: Vec<String> = failed
        .flat_map(|(threads, r)| {
            let refused = r
                .refused
                .iter()
                .map(move |e| format!("- `{}`, {threads} thread(s), refused: {e}", r.workload));
            let of_row = r.measured.iter().filter_map(|m| Some((m.kind, m.ms.as_ref().err()?)));
            refused.chain(
                of_row
                    .map(move |(k, e)| format!("- `{}`, {threads} thread(s), {}: {e}", r.workload, k.name())),
            )
        })
        .collect();
    if !failed.is_empty() {
        let _ = writeln!(out, "\nFailed:\n{}", failed.join("\n"));
    }
    out
}

/// Puts the results between the marks of the page.
pub fn write(root: &Path, results: &Results) -> Result<(), String> {
    let path = root.join(PAGE);
    let page = std::fs::read_to_string(&path).map_err(|e| format!("{PAGE}: {e}"))?;
    let page = replace(&page, &section(&machine::describe(root), results))?;
    std::fs::write(&path, page).map_err(|e| format!("{PAGE}: {e}"))?;
    println!("written to {PAGE}");
    Ok(())
}

fn replace(page: &str, section: &str) -> Result<String, String> {
    let missing = || format!("{PAGE} lacks the marks {BEGIN} and {END}");
    let (before, rest) = page.split_once(BEGIN).ok_or_else(missing)?;
    let (_, after) = rest.split_once(END).ok_or_else(missing)?;
    Ok(format!("{before}{BEGIN}\n{section}{END}{after}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn measured(kind: Kind, ms: &[f64]) -> Measured {
        Measured {
            kind,
            ms: Ok(ms.to_vec()),
            fresh: 0,
            peak: 3 << 20,
            resident: None,
            nodes: None,
            work: json!({"flops": 2.0 * 1024f64.powi(3)}),
        }
    }

    fn results() -> Results {
        let failed = Measured { ms: Err("no memory".to_owned()), ..measured(Kind::Candle, &[]) };
        let row = Row {
            workload: "matmul_1024".to_owned(),
            measured: vec![
                measured(Kind::Hadal, &[10.0, 12.0, 11.0, 30.0]),
                measured(Kind::Torch, &[20.0]),
                measured(Kind::Burn, &[16.0, 18.0]),
                failed,
            ],
            refused: None,
        };
        let step =
            |kind, bytes| Measured { resident: Some(bytes), work: Value::Null, ..measured(kind, &[1.0]) };
        let graph =
            Measured { nodes: Some(100), fresh: 64, work: Value::Null, ..measured(Kind::Hadal, &[0.05]) };
        let rows = vec![
            row,
            Row {
                workload: "gpt_step".to_owned(),
                measured: vec![step(Kind::Hadal, 220_400_000), step(Kind::Burn, 351_000_000)],
                refused: None,
            },
            Row { workload: "graph_cost".to_owned(), measured: vec![graph], refused: None },
            Row {
                workload: "sum0".to_owned(),
                measured: Vec::new(),
                refused: Some("burn differs".to_owned()),
            },
        ];
        let ceiling = json!({"gflops": 400.0, "read_gbs": 30.0, "copy_gbs": 20.0, "fresh_gbs": 2.0});
        let contenders =
            [Kind::Hadal, Kind::Torch, Kind::Burn, Kind::Candle].map(|k| (k, "1.0".to_owned())).to_vec();
        let absent = vec![(Kind::TorchCompile, "not installed".to_owned())];
        Results { contenders, absent, tables: vec![Table { threads: 2, ceiling, rows }] }
    }

    #[test]
    fn the_section_states_everything() {
        let text = section(&[("date", "2026-11-21".to_owned())], &results());
        for line in [
            "| date | 2026-11-21 |",
            "| torch-compile | not measured: not installed |",
            "| `matmul_1024` | 10.0 / 11.5 | 20.0 / 20.0 | 16.0 / 17.0 | failed | 0.50 (0.57) | 0.62 (0.68) burn | 215 GFLOP/s | 54 % | 3 MiB |",
            "| `graph_cost` | 0.0500 / 0.0500 | – | – | – | – | – | 500 / 500 ns a node, 100 nodes |  | fresh in a steady state: 64 bytes |",
            "| `gpt_step` | 1.00 / 1.00 | – | 1.00 / 1.00 | – | – | 1.00 (1.00) burn |  |  | 3 MiB; resident 220 MB, burn 351 MB |",
            "- `matmul_1024`, 2 thread(s), candle: no memory",
            "- `sum0`, 2 thread(s), refused: burn differs",
            "Geometric mean of hadal : torch 0.50 (0 of 1 rows above 1), of hadal : best peer 0.79 (0 of 2 rows above 1).",
        ] {
            assert!(text.contains(line), "{line}\n{text}");
        }
    }

    #[test]
    fn only_the_marked_part_of_the_page_changes() {
        let page = format!("# A\n{BEGIN}\nold\n{END}\nB\n");
        assert_eq!(replace(&page, "new\n").unwrap(), format!("# A\n{BEGIN}\nnew\n{END}\nB\n"));
        assert!(replace("# A", "new").is_err());
    }
}
