//! Shapes and strided layouts. Views change a layout and never touch data.

use smallvec::SmallVec;
use std::fmt;

/// Sizes of the dimensions, outermost first. Up to four live inline.
#[derive(Clone, Eq, Default)]
pub struct Shape(SmallVec<[usize; 4]>);

impl PartialEq for Shape {
    /// Size by size: shapes are too short for a call of `memcmp`, which comparing slices would be.
    #[inline]
    fn eq(&self, other: &Shape) -> bool {
        self.rank() == other.rank() && self.iter().zip(other.iter()).all(|(a, b)| a == b)
    }
}
impl std::hash::Hash for Shape {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}

impl Shape {
    /// A shape from sizes.
    pub fn new(dims: &[usize]) -> Self {
        Shape(SmallVec::from_slice(dims))
    }
    /// The sizes.
    #[inline]
    pub fn dims(&self) -> &[usize] {
        &self.0
    }
    /// Number of dimensions.
    #[inline]
    pub fn rank(&self) -> usize {
        self.0.len()
    }
    /// Number of elements; 1 for a 0-d shape. Saturates rather than overflows.
    #[inline]
    pub fn numel(&self) -> usize {
        // A zero anywhere makes the count zero even where the other sizes overflow.
        let (count, empty) =
            self.0.iter().fold((1usize, false), |(a, e), &d| (a.saturating_mul(d), e | (d == 0)));
        if empty { 0 } else { count }
    }
    /// Row-major strides, in elements.
    pub fn strides(&self) -> Strides {
        let mut s: Strides = SmallVec::from_elem(0, self.rank());
        let mut acc = 1isize;
        for i in (0..self.rank()).rev() {
            s[i] = acc;
            acc = acc.saturating_mul(self.0[i].max(1) as isize);
        }
        s
    }
    /// Appends a dimension.
    pub fn push(&mut self, d: usize) {
        self.0.push(d)
    }
    /// NumPy's broadcast of two shapes; `None` when they do not fit.
    ///
    /// ```
    /// # use hadal_core::Shape;
    /// let s = Shape::new(&[3, 1]).broadcast(&Shape::new(&[4])).unwrap();
    /// assert_eq!(s.dims(), &[3, 4]);
    /// ```
    pub fn broadcast(&self, other: &Shape) -> Option<Shape> {
        if self == other {
            return Some(self.clone());
        }
        let rank = self.rank().max(other.rank());
        let mut out = SmallVec::from_elem(1, rank);
        for i in 0..rank {
            let a = if i + self.rank() >= rank { self.0[i + self.rank() - rank] } else { 1 };
            let b = if i + other.rank() >= rank { other.0[i + other.rank() - rank] } else { 1 };
            out[i] = match (a, b) {
                (a, b) if a == b => a,
                (1, b) => b,
                (a, 1) => a,
                _ => return None,
            };
        }
        Some(Shape(out))
    }
}

impl std::ops::Deref for Shape {
    type Target = [usize];
    #[inline]
    fn deref(&self) -> &[usize] {
        &self.0
    }
}
impl std::ops::DerefMut for Shape {
    fn deref_mut(&mut self) -> &mut [usize] {
        &mut self.0
    }
}
impl From<&[usize]> for Shape {
    fn from(d: &[usize]) -> Self {
        Shape::new(d)
    }
}
impl From<Vec<usize>> for Shape {
    fn from(d: Vec<usize>) -> Self {
        Shape(SmallVec::from_vec(d))
    }
}
impl<const N: usize> From<[usize; N]> for Shape {
    fn from(d: [usize; N]) -> Self {
        Shape::new(&d)
    }
}
impl<const N: usize> From<&[usize; N]> for Shape {
    fn from(d: &[usize; N]) -> Self {
        Shape::new(d)
    }
}
impl From<&Shape> for Shape {
    fn from(d: &Shape) -> Self {
        d.clone()
    }
}
impl From<&Vec<usize>> for Shape {
    fn from(d: &Vec<usize>) -> Self {
        Shape::new(d)
    }
}
impl From<usize> for Shape {
    fn from(d: usize) -> Self {
        Shape::new(&[d])
    }
}
impl From<()> for Shape {
    fn from(_: ()) -> Self {
        Shape::default()
    }
}
impl FromIterator<usize> for Shape {
    fn from_iter<I: IntoIterator<Item = usize>>(it: I) -> Self {
        Shape(it.into_iter().collect())
    }
}
impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[")?;
        for (i, d) in self.0.iter().enumerate() {
            if i > 0 {
                f.write_str(", ")?;
            }
            write!(f, "{d}")?;
        }
        f.write_str("]")
    }
}
impl fmt::Debug for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Signed distances between neighbours along each dimension, in elements.
pub type Strides = SmallVec<[isize; 4]>;

/// Where the elements of a tensor lie in its buffer: element `i` is at
/// `offset + Σ i[d]·strides[d]`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Layout {
    /// Sizes.
    pub shape: Shape,
    /// Signed strides in elements; 0 for a broadcast dimension.
    pub strides: Strides,
    /// Position of the first element, in elements.
    pub offset: usize,
}

impl Layout {
    /// The row-major layout of a shape.
    pub fn contiguous(shape: Shape) -> Self {
        let strides = shape.strides();
        Layout { shape, strides, offset: 0 }
    }

    /// Whether elements follow each other in row-major order without gaps (the offset may be
    /// anything).
    pub fn is_contiguous(&self) -> bool {
        let mut acc = 1isize;
        for (&d, &s) in self.shape.iter().zip(&self.strides).rev() {
            if d == 0 {
                return true;
            }
            if d != 1 {
                if s != acc {
                    return false;
                }
                acc *= d as isize;
            }
        }
        true
    }

    /// Dimensions reordered: `out[i] = in[perm[i]]`. `perm` must be a permutation.
    pub fn permute(&self, perm: &[usize]) -> Layout {
        Layout {
            shape: perm.iter().map(|&p| self.shape[p]).collect(),
            strides: perm.iter().map(|&p| self.strides[p]).collect(),
            offset: self.offset,
        }
    }

    /// Broadcast to `shape` (which must be reachable); new dimensions get stride 0.
    pub fn expand(&self, shape: &Shape) -> Layout {
        let pad = shape.rank() - self.shape.rank();
        let strides = (0..shape.rank())
            .map(|i| {
                if i < pad || (self.shape[i - pad] == 1 && shape[i] != 1) { 0 } else { self.strides[i - pad] }
            })
            .collect();
        Layout { shape: shape.clone(), strides, offset: self.offset }
    }

    /// Per dimension: start at `starts[d]`, take `sizes[d]` elements `steps[d]` apart.
    pub fn slice(&self, starts: &[usize], sizes: &[usize], steps: &[isize]) -> Layout {
        let mut offset = self.offset as isize;
        if !sizes.contains(&0) {
            offset += starts.iter().zip(&self.strides).map(|(&at, &s)| at as isize * s).sum::<isize>();
        }
        Layout {
            shape: Shape::new(sizes),
            strides: self.strides.iter().zip(steps).map(|(s, t)| s * t).collect(),
            offset: offset as usize,
        }
    }

    /// The same elements under another shape, when strides can express it without a copy.
    pub fn reshape(&self, shape: &Shape) -> Option<Layout> {
        if shape.numel() == 0 || self.is_contiguous() {
            return Some(Layout { shape: shape.clone(), strides: shape.strides(), offset: self.offset });
        }
        // NumPy's algorithm: match groups of old and new dimensions with equal products; the old
        // ones of a group must be mergeable.
        let old: SmallVec<[(usize, isize); 6]> =
            self.shape.iter().copied().zip(self.strides.iter().copied()).filter(|&(d, _)| d != 1).collect();
        let mut strides: Strides = SmallVec::from_elem(0, shape.rank());
        let (mut oi, mut ni) = (0, 0);
        while oi < old.len() && ni < shape.rank() {
            let (mut op, mut np) = (old[oi].0, shape[ni]);
            let (o0, n0) = (oi, ni);
            while op != np {
                if np < op {
                    ni += 1;
                    np *= *shape.get(ni)?;
                } else {
                    oi += 1;
                    op *= old.get(oi)?.0;
                }
            }
            for k in o0..oi {
                if old[k].1 != old[k + 1].1 * old[k + 1].0 as isize {
                    return None;
                }
            }
            let mut s = old[oi].1;
            for k in (n0..=ni).rev() {
                strides[k] = s;
                s *= shape[k] as isize;
            }
            oi += 1;
            ni += 1;
        }
        Some(Layout { shape: shape.clone(), strides, offset: self.offset })
    }

    /// Lowest and one past the highest element position this layout can read; `(offset, offset)`
    /// when it is empty.
    pub fn span(&self) -> (usize, usize) {
        if self.shape.numel() == 0 {
            return (self.offset, self.offset);
        }
        let (mut lo, mut hi) = (self.offset as isize, self.offset as isize);
        for (&d, &s) in self.shape.iter().zip(&self.strides) {
            let reach = (d as isize - 1) * s;
            if reach < 0 {
                lo += reach;
            } else {
                hi += reach;
            }
        }
        (lo as usize, hi as usize + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reshape_of_a_permuted_layout_keeps_mergeable_groups() {
        let l = Layout::contiguous(Shape::new(&[2, 3, 4])).permute(&[1, 2, 0]); // [3,4,2]
        assert!(l.reshape(&Shape::new(&[12, 2])).is_some());
        assert!(l.reshape(&Shape::new(&[3, 8])).is_none());
        assert!(l.reshape(&Shape::new(&[24])).is_none());
        let back = l.reshape(&Shape::new(&[3, 2, 2, 1, 2])).unwrap();
        assert_eq!(back.strides.as_slice(), &[4, 2, 1, 24, 12]);
    }

    #[test]
    fn numel_of_huge_shapes_saturates() {
        assert_eq!(Shape::new(&[usize::MAX, 2]).numel(), usize::MAX);
        assert_eq!(Shape::new(&[usize::MAX, 2, 0]).numel(), 0);
    }
}
