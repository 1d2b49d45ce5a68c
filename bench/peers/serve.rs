//! The command line and the serving loop that the Rust contenders share. The protocol is in `README.md` beside this file.

use std::collections::HashMap;
use std::io::{BufRead, Write};
use std::time::Instant;

/// What a workload's preparation returns: the function that is timed.
pub type Timed = Box<dyn FnMut() -> Result<(), String>>;

pub const WORKLOADS: &[&str] = &[
    "matmul_256", "matmul_512", "matmul_1024", "chain", "softmax_4096x1024", "layernorm_4096x1024", "sum0_4096",
    "sum1_4096", "conv3x3_fwd", "conv3x3_fwdbwd", "depthwise", "mlp_step", "lenet_step", "adamw", "small_graph",
];

#[cfg(all(target_os = "linux", target_env = "gnu"))]
extern "C" {
    fn mallopt(param: i32, value: i32) -> i32;
}

/// Asks glibc to keep freed memory. By default it gives large blocks back to the system at once, and then every
/// operation pays for fresh pages; with it, the peers are compared at their best.
fn keep_memory() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: called before any other thread runs; all parameters are documented in <malloc.h>.
    unsafe {
        mallopt(-4, 0); // M_MMAP_MAX
        mallopt(-1, i32::MAX); // M_TRIM_THRESHOLD
        mallopt(-8, 1); // M_ARENA_MAX: the arenas of other threads give their memory back all the same
    }
}

fn escape(s: &str) -> String {
    s.chars().take(300).map(|c| if c == '"' || c == '\\' || c.is_control() { ' ' } else { c }).collect()
}

fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{line}");
    let _ = out.flush();
}

struct Server {
    prepare: fn(&str) -> Result<Timed, String>,
    ready: HashMap<String, Timed>,
}

impl Server {
    fn measure(&mut self, workload: &str, reps: usize) -> Result<Vec<f64>, String> {
        if !self.ready.contains_key(workload) {
            let mut f = (self.prepare)(workload)?;
            for _ in 0..3 {
                f()?;
            }
            self.ready.insert(workload.to_string(), f);
        }
        let f = self.ready.get_mut(workload).ok_or("not prepared")?;
        let mut ms = Vec::with_capacity(reps);
        for _ in 0..reps {
            let start = Instant::now();
            f()?;
            ms.push(start.elapsed().as_secs_f64() * 1e3);
        }
        Ok(ms)
    }

    fn run(&mut self, workload: &str, reps: usize) -> String {
        let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| self.measure(workload, reps)));
        match caught.unwrap_or_else(|_| Err("panicked".into())) {
            Ok(ms) => {
                let ms: Vec<String> = ms.iter().map(|m| format!("{m:.6}")).collect();
                format!(r#"{{"workload": "{}", "ms": [{}]}}"#, escape(workload), ms.join(", "))
            }
            Err(e) => format!(r#"{{"workload": "{}", "error": "{}"}}"#, escape(workload), escape(&e)),
        }
    }
}

/// `NAME [--threads N] [--return-memory] setup | serve | first_step | run WORKLOAD REPS`
pub fn main(name: &str, versions: &[(&str, &str)], prepare: fn(&str) -> Result<Timed, String>) {
    let mut args: Vec<String> = std::env::args().skip(1).collect();
    let mut keep = true;
    args.retain(|a| {
        keep &= a != "--return-memory";
        a != "--return-memory"
    });
    if keep {
        keep_memory();
    }
    if let Some(i) = args.iter().position(|a| a == "--threads") {
        // Both rayon and candle read this when they first need their threads.
        if let Some(n) = args.get(i + 1) {
            std::env::set_var("RAYON_NUM_THREADS", n);
        }
        args.drain(i..args.len().min(i + 2));
    }
    let mut server = Server { prepare, ready: HashMap::new() };
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["setup"] => {
            let v: Vec<String> = versions.iter().map(|(k, v)| format!(r#""{k}": "{v}""#)).collect();
            let w: Vec<String> = WORKLOADS.iter().map(|w| format!(r#""{w}""#)).collect();
            say(&format!(
                r#"{{"name": "{name}", "versions": {{{}}}, "workloads": [{}]}}"#,
                v.join(", "),
                w.join(", ")
            ));
        }
        ["first_step"] => match (server.prepare)("lenet_step").and_then(|mut f| f()) {
            Ok(()) => say(r#"{"workload": "first_step", "done": true}"#),
            Err(e) => say(&format!(r#"{{"workload": "first_step", "error": "{}"}}"#, escape(&e))),
        },
        ["run", workload, reps] => say(&server.run(workload, reps.parse().unwrap_or(1))),
        ["serve"] => {
            for line in std::io::stdin().lock().lines() {
                let Ok(line) = line else { return };
                let words: Vec<&str> = line.split_whitespace().collect();
                match words.as_slice() {
                    [] => {}
                    ["QUIT"] => return,
                    ["FREE", workload] => {
                        server.ready.remove(*workload);
                        say(&format!(r#"{{"workload": "{}", "freed": true}}"#, escape(workload)));
                    }
                    ["RUN", workload, reps] if reps.parse::<usize>().is_ok() => {
                        say(&server.run(workload, reps.parse().unwrap_or(1)));
                    }
                    _ => say(r#"{"error": "expected: RUN <workload> <reps> | FREE <workload> | QUIT"}"#),
                }
            }
        }
        _ => {
            eprintln!("usage: {name} [--threads N] [--return-memory] setup | serve | first_step | run WORKLOAD REPS");
            std::process::exit(2);
        }
    }
}
