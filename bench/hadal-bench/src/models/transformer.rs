//! What the two transformers share: attention over several heads, and the two-layer network.

use hadal_nn::{Ctx, Forward, Init, Linear, Module};
use hadal_tensor::Tensor;

/// Self-attention over several heads (Vaswani et al. 2017, arXiv:1706.03762, 3.2.2).
#[derive(Module)]
pub struct Attention {
    query: Linear,
    key: Linear,
    value: Linear,
    out: Linear,
    #[module(skip)]
    heads: usize,
    #[module(skip)]
    causal: bool,
}

impl Attention {
    /// Over `width` numbers, which `heads` divides.
    pub fn new(init: &Init, width: usize, heads: usize, causal: bool) -> Attention {
        let linear = || Linear::new(init, width, width);
        Attention { query: linear(), key: linear(), value: linear(), out: linear(), heads, causal }
    }
}

impl Forward for Attention {
    fn forward(&self, x: &Tensor, cx: &Ctx) -> Tensor {
        let [n, len, width] = x.sizes(); // [n, len, width]
        let heads = |t: Tensor| t.reshape([n, len, self.heads, width / self.heads]).transpose(1, 2);
        let q = heads(self.query.forward(x, cx)); // [n, heads, len, width/heads]
        let k = heads(self.key.forward(x, cx));
        let v = heads(self.value.forward(x, cx));
        let y = q.scaled_dot_product_attention(&k, &v, None, self.causal, None);
        self.out.forward(&y.transpose(1, 2).reshape([n, len, width]), cx)
    }
}

/// Widens, applies GELU, narrows.
#[derive(Module)]
pub struct FeedForward {
    up: Linear,
    down: Linear,
}

impl FeedForward {
    /// From `width` to `hidden` numbers and back.
    pub fn new(init: &Init, width: usize, hidden: usize) -> FeedForward {
        FeedForward { up: Linear::new(init, width, hidden), down: Linear::new(init, hidden, width) }
    }
}

impl Forward for FeedForward {
    fn forward(&self, x: &Tensor, cx: &Ctx) -> Tensor {
        self.down.forward(&self.up.forward(x, cx).gelu(), cx)
    }
}
