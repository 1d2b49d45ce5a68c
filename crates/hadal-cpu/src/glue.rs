//! Between the operations' arguments and the kernels that take plain slices and strides: matrix
//! products, convolutions, pools.

use crate::args::{Dense, dense, elements, input, internal, output, want_dtype};
use crate::backend::Ran;
use crate::conv::{ConvEpilogue, PackedConv, PieceMap, conv_forward, conv_input_grad, conv_weight_grad};
use crate::gemm::{
    Epilogue, MatView, MatmulElement, PackedMatrix, RowMap, matmul as multiply, matmul_packed,
};
use crate::pool::{self, max_pool_indices};
use crate::program::Pieces;
use hadal_core::half::{bf16, f16};
use hadal_core::ops::{Arg, ConvGeometry, Kernel, Op, Out, Packed, PoolGeometry};
use hadal_core::{DType, Layout, Result, Shape, dispatch_storage};
use std::ops::ControlFlow::{Break, Continue};
use std::sync::Arc;

/// The operations of this file.
pub fn run_op<'o>(op: &Op, inputs: &[Arg<'_>], out: Out<'o>) -> Ran<'o> {
    let name = op.name();
    match op {
        Op::Matmul => Break(matmul(name, inputs, out, None)),
        Op::Conv(g) => Break(conv(name, Pass::Forward, g, inputs, out, None)),
        Op::ConvInputGrad(g) => Break(conv(name, Pass::InputGrad, g, inputs, out, None)),
        Op::ConvWeightGrad(g) => Break(conv(name, Pass::WeightGrad, g, inputs, out, None)),
        Op::MaxPoolIndex(g) => Break(max_pool_index(name, g, inputs, out)),
        Op::SumPool(g) => Break(sum_pool(name, false, g, inputs, out)),
        Op::SumPoolGrad(g) => Break(sum_pool(name, true, g, inputs, out)),
        _ => Continue(out),
    }
}

/// Whether a kernel hands over pieces of its result.
pub fn takes_pieces(kernel: &Kernel<'_>) -> bool {
    matches!(kernel.op, Op::Matmul | Op::Conv(_) | Op::ConvInputGrad(_))
        && matches!(kernel.dtype, DType::F32 | DType::F64)
}

/// Runs an operation of this file whose result goes through a program. The program's arguments, the
/// result's memory among them, are borrowed by the caller.
pub fn run_behind(kernel: &Kernel<'_>, out: Out<'_>, pieces: &Pieces<'_>) -> Result<()> {
    let (name, inputs) = (kernel.op.name(), kernel.inputs);
    match kernel.op {
        op if let Some(packed) = kernel.packed => packed_kernel(op, packed, inputs, out, Some(pieces)),
        Op::Matmul => matmul(name, inputs, out, Some(pieces)),
        Op::Conv(g) => conv(name, Pass::Forward, g, inputs, out, Some(pieces)),
        Op::ConvInputGrad(g) => conv(name, Pass::InputGrad, g, inputs, out, Some(pieces)),
        _ => Err(internal(name, "this operation takes no epilogue")),
    }
}

/// `[batch.., m, k] · [batch.., k, n]`, the views read in place whatever their strides.
fn matmul(op: &'static str, inputs: &[Arg<'_>], mut out: Out<'_>, pieces: Option<&Pieces<'_>>) -> Result<()> {
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
    let wanted = |got: &Shape, tail: [usize; 2]| {
        let (front, back) = got.dims().split_at(got.rank().saturating_sub(2));
        front == batch && back == tail
    };
    if !wanted(&lb.shape, [k, n]) || !wanted(out.shape, [m, n]) {
        let message = format!("a product of {} and {} into {}", la.shape, lb.shape, out.shape);
        return Err(internal(op, message));
    }
    if a.dtype == DType::Bool {
        // Truth values are stored as bytes; these casts check that every byte is one.
        let bad = |_| internal(op, "a bool is neither 0 nor 1");
        let (a, b) = (elements::<u8>(op, a)?, elements::<u8>(op, b)?);
        let a = bytemuck::checked::try_cast_slice::<u8, bool>(a).map_err(bad)?;
        let b = bytemuck::checked::try_cast_slice::<u8, bool>(b).map_err(bad)?;
        let c = output::<u8>(op, &mut out)?;
        c.fill(0);
        let c = bytemuck::checked::try_cast_slice_mut::<u8, bool>(c).map_err(bad)?;
        return product(op, batch, (m, n, k), view(a, la), view(b, lb), c, None);
    }
    dispatch_storage!(out.dtype, T => {
        let (a, b) = (elements::<T>(op, a)?, elements::<T>(op, b)?);
        product(op, batch, (m, n, k), view(a, la), view(b, lb), output::<T>(op, &mut out)?, pieces)
    })
}

fn product<T: MatmulElement>(
    op: &'static str,
    batch: &[usize],
    (m, n, k): (usize, usize, usize),
    a: MatView<'_, T>,
    b: MatView<'_, T>,
    c: &mut [T],
    pieces: Option<&Pieces<'_>>,
) -> Result<()> {
    let Some(pieces) = pieces else {
        return multiply(batch, m, n, k, a, b, c, false, &Epilogue::NONE).map_err(|e| internal(op, e));
    };
    // SAFETY: the program's arguments are borrowed by whoever called `run_behind`; each element of the
    // result is handed over once.
    let map = |row: usize, col: usize, values: &mut [T]| unsafe { pieces.run(row * n + col, values) };
    let epilogue = Epilogue { map: Some(&map), ..Epilogue::NONE };
    multiply(batch, m, n, k, a, b, c, false, &epilogue).map_err(|e| internal(op, e))
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

/// Runs a block with `$t` the type of a float dtype; an error for the others.
macro_rules! dispatch_float {
    ($op:expr, $dtype:expr, $t:ident => $body:expr) => {
        match $dtype {
            DType::F32 => {
                type $t = f32;
                $body
            }
            DType::F64 => {
                type $t = f64;
                $body
            }
            DType::F16 => {
                type $t = f16;
                $body
            }
            DType::BF16 => {
                type $t = bf16;
                $body
            }
            other => {
                return Err(internal($op, format!("dtype {other} instead of a float")));
            }
        }
    };
}

/// A weight packed as `$t`, the type of a float dtype; `None` for the others, and where packing fails.
macro_rules! float_packed {
    ($dtype:expr, $t:ident => $body:expr) => {
        match $dtype {
            DType::F32 => {
                type $t = f32;
                Some(Arc::new($body.ok()?) as Packed)
            }
            DType::F64 => {
                type $t = f64;
                Some(Arc::new($body.ok()?) as Packed)
            }
            DType::F16 => {
                type $t = f16;
                Some(Arc::new($body.ok()?) as Packed)
            }
            DType::BF16 => {
                type $t = bf16;
                Some(Arc::new($body.ok()?) as Packed)
            }
            _ => None,
        }
    };
}

/// Input `i` in row-major order with its number of elements; its dtype must be this one.
fn float_input<'a>(
    op: &'static str,
    inputs: &[Arg<'a>],
    i: usize,
    dtype: DType,
) -> Result<(Dense<'a>, usize)> {
    let arg = input(op, inputs, i)?;
    if arg.dtype != dtype {
        return Err(internal(op, format!("input {i} has dtype {} instead of {dtype}", arg.dtype)));
    }
    Ok((dense(op, arg)?, arg.layout.shape.numel()))
}

/// The three passes of a convolution.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Pass {
    /// x and w to y.
    Forward,
    /// dy and w to dx.
    InputGrad,
    /// x and dy to dw.
    WeightGrad,
}

/// Rows from which on a product is quicker with a packed right operand. Fewer read it once, as it lies.
const PACK_FROM: usize = 24;

/// See [`Backend::pack`](hadal_core::ops::Backend::pack).
pub fn pack(op: &Op, first: &Shape, weight: &Arg<'_>) -> Option<Packed> {
    let name = op.name();
    match op {
        Op::Conv(g) => {
            let (w, n) = float_input(name, std::slice::from_ref(weight), 0, weight.dtype).ok()?;
            float_packed!(weight.dtype, T => PackedConv::<T>::new(w.slice::<T>().get(..n)?, g))
        }
        Op::Matmul => {
            let &[k, n] = weight.layout.shape.dims() else { return None };
            if first.numel() < PACK_FROM * k.max(1) || n < 2 {
                return None;
            }
            float_packed!(weight.dtype, T => {
                PackedMatrix::<T>::new(k, n, view(elements::<T>(name, weight).ok()?, weight.layout))
            })
        }
        _ => None,
    }
}

/// Runs an operation whose weight is packed.
pub fn run_packed(op: &Op, packed: &Packed, inputs: &[Arg<'_>], out: Out<'_>) -> Result<()> {
    packed_kernel(op, packed, inputs, out, None)
}

fn packed_kernel(
    op: &Op,
    packed: &Packed,
    inputs: &[Arg<'_>],
    out: Out<'_>,
    pieces: Option<&Pieces<'_>>,
) -> Result<()> {
    match op {
        Op::Conv(g) => packed_conv(op.name(), packed, g, inputs, out, pieces),
        Op::Matmul => packed_matmul(op.name(), packed, inputs, out, pieces),
        _ => Err(internal(op.name(), "this operation takes no packed weight")),
    }
}

/// `[m, k]` by a packed `[k, n]`.
fn packed_matmul(
    op: &'static str,
    packed: &Packed,
    inputs: &[Arg<'_>],
    mut out: Out<'_>,
    pieces: Option<&Pieces<'_>>,
) -> Result<()> {
    let a = input(op, inputs, 0)?;
    let &[m, k] = a.layout.shape.dims() else {
        return Err(internal(op, "the left operand of a packed product is no matrix"));
    };
    dispatch_float!(op, out.dtype, T => {
        let fits = |p: &&PackedMatrix<T>| p.k() == k && out.shape.dims() == [m, p.n()] && a.dtype == out.dtype;
        let Some(b) = packed.downcast_ref::<PackedMatrix<T>>().filter(fits) else {
            return Err(internal(op, "the weight was packed for another operation"));
        };
        let (n, a) = (b.n(), view(elements::<T>(op, a)?, a.layout));
        let run = map_of(pieces);
        let rows = |row: usize, col: usize, values: &mut [T]| run(row * n + col, values);
        let map: Option<&RowMap<'_, T>> = if pieces.is_some() { Some(&rows) } else { None };
        let c = output::<T>(op, &mut out)?;
        matmul_packed(&[], m, a, b, c, false, &Epilogue { map, ..Epilogue::NONE }).map_err(|e| internal(op, e))
    })
}

/// The forward pass with packed weights.
fn packed_conv(
    op: &'static str,
    packed: &Packed,
    g: &ConvGeometry,
    inputs: &[Arg<'_>],
    mut out: Out<'_>,
    pieces: Option<&Pieces<'_>>,
) -> Result<()> {
    let (x, n) = float_input(op, inputs, 0, out.dtype)?;
    dispatch_float!(op, out.dtype, T => {
        let Some(packed) = packed.downcast_ref::<PackedConv<T>>().filter(|p| p.geometry() == g) else {
            return Err(internal(op, "the weight was packed for another operation"));
        };
        let run = map_of(pieces);
        let map: Option<&PieceMap<'_, T>> = if pieces.is_some() { Some(&run) } else { None };
        let y = output::<T>(op, &mut out)?;
        packed
            .forward(&x.slice::<T>()[..n], y, ConvEpilogue { map, ..ConvEpilogue::NONE })
            .map_err(|e| internal(op, e))
    })
}

/// Hands pieces of a result to a program whose arguments are borrowed by whoever runs the kernel behind
/// which it stands.
fn map_of<'a, T>(pieces: Option<&'a Pieces<'_>>) -> impl Fn(usize, &mut [T]) + Sync + 'a {
    move |at, values| {
        if let Some(pieces) = pieces {
            // SAFETY: see above; each element of the result is handed over once.
            unsafe { pieces.run(at, values) }
        }
    }
}

/// A pass of a convolution. Inputs that are not row-major are copied first.
fn conv(
    op: &'static str,
    pass: Pass,
    g: &ConvGeometry,
    inputs: &[Arg<'_>],
    mut out: Out<'_>,
    pieces: Option<&Pieces<'_>>,
) -> Result<()> {
    let (a, na) = float_input(op, inputs, 0, out.dtype)?;
    let (b, nb) = float_input(op, inputs, 1, out.dtype)?;
    dispatch_float!(op, out.dtype, T => {
        let (a, b) = (&a.slice::<T>()[..na], &b.slice::<T>()[..nb]);
        let c = output::<T>(op, &mut out)?;
        let run = map_of(pieces);
        let map: Option<&PieceMap<'_, T>> = if pieces.is_some() { Some(&run) } else { None };
        let epilogue = ConvEpilogue { map, ..ConvEpilogue::NONE };
        match pass {
            Pass::Forward => conv_forward(a, b, c, g, epilogue),
            Pass::InputGrad => conv_input_grad(a, b, c, g, epilogue),
            Pass::WeightGrad => conv_weight_grad(a, b, c, g),
        }
        .map_err(|e| internal(op, e))
    })
}

/// Positions of the maxima of windows.
fn max_pool_index(op: &'static str, g: &PoolGeometry, inputs: &[Arg<'_>], mut out: Out<'_>) -> Result<()> {
    let dtype = input(op, inputs, 0)?.dtype;
    want_dtype(op, &out, DType::I64)?;
    let (x, n) = float_input(op, inputs, 0, dtype)?;
    let out = output::<i64>(op, &mut out)?;
    dispatch_float!(op, dtype, T => {
        max_pool_indices(&x.slice::<T>()[..n], out, g).map_err(|e| internal(op, e))
    })
}

/// Sums of windows, or (`grad`) the adjoint.
fn sum_pool(
    op: &'static str,
    grad: bool,
    g: &PoolGeometry,
    inputs: &[Arg<'_>],
    mut out: Out<'_>,
) -> Result<()> {
    let (x, n) = float_input(op, inputs, 0, out.dtype)?;
    dispatch_float!(op, out.dtype, T => {
        let (x, out) = (&x.slice::<T>()[..n], output::<T>(op, &mut out)?);
        let done = if grad { pool::sum_pool_grad(x, out, g) } else { pool::sum_pool(x, out, g) };
        done.map_err(|e| internal(op, e))
    })
}
