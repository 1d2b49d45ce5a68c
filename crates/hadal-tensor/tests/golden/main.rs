//! Every operation against PyTorch: outputs and gradients of the cases in `tests-data/golden/ops.*`
//! (made by `tools/golden/make_ops.py`).

mod case;
mod run;

use case::Case;
use hadal_core::ops::{BinaryOp, UnaryOp};
use hadal_tensor::{DType, Tensor, vjp_or_none};
use std::collections::BTreeMap;
use std::path::Path;

/// Operations whose cases are run elsewhere, or that are not here; each with the reason.
const ELSEWHERE: &[(&str, &str)] = &[
    ("batch_norm", "a layer with state: hadal-nn"),
    ("median", "a later operation"),
    ("logcumsumexp", "a later operation"),
    ("cumprod", "a later operation"),
    ("bitwise_left_shift", "a later operation"),
    ("bitwise_right_shift", "a later operation"),
];

#[test]
fn operations_equal_pytorch() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests-data/golden");
    let cases = Case::read_all(&dir);
    let mut failures = Vec::new();
    let (mut ran, mut gradients) = (0, 0);
    for c in &cases {
        // PyTorch's vectorised f32 GELU gives NaN at +inf, where the limit is inf.
        if c.name == "gelu_edge_f32" {
            continue;
        }
        if c.family == "loss" || ELSEWHERE.iter().any(|(op, _)| *op == c.op) {
            continue;
        }
        let outputs = match run::run(c) {
            Some(o) => o,
            None => {
                failures.push(format!("{}: no such operation in the runner ({} {})", c.name, c.op, c.args));
                continue;
            }
        };
        ran += 1;
        if let Err(e) = compare_outputs(c, &outputs) {
            failures.push(format!("{} ({} {}): {e}", c.name, c.op, c.args));
            continue;
        }
        match compare_gradients(c, &outputs) {
            Ok(n) => gradients += n,
            Err(e) => failures.push(format!("{} ({} {}): gradient: {e}", c.name, c.op, c.args)),
        }
    }
    erfinv_equals_mpmath(&dir);
    write_proofs(&cases, &failures);
    println!("{ran} cases, {gradients} gradients, {} failures", failures.len());
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    // A runner that runs nothing would pass too.
    assert!(ran > 1250 && gradients > 700, "{ran} cases and {gradients} gradients is too few");
}

/// The one pointwise operation without cases from PyTorch: against mpmath, as the scalar function is.
fn erfinv_equals_mpmath(dir: &Path) {
    let text = std::fs::read_to_string(dir.join("math_f64.json")).expect("in the repository");
    let json: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    let column = |i: usize| -> Vec<f64> {
        let rows = json["erfinv"].as_array().expect("a table");
        rows.iter().map(|r| r[i].as_str().and_then(|v| v.parse().ok()).expect("a number")).collect()
    };
    same(&Tensor::from_slice(&column(0)).erfinv(), &Tensor::from_slice(&column(1)), 1e-14).expect("erfinv");
}

/// The table's class of a family of cases.
fn class_of(family: &str) -> &'static str {
    match family {
        "reduce" => "reduce",
        "sort" => "sort",
        "view" => "view",
        "join" => "movement",
        "matmul" => "matmul",
        "index" => "index",
        "conv" => "convolution",
        "pool" => "pooling",
        _ => "composition",
    }
}

/// For the documentation's table of operations: what was compared, in which dtypes.
fn write_proofs(cases: &[Case], failures: &[String]) {
    // PyTorch's names of what has another one here.
    const OURS: &[(&str, &str)] = &[("amax", "max"), ("amin", "min"), ("to", "cast"), ("where", "where_")];
    let mut lines = BTreeMap::<(String, String), bool>::new();
    for c in cases {
        if c.family == "loss" || ELSEWHERE.iter().any(|(op, _)| *op == c.op) {
            continue;
        }
        let failed = failures.iter().any(|f| f.split([' ', ':']).next() == Some(&c.name));
        let name = OURS.iter().find(|(t, _)| *t == c.op).map_or(c.op.as_str(), |(_, o)| o);
        for t in &c.inputs {
            *lines.entry((name.to_owned(), t.dtype().to_string())).or_insert(true) &= !failed;
        }
    }
    let in_table = |op: &str| {
        UnaryOp::ALL.iter().map(|o| o.name()).chain(BinaryOp::ALL.iter().map(|o| o.name())).any(|n| n == op)
    };
    let text: String = lines
        .iter()
        .map(|((op, dtype), ok)| {
            let class = cases.iter().find(|c| c.op == *op).map_or("composition", |c| class_of(&c.family));
            let class = if in_table(op) { String::new() } else { format!("\"class\":\"{class}\",") };
            format!("{{\"op\":\"{op}\",{class}\"forward\":{ok},\"dtypes\":[\"{dtype}\"]}}\n")
        })
        .collect();
    let text = text + "{\"op\":\"erfinv\",\"forward\":true,\"dtypes\":[\"f64\"]}\n";
    let dir = Path::new(concat!(env!("CARGO_TARGET_TMPDIR"), "/../optable"));
    std::fs::create_dir_all(dir).expect("the target folder is writable");
    std::fs::write(dir.join("golden.json"), text).expect("the target folder is writable");
}

fn compare_outputs(c: &Case, outputs: &[Tensor]) -> Result<(), String> {
    if outputs.len() < c.outputs.len() {
        return Err(format!("{} outputs, {} expected", outputs.len(), c.outputs.len()));
    }
    for (i, (got, want)) in outputs.iter().zip(&c.outputs).enumerate() {
        same(got, want, c.tolerance()).map_err(|e| format!("output {i}: {e}"))?;
    }
    Ok(())
}

fn compare_gradients(c: &Case, outputs: &[Tensor]) -> Result<usize, String> {
    let wanted: Vec<usize> = (0..c.inputs.len()).filter(|&i| c.grads[i].is_some()).collect();
    if wanted.is_empty() {
        return Ok(0);
    }
    let xs: Vec<&Tensor> = wanted.iter().map(|&i| &c.inputs[i]).collect();
    let mut sums: Vec<Option<Tensor>> = vec![None; xs.len()];
    for (y, cot) in outputs.iter().zip(&c.cotangents) {
        let Some(cot) = cot else { continue };
        let grads = vjp_or_none(y, cot, &xs).map_err(|e| e.to_string())?;
        for (s, g) in sums.iter_mut().zip(grads) {
            *s = match (s.take(), g) {
                (Some(a), Some(b)) => Some(a + b),
                (a, b) => a.or(b),
            };
        }
    }
    for (k, &i) in wanted.iter().enumerate() {
        let zero = Tensor::zeros_like(&c.inputs[i]);
        let got = sums[k].as_ref().unwrap_or(&zero);
        let want = c.grads[i].as_ref().expect("chosen above");
        same(got, want, c.tolerance()).map_err(|e| format!("input {i}: {e}"))?;
    }
    Ok(wanted.len())
}

fn same(got: &Tensor, want: &Tensor, tol: f64) -> Result<(), String> {
    if let Some(e) = got.error() {
        return Err(e.to_string());
    }
    if got.dtype() != want.dtype() || got.shape() != want.shape() {
        return Err(format!("{} {}, expected {} {}", got.shape(), got.dtype(), want.shape(), want.dtype()));
    }
    let a = got.cast(DType::F64).to_vec::<f64>().map_err(|e| e.to_string())?;
    let b = want.cast(DType::F64).to_vec::<f64>().map_err(|e| e.to_string())?;
    for (i, (x, y)) in a.iter().zip(&b).enumerate() {
        let close = x == y || (x.is_nan() && y.is_nan()) || (x - y).abs() <= tol * (1.0 + y.abs());
        if !close {
            return Err(format!("element {i} is {x:e}, expected {y:e}"));
        }
    }
    Ok(())
}
