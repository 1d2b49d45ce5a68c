//! The worker pool.

use hadal_cpu::threads::{parallel_chunks, parallel_for, set_threads, threads};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// Tests that set the number of threads take turns.
static GLOBAL: Mutex<()> = Mutex::new(());

fn turn() -> std::sync::MutexGuard<'static, ()> {
    GLOBAL.lock().unwrap_or_else(|e| e.into_inner())
}

#[test]
fn every_task_runs_once() {
    let _turn = turn();
    for n in [1, 2, 4, 3, 1, 8] {
        set_threads(n);
        assert_eq!(threads(), n);
        for tasks in [0, 1, 2, 3, 100, 5000] {
            let hits: Vec<AtomicUsize> = (0..tasks).map(|_| AtomicUsize::new(0)).collect();
            parallel_for(tasks, &|i| {
                hits[i].fetch_add(1, Ordering::Relaxed);
            });
            assert!(hits.iter().all(|h| h.load(Ordering::Relaxed) == 1), "{n} threads, {tasks} tasks");
        }
    }
}

#[test]
fn other_threads_take_part() {
    let _turn = turn();
    set_threads(3);
    let names = Mutex::new(std::collections::BTreeSet::new());
    parallel_for(30, &|_| {
        std::thread::sleep(Duration::from_millis(5));
        names.lock().unwrap().insert(format!("{:?}", std::thread::current().id()));
    });
    let first = names.lock().unwrap().len();
    assert_eq!(first, 3);
    // And again after the workers have gone to sleep, with fewer.
    std::thread::sleep(Duration::from_millis(20));
    set_threads(2);
    names.lock().unwrap().clear();
    parallel_for(30, &|_| {
        std::thread::sleep(Duration::from_millis(2));
        names.lock().unwrap().insert(format!("{:?}", std::thread::current().id()));
    });
    assert_eq!(names.lock().unwrap().len(), 2);
}

#[test]
fn nested_and_concurrent_calls_finish() {
    let _turn = turn();
    set_threads(4);
    let sum = AtomicUsize::new(0);
    std::thread::scope(|s| {
        for _ in 0..4 {
            s.spawn(|| {
                for _ in 0..200 {
                    parallel_for(8, &|_| {
                        parallel_for(4, &|j| {
                            sum.fetch_add(j, Ordering::Relaxed);
                        });
                    });
                }
            });
        }
    });
    assert_eq!(sum.into_inner(), 4 * 200 * 8 * 6);
}

#[test]
fn panics_reach_the_caller_and_the_pool_lives_on() {
    let _turn = turn();
    set_threads(3);
    for round in 0..50 {
        let got = catch_unwind(AssertUnwindSafe(|| {
            parallel_for(20, &|i| {
                if i == round % 20 {
                    panic!("task {i}");
                }
            });
        }));
        let message = *got.unwrap_err().downcast::<String>().unwrap();
        assert_eq!(message, format!("task {}", round % 20));
        let count = AtomicUsize::new(0);
        parallel_for(20, &|_| {
            count.fetch_add(1, Ordering::Relaxed);
        });
        assert_eq!(count.into_inner(), 20);
    }
}

#[test]
fn chunks_cover_the_slice() {
    let _turn = turn();
    set_threads(2);
    let mut v = vec![0usize; 1003];
    parallel_chunks(&mut v, 10, &|i, c| {
        assert_eq!(c.len(), if i == 100 { 3 } else { 10 });
        c.iter_mut().enumerate().for_each(|(j, x)| *x = i * 10 + j);
    });
    assert!(v.iter().enumerate().all(|(i, &x)| i == x));
}

#[test]
fn set_threads_may_change_while_others_compute() {
    let _turn = turn();
    let stop = AtomicUsize::new(0);
    std::thread::scope(|s| {
        s.spawn(|| {
            for i in 0..2000 {
                set_threads(1 + i % 5);
                std::thread::yield_now();
            }
            stop.store(1, Ordering::Relaxed);
        });
        while stop.load(Ordering::Relaxed) == 0 {
            let sum = AtomicUsize::new(0);
            parallel_for(64, &|i| {
                sum.fetch_add(i, Ordering::Relaxed);
            });
            assert_eq!(sum.into_inner(), 2016);
        }
    });
}
