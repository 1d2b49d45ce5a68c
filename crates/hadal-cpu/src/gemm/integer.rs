//! Products of integers and bools: a plain loop, rows in parallel.

use super::sealed::Multiply;
use super::{Activation, Bias, Call};
use crate::threads::{SendPtr, parallel_for};

/// Addition and multiplication that cannot fail.
trait Ring: Copy + Send + Sync {
    const ZERO: Self;
    fn plus(self, o: Self) -> Self;
    fn times(self, o: Self) -> Self;
    fn relu(self) -> Self;
}

macro_rules! ring {
    ($($t:ty),*) => {$(
        impl Ring for $t {
            const ZERO: $t = 0;
            #[inline(always)]
            fn plus(self, o: $t) -> $t {
                self.wrapping_add(o)
            }
            #[inline(always)]
            fn times(self, o: $t) -> $t {
                self.wrapping_mul(o)
            }
            #[inline(always)]
            fn relu(self) -> $t {
                self.max(0)
            }
        }
    )*};
}
ring!(i64, i32, u8);

impl Ring for bool {
    const ZERO: bool = false;
    fn plus(self, o: bool) -> bool {
        self | o
    }
    fn times(self, o: bool) -> bool {
        self & o
    }
    fn relu(self) -> bool {
        self
    }
}

fn multiply<T: Ring>(call: &Call<'_, T>, c: &mut [T]) {
    let (m, n, k) = (call.m, call.n, call.k);
    let rows = call.count * m;
    let each = ((1 << 15) / (n * k.max(1))).clamp(1, rows);
    let out = SendPtr::new(c.as_mut_ptr());
    let at = |data: &[T], base: isize, i: usize, si: isize, j: usize, sj: isize| {
        data[(base + i as isize * si + j as isize * sj) as usize]
    };
    parallel_for(rows.div_ceil(each), &|task| {
        for r in task * each..((task + 1) * each).min(rows) {
            let (index, i) = (r / m, r % m);
            // SAFETY: row `r` of C belongs to this task.
            let c = unsafe { out.slice(r * n, n) };
            if !call.accumulate {
                c.fill(T::ZERO);
            }
            let (a, b) = if k > 0 { call.offsets(index) } else { (0, 0) };
            for p in 0..k {
                let av = at(call.a.data, a, i, call.a.row_stride, p, call.a.col_stride);
                if call.b.col_stride == 1 {
                    let start = (b + p as isize * call.b.row_stride) as usize;
                    for (v, &bv) in c.iter_mut().zip(&call.b.data[start..start + n]) {
                        *v = v.plus(av.times(bv));
                    }
                } else {
                    for (j, v) in c.iter_mut().enumerate() {
                        let bv = at(call.b.data, b, p, call.b.row_stride, j, call.b.col_stride);
                        *v = v.plus(av.times(bv));
                    }
                }
            }
            match call.epilogue.bias {
                Bias::None => {}
                Bias::Columns(v) => c.iter_mut().zip(v).for_each(|(c, &b)| *c = c.plus(b)),
                Bias::Rows(v) => c.iter_mut().for_each(|c| *c = c.plus(v[i])),
            }
            if call.epilogue.activation == Activation::Relu {
                c.iter_mut().for_each(|c| *c = c.relu());
            }
            if let Some(map) = call.epilogue.map {
                map(r, 0, c);
            }
        }
    });
}

macro_rules! exact {
    ($($t:ty),*) => {$(
        #[allow(private_interfaces)]
        impl Multiply for $t {
            fn multiply(call: &Call<'_, $t>, c: &mut [$t]) {
                multiply(call, c)
            }
        }
    )*};
}
exact!(i64, i32, u8, bool);
