//! The models in candle, with the names of bench/hadal-bench/src/models.

use crate::CPU;
use candle_core::{DType, Module, ModuleT, Result, Shape, Tensor, Var};
use candle_nn::kv_cache::KvCache;
use candle_nn::var_builder::SimpleBackend;
use candle_nn::{ops, BatchNorm, Conv2d, Conv2dConfig, Embedding, Init, LayerNorm, Linear, VarBuilder};
use std::sync::{Arc, Mutex};

use crate::serve::fill;

/// Gives every parameter the values that all contenders give it; keeps those that are trained.
#[derive(Clone, Default)]
pub struct Filled {
    trained: Option<Arc<Mutex<Vec<Var>>>>,
}

impl Filled {
    pub fn trained() -> Filled {
        Filled { trained: Some(Arc::default()) }
    }
    pub fn builder(&self) -> VarBuilder<'static> {
        VarBuilder::from_backend(Box::new(self.clone()), DType::F32, CPU)
    }
    pub fn vars(&self) -> Vec<Var> {
        let vars = self.trained.as_ref().and_then(|v| v.lock().ok());
        vars.map(|v| v.clone()).unwrap_or_default()
    }
}

impl SimpleBackend for Filled {
    fn get(&self, s: Shape, name: &str, _: Init, _: DType, _: &candle_core::Device) -> Result<Tensor> {
        let t = Tensor::from_vec(fill::parameter(name, s.dims()), s, &CPU)?;
        let Some(vars) = self.trained.as_ref().filter(|_| !name.contains("running")) else { return Ok(t) };
        let var = Var::from_tensor(&t)?;
        if let Ok(mut vars) = vars.lock() {
            vars.push(var.clone());
        }
        Ok(var.as_tensor().clone())
    }
    fn get_unchecked(&self, name: &str, _: DType, _: &candle_core::Device) -> Result<Tensor> {
        candle_core::bail!("{name} is asked for without a shape")
    }
    fn contains_tensor(&self, _: &str) -> bool {
        true
    }
}

struct ConvNorm {
    conv: Conv2d,
    norm: BatchNorm,
}

impl ConvNorm {
    #[allow(clippy::too_many_arguments)]
    fn new(
        conv: VarBuilder,
        norm: VarBuilder,
        from: usize,
        to: usize,
        kernel: usize,
        stride: usize,
        groups: usize,
    ) -> Result<Self> {
        let config = Conv2dConfig { stride, padding: (kernel - 1) / 2, groups, ..Default::default() };
        let conv = candle_nn::conv2d_no_bias(from, to, kernel, config, conv)?;
        let norm = candle_nn::batch_norm(to, 1e-5, norm)?;
        Ok(ConvNorm { conv, norm })
    }
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        self.norm.forward_t(&self.conv.forward(x)?, false)
    }
}

struct Block {
    first: ConvNorm,
    second: ConvNorm,
    down: Option<ConvNorm>,
}

/// ResNet-18 for inference.
pub struct ResNet18 {
    stem: ConvNorm,
    blocks: Vec<Block>,
    fc: Linear,
}

impl ResNet18 {
    pub fn new(vb: VarBuilder) -> Result<Self> {
        let mut blocks = Vec::new();
        for (i, (from, to, stride)) in [(64, 64, 1), (64, 128, 2), (128, 256, 2), (256, 512, 2)].into_iter().enumerate() {
            for j in 0..2 {
                let vb = vb.pp(format!("layer{}.{j}", i + 1));
                let (from, stride) = if j == 0 { (from, stride) } else { (to, 1) };
                let down = (stride != 1 || from != to)
                    .then(|| ConvNorm::new(vb.pp("downsample.0"), vb.pp("downsample.1"), from, to, 1, stride, 1));
                blocks.push(Block {
                    first: ConvNorm::new(vb.pp("conv1"), vb.pp("bn1"), from, to, 3, stride, 1)?,
                    second: ConvNorm::new(vb.pp("conv2"), vb.pp("bn2"), to, to, 3, 1, 1)?,
                    down: down.transpose()?,
                });
            }
        }
        let stem = ConvNorm::new(vb.pp("conv1"), vb.pp("bn1"), 3, 64, 7, 2, 1)?;
        Ok(ResNet18 { stem, blocks, fc: candle_nn::linear(512, 1000, vb.pp("fc"))? })
    }
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let x = self.stem.forward(x)?.relu()?;
        // Behind a ReLU zeros are as good as no padding.
        let x = x.pad_with_zeros(2, 1, 1)?.pad_with_zeros(3, 1, 1)?;
        let mut x = x.max_pool2d_with_stride(3, 2)?;
        for b in &self.blocks {
            let y = b.second.forward(&b.first.forward(&x)?.relu()?)?;
            let around = match &b.down {
                Some(d) => d.forward(&x)?,
                None => x,
            };
            x = (y + around)?.relu()?;
        }
        self.fc.forward(&x.mean((2, 3))?)
    }
}

/// MobileNetV2 for inference.
pub struct MobileNetV2 {
    layers: Vec<(Vec<ConvNorm>, bool)>,
    fc: Linear,
}

impl MobileNetV2 {
    pub fn new(vb: VarBuilder) -> Result<Self> {
        let stages =
            [(1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1)];
        let part = |vb: VarBuilder, from, to, kernel, stride, groups| {
            ConvNorm::new(vb.pp("0"), vb.pp("1"), from, to, kernel, stride, groups)
        };
        let vf = vb.pp("features");
        let mut layers = vec![(vec![part(vf.pp("0"), 3, 32, 3, 2, 1)?], false)];
        let mut from = 32;
        for (expand, to, blocks, stride) in stages {
            for i in 0..blocks {
                let vc = vf.pp(layers.len()).pp("conv");
                let (wide, stride) = (from * expand, if i == 0 { stride } else { 1 });
                let mut convs = Vec::new();
                if expand != 1 {
                    convs.push(part(vc.pp(0), from, wide, 1, 1, 1)?);
                }
                convs.push(part(vc.pp(convs.len()), wide, wide, 3, stride, wide)?);
                let n = convs.len();
                convs.push(ConvNorm::new(vc.pp(n), vc.pp(n + 1), wide, to, 1, 1, 1)?);
                layers.push((convs, stride == 1 && from == to));
                from = to;
            }
        }
        layers.push((vec![part(vf.pp(layers.len()), from, 1280, 1, 1, 1)?], false));
        Ok(MobileNetV2 { layers, fc: candle_nn::linear(1280, 1000, vb.pp("classifier.1"))? })
    }
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let mut x = x.clone();
        let last = self.layers.len() - 1;
        for (i, (convs, adds)) in self.layers.iter().enumerate() {
            let mut y = x.clone();
            for (j, conv) in convs.iter().enumerate() {
                y = conv.forward(&y)?;
                // The last convolution of a block has no activation.
                if i == 0 || i == last || j + 1 < convs.len() {
                    y = y.clamp(0f32, 6f32)?;
                }
            }
            x = if *adds { (x + y)? } else { y };
        }
        self.fc.forward(&x.mean((2, 3))?)
    }
}

struct Attention {
    query: Linear,
    key: Linear,
    value: Linear,
    out: Linear,
    heads: usize,
}

impl Attention {
    fn new(vb: VarBuilder, width: usize, heads: usize) -> Result<Self> {
        let linear = |name| candle_nn::linear(width, width, vb.pp(name));
        Ok(Attention { query: linear("query")?, key: linear("key")?, value: linear("value")?, out: linear("out")?, heads })
    }
    fn project(&self, x: &Tensor) -> Result<[Tensor; 3]> {
        let (n, len, width) = x.dims3()?;
        let split = |t: Tensor| t.reshape((n, len, self.heads, width / self.heads))?.transpose(1, 2)?.contiguous();
        let (q, k) = (split(self.query.forward(x)?)?, split(self.key.forward(x)?)?);
        Ok([q, k, split(self.value.forward(x)?)?])
    }
    /// Of tokens that follow those in the cache.
    fn decode(&self, x: &Tensor, past: &mut KvCache, mask: Option<&Tensor>) -> Result<Tensor> {
        let (n, len, width) = x.dims3()?;
        let [q, k, v] = self.project(x)?;
        let (k, v) = past.append(&k, &v)?;
        let scores = (q.matmul(&k.t()?)? / ((width / self.heads) as f64).sqrt())?;
        let shares = match mask {
            Some(mask) => ops::softmax_last_dim(&scores.broadcast_add(mask)?)?,
            None => ops::softmax_last_dim(&scores)?,
        };
        self.out.forward(&shares.matmul(&v)?.transpose(1, 2)?.reshape((n, len, width))?)
    }
    fn forward(&self, x: &Tensor, mask: Option<&Tensor>) -> Result<Tensor> {
        let (n, len, width) = x.dims3()?;
        let [q, k, v] = self.project(x)?;
        let scores = (q.matmul(&k.t()?)? / ((width / self.heads) as f64).sqrt())?;
        let shares = match mask {
            // `softmax_last_dim` has no gradient.
            Some(mask) => ops::softmax(&scores.broadcast_add(mask)?, 3)?,
            None => ops::softmax_last_dim(&scores)?,
        };
        self.out.forward(&shares.matmul(&v)?.transpose(1, 2)?.reshape((n, len, width))?)
    }
}

struct FeedForward {
    up: Linear,
    down: Linear,
}

impl FeedForward {
    fn new(vb: VarBuilder, width: usize, hidden: usize) -> Result<Self> {
        let up = candle_nn::linear(width, hidden, vb.pp("up"))?;
        Ok(FeedForward { up, down: candle_nn::linear(hidden, width, vb.pp("down"))? })
    }
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        self.down.forward(&self.up.forward(x)?.gelu_erf()?)
    }
}

/// A norm whose gradient candle knows: its own fused one cuts the graph.
struct TrainedNorm {
    weight: Tensor,
    bias: Tensor,
}

impl TrainedNorm {
    fn new(vb: VarBuilder, width: usize) -> Result<Self> {
        Ok(TrainedNorm { weight: vb.get(width, "weight")?, bias: vb.get(width, "bias")? })
    }
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        candle_nn::ops::layer_norm_slow(x, &self.weight, &self.bias, 1e-5)
    }
    fn evaluate(&self, x: &Tensor) -> Result<Tensor> {
        candle_nn::ops::layer_norm(x, &self.weight, &self.bias, 1e-5)
    }
}

/// GPT.
pub struct Gpt {
    tokens: Embedding,
    positions: Tensor,
    mask: Tensor,
    blocks: Vec<(TrainedNorm, Attention, TrainedNorm, FeedForward)>,
    norm: TrainedNorm,
    head: Linear,
}

impl Gpt {
    pub fn new(vb: VarBuilder, vocab: usize, context: usize, layers: usize, width: usize, heads: usize) -> Result<Self> {
        let block = |i: usize| {
            let vb = vb.pp("blocks").pp(i);
            Result::Ok((
                TrainedNorm::new(vb.pp("norm1"), width)?,
                Attention::new(vb.pp("attention"), width, heads)?,
                TrainedNorm::new(vb.pp("norm2"), width)?,
                FeedForward::new(vb.pp("network"), width, 4 * width)?,
            ))
        };
        let mask: Vec<f32> = (0..context * context)
            .map(|i| if i % context > i / context { f32::NEG_INFINITY } else { 0.0 })
            .collect();
        Ok(Gpt {
            tokens: candle_nn::embedding(vocab, width, vb.pp("tokens"))?,
            positions: vb.pp("positions").get((context, width), "weight")?,
            mask: Tensor::from_vec(mask, (1, 1, context, context), &CPU)?,
            blocks: (0..layers).map(block).collect::<Result<_>>()?,
            norm: TrainedNorm::new(vb.pp("norm"), width)?,
            head: candle_nn::linear_no_bias(width, vocab, vb.pp("head"))?,
        })
    }
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let mut x = self.tokens.forward(x)?.broadcast_add(&self.positions)?;
        for (norm1, attention, norm2, network) in &self.blocks {
            x = (&x + attention.forward(&norm1.forward(&x)?, Some(&self.mask))?)?;
            x = (&x + network.forward(&norm2.forward(&x)?)?)?;
        }
        self.head.forward(&self.norm.forward(&x)?)
    }
    /// A cache for so many tokens.
    pub fn nothing_past(&self, most: usize) -> Vec<KvCache> {
        self.blocks.iter().map(|_| KvCache::new(2, most)).collect()
    }
    /// Logits of the token after `x`, which follows what is past.
    pub fn decode(&self, x: &Tensor, past: &mut [KvCache]) -> Result<Tensor> {
        let (first, len) = (past[0].k_cache().current_seq_len(), x.dim(1)?);
        let mask = self.mask.narrow(2, first, len)?.narrow(3, 0, first + len)?;
        let mask = (len > 1).then_some(&mask);
        let mut x = self.tokens.forward(x)?.broadcast_add(&self.positions.narrow(0, first, len)?)?;
        for ((norm1, attention, norm2, network), past) in self.blocks.iter().zip(past) {
            x = (&x + attention.decode(&norm1.evaluate(&x)?, past, mask)?)?;
            x = (&x + network.forward(&norm2.evaluate(&x)?)?)?;
        }
        let last = x.narrow(1, len - 1, 1)?.squeeze(1)?.contiguous()?;
        self.head.forward(&self.norm.evaluate(&last)?)
    }
}

/// BERT's encoder, for inference.
pub struct Bert {
    tokens: Embedding,
    positions: Embedding,
    segments: Embedding,
    norm: LayerNorm,
    layers: Vec<(Attention, LayerNorm, FeedForward, LayerNorm)>,
}

impl Bert {
    pub fn minilm(vb: VarBuilder) -> Result<Self> {
        let norm = |vb: VarBuilder| candle_nn::layer_norm(384, 1e-12, vb);
        let layer = |i: usize| {
            let vb = vb.pp("layers").pp(i);
            Result::Ok((
                Attention::new(vb.pp("attention"), 384, 12)?,
                norm(vb.pp("norm1"))?,
                FeedForward::new(vb.pp("network"), 384, 1536)?,
                norm(vb.pp("norm2"))?,
            ))
        };
        Ok(Bert {
            tokens: candle_nn::embedding(30_522, 384, vb.pp("tokens"))?,
            positions: candle_nn::embedding(512, 384, vb.pp("positions"))?,
            segments: candle_nn::embedding(2, 384, vb.pp("segments"))?,
            norm: norm(vb.pp("norm"))?,
            layers: (0..6).map(layer).collect::<Result<_>>()?,
        })
    }
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let places = Tensor::arange(0u32, x.dim(1)? as u32, &CPU)?;
        let segment = Tensor::zeros(1, DType::U32, &CPU)?;
        let x = self.tokens.forward(x)?.broadcast_add(&self.positions.forward(&places)?)?;
        let mut x = self.norm.forward(&x.broadcast_add(&self.segments.forward(&segment)?)?)?;
        for (attention, norm1, network, norm2) in &self.layers {
            x = norm1.forward(&(&x + attention.forward(&x, None)?)?)?;
            x = norm2.forward(&(&x + network.forward(&x)?)?)?;
        }
        Ok(x)
    }
}
