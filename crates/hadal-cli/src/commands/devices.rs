//! `hadal devices`: what this machine computes with, and how fast it is.

use crate::commands::profile::keep;
use crate::failure::Result;
use crate::places::use_threads;
use crate::table::bytes;
use crate::terminal;
use hadal::profile::{Ceilings, processor};
use hadal::tensor::{SimdLevel, eval, set_threads, simd_level, threads};
use hadal::{DType, Key, Tensor};
use serde::Serialize;
use std::fmt::Write;
use std::time::Instant;

const EXAMPLES: &str = "\
Examples:
  hadal devices
  hadal devices --measure --threads 2
  hadal devices --json";

/// What to show.
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Measure arithmetic and memory too, and keep it for the profiler; takes
    /// about two seconds
    #[arg(long)]
    measure: bool,
    /// Threads that computations use; 0 takes all cores [default: 0]
    #[arg(
        long,
        value_name = "N",
        default_value = "0",
        hide_default_value = true,
        allow_negative_numbers = true
    )]
    threads: String,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// What is known of a machine. Unknown things are left out.
#[derive(Serialize, Debug, Default)]
struct Machine {
    device: &'static str,
    cpu: Option<String>,
    architecture: &'static str,
    cores: Option<usize>,
    hardware_threads: usize,
    threads: usize,
    simd: &'static str,
    caches: Vec<Cache>,
    memory_bytes: Option<u64>,
    memory_available_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    measured: Option<Measured>,
}

#[derive(Serialize, Debug)]
struct Cache {
    name: String,
    bytes: u64,
}

#[derive(Serialize, Debug)]
struct Measured {
    peak_gflops: f64,
    peak_bf16_gflops: Option<f64>,
    matmul_gflops_1_thread: f64,
    matmul_gflops: f64,
    memory_gb_per_s: f64,
    read_gb_per_s: f64,
    copy_gb_per_s: f64,
    update_gb_per_s: f64,
    l2_gb_per_s: f64,
}

/// Shows the machine.
pub fn run(args: &Args) -> Result {
    use_threads(&args.threads)?;
    let mut machine = look();
    if args.measure {
        machine.measured = Some(measure()?);
    }
    if args.json {
        return terminal::print_json(&machine);
    }
    terminal::print(&describe(&machine))
}

fn look() -> Machine {
    let cpuinfo = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let meminfo = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    Machine {
        device: "cpu",
        cpu: processor(),
        architecture: std::env::consts::ARCH,
        cores: cores(&cpuinfo),
        hardware_threads: std::thread::available_parallelism().map_or(1, |n| n.get()),
        threads: threads(),
        simd: match simd_level() {
            SimdLevel::Avx512 => "AVX-512",
            SimdLevel::Avx2 => "AVX2 with FMA",
            SimdLevel::Portable if cfg!(target_arch = "aarch64") => "NEON",
            SimdLevel::Portable => "plain",
        },
        caches: caches(),
        memory_bytes: memory_bytes(),
        memory_available_bytes: kib(&meminfo, "MemAvailable"),
        measured: None,
    }
}

/// The value of the first `name : value` line.
fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines().find_map(|l| {
        let (key, value) = l.split_once(':')?;
        (key.trim() == name).then_some(value.trim())
    })
}

fn kib(text: &str, name: &str) -> Option<u64> {
    let n: u64 = field(text, name)?.strip_suffix("kB")?.trim().parse().ok()?;
    n.checked_mul(1024)
}

/// Physical cores: different pairs of package and core.
fn cores(cpuinfo: &str) -> Option<usize> {
    let pairs: std::collections::BTreeSet<(&str, &str)> = cpuinfo
        .split("\n\n")
        .filter_map(|cpu| Some((field(cpu, "physical id")?, field(cpu, "core id")?)))
        .collect();
    (!pairs.is_empty()).then_some(pairs.len())
}

/// The memory that this program may have, where the system says so.
pub fn memory_bytes() -> Option<u64> {
    let all = kib(&std::fs::read_to_string("/proc/meminfo").ok()?, "MemTotal")?;
    Some(container_limit().map_or(all, |c| c.min(all)))
}

/// The limit that a container sets, where there is one (`max` is none).
fn container_limit() -> Option<u64> {
    std::fs::read_to_string("/sys/fs/cgroup/memory.max").ok()?.trim().parse().ok()
}

/// The caches of the first core, as Linux lists them.
fn caches() -> Vec<Cache> {
    let read = |i: usize, what: &str| {
        let path = format!("/sys/devices/system/cpu/cpu0/cache/index{i}/{what}");
        Some(std::fs::read_to_string(path).ok()?.trim().to_owned())
    };
    let one = |i: usize| {
        let (level, kind, size) = (read(i, "level")?, read(i, "type")?, read(i, "size")?);
        let kib: u64 = size.strip_suffix('K')?.parse().ok()?;
        let kind = match kind.as_str() {
            "Data" => "d",
            "Instruction" => return None,
            _ => "",
        };
        Some(Cache { name: format!("L{level}{kind}"), bytes: kib.checked_mul(1024)? })
    };
    (0..8).filter_map(one).collect()
}

/// Best of several runs, in seconds.
fn best(runs: usize, mut work: impl FnMut() -> hadal::Result<()>) -> hadal::Result<f64> {
    let mut best = f64::INFINITY;
    // The first run warms caches, pool and clock up.
    for i in 0..=runs {
        let start = Instant::now();
        work()?;
        if i > 0 {
            best = best.min(start.elapsed().as_secs_f64());
        }
    }
    Ok(best)
}

fn measure() -> Result<Measured> {
    const N: usize = 1024;
    let a = Tensor::rand([N, N], DType::F32, Key::new(1)).materialize()?;
    let b = Tensor::rand([N, N], DType::F32, Key::new(2)).materialize()?;
    let gflops = |seconds: f64| 2.0 * (N * N * N) as f64 / seconds / 1e9;
    let matmul = || best(20, || eval(&[&a.matmul(&b)]));
    let all = threads();
    set_threads(1);
    let one = matmul();
    set_threads(all);
    let one = gflops(one?);
    let matmul_gflops = if all == 1 { one } else { gflops(matmul()?) };
    let c = Ceilings::measure();
    // The profiler holds its figures against them.
    keep(&c);
    Ok(Measured {
        peak_gflops: c.gflops,
        peak_bf16_gflops: (c.bf16_gflops > 0.0).then_some(c.bf16_gflops),
        matmul_gflops_1_thread: one,
        matmul_gflops,
        memory_gb_per_s: c.memory_gbs(),
        read_gb_per_s: c.read_gbs,
        copy_gb_per_s: c.copy_gbs,
        update_gb_per_s: c.update_gbs,
        l2_gb_per_s: c.l2_gbs,
    })
}

fn describe(m: &Machine) -> String {
    let mut out = String::new();
    let mut line = |name: &str, value: String| {
        // Writing to a string cannot fail.
        let _ = writeln!(out, "{name:<10} {value}");
    };
    line("device", m.device.to_owned());
    let name = m.cpu.clone().unwrap_or_else(|| "unknown".into());
    line("processor", format!("{name} ({})", m.architecture));
    let cores = m.cores.map(|c| format!(", {c} physical cores in the machine")).unwrap_or_default();
    line("cores", format!("{} available{cores}", m.hardware_threads));
    line("threads", format!("{} used", m.threads));
    line("vectors", m.simd.to_owned());
    if !m.caches.is_empty() {
        let caches: Vec<String> = m.caches.iter().map(|c| format!("{} {}", c.name, bytes(c.bytes))).collect();
        line("caches", caches.join(", "));
    }
    if let Some(total) = m.memory_bytes {
        let free = m
            .memory_available_bytes
            .map(|a| format!(", {} available", bytes(a.min(total))))
            .unwrap_or_default();
        line("memory", format!("{}{free}", bytes(total)));
    }
    match &m.measured {
        Some(x) => {
            let threads =
                if m.threads == 1 { "1 thread".to_owned() } else { format!("{} threads", m.threads) };
            let bf16 = x.peak_bf16_gflops.map(|g| format!(", {g:.1} in bf16")).unwrap_or_default();
            line("peak", format!("{:.1} GFLOP/s in f32{bf16} on {threads}", x.peak_gflops));
            line(
                "matmul",
                format!(
                    "{:.1} GFLOP/s on 1 thread, {:.1} on {threads} (f32, 1024 x 1024)",
                    x.matmul_gflops_1_thread, x.matmul_gflops
                ),
            );
            line(
                "bandwidth",
                format!(
                    "{:.1} GB/s read, {:.1} copied, {:.1} changed in place; L2 {:.1} read",
                    x.read_gb_per_s, x.copy_gb_per_s, x.update_gb_per_s, x.l2_gb_per_s
                ),
            );
        }
        None => line("speed", "not measured (--measure does)".to_owned()),
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn system_files_are_read() {
        let cpu = "processor\t: 0\nmodel name\t: Some CPU\nphysical id\t: 0\ncore id\t\t: 0\n\n\
                   processor\t: 1\nmodel name\t: Some CPU\nphysical id\t: 0\ncore id\t\t: 0\n";
        assert_eq!(field(cpu, "model name"), Some("Some CPU"));
        assert_eq!((cores(cpu), cores("")), (Some(1), None));
        assert_eq!(kib("MemTotal:       16 kB\n", "MemTotal"), Some(16384));
        assert_eq!(kib("MemTotal: lots\n", "MemTotal"), None);
    }
}
