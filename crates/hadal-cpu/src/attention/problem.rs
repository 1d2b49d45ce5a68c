//! What attention is computed of: sizes, and operands as they lie.

use crate::gemm::Operand;
use crate::gemm::real::Real;
use hadal_core::{Layout, Storage};
use std::marker::PhantomData;

/// f32 or f64, with arithmetic, elementary functions and kernels.
pub(super) trait Float: Real + Storage + super::lanes::Lanes {}
impl<T: Real + Storage + super::lanes::Lanes> Float for T {}

/// A 4-d operand: a matrix of rows and columns for each batch index and head. A dimension of size 1
/// repeats.
#[derive(Clone, Copy)]
pub(super) struct Matrices<'a, T> {
    first: *const T,
    strides: [isize; 4],
    data: PhantomData<&'a [T]>,
}

// SAFETY: a shared slice in other words.
unsafe impl<T: Sync> Send for Matrices<'_, T> {}
// SAFETY: as above.
unsafe impl<T: Sync> Sync for Matrices<'_, T> {}

impl<'a, T> Matrices<'a, T> {
    /// `layout` has four dimensions and stays inside `data`, neither of which is empty.
    pub fn new(data: &'a [T], layout: &Layout) -> Self {
        let mut strides = [0; 4];
        for ((to, &stride), &size) in strides.iter_mut().zip(&layout.strides).zip(layout.shape.iter()) {
            *to = if size == 1 { 0 } else { stride };
        }
        Matrices { first: data.as_ptr().wrapping_add(layout.offset), strides, data: PhantomData }
    }
    /// The matrix of a batch index and head, from a row and a column on; rows are lanes, columns steps.
    pub fn at(&self, b: usize, h: usize, row: usize, col: usize) -> Operand<T> {
        let [sb, sh, sr, sc] = self.strides;
        let place = b as isize * sb + h as isize * sh + row as isize * sr + col as isize * sc;
        Operand { ptr: self.first.wrapping_offset(place), lane: sr, step: sc }
    }
    /// Whether the elements of a row lie side by side (or there is one).
    pub fn rows_contiguous(&self, cols: usize) -> bool {
        self.strides[3] == 1 || cols == 1
    }
}

/// What says which keys a query sees, `[b, h, n, m]` with repeated dimensions.
pub(super) enum Mask<'a, T> {
    None,
    /// 0 hides a key.
    Bool(Matrices<'a, u8>),
    /// Added to the scores.
    Added(Matrices<'a, T>),
}

/// The sizes, none of them 0; `g` divides `h`.
#[derive(Clone, Copy)]
pub(super) struct Sizes {
    pub b: usize,
    /// Heads of queries.
    pub h: usize,
    /// Heads of keys and values.
    pub g: usize,
    /// Queries.
    pub n: usize,
    /// Keys.
    pub m: usize,
    /// Size of a query and a key.
    pub d: usize,
    /// Size of a value.
    pub e: usize,
}

pub(super) struct Problem<'a, T> {
    pub sizes: Sizes,
    pub scale: T,
    pub causal: bool,
    pub q: Matrices<'a, T>,
    pub k: Matrices<'a, T>,
    pub v: Matrices<'a, T>,
    pub mask: Mask<'a, T>,
}

impl<T> Problem<'_, T> {
    /// How many keys, from the first, queries before `query` see at most.
    pub fn seen_before(&self, query: usize) -> usize {
        if self.causal { self.sizes.m.min(query) } else { self.sizes.m }
    }
    /// Multiply-adds of one product, about.
    pub fn work(&self) -> usize {
        let Sizes { b, h, n, m, d, .. } = self.sizes;
        [h, n, m, d].iter().fold(b, |w, &s| w.saturating_mul(s))
    }
}

/// What the backward pass has beside the operands.
pub(super) struct Saved<'a, T> {
    /// The result, `[b, n, h, e]`.
    pub y: &'a [T],
    /// Logarithms of the sums, `[b, h, n]`.
    pub lse: &'a [T],
    /// The result's cotangent, `[b, h, n, e]`.
    pub dy: Matrices<'a, T>,
}
