//! A small GPT: norms before attention and network (Radford et al. 2019, 2.3).

use super::transformer::{Attention, FeedForward, Past};
use hadal_nn::{Ctx, Embedding, Forward, Init, LayerNorm, Linear, Module};
use hadal_tensor::{Tensor, checkpoint};

/// Predicts the next of `vocab` tokens at each place.
#[derive(Module)]
pub struct Gpt {
    tokens: Embedding,
    positions: Embedding,
    blocks: Vec<Block>,
    norm: LayerNorm,
    head: Linear,
    #[module(skip)]
    recompute: bool,
}

impl Gpt {
    /// For at most `context` tokens.
    pub fn new(init: &Init, vocab: usize, context: usize, layers: usize, width: usize, heads: usize) -> Gpt {
        Gpt {
            tokens: Embedding::new(init, vocab, width),
            positions: Embedding::new(init, context, width),
            blocks: (0..layers).map(|_| Block::new(init, width, heads)).collect(),
            norm: LayerNorm::new(init, width),
            head: Linear::new(init, width, vocab).no_bias(),
            recompute: false,
        }
    }

    /// Keeps nothing inside of blocks for the backward pass, which computes them again.
    pub fn recompute(self) -> Gpt {
        Gpt { recompute: true, ..self }
    }

    /// What [`decode`](Gpt::decode) begins with.
    pub fn nothing_past(&self) -> Vec<Past> {
        vec![Past::default(); self.blocks.len()]
    }

    /// Logits of the token after `x`, which follows what is past: `[n, len]` to `[n, vocab]`.
    pub fn decode(&self, x: &Tensor, past: &mut [Past], cx: &Ctx) -> Tensor {
        let (first, len) = (past.first().map_or(0, Past::len), x.size(1));
        let places = Tensor::arange(first as i64, (first + len) as i64, 1);
        let mut x = self.tokens.forward(x, cx) + self.positions.forward(&places, cx); // [n, len, width]
        for (block, past) in self.blocks.iter().zip(past) {
            x = block.decode(&x, past, cx);
        }
        let last = x.select(1, -1); // [n, width]
        self.head.forward(&self.norm.forward(&last, cx), cx) // [n, vocab]
    }
}

impl Forward for Gpt {
    fn forward(&self, x: &Tensor, cx: &Ctx) -> Tensor {
        let len = x.size(1); // [n, len]
        let places = Tensor::arange(0, len as i64, 1);
        let x = self.tokens.forward(x, cx) + self.positions.forward(&places, cx); // [n, len, width]
        let x = self.blocks.iter().fold(x, |x, block| match self.recompute {
            true => checkpoint(|| block.forward(&x, cx)),
            false => block.forward(&x, cx),
        });
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

    fn decode(&self, x: &Tensor, past: &mut Past, cx: &Ctx) -> Tensor {
        let x = x + self.attention.decode(&self.norm1.forward(x, cx), past, cx);
        &x + self.network.forward(&self.norm2.forward(&x, cx), cx)
    }
}

impl Forward for Block {
    fn forward(&self, x: &Tensor, cx: &Ctx) -> Tensor {
        let x = x + self.attention.forward(&self.norm1.forward(x, cx), cx);
        &x + self.network.forward(&self.norm2.forward(&x, cx), cx)
    }
}
