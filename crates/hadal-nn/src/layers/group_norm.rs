//! Normalisation within groups of channels.

use super::{channels, layout, wrong};
use crate::{Ctx, Forward, Init, Module};
use hadal_core::{DType, ErrorKind, Tag};
use hadal_tensor::{Param, State, Tensor, no_grad};

/// Group normalisation (Wu and He 2018, arXiv:1803.08494): mean 0 and population variance 1 within each
/// example and group of channels, then weight and bias of each channel.
///
/// Input and output `[n, channels, ..]`. PyTorch's defaults: eps 1e-5, weight 1, bias 0.
///
/// ```
/// use hadal_nn::{Ctx, Forward, GroupNorm, Init};
/// use hadal_tensor::{DType, Tensor};
/// let gn = GroupNorm::new(&Init::new(0), 2, 6);
/// let y = gn.forward(&Tensor::ones([4, 6, 8, 8], DType::F32), &Ctx::eval());
/// assert_eq!(y.dims(), [4, 6, 8, 8]);
/// ```
#[derive(Module, Debug)]
pub struct GroupNorm {
    tag: Tag,
    /// `[channels]`; none without affine.
    pub weight: Option<Param>,
    /// `[channels]`; none without affine.
    pub bias: Option<Param>,
    num_groups: usize,
    channels: usize,
    eps: f64,
}

impl GroupNorm {
    /// A layer with weight and bias.
    pub fn new(init: &Init, num_groups: usize, channels: usize) -> GroupNorm {
        GroupNorm {
            tag: Tag::new("GroupNorm"),
            weight: Some(Param::new(Tensor::ones([channels], init.param_dtype()))),
            bias: Some(Param::new(Tensor::zeros([channels], init.param_dtype()))),
            num_groups,
            channels,
            eps: 1e-5,
        }
    }
    /// The number added to the variance, 1e-5 unless set.
    pub fn eps(self, eps: f64) -> GroupNorm {
        GroupNorm { eps, ..self }
    }
    /// The same layer without weight and bias.
    pub fn no_affine(self) -> GroupNorm {
        GroupNorm { weight: None, bias: None, ..self }
    }
}

impl Forward for GroupNorm {
    #[track_caller]
    fn forward(&self, x: &Tensor, cx: &Ctx) -> Tensor {
        let _layer = cx.enter(&self.tag);
        if x.rank() < 2 || x.dims()[1] != self.channels {
            let message = format!("the input must have {} channels", self.channels);
            return wrong(ErrorKind::Shape, "GroupNorm", message, &[x], "the input is [n, channels, ..]");
        }
        let (weight, bias) = (self.weight.as_ref().map(Param::get), self.bias.as_ref().map(Param::get));
        x.group_norm(self.num_groups, weight.as_ref(), bias.as_ref(), self.eps)
    }
}

/// Instance normalisation (Ulyanov 2016, arXiv:1607.08022): each channel of each example by itself; use
/// it as [`InstanceNorm1d`], [`InstanceNorm2d`], [`InstanceNorm3d`].
///
/// Input `[n, c, ..]` or `[c, ..]`, output the same shape. PyTorch's defaults: eps 1e-5, no weight, bias
/// or running statistics. With running statistics, evaluation uses them, as batch normalisation does.
///
/// ```
/// use hadal_nn::{Ctx, Forward, Init, InstanceNorm2d, Module};
/// use hadal_tensor::{DType, Tensor};
/// let norm = InstanceNorm2d::new(&Init::new(0), 3).affine();
/// assert_eq!(norm.num_parameters(), 6);
/// let y = norm.forward(&Tensor::ones([4, 3, 8, 8], DType::F32), &Ctx::eval());
/// assert_eq!(y.dims(), [4, 3, 8, 8]);
/// ```
#[derive(Module, Debug)]
pub struct InstanceNorm<const N: usize> {
    tag: Tag,
    /// `[c]`; only with affine.
    pub weight: Option<Param>,
    /// `[c]`; only with affine.
    pub bias: Option<Param>,
    /// `[c]`; only when running statistics are tracked.
    pub running_mean: Option<State>,
    /// `[c]`; only when running statistics are tracked.
    pub running_var: Option<State>,
    /// i64, 0-d; only when running statistics are tracked.
    pub num_batches_tracked: Option<State>,
    #[module(skip)]
    dtype: DType,
    features: usize,
    eps: f64,
    momentum: f64,
}

/// Instance normalisation of `[n, c, l]`. See [`InstanceNorm`].
pub type InstanceNorm1d = InstanceNorm<1>;
/// Instance normalisation of `[n, c, h, w]`. See [`InstanceNorm`].
pub type InstanceNorm2d = InstanceNorm<2>;
/// Instance normalisation of `[n, c, d, h, w]`. See [`InstanceNorm`].
pub type InstanceNorm3d = InstanceNorm<3>;

impl<const N: usize> InstanceNorm<N> {
    const NAME: &'static str = match N {
        1 => "InstanceNorm1d",
        2 => "InstanceNorm2d",
        _ => "InstanceNorm3d",
    };

    /// A layer without parameters.
    pub fn new(init: &Init, features: usize) -> Self {
        InstanceNorm {
            tag: Tag::new(Self::NAME),
            weight: None,
            bias: None,
            running_mean: None,
            running_var: None,
            num_batches_tracked: None,
            dtype: init.param_dtype(),
            features,
            eps: 1e-5,
            momentum: 0.1,
        }
    }
    /// The number added to the variance, 1e-5 unless set.
    pub fn eps(self, eps: f64) -> Self {
        InstanceNorm { eps, ..self }
    }
    /// The share of the newest batch in the running statistics, 0.1 unless set.
    pub fn momentum(self, momentum: f64) -> Self {
        InstanceNorm { momentum, ..self }
    }
    /// With a weight of 1 and a bias of 0, both learned.
    pub fn affine(self) -> Self {
        let (n, d) = (self.features, self.dtype);
        let weight = Some(Param::new(Tensor::ones([n], d)));
        InstanceNorm { weight, bias: Some(Param::new(Tensor::zeros([n], d))), ..self }
    }
    /// With running statistics.
    pub fn track_running_stats(self) -> Self {
        let (n, d) = (self.features, self.dtype.compute());
        InstanceNorm {
            running_mean: Some(State::new(Tensor::zeros([n], d))),
            running_var: Some(State::new(Tensor::ones([n], d))),
            num_batches_tracked: Some(State::new(Tensor::zeros((), DType::I64))),
            ..self
        }
    }

    /// The mean over the batch of each example's statistics enters the running ones.
    fn track(&self, x: &Tensor, spatial: usize) {
        let (Some(rm), Some(rv), Some(n)) =
            (&self.running_mean, &self.running_var, &self.num_batches_tracked)
        else {
            return;
        };
        no_grad(|| {
            let flat = x.cast(rm.get().dtype()).reshape([-1, self.features as isize, spatial as isize]);
            for (state, now) in [(rm, flat.mean(2)), (rv, flat.var(2, 1))] {
                state.update(state.get() * (1.0 - self.momentum) + now.mean(0) * self.momentum);
            }
            n.update(n.get() + 1);
        });
    }
}

impl<const N: usize> Forward for InstanceNorm<N> {
    #[track_caller]
    fn forward(&self, x: &Tensor, cx: &Ctx) -> Tensor {
        let _layer = cx.enter(&self.tag);
        if channels(x, N) != Some(self.features) {
            let message = format!("the input must have {} dimensions and {} channels", N + 2, self.features);
            return wrong(
                ErrorKind::Shape,
                Self::NAME,
                message,
                &[x],
                &format!("the input is {}", layout(N)),
            );
        }
        if x.rank() == N + 1 {
            return self.forward(&x.unsqueeze(0), cx).squeeze(0);
        }
        let (weight, bias) = (self.weight.as_ref().map(Param::get), self.bias.as_ref().map(Param::get));
        if let (Some(mean), Some(var), false) = (&self.running_mean, &self.running_var, cx.is_train()) {
            let mut channel = vec![1; N + 2];
            channel[1] = self.features;
            let wide = x.cast(x.dtype().compute());
            let as_channel = |t: Tensor| t.reshape(&channel).cast_like(&wide);
            let mut scale = (as_channel(var.get()) + self.eps).rsqrt();
            if let Some(w) = weight {
                scale = scale * as_channel(w);
            }
            let mut y = (&wide - as_channel(mean.get())) * scale;
            if let Some(b) = bias {
                y = y + as_channel(b);
            }
            return y.cast(x.dtype());
        }
        let spatial: usize = x.dims()[2..].iter().product();
        if spatial < 2 {
            let message = format!("{spatial} spatial values have no variance");
            return wrong(
                ErrorKind::Value,
                Self::NAME,
                message,
                &[x],
                "normalize larger images, or use LayerNorm",
            );
        }
        if cx.is_train() {
            self.track(x, spatial);
        }
        x.instance_norm(weight.as_ref(), bias.as_ref(), self.eps)
    }
}
