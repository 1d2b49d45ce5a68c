//! Sizes of convolutions and pools. Both are three-dimensional inside: missing spatial dimensions
//! lead with size 1, kernel 1, stride 1.

use smallvec::SmallVec;

/// One spatial dimension of a sliding window.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Window {
    /// Input size.
    pub input: usize,
    /// Kernel taps.
    pub kernel: usize,
    /// Distance of neighbouring windows.
    pub stride: usize,
    /// Padding before the first element.
    pub pad_lo: usize,
    /// Padding after the last element.
    pub pad_hi: usize,
    /// Distance of neighbouring taps.
    pub dilation: usize,
    /// Output size. May be less than what fits (transposed convolution with output padding) or one
    /// more (ceil mode).
    pub output: usize,
}

impl Window {
    /// A dimension that is not there.
    pub const UNIT: Window =
        Window { input: 1, kernel: 1, stride: 1, pad_lo: 0, pad_hi: 0, dilation: 1, output: 1 };

    /// Elements a window spans: `dilation·(kernel-1)+1`.
    pub fn reach(&self) -> usize {
        self.dilation * (self.kernel - 1) + 1
    }
}

/// Sizes of a convolution.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct ConvGeometry {
    /// Images.
    pub batch: usize,
    /// Channels of the input.
    pub in_channels: usize,
    /// Channels of the output.
    pub out_channels: usize,
    /// Groups; both channel counts are multiples of it.
    pub groups: usize,
    /// Depth, height, width.
    pub windows: [Window; 3],
    /// Spatial dimensions the caller sees: 1, 2 or 3.
    pub spatial: usize,
}

/// Sizes of a pool. Planes are independent.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct PoolGeometry {
    /// Images times channels.
    pub planes: usize,
    /// Depth, height, width.
    pub windows: [Window; 3],
    /// Spatial dimensions the caller sees: 1, 2 or 3.
    pub spatial: usize,
}

fn sizes(windows: &[Window; 3], spatial: usize, f: impl Fn(&Window) -> usize) -> SmallVec<[usize; 3]> {
    windows[3 - spatial..].iter().map(f).collect()
}

impl ConvGeometry {
    /// Shape of the input: `[batch, in_channels, spatial..]`.
    pub fn input_shape(&self) -> crate::Shape {
        [self.batch, self.in_channels]
            .into_iter()
            .chain(sizes(&self.windows, self.spatial, |w| w.input))
            .collect()
    }
    /// Shape of the weight: `[out_channels, in_channels / groups, kernel..]`.
    pub fn weight_shape(&self) -> crate::Shape {
        [self.out_channels, self.in_channels / self.groups]
            .into_iter()
            .chain(sizes(&self.windows, self.spatial, |w| w.kernel))
            .collect()
    }
    /// Shape of the output: `[batch, out_channels, spatial..]`.
    pub fn output_shape(&self) -> crate::Shape {
        [self.batch, self.out_channels]
            .into_iter()
            .chain(sizes(&self.windows, self.spatial, |w| w.output))
            .collect()
    }
    /// Multiplications and additions of one pass, counted as 2 per tap.
    pub fn flops(&self) -> u64 {
        let taps = self.weight_shape().iter().skip(1).fold(2, |n: u64, &d| n.saturating_mul(d as u64));
        taps.saturating_mul(self.output_shape().numel() as u64)
    }
}

impl PoolGeometry {
    /// Elements of a window.
    pub fn taps(&self) -> u64 {
        self.windows.iter().map(|w| w.kernel as u64).fold(1, u64::saturating_mul)
    }
}
