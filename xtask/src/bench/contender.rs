//! A contender: a program that speaks the protocol of `bench/peers/README.md`.

use serde_json::Value;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

/// A contender that says nothing for so long is given up. Compiling PyTorch's kernels takes a minute.
const PATIENCE: Duration = Duration::from_secs(300);

/// Who takes part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// This framework.
    Hadal,
    /// PyTorch, eager.
    Torch,
    /// PyTorch, compiled.
    TorchCompile,
    /// candle.
    Candle,
    /// burn's flex backend.
    Burn,
    /// ONNX Runtime, on what is only computed forward.
    OnnxRuntime,
    /// A small training step written by hand.
    Loop,
}

impl Kind {
    /// All but Hadal.
    pub const PEERS: [Kind; 6] =
        [Kind::Torch, Kind::TorchCompile, Kind::OnnxRuntime, Kind::Candle, Kind::Burn, Kind::Loop];

    /// As on the command line and in tables.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Hadal => "hadal",
            Kind::Torch => "torch",
            Kind::TorchCompile => "torch-compile",
            Kind::Candle => "candle",
            Kind::Burn => "burn",
            Kind::OnnxRuntime => "onnxruntime",
            Kind::Loop => "loop",
        }
    }

    /// The peer of this name; `compile` is short for `torch-compile`.
    pub fn from_name(name: &str) -> Option<Kind> {
        let name = if name == "compile" { "torch-compile" } else { name };
        Kind::PEERS.into_iter().find(|k| k.name() == name)
    }

    /// The program, and what comes before the command; `None` when it is not installed.
    fn command(self, root: &Path) -> Option<Command> {
        let peers = root.join("bench/peers");
        let program = match self {
            Kind::Hadal => crate::target(root).join("release/hadal-bench"),
            Kind::Torch | Kind::TorchCompile | Kind::OnnxRuntime => root.join(".venv/bin/python"),
            Kind::Candle => peers.join("candle/target/release/candle-peer"),
            Kind::Burn => peers.join("burn/target/release/burn-peer"),
            Kind::Loop => peers.join("loop/target/release/loop-peer"),
        };
        if !program.is_file() {
            return None;
        }
        let mut command = Command::new(program);
        match self {
            Kind::Torch => command.arg(peers.join("torch_bench.py")),
            Kind::TorchCompile => command.arg(peers.join("torch_bench.py")).arg("--compile"),
            Kind::OnnxRuntime => command.arg(peers.join("onnx_bench.py")),
            Kind::Hadal | Kind::Candle | Kind::Burn | Kind::Loop => &mut command,
        };
        Some(command)
    }

    /// What it is and can do, asked of the program; an error says why it cannot take part.
    pub fn setup(self, root: &Path) -> Result<Value, String> {
        let mut command = self.command(root).ok_or("not installed (bench/peers/README.md)")?;
        let output = command.arg("setup").output().map_err(|e| e.to_string())?;
        let text = String::from_utf8_lossy(&output.stdout);
        let last = text.lines().last().unwrap_or("");
        serde_json::from_str(last).map_err(|_| {
            let errors = String::from_utf8_lossy(&output.stderr);
            errors.lines().last().unwrap_or("no answer").to_owned()
        })
    }

    /// Asks for one answer from a process of its own.
    pub fn ask(self, root: &Path, threads: usize, what: &str) -> Result<Value, String> {
        let mut command = self.command(root).ok_or("not installed")?;
        let output =
            command.args(["--threads", &threads.to_string(), what]).output().map_err(|e| e.to_string())?;
        let text = String::from_utf8_lossy(&output.stdout);
        serde_json::from_str(text.lines().last().unwrap_or("")).map_err(|e| e.to_string())
    }

    /// Most bytes in memory at once of a process that does nothing but this: `first_step`, or a few
    /// repetitions of a workload. Peers leave their allocator as it is: kept memory would count against them.
    pub fn resident(self, root: &Path, threads: usize, what: &str) -> Result<u64, String> {
        let mut command = self.command(root).ok_or("not installed")?;
        if self != Kind::Hadal {
            command.arg("--return-memory");
        }
        command.args(["--threads", &threads.to_string()]);
        let command = match what {
            "first_step" => command.arg(what),
            _ => command.args(["run", what, "3"]),
        };
        let output = command.output().map_err(|e| e.to_string())?;
        let text = String::from_utf8_lossy(&output.stdout);
        let answer: Value =
            serde_json::from_str(text.lines().last().unwrap_or("")).map_err(|e| e.to_string())?;
        answer.get("resident").and_then(Value::as_u64).ok_or_else(|| error_of(&answer))
    }

    /// Milliseconds from the start of a process to its end, in which it takes a first LeNet step.
    pub fn first_step(self, root: &Path, threads: usize) -> Result<f64, String> {
        let start = Instant::now();
        let answer = self.ask(root, threads, "first_step")?;
        let ms = start.elapsed().as_secs_f64() * 1e3;
        match answer.get("done") {
            Some(Value::Bool(true)) => Ok(ms),
            _ => Err(error_of(&answer)),
        }
    }
}

fn error_of(answer: &Value) -> String {
    answer.get("error").and_then(Value::as_str).unwrap_or("an answer without what was asked for").to_owned()
}

/// What a run of a workload answered.
pub struct Answer {
    /// Milliseconds of each repetition.
    pub ms: Vec<f64>,
    /// The whole answer: Hadal's has figures on memory.
    pub all: Value,
}

/// A contender that is running and waits for work.
pub struct Server {
    child: Child,
    input: ChildStdin,
    lines: Receiver<String>,
}

impl Server {
    /// Starts one.
    pub fn start(kind: Kind, root: &Path, threads: usize) -> Result<Server, String> {
        let mut command = kind.command(root).ok_or("not installed")?;
        command.args(["--threads", &threads.to_string(), "serve"]);
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|e| e.to_string())?;
        let (input, output) = (child.stdin.take(), child.stdout.take());
        let (Some(input), Some(output)) = (input, output) else { return Err("no pipes".to_owned()) };
        let (send, lines) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if send.send(line).is_err() {
                    break;
                }
            }
        });
        Ok(Server { child, input, lines })
    }

    fn ask(&mut self, line: &str) -> Result<Value, String> {
        writeln!(self.input, "{line}").and_then(|()| self.input.flush()).map_err(|e| e.to_string())?;
        let answer = self.lines.recv_timeout(PATIENCE).map_err(|e| e.to_string())?;
        serde_json::from_str(&answer).map_err(|e| format!("{e}: {answer}"))
    }

    /// Prepares a workload, warms up, and returns summaries of what it computed.
    pub fn check(&mut self, workload: &str) -> Result<Value, String> {
        let mut all = self.ask(&format!("CHECK {workload}"))?;
        match all.get_mut("outputs") {
            Some(outputs) => Ok(outputs.take()),
            None => Err(error_of(&all)),
        }
    }

    /// Runs a workload.
    pub fn run(&mut self, workload: &str, reps: usize) -> Result<Answer, String> {
        let all = self.ask(&format!("RUN {workload} {reps}"))?;
        let ms: Option<Vec<f64>> =
            all.get("ms").and_then(Value::as_array).and_then(|a| a.iter().map(Value::as_f64).collect());
        match ms {
            Some(ms) if !ms.is_empty() => Ok(Answer { ms, all }),
            _ => Err(error_of(&all)),
        }
    }

    /// Lets it drop what a workload holds.
    pub fn free(&mut self, workload: &str) {
        // One that has died is found at its next turn.
        let _ = self.ask(&format!("FREE {workload}"));
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = writeln!(self.input, "QUIT").and_then(|()| self.input.flush());
        let asked = Instant::now();
        while asked.elapsed() < Duration::from_secs(2) {
            if matches!(self.child.try_wait(), Ok(Some(_))) {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
