//! The part of the interpreter that looks at more than one place: reductions, joins, products, windows.

use super::naive::{ANY, ULPS, corners, float_of, result_type};
use super::program::Reduction;
use super::value::{Val, broadcast, each, eps, flat, wide};
use hadal_tensor::DType;

/// For each element of the reduced shape: the positions in `x` that it is made of.
pub fn groups(x: &Val, axes: &[usize], keep: bool) -> (Vec<usize>, Vec<Vec<usize>>) {
    let thin: Vec<usize> =
        x.dims.iter().enumerate().map(|(d, &n)| if axes.contains(&d) { 1 } else { n }).collect();
    let mut members = vec![Vec::new(); thin.iter().product()];
    let mut k = 0;
    each(&x.dims, |i| {
        let place: Vec<usize> =
            i.iter().enumerate().map(|(d, &i)| if axes.contains(&d) { 0 } else { i }).collect();
        members[flat(&thin, &place)].push(k);
        k += 1;
    });
    let dims = match keep {
        true => thin,
        false => x.dims.iter().enumerate().filter(|(d, _)| !axes.contains(d)).map(|(_, &n)| n).collect(),
    };
    (dims, members)
}

pub fn reduce(r: Reduction, x: &Val, axes: &[usize], keep: bool) -> Val {
    let d = match r {
        Reduction::Any | Reduction::All => DType::Bool,
        Reduction::Sum | Reduction::Prod if !x.dtype.is_float() => DType::I64,
        Reduction::LogSumExp => float_of(x.dtype),
        _ => x.dtype,
    };
    let x = &x.cast(d);
    let (dims, members) = groups(x, axes, keep);
    let unit = eps(wide(d));
    let (lo, hi) = members
        .iter()
        .map(|m| {
            let n = m.len() as f64;
            let sum = |v: &[f64]| m.iter().map(|&k| v[k]).sum::<f64>();
            let most = m.iter().map(|&k| x.lo[k].abs().max(x.hi[k].abs())).sum::<f64>();
            let slack = if d.is_float() { (n + 4.0) * unit * most } else { 0.0 };
            let total = (sum(&x.lo) - slack, sum(&x.hi) + slack);
            match r {
                Reduction::Sum => total,
                Reduction::Mean => (total.0 / n, total.1 / n),
                Reduction::Prod => {
                    // Parts may overflow where the whole does not.
                    let largest =
                        m.iter().map(|&k| x.lo[k].abs().max(x.hi[k].abs()).max(1.0)).product::<f64>();
                    if largest.is_nan() || largest > 1e30 {
                        return ANY;
                    }
                    let p = m.iter().fold((1.0, 1.0), |p, &k| corners(p, (x.lo[k], x.hi[k]), |a, b| a * b));
                    let slack = if d.is_float() { (n + 4.0) * unit * p.0.abs().max(p.1.abs()) } else { 0.0 };
                    (p.0 - slack, p.1 + slack)
                }
                Reduction::Max | Reduction::Any => (fold(m, &x.lo, f64::max), fold(m, &x.hi, f64::max)),
                Reduction::Min | Reduction::All => (fold(m, &x.lo, f64::min), fold(m, &x.hi, f64::min)),
                Reduction::LogSumExp => {
                    let top = fold(m, &x.hi, f64::max);
                    let of = |v: &[f64]| m.iter().map(|&k| (v[k] - top).exp()).sum::<f64>().ln() + top;
                    let slack = unit * (n + 8.0 + 4.0 * most / n + top.abs());
                    (of(&x.lo) - slack, of(&x.hi) + slack)
                }
                Reduction::Var(correction) => {
                    let (ml, mh) = (total.0 / n - slack, total.1 / n + slack);
                    let part = |k: usize| {
                        let (a, b) = (x.lo[k] - mh, x.hi[k] - ml);
                        let least = if a <= 0.0 && b >= 0.0 { 0.0 } else { a.abs().min(b.abs()) };
                        (least * least, a.abs().max(b.abs()).powi(2))
                    };
                    let s = m.iter().map(|&k| part(k)).fold((0.0, 0.0), |s, p| (s.0 + p.0, s.1 + p.1));
                    let left = n - correction as f64;
                    if left <= 0.0 {
                        ANY
                    } else {
                        (s.0 / left * (1.0 - n * unit), s.1 / left * (1.0 + n * unit))
                    }
                }
            }
        })
        .unzip();
    let ulps = if matches!(r, Reduction::Max | Reduction::Min) { 0.0 } else { ULPS };
    let v = Val { dims, dtype: d, lo, hi };
    if ulps == 0.0 { v } else { v.rounded(ulps, 0.0) }
}

pub fn fold(m: &[usize], v: &[f64], f: fn(f64, f64) -> f64) -> f64 {
    m.iter().map(|&k| v[k]).reduce(f).unwrap_or(f64::NAN)
}

pub fn softmax(x: &Val, dim: usize, log: bool) -> Val {
    let d = float_of(x.dtype);
    let x = &x.cast(d);
    let mut y = x.clone();
    let (_, members) = groups(x, &[dim], true);
    let unit = eps(wide(d));
    let mut slack = 0f64;
    for m in &members {
        let top = fold(m, &x.hi, f64::max);
        let sums = [&x.lo, &x.hi].map(|v| m.iter().map(|&k| (v[k] - top).exp()).sum::<f64>());
        let spread = m.iter().map(|&k| top - x.lo[k]).fold(0.0, f64::max);
        slack = slack.max(unit * (m.len() as f64 + 8.0 + 4.0 * spread));
        for &k in m {
            let (l, h) = ((x.lo[k] - top).exp(), (x.hi[k] - top).exp());
            let (below, above) = ((sums[1] - h).max(0.0) + l, (sums[0] - l).max(0.0) + h);
            (y.lo[k], y.hi[k]) = match log {
                true => (x.lo[k] - top - below.ln(), x.hi[k] - top - above.ln()),
                false => (l / below, h / above),
            };
        }
    }
    y.rounded(ULPS, slack)
}

pub fn cumsum(x: &Val, dim: usize) -> Val {
    let d = if x.dtype.is_float() { x.dtype } else { DType::I64 };
    let mut y = x.cast(d);
    let (_, members) = groups(&y, &[dim], true);
    for m in &members {
        let mut acc = (0.0, 0.0, 0.0);
        for (n, &k) in m.iter().enumerate() {
            acc = (acc.0 + y.lo[k], acc.1 + y.hi[k], acc.2 + y.lo[k].abs().max(y.hi[k].abs()));
            let slack = if d.is_float() { (n + 4) as f64 * eps(wide(d)) * acc.2 } else { 0.0 };
            (y.lo[k], y.hi[k]) = (acc.0 - slack, acc.1 + slack);
        }
    }
    y.rounded(2.0, 0.0)
}

pub fn argmax(x: &Val, dim: usize, keep: bool) -> Val {
    let (dims, members) = groups(x, &[dim], keep);
    let (lo, hi) = members
        .iter()
        .map(|m| {
            let top = fold(m, &x.lo, f64::max);
            // Whoever may reach the largest lower end may be the largest.
            let mut could = m.iter().enumerate().filter(|(_, k)| x.hi[**k] >= top).map(|(i, _)| i as f64);
            let first = could.next().unwrap_or(0.0);
            let sure = m.iter().all(|&k| x.lo[k] == x.hi[k]);
            (first, if sure { first } else { could.next_back().unwrap_or(first) })
        })
        .unzip();
    Val { dims, dtype: DType::I64, lo, hi }
}

pub fn cat(args: &[&Val], dim: usize) -> Val {
    let d = result_type(args, None);
    let parts: Vec<Val> = args.iter().map(|a| a.cast(d)).collect();
    let mut dims = parts[0].dims.clone();
    dims[dim] = parts.iter().map(|p| p.dims[dim]).sum();
    Val::build(dims, d, |i| {
        let mut from = i.to_vec();
        for p in &parts {
            if from[dim] < p.dims[dim] {
                return p.at(&from);
            }
            from[dim] -= p.dims[dim];
        }
        ANY
    })
}

pub fn pad(x: &Val, amounts: &[(isize, isize)], fill: f64) -> Val {
    let mut dims = x.dims.clone();
    let mut before = vec![0isize; x.rank()];
    for (i, &(lo, hi)) in amounts.iter().enumerate() {
        let d = x.rank() - 1 - i;
        dims[d] = (dims[d] as isize + lo + hi) as usize;
        before[d] = lo;
    }
    let fill = Val::exact(&[], DType::F64, vec![fill]).cast(x.dtype);
    Val::build(dims, x.dtype, |i| {
        let from: Vec<isize> = i.iter().zip(&before).map(|(&i, b)| i as isize - b).collect();
        let inside = from.iter().zip(&x.dims).all(|(&i, &n)| (0..n as isize).contains(&i));
        if inside {
            x.at(&from.iter().map(|&i| i as usize).collect::<Vec<_>>())
        } else {
            (fill.lo[0], fill.hi[0])
        }
    })
}

/// A sum of products, with the room that adding in another order needs.
struct Products {
    lo: f64,
    hi: f64,
    size: f64,
    n: f64,
}
impl Products {
    fn new() -> Products {
        Products { lo: 0.0, hi: 0.0, size: 0.0, n: 0.0 }
    }
    fn add(&mut self, a: (f64, f64), b: (f64, f64)) {
        let (l, h) = corners(a, b, |a, b| a * b);
        self.lo += l;
        self.hi += h;
        self.size += l.abs().max(h.abs());
        self.n += 1.0;
    }
    fn done(self, d: DType) -> (f64, f64) {
        let slack = if d.is_float() { (self.n + 8.0) * eps(wide(d)) * self.size } else { 0.0 };
        (self.lo - slack, self.hi + slack)
    }
}

pub fn matmul(a: &Val, b: &Val) -> Val {
    let raise = |v: &Val, at: usize| {
        let mut dims = v.dims.clone();
        if dims.len() == 1 {
            dims.insert(at, 1);
        }
        Val { dims, ..v.clone() }
    };
    let (x, y) = (raise(a, 0), raise(b, 1));
    let (rx, ry) = (x.rank(), y.rank());
    let k = x.dims[rx - 1];
    let batch = broadcast(&x.dims[..rx - 2], &y.dims[..ry - 2]).expect("fits");
    let mut dims = batch.clone();
    dims.extend([x.dims[rx - 2], y.dims[ry - 1]]);
    let place = |v: &Val, i: &[usize], r: usize, c: usize| {
        let lead = v.rank() - 2;
        let mut at: Vec<usize> = i[batch.len() - lead..batch.len()]
            .iter()
            .zip(&v.dims)
            .map(|(&i, &n)| if n == 1 { 0 } else { i })
            .collect();
        at.extend([r, c]);
        v.at(&at)
    };
    let mut out = Val::build(dims, a.dtype, |i| {
        let (r, c) = (i[i.len() - 2], i[i.len() - 1]);
        let mut sum = Products::new();
        for j in 0..k {
            sum.add(place(&x, i, r, j), place(&y, i, j, c));
        }
        sum.done(a.dtype)
    })
    .rounded(2.0, 0.0);
    let last = out.rank() - 1;
    if b.rank() == 1 {
        out.dims.remove(last);
    }
    if a.rank() == 1 {
        out.dims.remove(last - 1);
    }
    out
}

pub fn conv(x: &Val, w: &Val, stride: usize, padding: usize, dilation: usize, groups: usize) -> Val {
    let out = |d: usize| (x.dims[d] + 2 * padding - dilation * (w.dims[d] - 1) - 1) / stride + 1;
    let dims = vec![x.dims[0], w.dims[0], out(2), out(3)];
    let (per_in, per_out) = (w.dims[1], w.dims[0] / groups);
    Val::build(dims, x.dtype, |i| {
        let mut sum = Products::new();
        for c in 0..per_in {
            for u in 0..w.dims[2] {
                for v in 0..w.dims[3] {
                    let place = |o: usize, k: usize, n: usize| {
                        (o * stride + k * dilation).checked_sub(padding).filter(|&p| p < n)
                    };
                    if let (Some(r), Some(q)) = (place(i[2], u, x.dims[2]), place(i[3], v, x.dims[3])) {
                        sum.add(x.at(&[i[0], i[1] / per_out * per_in + c, r, q]), w.at(&[i[1], c, u, v]));
                    }
                }
            }
        }
        sum.done(x.dtype)
    })
    .rounded(2.0, 0.0)
}

pub fn pool(x: &Val, k: usize, s: usize, p: usize, max: bool) -> Val {
    let out = |d: usize| (x.dims[d] + 2 * p - k) / s + 1;
    let y = Val::build(vec![x.dims[0], x.dims[1], out(2), out(3)], x.dtype, |i| {
        let mut best = (f64::NEG_INFINITY, f64::NEG_INFINITY);
        let mut sum = Products::new();
        for u in 0..k {
            for v in 0..k {
                let place = |o: usize, t: usize, n: usize| (o * s + t).checked_sub(p).filter(|&q| q < n);
                if let (Some(r), Some(q)) = (place(i[2], u, x.dims[2]), place(i[3], v, x.dims[3])) {
                    let at = x.at(&[i[0], i[1], r, q]);
                    best = (best.0.max(at.0), best.1.max(at.1));
                    sum.add(at, (1.0, 1.0));
                }
            }
        }
        let n = (k * k) as f64;
        let (l, h) = sum.done(x.dtype);
        if max { best } else { (l / n, h / n) }
    });
    // A half's average is rounded as a sum, then with the divisor.
    if max { y } else { y.rounded(ULPS, 0.0) }
}

pub fn scatter_add(args: &[&Val], dim: usize) -> Val {
    let [base, index, src] = args else { unreachable!("three operands") };
    let mut y = (*base).clone();
    let mut size: Vec<(f64, f64)> =
        y.lo.iter().zip(&y.hi).map(|(a, b)| (a.abs().max(b.abs()), 1.0)).collect();
    each(&index.dims, |i| {
        let mut to = i.to_vec();
        to[dim] = index.at(i).0 as usize;
        let (k, (l, h)) = (flat(&base.dims, &to), src.at(i));
        y.lo[k] += l;
        y.hi[k] += h;
        size[k] = (size[k].0 + l.abs().max(h.abs()), size[k].1 + 1.0);
    });
    let unit = eps(y.dtype);
    for (k, (s, n)) in size.into_iter().enumerate() {
        y.lo[k] -= s * n * unit;
        y.hi[k] += s * n * unit;
    }
    y.rounded(2.0, 0.0)
}

pub fn sort(x: &Val, dim: usize, descending: bool) -> Val {
    let mut y = x.clone();
    let (_, members) = groups(x, &[dim], true);
    for m in &members {
        // The k-th smallest lies between the k-th smallest ends.
        for (from, to) in [(&x.lo, &mut y.lo), (&x.hi, &mut y.hi)] {
            let mut v: Vec<f64> = m.iter().map(|&k| from[k]).collect();
            v.sort_by(f64::total_cmp);
            if descending {
                v.reverse();
            }
            m.iter().zip(v).for_each(|(&k, v)| to[k] = v);
        }
    }
    y
}
