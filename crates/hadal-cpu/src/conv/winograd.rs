//! 3x3 convolutions of stride 1 by Winograd's algorithm F(4x4, 3x3) (Lavin and Gray, "Fast Algorithms
//! for Convolutional Neural Networks", 2015): 36 multiplications for 16 results instead of 144.
//!
//! Tiles of 6x6 source elements, 4 apart, are transformed; for each of the 36 transformed elements a
//! matrix product runs over channels; its results are transformed back. The source is copied as for
//! any correlation of stride 4, so that an element of neighbouring tiles is contiguous and the lanes
//! of a vector are tiles.
//!
//! Rounding errors are larger than those of a direct sum: with entries between -1 and 1 they stay
//! below `60 eps` times the number of channels, those of a direct sum below a tenth of that; a test
//! holds both to it. A NaN or an infinity spreads over all results of the tiles that read it. Hence
//! f32 only, and [`set_winograd`].

use super::correlate::{Correlation, multiply};
use super::depth_kernel::Depth;
use super::epilogue::apply;
use super::plan::{Area, Axis, Plan};
use crate::gemm::tables::{Kernels, Shape};
use crate::scratch::Scratch;
use crate::simd::{Level, level};
use crate::threads::{SendPtr, parallel_for};
use crate::vector::Vector;
use hadal_core::ops::Window;
use std::sync::atomic::{AtomicBool, Ordering};

static ALLOWED: AtomicBool = AtomicBool::new(true);

/// Whether f32 convolutions may use Winograd's algorithm (they may, unless told otherwise). It is
/// about twice as fast as a direct sum and loses about one decimal digit. Results depend on this
/// setting, and on nothing else but shapes.
pub fn set_winograd(allowed: bool) {
    ALLOWED.store(allowed, Ordering::Relaxed);
}

/// Whether [`set_winograd`] allows it.
pub(super) fn allowed() -> bool {
    ALLOWED.load(Ordering::Relaxed)
}

/// Results of a tile in a row.
const OUT: usize = 4;
/// Source elements of a tile in a row.
const IN: usize = 6;
/// Elements of a transformed tile.
const ELEMENTS: usize = IN * IN;
/// Fewest tiles of an image and channels of a group with which transforms are cheap enough.
const MIN_TILES: usize = 36;
const MIN_CHANNELS: usize = 16;
/// Elements of an area's transformed source and result together, about.
const BUDGET: usize = 1 << 19;
/// Fewer units than this are not shared among threads as a whole.
const MIN_UNITS: usize = 16;
/// Longest block of the sum over channels.
const K_BLOCK: usize = 768;
/// Kernels that are transformed at once.
const KERNELS: usize = 12;

/// The transforms of one instruction set.
pub(super) struct Transforms<T> {
    source: unsafe fn(*const T, *const isize, *mut T, usize),
    result: unsafe fn(*const T, usize, *mut T, usize),
}

/// `x - y`.
#[inline(always)]
unsafe fn sub<V: Vector>(x: V, y: V, minus: V) -> V {
    // SAFETY: the caller has the instructions.
    unsafe { y.fma(minus, x) }
}

/// Transforms a vector of tiles: element `(i, j)` is at `copy + offsets[6 i + j]`, transformed
/// element `e` goes to `to + e * step`.
///
/// # Safety
/// All of that is valid for a vector; the machine has `V`'s instructions.
#[inline(always)]
#[allow(clippy::needless_range_loop)] // Unrolled: indices say which is which.
unsafe fn source<V: Vector>(
    copy: *const V::Elem,
    offsets: *const isize,
    to: *mut V::Elem,
    step: usize,
    c: [V; 5],
) {
    // SAFETY: the caller's promise.
    unsafe {
        let mut t = [[V::zero(); IN]; IN];
        for j in 0..IN {
            let mut d = [V::zero(); IN];
            for (i, d) in d.iter_mut().enumerate() {
                *d = V::load(copy.offset(*offsets.add(i * IN + j)));
            }
            let column = source_row(d, c);
            for i in 0..IN {
                t[i][j] = column[i];
            }
        }
        for (i, row) in t.into_iter().enumerate() {
            for (j, v) in source_row(row, c).into_iter().enumerate() {
                v.store(to.add((i * IN + j) * step));
            }
        }
    }
}

/// One dimension of the source's transform. `c` is -1, 2, 4, -4, -5.
#[inline(always)]
unsafe fn source_row<V: Vector>(d: [V; IN], [minus, two, four, minus_four, minus_five]: [V; 5]) -> [V; IN] {
    // SAFETY: the caller has the instructions.
    unsafe {
        let a = d[2].fma(minus_four, d[4]);
        let b = d[1].fma(minus_four, d[3]);
        let e = sub(d[4], d[2], minus);
        let f = sub(d[3], d[1], minus);
        [
            d[0].fma(four, d[2].fma(minus_five, d[4])),
            a.add(b),
            sub(a, b, minus),
            f.fma(two, e),
            f.fma(two.fma(minus, V::zero()), e),
            d[1].fma(four, d[3].fma(minus_five, d[5])),
        ]
    }
}

/// The inverse: element `e` of a vector of tiles is at `from + e * step`; result `(i, j)` goes to
/// `to + (4 i + j) * to_step`.
///
/// # Safety
/// As for [`source`].
#[inline(always)]
#[allow(clippy::needless_range_loop)] // Unrolled: indices say which is which.
unsafe fn result<V: Vector>(from: *const V::Elem, step: usize, to: *mut V::Elem, to_step: usize, c: [V; 4]) {
    // SAFETY: the caller's promise.
    unsafe {
        let mut t = [[V::zero(); IN]; OUT];
        for j in 0..IN {
            let mut m = [V::zero(); IN];
            for (i, m) in m.iter_mut().enumerate() {
                *m = V::load(from.add((i * IN + j) * step));
            }
            let column = result_row(m, c);
            for i in 0..OUT {
                t[i][j] = column[i];
            }
        }
        for (i, row) in t.into_iter().enumerate() {
            for (j, v) in result_row(row, c).into_iter().enumerate() {
                v.store(to.add((i * OUT + j) * to_step));
            }
        }
    }
}

/// One dimension of the inverse. `c` is -1, 2, 4, 8.
#[inline(always)]
unsafe fn result_row<V: Vector>(m: [V; IN], [minus, two, four, eight]: [V; 4]) -> [V; OUT] {
    // SAFETY: the caller has the instructions.
    unsafe {
        let (s, d) = (m[1].add(m[2]), sub(m[1], m[2], minus));
        let (p, q) = (m[3].add(m[4]), sub(m[3], m[4], minus));
        [m[0].add(s).add(p), q.fma(two, d), p.fma(four, s), q.fma(eight, d).add(m[5])]
    }
}

macro_rules! transforms {
    ($(#[$feature:meta])* $module:ident, $v:ty) => {
        mod $module {
            use super::Transforms;
            use crate::vector::Vector;

            $(#[$feature])*
            unsafe fn source(copy: *const f32, offsets: *const isize, to: *mut f32, step: usize) {
                // SAFETY: the caller's promise, and this function has the instructions.
                unsafe {
                    let c = [<$v>::splat(-1.0), <$v>::splat(2.0), <$v>::splat(4.0), <$v>::splat(-4.0), <$v>::splat(-5.0)];
                    super::source::<$v>(copy, offsets, to, step, c)
                }
            }
            $(#[$feature])*
            unsafe fn result(from: *const f32, step: usize, to: *mut f32, to_step: usize) {
                // SAFETY: as above.
                unsafe {
                    let c = [<$v>::splat(-1.0), <$v>::splat(2.0), <$v>::splat(4.0), <$v>::splat(8.0)];
                    super::result::<$v>(from, step, to, to_step, c)
                }
            }
            pub(super) static F32: Transforms<f32> = Transforms { source, result };
        }
    };
}
transforms!(portable, crate::vector::Plain<f32, 4>);
#[cfg(target_arch = "x86_64")]
transforms!(
    #[target_feature(enable = "avx2,fma")]
    avx2,
    std::arch::x86_64::__m256
);
#[cfg(target_arch = "x86_64")]
transforms!(
    #[target_feature(enable = "avx512f,avx512vl,avx512bw,avx512dq,avx2,fma")]
    avx512,
    std::arch::x86_64::__m512
);

/// The transforms of this machine.
pub(super) fn transforms() -> &'static Transforms<f32> {
    match level() {
        #[cfg(target_arch = "x86_64")]
        Level::Avx512 => &avx512::F32,
        #[cfg(target_arch = "x86_64")]
        Level::Avx2 => &avx2::F32,
        _ => &portable::F32,
    }
}

/// A 3x3 correlation that is worth transforming.
pub(super) struct Winograd<'a, T> {
    c: &'a Correlation<'a, T>,
    plan: Plan,
    /// Height and width of the result.
    height: usize,
    width: usize,
}

/// Writes the 3x3 kernel of a result and source channel of a group.
pub(super) type KernelOf<'a, T> = dyn Fn(usize, usize, usize) -> [T; 9] + Sync + 'a;

impl<'a, T: Depth> Winograd<'a, T> {
    /// The correlation, if it is one. `windows` are those of the forward pass, or with `grad` of the
    /// pass whose input gradient is wanted.
    pub fn new(c: &'a Correlation<'a, T>, windows: &[Window; 3], grad: bool) -> Option<Self> {
        T::winograd()?;
        let [z, y, x] = windows;
        let side = |w: &Window| {
            let (from, to, pad) = if grad {
                (w.output, w.input, 2usize.checked_sub(w.pad_lo)?)
            } else {
                (w.input, w.output, w.pad_lo)
            };
            let fits = (w.kernel, w.stride, w.dilation) == (3, 1, 1) && pad <= 2 && to <= from + 2;
            let tiles = to.div_ceil(OUT);
            let window =
                Window { input: from, kernel: IN, stride: OUT, pad_lo: pad, output: tiles, ..Window::UNIT };
            let axis = Axis::forward(&window);
            (fits && axis.taps() == IN).then_some((axis, to))
        };
        if !allowed() || *z != Window::UNIT || c.sources.min(c.results) < MIN_CHANNELS {
            return None;
        }
        let ((ay, height), (ax, width)) = (side(y)?, side(x)?);
        if ay.count * ax.count < MIN_TILES {
            return None;
        }
        let per_row = ELEMENTS * (c.sources + c.results) * ax.count;
        let plan = Plan::with_rows([Axis::forward(z), ay, ax], (BUDGET / per_row).max(1));
        Some(Winograd { c, plan, height, width })
    }

    fn tiling(&self) -> (&'static Kernels<T>, Shape, usize, usize) {
        let ks = T::kernels();
        let shape = ks.shape(self.c.results, (self.plan.rows - 1) * self.plan.pitch + self.plan.cols);
        let k = self.c.sources;
        (ks, shape, k.div_ceil(k.div_ceil(K_BLOCK)), self.c.results.div_ceil(shape.mr))
    }

    /// Elements of the transformed kernels.
    pub fn packed_len(&self) -> usize {
        self.c.groups * ELEMENTS * self.c.sources * self.c.results
    }

    /// Transforms the kernels, for any source.
    pub fn pack(&self, kernel: &KernelOf<'_, T>, weights: &mut [T]) {
        let c = self.c;
        let (k, (_, shape, kc, panels)) = (c.sources, self.tiling());
        let matrix = k * c.results;
        let shared = SendPtr::new(weights.as_mut_ptr());
        parallel_for(c.groups * panels, &|t| {
            let (group, first) = (t / panels, t % panels * shape.mr);
            let count = shape.mr.min(c.results - first);
            for s in 0..k {
                let mut kernels = [[T::ZERO; KERNELS]; 9];
                (0..count).for_each(|r| {
                    let g = kernel(group, first + r, s);
                    (0..9).for_each(|i| kernels[i][r] = g[i]);
                });
                let block = s / kc * kc;
                let len = kc.min(k - block);
                let at = block * c.results + first * len + (s - block) * count;
                // Whole arrays are quicker; what one writes too much is what comes next in the panel.
                let write = if (block + len - s) * count >= KERNELS { KERNELS } else { count };
                for (e, row) in transformed(&kernels).into_iter().enumerate() {
                    // SAFETY: this panel and channel of each element's matrix belong to this task.
                    let to = unsafe { shared.slice((group * ELEMENTS + e) * matrix + at, write) };
                    match to.as_chunks_mut::<KERNELS>() {
                        ([whole], []) => *whole = row,
                        _ => to.copy_from_slice(&row[..count]),
                    }
                }
            }
        });
    }

    /// Runs the correlation into `out`, `[images, groups, results, y, x]`, with kernels as
    /// [`Winograd::pack`] leaves them.
    pub fn run(&self, weights: &[T], out: &mut [T]) {
        let c = self.c;
        let (plan, k, areas) = (&self.plan, c.sources, self.plan.areas());
        let units = c.images * c.groups * areas;
        let Some(transforms) = T::winograd().filter(|_| units > 0) else { return };
        let (ks, shape, kc, panels) = self.tiling();
        let matrix = k * c.results;
        let offsets = plan.offsets(1);
        let out = SendPtr::new(out.as_mut_ptr());
        let source_len = k * plan.axes[1].source * plan.axes[2].source;
        // Inside a task of units its own loops run one after the other.
        let unit = |unit: usize| {
            let (image, area) = (unit / areas, plan.area(unit % areas));
            let group = image % c.groups;
            let row = ((area.rows - 1) * plan.pitch + area.cols).next_multiple_of(ks.lanes);
            let source = &c.source[image * source_len..][..source_len];
            let (step, to_step) = (k * row, c.results * row);
            let mut tiles = Scratch::<T>::new(ELEMENTS * step);
            let mut sums = Scratch::<T>::new(ELEMENTS * to_step);
            let (tiles, sums) = (tiles.slice(), sums.slice());
            let (to, shared_sums) = (SendPtr::new(tiles.as_mut_ptr()), SendPtr::new(sums.as_mut_ptr()));
            parallel_for(k, &|s| {
                let mut copy = Scratch::<T>::new(plan.channel() + ks.lanes * 4);
                let copy = copy.slice();
                plan.fill(area, &source[s * source_len / k..][..source_len / k], 1, copy);
                for q in (0..row).step_by(ks.lanes) {
                    // SAFETY: offsets plus pixels stay inside the copy, which has some vectors to
                    // spare; row `s` of each element's matrix belongs to this task.
                    unsafe {
                        let to = to.get().add(s * row + q);
                        (transforms.source)(copy.as_ptr().add(q), offsets.as_ptr(), to, step);
                    }
                }
            });
            let tiles = &*tiles;
            let rows: Vec<isize> = (0..k).map(|s| (s * row) as isize).collect();
            parallel_for(ELEMENTS, &|e| {
                let weights = &weights[(group * ELEMENTS + e) * matrix..][..matrix];
                // SAFETY: the sums of an element belong to its task.
                let sums = unsafe { shared_sums.slice(e * to_step, to_step) };
                multiply(
                    ks,
                    shape,
                    weights,
                    (k, kc, c.results),
                    0..panels,
                    &tiles[e * step..],
                    &rows,
                    row,
                    sums,
                );
            });
            let sums = &*sums;
            parallel_for(c.results, &|r| {
                let mut back = Scratch::<T>::new(OUT * OUT * row);
                let back = back.slice();
                for q in (0..row).step_by(ks.lanes) {
                    // SAFETY: whole vectors of row `r` of each element's sums, and of each result.
                    unsafe {
                        let from = sums.as_ptr().add(r * row + q);
                        (transforms.result)(from, to_step, back.as_mut_ptr().add(q), row);
                    }
                }
                let at = (image * c.results + r) * self.height * self.width;
                self.write(area, back, row, out, at, group * c.results + r);
            });
        };
        if units >= MIN_UNITS { parallel_for(units, &unit) } else { (0..units).for_each(unit) }
    }

    /// Puts the results of an area's tiles where they belong in the plane that begins at `at`.
    fn write(&self, area: Area, back: &[T], step: usize, out: SendPtr<T>, at: usize, channel: usize) {
        let rows = area.y0 * OUT..((area.y0 + area.rows) * OUT).min(self.height);
        let (x0, x1) = (area.x0 * OUT, ((area.x0 + area.cols) * OUT).min(self.width));
        for y in rows.clone() {
            let (tile, i) = (y / OUT - area.y0, y % OUT);
            let from: [&[T]; OUT] =
                std::array::from_fn(|j| &back[(i * OUT + j) * step + tile * self.plan.pitch..][..area.cols]);
            // SAFETY: this part of the row belongs to this task.
            let to = unsafe { out.slice(at + y * self.width + x0, x1 - x0) };
            let (whole, rest) = to.as_chunks_mut::<OUT>();
            let n = whole.len();
            for (t, to) in whole.iter_mut().enumerate() {
                *to = [from[0][t], from[1][t], from[2][t], from[3][t]];
            }
            rest.iter_mut().enumerate().for_each(|(j, v)| *v = from[j][n]);
            apply(&self.c.epilogue, channel, at + y * self.width + x0, to);
        }
    }
}

/// The kernels' transform, `G g G'`, for several at once.
#[allow(clippy::needless_range_loop)] // Indices say which is which.
fn transformed<T: Depth>(g: &[[T; KERNELS]; 9]) -> [[T; KERNELS]; ELEMENTS] {
    let half = |v: f64| T::from_f64(v);
    let (quarter, sixth, c24, c12) = (half(0.25), half(-1.0 / 6.0), half(1.0 / 24.0), half(1.0 / 12.0));
    let row = |a: [T; 3]| {
        let (even, odd) = ((a[0] + a[2]) * sixth, a[1] * sixth);
        let minus = T::from_f64(-1.0);
        let (low, mid, high) = (a[0] * c24, a[1] * c12, a[2] * (sixth * minus));
        [a[0] * quarter, even + odd, even + odd * minus, low + high + mid, low + high + mid * minus, a[2]]
    };
    let mut columns = [[[T::ZERO; KERNELS]; 3]; IN];
    for j in 0..3 {
        for r in 0..KERNELS {
            let v = row([g[j][r], g[3 + j][r], g[6 + j][r]]);
            (0..IN).for_each(|i| columns[i][j][r] = v[i]);
        }
    }
    let mut all = [[T::ZERO; KERNELS]; ELEMENTS];
    for i in 0..IN {
        for r in 0..KERNELS {
            let v = row([columns[i][0][r], columns[i][1][r], columns[i][2][r]]);
            (0..IN).for_each(|j| all[i * IN + j][r] = v[j]);
        }
    }
    all
}
