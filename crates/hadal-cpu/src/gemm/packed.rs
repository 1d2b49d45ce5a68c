//! A right operand that is packed once and used many times.

use super::driver::{Operand, Ready, k_block};
use super::pack::pack_columns;
use super::real::{Real, Source};
use super::tables::Set;
use super::{Call, Epilogue, MatView, MatmulElement, check_output, fold, multiply_floats};
use crate::args::no_memory;
use crate::threads::{SendPtr, parallel_for};
use hadal_core::{Buffer, Storage};
use half::{bf16, f16};
use std::any::Any;
use std::fmt;
use std::marker::PhantomData;

/// Vectors of a panel's row.
const VECTORS: usize = 2;
/// Columns that one task packs.
const TASK: usize = 256;

/// A matrix B in the order in which the kernels of this machine read it: for weights that are multiplied
/// with again and again. f32, f64, f16 (kept as f32) and bf16 (kept as bf16 where the machine multiplies
/// pairs of them, else as f32).
///
/// ```
/// use hadal_cpu::gemm::{matmul_packed, Epilogue, MatView, PackedMatrix};
/// let weight = [1.0f32, 2.0, 3.0, 4.0, 5.0, 6.0]; // [out, in] = [2, 3]
/// let packed = PackedMatrix::new(3, 2, MatView::row_major(&weight, 3).t())?;
/// let x = [1.0f32, 0.0, 1.0];
/// let mut y = [0.0; 2];
/// matmul_packed(&[], 1, MatView::row_major(&x, 3), &packed, &mut y, false, &Epilogue::NONE)?;
/// assert_eq!(y, [4.0, 10.0]);
/// # Ok::<(), String>(())
/// ```
pub struct PackedMatrix<T> {
    panels: Buffer,
    k: usize,
    n: usize,
    /// The `Set` of kernels that it was packed for.
    set: Box<dyn Any + Send + Sync>,
    element: PhantomData<T>,
}

/// A float that [`PackedMatrix`] takes: f32, f64, f16, bf16.
pub trait PackElement: MatmulElement + sealed::Pack {}
impl<T: MatmulElement + sealed::Pack> PackElement for T {}

mod sealed {
    /// Implemented by the four float types.
    #[allow(private_interfaces)]
    pub trait Pack: Sized {
        fn pack(k: usize, n: usize, b: super::MatView<'_, Self>) -> Option<super::PackedMatrix<Self>>;
        fn multiply_by(call: &super::Call<'_, Self>, b: &super::PackedMatrix<Self>, c: &mut [Self]);
    }
}

impl<T: PackElement> PackedMatrix<T> {
    /// Packs a `k` by `n` matrix with strides of any kind.
    ///
    /// # Errors
    /// When the view reaches outside its data or has batch dimensions, and when there is no memory.
    pub fn new(k: usize, n: usize, b: MatView<'_, T>) -> Result<Self, String> {
        b.check("the right operand", &[], k, n)?;
        T::pack(k, n, b).ok_or_else(|| no_memory("matmul", k.saturating_mul(n)).to_string())
    }
    /// Rows: the inner dimension of its products.
    pub fn k(&self) -> usize {
        self.k
    }
    /// Columns.
    pub fn n(&self) -> usize {
        self.n
    }
    /// Memory held.
    pub fn bytes(&self) -> usize {
        self.panels.capacity()
    }
}

impl<T> fmt::Debug for PackedMatrix<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PackedMatrix").field("k", &self.k).field("n", &self.n).finish_non_exhaustive()
    }
}

/// [`super::matmul`] with a B that was packed before; the same bits. `batch` are dimensions of A and C.
///
/// # Errors
/// When A's view reaches outside its data, or C or a bias has the wrong length.
pub fn matmul_packed<T: PackElement>(
    batch: &[usize],
    m: usize,
    a: MatView<'_, T>,
    b: &PackedMatrix<T>,
    c: &mut [T],
    accumulate: bool,
    epilogue: &Epilogue<'_, T>,
) -> Result<(), String> {
    let (k, n) = (b.k, b.n);
    check_output(batch, m, n, c.len(), epilogue)?;
    if c.is_empty() {
        return Ok(());
    }
    if k > 0 {
        a.check("the left operand", batch, m, k)?;
    }
    // The view of B is not read.
    let none = MatView { data: &[], offset: 0, row_stride: 0, col_stride: 0, batch_strides: a.batch_strides };
    let mut call = Call { batch, count: c.len() / (m * n), m, n, k, a, b: none, accumulate, epilogue };
    fold(&mut call, true);
    T::multiply_by(&call, b, c);
    Ok(())
}

fn pack<S: Source<T> + Storage, T: Real + Storage>(
    k: usize,
    n: usize,
    b: MatView<'_, S>,
) -> Option<PackedMatrix<S>> {
    let set = S::set();
    let (lanes, nr) = (set.ks.lanes, VECTORS * set.ks.lanes);
    let (steps, width) = (k.div_ceil(set.unit), n.next_multiple_of(lanes));
    let mut panels = Buffer::try_new(steps.checked_mul(width)?.checked_mul(size_of::<T>())?)?;
    let kc = k_block::<T>(steps);
    let src = Operand { ptr: b.data.as_ptr().wrapping_add(b.offset), lane: b.col_stride, step: b.row_stride };
    let src = super::driver::SharedPtr(src);
    let dst = SendPtr::new(panels.as_mut_slice::<T>().as_mut_ptr());
    let (blocks, groups) = (steps.div_ceil(kc), n.div_ceil(TASK));
    parallel_for(blocks * groups, &|t| {
        let (p0, j) = (t / groups * kc, t % groups * TASK);
        let len = kc.min(steps - p0);
        let elements = (len * set.unit).min(k - p0 * set.unit);
        // SAFETY: `PackedMatrix::new` has checked the view; the columns and steps lie inside of it, and
        // each task writes its own panels.
        unsafe {
            let src = src.get().from(j, p0 * set.unit);
            let to = dst.get().add(p0 * width + j * len);
            pack_columns::<S, T>(set, src, TASK.min(n - j), nr, elements, to);
        }
    });
    Some(PackedMatrix { panels, k, n, set: Box::new(set), element: PhantomData })
}

macro_rules! floats {
    ($($s:ty as $t:ty),*) => {$(
        #[allow(private_interfaces)]
        impl sealed::Pack for $s {
            fn pack(k: usize, n: usize, b: MatView<'_, $s>) -> Option<PackedMatrix<$s>> {
                pack::<$s, $t>(k, n, b)
            }
            fn multiply_by(call: &Call<'_, $s>, b: &PackedMatrix<$s>, c: &mut [$s]) {
                // Always there: `pack` has put it in.
                let ready = b.set.downcast_ref::<Set<$t>>().map(|&set| Ready {
                    panels: b.panels.as_slice::<$t>().as_ptr(),
                    set,
                });
                multiply_floats::<$s, $t>(call, ready, c)
            }
        }
    )*};
}
floats!(f32 as f32, f64 as f64, f16 as f32, bf16 as f32);
