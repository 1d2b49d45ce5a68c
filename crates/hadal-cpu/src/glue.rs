//! Between the operations' arguments and the kernels that take plain slices and strides: matrix
//! products, convolutions, pools.

use crate::args::{elements, input, internal, output, want_shape};
use crate::gemm::{Epilogue, MatView, MatmulElement, matmul as multiply};
use hadal_core::ops::{Arg, Out};
use hadal_core::{DType, Layout, Result, dispatch_storage};

/// `[batch.., m, k] · [batch.., k, n]`, the views read in place whatever their strides.
pub fn matmul(op: &'static str, inputs: &[Arg<'_>], mut out: Out<'_>) -> Result<()> {
    let (a, b) = (input(op, inputs, 0)?, input(op, inputs, 1)?);
    let (la, lb) = (a.layout, b.layout);
    let fits = la.shape.rank() >= 2 && la.shape.rank() == lb.shape.rank();
    let ([batch @ .., m, k], [.., _, n]) = (la.shape.dims(), lb.shape.dims()) else {
        return Err(internal(op, format!("operands {} and {}", la.shape, lb.shape)));
    };
    if !fits || a.dtype != b.dtype || a.dtype != out.dtype {
        return Err(internal(
            op,
            format!("{} {} by {} {} into {}", la.shape, a.dtype, lb.shape, b.dtype, out.dtype),
        ));
    }
    let (m, n, k) = (*m, *n, *k);
    let want = |tail: [usize; 2]| batch.iter().copied().chain(tail).collect::<Vec<_>>();
    want_shape(op, "the right operand", &lb.shape, &want([k, n]))?;
    want_shape(op, "the output", out.shape, &want([m, n]))?;
    if a.dtype == DType::Bool {
        // Truth values are stored as bytes; these casts check that every byte is one.
        let bad = |_| internal(op, "a bool is neither 0 nor 1");
        let (a, b) = (elements::<u8>(op, a)?, elements::<u8>(op, b)?);
        let a = bytemuck::checked::try_cast_slice::<u8, bool>(a).map_err(bad)?;
        let b = bytemuck::checked::try_cast_slice::<u8, bool>(b).map_err(bad)?;
        let c = output::<u8>(op, &mut out)?;
        c.fill(0);
        let c = bytemuck::checked::try_cast_slice_mut::<u8, bool>(c).map_err(bad)?;
        return product(op, batch, (m, n, k), view(a, la), view(b, lb), c);
    }
    dispatch_storage!(out.dtype, T => {
        let (a, b) = (elements::<T>(op, a)?, elements::<T>(op, b)?);
        product(op, batch, (m, n, k), view(a, la), view(b, lb), output::<T>(op, &mut out)?)
    })
}

fn product<T: MatmulElement>(
    op: &'static str,
    batch: &[usize],
    (m, n, k): (usize, usize, usize),
    a: MatView<'_, T>,
    b: MatView<'_, T>,
    c: &mut [T],
) -> Result<()> {
    multiply(batch, m, n, k, a, b, c, false, &Epilogue::NONE).map_err(|e| internal(op, e))
}

/// The last two dimensions as matrices. The layout has at least two.
fn view<'a, T>(data: &'a [T], layout: &'a Layout) -> MatView<'a, T> {
    let (batch, matrix) = layout.strides.split_at(layout.strides.len() - 2);
    MatView {
        data,
        offset: layout.offset,
        row_stride: matrix[0],
        col_stride: matrix[1],
        batch_strides: batch,
    }
}
