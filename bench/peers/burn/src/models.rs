//! The models in burn, with the weights of bench/hadal-bench/src/models.

use crate::serve::fill;
use burn::module::{Module, Param, RunningState};
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::nn::{BatchNorm, BatchNormConfig, Embedding, EmbeddingConfig, Gru, GruConfig, LayerNorm, LayerNormConfig};
use burn::nn::{Linear, LinearConfig, Lstm, LstmConfig, PaddingConfig2d};
use burn::tensor::ops::{AttentionModuleOptions, AvgPoolOptions, MaxPoolOptions};
use burn::tensor::{activation, module, Device, Int, Tensor, TensorData};

pub fn weight<const D: usize>(name: &str, shape: [usize; D], d: &Device) -> Tensor<D> {
    Tensor::from_data(TensorData::new(fill::parameter(name, &shape), shape), d)
}

fn param<const D: usize>(name: &str, shape: [usize; D], d: &Device) -> Param<Tensor<D>> {
    Param::from_tensor(weight(name, shape, d))
}

/// burn keeps `[in, out]`.
pub fn linear(name: &str, from: usize, to: usize, bias: bool, d: &Device) -> Linear {
    let mut l = LinearConfig::new(from, to).with_bias(bias).init(d);
    l.weight = Param::from_tensor(laid_out(weight(&format!("{name}.weight"), [to, from], d)));
    l.bias = bias.then(|| param(&format!("{name}.bias"), [to], d));
    l
}

/// Transposed in memory, not by strides.
fn laid_out(t: Tensor<2>) -> Tensor<2> {
    let device = t.device();
    Tensor::from_data(t.transpose().into_data(), &device)
}

#[allow(clippy::too_many_arguments)]
pub fn conv(
    name: &str,
    [from, to]: [usize; 2],
    kernel: usize,
    stride: usize,
    padding: usize,
    groups: usize,
    bias: bool,
    d: &Device,
) -> Conv2d {
    let p = PaddingConfig2d::Explicit(padding, padding, padding, padding);
    let config = Conv2dConfig::new([from, to], [kernel; 2]).with_stride([stride; 2]).with_padding(p);
    let mut c = config.with_groups(groups).with_bias(bias).init(d);
    c.weight = param(&format!("{name}.weight"), [to, from / groups, kernel, kernel], d);
    c.bias = bias.then(|| param(&format!("{name}.bias"), [to], d));
    c
}

pub fn batch_norm(name: &str, n: usize, d: &Device) -> BatchNorm {
    let dot = if name.is_empty() { String::new() } else { format!("{name}.") };
    let mut norm = BatchNormConfig::new(n).init(d);
    norm.gamma = param(&format!("{dot}weight"), [n], d);
    norm.beta = param(&format!("{dot}bias"), [n], d);
    norm.running_mean = RunningState::new(weight(&format!("{dot}running_mean"), [n], d));
    norm.running_var = RunningState::new(weight(&format!("{dot}running_var"), [n], d));
    norm
}

fn layer_norm(name: &str, n: usize, epsilon: f64, d: &Device) -> LayerNorm {
    let mut norm = LayerNormConfig::new(n).with_epsilon(epsilon).init(d);
    norm.gamma = param(&format!("{name}.weight"), [n], d);
    norm.beta = Some(param(&format!("{name}.bias"), [n], d));
    norm
}

fn embedding(name: &str, rows: usize, width: usize, d: &Device) -> Embedding {
    let mut e = EmbeddingConfig::new(rows, width).init(d);
    e.weight = param(&format!("{name}.weight"), [rows, width], d);
    e
}

#[derive(Module, Debug)]
pub struct Mlp {
    hidden: Linear,
    out: Linear,
}

impl Mlp {
    pub fn new([inputs, hidden, out]: [usize; 3], d: &Device) -> Self {
        Mlp { hidden: linear("hidden", inputs, hidden, true, d), out: linear("out", hidden, out, true, d) }
    }
    pub fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        self.out.forward(activation::relu(self.hidden.forward(x)))
    }
}

#[derive(Module, Debug)]
pub struct LeNet {
    conv1: Conv2d,
    conv2: Conv2d,
    fc1: Linear,
    fc2: Linear,
    fc3: Linear,
}

impl LeNet {
    pub fn new(d: &Device) -> Self {
        Self {
            conv1: conv("conv1", [1, 6], 5, 1, 2, 1, true, d),
            conv2: conv("conv2", [6, 16], 5, 1, 0, 1, true, d),
            fc1: linear("fc1", 400, 120, true, d),
            fc2: linear("fc2", 120, 84, true, d),
            fc3: linear("fc3", 84, 10, true, d),
        }
    }
    pub fn forward(&self, x: Tensor<4>) -> Tensor<2> {
        let pool = |x| module::avg_pool2d(x, AvgPoolOptions::new([2, 2]));
        let x = pool(activation::sigmoid(self.conv1.forward(x)));
        let x = pool(activation::sigmoid(self.conv2.forward(x)));
        let x = activation::sigmoid(self.fc1.forward(x.flatten(1, 3)));
        self.fc3.forward(activation::sigmoid(self.fc2.forward(x)))
    }
}

#[derive(Module, Debug)]
struct ConvNorm {
    conv: Conv2d,
    norm: BatchNorm,
}

impl ConvNorm {
    #[allow(clippy::too_many_arguments)]
    fn new(
        conv_name: &str,
        norm_name: &str,
        from: usize,
        to: usize,
        kernel: usize,
        stride: usize,
        groups: usize,
        d: &Device,
    ) -> Self {
        let conv = conv(conv_name, [from, to], kernel, stride, (kernel - 1) / 2, groups, false, d);
        ConvNorm { conv, norm: batch_norm(norm_name, to, d) }
    }
    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        self.norm.forward(self.conv.forward(x))
    }
}

#[derive(Module, Debug)]
struct Block {
    first: ConvNorm,
    second: ConvNorm,
    down: Option<ConvNorm>,
}

#[derive(Module, Debug)]
pub struct ResNet18 {
    stem: ConvNorm,
    blocks: Vec<Block>,
    fc: Linear,
}

impl ResNet18 {
    pub fn new(classes: usize, d: &Device) -> Self {
        let mut blocks = Vec::new();
        for (i, (from, to, stride)) in [(64, 64, 1), (64, 128, 2), (128, 256, 2), (256, 512, 2)].into_iter().enumerate() {
            for j in 0..2 {
                let name = |part: &str| format!("layer{}.{j}.{part}", i + 1);
                let (from, stride) = if j == 0 { (from, stride) } else { (to, 1) };
                blocks.push(Block {
                    first: ConvNorm::new(&name("conv1"), &name("bn1"), from, to, 3, stride, 1, d),
                    second: ConvNorm::new(&name("conv2"), &name("bn2"), to, to, 3, 1, 1, d),
                    down: (stride != 1 || from != to).then(|| {
                        ConvNorm::new(&name("downsample.0"), &name("downsample.1"), from, to, 1, stride, 1, d)
                    }),
                });
            }
        }
        let stem = ConvNorm::new("conv1", "bn1", 3, 64, 7, 2, 1, d);
        ResNet18 { stem, blocks, fc: linear("fc", 512, classes, true, d) }
    }
    pub fn forward(&self, x: Tensor<4>) -> Tensor<2> {
        let mut x = module::max_pool2d(activation::relu(self.stem.forward(x)), pool());
        for b in &self.blocks {
            let y = b.second.forward(activation::relu(b.first.forward(x.clone())));
            let around = match &b.down {
                Some(down) => down.forward(x),
                None => x,
            };
            x = activation::relu(y + around);
        }
        self.fc.forward(averages(x))
    }
}

/// 3x3, stride 2, padding 1.
pub fn pool() -> MaxPoolOptions<2> {
    MaxPoolOptions { stride: [2, 2], padding: [(1, 1); 2], ..MaxPoolOptions::new([3, 3]) }
}

fn averages(x: Tensor<4>) -> Tensor<2> {
    x.flatten::<3>(2, 3).mean_dim(2).squeeze_dim(2)
}

#[derive(Module, Debug)]
struct Inverted {
    convs: Vec<ConvNorm>,
    adds: bool,
}

#[derive(Module, Debug)]
pub struct MobileNetV2 {
    layers: Vec<Inverted>,
    fc: Linear,
}

impl MobileNetV2 {
    pub fn new(d: &Device) -> Self {
        let stages =
            [(1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1)];
        let part = |name: String, from, to, kernel, stride, groups| {
            ConvNorm::new(&format!("{name}.0"), &format!("{name}.1"), from, to, kernel, stride, groups, d)
        };
        let mut layers = vec![Inverted { convs: vec![part("features.0".into(), 3, 32, 3, 2, 1)], adds: false }];
        let mut from = 32;
        for (expand, to, blocks, stride) in stages {
            for i in 0..blocks {
                let name = format!("features.{}.conv", layers.len());
                let (wide, stride) = (from * expand, if i == 0 { stride } else { 1 });
                let mut convs = Vec::new();
                if expand != 1 {
                    convs.push(part(format!("{name}.0"), from, wide, 1, 1, 1));
                }
                convs.push(part(format!("{name}.{}", convs.len()), wide, wide, 3, stride, wide));
                let n = convs.len();
                let (last, norm) = (format!("{name}.{n}"), format!("{name}.{}", n + 1));
                convs.push(ConvNorm::new(&last, &norm, wide, to, 1, 1, 1, d));
                layers.push(Inverted { convs, adds: stride == 1 && from == to });
                from = to;
            }
        }
        let last = part(format!("features.{}", layers.len()), from, 1280, 1, 1, 1);
        layers.push(Inverted { convs: vec![last], adds: false });
        MobileNetV2 { layers, fc: linear("classifier.1", 1280, 1000, true, d) }
    }
    pub fn forward(&self, mut x: Tensor<4>) -> Tensor<2> {
        let last = self.layers.len() - 1;
        for (i, layer) in self.layers.iter().enumerate() {
            let mut y = x.clone();
            for (j, conv) in layer.convs.iter().enumerate() {
                y = conv.forward(y);
                // The last convolution of a block has no activation.
                if i == 0 || i == last || j + 1 < layer.convs.len() {
                    y = y.clamp(0.0, 6.0);
                }
            }
            x = if layer.adds { x + y } else { y };
        }
        self.fc.forward(averages(x))
    }
}

/// Keys and values of the tokens that a layer has seen.
#[derive(Default)]
pub struct Past(Option<(Tensor<4>, Tensor<4>)>);

#[derive(Module, Debug)]
struct Attention {
    query: Linear,
    key: Linear,
    value: Linear,
    out: Linear,
    heads: usize,
    causal: bool,
}

/// burn's own attention.
pub fn attend(q: Tensor<4>, k: Tensor<4>, v: Tensor<4>, is_causal: bool) -> Tensor<4> {
    let options = AttentionModuleOptions { scale: None, softcap: None, is_causal };
    module::attention(q, k, v, None, None, options)
}

impl Attention {
    fn new(name: &str, width: usize, heads: usize, causal: bool, d: &Device) -> Self {
        let part = |part: &str| linear(&format!("{name}.{part}"), width, width, true, d);
        Attention { query: part("query"), key: part("key"), value: part("value"), out: part("out"), heads, causal }
    }
    fn forward(&self, x: Tensor<3>, past: Option<&mut Past>) -> Tensor<3> {
        let [n, len, width] = x.dims();
        let split = |t: Tensor<3>| t.reshape([n, len, self.heads, width / self.heads]).swap_dims(1, 2);
        let (q, k) = (split(self.query.forward(x.clone())), split(self.key.forward(x.clone())));
        let (mut k, mut v) = (k, split(self.value.forward(x)));
        if let Some(past) = past {
            if let Some((keys, values)) = past.0.take() {
                (k, v) = (Tensor::cat(vec![keys, k], 2), Tensor::cat(vec![values, v], 2));
            }
            past.0 = Some((k.clone(), v.clone()));
        }
        // A single token sees everything.
        let y = attend(q, k, v, self.causal && len > 1);
        self.out.forward(y.swap_dims(1, 2).reshape([n, len, width]))
    }
}

#[derive(Module, Debug)]
struct Layer {
    attention: Attention,
    norm1: LayerNorm,
    norm2: LayerNorm,
    up: Linear,
    down: Linear,
}

impl Layer {
    fn new(name: &str, width: usize, heads: usize, hidden: usize, causal: bool, epsilon: f64, d: &Device) -> Self {
        Layer {
            attention: Attention::new(&format!("{name}.attention"), width, heads, causal, d),
            norm1: layer_norm(&format!("{name}.norm1"), width, epsilon, d),
            norm2: layer_norm(&format!("{name}.norm2"), width, epsilon, d),
            up: linear(&format!("{name}.network.up"), width, hidden, true, d),
            down: linear(&format!("{name}.network.down"), hidden, width, true, d),
        }
    }
    fn network(&self, x: Tensor<3>) -> Tensor<3> {
        self.down.forward(activation::gelu(self.up.forward(x)))
    }
    fn norm_first(&self, x: Tensor<3>, past: Option<&mut Past>) -> Tensor<3> {
        let x = x.clone() + self.attention.forward(self.norm1.forward(x), past);
        x.clone() + self.network(self.norm2.forward(x))
    }
    fn norm_last(&self, x: Tensor<3>) -> Tensor<3> {
        let x = self.norm1.forward(x.clone() + self.attention.forward(x, None));
        self.norm2.forward(x.clone() + self.network(x))
    }
}

fn places(n: usize, d: &Device) -> Tensor<2, Int> {
    Tensor::arange(0..n as i64, d).reshape([1, n])
}

#[derive(Module, Debug)]
pub struct Gpt {
    tokens: Embedding,
    positions: Embedding,
    blocks: Vec<Layer>,
    norm: LayerNorm,
    head: Linear,
}

impl Gpt {
    pub fn new(vocab: usize, context: usize, layers: usize, width: usize, heads: usize, d: &Device) -> Self {
        let block = |i| Layer::new(&format!("blocks.{i}"), width, heads, 4 * width, true, 1e-5, d);
        Gpt {
            tokens: embedding("tokens", vocab, width, d),
            positions: embedding("positions", context, width, d),
            blocks: (0..layers).map(block).collect(),
            norm: layer_norm("norm", width, 1e-5, d),
            head: linear("head", width, vocab, false, d),
        }
    }
    pub fn forward(&self, x: Tensor<2, Int>) -> Tensor<3> {
        let here = self.positions.forward(places(x.dims()[1], &x.device()));
        let x = self.blocks.iter().fold(self.tokens.forward(x) + here, |x, b| b.norm_first(x, None));
        self.head.forward(self.norm.forward(x))
    }
    pub fn nothing_past(&self) -> Vec<Past> {
        self.blocks.iter().map(|_| Past::default()).collect()
    }
    /// Logits of the token after `x`, which follows what is past.
    pub fn decode(&self, x: Tensor<2, Int>, past: &mut [Past]) -> Tensor<2> {
        let first = past[0].0.as_ref().map_or(0, |(keys, _)| keys.dims()[2]);
        let [n, len] = x.dims();
        let places = Tensor::arange(first as i64..(first + len) as i64, &x.device()).reshape([1, len]);
        let x = self.tokens.forward(x) + self.positions.forward(places);
        let x = self.blocks.iter().zip(past).fold(x, |x, (b, past)| b.norm_first(x, Some(past)));
        let width = x.dims()[2];
        let last = x.narrow(1, len - 1, 1).reshape([n, width]);
        self.head.forward(self.norm.forward(last))
    }
}

#[derive(Module, Debug)]
pub struct Bert {
    tokens: Embedding,
    positions: Embedding,
    segments: Embedding,
    norm: LayerNorm,
    layers: Vec<Layer>,
}

impl Bert {
    pub fn minilm(d: &Device) -> Self {
        let layer = |i| Layer::new(&format!("layers.{i}"), 384, 12, 1536, false, 1e-12, d);
        Bert {
            tokens: embedding("tokens", 30_522, 384, d),
            positions: embedding("positions", 512, 384, d),
            segments: embedding("segments", 2, 384, d),
            norm: layer_norm("norm", 384, 1e-12, d),
            layers: (0..6).map(layer).collect(),
        }
    }
    pub fn forward(&self, x: Tensor<2, Int>) -> Tensor<3> {
        let d = x.device();
        let here = self.positions.forward(places(x.dims()[1], &d));
        let x = self.tokens.forward(x) + here + self.segments.forward(Tensor::zeros([1, 1], &d));
        self.layers.iter().fold(self.norm.forward(x), |x, l| l.norm_last(x))
    }
}

/// Gate `i` of `of` of a recurrent layer whose weights all contenders keep stacked.
fn gate(input: &mut Linear, hidden: &mut Linear, i: usize, of: usize, d: &Device) {
    let part = |name: &str| weight(name, [of * 256, 256], d).slice([i * 256..(i + 1) * 256, 0..256]);
    let bias = |name: &str| weight(name, [of * 256], d).slice([i * 256..(i + 1) * 256]);
    input.weight = Param::from_tensor(laid_out(part("weight_ih_l0")));
    input.bias = Some(Param::from_tensor(bias("bias_ih_l0")));
    hidden.weight = Param::from_tensor(laid_out(part("weight_hh_l0")));
    hidden.bias = Some(Param::from_tensor(bias("bias_hh_l0")));
}

pub fn lstm(d: &Device) -> Lstm {
    let mut l = LstmConfig::new(256, 256, true).with_batch_first(true).init(d);
    gate(&mut l.input_gate.input_transform, &mut l.input_gate.hidden_transform, 0, 4, d);
    if let Some(forget) = &mut l.forget_gate {
        gate(&mut forget.input_transform, &mut forget.hidden_transform, 1, 4, d);
    }
    gate(&mut l.cell_gate.input_transform, &mut l.cell_gate.hidden_transform, 2, 4, d);
    gate(&mut l.output_gate.input_transform, &mut l.output_gate.hidden_transform, 3, 4, d);
    l
}

pub fn gru(d: &Device) -> Gru {
    let mut g = GruConfig::new(256, 256, true).init(d);
    gate(&mut g.reset_gate.input_transform, &mut g.reset_gate.hidden_transform, 0, 3, d);
    gate(&mut g.update_gate.input_transform, &mut g.update_gate.hidden_transform, 1, 3, d);
    gate(&mut g.new_gate.input_transform, &mut g.new_gate.hidden_transform, 2, 3, d);
    g
}
