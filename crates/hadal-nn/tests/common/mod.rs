//! What the tests share: gradient checks against central differences, and PyTorch's reference values.
#![allow(dead_code)] // Every test binary uses its own part.

use hadal_nn::{Module, Param};
use hadal_tensor::{DType, Key, Tensor, vjp_or_none};
use serde_json::Value;
use std::collections::BTreeMap;

/// Standard normal f64.
pub fn randn(shape: &[usize], seed: u64) -> Tensor {
    Tensor::randn(shape, DType::F64, Key::new(seed)).materialize().unwrap()
}

pub fn values(t: &Tensor) -> Vec<f64> {
    t.cast(DType::F64).to_vec::<f64>().unwrap()
}

/// A run of what is checked: from values of the variables, the result and the tensors to differentiate by.
type Run<'a> = dyn Fn(&[Tensor]) -> (Tensor, Vec<Tensor>) + 'a;

/// `Σ result·cotangent`, with a fixed cotangent that favours no element.
fn cotangent(y: &Tensor) -> Tensor {
    randn(y.dims(), 99)
}

fn gradients(run: &Run, xs: &[Tensor]) -> (Tensor, Vec<Tensor>) {
    let (y, vars) = run(xs);
    y.checked().unwrap();
    let c = cotangent(&y);
    let grads = vjp_or_none(&y, &c, &vars.iter().collect::<Vec<_>>()).unwrap();
    let grads = grads.into_iter().zip(&vars).map(|(g, v)| g.unwrap_or_else(|| Tensor::zeros_like(v)));
    ((y * c).sum(..), grads.collect())
}

fn compare(name: &str, run: &Run, xs: &[Tensor], eps: f64, tol: f64) {
    let (_, analytic) = gradients(run, xs);
    for (i, x) in xs.iter().enumerate() {
        let (base, grad) = (values(x), values(&analytic[i]));
        assert_eq!(base.len(), grad.len(), "{name}: the gradient by variable {i} has another size");
        for j in 0..base.len() {
            let at = |delta: f64| {
                let mut moved = base.clone();
                moved[j] += delta;
                let mut all = xs.to_vec();
                all[i] = Tensor::from_vec(moved, x.dims());
                let (y, _) = run(&all);
                let c = cotangent(&y);
                (y * c).sum(..).item::<f64>().unwrap()
            };
            let numeric = (at(eps) - at(-eps)) / (2.0 * eps);
            assert!(
                (numeric - grad[j]).abs() <= tol * (1.0 + numeric.abs()),
                "{name}: variable {i}, element {j}: gradient {} but central difference {numeric}",
                grad[j]
            );
        }
    }
}

/// Checks first and second derivatives of a run.
pub fn check_run(name: &str, run: &Run, xs: &[Tensor], eps: f64, tol: f64) {
    compare(name, run, xs, eps, tol);
    // The gradients, summed with fixed weights, are a function to differentiate again.
    let second = |xs: &[Tensor]| {
        let (y, vars) = run(xs);
        let c = cotangent(&y);
        let grads = vjp_or_none(&y, &c, &vars.iter().collect::<Vec<_>>()).unwrap();
        let sum = grads.iter().enumerate().filter_map(|(i, g)| g.as_ref().map(|g| (i, g)));
        let sum = sum.map(|(i, g)| (g * randn(g.dims(), 200 + i as u64)).sum(..)).reduce(|a, b| a + b);
        (sum.unwrap_or_else(|| Tensor::zeros((), DType::F64)), vars)
    };
    compare(&format!("{name}, second order"), &second, xs, eps, tol * 10.0);
}

/// Checks first and second derivatives of a function by all its inputs, in f64.
pub fn gradcheck(name: &str, f: impl Fn(&[Tensor]) -> Tensor, inputs: &[Tensor], eps: f64, tol: f64) {
    let run = |xs: &[Tensor]| {
        let vars: Vec<Tensor> = xs.iter().map(Tensor::requires_grad).collect();
        (f(&vars), vars)
    };
    check_run(name, &run, inputs, eps, tol);
}

/// Checks first and second derivatives of a layer by its input and all its parameters, in f64. The
/// parameters are first moved to random values, so that none is at a special one.
pub fn gradcheck_layer<M: Module>(name: &str, layer: &M, f: impl Fn(&M, &Tensor) -> Tensor, x: &Tensor) {
    let params: Vec<Param> = layer.parameters().into_iter().map(|(_, p)| p).collect();
    let mut inputs = vec![x.clone()];
    inputs.extend(params.iter().enumerate().map(|(i, p)| randn(&p.shape(), 300 + i as u64)));
    let run = |xs: &[Tensor]| {
        let mut vars = vec![xs[0].requires_grad()];
        for (p, value) in params.iter().zip(&xs[1..]) {
            p.set(value.clone());
            vars.push(p.get());
        }
        (f(layer, &vars[0]), vars)
    };
    check_run(name, &run, &inputs, 1e-6, 2e-6);
}

/// Cases and tensors of one file of `tests-data/golden`.
pub struct Golden {
    pub cases: Vec<Value>,
    tensors: BTreeMap<String, Tensor>,
}

impl Golden {
    pub fn load(name: &str) -> Golden {
        let base = format!("{}/../../tests-data/golden/{name}", env!("CARGO_MANIFEST_DIR"));
        let json: Value = serde_json::from_slice(&std::fs::read(format!("{base}.json")).unwrap()).unwrap();
        let bytes = std::fs::read(format!("{base}.safetensors")).unwrap();
        let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
        let tensors = file
            .tensors()
            .into_iter()
            .map(|(name, view)| {
                let dtype = match view.dtype() {
                    safetensors::Dtype::F64 => DType::F64,
                    safetensors::Dtype::F32 => DType::F32,
                    safetensors::Dtype::F16 => DType::F16,
                    safetensors::Dtype::BF16 => DType::BF16,
                    safetensors::Dtype::I64 => DType::I64,
                    safetensors::Dtype::I32 => DType::I32,
                    safetensors::Dtype::U8 => DType::U8,
                    safetensors::Dtype::BOOL => DType::Bool,
                    other => panic!("{name} has dtype {other:?}"),
                };
                (name, Tensor::from_bytes(view.data(), view.shape().to_vec(), dtype))
            })
            .collect();
        Golden { cases: json["cases"].as_array().unwrap().clone(), tensors }
    }

    pub fn tensor(&self, key: &str) -> Tensor {
        self.tensors.get(key).unwrap_or_else(|| panic!("no tensor {key}")).clone()
    }

    /// The tensors of a list of a case; `None` where there is none.
    pub fn list(&self, case: &Value, what: &str) -> Vec<Option<Tensor>> {
        case[what].as_array().unwrap().iter().map(|k| k.as_str().map(|k| self.tensor(k))).collect()
    }
}

/// The result of a case: its outputs, and the tensors that stand for its inputs in the graph (`None` for
/// those that no gradient is asked for).
pub struct Outcome {
    pub outputs: Vec<Tensor>,
    pub inputs: Vec<Option<Tensor>>,
}

/// Compares outputs and gradients with PyTorch's.
pub fn compare_case(golden: &Golden, case: &Value, outcome: &Outcome, tol: f64) {
    let name = case["name"].as_str().unwrap();
    let outputs = golden.list(case, "outputs");
    assert_eq!(outputs.len(), outcome.outputs.len(), "{name}");
    for (i, (want, have)) in outputs.iter().zip(&outcome.outputs).enumerate() {
        close(&format!("{name}: output {i}"), have, want.as_ref().unwrap(), tol);
    }
    let (cotangents, grads) = (golden.list(case, "cotangents"), golden.list(case, "grads"));
    for (i, (want, input)) in grads.iter().zip(&outcome.inputs).enumerate() {
        let Some(want) = want else { continue };
        let input =
            input.as_ref().unwrap_or_else(|| panic!("{name}: the gradient of input {i} is not compared"));
        let mut sum: Option<Tensor> = None;
        for (y, c) in outcome.outputs.iter().zip(&cotangents) {
            let Some(c) = c else { continue };
            let g = vjp_or_none(y, c, &[input]).unwrap().remove(0);
            sum = match (sum, g) {
                (Some(a), Some(b)) => Some(a + b),
                (a, b) => a.or(b),
            };
        }
        let have = sum.unwrap_or_else(|| Tensor::zeros_like(input));
        close(&format!("{name}: gradient of input {i}"), &have, want, tol);
    }
}

pub fn close(what: &str, have: &Tensor, want: &Tensor, tol: f64) {
    have.checked().unwrap_or_else(|e| panic!("{what}: {e}"));
    assert_eq!(have.dims(), want.dims(), "{what}: shape");
    assert_eq!(have.dtype(), want.dtype(), "{what}: dtype");
    for (i, (a, b)) in values(have).iter().zip(values(want)).enumerate() {
        let near = a == &b || (a.is_nan() && b.is_nan()) || (a - b).abs() <= tol * (1.0 + b.abs());
        assert!(near, "{what}: element {i} is {a}, PyTorch has {b}");
    }
}
