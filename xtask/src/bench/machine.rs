//! What the figures were measured on.

use std::path::Path;
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

/// `name: value` lines for the report.
pub fn describe(root: &Path) -> Vec<(&'static str, String)> {
    let cpuinfo = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let field = |name: &str| {
        let line = cpuinfo.lines().find(|l| l.split(':').next().is_some_and(|k| k.trim() == name));
        line.and_then(|l| Some(l.split_once(':')?.1.trim().to_owned()))
    };
    let mut processor = field("model name").unwrap_or_else(|| std::env::consts::ARCH.to_owned());
    if let (Some(family), Some(model)) = (field("cpu family"), field("model")) {
        processor = format!("{processor} (family {family}, model {model})");
    }
    let flags = field("flags").unwrap_or_default();
    let has = |f: &str| flags.split(' ').any(|x| x == f);
    let simd: Vec<&str> =
        ["avx2", "fma", "avx512f", "avx512_bf16", "amx_tile"].into_iter().filter(|f| has(f)).collect();
    let cores = std::thread::available_parallelism().map_or(1, |n| n.get());
    let memory = std::fs::read_to_string("/proc/meminfo").ok().and_then(|m| {
        let kib: u64 =
            m.lines().find(|l| l.starts_with("MemTotal:"))?.split_whitespace().nth(1)?.parse().ok()?;
        Some(format!("{:.0} GiB", kib as f64 / (1 << 20) as f64))
    });
    let commit = output(root, "git", &["rev-parse", "--short", "HEAD"]).map(|c| {
        let changed = output(root, "git", &["status", "--porcelain", "-uno"]).is_some_and(|s| !s.is_empty());
        if changed { format!("{c} with changes") } else { c }
    });
    let mut lines = vec![
        ("date", today()),
        ("processor", format!("{processor}, {cores} cores seen, {}", simd.join(" "))),
        ("system", format!("{} {}", std::env::consts::OS, std::env::consts::ARCH)),
    ];
    for (name, value) in
        [("memory", memory), ("commit", commit), ("compiler", output(root, "rustc", &["--version"]))]
    {
        lines.extend(value.map(|v| (name, v)));
    }
    lines
}

fn output(root: &Path, program: &str, args: &[&str]) -> Option<String> {
    let output = Command::new(program).args(args).current_dir(root).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

fn today() -> String {
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs());
    let (y, m, d) = civil((seconds / 86_400) as i64);
    format!("{y}-{m:02}-{d:02}")
}

/// Year, month, day of a number of days since 1970 (Hinnant, "chrono-compatible low-level date
/// algorithms", `civil_from_days`).
fn civil(days: i64) -> (i64, i64, i64) {
    let z = days + 719_468;
    let era = z.div_euclid(146_097);
    let doe = z.rem_euclid(146_097);
    let yoe = (doe - doe / 1460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let month = if mp < 10 { mp + 3 } else { mp - 9 };
    (yoe + era * 400 + i64::from(month <= 2), month, doy - (153 * mp + 2) / 5 + 1)
}

#[cfg(test)]
mod tests {
    use super::civil;

    #[test]
    fn dates() {
        assert_eq!(civil(0), (1970, 1, 1));
        assert_eq!(civil(11_016), (2000, 2, 29));
        assert_eq!(civil(20_778), (2026, 11, 21));
    }
}
