//! A small GPT: norms before attention and network (Radford et al. 2019, 2.3).

use super::transformer::{Attention, FeedForward};
use hadal_nn::{Ctx, Embedding, Forward, Init, LayerNorm, Linear, Module, Sequential};
use hadal_tensor::Tensor;

/// Predicts the next of `vocab` tokens at each place.
#[derive(Module)]
pub struct Gpt {
    tokens: Embedding,
    positions: Embedding,
    blocks: Sequential,
    norm: LayerNorm,
    head: Linear,
}

impl Gpt {
    /// For at most `context` tokens.
    pub fn new(init: &Init, vocab: usize, context: usize, layers: usize, width: usize, heads: usize) -> Gpt {
        let mut blocks = Sequential::new();
        for _ in 0..layers {
            blocks.push(Block::new(init, width, heads));
        }
        Gpt {
            tokens: Embedding::new(init, vocab, width),
            positions: Embedding::new(init, context, width),
            blocks,
            norm: LayerNorm::new(init, width),
            head: Linear::new(init, width, vocab).no_bias(),
        }
    }
}

impl Forward for Gpt {
    fn forward(&self, x: &Tensor, cx: &Ctx) -> Tensor {
        let len = x.size(1); // [n, len]
        let places = Tensor::arange(0, len as i64, 1);
        let x = self.tokens.forward(x, cx) + self.positions.forward(&places, cx); // [n, len, width]
        let x = self.blocks.forward(&x, cx);
        self.head.forward(&self.norm.forward(&x, cx), cx) // [n, len, vocab]
    }
}

/// Attention and network, each behind a norm and added to what it got.
#[derive(Module)]
struct Block {
    norm1: LayerNorm,
    attention: Attention,
    norm2: LayerNorm,
    network: FeedForward,
}

impl Block {
    fn new(init: &Init, width: usize, heads: usize) -> Block {
        Block {
            norm1: LayerNorm::new(init, width),
            attention: Attention::new(init, width, heads, true),
            norm2: LayerNorm::new(init, width),
            network: FeedForward::new(init, width, 4 * width),
        }
    }
}

impl Forward for Block {
    fn forward(&self, x: &Tensor, cx: &Ctx) -> Tensor {
        let x = x + self.attention.forward(&self.norm1.forward(x, cx), cx);
        &x + self.network.forward(&self.norm2.forward(&x, cx), cx)
    }
}
