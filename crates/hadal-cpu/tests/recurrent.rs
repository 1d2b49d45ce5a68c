//! Recurrent sequences, forward and backward, against naive loops in f64: all cells, both directions,
//! projections, lengths, any sizes, strided inputs, 1 to 4 threads (the same bits), every instruction set.

mod support;

use hadal_core::ops::{Op, Recurrence, RecurrentCell};
use hadal_core::{DType, Shape};
use hadal_cpu::simd::{self, Level};
use support::{Rng, Tensor, run};

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

/// Row-major values with the sizes of their dimensions.
struct Values<'a>(&'a [f64], usize);
impl Values<'_> {
    fn at(&self, row: usize, col: usize) -> f64 {
        self.0[row * self.1 + col]
    }
}

fn dot(n: usize, f: impl Fn(usize) -> f64) -> f64 {
    (0..n).map(f).sum()
}

/// Everything that is kept, one sequence and step after the other.
fn forward(r: &Recurrence, x: &[Vec<f64>], lengths: Option<&[i64]>) -> Vec<f64> {
    let (n, h, p, g) = (r.batch, r.hidden, r.state, r.cell.gates());
    let more = r.inputs();
    let (gates, w) = (Values(&x[0], g * h), Values(&x[1], p));
    let bias = |q: usize, u: usize| more.bias.map_or(0.0, |i| x[i][q * h + u]);
    let mut out = vec![0.0; r.len()];
    let first = if r.reverse { r.steps } else { 0 };
    let (states, cells) = (r.states().start, r.cells().start);
    for i in 0..n * p {
        out[states + first * n * p + i] = more.h0.map_or(0.0, |k| x[k][i]);
    }
    let mut c_now: Vec<f64> = (0..r.cell_len()).map(|i| more.c0.map_or(0.0, |k| x[k][i])).collect();
    if r.keep {
        out[cells + first * r.cell_len()..][..r.cell_len()].copy_from_slice(&c_now);
    }
    for k in 0..r.steps {
        let t = r.time(k);
        let (before, after) = if r.reverse { (t + 1, t) } else { (t, t + 1) };
        for row in 0..n {
            let h0: Vec<f64> = (0..p).map(|i| out[states + (before * n + row) * p + i]).collect();
            let ended = lengths.is_some_and(|l| t as i64 >= l[row]);
            let mut hidden = vec![0.0; h];
            for u in 0..h {
                let product = |q: usize| dot(p, |i| h0[i] * w.at(q * h + u, i));
                let from = |q: usize| gates.at(t * n + row, q * h + u);
                let sum = |q: usize| from(q) + bias(q, u) + product(q);
                let (new, kept) = match r.cell {
                    RecurrentCell::Tanh => (sum(0).tanh(), vec![]),
                    RecurrentCell::Relu => (sum(0).max(0.0), vec![]),
                    RecurrentCell::Lstm => {
                        let (i, f, c, o) = (sigmoid(sum(0)), sigmoid(sum(1)), sum(2).tanh(), sigmoid(sum(3)));
                        let cell = &mut c_now[row * h + u];
                        if !ended {
                            *cell = f * *cell + i * c;
                        }
                        (o * cell.tanh(), vec![i, f, c, o])
                    }
                    RecurrentCell::Gru => {
                        let (reset, z) = (sigmoid(sum(0)), sigmoid(sum(1)));
                        let q = product(2) + bias(3, u);
                        let m = (from(2) + bias(2, u) + reset * q).tanh();
                        ((1.0 - z) * m + z * h0[u], vec![reset, z, m, q])
                    }
                };
                hidden[u] = new;
                for (q, v) in kept.into_iter().enumerate() {
                    if r.keep && !ended {
                        out[r.gates().start + ((t * n + row) * r.cell.kept() + q) * h + u] = v;
                    }
                }
                if r.keep && r.projected && !ended {
                    out[r.unprojected().start + (t * n + row) * h + u] = new;
                }
            }
            for i in 0..p {
                let new = match more.projection {
                    Some(k) => dot(h, |u| hidden[u] * x[k][i * h + u]),
                    None => hidden[i],
                };
                out[states + (after * n + row) * p + i] = if ended { h0[i] } else { new };
            }
        }
        if r.keep && r.cell.has_cell() {
            out[cells + after * r.cell_len()..][..r.cell_len()].copy_from_slice(&c_now);
        }
    }
    if !r.keep {
        out[r.last_cell()].copy_from_slice(&c_now);
    }
    out
}

/// The gradient from what was kept.
fn backward(r: &Recurrence, x: &[Vec<f64>], lengths: Option<&[i64]>) -> Vec<f64> {
    let (n, h, p, g, s) = (r.batch, r.hidden, r.state, r.cell.gates(), r.cell.sums());
    let (kept, dy, w) = (&x[0], &x[1], Values(&x[2], p));
    let mut out = vec![0.0; r.grad_len()];
    let mut dh_next = vec![0.0; n * p];
    let mut dc_next = dy[r.steps * n * p..].to_vec();
    for k in (0..r.steps).rev() {
        let t = r.time(k);
        for row in 0..n {
            let total: Vec<f64> = (0..p).map(|i| dh_next[row * p + i] + dy[(t * n + row) * p + i]).collect();
            if lengths.is_some_and(|l| t as i64 >= l[row]) {
                dh_next[row * p..][..p].copy_from_slice(&total);
                continue;
            }
            if r.projected {
                out[r.grad_projected().start + (t * n + row) * p..][..p].copy_from_slice(&total);
            }
            let mut back = vec![0.0; p];
            for u in 0..h {
                let dh = match r.grad_inputs().projection {
                    Some(k) => dot(p, |i| total[i] * x[k][i * h + u]),
                    None => total[u],
                };
                let gate = |q: usize| kept[r.gates().start + ((t * n + row) * r.cell.kept() + q) * h + u];
                let of = |start: usize, width: usize| kept[start + (t * n + row) * width + u];
                let d = match r.cell {
                    RecurrentCell::Tanh => vec![dh * (1.0 - of(r.outputs().start, p).powi(2))],
                    RecurrentCell::Relu => vec![if of(r.outputs().start, p) > 0.0 { dh } else { 0.0 }],
                    RecurrentCell::Lstm => {
                        let (i, f, c, o) = (gate(0), gate(1), gate(2), gate(3));
                        let tanh = of(r.next_cells().start, h).tanh();
                        let dc = dc_next[row * h + u] + dh * o * (1.0 - tanh * tanh);
                        dc_next[row * h + u] = dc * f;
                        vec![
                            dc * c * i * (1.0 - i),
                            dc * of(r.previous_cells().start, h) * f * (1.0 - f),
                            dc * i * (1.0 - c * c),
                            dh * tanh * o * (1.0 - o),
                        ]
                    }
                    RecurrentCell::Gru => {
                        let (reset, z, m, q) = (gate(0), gate(1), gate(2), gate(3));
                        let dm = dh * (1.0 - z) * (1.0 - m * m);
                        back[u] += dh * z;
                        let dz = dh * (of(r.previous().start, p) - m) * z * (1.0 - z);
                        vec![dm * q * reset * (1.0 - reset), dz, dm, dm * reset]
                    }
                };
                for (q, &d) in d.iter().enumerate() {
                    out[((t * n + row) * s + q) * h + u] = d;
                }
                for q in 0..g {
                    let sum = if q == 2 && r.cell == RecurrentCell::Gru { 3 } else { q };
                    (0..p).for_each(|i| back[i] += d[sum] * w.at(q * h + u, i));
                }
            }
            dh_next[row * p..][..p].copy_from_slice(&back);
        }
    }
    if r.initial {
        out[r.grad_state()].copy_from_slice(&dh_next);
        if r.cell.has_cell() {
            out[r.grad_cell()].copy_from_slice(&dc_next);
        }
    }
    out
}

fn small(rng: &mut Rng) -> f64 {
    (rng.below(2001) as f64 - 1000.0) / 2000.0
}

fn close(got: &[f64], want: &[f64], tol: f64, what: &str) {
    assert_eq!(got.len(), want.len(), "{what}");
    for (i, (a, b)) in got.iter().zip(want).enumerate() {
        assert!((a - b).abs() <= tol * (1.0 + b.abs()), "{what}: element {i}: {a} instead of {b}");
    }
}

/// All three operations of one recurrence.
fn compare(rng: &mut Rng, r: &Recurrence, dtype: DType) {
    let what = format!("{r:?} {dtype}");
    let tol = if dtype == DType::F64 { 1e-12 } else { 2e-5 };
    let (t, n, h, p) = (r.steps, r.batch, r.hidden, r.state);
    let (g, s) = (r.cell.gates(), r.cell.sums());
    let mut shapes = vec![vec![t, n, g * h], vec![g * h, p]];
    let all = [(r.bias, vec![s * h]), (r.initial, vec![n, p])];
    shapes.extend(all.into_iter().filter(|(there, _)| *there).map(|(_, s)| s));
    shapes.extend((r.initial && r.cell.has_cell()).then(|| vec![n, h]));
    shapes.extend(r.projected.then(|| vec![p, h]));
    let mut inputs: Vec<Tensor> =
        shapes.iter().map(|s| Tensor::strided(rng, &Shape::new(s), dtype, small)).collect();
    let lengths: Option<Vec<i64>> = r.lengths.then(|| (0..n).map(|_| rng.below(t + 1) as i64).collect());
    if let Some(l) = &lengths {
        let l: Vec<f64> = l.iter().map(|&l| l as f64).collect();
        inputs.push(Tensor::new(&[n], DType::I64, &l));
    }
    let values: Vec<Vec<f64>> = inputs.iter().map(Tensor::values).collect();
    let refs: Vec<&Tensor> = inputs.iter().collect();
    let got = run(&Op::Recurrent(r.clone().into()), &refs, dtype, &Shape::new(&[r.len()])).unwrap();
    close(&got, &forward(r, &values, lengths.as_deref()), tol, &format!("forward {what}"));
    if !r.keep {
        return;
    }
    let kept = Tensor::new(&[r.len()], dtype, &got);
    let seen = run(&Op::RecurrentOutput(r.clone().into()), &[&kept], dtype, &Shape::new(&[r.visible_len()]))
        .unwrap();
    assert_eq!(seen, [&got[r.outputs()], &got[r.last_cell()]].concat(), "output {what}");

    let cotangent = Tensor::strided(rng, &Shape::new(&[r.visible_len()]), dtype, small);
    let mut refs = vec![&kept, &cotangent, &inputs[1]];
    refs.extend(r.inputs().projection.map(|i| &inputs[i]));
    refs.extend(r.inputs().lengths.map(|i| &inputs[i]));
    let values: Vec<Vec<f64>> = refs.iter().map(|t| t.values()).collect();
    let got = run(&Op::RecurrentGrad(r.clone().into()), &refs, dtype, &Shape::new(&[r.grad_len()])).unwrap();
    close(&got, &backward(r, &values, lengths.as_deref()), tol, &format!("backward {what}"));
}

fn recurrence(rng: &mut Rng, sizes: [usize; 3], cell: RecurrentCell) -> Recurrence {
    let [steps, batch, hidden] = sizes;
    let projected = cell == RecurrentCell::Lstm && rng.below(2) == 0;
    let mut flag = || rng.below(2) == 0;
    let (reverse, bias, initial, lengths) = (flag(), flag(), flag(), flag());
    let keep = rng.below(4) > 0;
    let state = if projected { 1 + rng.below(hidden) } else { hidden };
    Recurrence { cell, steps, batch, hidden, state, projected, reverse, bias, initial, lengths, keep }
}

const CELLS: [RecurrentCell; 4] =
    [RecurrentCell::Tanh, RecurrentCell::Relu, RecurrentCell::Lstm, RecurrentCell::Gru];

/// One test, since the instruction set and the threads are the process's.
#[test]
fn sequences_equal_naive_loops() {
    let mut rng = Rng(77);
    for level in [Level::Portable, Level::Avx2, Level::Avx512] {
        if simd::limit_level(level) != level {
            continue;
        }
        for case in 0..160 {
            let mut size = |most: usize| 1 + rng.below(most);
            // Batches that are shared by rows and by units, more units than a block, and than a chunk.
            let sizes = match case % 4 {
                0 => [size(6), size(4), size(5)],
                1 => [size(3), size(70), size(9)],
                2 => [size(3), size(5), size(80)],
                _ => [size(4), size(20), size(20)],
            };
            let r = recurrence(&mut rng, sizes, CELLS[case / 4 % 4]);
            let dtype = if rng.below(3) == 0 { DType::F64 } else { DType::F32 };
            compare(&mut rng, &r, dtype);
        }
    }
    simd::limit_level(Level::Avx512);
    // Sums of several runs.
    let r = recurrence(&mut rng, [3, 5, 300], RecurrentCell::Lstm);
    compare(&mut rng, &r, DType::F32);
    // No rows at all.
    let r = recurrence(&mut rng, [3, 0, 4], RecurrentCell::Gru);
    compare(&mut rng, &r, DType::F32);
}

#[test]
fn a_length_out_of_range_is_an_error() {
    let r = Recurrence {
        cell: RecurrentCell::Tanh,
        steps: 2,
        batch: 2,
        hidden: 1,
        state: 1,
        projected: false,
        reverse: false,
        bias: false,
        initial: false,
        lengths: true,
        keep: true,
    };
    let (x, w) = (Tensor::new(&[2, 2, 1], DType::F32, &[0.0; 4]), Tensor::new(&[1, 1], DType::F32, &[0.0]));
    let l = Tensor::new(&[2], DType::I64, &[2.0, 3.0]);
    let e = run(&Op::Recurrent(r.clone().into()), &[&x, &w, &l], DType::F32, &Shape::new(&[r.len()]))
        .unwrap_err();
    assert_eq!(
        e.to_string(),
        "rnn: sequence 1 has length 3, the longest possible is 2\n  \
         help: lengths are from 0 to the number of time steps, one for each sequence"
    );
}
