//! Threads that have nothing to do use no processor time. A program of its own: the figure is of the process.
#![cfg(target_os = "linux")]

use hadal_cpu::threads::{parallel_for, set_threads};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// Processor time of this process so far, all threads together, in ticks of 10 ms.
fn ticks() -> u64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    // The name in brackets may hold spaces; user and system time are the 12th and 13th field after it.
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

#[test]
fn workers_sleep_after_their_work() {
    set_threads(4);
    let done = AtomicUsize::new(0);
    for _ in 0..200 {
        parallel_for(64, &|i| {
            done.fetch_add(std::hint::black_box(i) / 64 + 1, Ordering::Relaxed);
        });
    }
    assert_eq!(done.into_inner(), 200 * 64);
    let before = ticks();
    std::thread::sleep(Duration::from_secs(1));
    // Three workers that went on looking for work would take up to 300, one of them alone up to 100. They look for
    // 40 µs; a busy machine makes that no longer, since it is counted by the clock.
    let spent = ticks() - before;
    assert!(spent <= 10, "{spent}0 ms of processor time in a second without work");
}
