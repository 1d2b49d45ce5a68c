//! What a second thread brings: the time on one thread over that on several.

use super::contender::Kind;
use super::file::Times;
use super::measure::geometric_mean;
use std::fmt::Write as _;

/// Milliseconds on one thread from which on a workload counts as large: below, waking threads shows.
const LARGE_MS: f64 = 5.0;

/// A table of the large workloads, those that gain least first; `None` where not both one thread and
/// more were measured.
pub fn table(times: &Times) -> Option<String> {
    let most = times.keys().map(|key| key.0).max().filter(|&n| n > 1)?;
    let gain = |workload: &str, who: &str| {
        let of = |threads| times.get(&(threads, workload.to_owned(), who.to_owned()));
        Some(of(1)? / of(most)?)
    };
    let hadal = Kind::Hadal.name();
    let large =
        times.iter().filter(|((threads, _, who), ms)| *threads == 1 && who == hadal && **ms >= LARGE_MS);
    let mut rows: Vec<(f64, &str)> =
        large.filter_map(|((_, workload, _), _)| Some((gain(workload, hadal)?, workload.as_str()))).collect();
    rows.sort_by(|a, b| a.0.total_cmp(&b.0));
    let gains: Vec<f64> = rows.iter().map(|r| r.0).collect();
    let mean = geometric_mean(&gains)?;
    let mut out = format!(
        "Times on 1 thread over those on {most}, of workloads that take {LARGE_MS} ms or more on one: geometric mean \
         {mean:.2}, {} of {} at 1.8 or more.\n\n| workload | hadal | torch | best of the peers |\n|---|---|---|---|\n",
        gains.iter().filter(|g| **g >= 1.8).count(),
        gains.len()
    );
    for (own, workload) in rows {
        let show = |g: Option<f64>| g.map_or_else(|| "–".to_owned(), |g| format!("{g:.2}"));
        let best = Kind::PEERS.into_iter().filter_map(|k| gain(workload, k.name())).reduce(f64::max);
        let torch = gain(workload, Kind::Torch.name());
        let _ = writeln!(out, "| `{workload}` | {own:.2} | {} | {} |", show(torch), show(best));
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_workloads_on_both_numbers_of_threads_are_shown() {
        let mut times = Times::new();
        let mut put = |threads, workload: &str, who: &str, ms| {
            times.insert((threads, workload.to_owned(), who.to_owned()), ms);
        };
        for (workload, one, two) in [("good", 20.0, 10.0), ("poor", 10.0, 8.0), ("small", 1.0, 1.0)] {
            put(1, workload, "hadal", one);
            put(2, workload, "hadal", two);
        }
        put(1, "poor", "torch", 15.0);
        put(2, "poor", "torch", 10.0);
        put(1, "alone", "hadal", 100.0);
        let text = table(&times).unwrap();
        let last = "| `poor` | 1.25 | 1.50 | 1.50 |\n| `good` | 2.00 | – | – |\n";
        assert!(text.ends_with(last) && text.contains("mean 1.58, 1 of 2 at"), "{text}");
        times.retain(|key, _| key.0 == 1);
        assert_eq!(table(&times), None);
    }
}
