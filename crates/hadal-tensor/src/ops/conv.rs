//! Convolution and transposed convolution in one, two and three dimensions.
//!
//! Three primitives, each bilinear and each the gradient of the others: forward, gradient by the
//! input (which is the transposed convolution) and gradient by the weight.

use crate::Tensor;
use crate::autodiff::Grads;
use crate::tensor::Inputs;
use hadal_core::ops::{ConvGeometry, Op, Window};
use hadal_core::smallvec::smallvec;
use hadal_core::{Error, ErrorKind};

/// One number for all spatial dimensions, or one for each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spatial(Vec<usize>);
impl From<usize> for Spatial {
    fn from(n: usize) -> Spatial {
        Spatial(vec![n])
    }
}
impl<const N: usize> From<[usize; N]> for Spatial {
    fn from(n: [usize; N]) -> Spatial {
        Spatial(n.to_vec())
    }
}
impl From<&[usize]> for Spatial {
    fn from(n: &[usize]) -> Spatial {
        Spatial(n.to_vec())
    }
}
impl From<(usize, usize)> for Spatial {
    fn from(n: (usize, usize)) -> Spatial {
        Spatial(vec![n.0, n.1])
    }
}
impl Spatial {
    /// The number for each of `n` dimensions; `None` if as many were not given.
    pub fn resolve(&self, n: usize) -> Option<Vec<usize>> {
        match self.0.as_slice() {
            [one] => Some(vec![*one; n]),
            all if all.len() == n => Some(all.to_vec()),
            _ => None,
        }
    }
}

/// How a convolution pads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Padding {
    /// This many zeros on both sides of each dimension.
    Explicit(Spatial),
    /// As many as make the output as large as the input; stride must be 1. An odd one goes after.
    Same,
    /// None.
    Valid,
    /// A word that is neither "same" nor "valid": an error at the call.
    Unknown(String),
}
impl<T: Into<Spatial>> From<T> for Padding {
    fn from(n: T) -> Padding {
        Padding::Explicit(n.into())
    }
}
impl From<&str> for Padding {
    /// `"same"` or `"valid"`.
    fn from(s: &str) -> Padding {
        match s {
            "same" => Padding::Same,
            "valid" => Padding::Valid,
            other => Padding::Unknown(other.to_owned()),
        }
    }
}

/// Options of a convolution. Defaults: stride 1, no padding, dilation 1, one group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConvOptions {
    /// Distance of neighbouring outputs in the input.
    pub stride: Spatial,
    /// Zeros around the input.
    pub padding: Padding,
    /// Distance of neighbouring taps.
    pub dilation: Spatial,
    /// Groups of channels that do not see each other.
    pub groups: usize,
    /// Rows added at the far side of a transposed convolution's output.
    pub output_padding: Spatial,
}
impl Default for ConvOptions {
    fn default() -> Self {
        ConvOptions {
            stride: 1.into(),
            padding: Padding::Valid,
            dilation: 1.into(),
            groups: 1,
            output_padding: 0.into(),
        }
    }
}
impl ConvOptions {
    /// Sets the stride.
    pub fn stride(self, s: impl Into<Spatial>) -> Self {
        ConvOptions { stride: s.into(), ..self }
    }
    /// Sets the padding.
    pub fn padding(self, p: impl Into<Padding>) -> Self {
        ConvOptions { padding: p.into(), ..self }
    }
    /// Sets the dilation.
    pub fn dilation(self, d: impl Into<Spatial>) -> Self {
        ConvOptions { dilation: d.into(), ..self }
    }
    /// Sets the groups.
    pub fn groups(self, groups: usize) -> Self {
        ConvOptions { groups, ..self }
    }
    /// Sets the output padding of a transposed convolution.
    pub fn output_padding(self, p: impl Into<Spatial>) -> Self {
        ConvOptions { output_padding: p.into(), ..self }
    }
}

macro_rules! conv_methods {
    ($($n:literal $conv:ident $transpose:ident $shape:literal;)*) => { impl Tensor { $(
        #[doc = concat!("Convolution (cross-correlation, as everywhere in deep learning) over ", $n, " spatial dimension(s).")]
        #[doc = ""]
        #[doc = concat!("Input `[n, c, ", $shape, "]` or without the batch, weight `[out, c/groups, kernel..]`, bias `[out]`.")]
        #[track_caller]
        pub fn $conv(&self, weight: &Tensor, bias: Option<&Tensor>, options: &ConvOptions) -> Tensor {
            self.conv_nd(stringify!($conv), $n, weight, bias, options)
        }
        #[doc = concat!("Transposed convolution over ", $n, " spatial dimension(s): the gradient of a convolution by its input.")]
        #[doc = ""]
        #[doc = concat!("Input `[n, c, ", $shape, "]` or without the batch, weight `[c, out/groups, kernel..]`, bias `[out]`.")]
        #[track_caller]
        pub fn $transpose(&self, weight: &Tensor, bias: Option<&Tensor>, options: &ConvOptions) -> Tensor {
            self.conv_transpose_nd(stringify!($transpose), $n, weight, bias, options)
        }
    )* } };
}
conv_methods! {
    1 conv1d conv_transpose1d "l";
    2 conv2d conv_transpose2d "h, w";
    3 conv3d conv_transpose3d "d, h, w";
}

/// What is wrong with a call, in words.
type Problem = (String, &'static str);

fn problem<T>(message: impl Into<String>, help: &'static str) -> Result<T, Problem> {
    Err((message.into(), help))
}

impl Tensor {
    #[track_caller]
    fn conv_fail(&self, op: &'static str, weight: &Tensor, (message, help): Problem) -> Tensor {
        let kind = if self.dtype() == weight.dtype() { ErrorKind::Shape } else { ErrorKind::DType };
        let mut e = Error::new(kind, op, message)
            .operand(self.shape(), self.dtype())
            .operand(weight.shape(), weight.dtype());
        if !help.is_empty() {
            e = e.help(help);
        }
        self.fail(e, self.dtype())
    }

    #[track_caller]
    fn conv_nd(
        &self,
        op: &'static str,
        n: usize,
        weight: &Tensor,
        bias: Option<&Tensor>,
        o: &ConvOptions,
    ) -> Tensor {
        if let Some(bad) = [Some(self), Some(weight), bias].into_iter().flatten().find(|t| t.is_poisoned()) {
            return bad.clone();
        }
        if self.rank() == n + 1 {
            return self.unsqueeze(0).conv_nd(op, n, weight, bias, o).squeeze(0);
        }
        match conv_geometry(self, weight, n, o) {
            Ok(geo) => {
                let shape = geo.output_shape();
                let y = Tensor::make(
                    Op::Conv(geo.into()),
                    smallvec![self.clone(), weight.clone()],
                    shape,
                    self.dtype(),
                );
                add_channel_bias(op, y, bias, n)
            }
            Err(p) => self.conv_fail(op, weight, p),
        }
    }

    #[track_caller]
    fn conv_transpose_nd(
        &self,
        op: &'static str,
        n: usize,
        weight: &Tensor,
        bias: Option<&Tensor>,
        o: &ConvOptions,
    ) -> Tensor {
        if let Some(bad) = [Some(self), Some(weight), bias].into_iter().flatten().find(|t| t.is_poisoned()) {
            return bad.clone();
        }
        if self.rank() == n + 1 {
            return self.unsqueeze(0).conv_transpose_nd(op, n, weight, bias, o).squeeze(0);
        }
        match transposed_geometry(self, weight, n, o) {
            Ok(geo) => {
                let shape = geo.input_shape();
                let inputs = smallvec![self.clone(), weight.clone()];
                add_channel_bias(
                    op,
                    Tensor::make(Op::ConvInputGrad(geo.into()), inputs, shape, self.dtype()),
                    bias,
                    n,
                )
            }
            Err(p) => self.conv_fail(op, weight, p),
        }
    }
}

#[track_caller]
fn add_channel_bias(op: &'static str, y: Tensor, bias: Option<&Tensor>, n: usize) -> Tensor {
    let Some(b) = bias else { return y };
    if b.dims() != [y.dims()[1]] {
        let e = Error::new(ErrorKind::Shape, op, format!("the bias must have {} elements", y.dims()[1]))
            .operand(b.shape(), b.dtype());
        return Tensor::poison(e, y.shape(), y.dtype());
    }
    let mut dims = vec![1; n + 1];
    dims[0] = b.numel();
    y.add(b.reshape(dims))
}

/// Of strides, dilations and paddings, so that positions never overflow.
pub(crate) const LARGEST: usize = i32::MAX as usize;

/// Explicit padding of each dimension.
fn numbers(padding: &Spatial, n: usize) -> Result<Vec<usize>, Problem> {
    match padding.resolve(n) {
        Some(p) if p.iter().all(|&v| v <= LARGEST) => Ok(p),
        Some(_) => problem(format!("padding is {LARGEST} at most"), "pad less"),
        None => problem(
            format!("padding takes 1 or {n} numbers"),
            "give one number, or one for each spatial dimension",
        ),
    }
}

struct Common {
    stride: Vec<usize>,
    dilation: Vec<usize>,
    kernel: Vec<usize>,
    spatial: Vec<usize>,
}

fn common(x: &Tensor, w: &Tensor, n: usize, o: &ConvOptions) -> Result<Common, Problem> {
    if x.dtype() != w.dtype() {
        return problem(
            format!("dtypes differ: {} and {}", x.dtype(), w.dtype()),
            "cast one: .cast(other.dtype())",
        );
    }
    if !x.dtype().is_float() {
        return problem(format!("not defined for {}", x.dtype()), "cast to a float: .cast(DType::F32)");
    }
    if x.rank() != n + 2 {
        return problem(
            format!("the input has {} dimensions, not {} (or {} without a batch)", x.rank(), n + 2, n + 1),
            "add the missing dimensions with unsqueeze, for example a channel with .unsqueeze(1)",
        );
    }
    if w.rank() != n + 2 {
        return problem(
            format!("the weight has {} dimensions, not {}", w.rank(), n + 2),
            "the weight is [out, in / groups, kernel..], transposed [in, out / groups, kernel..]",
        );
    }
    let (Some(stride), Some(dilation)) = (o.stride.resolve(n), o.dilation.resolve(n)) else {
        return problem(
            format!("stride and dilation take 1 or {n} numbers"),
            "give one number, or one for each spatial dimension",
        );
    };
    if stride.contains(&0) || dilation.contains(&0) || o.groups == 0 {
        return problem("stride, dilation and groups must be at least 1", "1 is the default of all three");
    }
    if stride.iter().chain(&dilation).any(|&v| v > LARGEST) {
        return problem(format!("stride and dilation are {LARGEST} at most"), "use smaller ones");
    }
    let (kernel, spatial) = (w.dims()[2..].to_vec(), x.dims()[2..].to_vec());
    if kernel.contains(&0) {
        return problem("a kernel of size 0", "a kernel has at least one tap in each dimension");
    }
    Ok(Common { stride, dilation, kernel, spatial })
}

fn lead(windows: Vec<Window>) -> [Window; 3] {
    let mut all = [Window::UNIT; 3];
    let at = 3 - windows.len();
    all[at..].copy_from_slice(&windows);
    all
}

fn conv_geometry(x: &Tensor, w: &Tensor, n: usize, o: &ConvOptions) -> Result<ConvGeometry, Problem> {
    let c = common(x, w, n, o)?;
    let (channels, out, per_group) = (x.dims()[1], w.dims()[0], w.dims()[1]);
    if !channels.is_multiple_of(o.groups) || !out.is_multiple_of(o.groups) {
        return problem(
            format!("{channels} input and {out} output channels in {} groups", o.groups),
            "both must be multiples of groups",
        );
    }
    if per_group.saturating_mul(o.groups) != channels {
        return problem(
            format!(
                "the input has {channels} channels, the weight expects {}",
                per_group.saturating_mul(o.groups)
            ),
            "the weight is [out, in / groups, kernel..]",
        );
    }
    let mut windows = Vec::new();
    for d in 0..n {
        let reach = c.dilation[d].saturating_mul(c.kernel[d] - 1).saturating_add(1);
        let (lo, hi) = match &o.padding {
            Padding::Valid => (0, 0),
            Padding::Unknown(word) => {
                return problem(
                    format!("padding {word:?} is not known"),
                    "use \"same\", \"valid\" or numbers",
                );
            }
            Padding::Same if c.stride[d] != 1 => {
                return problem("same padding needs stride 1", "pad by numbers instead");
            }
            Padding::Same => ((reach - 1) / 2, (reach - 1) - (reach - 1) / 2),
            Padding::Explicit(p) => {
                let p = numbers(p, n)?;
                (p[d], p[d])
            }
        };
        let padded = c.spatial[d].saturating_add(lo).saturating_add(hi);
        if padded < reach {
            return problem(
                format!(
                    "the kernel reaches {reach} elements, the padded input has {padded} (spatial dimension {d})"
                ),
                "use a smaller kernel, less dilation or more padding",
            );
        }
        windows.push(Window {
            input: c.spatial[d],
            kernel: c.kernel[d],
            stride: c.stride[d],
            pad_lo: lo,
            pad_hi: hi,
            dilation: c.dilation[d],
            output: (padded - reach) / c.stride[d] + 1,
        });
    }
    Ok(ConvGeometry {
        batch: x.dims()[0],
        in_channels: channels,
        out_channels: out,
        groups: o.groups,
        windows: lead(windows),
        spatial: n,
    })
}

/// The convolution whose input gradient the transposed convolution is: its output is our input.
fn transposed_geometry(x: &Tensor, w: &Tensor, n: usize, o: &ConvOptions) -> Result<ConvGeometry, Problem> {
    let c = common(x, w, n, o)?;
    let (channels, per_group) = (x.dims()[1], w.dims()[1]);
    if w.dims()[0] != channels {
        return problem(
            format!("the input has {channels} channels, the weight expects {}", w.dims()[0]),
            "the weight is [in, out / groups, kernel..]",
        );
    }
    if !channels.is_multiple_of(o.groups) {
        return problem(
            format!("{channels} input channels in {} groups", o.groups),
            "both numbers of channels must be multiples of groups",
        );
    }
    let Some(extra) = o.output_padding.resolve(n) else {
        return problem(
            format!("output padding takes 1 or {n} numbers"),
            "give one number, or one for each spatial dimension",
        );
    };
    let pad = match &o.padding {
        Padding::Valid => vec![0; n],
        Padding::Unknown(word) => {
            return problem(format!("padding {word:?} is not known"), "use \"valid\" or numbers");
        }
        Padding::Same => {
            return problem("same padding is not defined for transposed convolutions", "pad by numbers");
        }
        Padding::Explicit(p) => numbers(p, n)?,
    };
    let mut windows = Vec::new();
    for d in 0..n {
        if extra[d] >= c.stride[d].max(c.dilation[d]) {
            return problem(
                "output padding must be smaller than stride or dilation",
                "it chooses among the sizes that the stride or dilation leaves open",
            );
        }
        if c.spatial[d] == 0 {
            return problem("an empty spatial dimension", "give at least one element in each");
        }
        let reach = c.dilation[d].saturating_mul(c.kernel[d] - 1).saturating_add(1);
        let full =
            (c.spatial[d] - 1).saturating_mul(c.stride[d]).saturating_add(reach).saturating_add(extra[d]);
        if full <= 2 * pad[d] {
            return problem(
                format!("padding {} leaves nothing of {full} outputs", pad[d]),
                "pad less; padding cuts off a transposed convolution's output",
            );
        }
        windows.push(Window {
            input: full - 2 * pad[d],
            kernel: c.kernel[d],
            stride: c.stride[d],
            pad_lo: pad[d],
            pad_hi: pad[d],
            dilation: c.dilation[d],
            output: c.spatial[d],
        });
    }
    Ok(ConvGeometry {
        batch: x.dims()[0],
        in_channels: per_group.saturating_mul(o.groups),
        out_channels: channels,
        groups: o.groups,
        windows: lead(windows),
        spatial: n,
    })
}

fn forward(geo: &ConvGeometry, x: &Tensor, w: &Tensor) -> Tensor {
    Tensor::make(Op::Conv(geo.clone().into()), smallvec![x.clone(), w.clone()], geo.output_shape(), x.dtype())
}
fn input_grad(geo: &ConvGeometry, dy: &Tensor, w: &Tensor) -> Tensor {
    Tensor::make(
        Op::ConvInputGrad(geo.clone().into()),
        smallvec![dy.clone(), w.clone()],
        geo.input_shape(),
        dy.dtype(),
    )
}
fn weight_grad(geo: &ConvGeometry, x: &Tensor, dy: &Tensor) -> Tensor {
    Tensor::make(
        Op::ConvWeightGrad(geo.clone().into()),
        smallvec![x.clone(), dy.clone()],
        geo.weight_shape(),
        dy.dtype(),
    )
}

pub(crate) fn conv_vjp(geo: &ConvGeometry, x: &Inputs, g: &Tensor, needs: &[bool]) -> Grads {
    smallvec![needs[0].then(|| input_grad(geo, g, &x[1])), needs[1].then(|| weight_grad(geo, &x[0], g))]
}

/// `x` is dy, w; `g` has the input's shape.
pub(crate) fn input_grad_vjp(geo: &ConvGeometry, x: &Inputs, g: &Tensor, needs: &[bool]) -> Grads {
    smallvec![needs[0].then(|| forward(geo, g, &x[1])), needs[1].then(|| weight_grad(geo, g, &x[0]))]
}

/// `x` is x, dy; `g` has the weight's shape.
pub(crate) fn weight_grad_vjp(geo: &ConvGeometry, x: &Inputs, g: &Tensor, needs: &[bool]) -> Grads {
    smallvec![needs[0].then(|| input_grad(geo, &x[1], g)), needs[1].then(|| forward(geo, &x[0], g))]
}
