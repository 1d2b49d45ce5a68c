//! Matrix products, batched and strided.
//!
//! f32 and f64 run packed micro-kernels chosen for the machine. bf16 is multiplied in pairs where the machine
//! has an instruction for it ([`crate::simd::bf16_pairs`]); elsewhere, as f16 always, it becomes f32 while it is
//! packed. Both are summed in f32 and rounded once, at the end. Integers wrap around.
//!
//! # Error
//! With `u` half the distance from 1 to the next number of the type that sums (2^-24 for f32, 2^-53 for f64),
//! each element is within `(k + 2) u` times the sum of the absolute products of the exact result, to which
//! f16 (2^-11) and bf16 (2^-8) add half a unit of the result in their own last place. Machines without a fused
//! multiply-add, and the bf16 instruction, round twice as often: `2 k + 2`. The instruction takes subnormal
//! numbers as zero.
//!
//! # Order of sums
//! k is cut into blocks by its length alone, and each block summed in the order of k. So an element's bits depend
//! on its row of A, its column of B and k: not on strides, on the other rows and columns, on a B packed before, on
//! threads, nor, for f32 and f64, on whether vectors are those of AVX2 or AVX-512.
//!
//! There is one exception. f32, f64 and bf16 products of more than 64 in some dimension, with at most 8 rows and a B
//! whose columns are contiguous (or at most 8 columns and an A whose rows are), are dot products, which sum in the
//! lanes of the machine's vectors. One order would need such operands turned over on the way, which was
//! tried: rows of a weight `[out, in]` then came from memory at a quarter of the speed.

mod ahead;
mod blocked;
mod driver;
mod few;
mod integer;
pub(crate) mod kernel;
mod kernel_portable;
#[cfg(target_arch = "x86_64")]
mod kernel_x86;
mod pack;
mod packed;
#[cfg(target_arch = "x86_64")]
mod pairs;
pub(crate) mod real;
mod small;
pub(crate) mod tables;
pub(crate) mod vecmat;

pub(crate) use driver::Operand;
pub(crate) use pack::pack_panel;
pub use packed::{PackElement, PackedMatrix, matmul_packed};

use crate::scratch::Scratch;
use crate::threads::{SendPtr, parallel_for, threads};
use ahead::Ahead;
use driver::{Product, Ready, SharedPtr, Tail};
use hadal_core::Element;
use half::{bf16, f16};
use real::{Real, Source};

/// A batch of strided matrices in a slice. Strides are in elements and may be negative or zero.
#[derive(Clone, Copy, Debug)]
pub struct MatView<'a, T> {
    /// What the offset and strides count in.
    pub data: &'a [T],
    /// Where element (0, 0) of the first matrix is.
    pub offset: usize,
    /// Step from a row to the next.
    pub row_stride: isize,
    /// Step from a column to the next.
    pub col_stride: isize,
    /// Step along each batch dimension; 0 repeats the same matrices.
    pub batch_strides: &'a [isize],
}

impl<'a, T> MatView<'a, T> {
    /// One row-major matrix with `cols` columns.
    pub fn row_major(data: &'a [T], cols: usize) -> Self {
        MatView { data, offset: 0, row_stride: cols as isize, col_stride: 1, batch_strides: &[] }
    }
    /// The transposed matrices.
    pub fn t(self) -> Self {
        MatView { row_stride: self.col_stride, col_stride: self.row_stride, ..self }
    }

    /// Checks that every element of `batch` matrices of `rows` by `cols` lies inside the data.
    fn check(&self, what: &str, batch: &[usize], rows: usize, cols: usize) -> Result<(), String> {
        if self.batch_strides.len() != batch.len() {
            return Err(format!(
                "matmul: {what} has {} batch strides for {} batch dimensions",
                self.batch_strides.len(),
                batch.len()
            ));
        }
        let (mut lo, mut hi) = (self.offset as i128, self.offset as i128);
        let dims = batch
            .iter()
            .zip(self.batch_strides)
            .chain([(&rows, &self.row_stride), (&cols, &self.col_stride)]);
        for (&n, &stride) in dims {
            if n == 0 {
                return Ok(());
            }
            let reach = (n as i128 - 1) * stride as i128;
            if reach < 0 { lo += reach } else { hi += reach }
        }
        if lo < 0 || hi >= self.data.len() as i128 {
            return Err(format!(
                "matmul: {what} reaches elements {lo} to {hi} of a buffer of {} elements",
                self.data.len()
            ));
        }
        Ok(())
    }
}

/// What is added to a finished product.
#[derive(Clone, Copy, Debug, Default)]
pub enum Bias<'a, T> {
    /// Nothing.
    #[default]
    None,
    /// One value per column, `n` in all, for every matrix of the batch.
    Columns(&'a [T]),
    /// One value per row, `m` in all, for every matrix of the batch.
    Rows(&'a [T]),
}

/// What a finished product goes through.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Activation {
    /// Nothing.
    #[default]
    None,
    /// `max(x, 0)`; NaN stays NaN.
    Relu,
}

/// A function that works on pieces of finished rows: `f(row, first_column, values)`, with rows
/// counted over the whole batch (`batch_index * m + row`). Called on several threads at once, once
/// for every element; how rows are cut into pieces is not specified.
pub type RowMap<'a, T> = dyn Fn(usize, usize, &mut [T]) + Sync + 'a;

/// What happens to the product while it is still in cache: bias, then activation, then `map`.
///
/// For f16 and bf16 bias and activation work in f32 before the rounding, `map` after it.
pub struct Epilogue<'a, T> {
    /// Added first.
    pub bias: Bias<'a, T>,
    /// Applied second.
    pub activation: Activation,
    /// Called last.
    pub map: Option<&'a RowMap<'a, T>>,
}

impl<T> Epilogue<'_, T> {
    /// Leaves the product as it is.
    pub const NONE: Self = Epilogue { bias: Bias::None, activation: Activation::None, map: None };
}

impl<T> Default for Epilogue<'_, T> {
    fn default() -> Self {
        Self::NONE
    }
}

/// All a product consists of, checked.
pub(crate) struct Call<'a, T> {
    batch: &'a [usize],
    count: usize,
    m: usize,
    n: usize,
    k: usize,
    a: MatView<'a, T>,
    b: MatView<'a, T>,
    accumulate: bool,
    epilogue: &'a Epilogue<'a, T>,
}

impl<T> Call<'_, T> {
    /// Where the matrices of a batch index begin in the data of A and B.
    fn offsets(&self, mut index: usize) -> (isize, isize) {
        let (mut a, mut b) = (self.a.offset as isize, self.b.offset as isize);
        for (d, &n) in self.batch.iter().enumerate().rev() {
            let i = (index % n) as isize;
            index /= n;
            a += i * self.a.batch_strides[d];
            b += i * self.b.batch_strides[d];
        }
        (a, b)
    }
}

mod sealed {
    /// Implemented by the eight element types.
    pub trait Multiply: Sized {
        /// The product; everything is checked and nothing is empty except maybe k.
        #[allow(private_interfaces)]
        fn multiply(call: &super::Call<'_, Self>, c: &mut [Self]);
    }
}
use sealed::Multiply;

/// An element type that can be multiplied: all eight. Bools multiply with "and" and add with "or".
pub trait MatmulElement: Element + Multiply {}
impl<T: Element + Multiply> MatmulElement for T {}

/// `C = A B`, or `C += A B`, for a batch of matrices: A is `[batch.., m, k]`, B `[batch.., k, n]`, and
/// C, contiguous, `[batch.., m, n]`.
///
/// Results do not depend on the number of threads. NaN and infinity propagate as the sums say;
/// `k == 0` gives zeros.
///
/// # Errors
/// When a view reaches outside its data, or C or a bias has the wrong length.
///
/// ```
/// use hadal_cpu::gemm::{matmul, Epilogue, MatView};
/// let a = [1.0f32, 2.0, 3.0, 4.0, 5.0, 6.0]; // 2x3
/// let b = [1.0f32, 0.0, 0.0, 1.0, 1.0, 1.0]; // 3x2
/// let mut c = [0.0; 4];
/// matmul(&[], 2, 2, 3, MatView::row_major(&a, 3), MatView::row_major(&b, 2), &mut c, false, &Epilogue::NONE)?;
/// assert_eq!(c, [4.0, 5.0, 10.0, 11.0]);
/// # Ok::<(), String>(())
/// ```
#[allow(clippy::too_many_arguments)]
pub fn matmul<T: MatmulElement>(
    batch: &[usize],
    m: usize,
    n: usize,
    k: usize,
    a: MatView<'_, T>,
    b: MatView<'_, T>,
    c: &mut [T],
    accumulate: bool,
    epilogue: &Epilogue<'_, T>,
) -> Result<(), String> {
    check_output(batch, m, n, c.len(), epilogue)?;
    if c.is_empty() {
        return Ok(());
    }
    if k > 0 {
        a.check("the left operand", batch, m, k)?;
        b.check("the right operand", batch, k, n)?;
    }
    let count = c.len() / (m * n);
    let mut call = Call { batch, count, m, n, k, a, b, accumulate, epilogue };
    let one_b = call.batch.iter().zip(call.b.batch_strides).all(|(&n, &s)| n == 1 || s == 0);
    fold(&mut call, one_b);
    T::multiply(&call, c);
    Ok(())
}

/// Checks the lengths of the output and of a bias.
fn check_output<T>(
    batch: &[usize],
    m: usize,
    n: usize,
    c: usize,
    epilogue: &Epilogue<'_, T>,
) -> Result<(), String> {
    let sizes = || batch.iter().copied().chain([m, n]);
    let len =
        if sizes().any(|d| d == 0) { Some(0) } else { sizes().try_fold(1usize, |len, d| len.checked_mul(d)) };
    if len != Some(c) {
        return Err(format!("matmul: the output has {} elements for batch {batch:?} of {m}x{n}", c));
    }
    match epilogue.bias {
        Bias::Columns(v) if v.len() != n => {
            return Err(format!("matmul: a bias of {} values for {n} columns", v.len()));
        }
        Bias::Rows(v) if v.len() != m => {
            return Err(format!("matmul: a bias of {} values for {m} rows", v.len()));
        }
        _ => {}
    }
    Ok(())
}

/// Makes a batch of matrices that are multiplied with `one_b` one tall matrix, where strides allow.
fn fold<T>(call: &mut Call<'_, T>, one_b: bool) {
    if !one_b || call.k == 0 || call.count == 1 || matches!(call.epilogue.bias, Bias::Rows(_)) {
        return;
    }
    let mut expected = call.m as isize * call.a.row_stride;
    let fits = call.batch.iter().zip(call.a.batch_strides).rev().all(|(&n, &s)| {
        let fits = n == 1 || s == expected;
        expected *= n as isize;
        fits
    });
    if fits {
        (call.m, call.batch, call.count) = (call.m * call.count, &[], 1);
        (call.a.batch_strides, call.b.batch_strides) = (&[], &[]);
    }
}

/// The product of floats that are stored as `S` and computed in `T`.
fn multiply_floats<S: Source<T>, T: Real>(call: &Call<'_, S>, ready: Option<Ready<T>>, c: &mut [S]) {
    let (m, n) = (call.m, call.n);
    let size = m * n;
    let work = size * call.k.max(1);
    // Either each task takes whole matrices, or each matrix is shared.
    let by_matrix = call.count >= 4 * threads() || work < 1 << 17;
    // A task takes several matrices: it asks for the next while it multiplies one.
    let few = call.count / (8 * threads());
    let each = if by_matrix { ((1 << 15) / work).max(few).clamp(1, call.count) } else { call.count };
    let widened = |bias: &[S], buf: &mut Scratch<T>| -> *const T {
        let buf = &mut buf.slice()[..bias.len()];
        S::widen_into(bias, buf);
        buf.as_ptr()
    };
    let mut bias_buf = Scratch::<T>::new(if S::SAME { 0 } else { m.max(n) });
    let (mut bias_n, mut bias_m) = (std::ptr::null(), std::ptr::null());
    match call.epilogue.bias {
        Bias::Columns(v) if S::SAME => bias_n = v.as_ptr().cast(),
        Bias::Rows(v) if S::SAME => bias_m = v.as_ptr().cast(),
        Bias::Columns(v) => bias_n = widened(v, &mut bias_buf),
        Bias::Rows(v) => bias_m = widened(v, &mut bias_buf),
        Bias::None => {}
    }
    let shared = SharedPtr((bias_n, bias_m, ready));
    let relu = call.epilogue.activation == Activation::Relu;
    let out = SendPtr::new(c.as_mut_ptr());
    let run = |task: usize| {
        let end = ((task + 1) * each).min(call.count);
        for index in task * each..end {
            let (a, b) = call.offsets(index);
            // SAFETY: matrix `index` of C is this task's alone; `matmul` has checked that both views
            // and the biases are valid for the product, and the borrows outlive it. With k == 0 the
            // operands are not read, and `wrapping_offset` makes no claim about them.
            unsafe {
                let (bias_n, bias_m, ready) = shared.get();
                let c = out.slice(index * size, size);
                let map =
                    call.epilogue.map.map(|f| move |i: usize, j: usize, v: &mut [S]| f(index * m + i, j, v));
                let product = Product {
                    m,
                    n,
                    k: call.k,
                    a: Operand {
                        ptr: call.a.data.as_ptr().wrapping_offset(a),
                        lane: call.a.row_stride,
                        step: call.a.col_stride,
                    },
                    b: Operand {
                        ptr: call.b.data.as_ptr().wrapping_offset(b),
                        lane: call.b.col_stride,
                        step: call.b.row_stride,
                    },
                    ready,
                    ahead: if index + 1 < end { Ahead::new(call, index + 1, out.get()) } else { Ahead::NONE },
                    c: c.as_mut_ptr(),
                    c_row: n,
                    accumulate: call.accumulate,
                    tail: Tail { bias_n, bias_m, relu, map: map.as_ref().map(|f| f as &RowMap<'_, S>) },
                };
                driver::product(&product, !by_matrix);
            }
        }
    };
    if by_matrix {
        parallel_for(call.count.div_ceil(each), &run);
    } else {
        run(0);
    }
}

macro_rules! floats {
    ($($s:ty as $t:ty),*) => {$(
        #[allow(private_interfaces)]
        impl Multiply for $s {
            fn multiply(call: &Call<'_, $s>, c: &mut [$s]) {
                multiply_floats::<$s, $t>(call, None, c)
            }
        }
    )*};
}
floats!(f32 as f32, f64 as f64, f16 as f32, bf16 as f32);
