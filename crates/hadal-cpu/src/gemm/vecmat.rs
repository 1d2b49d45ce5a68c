//! Products with so few rows that packing would cost more than it saves: B is read once, as it lies.

// Loops over the rows and columns of a tile index several arrays alike.
#![allow(clippy::needless_range_loop)]

use crate::vector::Vector;

/// Most rows for these kernels.
pub(crate) const MAX_ROWS: usize = 4;
/// The rows of A: `a[i * a_row + p * a_step]`.
#[derive(Clone, Copy)]
pub(crate) struct Rows<T> {
    pub a: *const T,
    pub a_row: isize,
    pub a_step: isize,
    /// Number of rows, 1 to [`MAX_ROWS`].
    pub m: usize,
    pub k: usize,
}

/// `c[i * c_row + j] += sum over p of a[i, p] * b[p * b_step + j]` for `n` columns: B's rows are
/// contiguous. The sum runs in the order of p, from the value in C.
///
/// # Safety
/// Pointers are valid for what the formula reads and writes; the machine has `V`'s instructions.
#[inline(always)]
pub(crate) unsafe fn axpy<V: Vector>(
    r: &Rows<V::Elem>,
    b: *const V::Elem,
    b_step: isize,
    c: *mut V::Elem,
    c_row: usize,
    n: usize,
) {
    // SAFETY: the caller's promise.
    unsafe {
        match r.m {
            1 => axpy_rows::<V, 1, 8>(r, b, b_step, c, c_row, n),
            2 => axpy_rows::<V, 2, 8>(r, b, b_step, c, c_row, n),
            3 => axpy_rows::<V, 3, 4>(r, b, b_step, c, c_row, n),
            _ => axpy_rows::<V, 4, 4>(r, b, b_step, c, c_row, n),
        }
    }
}

/// `D` rows of B are taken at once.
#[inline(always)]
unsafe fn axpy_rows<V: Vector, const M: usize, const D: usize>(
    r: &Rows<V::Elem>,
    b: *const V::Elem,
    b_step: isize,
    c: *mut V::Elem,
    c_row: usize,
    n: usize,
) {
    // SAFETY: `p` and `j` stay below `k` and `n`.
    unsafe {
        let mut p = 0;
        while p + D <= r.k {
            axpy_deep::<V, M, D>(r, p, b, b_step, c, c_row, n);
            p += D;
        }
        while p < r.k {
            axpy_deep::<V, M, 1>(r, p, b, b_step, c, c_row, n);
            p += 1;
        }
    }
}

/// `D` steps of k from `p0` over all columns.
#[inline(always)]
unsafe fn axpy_deep<V: Vector, const M: usize, const D: usize>(
    r: &Rows<V::Elem>,
    p0: usize,
    b: *const V::Elem,
    b_step: isize,
    c: *mut V::Elem,
    c_row: usize,
    n: usize,
) {
    // SAFETY: as above; the last, partial vector is read and written only up to `n`.
    unsafe {
        let b = b.offset(p0 as isize * b_step);
        let a = |i: usize, d: usize| *r.a.offset(i as isize * r.a_row + (p0 + d) as isize * r.a_step);
        let mut av = [[V::zero(); D]; M];
        for (i, row) in av.iter_mut().enumerate() {
            for (d, v) in row.iter_mut().enumerate() {
                *v = V::splat(a(i, d));
            }
        }
        let mut j = 0;
        while j + V::LANES <= n {
            let mut cv = [V::zero(); M];
            for (i, v) in cv.iter_mut().enumerate() {
                *v = V::load(c.add(i * c_row + j));
            }
            for d in 0..D {
                let bv = V::load(b.offset(d as isize * b_step).add(j));
                for i in 0..M {
                    cv[i] = av[i][d].fma(bv, cv[i]);
                }
            }
            for (i, v) in cv.iter().enumerate() {
                v.store(c.add(i * c_row + j));
            }
            j += V::LANES;
        }
        let rest = n - j;
        if rest > 0 {
            for i in 0..M {
                let mut cv = V::load_first(c.add(i * c_row + j), rest);
                for (d, v) in av[i].iter().enumerate() {
                    cv = v.fma(V::load_first(b.offset(d as isize * b_step).add(j), rest), cv);
                }
                cv.store_first(c.add(i * c_row + j), rest);
            }
        }
    }
}

/// `c[i * c_row + j * c_col] += sum over p of a[i, p] * b[j * b_row + p]` for `n` columns: A's rows
/// (`a_step` is 1) and B's columns are contiguous along k. The sum runs in lanes, which are added in
/// order at the end.
///
/// # Safety
/// As for [`axpy`].
#[inline(always)]
pub(crate) unsafe fn dot<V: Vector>(
    r: &Rows<V::Elem>,
    b: *const V::Elem,
    b_row: isize,
    c: *mut V::Elem,
    c_row: usize,
    c_col: usize,
    n: usize,
) where
    V::Elem: std::ops::AddAssign,
{
    // SAFETY: the caller's promise.
    unsafe {
        match r.m {
            1 => dot_rows::<V, 1, 4, 2>(r, b, b_row, c, c_row, c_col, n),
            2 => dot_rows::<V, 2, 4, 1>(r, b, b_row, c, c_row, c_col, n),
            3 => dot_rows::<V, 3, 2, 1>(r, b, b_row, c, c_row, c_col, n),
            _ => dot_rows::<V, 4, 2, 1>(r, b, b_row, c, c_row, c_col, n),
        }
    }
}

/// `N` columns at once, `H` sets of sums (two hide the latency of the additions in a small tile).
#[inline(always)]
unsafe fn dot_rows<V: Vector, const M: usize, const N: usize, const H: usize>(
    r: &Rows<V::Elem>,
    b: *const V::Elem,
    b_row: isize,
    c: *mut V::Elem,
    c_row: usize,
    c_col: usize,
    n: usize,
) where
    V::Elem: std::ops::AddAssign,
{
    // SAFETY: as above.
    unsafe {
        let mut j = 0;
        while j + N <= n {
            dot_tile::<V, M, N, H>(r, b.offset(j as isize * b_row), b_row, c.add(j * c_col), c_row, c_col);
            j += N;
        }
        while j < n {
            dot_tile::<V, M, 1, 2>(r, b.offset(j as isize * b_row), b_row, c.add(j * c_col), c_row, c_col);
            j += 1;
        }
    }
}

#[inline(always)]
unsafe fn dot_tile<V: Vector, const M: usize, const N: usize, const H: usize>(
    r: &Rows<V::Elem>,
    b: *const V::Elem,
    b_row: isize,
    c: *mut V::Elem,
    c_row: usize,
    c_col: usize,
) where
    V::Elem: std::ops::AddAssign,
{
    // SAFETY: `p` stays below `k`; the last, partial vectors are read up to it.
    unsafe {
        let mut acc = [[[V::zero(); N]; M]; H];
        let mut p = 0;
        while p + H * V::LANES <= r.k {
            for (h, acc) in acc.iter_mut().enumerate() {
                let q = p + h * V::LANES;
                let mut bv = [V::zero(); N];
                for (j, v) in bv.iter_mut().enumerate() {
                    *v = V::load(b.offset(j as isize * b_row).add(q));
                }
                for (i, row) in acc.iter_mut().enumerate() {
                    let av = V::load(r.a.offset(i as isize * r.a_row).add(q));
                    for (c, &v) in row.iter_mut().zip(&bv) {
                        *c = av.fma(v, *c);
                    }
                }
            }
            p += H * V::LANES;
        }
        while p < r.k {
            let rest = (r.k - p).min(V::LANES);
            for i in 0..M {
                let av = V::load_first(r.a.offset(i as isize * r.a_row).add(p), rest);
                for j in 0..N {
                    let bv = V::load_first(b.offset(j as isize * b_row).add(p), rest);
                    acc[0][i][j] = av.fma(bv, acc[0][i][j]);
                }
            }
            p += rest;
        }
        for i in 0..M {
            for j in 0..N {
                let mut v = acc[0][i][j];
                for set in &acc[1..] {
                    v = v.add(set[i][j]);
                }
                *c.add(i * c_row + j * c_col) += v.sum();
            }
        }
    }
}
