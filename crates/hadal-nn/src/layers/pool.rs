//! Pooling layers.

use crate::layers::wrong;
use crate::{Ctx, Forward, Module};
use hadal_core::{ErrorKind, Tag};
use hadal_tensor::{PoolOptions, Spatial, Tensor};

macro_rules! pool {
    ($(#[doc = $doc:literal])+ $layer:ident, $one:ident $two:ident $three:ident, $p1:ident $p2:ident $p3:ident) => {
        $(#[doc = $doc])+
        #[derive(Module, Debug)]
        pub struct $layer<const N: usize> {
            tag: Tag,
            options: PoolOptions,
        }
        #[doc = concat!("Over `[n, c, l]`. See [`", stringify!($layer), "`].")]
        pub type $one = $layer<1>;
        #[doc = concat!("Over `[n, c, h, w]`. See [`", stringify!($layer), "`].")]
        pub type $two = $layer<2>;
        #[doc = concat!("Over `[n, c, d, h, w]`. See [`", stringify!($layer), "`].")]
        pub type $three = $layer<3>;

        impl<const N: usize> $layer<N> {
            const NAME: &'static str = match N {
                1 => stringify!($one),
                2 => stringify!($two),
                _ => stringify!($three),
            };
            /// A pool with this window, one number or one for each spatial dimension. The stride is the
            /// window's size unless set.
            pub fn new(kernel: impl Into<Spatial>) -> Self {
                $layer { tag: Tag::new(Self::NAME), options: PoolOptions::new(kernel) }
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

        impl<const N: usize> Forward for $layer<N> {
            #[track_caller]
            fn forward(&self, x: &Tensor, cx: &Ctx) -> Tensor {
                let _layer = cx.enter(&self.tag);
                match N {
                    1 => x.$p1(self.options.clone()),
                    2 => x.$p2(self.options.clone()),
                    _ => x.$p3(self.options.clone()),
                }
            }
        }
    };
}

pool! {
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
    MaxPool, MaxPool1d MaxPool2d MaxPool3d, max_pool1d max_pool2d max_pool3d
}
pool! {
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
    AvgPool, AvgPool1d AvgPool2d AvgPool3d, avg_pool1d avg_pool2d avg_pool3d
}

impl<const N: usize> MaxPool<N> {
    /// Distance of neighbouring taps, 1 unless set.
    pub fn dilation(mut self, dilation: impl Into<Spatial>) -> Self {
        self.options = self.options.dilation(dilation);
        self
    }
}
impl<const N: usize> AvgPool<N> {
    /// Whether the mean divides by the whole window, padding included; true unless set.
    pub fn count_include_pad(mut self, yes: bool) -> Self {
        self.options = self.options.count_include_pad(yes);
        self
    }
}

macro_rules! adaptive {
    ($(#[doc = $doc:literal])+ $layer:ident, $one:ident $two:ident $three:ident, $p1:ident $p2:ident $p3:ident) => {
        $(#[doc = $doc])+
        #[derive(Module, Debug)]
        pub struct $layer<const N: usize> {
            tag: Tag,
            output_size: Spatial,
        }
        #[doc = concat!("Over `[n, c, l]`. See [`", stringify!($layer), "`].")]
        pub type $one = $layer<1>;
        #[doc = concat!("Over `[n, c, h, w]`. See [`", stringify!($layer), "`].")]
        pub type $two = $layer<2>;
        #[doc = concat!("Over `[n, c, d, h, w]`. See [`", stringify!($layer), "`].")]
        pub type $three = $layer<3>;

        impl<const N: usize> $layer<N> {
            const NAME: &'static str = match N {
                1 => stringify!($one),
                2 => stringify!($two),
                _ => stringify!($three),
            };
            /// A pool with this output size, one number or one for each spatial dimension.
            pub fn new(output_size: impl Into<Spatial>) -> Self {
                $layer { tag: Tag::new(Self::NAME), output_size: output_size.into() }
            }
        }

        impl<const N: usize> Forward for $layer<N> {
            #[track_caller]
            fn forward(&self, x: &Tensor, cx: &Ctx) -> Tensor {
                let _layer = cx.enter(&self.tag);
                match N {
                    1 => x.$p1(self.output_size.clone()),
                    2 => x.$p2(self.output_size.clone()),
                    _ => x.$p3(self.output_size.clone()),
                }
            }
        }
    };
}

adaptive! {
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
    AdaptiveMaxPool, AdaptiveMaxPool1d AdaptiveMaxPool2d AdaptiveMaxPool3d,
    adaptive_max_pool1d adaptive_max_pool2d adaptive_max_pool3d
}
adaptive! {
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
    AdaptiveAvgPool, AdaptiveAvgPool1d AdaptiveAvgPool2d AdaptiveAvgPool3d,
    adaptive_avg_pool1d adaptive_avg_pool2d adaptive_avg_pool3d
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
