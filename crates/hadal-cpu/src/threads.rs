//! The worker pool: a parallel `for` over task numbers.
//!
//! Kernels cut their work into tasks whose boundaries depend on the shapes only. Which thread runs
//! a task is decided by a shared counter and never reaches a result: a task writes its own part of
//! the output, or its own partial sum that the caller combines in task order afterwards.
//!
//! A job lives on its caller's stack. Workers find it through a gate word that says whether the job
//! is open and how many workers are inside; the caller closes the gate and waits until the last
//! worker has left before the job goes out of scope. Workers spin for 40 µs before they sleep, so
//! that the next kernel of a training step finds them awake (a sleeping thread costs 5 µs to 50 µs
//! to wake through the operating system, a spinning one under 1 µs).

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How long an idle worker looks for work before it sleeps.
const SPIN: Duration = Duration::from_micros(40);
/// More threads than this are never started.
const MAX_THREADS: usize = 1024;

/// Bit 0 of the gate: workers may enter.
const OPEN: u64 = 1;
/// One worker inside (bits 1 to 31 count them).
const ONE_INSIDE: u64 = 2;
/// The bits that count the workers inside.
const INSIDE_MASK: u64 = 0xffff_fffe;
/// One job further (bits 32 to 63).
const ONE_EPOCH: u64 = 1 << 32;

/// Keeps a hot word on a cache line (pair) of its own.
#[repr(align(128))]
struct Padded<T>(T);

struct Pool {
    /// Held by the caller whose job is running.
    busy: Padded<AtomicBool>,
    /// Epoch, workers inside, open bit.
    gate: Padded<AtomicU64>,
    /// The job of the current epoch. Read only by a worker that has entered.
    job: Padded<AtomicPtr<Job<'static>>>,
    /// Workers that sleep or are about to.
    sleepers: Padded<AtomicUsize>,
    /// Threads wanted, the caller included; 0 until first asked.
    wanted: AtomicUsize,
    /// Workers started; written only by the holder of `busy`.
    started: AtomicUsize,
    lock: Mutex<()>,
    wake: Condvar,
}

static POOL: Pool = Pool {
    busy: Padded(AtomicBool::new(false)),
    gate: Padded(AtomicU64::new(0)),
    job: Padded(AtomicPtr::new(std::ptr::null_mut())),
    sleepers: Padded(AtomicUsize::new(0)),
    wanted: AtomicUsize::new(0),
    started: AtomicUsize::new(0),
    lock: Mutex::new(()),
    wake: Condvar::new(),
};

type Payload = Box<dyn Any + Send>;

struct Job<'a> {
    run: &'a (dyn Fn(usize) + Sync),
    tasks: usize,
    next: AtomicUsize,
    panic: Mutex<Option<Payload>>,
}

impl Job<'_> {
    /// Runs tasks until none is left. A panic ends the job early and is kept for the caller.
    fn work(&self) {
        loop {
            let i = self.next.fetch_add(1, Ordering::Relaxed);
            if i >= self.tasks {
                return;
            }
            if let Err(p) = catch_unwind(AssertUnwindSafe(|| (self.run)(i))) {
                // Half the range is far from both the last task and overflow.
                self.next.store(usize::MAX / 2, Ordering::Relaxed);
                let mut slot = lock(&self.panic);
                if slot.is_none() {
                    *slot = Some(p);
                }
                return;
            }
        }
    }
}

fn lock<T>(m: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing here is left half-done by a panic, so a poisoned lock is as good as any.
    m.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Number of threads that kernels use, the calling thread included. Defaults to what the operating
/// system says is available.
pub fn threads() -> usize {
    match POOL.wanted.load(Ordering::Relaxed) {
        0 => {
            let n = available();
            POOL.wanted.store(n, Ordering::Relaxed);
            n
        }
        n => n,
    }
}

fn available() -> usize {
    std::thread::available_parallelism().map_or(1, |n| n.get()).min(MAX_THREADS)
}

/// Sets the number of threads that kernels use (at least 1). May be called at any time; results do
/// not depend on it.
///
/// ```
/// hadal_cpu::threads::set_threads(2);
/// assert_eq!(hadal_cpu::threads::threads(), 2);
/// ```
pub fn set_threads(n: usize) {
    POOL.wanted.store(n.clamp(1, MAX_THREADS), Ordering::Relaxed);
}

/// Calls `f(0)`, …, `f(tasks - 1)`, each once, on up to [`threads`] threads, the caller among them,
/// and returns when all have finished.
///
/// A call from inside a task, or while another thread's call is running, runs its tasks one after
/// the other on the calling thread. A panic in a task is passed on to the caller after all threads
/// have left; tasks that were not yet begun are then skipped.
///
/// ```
/// use std::sync::atomic::{AtomicUsize, Ordering};
/// let sum = AtomicUsize::new(0);
/// hadal_cpu::threads::parallel_for(10, &|i| {
///     sum.fetch_add(i, Ordering::Relaxed);
/// });
/// assert_eq!(sum.into_inner(), 45);
/// ```
pub fn parallel_for(tasks: usize, f: &(dyn Fn(usize) + Sync)) {
    let n = threads();
    let pool = &POOL;
    if tasks <= 1 || n <= 1 || pool.busy.0.swap(true, Ordering::Acquire) {
        for i in 0..tasks {
            f(i);
        }
        return;
    }
    start_workers(n - 1);
    let job = Job { run: f, tasks, next: AtomicUsize::new(0), panic: Mutex::new(None) };
    pool.job.0.store((&raw const job).cast_mut().cast(), Ordering::Relaxed);
    // Only the holder of `busy` opens the gate and nobody is inside, so a plain store is enough;
    // sequentially consistent because a worker about to sleep looks the other way round.
    let epoch = (pool.gate.0.load(Ordering::Relaxed) & !(OPEN | INSIDE_MASK)).wrapping_add(ONE_EPOCH);
    pool.gate.0.store(epoch | OPEN, Ordering::SeqCst);
    let asleep = pool.sleepers.0.load(Ordering::SeqCst);
    if asleep > 0 {
        drop(lock(&pool.lock));
        // A worker beyond the wanted number would swallow a single notification.
        if tasks - 1 < asleep && pool.started.load(Ordering::Relaxed) < n {
            (1..tasks).for_each(|_| pool.wake.notify_one());
        } else {
            pool.wake.notify_all();
        }
    }
    job.work();
    pool.gate.0.fetch_and(!OPEN, Ordering::AcqRel);
    let mut spins = 0u32;
    while pool.gate.0.load(Ordering::Acquire) & INSIDE_MASK != 0 {
        spins += 1;
        // A worker may have lost its core to another program.
        if spins > 2000 { std::thread::yield_now() } else { std::hint::spin_loop() }
    }
    pool.busy.0.store(false, Ordering::Release);
    let panic = lock(&job.panic).take();
    if let Some(p) = panic {
        resume_unwind(p);
    }
}

/// Starts workers up to `n`. The caller holds `busy`. Fewer threads than asked for only cost time,
/// so a refusal of the operating system is no error.
fn start_workers(n: usize) {
    let mut have = POOL.started.load(Ordering::Relaxed);
    while have < n {
        let id = have;
        let spawned = std::thread::Builder::new().name(format!("hadal-{id}")).spawn(move || worker(id));
        if spawned.is_err() {
            return;
        }
        have += 1;
        POOL.started.store(have, Ordering::Relaxed);
    }
}

/// Tries to enter the open job, if there is one newer than `seen`.
fn enter(id: usize, seen: &mut u64) -> bool {
    let gate = &POOL.gate.0;
    let mut g = gate.load(Ordering::SeqCst);
    loop {
        if g & OPEN == 0 || g >> 32 == *seen || id + 1 >= POOL.wanted.load(Ordering::Relaxed) {
            return false;
        }
        match gate.compare_exchange_weak(g, g + ONE_INSIDE, Ordering::AcqRel, Ordering::SeqCst) {
            Ok(_) => {
                *seen = g >> 32;
                return true;
            }
            Err(now) => g = now,
        }
    }
}

/// Looks for an open job for [`SPIN`].
fn spin_and_enter(id: usize, cores: usize, seen: &mut u64) -> bool {
    let wanted = POOL.wanted.load(Ordering::Relaxed);
    // Spinning helps only where every thread has a core.
    if wanted > cores || id + 1 >= wanted {
        return false;
    }
    let since = Instant::now();
    while since.elapsed() < SPIN {
        for _ in 0..64 {
            if enter(id, seen) {
                return true;
            }
            std::hint::spin_loop();
        }
    }
    false
}

fn worker(id: usize) {
    let cores = available();
    let mut seen = u64::MAX;
    loop {
        if !spin_and_enter(id, cores, &mut seen) {
            let mut guard = lock(&POOL.lock);
            POOL.sleepers.0.fetch_add(1, Ordering::SeqCst);
            // The lock is held from the count to the wait, and a caller that has seen the count
            // takes the lock between opening the gate and waking: no wake-up is lost.
            while !enter(id, &mut seen) {
                guard = POOL.wake.wait(guard).unwrap_or_else(PoisonError::into_inner);
            }
            POOL.sleepers.0.fetch_sub(1, Ordering::SeqCst);
        }
        run_inside();
    }
}

/// Works on the current job; the worker has entered.
fn run_inside() {
    // SAFETY: this worker is counted in the gate, so the caller that stored the pointer is still
    // inside `parallel_for` and keeps the job alive until the count is given back below.
    let job = unsafe { &*POOL.job.0.load(Ordering::Relaxed) };
    job.work();
    POOL.gate.0.fetch_sub(ONE_INSIDE, Ordering::Release);
}

/// Calls `f(chunk_number, chunk)` for consecutive chunks of `data` of `len` elements (the last may
/// be shorter), in parallel.
///
/// ```
/// let mut v = vec![0usize; 10];
/// hadal_cpu::threads::parallel_chunks(&mut v, 4, &|i, c| c.fill(i));
/// assert_eq!(v, [0, 0, 0, 0, 1, 1, 1, 1, 2, 2]);
/// ```
pub fn parallel_chunks<T: Send>(data: &mut [T], len: usize, f: &(dyn Fn(usize, &mut [T]) + Sync)) {
    let len = len.max(1);
    let total = data.len();
    let ptr = SendPtr::new(data.as_mut_ptr());
    parallel_for(total.div_ceil(len), &|i| {
        let start = i * len;
        // SAFETY: chunk `i` is `[i*len, min((i+1)*len, total))`: inside `data`, which is borrowed
        // mutably for the whole call, and disjoint from every other chunk; each `i` runs once.
        let chunk = unsafe { ptr.slice(start, len.min(total - start)) };
        f(i, chunk);
    });
}

/// A pointer that tasks may share so that each writes its own part of one output.
///
/// The compiler cannot see that the parts are disjoint, so whoever calls [`SendPtr::slice`] vouches
/// for it. The usual reason: the part is computed from the task number, every task number runs once,
/// and the borrow of the whole output outlives `parallel_for`.
pub struct SendPtr<T>(*mut T);

impl<T> Clone for SendPtr<T> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<T> Copy for SendPtr<T> {}

// SAFETY: the pointer itself is only a number; every use of it is an unsafe call whose contract
// (disjoint parts, live allocation) makes the access sound from any thread. `T: Send` because the
// elements are written by, and so move to, another thread.
unsafe impl<T: Send> Send for SendPtr<T> {}
// SAFETY: as above; sharing the wrapper gives no access without an unsafe call.
unsafe impl<T: Send> Sync for SendPtr<T> {}

impl<T> SendPtr<T> {
    /// Wraps a pointer.
    pub fn new(ptr: *mut T) -> Self {
        SendPtr(ptr)
    }
    /// The pointer.
    pub fn get(self) -> *mut T {
        self.0
    }
    /// The `len` elements from `start`.
    ///
    /// # Safety
    /// The range lies inside the allocation the pointer was made from, which stays borrowed while
    /// the slice lives, and no other task reads or writes any of it at the same time.
    #[allow(clippy::mut_from_ref)]
    pub unsafe fn slice<'a>(&self, start: usize, len: usize) -> &'a mut [T] {
        // SAFETY: the caller's promise.
        unsafe { std::slice::from_raw_parts_mut(self.0.add(start), len) }
    }
}
