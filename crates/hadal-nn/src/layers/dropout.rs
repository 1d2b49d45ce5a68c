//! Dropout.

use super::{channels, layout, wrong};
use crate::{Ctx, Forward, Module};
use hadal_core::{DType, ErrorKind, Tag};
use hadal_tensor::Tensor;

/// A mask that is true with probability `1 - p`, drawn from the context's key.
#[track_caller]
fn mask(name: &'static str, x: &Tensor, shape: &[usize], p: f64, cx: &Ctx) -> Result<Tensor, Tensor> {
    if x.is_poisoned() {
        return Err(x.clone());
    }
    let key = cx.next_key(name).map_err(|e| Tensor::poison(e, x.shape(), x.dtype()))?;
    Ok(Tensor::bernoulli(shape, DType::Bool, key, 1.0 - p))
}

/// The kept values scaled up, zeros elsewhere.
#[track_caller]
fn drop_out(name: &'static str, x: &Tensor, mask_shape: &[usize], p: f64, cx: &Ctx) -> Tensor {
    if !(0.0..=1.0).contains(&p) {
        return wrong(ErrorKind::Value, name, format!("a probability of {p}"), &[x], "p is from 0 to 1");
    }
    if !cx.is_train() || p == 0.0 {
        return x.clone();
    }
    match mask(name, x, mask_shape, p, cx) {
        // With p = 1 nothing is kept; an infinite factor would make the gradient 0·∞.
        Ok(keep) => keep.where_(x * if p < 1.0 { 1.0 / (1.0 - p) } else { 1.0 }, 0.0).cast(x.dtype()),
        Err(bad) => bad,
    }
}

/// In training each value is zero with probability `p` and multiplied by `1/(1-p)` otherwise
/// (Srivastava 2014); in evaluation nothing happens.
///
/// Any shape. The mask is a function of the context's key and of how many random layers came before.
///
/// ```
/// use hadal_nn::{Ctx, Dropout, Forward};
/// use hadal_tensor::{Key, Tensor};
/// let x = Tensor::new([1.0f32, 1.0, 1.0, 1.0]);
/// let drop = Dropout::new(0.5);
/// assert_eq!(drop.forward(&x, &Ctx::eval()).to_vec::<f32>().unwrap(), [1.0; 4]);
/// let y = drop.forward(&x, &Ctx::train(Key::new(0))).to_vec::<f32>().unwrap();
/// assert!(y.iter().all(|&v| v == 0.0 || v == 2.0));
/// assert!(drop.forward(&x, &Ctx::train_without_key()).eval().is_err());
/// ```
#[derive(Module, Debug)]
pub struct Dropout {
    tag: Tag,
    p: f64,
}

impl Dropout {
    /// Drops with probability `p`. PyTorch's default is 0.5.
    pub fn new(p: f64) -> Dropout {
        Dropout { tag: Tag::new("Dropout"), p }
    }
}

impl Forward for Dropout {
    #[track_caller]
    fn forward(&self, x: &Tensor, cx: &Ctx) -> Tensor {
        let _layer = cx.enter(&self.tag);
        drop_out("Dropout", x, x.dims(), self.p, cx)
    }
}

/// As [`Dropout`] for whole channels (Tompson 2014, arXiv:1411.4280); use it as [`Dropout1d`],
/// [`Dropout2d`], [`Dropout3d`].
///
/// Input `[n, c, ..]` or `[c, ..]` with `N` spatial dimensions.
///
/// ```
/// use hadal_nn::{Ctx, Dropout2d, Forward};
/// use hadal_tensor::{DType, Key, Tensor};
/// let x = Tensor::ones([1, 8, 2, 2], DType::F32);
/// let y = Dropout2d::new(0.5).forward(&x, &Ctx::train(Key::new(0))).to_vec::<f32>().unwrap();
/// assert!(y.chunks(4).all(|channel| channel == [0.0; 4] || channel == [2.0; 4]));
/// ```
#[derive(Module, Debug)]
pub struct ChannelDropout<const N: usize> {
    tag: Tag,
    p: f64,
}

/// Drops channels of `[n, c, l]`. See [`ChannelDropout`].
pub type Dropout1d = ChannelDropout<1>;
/// Drops channels of `[n, c, h, w]`. See [`ChannelDropout`].
pub type Dropout2d = ChannelDropout<2>;
/// Drops channels of `[n, c, d, h, w]`. See [`ChannelDropout`].
pub type Dropout3d = ChannelDropout<3>;

impl<const N: usize> ChannelDropout<N> {
    const NAME: &'static str = match N {
        1 => "Dropout1d",
        2 => "Dropout2d",
        _ => "Dropout3d",
    };
    /// Drops a channel with probability `p`. PyTorch's default is 0.5.
    pub fn new(p: f64) -> Self {
        ChannelDropout { tag: Tag::new(Self::NAME), p }
    }
}

impl<const N: usize> Forward for ChannelDropout<N> {
    #[track_caller]
    fn forward(&self, x: &Tensor, cx: &Ctx) -> Tensor {
        let _layer = cx.enter(&self.tag);
        if channels(x, N).is_none() {
            let message = format!("the input has {} dimensions, {} are needed", x.rank(), N + 2);
            return wrong(
                ErrorKind::Shape,
                Self::NAME,
                message,
                &[x],
                &format!("the input is {}", layout(N)),
            );
        }
        let mut shape = x.dims().to_vec();
        let spatial = shape.len() - N;
        shape[spatial..].fill(1);
        drop_out(Self::NAME, x, &shape, self.p, cx)
    }
}

/// Dropout that keeps mean and variance of standard normal input, for SELU networks (Klambauer 2017,
/// arXiv:1706.02515): dropped values become `-1.758…`, the limit of SELU, and an affine map follows.
///
/// Any shape. In evaluation nothing happens.
///
/// ```
/// use hadal_nn::{AlphaDropout, Ctx, Forward};
/// use hadal_tensor::{DType, Key, Tensor};
/// let x = Tensor::randn([10_000], DType::F32, Key::new(1));
/// let y = AlphaDropout::new(0.3).forward(&x, &Ctx::train(Key::new(0)));
/// assert!(y.mean(..).item::<f32>().unwrap().abs() < 0.05);
/// assert!((y.std(.., 1).item::<f32>().unwrap() - 1.0).abs() < 0.05);
/// ```
#[derive(Module, Debug)]
pub struct AlphaDropout {
    tag: Tag,
    p: f64,
}

impl AlphaDropout {
    /// Drops with probability `p`. PyTorch's default is 0.5.
    pub fn new(p: f64) -> AlphaDropout {
        AlphaDropout { tag: Tag::new("AlphaDropout"), p }
    }
}

impl Forward for AlphaDropout {
    #[track_caller]
    fn forward(&self, x: &Tensor, cx: &Ctx) -> Tensor {
        // Scale times alpha of SELU: what it tends to on the far left, negated.
        const LIMIT: f64 = 1.758_099_340_847_376_6;
        let _layer = cx.enter(&self.tag);
        let p = self.p;
        if !(0.0..=1.0).contains(&p) {
            return wrong(
                ErrorKind::Value,
                "AlphaDropout",
                format!("a probability of {p}"),
                &[x],
                "p is from 0 to 1",
            );
        }
        if !cx.is_train() || p == 0.0 {
            return x.clone();
        }
        if p == 1.0 {
            // All zeros, and a gradient of zeros.
            return x.masked_fill(&Tensor::full(x.dims().to_vec(), true), 0.0);
        }
        // So that the variance p·LIMIT²·(1-p) + (1-p) becomes 1 and the mean 0.
        let scale = 1.0 / ((LIMIT * LIMIT * p + 1.0) * (1.0 - p)).sqrt();
        match mask("AlphaDropout", x, x.dims(), p, cx) {
            Ok(keep) => (keep.where_(x * scale, -LIMIT * scale) + LIMIT * scale * p).cast(x.dtype()),
            Err(bad) => bad,
        }
    }
}
