//! BERT's encoder (Devlin et al. 2018, arXiv:1810.04805), norms behind attention and network.

use super::transformer::{Attention, FeedForward};
use hadal_nn::{Ctx, Embedding, Forward, Init, LayerNorm, Module, Sequential};
use hadal_tensor::Tensor;

/// Maps tokens `[n, len]` to vectors `[n, len, width]`. All tokens are of one segment, none is padding.
#[derive(Module)]
pub struct Bert {
    tokens: Embedding,
    positions: Embedding,
    segments: Embedding,
    norm: LayerNorm,
    layers: Sequential,
}

/// Sizes of an encoder.
pub struct Sizes {
    /// Tokens that are known.
    pub vocab: usize,
    /// Tokens of the longest input.
    pub context: usize,
    /// Layers.
    pub layers: usize,
    /// Numbers for each token.
    pub width: usize,
    /// Heads of an attention.
    pub heads: usize,
    /// Inner width of the network.
    pub hidden: usize,
}

/// Those of MiniLM-L6 (Wang et al. 2020, arXiv:2002.10957).
pub const MINILM: Sizes =
    Sizes { vocab: 30_522, context: 512, layers: 6, width: 384, heads: 12, hidden: 1536 };

impl Bert {
    /// An encoder of these sizes.
    pub fn new(init: &Init, sizes: &Sizes) -> Bert {
        let mut layers = Sequential::new();
        for _ in 0..sizes.layers {
            layers.push(Layer::new(init, sizes));
        }
        Bert {
            tokens: Embedding::new(init, sizes.vocab, sizes.width),
            positions: Embedding::new(init, sizes.context, sizes.width),
            segments: Embedding::new(init, 2, sizes.width),
            norm: LayerNorm::new(init, sizes.width).eps(1e-12),
            layers,
        }
    }
}

impl Forward for Bert {
    fn forward(&self, x: &Tensor, cx: &Ctx) -> Tensor {
        let places = Tensor::arange(0, x.size(1) as i64, 1);
        let segment = Tensor::zeros([1], hadal_tensor::DType::I64);
        let x = self.tokens.forward(x, cx)
            + self.positions.forward(&places, cx)
            + self.segments.forward(&segment, cx); // [n, len, width]
        self.layers.forward(&self.norm.forward(&x, cx), cx)
    }
}

/// Attention and network, each added to what it got and normalized.
#[derive(Module)]
struct Layer {
    attention: Attention,
    norm1: LayerNorm,
    network: FeedForward,
    norm2: LayerNorm,
}

impl Layer {
    fn new(init: &Init, sizes: &Sizes) -> Layer {
        Layer {
            attention: Attention::new(init, sizes.width, sizes.heads, false),
            norm1: LayerNorm::new(init, sizes.width).eps(1e-12),
            network: FeedForward::new(init, sizes.width, sizes.hidden),
            norm2: LayerNorm::new(init, sizes.width).eps(1e-12),
        }
    }
}

impl Forward for Layer {
    fn forward(&self, x: &Tensor, cx: &Ctx) -> Tensor {
        let x = self.norm1.forward(&(x + self.attention.forward(x, cx)), cx);
        self.norm2.forward(&(&x + self.network.forward(&x, cx)), cx)
    }
}
