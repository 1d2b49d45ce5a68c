//! A tensor as files know it: dtype, shape, little-endian bytes in row-major order.

use crate::error::Problem;
use hadal_core::DType;

/// A tensor's content, owned, independent of any device or graph.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RawTensor {
    /// Element type.
    pub dtype: DType,
    /// Sizes, outermost first; empty for a 0-d tensor.
    pub shape: Vec<usize>,
    /// The elements, little endian, row-major (C order).
    pub data: Vec<u8>,
}

/// A borrowed [`RawTensor`]: what the writers take, so that saving copies nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RawView<'a> {
    /// Element type.
    pub dtype: DType,
    /// Sizes, outermost first.
    pub shape: &'a [usize],
    /// The elements, little endian, row-major.
    pub data: &'a [u8],
}

impl RawTensor {
    /// Borrows it.
    ///
    /// ```
    /// use hadal_io::{DType, RawTensor};
    /// let t = RawTensor { dtype: DType::U8, shape: vec![2], data: vec![1, 2] };
    /// assert_eq!(t.view().data, &[1, 2]);
    /// ```
    pub fn view(&self) -> RawView<'_> {
        RawView { dtype: self.dtype, shape: &self.shape, data: &self.data }
    }
}

impl<'a> From<&'a RawTensor> for RawView<'a> {
    fn from(t: &'a RawTensor) -> Self {
        t.view()
    }
}

/// Bytes of a tensor of this shape; `None` when the number does not fit.
pub(crate) fn byte_count(shape: &[usize], element_bytes: usize) -> Option<usize> {
    if shape.contains(&0) {
        return Some(0);
    }
    shape.iter().try_fold(element_bytes, |a, &d| a.checked_mul(d))
}

/// `[2, 3]`.
pub(crate) fn shape_text<T: std::fmt::Display>(shape: &[T]) -> String {
    let dims: Vec<String> = shape.iter().map(|d| d.to_string()).collect();
    format!("[{}]", dims.join(", "))
}

impl RawView<'_> {
    /// Checks before writing that the bytes are as many as the shape says.
    pub(crate) fn check(&self, name: &str) -> Result<(), Problem> {
        if byte_count(self.shape, self.dtype.size()) != Some(self.data.len()) {
            return Err(Problem::argument(
                format!(
                    "tensor {name:?} of dtype {} and shape {} cannot have {} bytes of data",
                    self.dtype,
                    shape_text(self.shape),
                    self.data.len()
                ),
                "pass exactly (product of the shape) x (size of the dtype) bytes",
            ));
        }
        Ok(())
    }
}

/// Checks after reading that a bool tensor's bytes are 0 or 1.
pub(crate) fn check_bools(name: &str, dtype: DType, data: &[u8]) -> Result<(), Problem> {
    if dtype == DType::Bool
        && let Some(at) = data.iter().position(|&b| b > 1)
    {
        return Err(Problem::damaged(format!(
            "tensor {name:?} is of dtype bool, but its element {at} is the byte {}, neither 0 nor 1",
            data[at]
        )));
    }
    Ok(())
}
