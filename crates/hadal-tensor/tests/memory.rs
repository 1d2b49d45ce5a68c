//! Who holds memory, and for how long. The counters belong to the process, so this is a test binary of
//! its own, and its tests take turns.

use hadal_tensor::*;
use std::sync::{Mutex, MutexGuard};

static ALONE: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    ALONE.lock().unwrap_or_else(|e| e.into_inner())
}

const MIB: usize = 1 << 20;

fn randn(shape: &[usize], seed: u64) -> Tensor {
    Tensor::randn(shape, DType::F32, Key::new(seed)).materialize().expect("evaluates")
}

/// Bytes live above a base, and the most there were while `f` ran.
fn peak_of<R>(f: impl FnOnce() -> R) -> (usize, R) {
    reset_peak();
    let base = memory_stats().live;
    let r = f();
    (memory_stats().peak - base, r)
}

#[test]
fn everything_dropped_is_everything_given_back() {
    let _alone = alone();
    let live = memory_stats().live;
    {
        let x = randn(&[64, 3, 16, 16], 1).requires_grad();
        let w = randn(&[8, 3, 3, 3], 2).requires_grad();
        let y = x.conv2d(&w, None, &ConvOptions::default()).relu().max_pool2d(2).flatten(1);
        let loss = y.log_softmax(1).mean(..);
        let g = grad(&loss, &[&x, &w]).unwrap();
        let gg = grad(&g[1].square().sum(..), &[&x]).unwrap();
        eval(&[&loss, &g[0], &g[1], &gg[0]]).unwrap();
        let (sorted, _) = y.sort(1, true);
        let _kept = (sorted.sum(0).materialize().unwrap(), y.unique(), x.nonzero());
        assert!(memory_stats().live > live);
        // An evaluation that fails gives back what it had.
        assert!((y + 1.0).sum(0).gather(0, &Tensor::from_slice(&[1i64 << 40])).eval().is_err());
    }
    assert_eq!(memory_stats().live, live);
    trim_memory();
    assert_eq!(memory_stats().cached, 0);
}

/// A two-layer network in plain tensors: forward, backward, update.
struct Net {
    w1: Tensor,
    w2: Tensor,
}

const BATCH: usize = 512;
const IN: usize = 256;
const HIDDEN: usize = 1024;
const OUT: usize = 16;

impl Net {
    fn new() -> Net {
        let scaled = |shape: &[usize], seed| (randn(shape, seed) * 0.05).requires_grad();
        Net { w1: scaled(&[IN, HIDDEN], 1), w2: scaled(&[HIDDEN, OUT], 2) }
    }
    fn step(&mut self, x: &Tensor, y: &Tensor) -> f32 {
        let loss = (x.matmul(&self.w1).relu().matmul(&self.w2) - y).square().mean(..);
        let g = grad(&loss, &[&self.w1, &self.w2]).unwrap();
        let (w1, w2) = no_grad(|| (&self.w1 - &g[0] * 0.1, &self.w2 - &g[1] * 0.1));
        drop(g);
        eval_and_release(&[&loss, &w1, &w2], &[&loss]).unwrap();
        (self.w1, self.w2) = (w1.requires_grad(), w2.requires_grad());
        loss.item().unwrap()
    }
}

#[test]
fn a_steady_step_allocates_nothing_and_peaks_where_one_would_count() {
    let _alone = alone();
    trim_memory();
    let (x, y) = (randn(&[BATCH, IN], 3), randn(&[BATCH, OUT], 4));
    let mut net = Net::new();
    let first = net.step(&x, &y);
    net.step(&x, &y);
    net.step(&x, &y);
    let fresh = memory_stats().fresh;
    let (peak, mut last) = peak_of(|| net.step(&x, &y));
    for _ in 0..30 {
        last = net.step(&x, &y);
    }
    assert_eq!(memory_stats().fresh, fresh, "a steady step takes memory that is new");
    assert!(last < first, "it does not learn: {first} to {last}");
    // By hand: x·w1, which the backward pass needs (as ReLU's mask; its ReLU is needed for w2's
    // gradient, and is the same bytes), the ReLU, the gradient of the hidden layer, gradients of both
    // weights, and the small outputs.
    let hand = 4 * (3 * BATCH * HIDDEN + IN * HIDDEN + HIDDEN * OUT + 3 * BATCH * OUT);
    assert!(peak * 2 <= hand * 3, "peak {} MiB, by hand {} MiB", peak / MIB, hand / MIB);
}

#[test]
fn an_optimizer_step_overwrites_what_nobody_else_holds() {
    let _alone = alone();
    const N: usize = 1 << 20;
    let (mut p, mut m, mut v) =
        (randn(&[N], 1), randn(&[N], 2), randn(&[N], 3).square().materialize().unwrap());
    let before = p.to_vec::<f32>().unwrap();
    let g = randn(&[N], 4);
    for round in 0..3 {
        let (peak, ()) = peak_of(|| {
            let m2 = &m * 0.9 + &g * 0.1;
            let v2 = &v * 0.999 + g.square() * 0.001;
            let p2 = &p * 0.9999 - &m2 / (v2.sqrt() + 1e-8) * 0.001;
            (p, m, v) = (p2, m2, v2); // the old ones have no other holder now
            eval(&[&p, &m, &v]).unwrap();
        });
        // Scratch of a block for each register is all that may come on top.
        assert!(peak < MIB, "round {round}: {} MiB for an update of 3 × 4 MiB in place", peak / MIB);
    }
    assert!(p.to_vec::<f32>().unwrap() != before);

    // With a second holder of p its values stay what they were, at the price of one copy.
    let held = p.clone();
    let values = held.to_vec::<f32>().unwrap();
    let (peak, ()) = peak_of(|| {
        p = &p * 0.5;
        p.eval().unwrap();
    });
    assert!((4 * MIB..6 * MIB).contains(&peak), "{peak}");
    assert!(held.to_vec::<f32>().unwrap() == values, "a held tensor was overwritten");
}

#[test]
fn intermediate_results_go_at_their_last_use() {
    let _alone = alone();
    const N: usize = 1 << 20; // 4 MiB
    let x = randn(&[1024, 1024], 1);
    // A chain of kernels that cannot fuse: two buffers are enough, whatever its length.
    let (peak, _y) = peak_of(|| {
        let mut y = x.clone();
        for _ in 0..20 {
            y = y.cumsum(1) * 1e-3;
        }
        y.eval().unwrap();
        y
    });
    assert!(peak <= 3 * 4 * N, "{} MiB", peak / MIB);
    // Views cost nothing.
    let (peak, views) = peak_of(|| {
        let v = x
            .t()
            .slice(&s![.., Slice::new(None, None, -1)])
            .reshape([1024, 32, 32])
            .unsqueeze(0)
            .expand([5, 1024, 32, 32]);
        v.eval().unwrap();
        v
    });
    assert!(peak < MIB, "{peak}");
    drop(views);
    // A checkpointed region keeps nothing for its backward pass.
    let x = x.requires_grad();
    let deep = |x: &Tensor| (0..8).fold(x.clone(), |y, _| y.cumsum(1).sin());
    let kept = peak_of(|| grad(&deep(&x).sum(..), &[&x]).unwrap()[0].eval().unwrap()).0;
    let again = peak_of(|| grad(&checkpoint(|| deep(&x)).sum(..), &[&x]).unwrap()[0].eval().unwrap()).0;
    assert!(again <= kept, "checkpointed {} MiB, kept {} MiB", again / MIB, kept / MIB);
    let halves =
        |x: &Tensor| (0..4).fold(x.clone(), |y, _| checkpoint(|| (0..4).fold(y, |y, _| y.cumsum(1).sin())));
    let plain = |x: &Tensor| (0..16).fold(x.clone(), |y, _| y.cumsum(1).sin());
    let kept = peak_of(|| grad(&plain(&x).sum(..), &[&x]).unwrap()[0].eval().unwrap()).0;
    let again = peak_of(|| grad(&halves(&x).sum(..), &[&x]).unwrap()[0].eval().unwrap()).0;
    assert!(again * 3 < kept * 2, "in regions {} MiB, without {} MiB", again / MIB, kept / MIB);
}

/// Bytes this process has resident, where the system tells.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = status.split_whitespace().nth(1).and_then(|p| p.parse::<usize>().ok());
    pages.unwrap_or(0) * 4096
}

#[test]
fn a_hundred_thousand_updates_stay_flat() {
    let _alone = alone();
    let g = randn(&[64], 1);
    let fixed = Tensor::from_slice(&[0.5f32; 64]);
    let state = State::new(Tensor::zeros([64], DType::F32));
    let param = Param::new(Tensor::zeros([64], DType::F32));
    let mut plain = Tensor::zeros([64], DType::F32).materialize().unwrap();
    let mut leaf = Tensor::zeros([64], DType::F32).requires_grad();
    let mut round = |n: usize| {
        for _ in 0..n {
            // Without gradients.
            plain = &plain * 0.99 + &g;
            plain.eval().unwrap();
            // With: a new leaf each time.
            let loss = (&leaf - &fixed).square().sum(..);
            let d = grad(&loss, &[&leaf]).unwrap().remove(0);
            leaf = no_grad(|| &leaf - d * 0.01).requires_grad();
            // Parameter and state.
            let now = param.get();
            param.set(no_grad(|| now * 0.9 + &g));
            state.update(state.get() * 0.9 + &plain);
            eval_and_release(&[&loss, &param.get()], &[&loss]).unwrap();
        }
    };
    round(2000);
    let (live, fresh, bytes) = (memory_stats().live, memory_stats().fresh, resident());
    round(100_000);
    assert_eq!(memory_stats().live, live);
    assert_eq!(memory_stats().fresh, fresh);
    let grown = resident().saturating_sub(bytes);
    assert!(grown < 4 * MIB, "the process grew by {grown} bytes in 100000 rounds");
    assert_eq!(plan_summary(&[&plain, &leaf, &state.get(), &param.get()]).unwrap().nodes, 0);
}

#[test]
fn held_results_are_never_overwritten() {
    let _alone = alone();
    // Every way in which a held tensor could be mistaken for one that dies.
    let x = randn(&[256, 256], 1);
    let value = x.to_vec::<f32>().unwrap();
    let same = |t: &Tensor, v: &[f32]| assert!(t.to_vec::<f32>().unwrap() == v);
    let views = [x.t(), x.flip(0), x.reshape([65536]), x.narrow(0, 3, 7), x.detach(), x.requires_grad()];
    let of_views: Vec<_> = views.iter().map(|v| v.to_vec::<f32>().unwrap()).collect();
    // Views of x share its buffer: an operation on one must not overwrite it.
    for (v, want) in views.iter().zip(&of_views) {
        (v * 2.0).exp().sum(..).eval().unwrap();
        (v + 1.0).eval().unwrap();
        same(v, want);
    }
    same(&x, &value);
    // A view outlives its source.
    let y = (&x * 3.0).materialize().unwrap();
    let tail = y.narrow(0, 128, 128);
    tail.eval().unwrap();
    let want = tail.to_vec::<f32>().unwrap();
    let z = y + 1.0;
    z.eval().unwrap();
    same(&tail, &want);
    // Held in the middle of a chain that is evaluated from its end, more than once.
    let a = &x * 2.0;
    let b = &a + 1.0;
    let c = b.exp() * &b;
    c.eval().unwrap();
    let (va, vb, vc) = (a.to_vec::<f32>().unwrap(), b.to_vec::<f32>().unwrap(), c.to_vec::<f32>().unwrap());
    let d = (&a - &b) * &c;
    d.eval().unwrap();
    (d / &a).eval().unwrap();
    same(&a, &va);
    same(&b, &vb);
    same(&c, &vc);
    // Only a lazy user of it is left: evaluating another user must leave it its value.
    let leaf = randn(&[1000], 5);
    let (first, second) = (&leaf * 2.0, &leaf * 3.0);
    let want: Vec<f32> = leaf.to_vec::<f32>().unwrap().iter().map(|v| v * 3.0).collect();
    drop(leaf);
    first.eval().unwrap();
    same(&second, &want);
    // A state's pending update reads it.
    let leaf = randn(&[1000], 6);
    let want = leaf.to_vec::<f32>().unwrap();
    let state = State::new(Tensor::zeros([1000], DType::F32));
    state.update(&leaf + 0.0);
    let user = leaf * 2.0;
    user.eval().unwrap();
    same(&state.get(), &want);
}
