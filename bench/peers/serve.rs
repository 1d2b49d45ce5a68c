//! The command line and the serving loop that the Rust contenders share. The protocol is in `README.md` beside this file.

use std::collections::HashMap;
use std::io::{BufRead, Write};
use std::time::Instant;

#[path = "fill.rs"]
pub mod fill;

/// An output whose numbers can be looked at, which is not timed.
pub trait Numbers {
    /// As f32 in row-major order; `None` where this contender keeps them in another layout.
    fn numbers(&self) -> Result<Option<Vec<f32>>, String>;
}

/// What a repetition has computed.
pub type Outputs = Vec<Box<dyn Numbers>>;

/// What a workload's preparation returns: the function that is timed.
pub type Timed = Box<dyn FnMut() -> Result<Outputs, String>>;

/// Runs that are not timed. The outputs of the first and the last of them are compared.
pub const WARM_UPS: usize = 3;

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

/// Most bytes of this process that were in memory at once, as JSON.
fn resident() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let kib = status.lines().find_map(|l| l.strip_prefix("VmHWM:")).and_then(|l| l.split_whitespace().next());
    kib.and_then(|n| n.parse::<u64>().ok()).map_or("null".into(), |n| (n * 1024).to_string())
}

struct Server {
    prepare: fn(&str) -> Result<Timed, String>,
    ready: HashMap<String, Timed>,
}

impl Server {
    fn made(&mut self, workload: &str) -> Result<Vec<String>, String> {
        let mut f = (self.prepare)(workload)?;
        let mut summaries = Vec::new();
        for i in 0..WARM_UPS {
            let outputs = f()?;
            if i == 0 || i + 1 == WARM_UPS {
                for output in &outputs {
                    summaries.push(output.numbers()?.map_or("null".into(), |v| fill::summary(&v)));
                }
            }
        }
        self.ready.insert(workload.to_string(), f);
        Ok(summaries)
    }

    fn measure(&mut self, workload: &str, reps: usize) -> Result<String, String> {
        if !self.ready.contains_key(workload) {
            self.made(workload)?;
        }
        let f = self.ready.get_mut(workload).ok_or("not prepared")?;
        let mut ms = Vec::with_capacity(reps);
        for _ in 0..reps {
            let start = Instant::now();
            drop(f()?);
            ms.push(format!("{:.6}", start.elapsed().as_secs_f64() * 1e3));
        }
        Ok(format!(r#""ms": [{}], "resident": {}"#, ms.join(", "), resident()))
    }

    /// One answer; a panic is an error of this workload alone.
    fn answer(&mut self, workload: &str, f: impl FnOnce(&mut Self) -> Result<String, String>) -> String {
        let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| f(self)));
        let workload = escape(workload);
        match caught.unwrap_or_else(|_| Err("panicked".into())) {
            Ok(fields) => format!(r#"{{"workload": "{workload}", {fields}}}"#),
            Err(e) => format!(r#"{{"workload": "{workload}", "error": "{}"}}"#, escape(&e)),
        }
    }

    fn check(&mut self, workload: &str) -> String {
        self.answer(workload, |s| Ok(format!(r#""outputs": [{}]"#, s.made(workload)?.join(", "))))
    }

    fn run(&mut self, workload: &str, reps: usize) -> String {
        self.answer(workload, |s| s.measure(workload, reps))
    }
}

/// `NAME [--threads N] [--return-memory] setup | serve | first_step | check WORKLOAD | run WORKLOAD REPS`
pub fn main(
    name: &str,
    versions: &[(&str, &str)],
    workloads: &[&str],
    prepare: fn(&str) -> Result<Timed, String>,
) {
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
            let w: Vec<String> = workloads.iter().map(|w| format!(r#""{w}""#)).collect();
            say(&format!(
                r#"{{"name": "{name}", "versions": {{{}}}, "workloads": [{}]}}"#,
                v.join(", "),
                w.join(", ")
            ));
        }
        ["first_step"] => match (server.prepare)("lenet_step").and_then(|mut f| f()) {
            Ok(_) => say(&format!(r#"{{"workload": "first_step", "done": true, "resident": {}}}"#, resident())),
            Err(e) => say(&format!(r#"{{"workload": "first_step", "error": "{}"}}"#, escape(&e))),
        },
        ["check", workload] => say(&server.check(workload)),
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
                    ["CHECK", workload] => say(&server.check(workload)),
                    ["RUN", workload, reps] if reps.parse::<usize>().is_ok() => {
                        say(&server.run(workload, reps.parse().unwrap_or(1)));
                    }
                    _ => say(r#"{"error": "expected: CHECK <workload> | RUN <workload> <reps> | FREE <workload> | QUIT"}"#),
                }
            }
        }
        _ => {
            eprintln!(
                "usage: {name} [--threads N] [--return-memory] setup | serve | first_step | check WORKLOAD | run WORKLOAD REPS"
            );
            std::process::exit(2);
        }
    }
}
