//! Pooling. A maximum pool is a gather at the windows' maxima (without a
//! gradient in sight a pass that keeps no places), an average pool a scaled sum of windows
//! and its adjoint: so all gradients, of any order, follow.

use crate::Tensor;
use crate::ops::conv::{LARGEST, Spatial};
use crate::scope::composed;
use crate::tensor::{possible, too_large};
use hadal_core::ops::{Op, PoolGeometry, Window};
use hadal_core::smallvec::smallvec;
use hadal_core::{DType, Error, ErrorKind, Shape};

/// Of padding. A window may be as large as the padded input, and kernels make a table of its taps.
const MOST_PADDING: usize = 1 << 20;
/// Of the cells of an adaptive pool along a dimension, each of which is an operation.
const MOST_CELLS: usize = 1 << 20;

/// Options of a pool. Defaults: stride = kernel, no padding, dilation 1, sizes rounded down, padding
/// counted in averages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolOptions {
    /// Window size.
    pub kernel: Spatial,
    /// Distance of windows; the kernel where `None`.
    pub stride: Option<Spatial>,
    /// Rows around the input: never the maximum, and 0 in averages. At most half the kernel.
    pub padding: Spatial,
    /// Distance of neighbouring taps (maximum only).
    pub dilation: Spatial,
    /// Round output sizes up: the last window may hang over the edge.
    pub ceil_mode: bool,
    /// Whether averages divide by the whole window, padding included.
    pub count_include_pad: bool,
    /// What averages divide by in place of the number of elements.
    pub divisor_override: Option<usize>,
}
impl PoolOptions {
    /// A pool of this window, with defaults.
    pub fn new(kernel: impl Into<Spatial>) -> Self {
        PoolOptions {
            kernel: kernel.into(),
            stride: None,
            padding: 0.into(),
            dilation: 1.into(),
            ceil_mode: false,
            count_include_pad: true,
            divisor_override: None,
        }
    }
    /// Sets the stride.
    pub fn stride(self, s: impl Into<Spatial>) -> Self {
        PoolOptions { stride: Some(s.into()), ..self }
    }
    /// Sets the padding.
    pub fn padding(self, p: impl Into<Spatial>) -> Self {
        PoolOptions { padding: p.into(), ..self }
    }
    /// Sets the dilation.
    pub fn dilation(self, d: impl Into<Spatial>) -> Self {
        PoolOptions { dilation: d.into(), ..self }
    }
    /// Rounds output sizes up.
    pub fn ceil_mode(self, yes: bool) -> Self {
        PoolOptions { ceil_mode: yes, ..self }
    }
    /// Whether averages divide by the whole window, padding included.
    pub fn count_include_pad(self, yes: bool) -> Self {
        PoolOptions { count_include_pad: yes, ..self }
    }
    /// What averages divide by in place of the number of elements; `None` is that number.
    pub fn divisor_override(self, divisor: impl Into<Option<usize>>) -> Self {
        PoolOptions { divisor_override: divisor.into(), ..self }
    }
}
macro_rules! pool_from {
    ($($t:ty),*) => { $(impl From<$t> for PoolOptions { fn from(kernel: $t) -> Self { PoolOptions::new(kernel) } })* };
}
pool_from!(usize, [usize; 1], [usize; 2], [usize; 3]);

macro_rules! pool_methods {
    ($($n:literal $max:ident $max_idx:ident $unpool:ident $avg:ident $amax:ident $aavg:ident;)*) => { impl Tensor { $(
        #[doc = concat!("Largest of each window over the last ", $n, " dimension(s) of `[n, c, ..]` or `[c, ..]`. Takes a kernel size or [`PoolOptions`].")]
        #[track_caller]
        pub fn $max(&self, options: impl Into<PoolOptions>) -> Tensor {
            self.max_pool_nd(stringify!($max), $n, &options.into()).0
        }
        #[doc = concat!("As [`", stringify!($max), "`](Tensor::", stringify!($max), "), with the position (i64) of each maximum in its flattened plane.")]
        #[track_caller]
        pub fn $max_idx(&self, options: impl Into<PoolOptions>) -> (Tensor, Tensor) {
            self.max_pool_nd(stringify!($max), $n, &options.into())
        }
        #[doc = concat!("The elements put back to the places of [`", stringify!($max_idx), "`](Tensor::", stringify!($max_idx), "), zeros elsewhere. The options are the pool's.")]
        #[doc = ""]
        #[doc = "The last sizes are `(size - 1)·stride - 2·padding + kernel`, or `output_size` where several inputs"]
        #[doc = "of the pool give this one. Of several elements for one place the last counts."]
        #[doc = ""]
        #[doc = "# Errors"]
        #[doc = "Indices of another shape; a size that the pool cannot have had; at evaluation, an index outside."]
        #[track_caller]
        pub fn $unpool(&self, indices: &Tensor, options: impl Into<PoolOptions>, output_size: Option<&[usize]>) -> Tensor {
            self.max_unpool_nd(stringify!($unpool), $n, indices, &options.into(), output_size)
        }
        #[doc = concat!("Mean of each window over the last ", $n, " dimension(s) of `[n, c, ..]` or `[c, ..]`. Takes a kernel size or [`PoolOptions`].")]
        #[track_caller]
        pub fn $avg(&self, options: impl Into<PoolOptions>) -> Tensor {
            self.avg_pool_nd(stringify!($avg), $n, &options.into())
        }
        #[doc = concat!("Largest of each cell when the last ", $n, " dimension(s) are divided into a grid of this size.")]
        #[track_caller]
        pub fn $amax(&self, output: impl Into<Spatial>) -> Tensor {
            composed(|| self.adaptive(stringify!($amax), $n, &output.into(), |cell, dims| cell.max_keepdim(dims)))
        }
        #[doc = concat!("Mean of each cell when the last ", $n, " dimension(s) are divided into a grid of this size.")]
        #[track_caller]
        pub fn $aavg(&self, output: impl Into<Spatial>) -> Tensor {
            composed(|| self.adaptive(stringify!($aavg), $n, &output.into(), |cell, dims| cell.mean_keepdim(dims)))
        }
    )* } };
}
pool_methods! {
    1 max_pool1d max_pool1d_with_indices max_unpool1d avg_pool1d adaptive_max_pool1d adaptive_avg_pool1d;
    2 max_pool2d max_pool2d_with_indices max_unpool2d avg_pool2d adaptive_max_pool2d adaptive_avg_pool2d;
    3 max_pool3d max_pool3d_with_indices max_unpool3d avg_pool3d adaptive_max_pool3d adaptive_avg_pool3d;
}

impl Tensor {
    #[track_caller]
    fn pool_error(&self, op: &'static str, message: String) -> Tensor {
        let mut e = Error::new(ErrorKind::Shape, op, message).operand(self.shape(), self.dtype());
        if e.message().starts_with("a window") {
            e = e.help("use a smaller window or dilation, more padding, or a larger input");
        } else if e.message().starts_with("padding") {
            e = e.help("pad the input first, with .pad(…)");
        }
        self.fail(e, self.dtype())
    }

    fn pool_geometry(&self, n: usize, o: &PoolOptions) -> Result<PoolGeometry, String> {
        if !self.dtype().is_float() {
            return Err(format!("not defined for {}; cast to a float first", self.dtype()));
        }
        if self.rank() != n + 1 && self.rank() != n + 2 {
            return Err(format!("{} dimensions, not {} (or {} without a batch)", self.rank(), n + 2, n + 1));
        }
        let count = || format!("kernel, stride, padding and dilation take 1 or {n} numbers");
        let kernel = o.kernel.resolve(n).ok_or_else(count)?;
        let stride = o.stride.as_ref().unwrap_or(&o.kernel).resolve(n).ok_or_else(count)?;
        let padding = o.padding.resolve(n).ok_or_else(count)?;
        let dilation = o.dilation.resolve(n).ok_or_else(count)?;
        let dims = &self.dims()[self.rank() - n..];
        let mut windows = [Window::UNIT; 3];
        for d in 0..n {
            if kernel[d] == 0 || stride[d] == 0 || dilation[d] == 0 {
                return Err("kernel, stride and dilation must be at least 1".into());
            }
            if [kernel[d], stride[d], dilation[d]].iter().any(|&v| v > LARGEST) || padding[d] > MOST_PADDING {
                return Err(format!(
                    "kernel, stride and dilation are {LARGEST} at most, padding {MOST_PADDING}"
                ));
            }
            if 2 * padding[d] > kernel[d] {
                return Err(format!("padding {} is more than half the kernel {}", padding[d], kernel[d]));
            }
            let reach = dilation[d].saturating_mul(kernel[d] - 1).saturating_add(1);
            let padded = dims[d] + 2 * padding[d];
            if padded < reach {
                return Err(format!("a window of {reach} in {padded} elements (spatial dimension {d})"));
            }
            let room = padded - reach;
            let mut output = if o.ceil_mode { room.div_ceil(stride[d]) } else { room / stride[d] } + 1;
            // PyTorch: the last window must start inside the input or its left padding.
            if o.ceil_mode && (output - 1) * stride[d] >= dims[d] + padding[d] {
                output -= 1;
            }
            windows[3 - n + d] = Window {
                input: dims[d],
                kernel: kernel[d],
                stride: stride[d],
                pad_lo: padding[d],
                pad_hi: padding[d],
                dilation: dilation[d],
                output,
            };
        }
        let planes = self.dims()[..self.rank() - n].iter().product();
        Ok(PoolGeometry { planes, windows, spatial: n })
    }

    #[track_caller]
    fn max_pool_nd(&self, op: &'static str, n: usize, o: &PoolOptions) -> (Tensor, Tensor) {
        if self.is_poisoned() {
            return (self.clone(), self.clone());
        }
        let geo = match self.pool_geometry(n, o) {
            Ok(g) => g,
            Err(m) => {
                let t = self.pool_error(op, m);
                return (t.clone(), t);
            }
        };
        let shape = pooled_shape(self, &geo);
        let (planes, inside, outside) = (geo.planes, plane(&geo, |w| w.input), plane(&geo, |w| w.output));
        let index = Tensor::make(
            Op::MaxPoolIndex(geo.clone().into()),
            smallvec![self.detach()],
            shape.clone(),
            DType::I64,
        );
        // Where no gradient is expected, the places are not wanted either.
        if !self.0.tracked {
            return (
                Tensor::make(Op::MaxPool(geo.into()), smallvec![self.clone()], shape, self.dtype()),
                index,
            );
        }
        let flat = self.reshape([planes, inside]);
        let values = flat.gather(1, &index.reshape([planes, outside]));
        (values.reshape(&shape), index)
    }

    #[track_caller]
    fn max_unpool_nd(
        &self,
        op: &'static str,
        n: usize,
        indices: &Tensor,
        o: &PoolOptions,
        output_size: Option<&[usize]>,
    ) -> Tensor {
        if let Some(bad) = [self, indices].into_iter().find(|t| t.is_poisoned()) {
            return bad.clone();
        }
        if indices.shape() != self.shape() || !indices.dtype().is_int() {
            let e = Error::new(ErrorKind::Shape, op, "the indices must be integers of the input's shape")
                .operand(self.shape(), self.dtype())
                .operand(indices.shape(), indices.dtype())
                .help(format!("take them from {}_with_indices", op.replace("unpool", "pool")));
            return self.fail(e, self.dtype());
        }
        let sizes = match self.unpooled_sizes(n, o, output_size) {
            Ok(s) => s,
            Err(m) => return self.pool_error(op, m),
        };
        let lead = &self.dims()[..self.rank() - n];
        let shape: Shape = lead.iter().chain(&sizes).copied().collect();
        if !possible(&shape, self.dtype()) {
            return self.fail(too_large(op, &shape, self.dtype()), self.dtype());
        }
        let planes = lead.iter().product();
        let inside = self.dims()[self.rank() - n..].iter().product();
        let outside = sizes.iter().product();
        composed(|| {
            let [x, at] = [self, indices].map(|t| t.reshape([planes, inside]));
            Tensor::zeros([planes, outside], self.dtype()).scatter(1, &at, &x).reshape(&shape)
        })
    }

    /// The spatial sizes that a pool with these options made this tensor's of.
    fn unpooled_sizes(
        &self,
        n: usize,
        o: &PoolOptions,
        given: Option<&[usize]>,
    ) -> Result<Vec<usize>, String> {
        if self.rank() != n + 1 && self.rank() != n + 2 {
            return Err(format!("{} dimensions, not {} (or {} without a batch)", self.rank(), n + 2, n + 1));
        }
        let count = || format!("kernel, stride and padding take 1 or {n} numbers");
        let kernel = o.kernel.resolve(n).ok_or_else(count)?;
        let stride = o.stride.as_ref().unwrap_or(&o.kernel).resolve(n).ok_or_else(count)?;
        let padding = o.padding.resolve(n).ok_or_else(count)?;
        if given.is_some_and(|g| g.len() != n) {
            return Err(format!("the output size takes {n} numbers"));
        }
        let mut sizes = Vec::with_capacity(n);
        for (d, &have) in self.dims()[self.rank() - n..].iter().enumerate() {
            if [kernel[d], stride[d], padding[d]].iter().any(|&v| v > LARGEST) || kernel[d] * stride[d] == 0 {
                return Err(format!("kernel and stride are from 1 to {LARGEST}"));
            }
            let full = have.saturating_sub(1).saturating_mul(stride[d]).saturating_add(kernel[d]);
            let Some(usual) = full.checked_sub(2 * padding[d]).filter(|&s| s > 0) else {
                return Err(format!("padding {} leaves nothing of {full} outputs", padding[d]));
            };
            let size = given.map_or(usual, |g| g[d]);
            if size.abs_diff(usual) >= stride[d] {
                return Err(format!(
                    "an output size of {size} along spatial dimension {d}, which must be within {} of {usual}",
                    stride[d] - 1
                ));
            }
            sizes.push(size);
        }
        Ok(sizes)
    }

    #[track_caller]
    fn avg_pool_nd(&self, op: &'static str, n: usize, o: &PoolOptions) -> Tensor {
        if self.is_poisoned() {
            return self.clone();
        }
        let geo = match self.pool_geometry(n, &PoolOptions { dilation: 1.into(), ..o.clone() }) {
            Ok(g) => g,
            Err(m) => return self.pool_error(op, m),
        };
        let shape = pooled_shape(self, &geo);
        if o.divisor_override == Some(0) {
            return self.pool_error(op, "a divisor of 0".into());
        }
        let scale = match o.divisor_override {
            Some(d) => Divisor::Same(d),
            None => divisors(&geo, o, self.dtype()),
        };
        let sum = Tensor::make(Op::SumPool(geo.into()), smallvec![self.clone()], shape, self.dtype());
        match scale {
            Divisor::Same(count) => sum * (1.0 / count as f64),
            Divisor::Each(t) => sum * t,
        }
    }

    #[track_caller]
    fn adaptive(
        &self,
        op: &'static str,
        n: usize,
        output: &Spatial,
        f: impl Fn(&Tensor, &[isize]) -> Tensor,
    ) -> Tensor {
        if self.is_poisoned() {
            return self.clone();
        }
        if self.rank() != n + 1 && self.rank() != n + 2 {
            return self.pool_error(
                op,
                format!("{} dimensions, not {} (or {} without a batch)", self.rank(), n + 2, n + 1),
            );
        }
        let Some(out) = output.resolve(n) else {
            return self.pool_error(op, format!("the output size takes 1 or {n} numbers"));
        };
        let first = self.rank() - n;
        if out.contains(&0) || self.dims()[first..].contains(&0) {
            return self.pool_error(op, "an empty grid or input".into());
        }
        if out.iter().any(|&cells| cells > MOST_CELLS) {
            return self
                .pool_error(op, format!("a grid of {out:?} cells; a dimension has {MOST_CELLS} at most"));
        }
        // Dimension by dimension: a mean (maximum) of a box is the mean (maximum) of its rows' means.
        let mut x = self.clone();
        for (d, &cells) in out.iter().enumerate() {
            let axis = (first + d) as isize;
            let size = x.size(axis);
            if cells == size {
                continue;
            }
            if cells == 1 {
                x = f(&x, &[axis]);
                continue;
            }
            if size.is_multiple_of(cells) {
                let mut dims = x.dims().to_vec();
                dims[first + d] = cells;
                dims.insert(first + d + 1, size / cells);
                x = f(&x.reshape(dims), &[axis + 1]).squeeze(axis + 1);
                continue;
            }
            let parts: Vec<Tensor> = (0..cells)
                .map(|i| {
                    // Wide, since the product of two sizes may overflow.
                    let (i, s, c) = (i as u128, size as u128, cells as u128);
                    let (start, end) = ((i * s / c) as usize, ((i + 1) * s).div_ceil(c) as usize);
                    f(&x.narrow(axis, start, end - start), &[axis])
                })
                .collect();
            x = Tensor::cat(&parts.iter().collect::<Vec<_>>(), axis);
        }
        x
    }
}

fn plane(geo: &PoolGeometry, f: impl Fn(&Window) -> usize) -> usize {
    geo.windows.iter().map(f).product()
}

fn pooled_shape(x: &Tensor, geo: &PoolGeometry) -> Shape {
    let lead = x.rank() - geo.spatial;
    x.dims()[..lead].iter().copied().chain(geo.windows[3 - geo.spatial..].iter().map(|w| w.output)).collect()
}

enum Divisor {
    Same(usize),
    Each(Tensor),
}

/// How many elements each window's sum is divided by: all taps, or those inside the input; with the
/// padding counted, a window that hangs over the padded edge (ceil mode) counts only up to there.
fn divisors(geo: &PoolGeometry, o: &PoolOptions, dtype: DType) -> Divisor {
    let count = |w: &Window, i: usize| {
        let start = (i * w.stride) as isize - w.pad_lo as isize;
        let (low, high) = if o.count_include_pad {
            (start, (w.input + w.pad_hi) as isize)
        } else {
            (start.max(0), w.input as isize)
        };
        ((start + w.kernel as isize).min(high) - low).max(1) as usize
    };
    // Only the first and last windows can hang over an edge; if they do not, none does.
    let uniform =
        |w: &Window| w.output == 0 || (count(w, 0) == w.kernel && count(w, w.output - 1) == w.kernel);
    if geo.windows.iter().all(uniform) {
        return Divisor::Same(geo.windows.iter().map(|w| w.kernel).fold(1, usize::saturating_mul));
    }
    let mut scale = Tensor::full((), 1.0).cast(dtype);
    for w in &geo.windows[3 - geo.spatial..] {
        let mut row: Vec<f64> = Vec::new();
        if row.try_reserve_exact(w.output).is_err() {
            let shape = Shape::from(w.output);
            return Divisor::Each(Tensor::poison(
                too_large("avg_pool", &shape, dtype),
                &Shape::from(1),
                dtype,
            ));
        }
        row.extend((0..w.output).map(|i| 1.0 / count(w, i) as f64));
        scale = scale.unsqueeze(-1) * Tensor::from_slice(&row).cast(dtype);
    }
    Divisor::Each(scale)
}

/// The places that the forward pass did without are found now.
pub(crate) fn max_pool_vjp(geo: &PoolGeometry, x: &Tensor, g: &Tensor) -> Tensor {
    let index = Tensor::make(
        Op::MaxPoolIndex(geo.clone().into()),
        smallvec![x.detach()],
        g.shape().clone(),
        DType::I64,
    );
    let (inside, outside) = (plane(geo, |w| w.input), plane(geo, |w| w.output));
    let (flat, index) = (x.reshape([geo.planes, inside]), index.reshape([geo.planes, outside]));
    let dx = super::index::gather_vjp(1, &flat, &index, &g.reshape([geo.planes, outside]));
    dx.reshape(x.shape())
}

pub(crate) fn sum_pool_vjp(geo: &PoolGeometry, g: &Tensor) -> Tensor {
    let lead = g.rank() - geo.spatial;
    let shape = g.dims()[..lead]
        .iter()
        .copied()
        .chain(geo.windows[3 - geo.spatial..].iter().map(|w| w.input))
        .collect();
    Tensor::make(Op::SumPoolGrad(geo.clone().into()), smallvec![g.clone()], shape, g.dtype())
}

pub(crate) fn sum_pool_grad_vjp(geo: &PoolGeometry, g: &Tensor) -> Tensor {
    let shape = pooled_shape(g, geo);
    Tensor::make(Op::SumPool(geo.clone().into()), smallvec![g.clone()], shape, g.dtype())
}
