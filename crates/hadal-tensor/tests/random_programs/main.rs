//! Random programs: whatever the graph, however it is run, the numbers are the same, and right.
//!
//! A failing program is cut down to what one root needs and printed with its seed.

mod build;
mod generate;
mod naive;
mod naive_class;
mod program;
mod rng;
mod run;
mod value;

use generate::{Taste, generate};
use hadal_tensor::{memory_stats, plan_cache_stats, set_threads};
use program::Program;
use run::{Mode, gradients, values};
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// Memory counters and the number of threads belong to the process: one test at a time.
static ALONE: Mutex<()> = Mutex::new(());

/// Seconds that a test goes on for after its least number of programs; `HADAL_FUZZ_SECONDS` sets it for
/// a longer hunt, and `HADAL_FUZZ_SEED` where it begins.
fn patience() -> (u64, u64) {
    let number = |name| std::env::var(name).ok().and_then(|v| v.parse().ok());
    (number("HADAL_FUZZ_SECONDS").unwrap_or(3), number("HADAL_FUZZ_SEED").unwrap_or(0))
}

/// A panic is a failure like any other, so that its program is printed too.
fn caught(check: &Check, p: &Program, reference: Option<&[value::Val]>) -> Result<(), String> {
    let run = std::panic::AssertUnwindSafe(|| check(p, reference));
    std::panic::catch_unwind(run).unwrap_or_else(|_| Err("a panic (its message stands above)".into()))
}

type Check<'a> = dyn Fn(&Program, Option<&[value::Val]>) -> Result<(), String> + 'a;

/// Runs `check` on programs made from consecutive seeds: `least` of them, then until time is up.
fn for_programs(taste: Taste, first: u64, least: u64, check: &Check) {
    let since = Instant::now();
    let (seconds, skip) = patience();
    let first = first + skip;
    for seed in first..first + 1_000_000 {
        if seed >= first + least && since.elapsed() > Duration::from_secs(seconds) {
            break;
        }
        let made = generate(seed, taste);
        if let Err(e) = caught(check, &made.program, Some(&made.reference)) {
            fail(&made.program, e, check);
        }
    }
}

/// Reports the smallest cut of the program that fails.
fn fail(program: &Program, error: String, check: &Check) -> ! {
    let mut best = (program.clone(), error);
    let mut cuts: Vec<Program> = (0..program.steps.len()).map(|i| program.only(&[i])).collect();
    cuts.push(program.only(&program.roots));
    cuts.sort_by_key(|p| p.steps.len());
    for mut cut in cuts {
        for simpler in [true, false] {
            if simpler {
                cut = Program { held: vec![], early: vec![], drop_early: false, ..cut };
            }
            if let Err(e) = caught(check, &cut, None)
                && cut.steps.len() < best.0.steps.len()
            {
                best = (cut, e);
                break;
            }
        }
    }
    panic!("{}\n{}", best.1, best.0.listing());
}

fn ways(program: &Program) -> Result<(), String> {
    let want = values(program, Mode::Eager, 1);
    for threads in [1, 2, 4] {
        for mode in [Mode::Lazy, Mode::Unfused, Mode::Eager] {
            let got = values(program, mode, threads);
            want.same(&got, program).map_err(|e| format!("{mode:?} on {threads} threads: {e}"))?;
        }
    }
    set_threads(2);
    // Plans are kept: of this program, and for other data too.
    for n in 0..3 {
        let program = &program.on_other_data(n);
        let want = values(program, Mode::Anew, 1);
        let got = values(program, Mode::Lazy, 2);
        want.same(&got, program).map_err(|e| format!("with a kept plan, on data {n}: {e}"))?;
    }
    Ok(())
}

fn alone() -> std::sync::MutexGuard<'static, ()> {
    ALONE.lock().unwrap_or_else(|e| e.into_inner())
}

#[test]
fn every_way_of_running_gives_the_same_bits() {
    let _alone = alone();
    let live = memory_stats().live;
    for_programs(Taste { tame: false, large: false, smooth: false }, 0, 60, &|p, _| ways(p));
    assert_eq!(memory_stats().live, live, "memory that nobody holds is not given back");
}

#[test]
fn plans_of_many_programs_do_not_mix() {
    let _alone = alone();
    let live = memory_stats().live;
    let taste = Taste { tame: false, large: false, smooth: false };
    let programs: Vec<Program> = (9_000_000..9_000_025).map(|seed| generate(seed, taste).program).collect();
    let before = plan_cache_stats();
    for round in 0..3 {
        for pair in programs.windows(2) {
            // Each is met again after another one, and once more when its plans had to make room.
            for p in pair {
                let p = &p.on_other_data(round);
                let (want, got) = (values(p, Mode::Anew, 1), values(p, Mode::Lazy, 1));
                if let Err(e) = want.same(&got, p) {
                    panic!("round {round}: {e}\n{}", p.listing());
                }
            }
        }
    }
    let after = plan_cache_stats();
    assert!(after.hits - before.hits > 200 && after.evicted > before.evicted, "{after:?}");
    set_threads(2);
    assert_eq!(memory_stats().live, live, "kept plans hold no memory of tensors");
}

#[test]
fn large_tensors_give_the_same_bits_on_any_number_of_threads() {
    let _alone = alone();
    let live = memory_stats().live;
    for_programs(Taste { tame: false, large: true, smooth: false }, 7_000_000, 5, &|p, _| ways(p));
    assert_eq!(memory_stats().live, live, "memory that nobody holds is not given back");
}

#[test]
fn the_naive_reference_agrees() {
    let _alone = alone();
    let live = memory_stats().live;
    let check = |p: &Program, reference: Option<&[value::Val]>| {
        ways(p)?;
        // Of a program cut down to find the failing step, the reference is computed again.
        match reference {
            Some(r) => values(p, Mode::Eager, 2).within(r),
            None => values(p, Mode::Eager, 2).within(&p.reference()),
        }
    };
    for_programs(Taste { tame: true, large: false, smooth: false }, 2_000_000, 60, &check);
    for_programs(Taste { tame: true, large: true, smooth: false }, 3_000_000, 2, &check);
    assert_eq!(memory_stats().live, live, "memory that nobody holds is not given back");
}

#[test]
fn gradients_do_not_depend_on_the_way_of_running() {
    let _alone = alone();
    let live = memory_stats().live;
    let flowing = std::cell::Cell::new(0);
    let check = |p: &Program, _: Option<&[value::Val]>| {
        let want = gradients(p, Mode::Eager, 1)?;
        flowing.set(flowing.get() + want.flowing());
        for threads in [1, 2, 4] {
            for mode in [Mode::Lazy, Mode::Unfused] {
                let got = gradients(p, mode, threads)?;
                want.same(&got, p).map_err(|e| format!("gradients, {mode:?} on {threads} threads: {e}"))?;
            }
        }
        set_threads(2);
        for n in 0..2 {
            let p = &p.on_other_data(n);
            let (want, got) = (gradients(p, Mode::Anew, 1)?, gradients(p, Mode::Lazy, 2)?);
            want.same(&got, p).map_err(|e| format!("gradients with a kept plan, on data {n}: {e}"))?;
        }
        Ok(())
    };
    for_programs(Taste { tame: true, large: false, smooth: true }, 4_000_000, 60, &check);
    for_programs(Taste { tame: false, large: false, smooth: true }, 5_000_000, 30, &check);
    for_programs(Taste { tame: true, large: true, smooth: true }, 6_000_000, 2, &check);
    assert!(flowing.get() > 100, "hardly any gradient flows: {}", flowing.get());
    assert_eq!(memory_stats().live, live, "memory that nobody holds is not given back");
}
