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

impl Attention {
    /// Queries, keys and values, each `[n, heads, len, width/heads]`.
    fn project(&self, x: &Tensor, cx: &Ctx) -> [Tensor; 3] {
        let [n, len, width] = x.sizes(); // [n, len, width]
        [&self.query, &self.key, &self.value]
            .map(|part| part.forward(x, cx).reshape([n, len, self.heads, width / self.heads]).transpose(1, 2))
    }

    fn join(&self, y: &Tensor, cx: &Ctx) -> Tensor {
        self.out.forward(&y.transpose(1, 2).flatten(2), cx) // [n, len, width]
    }

    /// Of tokens that follow what is past, to which their keys and values are added: a prompt first, then
    /// single tokens.
    pub fn decode(&self, x: &Tensor, past: &mut Past, cx: &Ctx) -> Tensor {
        let [q, k, v] = self.project(x, cx);
        // A single token sees everything.
        let causal = past.0.is_none();
        let (k, v) = match &past.0 {
            Some((keys, values)) => (Tensor::cat(&[keys, &k], 2), Tensor::cat(&[values, &v], 2)),
            None => (k, v),
        };
        let y = q.scaled_dot_product_attention(&k, &v, None, causal, None);
        past.0 = Some((k, v));
        self.join(&y, cx)
    }
}

impl Forward for Attention {
    fn forward(&self, x: &Tensor, cx: &Ctx) -> Tensor {
        let [q, k, v] = self.project(x, cx);
        self.join(&q.scaled_dot_product_attention(&k, &v, None, self.causal, None), cx)
    }
}

/// Keys and values of the tokens that a layer has seen, `[n, heads, len, width/heads]`.
#[derive(Clone, Default)]
pub struct Past(Option<(Tensor, Tensor)>);

impl Past {
    /// Tokens seen.
    pub fn len(&self) -> usize {
        self.0.as_ref().map_or(0, |(keys, _)| keys.size(2))
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
