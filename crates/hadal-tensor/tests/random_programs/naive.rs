//! The reference: every operation as plain loops over intervals, written from its definition.

use super::naive_class::{argmax, cat, conv, cumsum, matmul, pad, pool, reduce, scatter_add, softmax, sort};
use super::program::Spec;
use super::value::{Val, broadcast, eps};
use hadal_core::ops::{BinaryOp, Kind, UnaryOp};
use hadal_tensor::{DType, Scalar};

/// Nothing is known.
pub const ANY: (f64, f64) = (f64::NEG_INFINITY, f64::INFINITY);
/// Roundings a formula of several steps may make, each of a few units in the last place.
pub const ULPS: f64 = 8.0;

pub fn run(spec: &Spec, args: &[&Val]) -> Val {
    let x = || args[0];
    match spec {
        Spec::Leaf(dims, d, data) => Val::exact(dims, *d, data.clone()),
        Spec::Full(dims, d, v) => Val::exact(dims, *d, vec![*v; dims.iter().product()]),
        Spec::Arange(n) => Val::exact(&[*n], DType::I64, (0..*n).map(|i| i as f64).collect()),
        Spec::Random(dims, d, _) => Val::build(dims.clone(), *d, |_| ANY),
        Spec::Unary(op) => unary(*op, x()),
        Spec::Binary(op) => binary(*op, args[0], args[1], result_type(args, None)),
        Spec::BinaryScalar(op, s) => {
            let mut common = result_type(args, Some(*s));
            if common == DType::U8 && s.to_i64() as u8 as i64 != s.to_i64() && op.kind() == Kind::Compare {
                common = DType::I64;
            }
            let number = Val::exact(&[], wide_of(*s), vec![s.to_f64()]);
            binary(*op, args[0], &number, common)
        }
        Spec::Where => {
            let d = result_type(&args[1..], None);
            let dims = broadcast(&args[0].dims, &broadcast(&args[1].dims, &args[2].dims).expect("fits"));
            let dims = dims.expect("fits");
            let [c, a, b] = [args[0].clone(), args[1].cast(d), args[2].cast(d)].map(|t| t.expand(&dims));
            zip3(&c, &a, &b, d)
        }
        Spec::Cast(d) => x().cast(*d),
        Spec::Clamp(l, h) => x().map(x().dtype, |a, b| (a.clamp(*l, *h), b.clamp(*l, *h))).rounded(1.0, 0.0),
        Spec::Reduce(r, axes, keep) => reduce(*r, x(), axes, *keep),
        Spec::Softmax(dim, log) => softmax(x(), *dim, *log),
        Spec::CumSum(dim) => cumsum(x(), *dim),
        Spec::ArgMax(dim, keep) => argmax(x(), *dim, *keep),
        Spec::Reshape(dims) => Val { dims: dims.clone(), ..x().clone() },
        Spec::Permute(p) => x().moved(p.iter().map(|&d| x().dims[d]).collect(), |i| {
            let mut from = vec![0; i.len()];
            p.iter().zip(i).for_each(|(&d, &i)| from[d] = i);
            from
        }),
        Spec::Slice(parts) => x().moved(parts.iter().map(|p| p.1).collect(), |i| {
            i.iter().zip(parts).map(|(&i, p)| (p.0 as isize + i as isize * p.2) as usize).collect()
        }),
        Spec::Expand(dims) => x().expand(dims),
        Spec::Flip(axes) => x().moved(x().dims.clone(), |i| {
            i.iter()
                .enumerate()
                .map(|(d, &i)| if axes.contains(&d) { x().dims[d] - 1 - i } else { i })
                .collect()
        }),
        Spec::Unfold(dim, size, step) => {
            let mut dims = x().dims.clone();
            dims[*dim] = (dims[*dim] - size) / step + 1;
            dims.push(*size);
            x().moved(dims, |i| {
                let mut from = i[..i.len() - 1].to_vec();
                from[*dim] = from[*dim] * step + i[i.len() - 1];
                from
            })
        }
        Spec::Contiguous | Spec::Detach => x().clone(),
        Spec::Cat(dim) => cat(args, *dim),
        Spec::Stack(dim) => {
            let raised: Vec<Val> = args
                .iter()
                .map(|a| {
                    let mut dims = a.dims.clone();
                    dims.insert(*dim, 1);
                    Val { dims, ..(*a).clone() }
                })
                .collect();
            let d = result_type(args, None);
            Val {
                dtype: d,
                ..cat(&raised.iter().map(|r| r.cast(d)).collect::<Vec<_>>().iter().collect::<Vec<_>>(), *dim)
            }
        }
        Spec::Pad(amounts, fill) => pad(x(), amounts, *fill),
        Spec::Repeat(times) => {
            let dims = x().dims.iter().zip(times).map(|(n, t)| n * t).collect();
            x().moved(dims, |i| i.iter().zip(&x().dims).map(|(i, n)| i % n).collect())
        }
        Spec::Roll(by, dim) => x().moved(x().dims.clone(), |i| {
            let mut from = i.to_vec();
            from[*dim] = (i[*dim] as isize - by).rem_euclid(x().dims[*dim] as isize) as usize;
            from
        }),
        Spec::Matmul => matmul(args[0], args[1]),
        Spec::Conv2d { stride, padding, dilation, groups } => {
            conv(args[0], args[1], *stride, *padding, *dilation, *groups)
        }
        Spec::MaxPool(k, s, p) => pool(x(), *k, *s, *p, true),
        Spec::AvgPool(k, s, p) => pool(x(), *k, *s, *p, false),
        Spec::Gather(dim) => Val::build(args[1].dims.clone(), x().dtype, |i| {
            let mut from = i.to_vec();
            from[*dim] = args[1].at(i).0 as usize;
            x().at(&from)
        }),
        Spec::ScatterAdd(dim) => scatter_add(args, *dim),
        Spec::IndexSelect(dim) => {
            let mut dims = x().dims.clone();
            dims[*dim] = args[1].numel();
            x().moved(dims, |i| {
                let mut from = i.to_vec();
                from[*dim] = args[1].lo[i[*dim]] as usize;
                from
            })
        }
        Spec::Sort(dim, descending) => sort(x(), *dim, *descending),
        Spec::Tril(offset) => Val::build(x().dims.clone(), x().dtype, |i| {
            let (r, c) = (i[i.len() - 2] as isize, i[i.len() - 1] as isize);
            if c - r <= *offset { x().at(i) } else { (0.0, 0.0) }
        }),
        Spec::Gelu | Spec::LayerNorm => {
            let d = if x().dtype.is_float() { x().dtype } else { DType::F32 };
            x().map(d, |_, _| ANY)
        }
    }
}

fn wide_of(s: Scalar) -> DType {
    match s {
        Scalar::F(_) => DType::F64,
        Scalar::I(_) => DType::I64,
        Scalar::B(_) => DType::Bool,
    }
}

fn category(d: DType) -> u8 {
    if d.is_float() { 2 } else { d.is_int() as u8 }
}

/// PyTorch's promotion: a 0-d tensor, and after it a number, counts only when of a higher category.
pub fn result_type(args: &[&Val], number: Option<Scalar>) -> DType {
    let join = |a: Option<DType>, b: DType| Some(a.map_or(b, |a| promote(a, b)));
    let (mut with, mut without) = (None, None);
    for a in args {
        if a.rank() > 0 {
            with = join(with, a.dtype);
        } else {
            without = join(without, a.dtype);
        }
    }
    let mut best = with;
    let plain = number.map(|s| match s {
        Scalar::F(_) => DType::F32,
        Scalar::I(_) => DType::I64,
        Scalar::B(_) => DType::Bool,
    });
    for other in [without, plain].into_iter().flatten() {
        if best.is_none_or(|b| category(other) > category(b)) {
            best = Some(other);
        }
    }
    best.expect("an operand")
}

fn promote(a: DType, b: DType) -> DType {
    use DType::*;
    if a == b {
        return a;
    }
    match category(a).cmp(&category(b)) {
        std::cmp::Ordering::Greater => a,
        std::cmp::Ordering::Less => b,
        _ if [a, b].contains(&F64) => F64,
        _ if a.is_float() => F32,
        _ if [a, b].contains(&I64) => I64,
        _ => I32,
    }
}

pub fn float_of(d: DType) -> DType {
    if d.is_float() { d } else { DType::F32 }
}

fn unary(op: UnaryOp, x: &Val) -> Val {
    use UnaryOp::*;
    let d = match op {
        Neg | Abs | Sign | Square | Relu | Floor | Ceil | Round | Trunc => x.dtype,
        IsNan | IsInf | IsFinite => {
            let yes = (op == IsFinite) as u8 as f64;
            return x.map(DType::Bool, |_, _| (yes, yes));
        }
        _ => float_of(x.dtype),
    };
    let x = x.cast(d);
    let up = |f: fn(f64) -> f64| x.map(d, |a, b| (f(a), f(b)));
    let down = |f: fn(f64) -> f64| x.map(d, |a, b| (f(b), f(a)));
    let inside = |ok: fn(f64, f64) -> bool, f: fn(f64) -> f64| {
        x.map(d, |a, b| if ok(a, b) { (f(a).min(f(b)), f(a).max(f(b))) } else { ANY })
    };
    let size = |a: f64, b: f64| {
        if a >= 0.0 {
            (a, b)
        } else if b <= 0.0 {
            (-b, -a)
        } else {
            (0.0, b.max(-a))
        }
    };
    // Slope at most 1.
    let wave = |f: fn(f64) -> f64| {
        x.map(d, |a, b| {
            let (m, w) = ((a + b) / 2.0, (b - a) / 2.0);
            (f(m) - w, f(m) + w)
        })
    };
    let y = match op {
        Neg => return down(|v| -v),
        Abs => return x.map(d, size),
        Sign => return up(|v| if v == 0.0 { 0.0 } else { v.signum() }),
        Relu => return up(|v| v.max(0.0)),
        Floor => return up(f64::floor),
        Ceil => return up(f64::ceil),
        Round => return up(f64::round_ties_even),
        Trunc => return up(f64::trunc),
        Square => x.map(d, |a, b| {
            let (a, b) = size(a, b);
            (a * a, b * b)
        }),
        Reciprocal => inside(|a, b| a > 0.0 || b < 0.0, |v| 1.0 / v),
        Sqrt => inside(|a, _| a >= 0.0, f64::sqrt),
        Rsqrt => inside(|a, _| a > 0.0, |v| 1.0 / v.sqrt()),
        Exp => up(f64::exp),
        Exp2 => up(f64::exp2),
        Expm1 => up(f64::exp_m1),
        Log => inside(|a, _| a > 0.0, f64::ln),
        Log2 => inside(|a, _| a > 0.0, f64::log2),
        Log10 => inside(|a, _| a > 0.0, f64::log10),
        Log1p => inside(|a, _| a > -1.0, f64::ln_1p),
        Sin => wave(f64::sin),
        Cos => wave(f64::cos),
        Tan => inside(|a, b| a > -1.4 && b < 1.4, f64::tan),
        Asin => inside(|a, b| a >= -1.0 && b <= 1.0, f64::asin),
        Acos => inside(|a, b| a >= -1.0 && b <= 1.0, f64::acos),
        Atan => up(f64::atan),
        Sinh => up(f64::sinh),
        Cosh => x.map(d, |a, b| {
            let (a, b) = size(a, b);
            (a.cosh(), b.cosh())
        }),
        Tanh => up(f64::tanh),
        Asinh => up(f64::asinh),
        Acosh => inside(|a, _| a > 1.0, f64::acosh),
        Atanh => inside(|a, b| a > -1.0 && b < 1.0, f64::atanh),
        Erf => up(erf),
        Erfc => down(|v| 1.0 - erf(v)),
        Sigmoid => up(|v| 1.0 / (1.0 + (-v).exp())),
        Softplus => up(|v| v.max(0.0) + (-v.abs()).exp().ln_1p()),
        Erfinv | IsNan | IsInf | IsFinite => x.map(d, |_, _| ANY),
    };
    // Around a zero of the function the reference itself is good to an absolute error only.
    let near0 = if d == DType::F64 { 1e-15 } else { 0.0 };
    let extra = match op {
        Sin | Cos | Tan => eps(d),
        // What the series here loses to cancellation.
        Erf | Erfc => 2e-14,
        _ => 0.0,
    };
    y.rounded(ULPS, near0 + extra)
}

/// By its Taylor series for small arguments, else by the continued fraction of its complement.
fn erf(x: f64) -> f64 {
    let a = x.abs();
    if a < 2.0 {
        let (mut term, mut sum, mut n) = (x, x, 0.0);
        while term.abs() > 1e-18 * sum.abs() && n < 200.0 {
            n += 1.0;
            term *= -x * x / n;
            sum += term / (2.0 * n + 1.0);
        }
        return sum * std::f64::consts::FRAC_2_SQRT_PI;
    }
    let mut f = 0.0;
    for k in (1..400).rev() {
        f = k as f64 / 2.0 / (a + f);
    }
    let c = (-a * a).exp() / ((a + f) * std::f64::consts::PI.sqrt());
    (1.0 - c) * x.signum()
}

fn hull(values: [f64; 4]) -> (f64, f64) {
    (
        values.iter().copied().fold(f64::INFINITY, f64::min),
        values.iter().copied().fold(f64::NEG_INFINITY, f64::max),
    )
}

pub fn corners(a: (f64, f64), b: (f64, f64), f: impl Fn(f64, f64) -> f64) -> (f64, f64) {
    hull([f(a.0, b.0), f(a.0, b.1), f(a.1, b.0), f(a.1, b.1)])
}

pub fn zip(a: &Val, b: &Val, d: DType, f: impl Fn((f64, f64), (f64, f64)) -> (f64, f64)) -> Val {
    let dims = broadcast(&a.dims, &b.dims).expect("fits");
    let (a, b) = (a.expand(&dims), b.expand(&dims));
    let (lo, hi) = (0..a.numel()).map(|i| f((a.lo[i], a.hi[i]), (b.lo[i], b.hi[i]))).unzip();
    Val { dims, dtype: d, lo, hi }
}

fn zip3(c: &Val, a: &Val, b: &Val, d: DType) -> Val {
    let (lo, hi) = (0..c.numel())
        .map(|i| match (c.lo[i], c.hi[i]) {
            (1.0, _) => (a.lo[i], a.hi[i]),
            (_, 0.0) => (b.lo[i], b.hi[i]),
            _ => (a.lo[i].min(b.lo[i]), a.hi[i].max(b.hi[i])),
        })
        .unzip();
    Val { dims: c.dims.clone(), dtype: d, lo, hi }
}

fn binary(op: BinaryOp, a: &Val, b: &Val, common: DType) -> Val {
    use BinaryOp::*;
    let (input, out) = match op {
        Div | Atan2 | Hypot => (float_of(common), float_of(common)),
        Eq | Ne | Lt | Le | Gt | Ge => (common, DType::Bool),
        LogicalAnd | LogicalOr | LogicalXor => (DType::Bool, DType::Bool),
        _ => (common, common),
    };
    let (a, b) = (&a.cast(input), &b.cast(input));
    // A whole number may be too large for a half.
    if a.lo.iter().chain(&b.lo).chain(&a.hi).chain(&b.hi).any(|v| !v.is_finite()) {
        return zip(a, b, out, |_, _| ANY);
    }
    let point = |x: (f64, f64)| x.0 == x.1;
    // From "certainly" and "certainly not".
    let truth = |yes: bool, no: bool| (yes as u8 as f64, !no as u8 as f64);
    let whole = |f: fn(i64, i64) -> i64| {
        move |x: (f64, f64), y: (f64, f64)| {
            if x.0 == x.1 && y.0 == y.1 {
                let v = f(x.0 as i64, y.0 as i64) as f64;
                (v, v)
            } else {
                ANY
            }
        }
    };
    let free_of_0 = |y: (f64, f64)| y.0 > 0.0 || y.1 < 0.0;
    if !out.is_float() {
        let done = match op {
            Pow => Some(zip(
                a,
                b,
                out,
                whole(|x, y| if (0..40).contains(&y) { x.wrapping_pow(y as u32) } else { i64::MAX }),
            )),
            Fmod => Some(zip(a, b, out, whole(|x, y| if y == 0 { 0 } else { x.wrapping_rem(y) }))),
            Remainder => Some(zip(
                a,
                b,
                out,
                whole(|x, y| if y == 0 { 0 } else { x.wrapping_sub(y.wrapping_mul(floor_div(x, y))) }),
            )),
            FloorDivide => Some(zip(a, b, out, whole(|x, y| if y == 0 { 0 } else { floor_div(x, y) }))),
            BitwiseAnd => Some(zip(a, b, out, whole(|x, y| x & y))),
            BitwiseOr => Some(zip(a, b, out, whole(|x, y| x | y))),
            BitwiseXor => Some(zip(a, b, out, whole(|x, y| x ^ y))),
            _ => None,
        };
        if let Some(v) = done {
            return v;
        }
    }
    let near = eps(out) * 4.0;
    let quotient = |x, y| {
        let (l, h) = corners(x, y, |x, y| x / y);
        (l - l.abs() * near, h + h.abs() * near)
    };
    let y = match op {
        Add => zip(a, b, out, |x, y| (x.0 + y.0, x.1 + y.1)),
        Sub => zip(a, b, out, |x, y| (x.0 - y.1, x.1 - y.0)),
        Mul => zip(a, b, out, |x, y| corners(x, y, |x, y| x * y)),
        Div => zip(a, b, out, |x, y| if free_of_0(y) { corners(x, y, |x, y| x / y) } else { ANY }),
        Pow => zip(a, b, out, |x, y| if x.0 > 0.0 { corners(x, y, f64::powf) } else { ANY }),
        Atan2 => zip(a, b, out, |x, y| if y.0 > 0.0 { corners(x, y, f64::atan2) } else { ANY }),
        Hypot => zip(a, b, out, |x, y| {
            let least = |v: (f64, f64)| if v.0 <= 0.0 && v.1 >= 0.0 { 0.0 } else { v.0.abs().min(v.1.abs()) };
            let most = |v: (f64, f64)| v.0.abs().max(v.1.abs());
            (least(x).hypot(least(y)), most(x).hypot(most(y)))
        }),
        Maximum => return zip(a, b, out, |x, y| (x.0.max(y.0), x.1.max(y.1))),
        Minimum => return zip(a, b, out, |x, y| (x.0.min(y.0), x.1.min(y.1))),
        Fmod | Remainder => zip(a, b, out, |x, y| {
            if !free_of_0(y) {
                return ANY;
            }
            let (l, h) = quotient(x, y);
            let cut = if op == Fmod { f64::trunc } else { f64::floor };
            let most = y.0.abs().max(y.1.abs());
            if cut(l) != cut(h) {
                return (-most, most);
            }
            let back = corners(y, (cut(l), cut(l)), |y, q| y * q);
            // The product's rounding is relative to it, not to the small rest.
            let slack = back.0.abs().max(back.1.abs()) * near;
            (x.0 - back.1 - slack, x.1 - back.0 + slack)
        }),
        FloorDivide => {
            return zip(a, b, out, |x, y| {
                let (l, h) = if free_of_0(y) { quotient(x, y) } else { ANY };
                (l.floor(), h.floor())
            })
            .rounded(1.0, 0.0);
        }
        Eq => zip(a, b, out, |x, y| truth(point(x) && x == y, x.1 < y.0 || y.1 < x.0)),
        Ne => zip(a, b, out, |x, y| truth(x.1 < y.0 || y.1 < x.0, point(x) && x == y)),
        Lt => zip(a, b, out, |x, y| truth(x.1 < y.0, x.0 >= y.1)),
        Le => zip(a, b, out, |x, y| truth(x.1 <= y.0, x.0 > y.1)),
        Gt => zip(a, b, out, |x, y| truth(x.0 > y.1, x.1 <= y.0)),
        Ge => zip(a, b, out, |x, y| truth(x.0 >= y.1, x.1 < y.0)),
        LogicalAnd => zip(a, b, out, |x, y| (x.0.min(y.0), x.1.min(y.1))),
        LogicalOr => zip(a, b, out, |x, y| (x.0.max(y.0), x.1.max(y.1))),
        LogicalXor => {
            zip(
                a,
                b,
                out,
                |x, y| {
                    if point(x) && point(y) { truth(x.0 != y.0, x.0 == y.0) } else { (0.0, 1.0) }
                },
            )
        }
        BitwiseAnd | BitwiseOr | BitwiseXor => zip(a, b, out, |_, _| ANY),
    };
    y.rounded(ULPS, 0.0)
}

fn floor_div(x: i64, y: i64) -> i64 {
    (x as f64 / y as f64).floor() as i64
}
