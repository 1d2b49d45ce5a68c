//! Creation: from data, constants, ranges, random numbers; and back to data.

use crate::tensor::{Value, ones_of, possible, too_large};
use crate::{Tensor, plan};
use hadal_core::ops::{Distribution, Op};
use hadal_core::smallvec::smallvec;
use hadal_core::{Buffer, DType, Element, Error, ErrorKind, Result, Scalar, Shape};

/// The key of a stream of random numbers. The same key gives the same numbers on every machine and
/// for any number of threads; streams split from it are independent.
///
/// ```
/// use hadal_tensor::{DType, Key, Tensor};
/// let key = Key::new(42);
/// let a = Tensor::rand([3], DType::F32, key);
/// let b = Tensor::rand([3], DType::F32, key);
/// assert_eq!(a.to_vec::<f32>().unwrap(), b.to_vec::<f32>().unwrap());
/// let c = Tensor::rand([3], DType::F32, key.split(1));
/// assert_ne!(a.to_vec::<f32>().unwrap(), c.to_vec::<f32>().unwrap());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Key {
    /// The seed.
    pub seed: u64,
    /// The stream within the seed.
    pub stream: u64,
}

impl Key {
    /// The first stream of a seed.
    pub fn new(seed: u64) -> Key {
        Key { seed, stream: 0 }
    }
    /// The `n`th stream below this one.
    pub fn split(self, n: u64) -> Key {
        // SplitMix64 (Steele, Lea, Flood 2014), a bijection: neighbouring numbers end far apart.
        let mut z = self.stream ^ n.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        Key { seed: self.seed, stream: z ^ (z >> 31) }
    }
}

/// Nested arrays and vectors as data: `[[1.0, 2.0], [3.0, 4.0]]`.
pub trait Nested {
    /// The element type.
    type Elem: Element;
    /// Sizes from here inward; `None` when rows differ in length.
    fn shape(&self) -> Option<Vec<usize>>;
    /// Appends all elements in row-major order.
    fn collect(&self, out: &mut Vec<Self::Elem>);
}
macro_rules! nested_elem {
    ($($t:ty),*) => { $(impl Nested for $t {
        type Elem = $t;
        fn shape(&self) -> Option<Vec<usize>> { Some(Vec::new()) }
        fn collect(&self, out: &mut Vec<$t>) { out.push(*self) }
    })* };
}
nested_elem!(f32, f64, half::f16, half::bf16, i64, i32, u8, bool);
impl<T: Nested> Nested for [T] {
    type Elem = T::Elem;
    fn shape(&self) -> Option<Vec<usize>> {
        let mut dims = vec![self.len()];
        if let Some(first) = self.first() {
            let inner = first.shape()?;
            for row in self {
                if row.shape()? != inner {
                    return None;
                }
            }
            dims.extend(inner);
        }
        Some(dims)
    }
    fn collect(&self, out: &mut Vec<T::Elem>) {
        self.iter().for_each(|row| row.collect(out));
    }
}
impl<T: Nested, const N: usize> Nested for [T; N] {
    type Elem = T::Elem;
    fn shape(&self) -> Option<Vec<usize>> {
        self.as_slice().shape()
    }
    fn collect(&self, out: &mut Vec<T::Elem>) {
        self.as_slice().collect(out)
    }
}
impl<T: Nested> Nested for Vec<T> {
    type Elem = T::Elem;
    fn shape(&self) -> Option<Vec<usize>> {
        self.as_slice().shape()
    }
    fn collect(&self, out: &mut Vec<T::Elem>) {
        self.as_slice().collect(out)
    }
}
impl<T: Nested + ?Sized> Nested for &T {
    type Elem = T::Elem;
    fn shape(&self) -> Option<Vec<usize>> {
        (**self).shape()
    }
    fn collect(&self, out: &mut Vec<T::Elem>) {
        (**self).collect(out)
    }
}

impl Tensor {
    #[track_caller]
    fn create(op: Op, shape: Shape, dtype: DType) -> Tensor {
        Tensor::make(op, smallvec![], shape, dtype)
    }

    /// A 1-d tensor with a copy of these elements.
    pub fn from_slice<T: Element>(data: &[T]) -> Tensor {
        let buffer = Buffer::from_slice(data);
        Tensor::from_buffer(buffer, Shape::from(data.len()), T::DTYPE)
    }

    /// A tensor of this shape with these elements in row-major order.
    #[track_caller]
    pub fn from_vec<T: Element>(data: Vec<T>, shape: impl Into<Shape>) -> Tensor {
        let shape = shape.into();
        if !possible(&shape, T::DTYPE) {
            return Tensor::poison(too_large("from_vec", &shape, T::DTYPE), &ones_of(&shape), T::DTYPE);
        }
        if shape.numel() != data.len() {
            let e = Error::new(
                ErrorKind::Shape,
                "from_vec",
                format!("{} elements do not fill shape {shape}, which has {}", data.len(), shape.numel()),
            )
            .help("give as many elements as the sizes multiply to");
            return Tensor::poison(e, &Shape::from(data.len()), T::DTYPE);
        }
        Tensor::from_buffer(Buffer::from_slice(&data), shape, T::DTYPE)
    }

    /// A tensor from nested arrays, vectors or slices; or from one number, 0-d.
    ///
    /// ```
    /// use hadal_tensor::Tensor;
    /// let x = Tensor::new([[1.0f32, 2.0], [3.0, 4.0], [5.0, 6.0]]);
    /// assert_eq!(x.dims(), [3, 2]);
    /// ```
    #[track_caller]
    pub fn new(data: impl Nested) -> Tensor {
        let mut flat = Vec::new();
        data.collect(&mut flat);
        match data.shape() {
            Some(dims) => Tensor::from_vec(flat, dims),
            None => {
                let e = Error::new(ErrorKind::Shape, "new", "rows differ in length")
                    .help("pad them to one length, or make a tensor for each");
                Tensor::poison(e, &Shape::from(flat.len()), DType::F32)
            }
        }
    }

    /// A tensor from little-endian bytes in row-major order, as files hold it.
    #[track_caller]
    pub fn from_bytes(bytes: &[u8], shape: impl Into<Shape>, dtype: DType) -> Tensor {
        let shape = shape.into();
        if !possible(&shape, dtype) {
            return Tensor::poison(too_large("from_bytes", &shape, dtype), &ones_of(&shape), dtype);
        }
        let fits = shape.numel() * dtype.size() == bytes.len();
        let valid = dtype != DType::Bool || bytes.iter().all(|b| *b <= 1);
        if !fits || !valid {
            let what = if fits {
                "a byte that is neither 0 nor 1 in a bool tensor".to_owned()
            } else {
                format!("{} bytes do not fill shape {shape} of {dtype}", bytes.len())
            };
            return Tensor::poison(
                Error::new(ErrorKind::Value, "from_bytes", what),
                &Shape::new(&[0]),
                dtype,
            );
        }
        Tensor::from_buffer(Buffer::from_slice(bytes), shape, dtype)
    }

    /// Every element `value`; the dtype follows the number (float f32, integer i64, bool).
    #[track_caller]
    pub fn full(shape: impl Into<Shape>, value: impl Into<Scalar>) -> Tensor {
        let value = value.into();
        Tensor::fill(shape.into(), value, value.dtype())
    }
    #[track_caller]
    pub(crate) fn fill(shape: Shape, value: Scalar, dtype: DType) -> Tensor {
        Tensor::create(Op::Fill(value.cast(dtype)), shape, dtype)
    }
    /// Zeros.
    #[track_caller]
    pub fn zeros(shape: impl Into<Shape>, dtype: DType) -> Tensor {
        Tensor::fill(shape.into(), Scalar::I(0), dtype)
    }
    /// Ones.
    #[track_caller]
    pub fn ones(shape: impl Into<Shape>, dtype: DType) -> Tensor {
        Tensor::fill(shape.into(), Scalar::I(1), dtype)
    }
    /// Zeros of another tensor's shape and dtype.
    #[track_caller]
    pub fn zeros_like(other: &Tensor) -> Tensor {
        Tensor::full_like(other, 0)
    }
    /// Ones of another tensor's shape and dtype.
    #[track_caller]
    pub fn ones_like(other: &Tensor) -> Tensor {
        Tensor::full_like(other, 1)
    }
    /// Every element `value`, of another tensor's shape and dtype.
    #[track_caller]
    pub fn full_like(other: &Tensor, value: impl Into<Scalar>) -> Tensor {
        if other.is_poisoned() {
            return other.clone();
        }
        Tensor::fill(other.shape().clone(), value.into(), other.dtype())
    }
    /// `start, start + step, …` below `end` (above, for a negative step). Integers give i64, a float
    /// among the three f32.
    #[track_caller]
    pub fn arange(start: impl Into<Scalar>, end: impl Into<Scalar>, step: impl Into<Scalar>) -> Tensor {
        let (a, b, s) = (start.into(), end.into(), step.into());
        let float = [a, b, s].iter().any(|v| matches!(v, Scalar::F(_)));
        let dtype = if float { DType::F32 } else { DType::I64 };
        let count = if float || s.to_i64() == 0 {
            ((b.to_f64() - a.to_f64()) / s.to_f64()).ceil()
        } else {
            // Exact where f64 is not.
            let (a, b, s) = (a.to_i64() as i128, b.to_i64() as i128, s.to_i64() as i128);
            ((b - a + s - s.signum()) / s) as f64
        };
        if s.to_f64() == 0.0 || !count.is_finite() {
            let e =
                Error::new(ErrorKind::Value, "arange", format!("no range from {a} to {b} in steps of {s}"))
                    .help("use finite numbers and a step other than 0");
            return Tensor::poison(e, &Shape::from(0), dtype);
        }
        let (a, s) = if float {
            (Scalar::F(a.to_f64()), Scalar::F(s.to_f64()))
        } else {
            (Scalar::I(a.to_i64()), Scalar::I(s.to_i64()))
        };
        Tensor::create(Op::Arange(a, s), Shape::from(count.max(0.0) as usize), dtype)
    }
    /// `n` evenly spaced f32 from `start` to `end`, both included.
    #[track_caller]
    pub fn linspace(start: f64, end: f64, n: usize) -> Tensor {
        if !possible(&Shape::from(n), DType::F32) {
            let shape = Shape::from(n);
            return Tensor::poison(too_large("linspace", &shape, DType::F32), &ones_of(&shape), DType::F32);
        }
        let step = if n > 1 { (end - start) / (n - 1) as f64 } else { 0.0 };
        Tensor::create(Op::Arange(Scalar::F(start), Scalar::F(step)), Shape::from(n), DType::F32)
    }
    /// The identity matrix.
    #[track_caller]
    pub fn eye(n: usize, dtype: DType) -> Tensor {
        let shape = Shape::from([n, n]);
        if !possible(&shape, dtype) {
            return Tensor::poison(too_large("eye", &shape, dtype), &ones_of(&shape), dtype);
        }
        let i = Tensor::arange(0, n, 1);
        i.unsqueeze(1).eq(i.unsqueeze(0)).cast(dtype)
    }
    #[track_caller]
    fn random(shape: Shape, dtype: DType, key: Key, d: Distribution, op: &'static str) -> Tensor {
        let whole = matches!(d, Distribution::Int(..) | Distribution::Permutation);
        if !dtype.is_float() && !whole && !matches!(d, Distribution::Bernoulli(_)) {
            let e = Error::new(ErrorKind::DType, op, format!("random {dtype} are not drawn this way"))
                .help("use a float dtype, or randint");
            return Tensor::poison(e, &shape, dtype);
        }
        Tensor::create(Op::Random(d, [key.seed, key.stream]), shape, dtype)
    }
    /// Uniform in `[0, 1)`.
    #[track_caller]
    pub fn rand(shape: impl Into<Shape>, dtype: DType, key: Key) -> Tensor {
        Tensor::uniform(shape, dtype, key, 0.0, 1.0)
    }
    /// Uniform in `[low, high)`.
    #[track_caller]
    pub fn uniform(shape: impl Into<Shape>, dtype: DType, key: Key, low: f64, high: f64) -> Tensor {
        let shape = shape.into();
        if low.is_nan() || high.is_nan() || low > high {
            let e = Error::new(ErrorKind::Value, "uniform", format!("no interval from {low} to {high}"));
            return Tensor::poison(e, &shape, dtype);
        }
        Tensor::random(shape, dtype, key, Distribution::Uniform(low, high), "uniform")
    }
    /// Standard normal.
    #[track_caller]
    pub fn randn(shape: impl Into<Shape>, dtype: DType, key: Key) -> Tensor {
        Tensor::normal(shape, dtype, key, 0.0, 1.0)
    }
    /// Normal with this mean and standard deviation.
    #[track_caller]
    pub fn normal(shape: impl Into<Shape>, dtype: DType, key: Key, mean: f64, std: f64) -> Tensor {
        let shape = shape.into();
        if std.is_nan() || std < 0.0 {
            let e = Error::new(ErrorKind::Value, "normal", format!("a standard deviation of {std}"));
            return Tensor::poison(e, &shape, dtype);
        }
        Tensor::random(shape, dtype, key, Distribution::Normal(mean, std), "normal")
    }
    /// Whole numbers in `[low, high)`, i64.
    #[track_caller]
    pub fn randint(low: i64, high: i64, shape: impl Into<Shape>, key: Key) -> Tensor {
        let shape = shape.into();
        if low >= high {
            let e = Error::new(
                ErrorKind::Value,
                "randint",
                format!("no whole number from {low} to below {high}"),
            )
            .help("low must be below high, which is not drawn itself");
            return Tensor::poison(e, &shape, DType::I64);
        }
        Tensor::random(shape, DType::I64, key, Distribution::Int(low, high), "randint")
    }
    /// 1 with probability `p`, else 0.
    #[track_caller]
    pub fn bernoulli(shape: impl Into<Shape>, dtype: DType, key: Key, p: f64) -> Tensor {
        let shape = shape.into();
        if !(0.0..=1.0).contains(&p) {
            let e = Error::new(ErrorKind::Value, "bernoulli", format!("a probability of {p}"))
                .help("p is from 0 to 1");
            return Tensor::poison(e, &shape, dtype);
        }
        Tensor::random(shape, dtype, key, Distribution::Bernoulli(p), "bernoulli")
    }
    /// A permutation of `0..n`, i64.
    #[track_caller]
    pub fn randperm(n: usize, key: Key) -> Tensor {
        Tensor::random(Shape::from(n), DType::I64, key, Distribution::Permutation, "randperm")
    }

    /// The only element, converted as a cast would; evaluates.
    ///
    /// # Errors
    /// More or fewer than one element; any error on the way here.
    pub fn item<T: Element>(&self) -> Result<T> {
        self.checked()?;
        if self.numel() != 1 {
            return Err(Error::new(
                ErrorKind::Shape,
                "item",
                format!("{} elements, one expected", self.numel()),
            )
            .operand(self.shape(), self.dtype())
            .help("use to_vec for all of them"));
        }
        let v = self.scalars()?[0];
        Ok(match v {
            Scalar::F(f) => T::from_f64(f),
            other => T::from_i64(other.to_i64()),
        })
    }

    /// All elements in row-major order; evaluates.
    ///
    /// # Errors
    /// `T` is not this tensor's dtype; any error on the way here.
    pub fn to_vec<T: Element>(&self) -> Result<Vec<T>> {
        self.checked()?;
        if T::DTYPE != self.dtype() {
            return Err(Error::new(ErrorKind::DType, "to_vec", format!("asked for {}", T::DTYPE))
                .operand(self.shape(), self.dtype())
                .help(format!("convert it first: .cast(DType::{:?})", T::DTYPE)));
        }
        let bytes = self.to_bytes()?;
        T::from_bytes(&bytes)
            .ok_or_else(|| Error::new(ErrorKind::State, "to_vec", "the buffer does not hold whole elements"))
    }

    /// The elements' little-endian bytes in row-major order, as files hold them; evaluates.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        let v = self.dense()?;
        let n = self.numel() * self.dtype().size();
        let at = v.layout.offset * self.dtype().size();
        Ok(v.buffer.bytes()[at..at + n].to_vec())
    }

    /// The value in row-major order.
    pub(crate) fn dense(&self) -> Result<Value> {
        let v = self.force()?;
        if v.layout.is_contiguous() { Ok(v) } else { plan::copy(self.0.op.name(), &v, self.dtype()) }
    }

    /// All elements as numbers.
    pub(crate) fn scalars(&self) -> Result<Vec<Scalar>> {
        fn read<T: Element>(t: &Tensor, f: impl Fn(T) -> Scalar) -> Result<Vec<Scalar>> {
            Ok(t.to_vec::<T>()?.into_iter().map(f).collect())
        }
        match self.dtype() {
            DType::F32 => read::<f32>(self, |v| Scalar::F(v as f64)),
            DType::F64 => read::<f64>(self, Scalar::F),
            DType::F16 => read::<half::f16>(self, |v| Scalar::F(v.to_f64())),
            DType::BF16 => read::<half::bf16>(self, |v| Scalar::F(v.to_f64())),
            DType::I64 => read::<i64>(self, Scalar::I),
            DType::I32 => read::<i32>(self, |v| Scalar::I(v as i64)),
            DType::U8 => read::<u8>(self, |v| Scalar::I(v as i64)),
            DType::Bool => read::<bool>(self, Scalar::B),
        }
    }

    /// The same tensor as one that training follows. Lazy: a parameter is drawn at its first use.
    pub(crate) fn into_tracked(self) -> Tensor {
        match self.0.value() {
            _ if self.is_poisoned() => self,
            Some(v) => Tensor::from_value(v, self.dtype(), true),
            None => self.rebuild_tracked(),
        }
    }
}
