//! Scales and shifts of a convolution's channels, such as a batch norm's, taken into its weights.
//!
//! `(conv(x, w) + a)·s + b` is `conv(x, w·s) + (a·s + b)`. A chain of sums, differences, products and
//! quotients with numbers that are constant over each channel is worked out in f64, rounded once, and
//! becomes one scaled weight and one shift. A chain without a product stays as it is: nothing is to be
//! gained then, and bits are lost.

use super::{constant, dependent, filled_with, nodes_behind};
use crate::Tensor;
use crate::idmap::IdMap;
use crate::plan::allocate;
use crate::tensor::Inputs;
use hadal_core::ops::{BinaryOp, Op, UnaryOp};
use hadal_core::smallvec::smallvec;
use hadal_core::{Buffer, DType, Element, Result, Shape, Storage};

/// What a chain makes of channel `c` of a convolution's result `y`: `y·scale[c] + shift[c]`.
struct Chain {
    scale: Vec<f64>,
    shift: Vec<f64>,
    /// Anything was multiplied.
    scaled: bool,
    /// The last node of the chain.
    end: Tensor,
}

/// The graph with chains taken in. Constants have their values.
pub fn folded(inputs: &[Tensor], roots: Vec<Tensor>) -> Result<Vec<Tensor>> {
    let nodes = nodes_behind(&roots);
    let depends = dependent(&nodes, inputs);
    let mut readers: IdMap<Vec<usize>> = IdMap::default();
    for (i, t) in nodes.iter().enumerate().filter(|(i, _)| depends[*i]) {
        for input in &t.0.inputs() {
            readers.entry(input.0.id).or_default().push(i);
        }
    }
    for r in &roots {
        // Somebody outside wants it: no chain goes on.
        readers.entry(r.0.id).or_default().push(usize::MAX);
    }
    let only_reader = |t: &Tensor| match readers.get(&t.0.id).map(Vec::as_slice) {
        Some(&[i]) => nodes.get(i),
        _ => None,
    };
    // What each changed node became.
    let mut new: IdMap<Tensor> = IdMap::default();
    // What each chain's end is to become.
    let mut ends: IdMap<(Tensor, Chain)> = IdMap::default();
    for (t, _) in nodes.iter().zip(&depends).filter(|(_, d)| **d) {
        let old = t.0.inputs();
        if let Some((conv, chain)) = ends.remove(&t.0.id) {
            new.insert(t.0.id, rebuilt(&conv, &chain, &new)?);
            continue;
        }
        if let Some(chain) = chain_of(t, only_reader).filter(|c| c.scaled) {
            ends.insert(chain.end.0.id, (t.clone(), chain));
        }
        if old.iter().any(|i| new.contains_key(&i.0.id)) {
            new.insert(t.0.id, t.rebuild(renewed(old, &new)));
        }
    }
    Ok(roots.into_iter().map(|r| new.get(&r.0.id).cloned().unwrap_or(r)).collect())
}

fn renewed(inputs: Inputs, new: &IdMap<Tensor>) -> Inputs {
    inputs.into_iter().map(|i| new.get(&i.0.id).cloned().unwrap_or(i)).collect()
}

/// The chain behind a convolution with a constant weight.
fn chain_of<'a>(conv: &Tensor, only_reader: impl Fn(&Tensor) -> Option<&'a Tensor>) -> Option<Chain> {
    let Op::Conv(g) = &conv.0.op else { return None };
    constant(conv.0.inputs().get(1)?)?;
    if !matches!(conv.dtype(), DType::F32 | DType::F64) {
        return None;
    }
    let channels = g.out_channels;
    let mut chain =
        Chain { scale: vec![1.0; channels], shift: vec![0.0; channels], scaled: false, end: conv.clone() };
    while let Some(next) = only_reader(&chain.end) {
        if next.dtype() != conv.dtype() || next.shape() != conv.shape() || !chain.extend(next) {
            break;
        }
        chain.end = next.clone();
    }
    Some(chain)
}

impl Chain {
    /// Takes in a node that reads the end. False if it is none of the kind.
    fn extend(&mut self, next: &Tensor) -> bool {
        let inputs = next.0.inputs();
        let (scale, shift) = (&mut self.scale, &mut self.shift);
        if let (Op::Unary(UnaryOp::Neg), 1) = (&next.0.op, inputs.len()) {
            scale.iter_mut().chain(shift).for_each(|v| *v = -*v);
            self.scaled = true;
            return true;
        }
        let (Op::Binary(op), [a, b]) = (&next.0.op, inputs.as_slice()) else { return false };
        let first = a.0.id == self.end.0.id;
        let Some(by) = per_channel(if first { b } else { a }, scale.len()) else { return false };
        let all = scale.iter_mut().zip(shift).zip(by);
        match (op, first) {
            (BinaryOp::Add, _) => all.for_each(|((_, t), v)| *t += v),
            (BinaryOp::Sub, true) => all.for_each(|((_, t), v)| *t -= v),
            (BinaryOp::Sub, false) => all.for_each(|((s, t), v)| (*s, *t) = (-*s, v - *t)),
            (BinaryOp::Mul, _) => all.for_each(|((s, t), v)| (*s, *t) = (*s * v, *t * v)),
            (BinaryOp::Div, true) => all.for_each(|((s, t), v)| (*s, *t) = (*s / v, *t / v)),
            _ => return false,
        }
        self.scaled |= !matches!((op, first), (BinaryOp::Add, _) | (BinaryOp::Sub, true));
        true
    }
}

/// The numbers of a constant `[n, c, ..]` that is the same all over each channel.
fn per_channel(t: &Tensor, channels: usize) -> Option<Vec<f64>> {
    if let Some(s) = filled_with(t, false) {
        return Some(vec![s.to_f64(); channels]);
    }
    let v = constant(t)?;
    let mut dims = v.layout.shape.iter().zip(&v.layout.strides).enumerate();
    if !dims.all(|(d, (&n, &stride))| d == 1 || n == 1 || stride == 0) {
        return None;
    }
    let stride = *v.layout.strides.get(1)?;
    let place = |c: usize| v.layout.offset.checked_add_signed(c as isize * stride);
    let get = |c: usize| match t.dtype() {
        DType::F32 => v.buffer.as_slice::<f32>().get(place(c)?).map(|&x| x as f64),
        DType::F64 => v.buffer.as_slice::<f64>().get(place(c)?).copied(),
        _ => None,
    };
    (0..channels).map(get).collect()
}

/// The convolution with the chain in its weights, then the shift.
fn rebuilt(conv: &Tensor, chain: &Chain, new: &IdMap<Tensor>) -> Result<Tensor> {
    let mut inputs = renewed(conv.0.inputs(), new);
    let (dtype, channels) = (conv.dtype(), chain.scale.len());
    let dense = crate::plan::copy("compile", &inputs[1].force()?, dtype)?;
    let each = inputs[1].numel() / channels.max(1);
    let mut weight = allocate(inputs[1].numel(), dtype, "compile")?;
    let mut shift = allocate(channels, dtype, "compile")?;
    match dtype {
        DType::F64 => scaled::<f64>(&dense.buffer, &mut weight, each, chain, &mut shift),
        _ => scaled::<f32>(&dense.buffer, &mut weight, each, chain, &mut shift),
    }
    inputs[1] = Tensor::from_buffer(weight, inputs[1].shape().clone(), dtype);
    let y = conv.rebuild(inputs);
    if chain.shift.iter().all(|&s| s == 0.0) {
        return Ok(y);
    }
    let along: Shape = (0..y.rank()).map(|d| if d == 1 { channels } else { 1 }).collect();
    let wide = y.shape().clone();
    let shift = Tensor::from_buffer(shift, along, dtype);
    let shift = Tensor::make(Op::Expand, smallvec![shift], wide.clone(), dtype);
    // In place of the chain's end: where errors and profiles look for it.
    Ok(Tensor::make(Op::Binary(BinaryOp::Add), smallvec![y, shift], wide, dtype))
}

fn scaled<T: Element + Storage>(
    from: &Buffer,
    to: &mut Buffer,
    each: usize,
    chain: &Chain,
    shift: &mut Buffer,
) {
    let (from, to) = (from.as_slice::<T>(), to.as_mut_slice::<T>());
    let rows = from.chunks(each.max(1)).zip(to.chunks_mut(each.max(1)));
    for ((from, to), &s) in rows.zip(&chain.scale) {
        from.iter().zip(to).for_each(|(&w, d)| *d = T::from_f64(w.to_f64() * s));
    }
    let shifts = shift.as_mut_slice::<T>().iter_mut().zip(&chain.shift);
    shifts.for_each(|(d, &s)| *d = T::from_f64(s));
}
