//! The micro-kernel: a tile of at most 12 rows by four vectors of C, held in registers while it
//! runs along k.
//!
//! One generic body makes every kernel. Per step of k it loads `NV` vectors of B, broadcasts `MR`
//! scalars of A and does `MR * NV` multiply-adds. Each element of C is one chain of multiply-adds in
//! the order of k, whatever the tile's shape, so results depend neither on how C is cut into tiles
//! nor on the width of the vectors.

use crate::vector::Vector;
use std::mem::MaybeUninit;

/// A is packed: `MR` values per step of k, one after the other.
pub(crate) const PACKED: u8 = 0;
/// Row `i` of A starts at its own offset `a_off[i]`; rows share the step along k. k is walked in two
/// levels (`rows` of `k` steps).
pub(crate) const STRIDED: u8 = 1;
/// A is packed, and the row of B for step `p` starts at `b_off[p]`.
pub(crate) const GATHER: u8 = 2;

/// Most rows of any kernel.
pub(crate) const MAX_MR: usize = 12;

/// What one kernel call works on. Pointers must be valid for the tile they describe; B for whole
/// vectors.
#[derive(Clone, Copy)]
pub(crate) struct Tile<T> {
    /// Steps of the inner loop.
    pub k: usize,
    /// Runs of the inner loop (`STRIDED` only; else 1).
    pub rows: usize,
    pub a: *const T,
    /// `STRIDED`: one offset per row of the tile.
    pub a_off: *const isize,
    /// `STRIDED`: step of A along the inner loop.
    pub a_step: isize,
    /// `STRIDED`: step of A from one inner loop to the next.
    pub a_row: isize,
    pub b: *const T,
    /// Step of B along k (`PACKED`, `STRIDED`).
    pub b_step: isize,
    /// `GATHER`: one offset per step of k.
    pub b_off: *const isize,
    pub c: *mut T,
    /// Distance of C's rows.
    pub c_row: usize,
    /// Columns of C that exist, at most `NV * LANES`, above `(NV - 1) * LANES`.
    pub cols: usize,
    /// Add to C instead of overwriting it.
    pub accumulate: bool,
    /// Added to every row, if not null.
    pub bias_n: *const T,
    /// One value added to each row, if not null.
    pub bias_m: *const T,
    /// Negative results become zero.
    pub relu: bool,
}

impl<T> Tile<T> {
    /// A tile with nothing set.
    pub fn empty() -> Self {
        Tile {
            k: 0,
            rows: 1,
            a: std::ptr::null(),
            a_off: std::ptr::null(),
            a_step: 0,
            a_row: 0,
            b: std::ptr::null(),
            b_step: 0,
            b_off: std::ptr::null(),
            c: std::ptr::null_mut(),
            c_row: 0,
            cols: 0,
            accumulate: false,
            bias_n: std::ptr::null(),
            bias_m: std::ptr::null(),
            relu: false,
        }
    }
}

/// A micro-kernel.
pub(crate) type Kernel<T> = unsafe fn(&Tile<T>);
/// Writes a tile held in memory (rows of whole vectors) to C with partial columns, bias and relu.
pub(crate) type Finish<T> = unsafe fn(*const T, usize, usize, &Tile<T>);

/// # Safety
/// The tile's pointers are valid as its fields say, and the machine has `V`'s instructions.
#[inline(always)]
pub(crate) unsafe fn kernel<V: Vector, const MODE: u8, const MR: usize, const NV: usize>(
    t: &Tile<V::Elem>,
    finish: Finish<V::Elem>,
) {
    // SAFETY: every pointer below stays inside what the tile describes: A for MR rows and all steps
    // of k, B for NV vectors per step, C for MR rows of `cols` columns.
    unsafe {
        for i in 0..MR {
            let row = t.c.wrapping_add(i * t.c_row).cast_const();
            V::prefetch(row);
            if NV > 1 {
                V::prefetch(row.wrapping_add(V::LANES));
            }
        }
        let mut acc = [[V::zero(); NV]; MR];
        match MODE {
            PACKED => {
                let (mut a, mut b) = (t.a, t.b);
                for _ in 0..t.k {
                    step::<V, MR, NV>(&mut acc, b, |i| *a.add(i));
                    a = a.add(MR);
                    b = b.offset(t.b_step);
                }
            }
            GATHER => {
                let mut a = t.a;
                for p in 0..t.k {
                    step::<V, MR, NV>(&mut acc, t.b.offset(*t.b_off.add(p)), |i| *a.add(i));
                    a = a.add(MR);
                }
            }
            _ => {
                let mut rows = [t.a; MR];
                for (i, r) in rows.iter_mut().enumerate() {
                    *r = t.a.offset(*t.a_off.add(i));
                }
                let mut b = t.b;
                for y in 0..t.rows {
                    let mut x = y as isize * t.a_row;
                    for _ in 0..t.k {
                        step::<V, MR, NV>(&mut acc, b, |i| *rows[i].offset(x));
                        x += t.a_step;
                        b = b.offset(t.b_step);
                    }
                }
            }
        }
        let plain = t.cols == NV * V::LANES && t.bias_n.is_null() && t.bias_m.is_null() && !t.relu;
        if plain {
            if t.accumulate {
                for (i, row) in acc.iter_mut().enumerate() {
                    for (j, v) in row.iter_mut().enumerate() {
                        *v = V::load(t.c.add(i * t.c_row + j * V::LANES)).add(*v);
                    }
                }
            }
            for (i, row) in acc.iter().enumerate() {
                for (j, &v) in row.iter().enumerate() {
                    v.store(t.c.add(i * t.c_row + j * V::LANES));
                }
            }
        } else {
            // Through a copy: taking the sums' own address would keep them out of registers.
            let mut copy = [[MaybeUninit::<V>::uninit(); NV]; MR];
            for i in 0..MR {
                for j in 0..NV {
                    acc[i][j].store(copy[i][j].as_mut_ptr().cast());
                }
            }
            finish(copy.as_ptr().cast(), MR, NV, t);
        }
    }
}

/// One step of k.
#[inline(always)]
unsafe fn step<V: Vector, const MR: usize, const NV: usize>(
    acc: &mut [[V; NV]; MR],
    b: *const V::Elem,
    a: impl Fn(usize) -> V::Elem,
) {
    // SAFETY: the caller's pointers cover this step.
    unsafe {
        let mut bv = [V::zero(); NV];
        for (j, v) in bv.iter_mut().enumerate() {
            *v = V::load(b.add(j * V::LANES));
        }
        for (i, row) in acc.iter_mut().enumerate() {
            let av = V::splat(a(i));
            for (c, &v) in row.iter_mut().zip(&bv) {
                *c = av.fma(v, *c);
            }
        }
    }
}

/// The body of [`Finish`].
///
/// # Safety
/// `acc` holds `mr` rows of `nv` vectors; the rest as for [`kernel`].
#[inline(always)]
pub(crate) unsafe fn finish<V: Vector>(acc: *const V::Elem, mr: usize, nv: usize, t: &Tile<V::Elem>) {
    // SAFETY: vector `j` of row `i` covers columns `j * LANES` and on, of which `n` exist in C and
    // in the bias; nothing beyond them is touched.
    unsafe {
        for i in 0..mr {
            let bias_m = if t.bias_m.is_null() { None } else { Some(V::splat(*t.bias_m.add(i))) };
            for j in 0..nv {
                let col = j * V::LANES;
                let n = (t.cols - col.min(t.cols)).min(V::LANES);
                let c = t.c.add(i * t.c_row + col);
                let mut v = V::load(acc.add((i * nv + j) * V::LANES));
                if t.accumulate {
                    v = V::load_first(c, n).add(v);
                }
                if let Some(b) = bias_m {
                    v = v.add(b);
                }
                if !t.bias_n.is_null() {
                    v = v.add(V::load_first(t.bias_n.add(col), n));
                }
                if t.relu {
                    v = v.relu();
                }
                v.store_first(c, n);
            }
        }
    }
}
