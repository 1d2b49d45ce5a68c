//! Central differences.

use hadal_tensor::{DType, Key, Tensor, grad, vjp_or_none};

/// What was proved of an operation: first and second derivative, or that it has none.
pub struct Proof {
    pub op: String,
    pub class: &'static str,
    pub proved: bool,
}

impl Proof {
    /// An operation whose gradient is zero almost everywhere, or that has none.
    pub fn none(op: &str, class: &'static str) -> Proof {
        Proof { op: op.into(), class, proved: false }
    }
}

/// Step of first differences; the error of a central difference is of its square, and rounding adds
/// 1e-16 / step.
const STEP: f64 = 1e-5;
/// Relative to the gradient's size: two orders above what step and rounding leave.
const TOLERANCE: f64 = 2e-6;

fn number(t: &Tensor) -> f64 {
    t.item::<f64>().unwrap_or_else(|e| panic!("{e}"))
}

fn numeric(xs: &[Tensor], i: usize, f: &dyn Fn(&[Tensor]) -> Tensor) -> Vec<f64> {
    let base = xs[i].to_vec::<f64>().expect("an f64 input");
    (0..base.len())
        .map(|k| {
            let at = |delta: f64| {
                let mut v = base.clone();
                v[k] += delta;
                let mut moved = xs.to_vec();
                moved[i] = Tensor::from_vec(v, xs[i].shape());
                number(&f(&moved))
            };
            (at(STEP) - at(-STEP)) / (2.0 * STEP)
        })
        .collect()
}

fn compare(what: &str, got: &Tensor, want: &[f64]) {
    let got = got.to_vec::<f64>().unwrap_or_else(|e| panic!("{what}: {e}"));
    let size = want.iter().fold(1.0f64, |m, v| m.max(v.abs()));
    for (k, (a, b)) in got.iter().zip(want).enumerate() {
        assert!(
            (a - b).abs() <= TOLERANCE * size,
            "{what}: element {k}: {a} by the rule, {b} by differences"
        );
    }
    assert_eq!(got.len(), want.len(), "{what}");
}

/// A function of all inputs as one number: its outputs weighted with fixed random numbers.
fn weighted(y: &Tensor, seed: u64) -> Tensor {
    let w = Tensor::uniform(y.shape(), DType::F64, Key::new(seed), 0.5, 1.5);
    (y * w).sum(..)
}

/// First and second order, by every input.
pub fn check(op: &str, class: &'static str, xs: &[Tensor], f: impl Fn(&[Tensor]) -> Tensor) -> Proof {
    let xs: Vec<Tensor> =
        xs.iter().map(|x| x.materialize().unwrap_or_else(|e| panic!("{op}: {e}"))).collect();
    let first = |xs: &[Tensor]| weighted(&f(xs), 101);
    let inputs: Vec<&Tensor> = xs.iter().collect();
    let gs = grad(&first(&xs), &inputs).unwrap_or_else(|e| panic!("{op}: {e}"));
    for (i, g) in gs.iter().enumerate() {
        assert_eq!(g.shape(), xs[i].shape(), "{op}: the gradient's shape");
        compare(&format!("{op}, gradient by input {i}"), g, &numeric(&xs, i, &first));
    }
    // Second order: the gradient, weighted, is a function like any other.
    let second = |xs: &[Tensor]| {
        let inputs: Vec<&Tensor> = xs.iter().collect();
        let gs = grad(&first(xs), &inputs).unwrap_or_else(|e| panic!("{op}: {e}"));
        gs.iter()
            .enumerate()
            .map(|(i, g)| weighted(g, 200 + i as u64))
            .reduce(|a, b| a + b)
            .expect("an input")
    };
    let s = second(&xs);
    let hs = vjp_or_none(&s, &Tensor::ones_like(&s), &inputs).unwrap_or_else(|e| panic!("{op}: {e}"));
    for (i, h) in hs.iter().enumerate() {
        let want = numeric(&xs, i, &second);
        // A linear operation's gradient does not depend on its input: no path is the right answer.
        let zero = Tensor::zeros_like(&xs[i]);
        compare(&format!("{op}, second derivative by input {i}"), h.as_ref().unwrap_or(&zero), &want);
    }
    Proof { op: op.into(), class, proved: true }
}

/// The same gradient through a transposed, a strided and a reversed view.
pub fn layouts(op: &str, x: &Tensor, f: impl Fn(&Tensor) -> Tensor) {
    let s = Tensor::uniform(x.shape(), DType::F64, Key::new(77), 0.5, 1.5);
    let plain = grad(&(f(x) * &s).sum(..), &[x]).expect("differentiable").remove(0);
    let want = plain.to_vec::<f64>().expect("evaluates");
    type View = fn(&Tensor) -> Tensor;
    let views: [(&str, View, View); 2] =
        [("transposed", Tensor::t, Tensor::t), ("reversed", |x| x.flip(..), |x| x.flip(..))];
    for (name, there, back) in views {
        let stored = there(x).contiguous().materialize().expect("evaluates");
        let g = grad(&(f(&back(&stored)) * &s).sum(..), &[&stored]).expect("differentiable").remove(0);
        assert_eq!(back(&g).to_vec::<f64>().expect("evaluates"), want, "{op}, {name}");
    }
    // Every second row of a larger tensor.
    let wide =
        Tensor::stack(&[x, x], 1).reshape([x.dims()[0] * 2, x.dims()[1]]).materialize().expect("evaluates");
    let half = wide.slice(&[hadal_tensor::Slice::new(None, None, 2)]);
    let g = grad(&(f(&half) * &s).sum(..), &[&wide]).expect("differentiable").remove(0);
    let got = g.slice(&[hadal_tensor::Slice::new(None, None, 2)]).to_vec::<f64>().expect("evaluates");
    assert_eq!(got, want, "{op}, strided");
}

/// Empty and 0-d inputs.
pub fn empty_and_scalar(op: &str, (low, high): (f64, f64), f: impl Fn(&Tensor) -> Tensor) {
    let e = Tensor::zeros([0, 3], DType::F64).materialize().expect("evaluates");
    let g =
        grad(&f(&e).sum(..), &[&e]).unwrap_or_else(|err| panic!("{op} of an empty tensor: {err}")).remove(0);
    assert_eq!(g.dims(), [0, 3], "{op}");
    assert!(g.to_vec::<f64>().is_ok_and(|v| v.is_empty()), "{op}");
    let x = Tensor::full((), low + 0.37 * (high - low)).cast(DType::F64).materialize().expect("evaluates");
    let first = |xs: &[Tensor]| f(&xs[0]);
    let g = grad(&f(&x), &[&x]).unwrap_or_else(|err| panic!("{op} of a 0-d tensor: {err}")).remove(0);
    compare(&format!("{op}, 0-d"), &g, &numeric(&[x], 0, &first));
}
