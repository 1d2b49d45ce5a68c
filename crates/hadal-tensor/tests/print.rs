//! Printed tensors against NumPy's own text.

use hadal_tensor::{DType, Tensor, no_grad};
use serde_json::Value;

fn numbers(v: &Value) -> Vec<f64> {
    v.as_array()
        .unwrap()
        .iter()
        .map(|x| match x {
            Value::String(s) => s.parse().unwrap(),
            Value::Bool(b) => *b as u8 as f64,
            other => other.as_f64().unwrap(),
        })
        .collect()
}

#[test]
fn numpy_golden() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests-data/golden/numpy_print.json");
    let golden: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let cases = golden["cases"].as_array().unwrap();
    assert!(cases.len() >= 40);
    for case in cases {
        let shape: Vec<usize> =
            case["shape"].as_array().unwrap().iter().map(|d| d.as_u64().unwrap() as usize).collect();
        let dtype = DType::parse(case["dtype"].as_str().unwrap()).unwrap();
        let t = Tensor::from_vec(numbers(&case["data"]), shape).cast(dtype);
        assert_eq!(t.to_string(), case["text"].as_str().unwrap(), "{}", case["name"]);
    }
}

fn f32s(data: &[f32]) -> String {
    Tensor::from_slice(data).to_string()
}
fn f16s(data: &[f32]) -> String {
    Tensor::from_slice(data).cast(DType::F16).to_string()
}

/// Texts made with NumPy 2.4.6.
#[test]
fn choice_of_notation_depends_on_the_type() {
    assert_eq!(f32s(&[1e-4]), "[0.0001]");
    assert_eq!(f32s(&[9.9e-5]), "[9.9e-05]");
    assert_eq!(f32s(&[0.1, 100.1]), "[1.000e-01 1.001e+02]");
    assert_eq!(f32s(&[999_999.0, 1e5]), "[999999. 100000.]");
    assert_eq!(f32s(&[1e6]), "[1.e+06]");
    assert_eq!(f16s(&[999.0, 1.0]), "[999.   1.]");
    assert_eq!(f16s(&[1000.0, 5.0]), "[1.e+03 5.e+00]");
    assert_eq!(Tensor::from_slice(&[99_999_999.0f64, 1e5]).to_string(), "[99999999.   100000.]");
    // 1.00000011920928955…, cut at eight digits.
    assert_eq!(Tensor::from_slice(&[0.125f64 / 1048576.0 + 1.0]).to_string(), "[1.00000012]");
}

#[test]
fn scalars() {
    let f32_text = |v: f32| Tensor::new(v).to_string();
    assert_eq!(f32_text(65504.0), "65504.0");
    assert_eq!(f32_text(1e6), "1e+06");
    assert_eq!(f32_text(1e-4), "1e-04");
    assert_eq!(f32_text(12_345_678.0), "1.2345678e+07");
    assert_eq!(f32_text(-0.0), "-0.0");
    assert_eq!(f32_text(f32::NAN), "nan");
    assert_eq!(f32_text(f32::NEG_INFINITY), "-inf");
    let f64_text = |v: f64| Tensor::new(v).to_string();
    assert_eq!(f64_text(9_999_999_999_999_998.0), "9999999999999998.0");
    assert_eq!(f64_text(1e16), "1e+16");
    assert_eq!(f64_text(1.5e-300), "1.5e-300");
    let f16_text = |v: f64| Tensor::new(v).cast(DType::F16).to_string();
    assert_eq!(f16_text(1001.0), "1.001e+03");
    assert_eq!(f16_text(0.0001), "0.0001");
    assert_eq!(f16_text(1.0 / 3.0), "0.3333");
    assert_eq!(f16_text(65504.0), "6.55e+04");
}

#[test]
fn bf16_prints_as_the_f32_it_is() {
    let x = Tensor::new([0.1f32, 1.0, -2.5]).cast(DType::BF16);
    assert_eq!(x.to_string(), x.cast(DType::F32).to_string());
    assert_eq!(x.to_string(), "[ 0.10009766  1.         -2.5       ]");
}

#[test]
fn views_print_their_own_order() {
    let x = Tensor::arange(0, 6, 1).reshape([2, 3]);
    assert_eq!(x.t().to_string(), "[[0 3]\n [1 4]\n [2 5]]");
    assert_eq!(x.flip(1).to_string(), "[[2 1 0]\n [5 4 3]]");
    assert_eq!(Tensor::new(7i64).expand([2, 2]).to_string(), "[[7 7]\n [7 7]]");
    assert_eq!(x.narrow(1, 1, 1).t().select(0, 0).to_string(), "[1 4]");
    // Only the corners of a large view are read.
    let wide = Tensor::new([1i64]).expand([1usize << 40]);
    wide.eval().unwrap();
    assert_eq!(wide.to_string(), "[1 1 1 ... 1 1 1]");
}

#[test]
fn many_dimensions() {
    let x = Tensor::zeros(vec![1usize; 90], DType::I64);
    assert_eq!(x.to_string(), format!("{}0{}", "[".repeat(90), "]".repeat(90)));
    assert_eq!(Tensor::zeros([2, 0, 3], DType::F32).to_string(), "[]");
}

#[test]
fn errors_print_instead_of_failing() {
    let bad = Tensor::new([1.0f32, 2.0]).reshape([3]);
    let text = bad.to_string();
    assert!(text.starts_with("Tensor(error: reshape: 2 elements do not fit shape [3]"), "{text}");
    assert!(format!("{bad:?}").starts_with("Tensor(error: reshape"), "{bad:?}");
    // Found only in the data.
    let late = Tensor::new([1.0f32, 2.0]).index_select(0, &Tensor::new([5i64]));
    assert!(late.to_string().starts_with("Tensor(error: index_select"), "{late}");
}

#[test]
fn debug_does_not_evaluate() {
    let x = Tensor::new([[1.0f32, 2.0], [3.0, 4.5]]);
    let y = no_grad(|| &x + 1.0);
    assert_eq!(format!("{y:?}"), "Tensor([2, 2] f32, lazy add)");
    assert!(!y.is_evaluated());
    assert_eq!(format!("{x:?}"), "tensor([[1. , 2. ],\n        [3. , 4.5]], shape=[2, 2], dtype=f32)");
    y.eval().unwrap();
    assert_eq!(format!("{y:?}"), "tensor([[2. , 3. ],\n        [4. , 5.5]], shape=[2, 2], dtype=f32)");
}
