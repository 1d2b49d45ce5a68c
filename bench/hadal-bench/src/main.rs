//! Hadal as a contender of the benchmark. Protocol and workloads are those of `bench/peers/README.md`;
//! beyond them there are `ceiling`, which measures what the machine can do, the workloads that count
//! the cost of the graph, and figures on memory in every answer.
//!
//! `hadal-bench [--threads N] setup | serve | first_step | ceiling | run WORKLOAD REPS`

mod ceiling;
mod models;
mod workloads;

use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::{BufRead, Write};
use std::process::ExitCode;
use std::time::Instant;
use workloads::{WORKLOADS, Workload};

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
            "workloads": WORKLOADS,
        })),
        ["first_step"] => match workloads::prepare("lenet_step").and_then(|mut w| (w.run)()) {
            Ok(()) => say(&json!({"workload": "first_step", "done": true})),
            Err(e) => say(&json!({"workload": "first_step", "error": e})),
        },
        ["ceiling"] => say(&ceiling::measure(hadal_tensor::threads())),
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
                    ["RUN", workload, reps] => say(&server.answer(workload, reps)),
                    _ => say(&json!({"error": "expected: RUN <workload> <reps> | FREE <workload> | QUIT"})),
                }
            }
        }
        _ => return usage(),
    }
    ExitCode::SUCCESS
}

fn usage() -> ExitCode {
    eprintln!("usage: hadal-bench [--threads N] setup | serve | first_step | ceiling | run WORKLOAD REPS");
    ExitCode::from(2)
}

fn say(line: &Value) {
    let mut out = std::io::stdout().lock();
    // Nobody listens any more when this fails; the next line read will end the program.
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
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

    fn run(&mut self, workload: &str, reps: usize) -> Result<Value, String> {
        if !self.ready.contains_key(workload) {
            hadal_core::reset_peak();
            let mut w = workloads::prepare(workload)?;
            for _ in 0..3 {
                (w.run)()?;
            }
            self.ready.insert(workload.to_owned(), w);
        }
        let w = self.ready.get_mut(workload).ok_or("not prepared")?;
        let before = hadal_core::memory_stats();
        let mut ms = Vec::with_capacity(reps);
        for _ in 0..reps {
            let start = Instant::now();
            (w.run)()?;
            ms.push(start.elapsed().as_secs_f64() * 1e3);
        }
        let after = hadal_core::memory_stats();
        Ok(json!({
            "workload": workload,
            "ms": ms,
            // Bytes asked of the system for tensors during these repetitions: none in a steady state.
            "fresh": after.fresh - before.fresh,
            // Most bytes of tensors alive at once, from the preparation on.
            "peak": after.peak,
            "nodes": w.nodes,
        }))
    }
}
