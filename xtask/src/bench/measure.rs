//! The measuring: contenders take turns within one run, so that whatever else the machine does meets
//! all of them.

use super::contender::{Kind, Server};
use super::{Options, report};
use serde_json::Value;
use std::path::Path;
use std::time::Duration;

/// The time from a process's start to the end of its first LeNet step; not served but spawned.
const FIRST_STEP: &str = "first_step";
/// PyTorch's own single kernel for all of AdamW: shown with the contender `torch` under its own name.
const FUSED: &str = "adamw_fused";

/// One contender on one workload.
#[derive(Clone, Debug)]
pub struct Measured {
    /// Who.
    pub kind: Kind,
    /// Milliseconds of all repetitions, or why there are none.
    pub ms: Result<Vec<f64>, String>,
    /// Hadal's bytes of fresh memory over all repetitions.
    pub fresh: u64,
    /// Hadal's peak of bytes.
    pub peak: u64,
    /// Nodes of the graph, where it is counted.
    pub nodes: Option<u64>,
}

impl Measured {
    fn new(kind: Kind) -> Measured {
        Measured { kind, ms: Ok(Vec::new()), fresh: 0, peak: 0, nodes: None }
    }
    /// Least and median.
    pub fn best_and_median(&self) -> Option<(f64, f64)> {
        let mut ms = self.ms.clone().ok().filter(|ms| !ms.is_empty())?;
        ms.sort_by(f64::total_cmp);
        let mid = ms.len() / 2;
        let median = if ms.len() % 2 == 1 { ms[mid] } else { (ms[mid - 1] + ms[mid]) / 2.0 };
        Some((ms[0], median))
    }
}

/// One workload on one number of threads.
pub struct Row {
    /// The workload.
    pub workload: String,
    /// All contenders that know it, Hadal first.
    pub measured: Vec<Measured>,
}

/// All workloads on one number of threads.
pub struct Table {
    /// Threads.
    pub threads: usize,
    /// What the machine can do.
    pub ceiling: Value,
    /// By workload.
    pub rows: Vec<Row>,
}

/// A whole run.
pub struct Results {
    /// Who took part, with versions.
    pub contenders: Vec<(Kind, String)>,
    /// Who did not, and why.
    pub absent: Vec<(Kind, String)>,
    /// By number of threads.
    pub tables: Vec<Table>,
}

/// Measures everything and prints as it goes.
pub fn all(root: &Path, options: &Options) -> Result<Results, String> {
    let hadal = Kind::Hadal.setup(root)?;
    let mut known = vec![(Kind::Hadal, hadal)];
    let mut absent = Vec::new();
    for &kind in &options.peers {
        match kind.setup(root) {
            Ok(setup) => known.push((kind, setup)),
            Err(e) => {
                println!("without {}: {e}", kind.name());
                absent.push((kind, e));
            }
        }
    }
    let contenders = known.iter().map(|(kind, setup)| (*kind, versions(setup))).collect();
    let mut workloads: Vec<String> = Vec::new();
    for name in known.iter().flat_map(|(_, s)| names(s)).chain([FIRST_STEP.to_owned()]) {
        let wanted = options.only.is_empty() || options.only.iter().any(|w| name.contains(w.as_str()));
        if wanted && !workloads.contains(&name) {
            workloads.push(name);
        }
    }
    if workloads.is_empty() {
        return Err(format!("no workload is called {}", options.only.join(" or ")));
    }

    let mut results = Results { contenders, absent, tables: Vec::new() };
    for &threads in &options.threads {
        let ceiling = Kind::Hadal.ask(root, threads, "ceiling")?;
        println!("{}", report::ceiling_line(threads, &ceiling));
        let mut servers: Vec<(Kind, Server)> = Vec::new();
        for (kind, _) in &known {
            servers.push((*kind, Server::start(*kind, root, threads)?));
        }
        let mut rows = Vec::new();
        for workload in &workloads {
            let row = if workload == FIRST_STEP {
                first_steps(root, &known, threads, options)
            } else {
                let mut able: Vec<&mut (Kind, Server)> = servers
                    .iter_mut()
                    .filter(|(k, _)| known.iter().any(|(n, s)| n == k && names(s).contains(workload)))
                    // The compiled optimizer is the compiled `adamw`.
                    .filter(|(k, _)| workload != FUSED || *k != Kind::TorchCompile)
                    .collect();
                turns(workload, &mut able, options)
            };
            println!("{}", report::row_line(&row, &ceiling));
            rows.push(row);
        }
        drop(servers);
        // Others may have used the machine the first time.
        let ceiling = larger(&ceiling, &Kind::Hadal.ask(root, threads, "ceiling")?);
        results.tables.push(Table { threads, ceiling, rows });
    }
    Ok(results)
}

/// Lets the contenders take turns on a workload.
fn turns(workload: &str, servers: &mut [&mut (Kind, Server)], options: &Options) -> Row {
    let turn_ms = if options.quick { 50.0 } else { 330.0 };
    let mut measured = Vec::new();
    let mut reps = Vec::new();
    for (kind, server) in servers.iter_mut().map(|s| (s.0, &mut s.1)) {
        // Prepares, warms up, and says how long one repetition takes.
        let mut m = Measured::new(kind);
        reps.push(match server.run(workload, 1) {
            Ok(first) => options.reps.unwrap_or((turn_ms / first.ms[0]).clamp(1.0, 1000.0) as usize),
            Err(e) => {
                m.ms = Err(e);
                0
            }
        });
        measured.push(m);
    }
    let n = servers.len();
    for round in 0..options.rounds {
        // Each round begins with another one.
        for i in (0..n).map(|i| (i + round) % n) {
            let m = &mut measured[i];
            let Ok(ms) = &mut m.ms else { continue };
            // The others' threads go to sleep.
            std::thread::sleep(Duration::from_millis(20));
            match servers[i].1.run(workload, reps[i]) {
                Ok(answer) => {
                    ms.extend(&answer.ms);
                    let number = |name: &str| answer.all.get(name).and_then(Value::as_u64);
                    m.fresh += number("fresh").unwrap_or(0);
                    m.peak = m.peak.max(number("peak").unwrap_or(0));
                    m.nodes = number("nodes");
                }
                Err(e) => m.ms = Err(e),
            }
        }
    }
    for s in servers.iter_mut() {
        s.1.free(workload);
    }
    Row { workload: workload.to_owned(), measured }
}

/// Starts each contender several times, in turns, after one start that is not counted.
fn first_steps(root: &Path, known: &[(Kind, Value)], threads: usize, options: &Options) -> Row {
    let mut measured: Vec<Measured> = known.iter().map(|(kind, _)| Measured::new(*kind)).collect();
    let tries = if options.quick { 2 } else { 11 };
    for round in 0..tries {
        for m in &mut measured {
            let Ok(ms) = &mut m.ms else { continue };
            // What takes seconds need not be measured as often, and a compiler's minute once.
            let spent: f64 = ms.iter().sum();
            if spent > 20_000.0 || (options.quick && m.kind == Kind::TorchCompile) {
                continue;
            }
            match m.kind.first_step(root, threads) {
                Ok(t) if round > 0 || t > 20_000.0 => ms.push(t),
                Ok(_) => {}
                Err(e) => m.ms = Err(e),
            }
        }
    }
    Row { workload: FIRST_STEP.to_owned(), measured }
}

/// Field by field the larger number.
fn larger(a: &Value, b: &Value) -> Value {
    let fields = a.as_object().into_iter().flatten().map(|(name, x)| {
        let y = b.get(name).filter(|y| y.as_f64() > x.as_f64());
        (name.clone(), y.unwrap_or(x).clone())
    });
    Value::Object(fields.collect())
}

fn names(setup: &Value) -> Vec<String> {
    let list = setup.get("workloads").and_then(Value::as_array);
    list.into_iter().flatten().filter_map(|w| Some(w.as_str()?.to_owned())).collect()
}

fn versions(setup: &Value) -> String {
    let all = setup.get("versions").and_then(Value::as_object);
    let one = |(name, version): (&String, &Value)| format!("{name} {}", version.as_str().unwrap_or("?"));
    all.into_iter().flatten().map(one).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn best_median_and_ceiling() {
        let mut m = Measured { ms: Ok(vec![3.0, 1.0, 2.0]), ..Measured::new(Kind::Hadal) };
        assert_eq!(m.best_and_median(), Some((1.0, 2.0)));
        m.ms = Ok(vec![4.0, 1.0]);
        assert_eq!(m.best_and_median(), Some((1.0, 2.5)));
        m.ms = Ok(Vec::new());
        assert_eq!(m.best_and_median(), None);
        assert_eq!(
            larger(&json!({"a": 1.0, "b": 3.0}), &json!({"a": 2.0, "b": 1.0})),
            json!({"a": 2.0, "b": 3.0})
        );
    }
}
