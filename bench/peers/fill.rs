//! The data of the workloads, the same for all contenders: numbers from a hash of a name and a position.
//! The rule is stated in `README.md` beside this file. Hadal's contender and the Rust peers include this file.

/// Range of data whose variance is one.
pub const UNIT: f32 = 1.732_050_8;

/// FNV-1a, so that every name has numbers of its own.
fn stream(name: &str) -> u32 {
    name.bytes().fold(0x811c_9dc5, |h, b| (h ^ u32::from(b)).wrapping_mul(0x0100_0193))
}

/// The bits for a position (the finalizer `lowbias32` of the hash prospector by C. Wellons).
fn bits(stream: u32, i: usize) -> u32 {
    let mut x = (i as u32).wrapping_mul(0x9e37_79b1).wrapping_add(stream);
    x = (x ^ (x >> 16)).wrapping_mul(0x7feb_352d);
    x = (x ^ (x >> 15)).wrapping_mul(0x846c_a68b);
    x ^ (x >> 16)
}

/// Uniform in `[-scale, scale)`.
pub fn values(name: &str, len: usize, scale: f32) -> Vec<f32> {
    let s = stream(name);
    // 24 bits: exact in f32, as is the subtraction.
    (0..len).map(|i| ((bits(s, i) >> 8) as f32 / 8_388_608.0 - 1.0) * scale).collect()
}

/// Whole numbers below `n`.
pub fn indices(name: &str, len: usize, n: u32) -> Vec<i64> {
    let s = stream(name);
    (0..len).map(|i| i64::from((bits(s, i) >> 8) % n)).collect()
}

/// The parameter or running statistic of this name: convolutions after He, other matrices so that variance is kept,
/// the weights of norms and running variances near one, the others near zero.
pub fn parameter(name: &str, shape: &[usize]) -> Vec<f32> {
    let len: usize = shape.iter().product();
    let fan_in: usize = shape.iter().skip(1).product();
    match shape.len() {
        0 | 1 if name.ends_with("weight") || name.ends_with("var") => {
            values(name, len, 0.1).into_iter().map(|x| 1.0 + x).collect()
        }
        0 | 1 => values(name, len, 0.1),
        2 => values(name, len, (3.0 / fan_in as f64).sqrt() as f32),
        _ => values(name, len, (6.0 / fan_in as f64).sqrt() as f32),
    }
}

/// What is compared of an output: length, sum, sum of absolute values, and nine elements spread over it.
pub fn summary(values: &[f32]) -> String {
    let (mut sum, mut abs) = (0.0f64, 0.0f64);
    for &x in values {
        sum += f64::from(x);
        abs += f64::from(x.abs());
    }
    let last = values.len().saturating_sub(1);
    let at: Vec<String> =
        (0..9).filter_map(|i| values.get(last * i / 8)).map(|x| number(f64::from(*x))).collect();
    format!(
        r#"{{"len": {}, "sum": {}, "abs": {}, "at": [{}]}}"#,
        values.len(),
        number(sum),
        number(abs),
        at.join(", ")
    )
}

/// JSON knows no NaN and no infinity.
fn number(x: f64) -> String {
    if !x.is_finite() {
        return "null".to_owned();
    }
    format!("{x:e}")
}
