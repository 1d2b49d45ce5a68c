//! How a convolution becomes shifted reads of one buffer.
//!
//! Forward pass and input gradient are both correlations: output `t` of a dimension is a sum over
//! taps of source element `t * step + tap`. The source is copied once, padded with zeros and split
//! into phases (elements `0, step, 2 step, …`; `1, step + 1, …`), after which every tap reads a
//! plane of the copy at a constant shift: row `(channel, tap)` of the im2col matrix is the copy from
//! `offsets[(channel, tap)]` on, contiguous over a whole band of output rows (a few elements between
//! rows are computed for nothing). So the matrix itself is never made, and the copy is smaller than
//! it by the number of taps.
//!
//! The input gradient of a stride `s` falls apart into `s` such correlations per dimension, one for
//! each residue of the position, each with the taps that hit it.

use super::depth_kernel::Depth;
use hadal_core::ops::Window;

/// One dimension of a correlation.
#[derive(Clone, Debug)]
pub(crate) struct Axis {
    /// Length of the source.
    pub source: usize,
    /// Number of outputs.
    pub count: usize,
    /// Source elements between neighbouring outputs.
    pub step: usize,
    /// Where output `t` lies in the result: `place + t * place_step`.
    pub place: usize,
    /// See `place`.
    pub place_step: usize,
    /// Length of the result.
    pub result: usize,
    /// The kernel index of each tap.
    pub index: Vec<usize>,
    /// Source index of phase 0, shift 0 for output 0 (may be negative).
    pub origin: isize,
    /// The phases that taps use, ascending.
    pub phases: Vec<usize>,
    /// Each tap's place in `phases`.
    pub phase: Vec<usize>,
    /// Each tap's shift within its phase.
    pub shift: Vec<usize>,
    /// The largest shift.
    pub reach: usize,
}

impl Axis {
    fn new(
        source: usize,
        count: usize,
        step: usize,
        place: [usize; 3],
        mut taps: Vec<(usize, isize)>,
    ) -> Axis {
        // Taps that meet nothing but padding add nothing, and could be any distance away.
        let last = (count.saturating_sub(1) * step) as isize;
        taps.retain(|&(_, tap)| {
            let first =
                if tap < 0 { tap + (-tap as usize).div_ceil(step) as isize * step as isize } else { tap };
            first < source as isize && first - tap <= last
        });
        let origin = taps.iter().map(|t| t.1).min().unwrap_or(0);
        let split = |t: &(usize, isize)| ((t.1 - origin) as usize % step, (t.1 - origin) as usize / step);
        let mut phases: Vec<usize> = taps.iter().map(|t| split(t).0).collect();
        phases.sort_unstable();
        phases.dedup();
        let phase = taps.iter().map(|t| phases.binary_search(&split(t).0).unwrap_or(0)).collect();
        let shift: Vec<usize> = taps.iter().map(|t| split(t).1).collect();
        Axis {
            source,
            count,
            step,
            place: place[0],
            place_step: place[1],
            result: place[2],
            index: taps.iter().map(|t| t.0).collect(),
            origin,
            phases,
            phase,
            reach: shift.iter().copied().max().unwrap_or(0),
            shift,
        }
    }

    /// The forward pass.
    pub fn forward(w: &Window) -> Axis {
        let taps = (0..w.kernel).map(|k| (k, (k * w.dilation) as isize - w.pad_lo as isize)).collect();
        Axis::new(w.input, w.output, w.stride, [0, 1, w.output], taps)
    }

    /// The input gradient at positions `i` with `(i + pad_lo) % stride == residue`.
    pub fn input_grad(w: &Window, residue: usize) -> Axis {
        let (s, pad) = (w.stride, w.pad_lo);
        // i = s * t + residue - pad; the first t with i >= 0.
        let first = pad.saturating_sub(residue).div_ceil(s);
        let place = s * first + residue - pad;
        let count = if place < w.input { (w.input - place).div_ceil(s) } else { 0 };
        let taps = (0..w.kernel).filter(|k| k * w.dilation % s == residue);
        let tap = |k: usize| first as isize - ((k * w.dilation - residue) / s) as isize;
        // A tap below the residue cannot occur: k * dilation % s == residue.
        Axis::new(w.output, count, 1, [place, s, w.input], taps.map(|k| (k, tap(k))).collect())
    }

    /// Number of taps.
    pub fn taps(&self) -> usize {
        self.index.len()
    }

    /// The columns of a copied row, counted from output `x0`, that lie on the source in a phase: lo to
    /// hi of `len`.
    fn inside(&self, x0: usize, phase: usize, len: usize) -> (usize, usize) {
        let first = (x0 * self.step + phase) as isize + self.origin;
        let lo = ((-first).max(0) as usize).div_ceil(self.step).min(len);
        let end = self.source as isize - first;
        let hi = if end <= 0 { 0 } else { (end as usize).div_ceil(self.step) }.clamp(lo, len);
        (lo, hi)
    }

    /// The distance of copied rows for areas of `cols` columns. The zeros behind a row are those
    /// before the next one, as far as there are some: where every row has its `lo` zeros first, what
    /// is read beyond the pitch are zeros too.
    fn pitch(&self, cols: usize) -> usize {
        let len = cols + self.reach;
        if cols < self.count {
            return len;
        }
        let need = |&phase: &usize| {
            let (lo, hi) = self.inside(0, phase, len);
            hi.max(len - lo)
        };
        self.phases.iter().map(need).max().unwrap_or(len).max(cols)
    }
}

/// A rectangle of outputs that is computed together: rows `y0` and on of plane `z`, from column
/// `x0` on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Area {
    pub z: usize,
    pub y0: usize,
    pub rows: usize,
    pub x0: usize,
    pub cols: usize,
}

/// A correlation cut into areas, and the layout of the copy that each area makes.
///
/// The copy is `[channel][z tap][y phase][x phase][row][pitch]`.
#[derive(Debug)]
pub(crate) struct Plan {
    /// Depth, height, width.
    pub axes: [Axis; 3],
    /// Rows of a full area.
    pub rows: usize,
    /// Columns of a full area.
    pub cols: usize,
    /// Distance of the copy's rows, which is that of the computed rows as well.
    pub pitch: usize,
    /// Distance of the copy's planes.
    pub plane: usize,
}

/// Longest row of an area.
const MAX_COLS: usize = 1024;

/// The even parts, of at most about `most`, that `n` is cut into.
fn even(n: usize, most: usize) -> usize {
    n.div_ceil(n.div_ceil(most.max(1)).max(1)).max(1)
}

impl Plan {
    /// A plan whose copies of `channels` channels take about `budget` elements.
    pub fn new(axes: [Axis; 3], channels: usize, budget: usize) -> Plan {
        let (y, x) = (&axes[1], &axes[2]);
        let pitch = x.pitch(even(x.count, MAX_COLS));
        let per_row = channels * axes[0].taps() * y.phases.len() * x.phases.len() * pitch;
        let most = (budget / per_row.max(1)).saturating_sub(y.reach);
        Plan::with_rows(axes, most)
    }

    /// A plan whose areas have at most about `most` rows.
    pub fn with_rows(axes: [Axis; 3], most: usize) -> Plan {
        let (y, x) = (&axes[1], &axes[2]);
        let cols = even(x.count, MAX_COLS);
        let pitch = x.pitch(cols);
        let rows = even(y.count, most);
        // The last row's zeros have no next row to share.
        let mut plane = (rows + y.reach) * pitch + (cols + x.reach - pitch);
        // Planes a multiple of 4 KiB apart would share their cache sets.
        if plane.is_multiple_of(512) {
            plane += 16;
        }
        Plan { axes, rows, cols, pitch, plane }
    }

    /// Taps of all three dimensions.
    pub fn taps(&self) -> usize {
        self.axes.iter().map(Axis::taps).product()
    }

    /// Kernel index (flat over `kernel`) of each tap, in the order of [`Plan::offsets`].
    pub fn kernel_index(&self, kernel: [usize; 3]) -> Vec<usize> {
        let [z, y, x] = &self.axes;
        let mut all = Vec::with_capacity(self.taps());
        for &kz in &z.index {
            for &ky in &y.index {
                all.extend(x.index.iter().map(|&kx| (kz * kernel[1] + ky) * kernel[2] + kx));
            }
        }
        all
    }

    /// Elements of the copy of a channel.
    pub fn channel(&self) -> usize {
        self.axes[0].taps() * self.axes[1].phases.len() * self.axes[2].phases.len() * self.plane
    }

    /// Where each (channel, tap) starts in the copy.
    pub fn offsets(&self, channels: usize) -> Vec<isize> {
        let [z, y, x] = &self.axes;
        let mut all = Vec::with_capacity(channels * self.taps());
        for c in 0..channels {
            for tz in 0..z.taps() {
                for ty in 0..y.taps() {
                    for tx in 0..x.taps() {
                        let plane = (tz * y.phases.len() + y.phase[ty]) * x.phases.len() + x.phase[tx];
                        let at =
                            c * self.channel() + plane * self.plane + y.shift[ty] * self.pitch + x.shift[tx];
                        all.push(at as isize);
                    }
                }
            }
        }
        all
    }

    /// Number of areas.
    pub fn areas(&self) -> usize {
        let [z, y, x] = &self.axes;
        z.count * y.count.div_ceil(self.rows) * x.count.div_ceil(self.cols)
    }

    /// Area `i`.
    pub fn area(&self, i: usize) -> Area {
        let [_, y, x] = &self.axes;
        let (ny, nx) = (y.count.div_ceil(self.rows), x.count.div_ceil(self.cols));
        let (y0, x0) = (i / nx % ny * self.rows, i % nx * self.cols);
        let (rows, cols) = (self.rows.min(y.count - y0), self.cols.min(x.count - x0));
        Area { z: i / (nx * ny), y0, rows, x0, cols }
    }

    /// Copies the source of an area: `channels` planes of `source` (z, y, x contiguous).
    pub fn fill<T: Depth>(&self, area: Area, source: &[T], channels: usize, copy: &mut [T]) {
        let [z, y, x] = &self.axes;
        let source_plane = y.source * x.source;
        let rows = area.rows + y.reach;
        let len = area.cols + x.reach;
        // What is read behind the last row of a plane.
        let written = rows * self.pitch + len.saturating_sub(self.pitch);
        let inside: Vec<(usize, usize)> = x.phases.iter().map(|&px| x.inside(area.x0, px, len)).collect();
        // Columns that all phases have on the source: their elements are dealt out together.
        let deals = x.phases.len() == x.step && matches!(x.step, 2 | 4);
        let common = inside.iter().fold((0, len), |c, &(lo, hi)| (c.0.max(lo), c.1.min(hi)));
        let common = if deals { common } else { (0, 0) };
        let group = x.phases.len() * self.plane;
        let mut groups = copy.chunks_exact_mut(group);
        for c in 0..channels {
            for tz in 0..z.taps() {
                let tap = z.origin + (z.shift[tz] * z.step + z.phases[z.phase[tz]]) as isize;
                let sz = (area.z * z.step) as isize + tap;
                let exists = sz >= 0 && (sz as usize) < z.source;
                for &py in &y.phases {
                    let Some(group) = groups.next() else { return };
                    if !exists {
                        group.chunks_exact_mut(self.plane).for_each(|p| p[..written].fill(T::ZERO));
                        continue;
                    }
                    let base = (c * z.source + sz as usize) * source_plane;
                    let row_of = |i: usize| {
                        let sy = ((area.y0 + i) * y.step + py) as isize + y.origin;
                        (sy >= 0 && (sy as usize) < y.source)
                            .then(|| &source[base + sy as usize * x.source..][..x.source])
                    };
                    let planes = group.chunks_exact_mut(self.plane);
                    for ((plane, &px), &(lo, hi)) in planes.zip(&x.phases).zip(&inside) {
                        plane[rows * self.pitch..written].fill(T::ZERO);
                        let first = (area.x0 * x.step + px) as isize + x.origin;
                        let at = |t: usize| (first + (t * x.step) as isize) as usize;
                        for (i, row) in plane.chunks_exact_mut(self.pitch).take(rows).enumerate() {
                            let Some(from) = row_of(i) else {
                                row.fill(T::ZERO);
                                continue;
                            };
                            row[..lo].fill(T::ZERO);
                            row[hi..].fill(T::ZERO);
                            if x.step == 1 {
                                if lo < hi {
                                    row[lo..hi].copy_from_slice(&from[at(lo)..][..hi - lo]);
                                }
                            } else if common.0 < common.1 {
                                (lo..common.0).for_each(|t| row[t] = from[at(t)]);
                                (common.1..hi).for_each(|t| row[t] = from[at(t)]);
                            } else if lo < hi {
                                let from = from[at(lo)..].iter().step_by(x.step);
                                row[lo..hi].iter_mut().zip(from).for_each(|(d, &s)| *d = s);
                            }
                        }
                    }
                    if common.0 < common.1 {
                        let n = common.1 - common.0;
                        let first = ((area.x0 + common.0) * x.step) as isize + x.origin;
                        for i in 0..rows {
                            if let Some(from) = row_of(i) {
                                let from = &from[first as usize..][..n * x.step];
                                deal(from, x.step, self.plane, &mut group[i * self.pitch + common.0..]);
                            }
                        }
                    }
                }
            }
        }
    }
}

/// Deals elements out to 2 or 4 phases that are `apart`.
fn deal<T: Depth>(from: &[T], phases: usize, apart: usize, to: &mut [T]) {
    let n = from.len() / phases;
    let (even, odd) = to.split_at_mut(apart);
    if phases == 2 {
        return T::split_pairs(from, &mut even[..n], &mut odd[..n]);
    }
    let (odd, rest) = odd.split_at_mut(apart);
    let (second, third) = rest.split_at_mut(apart);
    const PIECE: usize = 64;
    let mut pairs = [[T::ZERO; 2 * PIECE]; 2];
    for (i, from) in from.chunks(4 * PIECE).enumerate() {
        let m = from.len() / 4;
        let part = i * PIECE..i * PIECE + m;
        let [evens, odds] = &mut pairs;
        T::split_pairs(from, &mut evens[..2 * m], &mut odds[..2 * m]);
        T::split_pairs(&evens[..2 * m], &mut even[part.clone()], &mut second[part.clone()]);
        T::split_pairs(&odds[..2 * m], &mut odd[part.clone()], &mut third[part]);
    }
}
