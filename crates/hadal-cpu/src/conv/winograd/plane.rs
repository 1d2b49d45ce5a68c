//! Which tiles are transformed together, and the padded planes that they are read from.

use super::transform::{IN, OUT, Tiles};
use crate::conv::depth_kernel::{Depth, Rows};
use crate::scratch::Scratch;
use std::ops::Range;

/// A pass's planes: how they are cut into tiles and tiles into units.
pub(super) struct Planes {
    /// Height and width of a source plane.
    source: [usize; 2],
    /// Zeros above and left of it.
    pad: [usize; 2],
    /// Rows and columns of tiles.
    pub tiles: [usize; 2],
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
    pub fn new(source: [usize; 2], pad: [usize; 2], tiles: [usize; 2], images: usize, most: usize) -> Planes {
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
        Planes { source, pad, tiles, images, each, rows, pitch }
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

    /// Transforms a unit's tiles of an image, whose plane is `plane` of `source`, to
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
        let [height, width] = self.source;
        let source = &source[plane * height * width..][..height * width];
        // Line `i` of the padded plane is row `start + i - top` of the source.
        let (start, lines) = (OUT * unit.rows.start, OUT * unit.rows.len() + IN);
        let [top, left] = self.pad;
        let lo = top.saturating_sub(start).min(lines);
        let hi = (top + height).saturating_sub(start).clamp(lo, lines);
        let padded = work.plane.slice();
        padded[..lo * self.pitch].fill(T::ZERO);
        padded[hi * self.pitch..].fill(T::ZERO);
        if hi > lo && width > 0 {
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
                    cols: width.min(self.pitch - left),
                });
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
