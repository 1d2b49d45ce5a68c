//! Plain arrays in row-major order, and the store of buffers that lets a steady loop reuse them.

use crate::error::{DataError, Result};
use hadal_core::DType;
use hadal_tensor::Tensor;
use std::fmt;

/// The elements of an [`Array`].
#[derive(Clone, Debug, PartialEq)]
pub enum ArrayData {
    /// 32-bit floats.
    F32(Vec<f32>),
    /// 64-bit integers, the dtype of labels.
    I64(Vec<i64>),
    /// Bytes, the dtype of undecoded pixels.
    U8(Vec<u8>),
}

impl ArrayData {
    /// Number of elements.
    pub fn len(&self) -> usize {
        match self {
            Self::F32(v) => v.len(),
            Self::I64(v) => v.len(),
            Self::U8(v) => v.len(),
        }
    }

    /// Whether there are no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The element type.
    pub fn dtype(&self) -> DType {
        match self {
            Self::F32(_) => DType::F32,
            Self::I64(_) => DType::I64,
            Self::U8(_) => DType::U8,
        }
    }
}

/// A shape and its elements, row-major, one buffer.
#[derive(Clone, PartialEq)]
pub struct Array {
    shape: Vec<usize>,
    data: ArrayData,
}

impl Array {
    /// An array of that shape.
    ///
    /// # Errors
    /// When the product of the shape is not the number of elements.
    ///
    /// ```
    /// use hadal_data::{Array, ArrayData};
    /// let a = Array::new(vec![2, 3], ArrayData::F32(vec![0.0; 6]))?;
    /// assert_eq!(a.shape(), [2, 3]);
    /// assert!(Array::new(vec![2, 2], ArrayData::F32(vec![0.0; 6])).is_err());
    /// # Ok::<(), hadal_data::DataError>(())
    /// ```
    pub fn new(shape: Vec<usize>, data: ArrayData) -> Result<Self> {
        let product = shape.iter().try_fold(1usize, |a, &d| a.checked_mul(d));
        if product != Some(data.len()) {
            return Err(DataError::argument(
                "Array::new",
                format!("shape {shape:?} does not hold {} elements", data.len()),
            ));
        }
        Ok(Self { shape, data })
    }

    /// For shapes that this crate itself computed from the data.
    pub(crate) fn trusted(shape: Vec<usize>, data: ArrayData) -> Self {
        debug_assert_eq!(shape.iter().product::<usize>(), data.len());
        Self { shape, data }
    }

    /// A float array; see [`Array::new`].
    pub fn f32(shape: &[usize], data: Vec<f32>) -> Result<Self> {
        Self::new(shape.to_vec(), ArrayData::F32(data))
    }

    /// An integer array; see [`Array::new`].
    pub fn i64(shape: &[usize], data: Vec<i64>) -> Result<Self> {
        Self::new(shape.to_vec(), ArrayData::I64(data))
    }

    /// A byte array; see [`Array::new`].
    pub fn u8(shape: &[usize], data: Vec<u8>) -> Result<Self> {
        Self::new(shape.to_vec(), ArrayData::U8(data))
    }

    /// A single integer, of shape `[]`.
    pub fn label(value: i64) -> Self {
        Self { shape: Vec::new(), data: ArrayData::I64(vec![value]) }
    }

    /// The sizes along each axis.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// The elements.
    pub fn data(&self) -> &ArrayData {
        &self.data
    }

    /// The elements, to change in place (their number stays).
    pub fn as_f32_mut(&mut self) -> Option<&mut [f32]> {
        match &mut self.data {
            ArrayData::F32(v) => Some(v),
            _ => None,
        }
    }

    /// Shape and elements, taken apart.
    pub fn into_parts(self) -> (Vec<usize>, ArrayData) {
        (self.shape, self.data)
    }

    /// The element type.
    pub fn dtype(&self) -> DType {
        self.data.dtype()
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        self.data.len()
    }

    /// Whether there are no elements.
    pub fn is_empty(&self) -> bool {
        self.data.is_empty()
    }

    /// A tensor with a copy of the elements, in the same shape and dtype.
    ///
    /// ```
    /// use hadal_data::Array;
    /// let t = Array::f32(&[2, 2], vec![1.0, 2.0, 3.0, 4.0])?.tensor();
    /// assert_eq!(t.dims(), [2, 2]);
    /// # Ok::<(), hadal_data::DataError>(())
    /// ```
    pub fn tensor(&self) -> Tensor {
        match &self.data {
            ArrayData::F32(v) => Tensor::from_slice(v),
            ArrayData::I64(v) => Tensor::from_slice(v),
            ArrayData::U8(v) => Tensor::from_slice(v),
        }
        .reshape(&self.shape)
    }

    /// The elements when they are f32.
    pub fn as_f32(&self) -> Option<&[f32]> {
        match &self.data {
            ArrayData::F32(v) => Some(v),
            _ => None,
        }
    }

    /// The elements when they are i64.
    pub fn as_i64(&self) -> Option<&[i64]> {
        match &self.data {
            ArrayData::I64(v) => Some(v),
            _ => None,
        }
    }

    /// The elements when they are u8.
    pub fn as_u8(&self) -> Option<&[u8]> {
        match &self.data {
            ArrayData::U8(v) => Some(v),
            _ => None,
        }
    }

    /// `f32 [3, 28, 28]`, for messages.
    pub(crate) fn describe(&self) -> String {
        format!("{} {:?}", self.dtype(), self.shape)
    }

    /// Channels, height and width of an image.
    ///
    /// # Errors
    /// When this is not `[c, h, w]` of u8 or f32, or has no pixels.
    pub fn image_dims(&self, op: &'static str) -> Result<(usize, usize, usize)> {
        match (self.shape.as_slice(), &self.data) {
            (&[c, h, w], ArrayData::F32(_) | ArrayData::U8(_)) if c > 0 && h > 0 && w > 0 => Ok((c, h, w)),
            _ => Err(DataError::argument(
                op,
                format!(
                    "needs an image of shape [channels, height, width] in u8 or f32, got {}",
                    self.describe()
                ),
            )),
        }
    }
}

impl fmt::Debug for Array {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Array({})", self.describe())
    }
}

/// Buffers to be used again.
///
/// Fresh memory is the most expensive thing a loader can touch, so whatever a sample or a batch
/// was kept in comes back here.
#[derive(Debug, Default)]
pub struct Buffers {
    f32s: Vec<Vec<f32>>,
    i64s: Vec<Vec<i64>>,
    u8s: Vec<Vec<u8>>,
    made: usize,
}

/// How many buffers of one type are kept; more than any loader has under way.
const KEEP: usize = 64;

fn take<T>(store: &mut Vec<Vec<T>>, len: usize, made: &mut usize) -> Vec<T> {
    // The smallest that is large enough, so that a label's buffer does not hold an image's.
    let best = (0..store.len()).filter(|&i| store[i].capacity() >= len).min_by_key(|&i| store[i].capacity());
    match best {
        Some(i) => store.swap_remove(i),
        None => {
            *made += 1;
            Vec::with_capacity(len)
        }
    }
}

fn give<T>(store: &mut Vec<Vec<T>>, mut buffer: Vec<T>) {
    if buffer.capacity() == 0 {
        return;
    }
    buffer.clear();
    if store.len() < KEEP {
        store.push(buffer);
    } else if let Some(small) = store.iter_mut().min_by_key(|b| b.capacity())
        && small.capacity() < buffer.capacity()
    {
        *small = buffer;
    }
}

impl Buffers {
    /// An empty f32 buffer with room for `len`.
    pub fn take_f32(&mut self, len: usize) -> Vec<f32> {
        take(&mut self.f32s, len, &mut self.made)
    }

    /// An empty i64 buffer with room for `len`.
    pub fn take_i64(&mut self, len: usize) -> Vec<i64> {
        take(&mut self.i64s, len, &mut self.made)
    }

    /// An empty u8 buffer with room for `len`.
    pub fn take_u8(&mut self, len: usize) -> Vec<u8> {
        take(&mut self.u8s, len, &mut self.made)
    }

    /// Takes an array's buffer back.
    pub fn give(&mut self, array: Array) {
        self.give_data(array.data);
    }

    /// Takes a buffer back.
    pub fn give_data(&mut self, data: ArrayData) {
        match data {
            ArrayData::F32(v) => give(&mut self.f32s, v),
            ArrayData::I64(v) => give(&mut self.i64s, v),
            ArrayData::U8(v) => give(&mut self.u8s, v),
        }
    }

    /// Moves what a batch is built in, the two largest of each type, to another store.
    pub(crate) fn move_batch_to(&mut self, other: &mut Buffers) {
        fn largest<T>(from: &mut Vec<Vec<T>>, to: &mut Vec<Vec<T>>) {
            for _ in 0..2 {
                if let Some(i) = (0..from.len()).max_by_key(|&i| from[i].capacity()) {
                    give(to, from.swap_remove(i));
                }
            }
        }
        largest(&mut self.f32s, &mut other.f32s);
        largest(&mut self.i64s, &mut other.i64s);
        largest(&mut self.u8s, &mut other.u8s);
    }

    /// Moves all buffers with room for that many elements of a dtype to another store.
    pub(crate) fn move_large_to(&mut self, dtype: DType, len: usize, other: &mut Buffers) {
        fn large<T>(from: &mut Vec<Vec<T>>, to: &mut Vec<Vec<T>>, len: usize) {
            while let Some(i) = from.iter().position(|b| b.capacity() >= len) {
                give(to, from.swap_remove(i));
            }
        }
        match dtype {
            DType::F32 => large(&mut self.f32s, &mut other.f32s, len),
            DType::I64 => large(&mut self.i64s, &mut other.i64s, len),
            _ => large(&mut self.u8s, &mut other.u8s, len),
        }
    }

    /// How many buffers had to be allocated, since none was large enough; stands still in a steady loop.
    pub fn made(&self) -> usize {
        self.made
    }

    /// How many buffers are held.
    pub fn held(&self) -> usize {
        self.f32s.len() + self.i64s.len() + self.u8s.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overflowing_shape_is_an_error() {
        assert!(Array::f32(&[usize::MAX, 2], vec![]).is_err());
        assert!(Array::f32(&[0, 5], vec![]).is_ok());
    }

    #[test]
    fn buffers_come_back_and_the_smallest_fit_is_taken() {
        let mut b = Buffers::default();
        b.give_data(ArrayData::F32(Vec::with_capacity(100)));
        b.give_data(ArrayData::F32(Vec::with_capacity(10)));
        let small = b.take_f32(5);
        assert!(small.capacity() >= 5 && small.capacity() < 100);
        assert!(b.take_f32(50).capacity() >= 100);
        assert_eq!(b.held(), 0);
    }
}
