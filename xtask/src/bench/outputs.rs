//! Comparing what contenders computed, before it is timed.

use serde_json::Value;

/// Differences that rounding in another order explains, as a share of the mean magnitude of an output. ResNet's
/// loss after three steps of training is off by 2e-4, everything else by less than 2e-5.
const TOLERANCE: f64 = 1e-3;
/// The same where products are rounded to 8 bits.
const TOLERANCE_BF16: f64 = 1e-2;

/// Says how `other` differs from `reference`; both are lists of summaries as `bench/peers/README.md` describes them.
pub fn difference(workload: &str, reference: &Value, other: &Value) -> Option<String> {
    let tolerance = if workload.contains("bf16") { TOLERANCE_BF16 } else { TOLERANCE };
    let (Some(a), Some(b)) = (reference.as_array(), other.as_array()) else {
        return Some("no list of outputs".to_owned());
    };
    if a.len() != b.len() {
        return Some(format!("{} outputs and {}", a.len(), b.len()));
    }
    a.iter().zip(b).enumerate().find_map(|(i, (a, b))| {
        one(a, b, tolerance).map(|what| format!("output {} of {}: {what}", i + 1, other_len(other)))
    })
}

fn other_len(other: &Value) -> usize {
    other.as_array().map_or(0, Vec::len)
}

fn one(a: &Value, b: &Value, tolerance: f64) -> Option<String> {
    // Kept in a layout of its own.
    if b.is_null() {
        return None;
    }
    let number = |v: &Value, name: &str| v.get(name).and_then(Value::as_f64);
    let (Some(len), Some(other_len)) = (number(a, "len"), number(b, "len")) else {
        return Some("no length".to_owned());
    };
    if len != other_len {
        return Some(format!("{len} numbers and {other_len}"));
    }
    let (Some(abs), Some(other_abs)) = (number(a, "abs"), number(b, "abs")) else {
        return Some("not finite".to_owned());
    };
    // Sums may cancel: what counts is how large the summed numbers are.
    let all = abs.max(other_abs);
    for name in ["sum", "abs"] {
        let (Some(x), Some(y)) = (number(a, name), number(b, name)) else {
            return Some("not finite".to_owned());
        };
        if (x - y).abs() > tolerance * all {
            return Some(format!("{name} {x} and {y}"));
        }
    }
    let elements = |v: &Value| v.get("at").and_then(Value::as_array).cloned().unwrap_or_default();
    let (xs, ys) = (elements(a), elements(b));
    if xs.len() != ys.len() {
        return Some(format!("{} elements shown and {}", xs.len(), ys.len()));
    }
    xs.iter().zip(&ys).find_map(|(x, y)| match (x.as_f64(), y.as_f64()) {
        (Some(x), Some(y)) if (x - y).abs() <= tolerance * (all / len.max(1.0)).max(x.abs()) => None,
        _ => Some(format!("an element is {x} and {y}")),
    })
}

#[cfg(test)]
mod tests {
    use super::difference;
    use serde_json::{Value, json};

    fn outputs(sum: f64, abs: f64, at: f64) -> Value {
        json!([{"len": 10, "sum": sum, "abs": abs, "at": [at, 1.0]}])
    }

    #[test]
    fn rounding_is_no_difference() {
        let same = difference("w", &outputs(0.0, 10.0, 1.0), &outputs(0.005, 10.0, 1.0005));
        assert_eq!(same, None);
    }

    #[test]
    fn what_differs_is_named() {
        let reference = outputs(0.0, 10.0, 1.0);
        for (other, what) in [
            (outputs(0.1, 10.0, 1.0), "sum"),
            (outputs(0.0, 11.0, 1.0), "abs"),
            (outputs(0.0, 10.0, 1.1), "an element"),
            (outputs(0.0, 10.0, f64::NAN), "an element is 1.0 and null"),
            (json!([]), "1 outputs and 0"),
            (json!(null), "no list"),
            (json!([{"len": 9, "sum": 0.0, "abs": 10.0, "at": []}]), "10 numbers and 9"),
            (json!([{"len": 10, "sum": null, "abs": null, "at": []}]), "not finite"),
        ] {
            let found = difference("w", &reference, &other);
            assert!(found.as_ref().is_some_and(|f| f.contains(what)), "{what}: {found:?}");
        }
        let elsewhere = json!([null]);
        assert_eq!(difference("w", &reference, &elsewhere), None);
        // Half products are rougher.
        assert_eq!(difference("matmul_bf16", &reference, &outputs(0.05, 10.0, 1.005)), None);
    }
}
