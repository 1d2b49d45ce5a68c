//! Reading and writing at indices. Indices are checked before anything is written.

use crate::args::{around, dense, elements, indices, input, internal, output, temporary, want_shape};
use crate::backend::Ran;
use crate::chunks::{Shared, for_chunks, for_ranges, grain};
use crate::strided::{Dims, Source, copy_into, copy_run, count, merge, walk};
use crate::sum::{Accumulate, dispatch_sum};
use hadal_core::ops::{Arg, Op, Out};
use hadal_core::smallvec::SmallVec;
use hadal_core::{DType, Error, ErrorKind, Layout, Result, Shape, Storage, Strides, dispatch_storage};
use std::ops::ControlFlow::{Break, Continue};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// What indices point into.
struct Target<'a> {
    op: &'static str,
    axis: usize,
    shape: &'a Shape,
    dtype: DType,
}

impl Target<'_> {
    fn size(&self) -> usize {
        self.shape.get(self.axis).copied().unwrap_or(0)
    }

    /// Checks that every index lies in `0..size`; the error names the first that does not.
    /// `index` must hold the places of `layout`.
    fn check(&self, index: &[i64], layout: &Layout) -> Result<()> {
        if layout.shape.numel() == 0 {
            return Ok(());
        }
        let size = self.size();
        let outside = |v: i64| v < 0 || v as u64 >= size as u64;
        // A broadcast dimension repeats what its first position shows.
        let shape: Shape =
            layout.shape.iter().zip(&layout.strides).map(|(&n, &s)| if s == 0 { 1 } else { n }).collect();
        let dims = merge(&shape, [&layout.strides]);
        let source = Source::new(index, layout.offset);
        let first_bad = AtomicUsize::new(usize::MAX);
        for_ranges(count(&dims), grain::<i64>(), |range| {
            let by = dims[dims.len() - 1].by[0];
            let mut position = range.start;
            walk(&dims, range, |[at], len| {
                // SAFETY: the places of the layout lie in `index`.
                let read = |j: usize| unsafe { source.get(at + j as isize * by) };
                if (0..len).fold(false, |bad, j| bad | outside(read(j)))
                    && let Some(j) = (0..len).find(|&j| outside(read(j)))
                {
                    first_bad.fetch_min(position + j, Relaxed);
                }
                position += len;
            });
        });
        match first_bad.into_inner() {
            usize::MAX => Ok(()),
            bad => Err(self.error(&source, layout, &shape, bad)),
        }
    }

    #[cold]
    fn error(&self, index: &Source<i64>, layout: &Layout, shape: &Shape, bad: usize) -> Error {
        let mut position = shape.clone();
        let (mut rest, mut at) = (bad, 0isize);
        for d in (0..shape.rank()).rev() {
            position[d] = rest % shape[d];
            rest /= shape[d];
            at += position[d] as isize * layout.strides[d];
        }
        // SAFETY: a place of the layout.
        let value = unsafe { index.get(at) };
        let (axis, size) = (self.axis, self.size());
        let message = format!("index {value} at {position} is out of range for axis {axis} of size {size}");
        let help = match size {
            0 => "the axis is empty, so no index is valid".to_owned(),
            _ => format!("indices must be from 0 to {}", size - 1),
        };
        Error::new(ErrorKind::Index, self.op, message)
            .operand(self.shape, self.dtype)
            .operand(&layout.shape, DType::I64)
            .help(help)
    }
}

/// Requires that an index of shape `index` fits into `shape` in all dimensions except `axis`.
fn want_fit(op: &'static str, index: &Shape, shape: &Shape, axis: Option<usize>) -> Result<()> {
    let fits = index.rank() == shape.rank()
        && axis.is_none_or(|a| a < shape.rank())
        && (0..index.rank()).all(|d| Some(d) == axis || index[d] <= shape[d]);
    if fits { Ok(()) } else { Err(internal(op, format!("index of shape {index} for {shape}"))) }
}

/// The operations of this file.
pub fn run_op<'o>(op: &Op, inputs: &[Arg<'_>], out: Out<'o>) -> Ran<'o> {
    let name = op.name();
    match op {
        Op::Gather(axis) => Break(gather(name, *axis, inputs, out)),
        Op::Scatter { axis, add } => Break(scatter(name, *axis, *add, inputs, out)),
        Op::IndexSelect(axis) => Break(index_select(name, *axis, inputs, out)),
        Op::IndexAdd(axis) => Break(index_add(name, *axis, inputs, out)),
        _ => Continue(out),
    }
}

/// `out[i..] = x[i.. with index[i..] in place of i[axis]]`.
fn gather(op: &'static str, axis: usize, inputs: &[Arg<'_>], mut out: Out<'_>) -> Result<()> {
    let (x, index) = (input(op, inputs, 0)?, input(op, inputs, 1)?);
    let at = indices(op, index)?;
    want_fit(op, &index.layout.shape, &x.layout.shape, Some(axis))?;
    want_shape(op, "the output", out.shape, &index.layout.shape)?;
    Target { op, axis, shape: &x.layout.shape, dtype: x.dtype }.check(at, index.layout)?;
    dispatch_storage!(x.dtype, T => {
        let src = elements::<T>(op, x)?;
        take(src, x.layout, axis, at, index.layout, output::<T>(op, &mut out)?);
    });
    Ok(())
}

/// Slices of x along an axis, in the order of a 1-d index.
fn index_select(op: &'static str, axis: usize, inputs: &[Arg<'_>], mut out: Out<'_>) -> Result<()> {
    let (x, index) = (input(op, inputs, 0)?, input(op, inputs, 1)?);
    let at = indices(op, index)?;
    let list = index.layout;
    let mut shape = x.layout.shape.clone();
    if list.shape.rank() != 1 || axis >= shape.rank() {
        return Err(internal(op, format!("index of shape {} for axis {axis} of {shape}", list.shape)));
    }
    shape[axis] = list.shape[0];
    want_shape(op, "the output", out.shape, &shape)?;
    Target { op, axis, shape: &x.layout.shape, dtype: x.dtype }.check(at, list)?;
    // The list repeated over all other dimensions: then this is a gather.
    let mut strides: Strides = SmallVec::from_elem(0, shape.rank());
    strides[axis] = list.strides[0];
    let list = Layout { shape, strides, offset: list.offset };
    dispatch_storage!(x.dtype, T => {
        let src = elements::<T>(op, x)?;
        take(src, x.layout, axis, at, &list, output::<T>(op, &mut out)?);
    });
    Ok(())
}

/// The work of a gather. The layouts stay inside their slices, the indices were checked, the index
/// fits x, `out` has the index's shape.
fn take<T: Storage>(src: &[T], x: &Layout, axis: usize, index: &[i64], list: &Layout, out: &mut [T]) {
    if out.is_empty() {
        return;
    }
    let mut fixed = x.strides.clone();
    let along = std::mem::replace(&mut fixed[axis], 0);
    let dims = merge(&list.shape, [&fixed, &list.strides]);
    let [bx, bi] = dims[dims.len() - 1].by;
    let (src, index) = (Source::new(src, x.offset), Source::new(index, list.offset));
    for_chunks(out, grain::<T>(), |first, part| {
        let mut rest = part;
        let end = first + rest.len();
        walk(&dims, first..end, |[s, i], len| {
            let (row, after) = std::mem::take(&mut rest).split_at_mut(len);
            rest = after;
            // SAFETY: by the conditions above the places are places of x and of the index.
            unsafe {
                if bi == 0 && bx == 1 {
                    copy_run(src.at(s + index.get(i) as isize * along), row.as_mut_ptr(), len);
                } else if bi == 0 {
                    let s = s + index.get(i) as isize * along;
                    for (j, o) in row.iter_mut().enumerate() {
                        *o = src.get(s + j as isize * bx);
                    }
                } else {
                    for (j, o) in row.iter_mut().enumerate() {
                        let j = j as isize;
                        *o = src.get(s + j * bx + index.get(i + j * bi) as isize * along);
                    }
                }
            }
        });
    });
}

/// `base` with `src` written or added at `index` along an axis, in the order of the index along
/// that axis: of several written to one place the last stays. Halves add in f32 and are rounded once.
fn scatter(op: &'static str, axis: usize, add: bool, inputs: &[Arg<'_>], mut out: Out<'_>) -> Result<()> {
    let (base, index, src) = (input(op, inputs, 0)?, input(op, inputs, 1)?, input(op, inputs, 2)?);
    let at = indices(op, index)?;
    want_shape(op, "the output", out.shape, &base.layout.shape)?;
    want_fit(op, &index.layout.shape, &base.layout.shape, Some(axis))?;
    want_fit(op, &index.layout.shape, &src.layout.shape, None)?;
    if base.dtype != src.dtype || base.dtype != out.dtype {
        return Err(internal(op, format!("{} into {} into {}", src.dtype, base.dtype, out.dtype)));
    }
    Target { op, axis, shape: &base.layout.shape, dtype: base.dtype }.check(at, index.layout)?;
    let plan = Scatter::new(axis, out.shape, index.layout, at, src.layout);
    let strides = out.shape.strides();
    if !add {
        return dispatch_storage!(out.dtype, T => {
            let values = elements::<T>(op, src)?;
            let dst = output::<T>(op, &mut out)?;
            copy_into(op, elements::<T>(op, base)?, base.layout, dst, 0, &strides)?;
            plan.run(values, dst, |_, v| v);
            Ok(())
        });
    }
    dispatch_sum!(out.dtype, T => {
        type Stored = <T as Accumulate>::Stored;
        type Acc = <T as Accumulate>::Acc;
        let values = bytemuck::cast_slice::<Stored, T>(elements::<Stored>(op, src)?);
        let dst = output::<Stored>(op, &mut out)?;
        copy_into(op, elements::<Stored>(op, base)?, base.layout, dst, 0, &strides)?;
        let dst = bytemuck::cast_slice_mut::<Stored, T>(dst);
        let join = |acc: Acc, v: T| T::add(acc, v.lift());
        match bytemuck::try_cast_slice_mut::<T, Acc>(dst) {
            Ok(same) if size_of::<T>() == size_of::<Acc>() => plan.run(values, same, join),
            _ => {
                let mut wide = temporary::<Acc>(op, dst.len())?;
                let wide = wide.as_mut_slice::<Acc>();
                for_chunks(wide, grain::<Acc>(), |i, w| {
                    w.iter_mut().zip(&dst[i..]).for_each(|(w, v)| *w = v.lift());
                });
                plan.run(values, wide, join);
                for_chunks(dst, grain::<Acc>(), |i, d| {
                    d.iter_mut().zip(&wide[i..]).for_each(|(d, &w)| *d = T::lower(w));
                });
            }
        }
        Ok(())
    })
}

/// Where a scatter writes and reads.
struct Scatter {
    /// All dimensions but the axis: places in the output, the index and the source.
    dims: Dims<3>,
    /// Size of the index along the axis, and distances there.
    n: usize,
    by: [isize; 3],
    index: Source<i64>,
    src_offset: usize,
}

impl Scatter {
    fn new(axis: usize, out: &Shape, index: &Layout, at: &[i64], src: &Layout) -> Scatter {
        let strides = out.strides();
        let mut shape = index.shape.clone();
        let n = std::mem::replace(&mut shape[axis], 1);
        Scatter {
            dims: merge(&shape, [&strides, &index.strides, &src.strides]),
            n,
            by: [strides[axis], index.strides[axis], src.strides[axis]],
            index: Source::new(at, index.offset),
            src_offset: src.offset,
        }
    }

    /// Every task owns some positions of the other dimensions, whose places in the output are its
    /// own, and takes the index along the axis in order.
    fn run<S: Storage, D: Storage>(&self, src: &[S], dst: &mut [D], join: impl Fn(D, S) -> D + Sync) {
        let Scatter { dims, n, by, index, .. } = self;
        let (n, [bo, bi, bs]) = (*n as isize, *by);
        let [jo, ji, js] = dims[dims.len() - 1].by;
        let (src, dst) = (Source::new(src, self.src_offset), Shared::new(dst));
        if n == 0 {
            return;
        }
        for_ranges(count(dims), grain::<D>() / n as usize, |range| {
            walk(dims, range, |[o, i, s], len| {
                let len = len as isize;
                // SAFETY: places of the index and the source, whose layouts were checked; the index
                // fits the output, whose places here belong to this task.
                let one = |k: isize, j: isize| unsafe {
                    let to = dst.at(o + j * jo + index.get(i + j * ji + k * bi) as isize * bo);
                    *to = join(*to, src.get(s + j * js + k * bs));
                };
                if jo == 1 {
                    (0..n).for_each(|k| (0..len).for_each(|j| one(k, j)));
                } else {
                    (0..len).for_each(|j| (0..n).for_each(|k| one(k, j)));
                }
            });
        });
    }
}

/// Columns summed at a time, in accumulators that stay in L1.
const LANE: usize = 256;

/// Slices of `src` added into zeros at a 1-d index along an axis.
///
/// The list is turned around first: per destination the positions that add to it, in order. Then
/// every destination is written once, sums are kept in registers or L1 (halves in f32, rounded
/// once), and destinations are spread over threads.
fn index_add(op: &'static str, axis: usize, inputs: &[Arg<'_>], mut out: Out<'_>) -> Result<()> {
    let (index, src) = (input(op, inputs, 0)?, input(op, inputs, 1)?);
    let at = indices(op, index)?;
    let (outer, size, inner) = around(op, out.shape, axis)?;
    let k = index.layout.shape.numel();
    let mut shape = Shape::clone(out.shape);
    shape[axis] = k;
    want_shape(op, "the index", &index.layout.shape, &[k])?;
    want_shape(op, "the source", &src.layout.shape, &shape)?;
    if src.dtype != out.dtype {
        return Err(internal(op, format!("{} into {}", src.dtype, out.dtype)));
    }
    Target { op, axis, shape: out.shape, dtype: out.dtype }.check(at, index.layout)?;

    let list = dense(op, index)?;
    let list = &list.slice::<i64>()[..k];
    let mut starts = temporary::<i64>(op, size + 1)?;
    let mut order = temporary::<i64>(op, k)?;
    let (starts, order) = (starts.as_mut_slice::<i64>(), order.as_mut_slice::<i64>());
    turn_around(list, starts, order);

    let src = dense(op, src)?;
    dispatch_sum!(out.dtype, T => {
        let stored = src.slice::<<T as Accumulate>::Stored>();
        let dst = output::<<T as Accumulate>::Stored>(op, &mut out)?;
        let dst = bytemuck::cast_slice_mut::<_, T>(dst);
        let job = AddRows { src: bytemuck::cast_slice::<_, T>(stored), starts, order, size, inner };
        job.run(outer, dst);
    });
    Ok(())
}

/// `order[starts[n]..starts[n + 1]]` becomes the positions of `n` in `list`, ascending.
fn turn_around(list: &[i64], starts: &mut [i64], order: &mut [i64]) {
    starts.fill(0);
    for &n in list {
        starts[n as usize] += 1;
    }
    let mut sum = 0;
    for s in starts.iter_mut() {
        sum += *s;
        *s = sum;
    }
    // From the back, `starts[n]` goes from the end of n's part to its beginning.
    for (p, &n) in list.iter().enumerate().rev() {
        let s = &mut starts[n as usize];
        *s -= 1;
        order[*s as usize] = p as i64;
    }
}

struct AddRows<'a, T> {
    src: &'a [T],
    starts: &'a [i64],
    order: &'a [i64],
    size: usize,
    inner: usize,
}

impl<T: Accumulate> AddRows<'_, T> {
    fn run(&self, outer: usize, dst: &mut [T]) {
        if dst.is_empty() {
            return;
        }
        let lanes = self.inner.div_ceil(LANE);
        let dst = Shared::new(dst);
        // A piece is a destination row and a range of its columns.
        let per_task = grain::<T>() / self.inner.min(LANE);
        let rows = outer * self.size;
        let blocks = rows.div_ceil(per_task);
        for_ranges(blocks * lanes, 1, |pieces| {
            for piece in pieces {
                let (block, lane) = (piece / lanes, piece % lanes);
                for row in block * per_task..rows.min((block + 1) * per_task) {
                    let start = row * self.inner + lane * LANE;
                    let end = start + LANE.min(self.inner - lane * LANE);
                    // SAFETY: rows and column ranges of different pieces do not overlap.
                    self.one(row, lane * LANE, unsafe { dst.part(start..end) });
                }
            }
        });
    }

    fn one(&self, row: usize, column: usize, to: &mut [T]) {
        let (o, n) = (row / self.size, row % self.size);
        let from = &self.order[self.starts[n] as usize..self.starts[n + 1] as usize];
        let source = |p: i64| {
            let start = (o * self.order.len() + p as usize) * self.inner + column;
            &self.src[start..start + to.len()]
        };
        match from {
            [] => to.fill(T::lower(T::ZERO)),
            [p] => {
                let s = source(*p);
                to.copy_from_slice(s);
            }
            _ => {
                let mut acc = [T::ZERO; LANE];
                let acc = &mut acc[..to.len()];
                for &p in from {
                    for (a, v) in acc.iter_mut().zip(source(p)) {
                        *a = T::add(*a, v.lift());
                    }
                }
                for (t, &a) in to.iter_mut().zip(acc.iter()) {
                    *t = T::lower(a);
                }
            }
        }
    }
}
