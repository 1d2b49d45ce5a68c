//! How a reduction walks its iteration space: a function of the shape and of which axes are reduced,
//! and of nothing else, so that a reduction gives the same bits whatever is fused before it and
//! however many threads run it.
//!
//! Axes of size 1 go, neighbours that are both kept or both reduced are joined. The innermost group
//! is the *row*, the one before it (of the other sort, possibly of size 1) counts rows that follow
//! each other in memory; the rest are outer groups.
//!
//! ```text
//! sum of [n, c, h, w] over 0, 2, 3:   n (outer, reduced)  c (middle, kept)     h·w (row, reduced)
//! sum of [n, c] over 0:                                   n (middle, reduced)  c (row, kept)
//! ```
//!
//! Work is cut twice: the kept positions into *tiles*, whose accumulators stay in cache, and the
//! reduced positions into *parts*. When there are too few tiles to keep many threads busy, runs of
//! parts become tasks of their own, with accumulators of their own that are added up in order.

use super::blocks::BLOCK;
use hadal_core::Shape;
use hadal_core::smallvec::SmallVec;

/// Most accumulators of a tile: 32 KiB of them.
const TILE: usize = 4096;
/// Elements of consecutive rows of a tile, where rows are reduced: runs of memory long enough for the
/// hardware's prefetch.
const RUN: usize = 16 * 1024;
/// A longer reduced row is cut into parts of this many elements.
const PART: usize = 32 * BLOCK;
/// A task is about this many elements or more, some tens of microseconds of work.
const TASK: usize = 32 * 1024;
/// At most this many tasks. More would only cost partial accumulators.
const MAX_TASKS: usize = 64;

struct Group {
    size: usize,
    /// Distance in linear positions.
    step: usize,
    reduced: bool,
}

/// The walk over one iteration space; see the module.
pub(super) struct Space {
    outer: SmallVec<[Group; 4]>,
    /// Size of the middle group.
    pub middle: usize,
    /// Size of the innermost group.
    pub row: usize,
    /// Whether the innermost group is reduced.
    pub row_reduced: bool,
    /// Kept positions of the innermost kept group.
    pub plane: usize,
    /// Kept positions in all.
    pub kept: usize,
    /// Kept positions a tile has; a plane's last tile may have fewer.
    pub tile: usize,
    /// Tiles of a plane.
    pub tiles: usize,
    /// Accumulators a worker needs for a tile: its kept positions, or more when several short rows
    /// are added side by side.
    pub width: usize,
    /// Middle rows of a part where the row is kept.
    pub rows: usize,
    /// Parts of each outer reduced position.
    pub parts: usize,
    /// All parts.
    pub all_parts: usize,
    /// All tiles.
    pub all_tiles: usize,
    /// Into how many tasks the parts are cut; 1 where tiles alone give enough tasks.
    pub splits: usize,
    /// Into how many tasks the tiles are cut.
    pub groups: usize,
}

impl Space {
    /// The walk over a shape that is not empty.
    pub(super) fn new(shape: &Shape, reduced: &[bool]) -> Space {
        let mut groups: SmallVec<[Group; 4]> = SmallVec::new();
        let mut step = 1;
        for (&size, &reduced) in shape.iter().zip(reduced).rev() {
            if size == 1 {
                continue;
            }
            match groups.last_mut() {
                Some(g) if g.reduced == reduced => g.size *= size,
                _ => groups.push(Group { size, step, reduced }),
            }
            step *= size;
        }
        let numel = step;
        let mut rest = groups.into_iter();
        // Nothing but axes of size 1: a row of one kept element.
        let (row, row_reduced) = rest.next().map_or((1, false), |g| (g.size, g.reduced));
        let middle = rest.next().map_or(1, |g| g.size);
        let outer: SmallVec<[Group; 4]> = rest.collect();
        let count = |r: bool| outer.iter().filter(|g| g.reduced == r).map(|g| g.size).product::<usize>();
        let (outer_kept, outer_reduced) = (count(false), count(true));

        let plane = if row_reduced { middle } else { row };
        let (tile, width, rows, parts);
        if row_reduced {
            // Rows of one tile; whole blocks of them where rows are short.
            let per_block = (BLOCK / row).max(1);
            tile = (TILE.min(RUN / row) / per_block * per_block).max(per_block).min(plane);
            width = tile;
            rows = 1;
            parts = row.div_ceil(PART);
        } else if row <= BLOCK {
            tile = row;
            rows = (BLOCK / row).min(middle);
            width = rows * row;
            parts = middle.div_ceil(rows);
        } else {
            tile = row.min(TILE);
            width = tile;
            rows = 1;
            parts = middle;
        }
        let tiles = plane.div_ceil(tile);
        let (all_tiles, all_parts) = (outer_kept * tiles, outer_reduced * parts);
        let tasks = (numel / TASK).clamp(1, MAX_TASKS);
        let groups = all_tiles.min(tasks);
        let splits = tasks.div_ceil(all_tiles).min(all_parts);
        Space {
            outer,
            middle,
            row,
            row_reduced,
            plane,
            kept: outer_kept * plane,
            tile,
            tiles,
            width,
            rows,
            parts,
            all_parts,
            all_tiles,
            splits,
            groups,
        }
    }

    /// Linear position of an outer kept, or outer reduced, position.
    pub(super) fn base(&self, reduced: bool, mut i: usize) -> usize {
        let mut at = 0;
        for g in self.outer.iter().filter(|g| g.reduced == reduced) {
            at += i % g.size * g.step;
            i /= g.size;
        }
        at
    }

    /// Elements of one part of a reduced row.
    pub(super) fn part_range(&self, part: usize) -> std::ops::Range<usize> {
        part * PART..((part + 1) * PART).min(self.row)
    }
}

/// Part `i` of `n` of the numbers below `len`, as even as can be.
pub(super) fn share(len: usize, n: usize, i: usize) -> std::ops::Range<usize> {
    let at = |i: usize| (len as u128 * i as u128 / n as u128) as usize;
    at(i)..at(i + 1)
}
