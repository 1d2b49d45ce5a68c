//! What the reference computes with: for every element an interval of f64 that must hold the result,
//! whatever order the library adds in and however it rounds.
//!
//! Intervals make the tolerance a proof instead of a guess: each operation widens by what its dtype
//! may round, uncertainty passes through comparisons as "perhaps", and what an operation amplifies
//! (a logarithm near 0) is amplified here too.

use hadal_tensor::DType;

#[derive(Clone, Debug)]
pub struct Val {
    pub dims: Vec<usize>,
    pub dtype: DType,
    pub lo: Vec<f64>,
    pub hi: Vec<f64>,
}

/// Relative distance of neighbouring numbers.
pub fn eps(d: DType) -> f64 {
    match d {
        DType::F64 => f64::EPSILON,
        DType::F32 => f32::EPSILON as f64,
        DType::F16 => 1.0 / 1024.0,
        DType::BF16 => 1.0 / 128.0,
        _ => 0.0,
    }
}

/// Distance of neighbouring numbers near 0, doubled.
fn tiny(d: DType) -> f64 {
    match d {
        DType::F16 => 1.2e-7,
        DType::F64 => 1e-300,
        _ => 1e-37,
    }
}

/// The dtype sums and formulas are computed in.
pub fn wide(d: DType) -> DType {
    if d == DType::F64 { d } else { DType::F32 }
}

/// The nearest number of a float dtype.
pub fn nearest(d: DType, v: f64) -> f64 {
    match d {
        DType::F32 => v as f32 as f64,
        DType::F16 => half::f16::from_f64(v).to_f64(),
        DType::BF16 => half::bf16::from_f64(v).to_f64(),
        _ => v,
    }
}

/// Calls `f` with every index in row-major order.
pub fn each(dims: &[usize], mut f: impl FnMut(&[usize])) {
    if dims.contains(&0) {
        return;
    }
    let mut index = vec![0; dims.len()];
    loop {
        f(&index);
        let mut d = dims.len();
        loop {
            if d == 0 {
                return;
            }
            d -= 1;
            index[d] += 1;
            if index[d] < dims[d] {
                break;
            }
            index[d] = 0;
        }
    }
}

pub fn flat(dims: &[usize], index: &[usize]) -> usize {
    index.iter().zip(dims).fold(0, |at, (&i, &n)| at * n + i)
}

impl Val {
    pub fn exact(dims: &[usize], dtype: DType, data: Vec<f64>) -> Val {
        assert_eq!(dims.iter().product::<usize>(), data.len());
        Val { dims: dims.to_vec(), dtype, lo: data.clone(), hi: data }
    }
    pub fn numel(&self) -> usize {
        self.lo.len()
    }
    pub fn rank(&self) -> usize {
        self.dims.len()
    }
    pub fn at(&self, index: &[usize]) -> (f64, f64) {
        let k = flat(&self.dims, index);
        (self.lo[k], self.hi[k])
    }
    /// Elements computed from positions.
    pub fn build(dims: Vec<usize>, dtype: DType, mut f: impl FnMut(&[usize]) -> (f64, f64)) -> Val {
        let mut v = Val { dims: dims.clone(), dtype, lo: vec![], hi: vec![] };
        each(&dims, |index| {
            let (lo, hi) = f(index);
            v.lo.push(lo);
            v.hi.push(hi);
        });
        v
    }
    pub fn map(&self, dtype: DType, f: impl Fn(f64, f64) -> (f64, f64)) -> Val {
        let (lo, hi) = self.lo.iter().zip(&self.hi).map(|(&a, &b)| f(a, b)).unzip();
        Val { dims: self.dims.clone(), dtype, lo, hi }
    }
    /// Elements of `source` moved to new places.
    pub fn moved(&self, dims: Vec<usize>, f: impl Fn(&[usize]) -> Vec<usize>) -> Val {
        Val::build(dims, self.dtype, |i| self.at(&f(i)))
    }
    /// Widened by `ulps` roundings of this dtype, and by `extra` in absolute terms.
    pub fn rounded(mut self, ulps: f64, extra: f64) -> Val {
        if self.dtype.is_float() {
            let e = eps(self.dtype) * ulps;
            let near0 = tiny(self.dtype);
            for (a, b) in self.lo.iter_mut().zip(&mut self.hi) {
                let size = a.abs().max(b.abs());
                *a -= size * e + near0 + extra;
                *b += size * e + near0 + extra;
            }
        }
        self
    }
    /// Converted as the library's casts.
    pub fn cast(&self, to: DType) -> Val {
        if to == self.dtype {
            return self.clone();
        }
        match to {
            DType::Bool => self.map(to, |a, b| match () {
                _ if a > 0.0 || b < 0.0 => (1.0, 1.0),
                _ if a == 0.0 && b == 0.0 => (0.0, 0.0),
                _ => (0.0, 1.0),
            }),
            // Whole numbers wrap; of an interval only what does not is known.
            DType::U8 => self.map(to, |a, b| {
                if a.trunc() == b.trunc() {
                    (a as i64 as u8 as f64, a as i64 as u8 as f64)
                } else {
                    (a.trunc(), b.trunc())
                }
            }),
            t if t.is_int() => self.map(to, |a, b| (a.trunc(), b.trunc())),
            // Rounding is monotone; the margin is for a conversion in two steps.
            t => self.map(to, |a, b| {
                let (x, y) = (nearest(t, a), nearest(t, b));
                let slack = |v: f64, w: f64| if v == w { 0.0 } else { v.abs() * eps(t) + tiny(t) };
                (x - slack(a, x), y + slack(b, y))
            }),
        }
    }
    pub fn expand(&self, dims: &[usize]) -> Val {
        let pad = dims.len() - self.rank();
        self.moved(dims.to_vec(), |i| {
            i[pad..].iter().zip(&self.dims).map(|(&i, &n)| if n == 1 { 0 } else { i }).collect()
        })
    }
}

pub fn broadcast(a: &[usize], b: &[usize]) -> Option<Vec<usize>> {
    let rank = a.len().max(b.len());
    let size = |d: &[usize], i: usize| if i + d.len() < rank { 1 } else { d[i + d.len() - rank] };
    (0..rank)
        .map(|i| match (size(a, i), size(b, i)) {
            (x, y) if x == y => Some(x),
            (1, y) => Some(y),
            (x, 1) => Some(x),
            _ => None,
        })
        .collect()
}
