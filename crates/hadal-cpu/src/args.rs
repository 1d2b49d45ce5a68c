//! What kernels see of inputs and outputs: checked slices and layouts.
//!
//! Layouts come from another crate, so every one is checked once against its buffer before any
//! kernel uses it without bounds checks. A failing check is a bug above this crate; it ends in an
//! error of kind `State`, not in a panic.

use crate::strided::copy_into;
use hadal_core::ops::{Arg, Data, Out};
use hadal_core::{Buffer, DType, Error, ErrorKind, Layout, Result, Shape, Storage, dispatch_storage};

/// An error that the layers above should have made impossible.
pub(crate) fn internal(op: &'static str, message: impl Into<String>) -> Error {
    Error::new(ErrorKind::State, op, message).help("this is a bug in Hadal; please report it")
}

/// The error for a buffer that could not be had.
pub(crate) fn no_memory(op: &'static str, bytes: usize) -> Error {
    Error::new(ErrorKind::State, op, format!("no memory for {bytes} bytes of working space"))
        .help("use a smaller batch, or free tensors that are no longer needed")
}

/// A temporary of `n` elements of a storage type.
pub(crate) fn temporary<T: Storage>(op: &'static str, n: usize) -> Result<Buffer> {
    let bytes = n.saturating_mul(size_of::<T>());
    Buffer::try_new(bytes).ok_or_else(|| no_memory(op, bytes))
}

/// Checks a layout against the number of elements it may reach.
pub(crate) fn check_layout(op: &'static str, layout: &Layout, len: usize) -> Result<()> {
    if layout.strides.len() != layout.shape.rank() {
        return Err(internal(op, "an input's strides and shape differ in length"));
    }
    let inside =
        layout.shape.numel() == 0 || span(layout).is_some_and(|(lo, hi)| lo >= 0 && hi.unsigned_abs() < len);
    if inside {
        return Ok(());
    }
    let (shape, strides) = (&layout.shape, layout.strides.as_slice());
    let message =
        format!("a layout ({shape} by {strides:?} from {}) leaves its {len} elements", layout.offset);
    Err(internal(op, message))
}

/// Lowest and highest place of a layout that is not empty; `None` on overflow.
fn span(layout: &Layout) -> Option<(isize, isize)> {
    let first = isize::try_from(layout.offset).ok()?;
    layout.shape.iter().zip(&layout.strides).try_fold((first, first), |(lo, hi), (&n, &s)| {
        let reach = s.checked_mul(isize::try_from(n - 1).ok()?)?;
        Some((lo.checked_add(reach.min(0))?, hi.checked_add(reach.max(0))?))
    })
}

/// Input number `i`.
pub(crate) fn input<'a, 'b>(op: &'static str, inputs: &'b [Arg<'a>], i: usize) -> Result<&'b Arg<'a>> {
    inputs.get(i).ok_or_else(|| internal(op, format!("input {i} is missing")))
}

/// The elements of an input's whole buffer, its layout being known to stay inside.
pub(crate) fn elements<'a, T: Storage>(op: &'static str, arg: &Arg<'a>) -> Result<&'a [T]> {
    let Data::Buffer(buffer) = arg.data else {
        return Err(internal(op, "an input is in place outside of a program"));
    };
    if size_of::<T>() != arg.dtype.size() {
        return Err(internal(op, format!("an input has dtype {}", arg.dtype)));
    }
    let slice = buffer.as_slice::<T>();
    check_layout(op, arg.layout, slice.len())?;
    Ok(slice)
}

/// The elements of an i64 input.
pub(crate) fn indices<'a>(op: &'static str, arg: &Arg<'a>) -> Result<&'a [i64]> {
    if arg.dtype != DType::I64 {
        return Err(internal(op, format!("indices have dtype {} instead of i64", arg.dtype)));
    }
    elements(op, arg)
}

/// The elements of an output of `shape`.
pub(crate) fn output<'o, T: Storage>(op: &'static str, out: &'o mut Out<'_>) -> Result<&'o mut [T]> {
    let n = out.shape.numel();
    if size_of::<T>() != out.dtype.size() {
        return Err(internal(op, format!("the output has dtype {}", out.dtype)));
    }
    match out.data.as_mut_slice::<T>().get_mut(..n) {
        Some(slice) => Ok(slice),
        None => Err(internal(op, format!("the output's buffer is too small for {}", out.shape))),
    }
}

/// Requires the output's dtype to be this one.
pub(crate) fn want_dtype(op: &'static str, out: &Out<'_>, dtype: DType) -> Result<()> {
    if out.dtype == dtype {
        Ok(())
    } else {
        Err(internal(op, format!("the output has dtype {} instead of {dtype}", out.dtype)))
    }
}

/// Requires a shape to be this one.
pub(crate) fn want_shape(op: &'static str, what: &str, got: &Shape, want: &[usize]) -> Result<()> {
    if got.dims() == want {
        Ok(())
    } else {
        Err(internal(op, format!("{what} has shape {got} instead of {}", Shape::new(want))))
    }
}

/// An input in row-major order: the input's own memory, or a copy of it.
pub(crate) enum Dense<'a> {
    /// The elements lay in order already.
    Borrowed(&'a Buffer, usize),
    /// A copy, from the pool.
    Owned(Buffer),
}

impl Dense<'_> {
    /// The elements, in order; possibly more after the last.
    pub(crate) fn slice<T: Storage>(&self) -> &[T] {
        match self {
            Dense::Borrowed(buffer, offset) => buffer.as_slice::<T>().get(*offset..).unwrap_or(&[]),
            Dense::Owned(buffer) => buffer.as_slice(),
        }
    }
}

/// An input in row-major order, copied only where its layout is not.
pub(crate) fn dense<'a>(op: &'static str, arg: &Arg<'a>) -> Result<Dense<'a>> {
    let Data::Buffer(buffer) = arg.data else {
        return Err(internal(op, "an input is in place outside of a program"));
    };
    dispatch_storage!(arg.dtype, T => {
        let src = elements::<T>(op, arg)?;
        if arg.layout.is_contiguous() {
            return Ok(Dense::Borrowed(buffer, arg.layout.offset));
        }
        let shape = &arg.layout.shape;
        let mut copy = temporary::<T>(op, shape.numel())?;
        copy_into(op, src, arg.layout, copy.as_mut_slice::<T>(), 0, &shape.strides())?;
        Ok(Dense::Owned(copy))
    })
}

/// A shape seen from one axis: the sizes before, at and after it.
pub(crate) fn around(op: &'static str, shape: &[usize], axis: usize) -> Result<(usize, usize, usize)> {
    let Some(&n) = shape.get(axis) else {
        return Err(internal(op, format!("axis {axis} of shape {}", Shape::new(shape))));
    };
    let product = |s: &[usize]| if s.contains(&0) { 0 } else { s.iter().product() };
    Ok((product(&shape[..axis]), n, product(&shape[axis + 1..])))
}
