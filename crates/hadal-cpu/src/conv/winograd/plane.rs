//! Which tiles are transformed together, and the padded planes that they are read from.

use super::transform::{IN, OUT, Tiles};
use crate::conv::depth_kernel::{Depth, Rows};
use crate::scratch::Scratch;
use std::ops::Range;

/// One dimension of a pass. With a dilation the plane falls apart into as many parts, each of which
/// is a plane without: elements a dilation apart.
#[derive(Clone, Copy)]
pub(super) struct Side {
    /// Length of the source.
    pub from: usize,
    /// Length of the result.
    pub to: usize,
    /// Zeros before the source.
    pub pad: usize,
    pub dilation: usize,
}

impl Side {
    /// Tiles of the longest part.
    pub fn tiles(&self) -> usize {
        self.to.div_ceil(self.dilation).div_ceil(OUT)
    }

    /// A part's source: its zeros before, its first element, its length.
    fn part(&self, part: usize) -> [usize; 3] {
        // Result `part + dilation * t` and tap `k` meet at `dilation * (t + k) + part - pad`.
        let zeros = self.pad.saturating_sub(part).div_ceil(self.dilation);
        let first = part + zeros * self.dilation - self.pad;
        [zeros, first, self.from.saturating_sub(first).div_ceil(self.dilation)]
    }
}

/// A pass's planes: how they are cut into tiles and tiles into units.
pub(super) struct Planes {
    sides: [Side; 2],
    /// Rows and columns of tiles.
    pub tiles: [usize; 2],
    /// Images, times parts of a plane.
    images: usize,
    /// Images of a unit; 1 where an image has several units.
    each: usize,
    /// Rows of tiles of a unit.
    rows: usize,
    /// Distance of the padded plane's rows.
    pitch: usize,
}

/// Tiles that are transformed together: some rows of some images.
pub(super) struct Unit {
    pub images: Range<usize>,
    pub rows: Range<usize>,
    /// Tiles of an image.
    each: usize,
}

impl Unit {
    pub fn tiles(&self) -> usize {
        self.images.len() * self.each
    }
    /// The place of an image's first tile.
    pub fn first(&self, image: usize) -> usize {
        (image - self.images.start) * self.each
    }
}

/// A padded plane and the transforms' arrays.
pub(super) struct Work<T: bytemuck::Pod> {
    plane: Scratch<T>,
    work: Scratch<T>,
    part: usize,
}

/// Elements of the longest vector.
const VECTOR: usize = 16;

impl Planes {
    /// Units of about `most` tiles.
    pub fn new(sides: [Side; 2], images: usize, most: usize) -> Planes {
        let tiles = sides.map(|s| s.tiles());
        let images = images * sides[0].dilation * sides[1].dilation;
        let all = tiles[0] * tiles[1];
        let even = |n: usize, most: usize| n.div_ceil(n.div_ceil(most.max(1)).max(1)).max(1);
        let (each, rows) = if 2 * all <= most {
            // Some more or fewer images, to fill whole vectors.
            let best = (most / all).div_ceil(2)..=most / all;
            let vectors = |n: usize| images.div_ceil(n) * (n * all).div_ceil(VECTOR);
            let each = best.rev().min_by_key(|&n| vectors(n.min(images.max(1)))).unwrap_or(1);
            (each.min(images.max(1)), tiles[0])
        } else {
            (1, even(tiles[0], most / tiles[1]))
        };
        let pitch = OUT * tiles[1] + OUT + VECTOR;
        Planes { sides, tiles, images, each, rows, pitch }
    }

    /// How many parts planes fall apart into, down and across.
    pub fn dilation(&self) -> [usize; 2] {
        self.sides.map(|s| s.dilation)
    }

    /// The image of an index of a unit, and which part of its planes, down and across.
    pub fn image(&self, index: usize) -> (usize, [usize; 2]) {
        let [down, across] = self.dilation();
        let part = index % (down * across);
        (index / (down * across), [part / across, part % across])
    }

    /// Tiles of the largest unit.
    pub fn most(&self) -> usize {
        self.each * self.rows * self.tiles[1]
    }

    fn bands(&self) -> usize {
        self.tiles[0].div_ceil(self.rows)
    }

    pub fn units(&self) -> usize {
        self.images.div_ceil(self.each) * self.bands()
    }

    pub fn unit(&self, i: usize) -> Unit {
        let (first, row) = (i / self.bands() * self.each, i % self.bands() * self.rows);
        let rows = row..(row + self.rows).min(self.tiles[0]);
        let images = first..(first + self.each).min(self.images);
        Unit { images, each: rows.len() * self.tiles[1], rows }
    }

    /// Memory for the transforms, with zeros around the plane.
    pub fn work<T: Depth>(&self) -> Work<T> {
        let part = OUT * self.rows * self.tiles[1] + OUT * VECTOR;
        let lines = OUT * self.rows + IN;
        let mut plane = Scratch::new(lines * self.pitch);
        plane.slice().fill(T::ZERO);
        Work { plane, work: Scratch::new(2 * IN * part), part }
    }

    fn job<T: Depth>(&self, unit: &Unit, work: &mut Work<T>, elements: *mut T, step: usize) -> Tiles<T> {
        Tiles {
            plane: work.plane.slice().as_ptr(),
            pitch: self.pitch,
            rows: unit.rows.len(),
            cols: self.tiles[1],
            work: work.work.slice().as_mut_ptr(),
            part: work.part,
            elements,
            step,
            room: unit.each,
        }
    }

    /// Transforms a unit's tiles of index `image`, whose plane is `plane` of `source`, to
    /// `to[e * step + tile]`, a row of `room` tiles.
    ///
    /// # Safety
    /// `to` has a row of `room` elements at each of 36 steps, which nobody else uses.
    #[allow(clippy::too_many_arguments)]
    pub unsafe fn transform<T: Depth>(
        &self,
        f: unsafe fn(&Tiles<T>),
        source: &[T],
        plane: usize,
        unit: &Unit,
        image: usize,
        work: &mut Work<T>,
        to: *mut T,
        step: usize,
        room: usize,
    ) {
        let [height, width] = self.sides.map(|s| s.from);
        let source = &source[plane * height * width..][..height * width];
        let (_, [down, across]) = self.image(image);
        let ([top, row0, rows], [left, col0, cols]) = (self.sides[0].part(down), self.sides[1].part(across));
        let [row_step, col_step] = self.dilation();
        // Line `i` of the padded plane is row `start + i - top` of the part.
        let (start, lines) = (OUT * unit.rows.start, OUT * unit.rows.len() + IN);
        let lo = top.saturating_sub(start).min(lines);
        let hi = (top + rows).saturating_sub(start).clamp(lo, lines);
        let padded = work.plane.slice();
        padded[..lo * self.pitch].fill(T::ZERO);
        padded[hi * self.pitch..].fill(T::ZERO);
        let cols = cols.min(self.pitch - left);
        if row_step * col_step == 1 && hi > lo && cols > 0 {
            let from = &source[(start + lo - top) * width..(start + hi - top) * width];
            let to = &mut padded[lo * self.pitch + left..];
            // SAFETY: both sides have these rows; a source row fits between the zeros.
            unsafe {
                (T::depth(width).copy_exact)(&Rows {
                    from: from.as_ptr(),
                    from_row: width,
                    to: to.as_mut_ptr(),
                    to_row: self.pitch,
                    rows: hi - lo,
                    cols,
                });
            }
        } else {
            // Parts differ in where their zeros are.
            for (i, line) in padded.chunks_exact_mut(self.pitch).enumerate().take(hi).skip(lo) {
                line.fill(T::ZERO);
                if cols > 0 {
                    let row = &source[(row0 + (start + i - top) * row_step) * width..][..width];
                    let from = row[col0..].iter().step_by(col_step);
                    line[left..left + cols].iter_mut().zip(from).for_each(|(d, &s)| *d = s);
                }
            }
        }
        let first = unit.first(image);
        // SAFETY: the plane has a row of tiles, and a vector behind it, at every fourth line; the
        // work arrays have room for all tiles and four vectors; the caller's promise.
        unsafe {
            let job = self.job(unit, work, to.add(first), step);
            f(&Tiles { room: room - first, ..job });
        }
    }

    /// The way back: results of a unit's tiles of one image, from `from[e * step + tile]` on. Gives four
    /// arrays and their distance: row `i` of all tiles, a row of tiles after the other.
    ///
    /// # Safety
    /// Whole vectors can be read from `from` at each of 36 steps.
    pub unsafe fn result<T: Depth>(
        &self,
        f: unsafe fn(&Tiles<T>),
        from: *mut T,
        step: usize,
        unit: &Unit,
        work: &mut Work<T>,
    ) -> (*const T, usize) {
        let job = self.job(unit, work, from, step);
        // SAFETY: as in `transform`; the elements are only read.
        unsafe { f(&job) };
        (job.work, job.part)
    }
}
