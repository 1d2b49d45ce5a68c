//! Batch normalisation.

use super::wrong;
use crate::{Ctx, Forward, Init, Module};
use hadal_core::{DType, ErrorKind, Tag};
use hadal_tensor::{Param, State, Tensor, no_grad};

/// Batch normalisation (Ioffe and Szegedy 2015, arXiv:1502.03167) over `N` spatial dimensions; use it
/// as [`BatchNorm1d`], [`BatchNorm2d`], [`BatchNorm3d`].
///
/// Input `[n, features, ..]` (for `BatchNorm1d` also `[n, features]`), output the same shape:
/// `(x - mean)/√(var + eps)·weight + bias` for each channel. In training mean and (population) variance
/// are the batch's, and `running_mean` and `running_var` move towards the batch's mean and (sample)
/// variance; in evaluation the running ones are used. Half types are computed, and their running
/// statistics kept, in f32.
///
/// PyTorch's defaults: eps 1e-5, momentum 0.1 (the share of the new batch), weight 1, bias 0, running
/// mean 0 and variance 1.
///
/// ```
/// use hadal_nn::{BatchNorm2d, Ctx, Forward, Init};
/// use hadal_tensor::{DType, Key, Tensor};
/// let bn = BatchNorm2d::new(&Init::new(0), 3);
/// let x = Tensor::randn([4, 3, 5, 5], DType::F32, Key::new(1)) * 2.0 + 7.0;
/// let y = bn.forward(&x, &Ctx::train_without_key());
/// assert!(y.mean(..).item::<f32>().unwrap().abs() < 1e-5);
/// let seen = bn.running_mean.as_ref().unwrap().get().to_vec::<f32>().unwrap();
/// assert!((seen[0] - 0.7).abs() < 0.1); // a tenth of the way from 0 to 7
/// ```
#[derive(Module, Debug)]
pub struct BatchNorm<const N: usize> {
    tag: Tag,
    /// `[features]`; none without `affine`.
    pub weight: Option<Param>,
    /// `[features]`; none without `affine`.
    pub bias: Option<Param>,
    /// `[features]`; none unless running statistics are tracked.
    pub running_mean: Option<State>,
    /// `[features]`; none unless running statistics are tracked.
    pub running_var: Option<State>,
    /// i64, 0-d; none unless running statistics are tracked.
    pub num_batches_tracked: Option<State>,
    features: usize,
    eps: f64,
    momentum: Option<f64>,
}

/// Batch normalisation of `[n, c]` or `[n, c, l]`. See [`BatchNorm`].
pub type BatchNorm1d = BatchNorm<1>;
/// Batch normalisation of `[n, c, h, w]`. See [`BatchNorm`].
pub type BatchNorm2d = BatchNorm<2>;
/// Batch normalisation of `[n, c, d, h, w]`. See [`BatchNorm`].
pub type BatchNorm3d = BatchNorm<3>;

impl<const N: usize> BatchNorm<N> {
    const NAME: &'static str = match N {
        1 => "BatchNorm1d",
        2 => "BatchNorm2d",
        _ => "BatchNorm3d",
    };

    /// A layer with weight, bias and running statistics.
    pub fn new(init: &Init, features: usize) -> Self {
        Self::tagged(Tag::new(Self::NAME), init.param_dtype(), features)
    }

    pub(super) fn tagged(tag: Tag, dtype: DType, features: usize) -> Self {
        let wide = dtype.compute();
        BatchNorm {
            tag,
            weight: Some(Param::new(Tensor::ones([features], dtype))),
            bias: Some(Param::new(Tensor::zeros([features], dtype))),
            running_mean: Some(State::new(Tensor::zeros([features], wide))),
            running_var: Some(State::new(Tensor::ones([features], wide))),
            num_batches_tracked: Some(State::new(Tensor::zeros((), DType::I64))),
            features,
            eps: 1e-5,
            momentum: Some(0.1),
        }
    }

    /// The number added to the variance, 1e-5 unless set.
    pub fn eps(self, eps: f64) -> Self {
        BatchNorm { eps, ..self }
    }
    /// The share of the newest batch in the running statistics, 0.1 unless set; `None` gives every batch
    /// since the start the same weight.
    pub fn momentum(self, momentum: impl Into<Option<f64>>) -> Self {
        BatchNorm { momentum: momentum.into(), ..self }
    }
    /// The same layer without weight and bias.
    pub fn no_affine(self) -> Self {
        BatchNorm { weight: None, bias: None, ..self }
    }
    /// The same layer without running statistics: evaluation takes the batch's too.
    pub fn no_running_stats(self) -> Self {
        BatchNorm { running_mean: None, running_var: None, num_batches_tracked: None, ..self }
    }

    /// The running statistics with this batch in them.
    fn track(&self, mean: &Tensor, var: &Tensor, count: usize) {
        let (Some(rm), Some(rv), Some(n)) =
            (&self.running_mean, &self.running_var, &self.num_batches_tracked)
        else {
            return;
        };
        // The batch failed: it is not counted either.
        if mean.is_poisoned() || var.is_poisoned() {
            return;
        }
        no_grad(|| {
            let seen = n.get() + 1;
            let var = var * (count as f64 / (count - 1) as f64);
            for (state, now) in [(rm, mean), (rv, &var)] {
                let old = state.get();
                let now = now.reshape([self.features]).cast_like(&old);
                state.update(match self.momentum {
                    Some(m) => &old * (1.0 - m) + now * m,
                    None => &old + (now - &old) / seen.cast_like(&old),
                });
            }
            n.update(seen);
        });
    }
}

impl<const N: usize> Forward for BatchNorm<N> {
    #[track_caller]
    fn forward(&self, x: &Tensor, cx: &Ctx) -> Tensor {
        let _layer = cx.enter(&self.tag);
        if !(x.rank() == N + 2 || (N == 1 && x.rank() == 2)) {
            let layout = ["[n, c] or [n, c, l]", "[n, c, h, w]", "[n, c, d, h, w]"][N.clamp(1, 3) - 1];
            let message = format!("the input has {} dimensions, {} are needed", x.rank(), N + 2);
            return wrong(ErrorKind::Shape, Self::NAME, message, &[x], &format!("the input is {layout}"));
        }
        let c = x.dims()[1];
        if c != self.features {
            let message = format!("the input has {c} channels, the layer is for {}", self.features);
            let help = "the input is [n, c, ..]; give the layer as many features as it has channels";
            return wrong(ErrorKind::Shape, Self::NAME, message, &[x], help);
        }
        if !x.dtype().is_float() {
            let message = format!("not defined for {}", x.dtype());
            return wrong(ErrorKind::DType, Self::NAME, message, &[x], "cast to a float: .cast(DType::F32)");
        }
        let wide = x.cast(x.dtype().compute());
        let mut channel = vec![1; x.rank()];
        channel[1] = c;
        let (mean, var) = match (&self.running_mean, &self.running_var) {
            (Some(mean), Some(var)) if !cx.is_train() => {
                let as_channel = |s: &State| s.get().reshape(&channel).cast_like(&wide);
                (as_channel(mean), as_channel(var))
            }
            _ => {
                let count = x.numel() / c.max(1);
                if count < 2 {
                    let message = format!("{count} values per channel have no variance");
                    let help =
                        "train with larger batches (drop a last batch of one), or evaluate with Ctx::eval()";
                    return wrong(ErrorKind::Value, Self::NAME, message, &[x], help);
                }
                let axes: Vec<usize> = (0..x.rank()).filter(|&d| d != 1).collect();
                let mean = wide.mean_keepdim(&axes);
                let var = (&wide - &mean).square().mean_keepdim(&axes);
                if cx.is_train() {
                    self.track(&mean, &var, count);
                }
                (mean, var)
            }
        };
        // The scale of a channel is worked out once, not at every element.
        let mut scale = (var + self.eps).rsqrt();
        if let Some(w) = &self.weight {
            scale = scale * w.get().reshape(&channel).cast_like(&wide);
        }
        let mut y = (&wide - mean) * scale;
        if let Some(b) = &self.bias {
            y = y + b.get().reshape(&channel).cast_like(&wide);
        }
        y.cast(x.dtype())
    }
}
