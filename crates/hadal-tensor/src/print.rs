//! Tensors as text, laid out as NumPy's `str` does (`numpy/_core/arrayprint.py`, version 2.4, with its
//! default options).

use crate::Tensor;
use crate::tensor::Value;
use hadal_core::half::{bf16, f16};
use hadal_core::{DType, Scalar};
use std::fmt;

/// Digits after the point at most.
const PRECISION: usize = 8;
/// More elements than this are not all shown,
const THRESHOLD: usize = 1000;
/// but so many at each end of a dimension.
const EDGE_ITEMS: usize = 3;
/// Characters in a line.
const LINE_WIDTH: usize = 75;

/// Evaluates; an error on the way is printed instead of values.
///
/// ```
/// use hadal_tensor::Tensor;
/// let x = Tensor::new([[1.0f32, -2.5], [0.25, 4.0]]);
/// assert_eq!(x.to_string(), "[[ 1.   -2.5 ]\n [ 0.25  4.  ]]");
/// ```
impl fmt::Display for Tensor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.checked().and_then(|t| t.force()) {
            Ok(v) => f.write_str(&text(&v, self.dtype(), " ", "")),
            Err(e) => write!(f, "Tensor(error: {e})"),
        }
    }
}

/// Does not evaluate: shows the values only where they are there already.
impl fmt::Debug for Tensor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (shape, dtype) = (self.shape(), self.dtype());
        match (self.error(), self.0.value()) {
            (Some(e), _) => write!(f, "Tensor(error: {e})"),
            (None, Some(v)) => {
                const PREFIX: &str = "tensor(";
                write!(f, "{PREFIX}{}, shape={shape}, dtype={dtype})", text(&v, dtype, ", ", PREFIX))
            }
            (None, None) => write!(f, "Tensor({shape} {dtype}, lazy {})", self.0.op.name()),
        }
    }
}

fn text(value: &Value, dtype: DType, separator: &'static str, prefix: &str) -> String {
    let shape = &value.layout.shape;
    if shape.numel() == 0 {
        return "[]".to_owned();
    }
    let summarize = shape.numel() > THRESHOLD;
    let shown: Vec<Vec<usize>> = shape
        .iter()
        .map(|&n| match summarize && n > 2 * EDGE_ITEMS {
            true => (0..EDGE_ITEMS).chain(n - EDGE_ITEMS..n).collect(),
            false => (0..n).collect(),
        })
        .collect();
    if shape.rank() == 0 {
        return match number(value, dtype, value.layout.offset) {
            Number::Float(x) => scalar_text(&x),
            Number::Int(i) => i.to_string(),
            Number::Bool(b) => (if b { "True" } else { "False" }).to_owned(),
        };
    }
    let mut numbers = Vec::new();
    collect(value, dtype, &shown, value.layout.offset as isize, 0, &mut numbers);
    let words = words(&numbers);
    let mut writer = Writer { words: words.iter(), shown, shape, separator };
    writer.dimension(0, prefix.len() + 1, LINE_WIDTH)
}

/// An element as it prints.
enum Number {
    Float(Float),
    Int(i64),
    Bool(bool),
}

/// A float and the type whose neighbours it must be told from.
#[derive(Clone, Copy)]
struct Float {
    value: f64,
    kind: Kind,
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    F64,
    F32,
    F16,
}

fn number(value: &Value, dtype: DType, at: usize) -> Number {
    let size = dtype.size();
    let bytes = &value.buffer.bytes()[at * size..(at + 1) * size];
    let float = |value: f64, kind| Number::Float(Float { value, kind });
    macro_rules! read {
        ($t:ty) => {{
            let mut raw = [0; size_of::<$t>()];
            raw.copy_from_slice(bytes);
            <$t>::from_le_bytes(raw)
        }};
    }
    match dtype {
        DType::F64 => float(read!(f64), Kind::F64),
        DType::F32 => float(read!(f32) as f64, Kind::F32),
        DType::F16 => float(read!(f16).to_f64(), Kind::F16),
        // NumPy has no bf16: shown as the f32 it is.
        DType::BF16 => float(read!(bf16).to_f64(), Kind::F32),
        DType::I64 => Number::Int(read!(i64)),
        DType::I32 => Number::Int(read!(i32) as i64),
        DType::U8 => Number::Int(read!(u8) as i64),
        DType::Bool => Number::Bool(bytes[0] != 0),
    }
}

/// The elements that are shown, in order.
fn collect(v: &Value, dtype: DType, shown: &[Vec<usize>], at: isize, axis: usize, out: &mut Vec<Number>) {
    let Some(indices) = shown.get(axis) else {
        out.push(number(v, dtype, at as usize));
        return;
    };
    for &i in indices {
        collect(v, dtype, shown, at + i as isize * v.layout.strides[axis], axis + 1, out);
    }
}

/// Every element as text of one width.
fn words(numbers: &[Number]) -> Vec<String> {
    let floats: Vec<Float> =
        numbers.iter().filter_map(|n| if let Number::Float(x) = n { Some(*x) } else { None }).collect();
    if !floats.is_empty() {
        let format = FloatFormat::new(&floats);
        return floats.iter().map(|x| format.text(x)).collect();
    }
    let plain: Vec<String> = numbers
        .iter()
        .map(|n| match n {
            Number::Bool(b) => (if *b { "True" } else { "False" }).to_owned(),
            Number::Int(i) => i.to_string(),
            Number::Float(x) => scalar_text(x),
        })
        .collect();
    let bools = matches!(numbers.first(), Some(Number::Bool(_)));
    // A bool is as wide as "False" even where none is false.
    let width = if bools { 5 } else { plain.iter().map(String::len).max().unwrap_or(0) };
    plain.into_iter().map(|w| format!("{w:>width$}")).collect()
}

/// Brackets, line breaks and dots around the words.
struct Writer<'a> {
    words: std::slice::Iter<'a, String>,
    shown: Vec<Vec<usize>>,
    shape: &'a hadal_core::Shape,
    separator: &'static str,
}

impl Writer<'_> {
    /// The text of the next sub-array. `indent` is how far its following lines are moved in, `width`
    /// what a line may hold less the brackets to close.
    fn dimension(&mut self, axis: usize, indent: usize, width: usize) -> String {
        let count = self.shown[axis].len();
        let dots = count < self.shape[axis];
        if axis + 1 == self.shape.rank() {
            return self.row(count, dots, indent, width);
        }
        let axes_left = self.shape.rank() - axis;
        let between =
            self.separator.trim_end().to_owned() + &"\n".repeat(axes_left - 1) + &" ".repeat(indent);
        let mut parts = Vec::with_capacity(count + 1);
        for i in 0..count {
            if dots && i == EDGE_ITEMS {
                parts.push("...".to_owned());
            }
            parts.push(self.dimension(axis + 1, indent + 1, width.saturating_sub(1)));
        }
        format!("[{}]", parts.join(&between))
    }

    fn row(&mut self, count: usize, dots: bool, indent: usize, width: usize) -> String {
        let hanging = " ".repeat(indent);
        // The longest line before the bracket or separator that ends it.
        let limit = width.saturating_sub(self.separator.trim_end().len().max(1));
        let (mut text, mut line) = (String::new(), hanging.clone());
        let mut extend = |line: &mut String, word: &str| {
            if line.len() + word.len() > limit && line.len() > indent {
                text.push_str(line.trim_end());
                text.push('\n');
                line.clone_from(&hanging);
            }
            line.push_str(word);
        };
        for i in 0..count {
            if dots && i == EDGE_ITEMS {
                extend(&mut line, "...");
                line.push_str(self.separator);
            }
            let Some(word) = self.words.next() else { break };
            extend(&mut line, word);
            if i + 1 < count {
                line.push_str(self.separator);
            }
        }
        text.push_str(&line);
        format!("[{}]", &text[indent..])
    }
}

/// Shortest decimal digits that tell a float from its neighbours of the same type.
struct Decimal {
    negative: bool,
    /// At least one.
    digits: String,
    /// Power of ten of the first digit.
    exponent: i32,
}

impl Float {
    fn shortest(&self) -> Decimal {
        let x = self.value;
        let short = match self.kind {
            Kind::F64 => format!("{x:e}"),
            Kind::F32 => format!("{:e}", x as f32),
            Kind::F16 => shortest_half(x),
        };
        // Of two equally near decimals NumPy takes the even one, as exact rounding does.
        let mantissa = short.split_once('e').map_or(short.as_str(), |(m, _)| m);
        let places = mantissa.chars().filter(char::is_ascii_digit).count().saturating_sub(1);
        let even = format!("{x:.places$e}");
        let same = even.parse::<f64>().is_ok_and(|v| match self.kind {
            Kind::F64 => v == x,
            Kind::F32 => even.parse::<f32>().is_ok_and(|v| v == x as f32),
            Kind::F16 => f16::from_f64(v) == f16::from_f64(x),
        });
        let text = if same { even } else { short };
        Decimal::parse(&text)
    }

    /// The digits with at most `places` after the point, in `d.ddd` form if `scientific`.
    fn rounded(&self, places: usize, scientific: bool) -> Decimal {
        let short = self.shortest();
        let point = if scientific { 0 } else { short.exponent };
        let after = short.digits.len() as i32 - 1 - point;
        if after <= places as i32 {
            return short;
        }
        // Rounded from the exact value, not from the shortest digits.
        if scientific {
            return Decimal::parse(&format!("{:.places$e}", self.value));
        }
        let fixed = format!("{:.places$}", self.value.abs());
        let (whole, fraction) = fixed.split_once('.').unwrap_or((&fixed, ""));
        let all = format!("{whole}{fraction}");
        let lead = all.len() - all.trim_start_matches('0').len();
        let digits = all[lead..].trim_end_matches('0');
        Decimal {
            negative: short.negative,
            digits: if digits.is_empty() { "0".into() } else { digits.into() },
            exponent: if digits.is_empty() { 0 } else { whole.len() as i32 - 1 - lead as i32 },
        }
    }
}

/// The fewest digits that read back as this half, as `{:e}` writes them.
fn shortest_half(x: f64) -> String {
    let exact = f16::from_f64(x);
    // Five digits tell any two halves apart.
    for places in 0..4usize {
        let near = format!("{x:.places$e}");
        let (mantissa, exponent) = near.split_once('e').unwrap_or((&near, "0"));
        let digits: i64 = mantissa.replace('.', "").parse().unwrap_or(0);
        let power = exponent.parse::<i64>().unwrap_or(0) - places as i64;
        // Above a power of two the neighbour is twice as far as below it: the nearest decimal may
        // be outside on that side while the next one is inside.
        for candidate in [digits, digits + digits.signum()] {
            if let Ok(v) = format!("{candidate}e{power}").parse::<f64>()
                && f16::from_f64(v) == exact
            {
                return format!("{:e}", if x.is_sign_negative() { -v.abs() } else { v });
            }
        }
    }
    format!("{x:.4e}")
}

impl Decimal {
    /// Reads Rust's `{:e}`.
    fn parse(text: &str) -> Decimal {
        let (mantissa, exponent) = text.split_once('e').unwrap_or((text, "0"));
        let digits: String = mantissa.chars().filter(char::is_ascii_digit).collect();
        let kept = digits.trim_end_matches('0');
        Decimal {
            negative: mantissa.starts_with('-'),
            digits: if kept.is_empty() { "0".into() } else { kept.into() },
            exponent: exponent.parse().unwrap_or(0),
        }
    }

    fn sign(&self) -> &'static str {
        if self.negative { "-" } else { "" }
    }

    /// Before and after the point, written out; nothing after it where it is whole.
    fn positional(&self) -> (String, String) {
        let n = self.digits.len() as i32;
        let (whole, fraction) = if self.exponent < 0 {
            ("0".to_owned(), "0".repeat((-self.exponent - 1) as usize) + &self.digits)
        } else if self.exponent + 1 >= n {
            (self.digits.clone() + &"0".repeat((self.exponent + 1 - n) as usize), String::new())
        } else {
            let (a, b) = self.digits.split_at(self.exponent as usize + 1);
            (a.to_owned(), b.to_owned())
        };
        let fraction = if self.digits == "0" { String::new() } else { fraction };
        (format!("{}{whole}", self.sign()), fraction)
    }

    /// Before the point, after it, and the exponent's size as text of two digits at least.
    fn scientific(&self) -> (String, String, String) {
        let (a, b) = self.digits.split_at(1);
        (format!("{}{a}", self.sign()), b.to_owned(), format!("{:02}", self.exponent.abs()))
    }
}

/// How the floats of one tensor are written: all alike.
struct FloatFormat {
    exponential: bool,
    /// Characters before the point.
    left: usize,
    /// Digits after the point.
    right: usize,
    /// Digits of the exponent.
    exponent: usize,
}

impl FloatFormat {
    fn new(all: &[Float]) -> FloatFormat {
        let finite: Vec<&Float> = all.iter().filter(|x| x.value.is_finite()).collect();
        let exponential = exponential(&finite);
        let (mut left, mut right, mut exponent) = (0, 0, 0);
        for x in &finite {
            let d = x.rounded(PRECISION, exponential);
            let (whole, fraction) = if exponential {
                let (whole, fraction, e) = d.scientific();
                exponent = exponent.max(e.len());
                (whole, fraction)
            } else {
                d.positional()
            };
            left = left.max(whole.len());
            right = right.max(fraction.len());
        }
        let mut format = FloatFormat { exponential, left, right, exponent };
        if finite.len() < all.len() {
            let after = format.width() - left;
            let minus = all.iter().any(|x| x.value == f64::NEG_INFINITY) as usize;
            // "nan" and "inf" are three characters.
            format.left = left.max((3 + minus).saturating_sub(after));
        }
        format
    }

    /// Characters of every number. The exponent has an `e` and a sign.
    fn width(&self) -> usize {
        self.left + 1 + self.right + if self.exponential { self.exponent + 2 } else { 0 }
    }

    fn text(&self, x: &Float) -> String {
        if !x.value.is_finite() {
            return format!("{:>w$}", non_finite(x.value), w = self.width());
        }
        let (left, right) = (self.left, self.right);
        if self.exponential {
            // Digits beyond the shortest are those of the exact value.
            let d = Decimal::parse(&format!("{:.right$e}", x.value));
            let (whole, fraction, e) = d.scientific();
            let sign = if d.exponent < 0 { '-' } else { '+' };
            format!("{whole:>left$}.{fraction:0<right$}e{sign}{e:0>w$}", w = self.exponent)
        } else {
            let (whole, fraction) = x.rounded(PRECISION, false).positional();
            format!("{whole:>left$}.{fraction:<right$}")
        }
    }
}

fn non_finite(x: f64) -> &'static str {
    match x {
        f64::INFINITY => "inf",
        f64::NEG_INFINITY => "-inf",
        _ => "nan",
    }
}

/// From this value on numbers are written with an exponent: `10^p` where the type holds `p` decimal
/// digits for sure, at most `10^8`.
fn large(kind: Kind) -> f64 {
    match kind {
        Kind::F64 => 1e8,
        Kind::F32 => 1e6,
        Kind::F16 => 1e3,
    }
}

/// Whether NumPy writes these (finite) numbers with exponents: any is large, any tiny, or they differ
/// by more than a factor of 1000. The comparisons are in the numbers' own type, as NumPy's.
fn exponential(finite: &[&Float]) -> bool {
    let sizes: Vec<f64> = finite.iter().map(|x| x.value.abs()).filter(|x| *x != 0.0).collect();
    let (Some(first), Some(kind)) = (sizes.first(), finite.first().map(|x| x.kind)) else { return false };
    let max = sizes.iter().fold(*first, |a, b| a.max(*b));
    let min = sizes.iter().fold(*first, |a, b| a.min(*b));
    let own = |x: f64| match kind {
        Kind::F64 => x,
        Kind::F32 => Scalar::F(x).cast(DType::F32).to_f64(),
        Kind::F16 => Scalar::F(x).cast(DType::F16).to_f64(),
    };
    max >= large(kind) || min < own(0.0001) || own(max / min) > 1000.0
}

/// A 0-d float: all its digits, no padding.
fn scalar_text(x: &Float) -> String {
    if !x.value.is_finite() {
        return non_finite(x.value).to_owned();
    }
    let d = x.shortest();
    let size = x.value.abs();
    // NumPy's limit for scalars is larger for f64.
    let limit = if x.kind == Kind::F64 { 1e16 } else { large(x.kind) };
    if size == 0.0 || (0.0001..limit).contains(&size) {
        let (whole, fraction) = d.positional();
        return format!("{whole}.{}", if fraction.is_empty() { "0" } else { &fraction });
    }
    let (whole, fraction, e) = d.scientific();
    let point = if fraction.is_empty() { "" } else { "." };
    format!("{whole}{point}{fraction}e{}{e}", if d.exponent < 0 { '-' } else { '+' })
}
