//! Hadal as a contender of the benchmark. Protocol and workloads are those of `bench/peers/README.md`;
//! beyond them there are `ceiling`, which measures what the machine can do, the workloads that count
//! the cost of the graph, and figures on memory in every answer.
//!
//! `hadal-bench [--threads N] setup | serve | first_step | ceiling | check WORKLOAD | run WORKLOAD REPS |
//! profile WORKLOAD`

mod fill;
mod models;
mod workloads;

use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::{BufRead, Write};
use std::process::ExitCode;
use std::time::Instant;
use workloads::{Work, Workload};

fn main() -> ExitCode {
    let mut args: Vec<String> = std::env::args().skip(1).collect();
    if let Some(i) = args.iter().position(|a| a == "--threads") {
        match args.get(i + 1).and_then(|n| n.parse().ok()) {
            Some(n) => hadal_tensor::set_threads(n),
            None => return usage(),
        }
        args.drain(i..i + 2);
    }
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    let mut server = Server::default();
    match words.as_slice() {
        ["setup"] => say(&json!({
            "name": "hadal",
            "versions": {"hadal": env!("CARGO_PKG_VERSION")},
            "threads": hadal_tensor::threads(),
            "workloads": workloads::rows().map(|row| row.0).collect::<Vec<_>>(),
        })),
        ["first_step"] => match workloads::prepare("lenet_step").and_then(|mut w| (w.run)()) {
            Ok(_) => say(&json!({"workload": "first_step", "done": true, "resident": resident()})),
            Err(e) => say(&json!({"workload": "first_step", "error": e})),
        },
        ["ceiling"] => say(&ceiling()),
        ["check", workload] => say(&server.check(workload)),
        ["profile", workload] => say(&server.profile(workload)),
        ["run", workload, reps] => say(&server.answer(workload, reps)),
        ["serve"] => {
            for line in std::io::stdin().lock().lines() {
                let Ok(line) = line else { break };
                let words: Vec<&str> = line.split_whitespace().collect();
                match words.as_slice() {
                    [] => {}
                    ["QUIT"] => break,
                    ["FREE", workload] => {
                        server.ready.remove(*workload);
                        hadal_core::trim_memory();
                        say(&json!({"workload": workload, "freed": true}));
                    }
                    ["CHECK", workload] => say(&server.check(workload)),
                    ["RUN", workload, reps] => say(&server.answer(workload, reps)),
                    _ => say(&json!({"error": EXPECTED})),
                }
            }
        }
        _ => return usage(),
    }
    ExitCode::SUCCESS
}

/// Repetitions of a profile.
const PROFILES: usize = 20;
/// Runs that are not timed.
const WARM_UPS: usize = 3;

/// What a server understands.
const EXPECTED: &str = "expected: CHECK <workload> | RUN <workload> <reps> | FREE <workload> | QUIT";

fn usage() -> ExitCode {
    eprintln!(
        "usage: hadal-bench [--threads N] setup | serve | first_step | ceiling | check WORKLOAD | \
         run WORKLOAD REPS | profile WORKLOAD"
    );
    ExitCode::from(2)
}

fn say(line: &Value) {
    let mut out = std::io::stdout().lock();
    // Nobody listens any more when this fails; the next line read will end the program.
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}

/// What the machine can do.
fn ceiling() -> Value {
    let c = hadal_tensor::measure_ceilings();
    json!({
        "threads": c.threads,
        "gflops": c.gflops,
        "bf16_gflops": c.bf16_gflops,
        "read_gbs": c.read_gbs,
        "copy_gbs": c.copy_gbs,
        "update_gbs": c.update_gbs,
        "l2_gbs": c.l2_gbs,
        "fresh_gbs": c.fresh_gbs,
    })
}

/// Most bytes of this process that were in memory at once, where the system tells.
fn resident() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:"))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? * 1024)
}

#[derive(Default)]
struct Server {
    ready: BTreeMap<String, Workload>,
}

impl Server {
    fn answer(&mut self, workload: &str, reps: &str) -> Value {
        match reps.parse().map_err(|_| "REPS is a number".to_owned()).and_then(|n| self.run(workload, n)) {
            Ok(answer) => answer,
            Err(e) => json!({"workload": workload, "error": e}),
        }
    }

    fn check(&mut self, workload: &str) -> Value {
        match self.prepare(workload) {
            Ok(outputs) => json!({"workload": workload, "outputs": outputs}),
            Err(e) => json!({"workload": workload, "error": e}),
        }
    }

    /// Prepares a workload and runs it three times. Returns what is compared: the outputs of the first and of
    /// the last of these runs.
    fn prepare(&mut self, workload: &str) -> Result<Vec<Value>, String> {
        hadal_core::reset_peak();
        let mut w = workloads::prepare(workload)?;
        let mut outputs = Vec::new();
        for i in 0..WARM_UPS {
            let run = (w.run)()?;
            if i == 0 || i + 1 == WARM_UPS {
                outputs.extend(run.iter().map(fill::summary).collect::<Result<Vec<_>, _>>()?);
            }
        }
        self.ready.insert(workload.to_owned(), w);
        Ok(outputs)
    }

    /// Every piece of work of one repetition with the least time that it took in several.
    fn profile(&mut self, workload: &str) -> Value {
        if let Err(e) = self.prepare(workload) {
            return json!({"workload": workload, "error": e});
        }
        let Some(w) = self.ready.get_mut(workload) else { return json!({"error": "not prepared"}) };
        let mut best: Vec<hadal_tensor::Work> = Vec::new();
        for _ in 0..PROFILES {
            let (_, seen) = hadal_tensor::profile(|| (w.run)());
            if best.len() != seen.work.len() {
                best = seen.work;
                continue;
            }
            best.iter_mut().zip(seen.work).for_each(|(b, now)| b.time = b.time.min(now.time));
        }
        let us = |w: &hadal_tensor::Work| w.time.as_secs_f64() * 1e6;
        let rows: Vec<Value> = best
            .iter()
            .map(|w| {
                let shape = w.shape.to_string();
                json!({"name": w.name, "shape": shape, "us": us(w), "flops": w.flops, "bytes": w.bytes})
            })
            .collect();
        json!({"workload": workload, "us": best.iter().map(us).sum::<f64>(), "work": rows})
    }

    fn run(&mut self, workload: &str, reps: usize) -> Result<Value, String> {
        if !self.ready.contains_key(workload) {
            self.prepare(workload)?;
        }
        let w = self.ready.get_mut(workload).ok_or("not prepared")?;
        let before = hadal_core::memory_stats();
        let mut ms = Vec::with_capacity(reps);
        for _ in 0..reps {
            let start = Instant::now();
            drop((w.run)()?);
            ms.push(start.elapsed().as_secs_f64() * 1e3);
        }
        let after = hadal_core::memory_stats();
        let work = w.work.map(|work| match work {
            Work::Flops(n) => json!({"flops": n}),
            Work::Bf16Flops(n) => json!({"bf16_flops": n}),
            Work::Bytes(n) => json!({"bytes": n}),
        });
        Ok(json!({
            "workload": workload,
            "ms": ms,
            // Bytes asked of the system for tensors during these repetitions: none in a steady state.
            "fresh": after.fresh - before.fresh,
            // Most bytes of tensors alive at once, from the preparation on.
            "peak": after.peak,
            "resident": resident(),
            "nodes": w.nodes,
            "work": work,
        }))
    }
}
