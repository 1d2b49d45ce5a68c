//! Losses of distances between vectors, and of margins.

use super::{Reduction, computed, with_reduction};
use crate::layers::wrong;
use hadal_core::ErrorKind;
use hadal_tensor::Tensor;

/// For a distance `x` and a target of 1 (similar) or -1: `x`, or `max(0, margin - x)` (PyTorch's
/// `hinge_embedding_loss`). The target broadcasts to the input.
///
/// ```
/// use hadal_nn::loss;
/// use hadal_tensor::Tensor;
/// let (d, y) = (Tensor::new([0.3f32, 0.3]), Tensor::new([1.0f32, -1.0]));
/// assert!((loss::hinge_embedding_loss(&d, &y).item::<f32>().unwrap() - 0.5).abs() < 1e-6);
/// ```
#[derive(Clone, Debug)]
pub struct HingeEmbedding {
    margin: f64,
    reduction: Reduction,
}

impl Default for HingeEmbedding {
    fn default() -> Self {
        HingeEmbedding { margin: 1.0, reduction: Reduction::Mean }
    }
}

impl HingeEmbedding {
    /// The mean of the elements' losses, with a margin of 1.
    pub fn new() -> HingeEmbedding {
        HingeEmbedding::default()
    }
    /// The distance that dissimilar pairs should have, 1 unless set.
    pub fn margin(self, margin: f64) -> HingeEmbedding {
        HingeEmbedding { margin, ..self }
    }
    /// The loss.
    #[track_caller]
    pub fn forward(&self, input: &Tensor, target: &Tensor) -> Tensor {
        const OP: &str = "hinge_embedding_loss";
        if input.shape().broadcast(target.shape()).is_none_or(|s| s != *input.shape()) {
            return wrong(
                ErrorKind::Shape,
                OP,
                "the target does not fit the input",
                &[input, target],
                "it broadcasts to the input",
            );
        }
        computed(OP, [input, target], |[x, y]| {
            let apart = y.ne(1.0).where_((self.margin - &x).relu(), 0.0);
            self.reduction.apply(&(y.ne(-1.0).where_(&x, 0.0) + apart))
        })
    }
}

/// [`HingeEmbedding`] with defaults.
#[track_caller]
pub fn hinge_embedding_loss(input: &Tensor, target: &Tensor) -> Tensor {
    HingeEmbedding::new().forward(input, target)
}

/// `max(0, margin - y·(x1 - x2))`: for a target of 1 the first should be ranked higher, for -1 the
/// second. All of one shape.
///
/// ```
/// use hadal_nn::loss;
/// use hadal_tensor::Tensor;
/// let (a, b, y) = (Tensor::new([1.0f32]), Tensor::new([3.0f32]), Tensor::new([1.0f32]));
/// assert_eq!(loss::margin_ranking_loss(&a, &b, &y).item::<f32>().unwrap(), 2.0);
/// ```
#[derive(Clone, Debug, Default)]
pub struct MarginRanking {
    margin: f64,
    reduction: Reduction,
}

impl MarginRanking {
    /// The mean of the elements' losses, with a margin of 0.
    pub fn new() -> MarginRanking {
        MarginRanking::default()
    }
    /// The distance wanted, 0 unless set.
    pub fn margin(self, margin: f64) -> MarginRanking {
        MarginRanking { margin, ..self }
    }
    /// The loss. All have one shape.
    #[track_caller]
    pub fn forward(&self, input1: &Tensor, input2: &Tensor, target: &Tensor) -> Tensor {
        const OP: &str = "margin_ranking_loss";
        if input1.dims() != input2.dims() || input1.dims() != target.dims() {
            return wrong(
                ErrorKind::Shape,
                OP,
                "shapes differ",
                &[input1, input2, target],
                "bring them to one shape",
            );
        }
        computed(OP, [input1, input2, target], |[a, b, y]| {
            self.reduction.apply(&(self.margin - y * (a - b)).relu())
        })
    }
}

/// [`MarginRanking`] with defaults.
#[track_caller]
pub fn margin_ranking_loss(input1: &Tensor, input2: &Tensor, target: &Tensor) -> Tensor {
    MarginRanking::new().forward(input1, input2, target)
}

/// `max(0, d(a, p) - d(a, n) + margin)` with the p-norm of the difference (plus eps) as distance
/// (Schroff 2015, arXiv:1503.03832; with `swap` the nearer of `d(a, n)` and `d(p, n)`, Balntas 2016).
/// Anchor, positive and negative `[.., d]` of one shape; one loss for each row.
///
/// ```
/// use hadal_nn::loss;
/// use hadal_tensor::Tensor;
/// let (a, n) = (Tensor::new([[0.0f32, 0.0]]), Tensor::new([[3.0f32, 4.0]]));
/// assert!((loss::triplet_margin_loss(&a, &n, &a).item::<f32>().unwrap() - 6.0).abs() < 1e-4);
/// ```
#[derive(Clone, Debug)]
pub struct TripletMargin {
    margin: f64,
    p: f64,
    eps: f64,
    swap: bool,
    reduction: Reduction,
}

impl Default for TripletMargin {
    fn default() -> Self {
        TripletMargin { margin: 1.0, p: 2.0, eps: 1e-6, swap: false, reduction: Reduction::Mean }
    }
}

impl TripletMargin {
    /// The mean of the rows' losses, with a margin of 1, the Euclidean distance and eps 1e-6.
    pub fn new() -> TripletMargin {
        TripletMargin::default()
    }
    /// How much farther the negative should be, 1 unless set.
    pub fn margin(self, margin: f64) -> TripletMargin {
        TripletMargin { margin, ..self }
    }
    /// Which norm measures distance, 2 unless set.
    pub fn p(self, p: f64) -> TripletMargin {
        TripletMargin { p, ..self }
    }
    /// Added to every difference, 1e-6 unless set.
    pub fn eps(self, eps: f64) -> TripletMargin {
        TripletMargin { eps, ..self }
    }
    /// Whether the negative's distance from the positive counts where it is nearer.
    pub fn swap(self, swap: bool) -> TripletMargin {
        TripletMargin { swap, ..self }
    }
    /// The loss.
    #[track_caller]
    pub fn forward(&self, anchor: &Tensor, positive: &Tensor, negative: &Tensor) -> Tensor {
        const OP: &str = "triplet_margin_loss";
        if anchor.rank() == 0 || anchor.dims() != positive.dims() || anchor.dims() != negative.dims() {
            let help = "anchor, positive and negative are [.., d]";
            return wrong(ErrorKind::Shape, OP, "shapes differ", &[anchor, positive, negative], help);
        }
        computed(OP, [anchor, positive, negative], |[a, p, n]| {
            let distance = |x: &Tensor, y: &Tensor| (x - y + self.eps).norm(self.p, -1);
            let mut apart = distance(&a, &n);
            if self.swap {
                apart = apart.minimum(distance(&p, &n));
            }
            self.reduction.apply(&(distance(&a, &p) - apart + self.margin).relu())
        })
    }
}

/// [`TripletMargin`] with defaults.
#[track_caller]
pub fn triplet_margin_loss(anchor: &Tensor, positive: &Tensor, negative: &Tensor) -> Tensor {
    TripletMargin::new().forward(anchor, positive, negative)
}

/// `1 - cos(x1, x2)` for a target of 1, `max(0, cos(x1, x2) - margin)` for -1. Inputs `[n, d]` with
/// target `[n]`, or `[d]` with a 0-d target.
///
/// ```
/// use hadal_nn::loss;
/// use hadal_tensor::Tensor;
/// let (a, b) = (Tensor::new([[1.0f32, 0.0]]), Tensor::new([[0.0f32, 2.0]]));
/// let loss = loss::cosine_embedding_loss(&a, &b, &Tensor::new([1.0f32]));
/// assert!((loss.item::<f32>().unwrap() - 1.0).abs() < 1e-6);
/// ```
#[derive(Clone, Debug, Default)]
pub struct CosineEmbedding {
    margin: f64,
    reduction: Reduction,
}

impl CosineEmbedding {
    /// The mean of the pairs' losses, with a margin of 0.
    pub fn new() -> CosineEmbedding {
        CosineEmbedding::default()
    }
    /// The cosine up to which dissimilar pairs cost nothing, 0 unless set.
    pub fn margin(self, margin: f64) -> CosineEmbedding {
        CosineEmbedding { margin, ..self }
    }
    /// The loss.
    #[track_caller]
    pub fn forward(&self, input1: &Tensor, input2: &Tensor, target: &Tensor) -> Tensor {
        const OP: &str = "cosine_embedding_loss";
        let rows = input1.dims().split_last().map(|(_, rows)| rows);
        if input1.dims() != input2.dims() || rows != Some(target.dims()) {
            let help = "inputs are [n, d], the target [n] holds 1 and -1";
            return wrong(ErrorKind::Shape, OP, "shapes do not fit", &[input1, input2, target], help);
        }
        computed(OP, [input1, input2, target], |[a, b, y]| {
            // PyTorch's guard against vectors of zeros.
            const EPS: f64 = 1e-12;
            let norms = (a.square().sum(-1) + EPS) * (b.square().sum(-1) + EPS);
            let cos = (&a * &b).sum(-1) * norms.rsqrt();
            let similar = y.eq(1.0).where_(1.0 - &cos, 0.0);
            let apart = y.eq(-1.0).where_((&cos - self.margin).relu(), 0.0);
            self.reduction.apply(&(similar + apart))
        })
    }
}

/// [`CosineEmbedding`] with defaults.
#[track_caller]
pub fn cosine_embedding_loss(input1: &Tensor, input2: &Tensor, target: &Tensor) -> Tensor {
    CosineEmbedding::new().forward(input1, input2, target)
}

with_reduction!(HingeEmbedding, MarginRanking, TripletMargin, CosineEmbedding);
