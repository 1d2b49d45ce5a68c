//! Softmax and normalisation: what is done to each row, forward and backward, while the row is in the
//! first-level cache. As compositions they would be three to ten passes over memory.
//!
//! Sums of a row are taken in lanes of its type and then in f64, in an order that depends on its length
//! alone; those over rows (gradients by weight and bias) in parts that depend on the shape alone.

mod lanes;
mod norm;
mod softmax;

use crate::args::{Dense, dense, input, internal, output, temporary, want_shape};
use crate::backend::Ran;
use crate::chunks::{Shared, for_chunks, for_ranges, grain};
use crate::scratch::Scratch;
use crate::simd::{Level, level};
use crate::threads::parallel_for;
use hadal_core::ops::{Arg, Op, Out, RowOp};
use hadal_core::{ALIGN, DType, Result};
use lanes::{L, Number};
use std::ops::ControlFlow::{Break, Continue};

/// Bytes from which on a result is stored past the caches: half of a common L3 cache.
const STREAM: usize = 16 << 20;
/// Most parts of a sum over rows.
const PARTS: usize = 64;
/// A part is so many rows at least, so that parts need less memory than the rows.
const PART: usize = 8;

/// The operations of this file.
pub fn run_op<'o>(op: &Op, inputs: &[Arg<'_>], out: Out<'o>) -> Ran<'o> {
    let name = op.name();
    Break(match (op, out.dtype) {
        (Op::Rows(r), DType::F32) => forward::<f32>(name, *r, inputs, out),
        (Op::Rows(r), DType::F64) => forward::<f64>(name, *r, inputs, out),
        (Op::RowsGrad { op, parameters }, DType::F32) => backward::<f32>(name, *op, *parameters, inputs, out),
        (Op::RowsGrad { op, parameters }, DType::F64) => backward::<f64>(name, *op, *parameters, inputs, out),
        (Op::Rows(_) | Op::RowsGrad { .. }, other) => {
            Err(internal(name, format!("dtype {other} instead of f32 or f64")))
        }
        _ => return Continue(out),
    })
}

/// Rows and their length, of a shape that is not empty.
fn rows_of(op: &'static str, arg: &Arg<'_>) -> Result<(usize, usize)> {
    match arg.layout.shape.last() {
        Some(&n) if arg.layout.shape.numel() > 0 => Ok((arg.layout.shape.numel() / n, n)),
        _ => Err(internal(op, format!("rows of {}", arg.layout.shape))),
    }
}

/// An input of the output's dtype in row-major order.
fn rows<'a>(op: &'static str, inputs: &[Arg<'a>], i: usize, dtype: DType) -> Result<Dense<'a>> {
    let arg = input(op, inputs, i)?;
    if arg.dtype != dtype {
        return Err(internal(op, format!("input {i} is {} instead of {dtype}", arg.dtype)));
    }
    dense(op, arg)
}

/// A parameter of `n` elements, readable for whole chunks.
struct Parameter<'a, T: Number> {
    data: Dense<'a>,
    padded: Option<Scratch<T>>,
}

impl<'a, T: Number> Parameter<'a, T> {
    fn of(
        op: &'static str,
        inputs: &[Arg<'a>],
        i: Option<usize>,
        n: usize,
        dtype: DType,
    ) -> Result<Option<Self>> {
        let Some(i) = i else { return Ok(None) };
        let data = rows(op, inputs, i, dtype)?;
        want_shape(op, "a parameter", &input(op, inputs, i)?.layout.shape, &[n])?;
        let padded = (!n.is_multiple_of(L)).then(|| {
            let mut padded = Scratch::new(n.next_multiple_of(L));
            let (values, rest) = padded.slice().split_at_mut(n);
            values.copy_from_slice(&data.slice::<T>()[..n]);
            // Multiplied with the zeros that pad a cotangent: anything but NaN and infinities.
            rest.fill(T::ZERO);
            padded
        });
        Ok(Some(Parameter { data, padded }))
    }

    fn pointer(of: &mut Option<Self>) -> Pointer<T> {
        Pointer(of.as_mut().map_or(std::ptr::null(), |p| match &mut p.padded {
            Some(padded) => padded.slice().as_ptr(),
            None => p.data.slice::<T>().as_ptr(),
        }))
    }
}

/// A pointer that tasks read from.
#[derive(Clone, Copy)]
struct Pointer<T>(*const T);
// SAFETY: only read, from memory that outlives the tasks.
unsafe impl<T: Sync> Sync for Pointer<T> {}
impl<T> Pointer<T> {
    fn get(&self) -> *const T {
        self.0
    }
}

/// Whether results of so many rows go past the caches.
fn streams<T>(level: Level, rows: usize, n: usize) -> bool {
    let row = n * size_of::<T>();
    level != Level::Portable && row.is_multiple_of(ALIGN) && n.is_multiple_of(L) && rows * row >= STREAM
}

/// Rows of a task whose rows nobody adds up.
fn rows_per_task<T>(n: usize) -> usize {
    (grain::<T>() / n).max(1)
}

fn forward<T: Number>(op: &'static str, r: RowOp, inputs: &[Arg<'_>], mut out: Out<'_>) -> Result<()> {
    let first = input(op, inputs, 0)?;
    want_shape(op, "the output", out.shape, first.layout.shape.dims())?;
    let (rows, n) = rows_of(op, first)?;
    let dtype = out.dtype;
    let x = self::rows(op, inputs, 0, dtype)?;
    let x = &x.slice::<T>()[..rows * n];
    let level = level();
    let stream = streams::<T>(level, rows, n);
    let y = Shared::new(output::<T>(op, &mut out)?);
    // SAFETY (of all calls below): tasks have rows of their own of `y`, which is as large as `x`.
    match r {
        RowOp::Softmax | RowOp::LogSoftmax => {
            let kernel = softmax::forward::<T>(level, r == RowOp::LogSoftmax, stream);
            for_ranges(rows, rows_per_task::<T>(n), |range| {
                let at = range.start * n;
                // SAFETY: as above.
                unsafe { kernel(x[at..].as_ptr(), std::ptr::null(), y.at(at as isize), range.len(), n) }
            });
        }
        RowOp::Norm { centred, eps, weight, bias } => {
            let mut weight_ = Parameter::<T>::of(op, inputs, weight.then_some(1), n, dtype)?;
            let mut bias_ = Parameter::<T>::of(op, inputs, bias.then_some(1 + weight as usize), n, dtype)?;
            let (weight, bias) = (Parameter::pointer(&mut weight_), Parameter::pointer(&mut bias_));
            let kernel = norm::forward::<T>(level, centred, stream);
            for_ranges(rows, rows_per_task::<T>(n), |range| {
                let at = range.start * n;
                // SAFETY: as above; parameters are whole chunks.
                unsafe {
                    kernel(&norm::Forward {
                        x: x[at..].as_ptr(),
                        y: y.at(at as isize),
                        rows: range.len(),
                        n,
                        eps,
                        weight: weight.get(),
                        bias: bias.get(),
                    })
                }
            });
        }
    }
    Ok(())
}

fn backward<T: Number>(
    op: &'static str,
    r: RowOp,
    parameters: bool,
    inputs: &[Arg<'_>],
    mut out: Out<'_>,
) -> Result<()> {
    let (first, second) = (input(op, inputs, 0)?, input(op, inputs, 1)?);
    want_shape(op, "the cotangent", &second.layout.shape, first.layout.shape.dims())?;
    let (rows, n) = rows_of(op, first)?;
    let dtype = out.dtype;
    let (x, g) = (self::rows(op, inputs, 0, dtype)?, self::rows(op, inputs, 1, dtype)?);
    let (x, g) = (&x.slice::<T>()[..rows * n], &g.slice::<T>()[..rows * n]);
    let level = level();
    let stream = streams::<T>(level, rows, n);
    let RowOp::Norm { centred, eps, weight, bias } = r else {
        want_shape(op, "the output", out.shape, first.layout.shape.dims())?;
        let kernel = softmax::backward::<T>(level, r == RowOp::LogSoftmax, stream);
        let dx = Shared::new(output::<T>(op, &mut out)?);
        for_ranges(rows, rows_per_task::<T>(n), |range| {
            let at = range.start * n;
            // SAFETY: tasks have rows of their own of `dx`, which is as large as `x` and `g`.
            unsafe { kernel(x[at..].as_ptr(), g[at..].as_ptr(), dx.at(at as isize), range.len(), n) }
        });
        return Ok(());
    };
    let (by_weight, by_bias) = (parameters && weight, parameters && bias);
    let wide = by_weight as usize + by_bias as usize;
    let len = rows * n + wide * n;
    if parameters {
        want_shape(op, "the output", out.shape, &[len])?;
    } else {
        want_shape(op, "the output", out.shape, first.layout.shape.dims())?;
    }
    let mut weight = Parameter::<T>::of(op, inputs, weight.then_some(2), n, dtype)?;
    let weight = Parameter::pointer(&mut weight);
    let (dx, sums) = output::<T>(op, &mut out)?.split_at_mut(rows * n);
    let dx = Shared::new(dx);
    let kernel = norm::backward::<T>(level, centred, stream);
    // As many parts as tasks, of about a grain at least.
    let tasks = match wide {
        0 => rows.div_ceil(rows_per_task::<T>(n)),
        _ => (rows * n / grain::<T>()).min(rows / PART).clamp(1, PARTS),
    };
    let mut partials = temporary::<f64>(op, tasks * wide * n)?;
    let partials = partials.as_mut_slice::<f64>();
    partials.fill(0.0);
    let parts = Shared::new(partials);
    parallel_for(tasks, &|t| {
        let range = rows * t / tasks..rows * (t + 1) / tasks;
        let at = range.start * n;
        // SAFETY: tasks have rows of their own of `dx`, and partial sums of their own.
        unsafe {
            let part = |wanted: bool, i: usize| match wanted {
                true => parts.at(((t * wide + i) * n) as isize),
                false => std::ptr::null_mut(),
            };
            kernel(&norm::Backward {
                x: x[at..].as_ptr(),
                g: g[at..].as_ptr(),
                dx: dx.at(at as isize),
                rows: range.len(),
                n,
                eps,
                weight: weight.get(),
                by_weight: part(by_weight, 0),
                by_bias: part(by_bias, by_weight as usize),
            })
        }
    });
    // Added up in order.
    let (width, partials) = (wide * n, &*partials);
    for_chunks(sums, grain::<f64>() / PARTS, |first, sums| {
        let mut all = Scratch::<f64>::new(sums.len());
        let all = all.slice();
        all.fill(0.0);
        for t in 0..tasks {
            for (a, v) in all.iter_mut().zip(&partials[t * width + first..]) {
                *a += v;
            }
        }
        for (to, &v) in sums.iter_mut().zip(all.iter()) {
            *to = T::from_f64(v);
        }
    });
    Ok(())
}
