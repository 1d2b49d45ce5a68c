//! The measuring: contenders take turns within one run, so that whatever else the machine does meets
//! all of them.

use super::contender::{Kind, Server};
use super::{Options, outputs, report};
use serde_json::Value;
use std::path::Path;
use std::time::Duration;

/// Workloads whose memory is compared, each in a process of its own.
const RESIDENT: [&str; 4] = ["resnet18_step", "gpt_step", "gpt2_decode", FIRST_STEP];
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
    /// Most bytes of a process with this workload alone that were in memory at once.
    pub resident: Option<u64>,
    /// Nodes of the graph, where it is counted.
    pub nodes: Option<u64>,
    /// What the workload has to do, as Hadal's contender states it.
    pub work: Value,
}

impl Measured {
    fn new(kind: Kind) -> Measured {
        Measured {
            kind,
            ms: Ok(Vec::new()),
            fresh: 0,
            peak: 0,
            resident: None,
            nodes: None,
            work: Value::Null,
        }
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
    /// Why nothing was timed: the outputs differ.
    pub refused: Option<String>,
}

impl Row {
    /// The best time and the median of a contender.
    pub fn of(&self, kind: Kind) -> Option<(f64, f64)> {
        self.measured.iter().find(|m| m.kind == kind).and_then(Measured::best_and_median)
    }
    /// The fastest peer, by its best time.
    pub fn best_peer(&self) -> Option<(Kind, (f64, f64))> {
        let peers = Kind::PEERS.into_iter().filter_map(|k| Some((k, self.of(k)?)));
        peers.min_by(|a, b| a.1.0.total_cmp(&b.1.0))
    }
}

/// The mean of ratios; `None` of nothing.
pub fn geometric_mean(ratios: &[f64]) -> Option<f64> {
    let sum: f64 = ratios.iter().map(|r| r.ln()).sum();
    (!ratios.is_empty()).then(|| (sum / ratios.len() as f64).exp())
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
            let mut row = if workload == FIRST_STEP {
                first_steps(root, &known, threads, options)
            } else {
                let mut able: Vec<&mut (Kind, Server)> = servers
                    .iter_mut()
                    .filter(|(k, _)| known.iter().any(|(n, s)| n == k && names(s).contains(workload)))
                    .filter(|(k, _)| *k != Kind::TorchCompile || is_compiled(workload, options))
                    .collect();
                turns(workload, &mut able, options)
            };
            if RESIDENT.contains(&workload.as_str()) {
                for m in row.measured.iter_mut().filter(|m| m.best_and_median().is_some()) {
                    m.resident = m.kind.resident(root, threads, workload).ok();
                }
            }
            println!("{}", report::row_line(&row, &ceiling));
            rows.push(row);
        }
        drop(servers);
        // Others may have used the machine the first time.
        let ceiling = larger(&ceiling, &Kind::Hadal.ask(root, threads, "ceiling")?);
        let table = Table { threads, ceiling, rows };
        println!("{}", report::summary_line(&table));
        results.tables.push(table);
    }
    Ok(results)
}

/// Whether compiled PyTorch takes part. It compiles for up to a minute; a run of everything compiles
/// only these, and one of named workloads whatever is named.
fn is_compiled(workload: &str, options: &Options) -> bool {
    const IN_A_WHOLE_RUN: [&str; 15] = [
        "matmul_512",
        "matmul_1024",
        "chain",
        "softmax_4096x1024",
        "layernorm_4096x1024",
        "sum0_4096",
        "sum1_4096",
        "transpose_4096",
        "conv3x3_fwd",
        "conv3x3_fwdbwd",
        "depthwise",
        "mlp_step",
        "lenet_step",
        "adamw",
        "small_graph",
    ];
    // The compiled fused optimizer is the compiled `adamw`.
    workload != FUSED && (!options.only.is_empty() || IN_A_WHOLE_RUN.contains(&workload))
}

/// Lets the contenders take turns on a workload, once they have computed the same.
fn turns(workload: &str, servers: &mut [&mut (Kind, Server)], options: &Options) -> Row {
    let mut row = compared(workload, servers);
    if row.refused.is_none() {
        timed(workload, servers, options, &mut row.measured);
    }
    for s in servers.iter_mut() {
        s.1.free(workload);
    }
    row
}

/// Prepares the contenders and compares their outputs with the first one's.
fn compared(workload: &str, servers: &mut [&mut (Kind, Server)]) -> Row {
    let mut row = Row { workload: workload.to_owned(), measured: Vec::new(), refused: None };
    let mut reference: Option<(Kind, Value)> = None;
    for (kind, server) in servers.iter_mut().map(|s| (s.0, &mut s.1)) {
        let mut m = Measured::new(kind);
        match (server.check(workload), &reference) {
            (Err(e), _) => m.ms = Err(e),
            (Ok(outputs), None) => reference = Some((kind, outputs)),
            (Ok(outputs), Some((first, expected))) => {
                if let Some(what) = outputs::difference(workload, expected, &outputs) {
                    row.refused.get_or_insert(format!("{} and {} differ: {what}", first.name(), kind.name()));
                }
            }
        }
        row.measured.push(m);
    }
    row
}

/// The turns.
fn timed(workload: &str, servers: &mut [&mut (Kind, Server)], options: &Options, measured: &mut [Measured]) {
    let turn_ms = if options.quick { 50.0 } else { 330.0 };
    let mut reps = Vec::new();
    for (server, m) in servers.iter_mut().zip(measured.iter_mut()) {
        if m.ms.is_err() {
            reps.push(0);
            continue;
        }
        // Says how long one repetition takes.
        reps.push(match server.1.run(workload, 1) {
            Ok(first) => options.reps.unwrap_or((turn_ms / first.ms[0]).clamp(1.0, 1000.0) as usize),
            Err(e) => {
                m.ms = Err(e);
                0
            }
        });
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
                    m.work = answer.all.get("work").cloned().unwrap_or_default();
                }
                Err(e) => m.ms = Err(e),
            }
        }
    }
}

/// Starts each contender several times, in turns, after one start that is not counted.
fn first_steps(root: &Path, known: &[(Kind, Value)], threads: usize, options: &Options) -> Row {
    let trains = |setup: &Value| names(setup).iter().any(|n| n == "lenet_step");
    let able = known.iter().filter(|(_, setup)| trains(setup));
    let mut measured: Vec<Measured> = able.map(|(kind, _)| Measured::new(*kind)).collect();
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
    Row { workload: FIRST_STEP.to_owned(), measured, refused: None }
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
        assert!(geometric_mean(&[0.5, 2.0]).is_some_and(|m| (m - 1.0).abs() < 1e-12));
        assert_eq!(geometric_mean(&[]), None);
        assert_eq!(
            larger(&json!({"a": 1.0, "b": 3.0}), &json!({"a": 2.0, "b": 1.0})),
            json!({"a": 2.0, "b": 3.0})
        );
    }
}
