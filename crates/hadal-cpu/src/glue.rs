//! Between the operations' arguments and the kernels that take plain slices and strides: matrix
//! products, convolutions, pools.

use crate::args::{Dense, dense, elements, input, internal, output, want_dtype};
use crate::backend::Ran;
use crate::conv::epilogue::apply;
use crate::conv::{ConvEpilogue, PackedConv, conv_forward, conv_input_grad, conv_weight_grad};
use crate::gemm::real::Real;
use crate::gemm::{
    Bias, Epilogue, MatView, MatmulElement, PackElement, PackedMatrix, RowMap, matmul as multiply,
    matmul_packed,
};
use crate::pool::{self, max_pool_indices};
use crate::program::{Pieces, Steps};
use hadal_core::half::{bf16, f16};
use hadal_core::ops::{Arg, ConvGeometry, Kernel, Op, Out, Packed, PoolGeometry};
use hadal_core::{DType, Element, Layout, Result, Shape, Storage, dispatch_storage};
use std::ops::ControlFlow::{Break, Continue};
use std::sync::Arc;

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

/// Runs a block with `$t` f32 or f64; an error for other dtypes.
macro_rules! with_type {
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
            other => Err(internal($op, format!("dtype {other} instead of f32 or f64"))),
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

/// The operations of this file.
pub fn run_op<'o>(op: &Op, inputs: &[Arg<'_>], out: Out<'o>) -> Ran<'o> {
    let name = op.name();
    match op {
        Op::Matmul => Break(matmul(name, inputs, out, None)),
        Op::Conv(g) => Break(conv(name, Pass::Forward, g, inputs, out, None)),
        Op::ConvInputGrad(g) => Break(conv(name, Pass::InputGrad, g, inputs, out, None)),
        Op::ConvWeightGrad(g) => Break(conv(name, Pass::WeightGrad, g, inputs, out, None)),
        Op::MaxPoolIndex(g) => Break(max_pool_index(name, g, inputs, out)),
        Op::MaxPool(g) | Op::SumPool(g) | Op::SumPoolGrad(g) => Break(float_pool(op, g, inputs, out)),
        _ => Continue(out),
    }
}

/// Whether a kernel hands over pieces of its result.
pub fn takes_pieces(kernel: &Kernel<'_>) -> bool {
    matches!(kernel.op, Op::Matmul | Op::Conv(_) | Op::ConvInputGrad(_))
        && matches!(kernel.dtype, DType::F32 | DType::F64)
}

/// What the program that a result goes through has become.
#[derive(Clone, Copy)]
pub enum Tail<'a> {
    /// A program for pieces of the result. Its arguments, the result's memory among them, are borrowed by
    /// whoever runs the kernel.
    Pieces(&'a Pieces<'a>),
    /// Steps of the kernel's own, with the program's inputs.
    Steps(&'a Steps, &'a [Arg<'a>]),
}

impl<'a> Tail<'a> {
    /// Hands a piece of the result to the program.
    fn piece<T>(self, at: usize, values: &mut [T]) {
        if let Tail::Pieces(pieces) = self {
            // SAFETY: the arguments are borrowed, see above; kernels hand over each element once.
            unsafe { pieces.run(at, values) }
        }
    }

    /// The steps, without a map.
    fn epilogue<T: Element + Storage>(self, op: &'static str) -> Result<ConvEpilogue<'a, T>> {
        let Tail::Steps(steps, inputs) = self else { return Ok(ConvEpilogue::NONE) };
        let slice = |number: Option<usize>| -> Result<Option<&'a [T]>> {
            let Some(number) = number else { return Ok(None) };
            let arg = input(op, inputs, number)?;
            let dims = arg.layout.shape.iter().zip(&arg.layout.strides);
            let len = dims.map(|(&n, &stride)| if stride == 0 { 1 } else { n }).product::<usize>();
            let all = elements::<T>(op, arg)?.get(arg.layout.offset..).and_then(|s| s.get(..len));
            all.map(Some).ok_or_else(|| internal(op, "a step's numbers are outside of their buffer"))
        };
        Ok(ConvEpilogue {
            scale: slice(steps.scale)?,
            bias: slice(steps.bias)?,
            residual: slice(steps.residual)?,
            clamp: steps.clamp.map(|bounds| bounds.map(T::from_f64)),
            ..ConvEpilogue::NONE
        })
    }

    /// Runs a convolution, `f`, with what comes behind it.
    fn with<T: Element + Storage>(
        tail: Option<Tail<'_>>,
        op: &'static str,
        f: impl FnOnce(ConvEpilogue<'_, T>) -> std::result::Result<(), String>,
    ) -> Result<()> {
        let run = |at: usize, values: &mut [T]| {
            if let Some(tail) = tail {
                tail.piece(at, values);
            }
        };
        match tail {
            None => f(ConvEpilogue::NONE),
            Some(tail @ Tail::Steps(..)) => f(tail.epilogue(op)?),
            Some(Tail::Pieces(_)) => f(ConvEpilogue { map: Some(&run), ..ConvEpilogue::NONE }),
        }
        .map_err(|e| internal(op, e))
    }
}

/// Runs an operation of this file whose result goes through a program.
pub fn run_behind(kernel: &Kernel<'_>, out: Out<'_>, tail: Tail<'_>) -> Result<()> {
    let (name, inputs) = (kernel.op.name(), kernel.inputs);
    match kernel.op {
        op if let Some(packed) = kernel.packed => packed_kernel(op, packed, inputs, out, Some(tail)),
        Op::Matmul => matmul(name, inputs, out, Some(tail)),
        Op::Conv(g) => conv(name, Pass::Forward, g, inputs, out, Some(tail)),
        Op::ConvInputGrad(g) => conv(name, Pass::InputGrad, g, inputs, out, Some(tail)),
        _ => Err(internal(name, "this operation takes no epilogue")),
    }
}

/// `[batch.., m, k] · [batch.., k, n]`, the views read in place whatever their strides.
fn matmul(op: &'static str, inputs: &[Arg<'_>], mut out: Out<'_>, tail: Option<Tail<'_>>) -> Result<()> {
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
        return product(op, batch, (m, n, k), view(a, la), view(b, lb), c);
    }
    if let Some(tail) = tail {
        return with_type!(op, out.dtype, T => {
            let (a, b) = (view(elements::<T>(op, a)?, la), view(elements::<T>(op, b)?, lb));
            let c = output::<T>(op, &mut out)?;
            with_epilogue(op, n, tail, |e| multiply(batch, m, n, k, a, b, c, false, e))
        });
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

/// Runs a product with `n` columns, `f`, with what comes behind it.
fn with_epilogue<T: Real + MatmulElement + Storage>(
    op: &'static str,
    n: usize,
    tail: Tail<'_>,
    f: impl FnOnce(&Epilogue<'_, T>) -> std::result::Result<(), String>,
) -> Result<()> {
    let all = tail.epilogue::<T>(op)?;
    // The bias is added in registers, the rest is done row by row.
    let rest = ConvEpilogue { bias: None, ..all };
    let rows = |row: usize, col: usize, values: &mut [T]| match tail {
        Tail::Pieces(_) => tail.piece(row * n + col, values),
        Tail::Steps(..) => apply(&rest, 0, row * n + col, values),
    };
    let simple = matches!(tail, Tail::Steps(..)) && rest.is_none();
    let map: Option<&RowMap<'_, T>> = if simple { None } else { Some(&rows) };
    let bias = all.bias.map_or(Bias::None, Bias::Columns);
    f(&Epilogue { bias, map, ..Epilogue::NONE }).map_err(|e| internal(op, e))
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
    tail: Option<Tail<'_>>,
) -> Result<()> {
    match op {
        Op::Conv(g) => packed_conv(op.name(), packed, g, inputs, out, tail),
        Op::Matmul => packed_matmul(op.name(), packed, inputs, out, tail),
        _ => Err(internal(op.name(), "this operation takes no packed weight")),
    }
}

/// `[m, k]` by a packed `[k, n]`.
fn packed_matmul(
    op: &'static str,
    packed: &Packed,
    inputs: &[Arg<'_>],
    mut out: Out<'_>,
    tail: Option<Tail<'_>>,
) -> Result<()> {
    let arg = input(op, inputs, 0)?;
    let &[m, k] = arg.layout.shape.dims() else {
        return Err(internal(op, "the left operand of a packed product is no matrix"));
    };
    match tail {
        None => dispatch_float!(op, out.dtype, T => {
            let (a, b) = (view(elements::<T>(op, arg)?, arg.layout), matrix::<T>(op, packed, k, &out)?);
            let c = output::<T>(op, &mut out)?;
            matmul_packed(&[], m, a, b, c, false, &Epilogue::NONE).map_err(|e| internal(op, e))
        }),
        Some(tail) => with_type!(op, out.dtype, T => {
            let (a, b) = (view(elements::<T>(op, arg)?, arg.layout), matrix::<T>(op, packed, k, &out)?);
            let c = output::<T>(op, &mut out)?;
            with_epilogue(op, b.n(), tail, |e| matmul_packed(&[], m, a, b, c, false, e))
        }),
    }
}

/// The packed matrix that a product with this output wants.
fn matrix<'a, T: PackElement>(
    op: &'static str,
    packed: &'a Packed,
    k: usize,
    out: &Out<'_>,
) -> Result<&'a PackedMatrix<T>> {
    let fits = |p: &&PackedMatrix<T>| p.k() == k && out.shape.last() == Some(&p.n());
    let found = packed.downcast_ref::<PackedMatrix<T>>().filter(fits);
    found.ok_or_else(|| internal(op, "the weight was packed for another operation"))
}

/// The forward pass with packed weights.
fn packed_conv(
    op: &'static str,
    packed: &Packed,
    g: &ConvGeometry,
    inputs: &[Arg<'_>],
    mut out: Out<'_>,
    tail: Option<Tail<'_>>,
) -> Result<()> {
    let (x, n) = float_input(op, inputs, 0, out.dtype)?;
    dispatch_float!(op, out.dtype, T => {
        let Some(packed) = packed.downcast_ref::<PackedConv<T>>().filter(|p| p.geometry() == g) else {
            return Err(internal(op, "the weight was packed for another operation"));
        };
        let (x, y) = (&x.slice::<T>()[..n], output::<T>(op, &mut out)?);
        Tail::with(tail, op, |e| packed.forward(x, y, e))
    })
}

/// A pass of a convolution. Inputs that are not row-major are copied first.
fn conv(
    op: &'static str,
    pass: Pass,
    g: &ConvGeometry,
    inputs: &[Arg<'_>],
    mut out: Out<'_>,
    tail: Option<Tail<'_>>,
) -> Result<()> {
    let (a, na) = float_input(op, inputs, 0, out.dtype)?;
    let (b, nb) = float_input(op, inputs, 1, out.dtype)?;
    dispatch_float!(op, out.dtype, T => {
        let (a, b) = (&a.slice::<T>()[..na], &b.slice::<T>()[..nb]);
        let c = output::<T>(op, &mut out)?;
        Tail::with(tail, op, |e| match pass {
            Pass::Forward => conv_forward(a, b, c, g, e),
            Pass::InputGrad => conv_input_grad(a, b, c, g, e),
            Pass::WeightGrad => conv_weight_grad(a, b, c, g),
        })
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

/// Maxima or sums of windows, or the sums' adjoint.
fn float_pool(op: &Op, g: &PoolGeometry, inputs: &[Arg<'_>], mut out: Out<'_>) -> Result<()> {
    let name = op.name();
    let (x, n) = float_input(name, inputs, 0, out.dtype)?;
    dispatch_float!(name, out.dtype, T => {
        let (x, out) = (&x.slice::<T>()[..n], output::<T>(name, &mut out)?);
        match op {
            Op::MaxPool(_) => pool::max_pool(x, out, g),
            Op::SumPool(_) => pool::sum_pool(x, out, g),
            _ => pool::sum_pool_grad(x, out, g),
        }
        .map_err(|e| internal(name, e))
    })
}
