//! What the benchmark examples share: timing, and a line of figures.

use hadal_cpu::threads::set_threads;
use std::time::Instant;

/// Which lines to print, from the command line: `[part of the name] [--threads 1,2] [--seconds 0.4]`.
pub struct Harness {
    part: Option<String>,
    threads: Vec<usize>,
    seconds: f64,
}

impl Harness {
    /// Reads the command line.
    pub fn from_args() -> Harness {
        let mut h = Harness { part: None, threads: vec![1, 2], seconds: 0.4 };
        let mut args = std::env::args().skip(1);
        while let Some(arg) = args.next() {
            match arg.as_str() {
                "--threads" => {
                    let list = args.next().unwrap_or_default();
                    h.threads = list.split(',').filter_map(|n| n.parse().ok()).collect();
                }
                "--seconds" => h.seconds = args.next().and_then(|s| s.parse().ok()).unwrap_or(h.seconds),
                _ => h.part = Some(arg),
            }
        }
        h
    }

    /// Whether lines of this name are wanted.
    pub fn wants(&self, name: &str) -> bool {
        self.part.as_ref().is_none_or(|p| name.contains(p.as_str()))
    }

    /// Best and median seconds of a call: the processor's for one thread, which a busy machine
    /// disturbs less, else the clock's.
    fn time(&self, threads: usize, mut f: impl FnMut()) -> (f64, f64) {
        f();
        let start = Instant::now();
        let now = || if threads == 1 { processor_seconds() } else { start.elapsed().as_secs_f64() };
        let mut times = Vec::new();
        while times.len() < 5 || (start.elapsed().as_secs_f64() < self.seconds && times.len() < 20_000) {
            let t = now();
            f();
            times.push(now() - t);
        }
        times.sort_by(f64::total_cmp);
        (times[0], times[times.len() / 2])
    }

    /// Times a call and prints its rate, best and (median), `unit` being `GFLOP/s` or `GB/s`.
    pub fn report(&self, name: &str, amount: f64, unit: &str, mut f: impl FnMut()) {
        if !self.wants(name) {
            return;
        }
        let mut line = format!("{name:<46}");
        for &threads in &self.threads {
            set_threads(threads);
            let (best, median) = self.time(threads, &mut f);
            line += &format!(
                "  {threads}T {:>7.1} ({:>6.1}) {unit} {:>9.1} us",
                amount / best * 1e-9,
                amount / median * 1e-9,
                best * 1e6
            );
        }
        println!("{line}");
    }
}

/// Seconds that the processor has spent on this thread.
#[cfg(target_os = "linux")]
fn processor_seconds() -> f64 {
    #[repr(C)]
    struct Timespec {
        seconds: i64,
        nanoseconds: i64,
    }
    unsafe extern "C" {
        fn clock_gettime(clock: i32, time: *mut Timespec) -> i32;
    }
    /// The calling thread's processor time, by Linux's `time.h`.
    const CLOCK_THREAD_CPUTIME_ID: i32 = 3;
    let mut t = Timespec { seconds: 0, nanoseconds: 0 };
    // SAFETY: the struct is C's `timespec` on 64-bit Linux, and lives through the call.
    unsafe { clock_gettime(CLOCK_THREAD_CPUTIME_ID, &mut t) };
    t.seconds as f64 + t.nanoseconds as f64 * 1e-9
}

/// Seconds of the clock, where nothing better is known.
#[cfg(not(target_os = "linux"))]
fn processor_seconds() -> f64 {
    static START: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
    START.get_or_init(Instant::now).elapsed().as_secs_f64()
}
