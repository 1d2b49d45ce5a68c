//! Layers that move values and learn nothing.

use super::wrong;
use crate::{Ctx, Forward, Module};
use hadal_core::{ErrorKind, Tag};
use hadal_tensor::Tensor;

/// Several dimensions become one; by default all but the first, as in PyTorch.
///
/// ```
/// use hadal_nn::{Ctx, Flatten, Forward};
/// use hadal_tensor::{DType, Tensor};
/// let x = Tensor::ones([8, 16, 5, 5], DType::F32);
/// assert_eq!(Flatten::new().forward(&x, &Ctx::eval()).dims(), [8, 400]);
/// assert_eq!(Flatten::new().start_dim(2).forward(&x, &Ctx::eval()).dims(), [8, 16, 25]);
/// ```
#[derive(Module, Debug)]
pub struct Flatten {
    tag: Tag,
    start_dim: isize,
    end_dim: isize,
}

impl Flatten {
    /// From dimension 1 to the last.
    pub fn new() -> Flatten {
        Flatten { tag: Tag::new("Flatten"), start_dim: 1, end_dim: -1 }
    }
    /// The first dimension to join, 1 unless set; negative counts from the end.
    pub fn start_dim(self, start_dim: isize) -> Flatten {
        Flatten { start_dim, ..self }
    }
    /// The last dimension to join, -1 unless set; negative counts from the end.
    pub fn end_dim(self, end_dim: isize) -> Flatten {
        Flatten { end_dim, ..self }
    }
}
impl Default for Flatten {
    fn default() -> Self {
        Flatten::new()
    }
}

impl Forward for Flatten {
    #[track_caller]
    fn forward(&self, x: &Tensor, cx: &Ctx) -> Tensor {
        let _layer = cx.enter(&self.tag);
        let rank = x.rank() as isize;
        let from_front = |d: isize| if d < 0 { d + rank } else { d };
        let (start, end) = (from_front(self.start_dim), from_front(self.end_dim));
        if !(0 <= start && start <= end && end < rank) {
            let message = format!("dimensions {} to {} of {rank}", self.start_dim, self.end_dim);
            return wrong(
                ErrorKind::Shape,
                "Flatten",
                message,
                &[x],
                "the first to join must not come after the last",
            );
        }
        let (start, end) = (start as usize, end as usize);
        let mut dims = x.dims()[..start].to_vec();
        dims.push(x.dims()[start..=end].iter().product());
        dims.extend(&x.dims()[end + 1..]);
        x.reshape(dims)
    }
}

/// One dimension becomes several; one of their sizes may be -1.
///
/// ```
/// use hadal_nn::{Ctx, Forward, Unflatten};
/// use hadal_tensor::{DType, Tensor};
/// let x = Tensor::ones([8, 400], DType::F32);
/// assert_eq!(Unflatten::new(1, [16, 5, 5]).forward(&x, &Ctx::eval()).dims(), [8, 16, 5, 5]);
/// ```
#[derive(Module, Debug)]
pub struct Unflatten {
    tag: Tag,
    dim: isize,
    #[module(skip)]
    sizes: Vec<isize>,
}

impl Unflatten {
    /// The dimension to divide (negative counts from the end), and the sizes to divide it into.
    pub fn new<const N: usize>(dim: isize, sizes: [isize; N]) -> Unflatten {
        Unflatten { tag: Tag::new("Unflatten"), dim, sizes: sizes.to_vec() }
    }
}

impl Forward for Unflatten {
    #[track_caller]
    fn forward(&self, x: &Tensor, cx: &Ctx) -> Tensor {
        let _layer = cx.enter(&self.tag);
        let rank = x.rank() as isize;
        let dim = if self.dim < 0 { self.dim + rank } else { self.dim };
        if !(0..rank).contains(&dim) {
            let message = format!("dimension {} of {rank}", self.dim);
            return wrong(
                ErrorKind::Index,
                "Unflatten",
                message,
                &[x],
                "dimensions count from 0, or from -1 for the last one",
            );
        }
        let dim = dim as usize;
        let known: isize = self.sizes.iter().filter(|&&n| n >= 0).product();
        let free = self.sizes.iter().filter(|&&n| n < 0).count();
        let have = x.dims()[dim] as isize;
        let fits = match free {
            0 => known == have,
            1 => known > 0 && have % known == 0,
            _ => false,
        };
        if !fits {
            let message = format!("size {have} does not divide into {:?}", self.sizes);
            return wrong(
                ErrorKind::Shape,
                "Unflatten",
                message,
                &[x],
                "the sizes multiply to the dimension; one of them may be -1, to be worked out",
            );
        }
        let mut dims: Vec<isize> = x.dims()[..dim].iter().map(|&d| d as isize).collect();
        dims.extend(self.sizes.iter().map(|&n| if n < 0 { have / known } else { n }));
        dims.extend(x.dims()[dim + 1..].iter().map(|&d| d as isize));
        x.reshape(dims)
    }
}

/// Hands its input on.
///
/// ```
/// use hadal_nn::{Ctx, Forward, Identity};
/// use hadal_tensor::Tensor;
/// let x = Tensor::new([1.0f32]);
/// assert!(Identity::new().forward(&x, &Ctx::eval()).same(&x));
/// ```
#[derive(Module, Debug, Default)]
pub struct Identity {}

impl Identity {
    /// The layer; it has no options.
    pub fn new() -> Identity {
        Identity {}
    }
}

impl Forward for Identity {
    fn forward(&self, x: &Tensor, _cx: &Ctx) -> Tensor {
        x.clone()
    }
}

/// Zeros around the last two dimensions: `[.., h, w]` gives `[.., h + top + bottom, w + left + right]`.
/// Negative amounts cut off.
///
/// ```
/// use hadal_nn::{Ctx, Forward, ZeroPad2d};
/// use hadal_tensor::{DType, Tensor};
/// let x = Tensor::ones([1, 1, 4, 4], DType::F32);
/// assert_eq!(ZeroPad2d::new(2).forward(&x, &Ctx::eval()).dims(), [1, 1, 8, 8]);
/// assert_eq!(ZeroPad2d::new([0, 1, 0, 2]).forward(&x, &Ctx::eval()).dims(), [1, 1, 6, 5]);
/// ```
#[derive(Module, Debug)]
pub struct ZeroPad2d {
    tag: Tag,
    /// Left, right, top, bottom, as PyTorch orders them.
    #[module(skip)]
    amounts: [isize; 4],
}

/// One amount for all four sides, or left, right, top, bottom.
pub trait Sides {
    /// Left, right, top, bottom.
    fn sides(self) -> [isize; 4];
}
impl Sides for isize {
    fn sides(self) -> [isize; 4] {
        [self; 4]
    }
}
impl Sides for [isize; 4] {
    fn sides(self) -> [isize; 4] {
        self
    }
}

impl ZeroPad2d {
    /// One amount for all four sides, or left, right, top, bottom.
    pub fn new(amounts: impl Sides) -> ZeroPad2d {
        ZeroPad2d { tag: Tag::new("ZeroPad2d"), amounts: amounts.sides() }
    }
}

impl Forward for ZeroPad2d {
    #[track_caller]
    fn forward(&self, x: &Tensor, cx: &Ctx) -> Tensor {
        let _layer = cx.enter(&self.tag);
        let [left, right, top, bottom] = self.amounts;
        x.pad(&[(left, right), (top, bottom)], 0.0)
    }
}
