//! Pooling layers: of largest values and of means, with windows or to a grid.

use crate::layers::wrong;
use crate::{Ctx, Forward, Module};
use hadal_core::{ErrorKind, Tag};
use hadal_tensor::{PoolOptions, Spatial, Tensor};

/// What [`MaxPool`] and [`AvgPool`] are: windows over `N` spatial dimensions.
#[derive(Module, Debug)]
pub struct Pool<const N: usize, const MAX: bool> {
    tag: Tag,
    options: PoolOptions,
}

/// The largest value of each window.
///
/// Input `[n, c, ..]` or `[c, ..]` with `N` spatial dimensions; output spatial sizes
/// `⌊(size + 2·padding - dilation·(kernel-1) - 1)/stride⌋ + 1`. Defaults are PyTorch's: stride equal
/// to the kernel, no padding, dilation 1, sizes rounded down.
///
/// ```
/// use hadal_nn::{Ctx, Forward, MaxPool2d};
/// use hadal_tensor::{DType, Tensor};
/// let x = Tensor::ones([1, 3, 7, 7], DType::F32);
/// assert_eq!(MaxPool2d::new(3).stride(2).padding(1).forward(&x, &Ctx::eval()).dims(), [1, 3, 4, 4]);
/// ```
pub type MaxPool<const N: usize> = Pool<N, true>;
/// Over `[n, c, l]`. See [`MaxPool`].
pub type MaxPool1d = MaxPool<1>;
/// Over `[n, c, h, w]`. See [`MaxPool`].
pub type MaxPool2d = MaxPool<2>;
/// Over `[n, c, d, h, w]`. See [`MaxPool`].
pub type MaxPool3d = MaxPool<3>;

/// The mean of each window.
///
/// Input `[n, c, ..]` or `[c, ..]` with `N` spatial dimensions; output spatial sizes
/// `⌊(size + 2·padding - kernel)/stride⌋ + 1`. Defaults are PyTorch's: stride equal to the kernel, no
/// padding, sizes rounded down, padding counted in the mean.
///
/// ```
/// use hadal_nn::{AvgPool2d, Ctx, Forward};
/// use hadal_tensor::{DType, Tensor};
/// let x = Tensor::ones([1, 3, 8, 8], DType::F32);
/// assert_eq!(AvgPool2d::new(2).forward(&x, &Ctx::eval()).dims(), [1, 3, 4, 4]);
/// ```
pub type AvgPool<const N: usize> = Pool<N, false>;
/// Over `[n, c, l]`. See [`AvgPool`].
pub type AvgPool1d = AvgPool<1>;
/// Over `[n, c, h, w]`. See [`AvgPool`].
pub type AvgPool2d = AvgPool<2>;
/// Over `[n, c, d, h, w]`. See [`AvgPool`].
pub type AvgPool3d = AvgPool<3>;

impl<const N: usize, const MAX: bool> Pool<N, MAX> {
    const NAME: &'static str = match (MAX, N) {
        (true, 1) => "MaxPool1d",
        (true, 2) => "MaxPool2d",
        (true, _) => "MaxPool3d",
        (false, 1) => "AvgPool1d",
        (false, 2) => "AvgPool2d",
        (false, _) => "AvgPool3d",
    };
    /// A pool with this window, one number or one for each spatial dimension. The stride is the
    /// window's size unless set.
    pub fn new(kernel: impl Into<Spatial>) -> Self {
        Pool { tag: Tag::new(Self::NAME), options: PoolOptions::new(kernel) }
    }
    /// Distance of windows.
    pub fn stride(mut self, stride: impl Into<Spatial>) -> Self {
        self.options = self.options.stride(stride);
        self
    }
    /// Rows around the input, at most half the window.
    pub fn padding(mut self, padding: impl Into<Spatial>) -> Self {
        self.options = self.options.padding(padding);
        self
    }
    /// Rounds output sizes up: the last window may hang over the edge.
    pub fn ceil_mode(mut self, yes: bool) -> Self {
        self.options = self.options.ceil_mode(yes);
        self
    }
}
impl<const N: usize> Pool<N, true> {
    /// Distance of neighbouring taps, 1 unless set.
    pub fn dilation(mut self, dilation: impl Into<Spatial>) -> Self {
        self.options = self.options.dilation(dilation);
        self
    }
    /// The pool, and where in its flattened plane (i64) each maximum was: for [`MaxUnpool`].
    #[track_caller]
    pub fn forward_with_indices(&self, x: &Tensor, cx: &Ctx) -> (Tensor, Tensor) {
        let _layer = cx.enter(&self.tag);
        let o = self.options.clone();
        match N {
            1 => x.max_pool1d_with_indices(o),
            2 => x.max_pool2d_with_indices(o),
            _ => x.max_pool3d_with_indices(o),
        }
    }
}
impl<const N: usize> Pool<N, false> {
    /// Whether the mean divides by the whole window, padding included; true unless set.
    pub fn count_include_pad(mut self, yes: bool) -> Self {
        self.options = self.options.count_include_pad(yes);
        self
    }
    /// What the sum is divided by in place of the number of elements; `None`, which is the default, is that
    /// number.
    pub fn divisor_override(mut self, divisor: impl Into<Option<usize>>) -> Self {
        self.options = self.options.divisor_override(divisor);
        self
    }
}

impl<const N: usize, const MAX: bool> Forward for Pool<N, MAX> {
    #[track_caller]
    fn forward(&self, x: &Tensor, cx: &Ctx) -> Tensor {
        let _layer = cx.enter(&self.tag);
        let o = self.options.clone();
        match (MAX, N) {
            (true, 1) => x.max_pool1d(o),
            (true, 2) => x.max_pool2d(o),
            (true, _) => x.max_pool3d(o),
            (false, 1) => x.avg_pool1d(o),
            (false, 2) => x.avg_pool2d(o),
            (false, _) => x.avg_pool3d(o),
        }
    }
}

/// The elements of a [`MaxPool`]'s output put back to where they came from, zeros elsewhere.
///
/// Kernel, stride and padding are the pool's. Input `[n, c, ..]` or `[c, ..]` with `N` spatial dimensions;
/// output spatial sizes `(size - 1)·stride - 2·padding + kernel`, or those given where several inputs of
/// the pool give this one. Of several elements for one place the last counts.
///
/// ```
/// use hadal_nn::{Ctx, MaxPool2d, MaxUnpool2d};
/// use hadal_tensor::Tensor;
/// let x = Tensor::new([[[[1.0f32, 2.0], [4.0, 3.0]]]]);
/// let (y, places) = MaxPool2d::new(2).forward_with_indices(&x, &Ctx::eval());
/// let back = MaxUnpool2d::new(2).forward(&y, &places, None, &Ctx::eval());
/// assert_eq!(back.to_vec::<f32>().unwrap(), [0.0, 0.0, 4.0, 0.0]);
/// ```
#[derive(Module, Debug)]
pub struct MaxUnpool<const N: usize> {
    tag: Tag,
    options: PoolOptions,
}
/// Over `[n, c, l]`. See [`MaxUnpool`].
pub type MaxUnpool1d = MaxUnpool<1>;
/// Over `[n, c, h, w]`. See [`MaxUnpool`].
pub type MaxUnpool2d = MaxUnpool<2>;
/// Over `[n, c, d, h, w]`. See [`MaxUnpool`].
pub type MaxUnpool3d = MaxUnpool<3>;

impl<const N: usize> MaxUnpool<N> {
    const NAME: &'static str = match N {
        1 => "MaxUnpool1d",
        2 => "MaxUnpool2d",
        _ => "MaxUnpool3d",
    };
    /// The reverse of a pool with this window. The stride is the window's size unless set.
    pub fn new(kernel: impl Into<Spatial>) -> Self {
        MaxUnpool { tag: Tag::new(Self::NAME), options: PoolOptions::new(kernel) }
    }
    /// The pool's distance of windows.
    pub fn stride(mut self, stride: impl Into<Spatial>) -> Self {
        self.options = self.options.stride(stride);
        self
    }
    /// The pool's padding.
    pub fn padding(mut self, padding: impl Into<Spatial>) -> Self {
        self.options = self.options.padding(padding);
        self
    }
    /// The elements at their places. `output_size` are the spatial sizes, where they are not the usual ones.
    #[track_caller]
    pub fn forward(&self, x: &Tensor, indices: &Tensor, output_size: Option<&[usize]>, cx: &Ctx) -> Tensor {
        let _layer = cx.enter(&self.tag);
        let o = self.options.clone();
        match N {
            1 => x.max_unpool1d(indices, o, output_size),
            2 => x.max_unpool2d(indices, o, output_size),
            _ => x.max_unpool3d(indices, o, output_size),
        }
    }
}

/// What [`AdaptiveMaxPool`] and [`AdaptiveAvgPool`] are: a grid over the last `N` dimensions.
#[derive(Module, Debug)]
pub struct AdaptivePool<const N: usize, const MAX: bool> {
    tag: Tag,
    output_size: Spatial,
}

/// The largest value of each cell when the last `N` dimensions are divided into a grid of the output
/// size, as PyTorch divides them: cell `i` is `⌊i·size/cells⌋ .. ⌈(i+1)·size/cells⌉`.
///
/// Input `[n, c, ..]` or `[c, ..]`.
///
/// ```
/// use hadal_nn::{AdaptiveMaxPool2d, Ctx, Forward};
/// use hadal_tensor::{DType, Tensor};
/// let x = Tensor::ones([1, 3, 7, 9], DType::F32);
/// assert_eq!(AdaptiveMaxPool2d::new(2).forward(&x, &Ctx::eval()).dims(), [1, 3, 2, 2]);
/// ```
pub type AdaptiveMaxPool<const N: usize> = AdaptivePool<N, true>;
/// Over `[n, c, l]`. See [`AdaptiveMaxPool`].
pub type AdaptiveMaxPool1d = AdaptiveMaxPool<1>;
/// Over `[n, c, h, w]`. See [`AdaptiveMaxPool`].
pub type AdaptiveMaxPool2d = AdaptiveMaxPool<2>;
/// Over `[n, c, d, h, w]`. See [`AdaptiveMaxPool`].
pub type AdaptiveMaxPool3d = AdaptiveMaxPool<3>;

/// The mean of each cell when the last `N` dimensions are divided into a grid of the output size, as
/// PyTorch divides them: cell `i` is `⌊i·size/cells⌋ .. ⌈(i+1)·size/cells⌉`.
///
/// Input `[n, c, ..]` or `[c, ..]`.
///
/// ```
/// use hadal_nn::{AdaptiveAvgPool2d, Ctx, Forward};
/// use hadal_tensor::{DType, Tensor};
/// let x = Tensor::ones([1, 3, 7, 9], DType::F32);
/// assert_eq!(AdaptiveAvgPool2d::new([1, 3]).forward(&x, &Ctx::eval()).dims(), [1, 3, 1, 3]);
/// ```
pub type AdaptiveAvgPool<const N: usize> = AdaptivePool<N, false>;
/// Over `[n, c, l]`. See [`AdaptiveAvgPool`].
pub type AdaptiveAvgPool1d = AdaptiveAvgPool<1>;
/// Over `[n, c, h, w]`. See [`AdaptiveAvgPool`].
pub type AdaptiveAvgPool2d = AdaptiveAvgPool<2>;
/// Over `[n, c, d, h, w]`. See [`AdaptiveAvgPool`].
pub type AdaptiveAvgPool3d = AdaptiveAvgPool<3>;

impl<const N: usize, const MAX: bool> AdaptivePool<N, MAX> {
    const NAME: &'static str = match (MAX, N) {
        (true, 1) => "AdaptiveMaxPool1d",
        (true, 2) => "AdaptiveMaxPool2d",
        (true, _) => "AdaptiveMaxPool3d",
        (false, 1) => "AdaptiveAvgPool1d",
        (false, 2) => "AdaptiveAvgPool2d",
        (false, _) => "AdaptiveAvgPool3d",
    };
    /// A pool with this output size, one number or one for each spatial dimension.
    pub fn new(output_size: impl Into<Spatial>) -> Self {
        AdaptivePool { tag: Tag::new(Self::NAME), output_size: output_size.into() }
    }
}

impl<const N: usize, const MAX: bool> Forward for AdaptivePool<N, MAX> {
    #[track_caller]
    fn forward(&self, x: &Tensor, cx: &Ctx) -> Tensor {
        let _layer = cx.enter(&self.tag);
        let size = self.output_size.clone();
        match (MAX, N) {
            (true, 1) => x.adaptive_max_pool1d(size),
            (true, 2) => x.adaptive_max_pool2d(size),
            (true, _) => x.adaptive_max_pool3d(size),
            (false, 1) => x.adaptive_avg_pool1d(size),
            (false, 2) => x.adaptive_avg_pool2d(size),
            (false, _) => x.adaptive_avg_pool3d(size),
        }
    }
}

/// The mean of each channel over all spatial positions (Lin 2013, arXiv:1312.4400): `[n, c, ..]` gives
/// `[n, c]`. The same as an adaptive average pool of size 1 and a flatten.
///
/// ```
/// use hadal_nn::{Ctx, Forward, GlobalAvgPool};
/// use hadal_tensor::{DType, Tensor};
/// let y = GlobalAvgPool::new().forward(&Tensor::ones([2, 3, 5, 5], DType::F32), &Ctx::eval());
/// assert_eq!(y.dims(), [2, 3]);
/// ```
#[derive(Module, Debug)]
pub struct GlobalAvgPool {
    tag: Tag,
}

impl GlobalAvgPool {
    /// The layer; it has no options.
    pub fn new() -> GlobalAvgPool {
        GlobalAvgPool { tag: Tag::new("GlobalAvgPool") }
    }
}
impl Default for GlobalAvgPool {
    fn default() -> Self {
        GlobalAvgPool::new()
    }
}

impl Forward for GlobalAvgPool {
    #[track_caller]
    fn forward(&self, x: &Tensor, cx: &Ctx) -> Tensor {
        let _layer = cx.enter(&self.tag);
        if x.rank() < 3 {
            let message = format!("the input has {} dimensions, at least 3 are needed", x.rank());
            return wrong(ErrorKind::Shape, "GlobalAvgPool", message, &[x], "the input is [n, c, ..]");
        }
        x.mean((2..x.rank()).collect::<Vec<_>>())
    }
}
