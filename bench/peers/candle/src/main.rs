//! candle as a contender of the benchmark.

use candle_core::{DType, Device, Module, ModuleT, Result, Tensor, Var};
use candle_nn::rnn::{GRUConfig, LSTMConfig, RNN};
use candle_nn::{loss, ops, AdamW, Optimizer, ParamsAdamW, SGD};

mod models;
#[path = "../../serve.rs"]
mod serve;
use models::{Bert, Filled, Gpt, MobileNetV2, ResNet18};
use serve::{fill, Numbers, Outputs, Timed, WARM_UPS};

pub const CPU: Device = Device::Cpu;

impl Numbers for Tensor {
    fn numbers(&self) -> std::result::Result<Option<Vec<f32>>, String> {
        let flat = self.to_dtype(DType::F32).and_then(|t| t.flatten_all()?.to_vec1());
        flat.map(Some).map_err(|e| e.to_string())
    }
}

fn data(name: &str, shape: &[usize]) -> Result<Tensor> {
    Tensor::from_vec(fill::values(name, shape.iter().product(), fill::UNIT), shape, &CPU)
}

fn weight(name: &str, shape: &[usize]) -> Result<Tensor> {
    Tensor::from_vec(fill::parameter(name, shape), shape, &CPU)
}

fn index(name: &str, shape: &[usize], n: u32) -> Result<Tensor> {
    let all: Vec<u32> = fill::indices(name, shape.iter().product(), n).into_iter().map(|i| i as u32).collect();
    Tensor::from_vec(all, shape, &CPU)
}

fn outputs(tensors: Vec<Tensor>) -> Outputs {
    tensors.into_iter().map(|t| Box::new(t) as Box<dyn Numbers>).collect()
}

fn timed(mut f: impl FnMut() -> Result<Vec<Tensor>> + 'static) -> Result<Timed> {
    Ok(Box::new(move || f().map(outputs).map_err(|e| e.to_string())))
}

fn forward(f: impl Fn() -> Result<Tensor> + 'static) -> Result<Timed> {
    timed(move || Ok(vec![f()?]))
}

/// Value and gradients. candle's backward pass starts from ones: the runs that are compared multiply with the cotangent
/// first, those that are timed do without.
fn both(vars: Vec<Var>, g: Tensor, f: impl Fn(&[Var]) -> Result<Tensor> + 'static) -> Result<Timed> {
    let mut runs = 0;
    timed(move || {
        runs += 1;
        gradients(&vars, &g, runs, &f)
    })
}

fn gradients(vars: &[Var], g: &Tensor, runs: usize, f: impl Fn(&[Var]) -> Result<Tensor>) -> Result<Vec<Tensor>> {
    let y = f(vars)?;
    let grads = if runs <= WARM_UPS { (&y * g)?.backward()? } else { y.backward()? };
    let missing = || candle_core::Error::Msg("no gradient".into());
    let grads: Result<Vec<Tensor>> = vars.iter().map(|v| grads.get(v).cloned().ok_or_else(missing)).collect();
    Ok(std::iter::once(y).chain(grads?).collect())
}

fn var(t: Tensor) -> Result<Var> {
    Var::from_tensor(&t)
}

fn matmul(a: &[usize], b: &[usize]) -> Result<Timed> {
    let (a, b) = (data("a", a)?, data("b", b)?);
    forward(move || a.matmul(&b))
}

fn layouts(left: bool, right: bool) -> Result<Timed> {
    let (a, b) = (data("a", &[512, 512])?, data("b", &[512, 512])?);
    let turn = |t: Tensor, yes: bool| if yes { t.t() } else { Ok(t) };
    let (a, b) = (turn(a, left)?, turn(b, right)?);
    forward(move || a.matmul(&b))
}

/// Batch, channels in and out, image size, kernel, padding, stride, dilation, groups.
struct Conv(usize, usize, usize, usize, usize, usize, usize, usize, usize);

impl Conv {
    fn tensors(&self) -> Result<(Tensor, Tensor)> {
        let Conv(n, from, to, size, kernel, .., groups) = *self;
        Ok((data("x", &[n, from, size, size])?, weight("conv.weight", &[to, from / groups, kernel, kernel])?))
    }
    fn apply(&self, x: &Tensor, w: &Tensor) -> Result<Tensor> {
        let Conv(.., padding, stride, dilation, groups) = *self;
        x.conv2d(w, padding, stride, dilation, groups)
    }
    fn forward(self) -> Result<Timed> {
        let (x, w) = self.tensors()?;
        forward(move || self.apply(&x, &w))
    }
    fn both(self) -> Result<Timed> {
        let (x, w) = self.tensors()?;
        let g = data("g", self.apply(&x, &w)?.dims())?;
        both(vec![var(x)?, var(w)?], g, move |v| self.apply(&v[0], &v[1]))
    }
}

/// One SGD step on the same batch.
fn step(filled: Filled, y: Tensor, logits: impl Fn() -> Result<Tensor> + 'static) -> Result<Timed> {
    let mut sgd = SGD::new(filled.vars(), 0.01)?;
    timed(move || {
        let loss = loss::cross_entropy(&logits()?, &y)?;
        sgd.backward_step(&loss)?;
        Ok(vec![loss])
    })
}

fn mlp(sizes: [usize; 3], batch: usize) -> Result<Timed> {
    let filled = Filled::trained();
    let vb = filled.builder();
    let hidden = candle_nn::linear(sizes[0], sizes[1], vb.pp("hidden"))?;
    let out = candle_nn::linear(sizes[1], sizes[2], vb.pp("out"))?;
    let (x, y) = (data("x", &[batch, sizes[0]])?, index("y", &[batch], sizes[2] as u32)?);
    step(filled, y, move || out.forward(&hidden.forward(&x)?.relu()?))
}

fn lenet() -> Result<Timed> {
    let filled = Filled::trained();
    let vb = filled.builder();
    let padded = candle_nn::Conv2dConfig { padding: 2, ..Default::default() };
    let conv1 = candle_nn::conv2d(1, 6, 5, padded, vb.pp("conv1"))?;
    let conv2 = candle_nn::conv2d(6, 16, 5, Default::default(), vb.pp("conv2"))?;
    let fc1 = candle_nn::linear(400, 120, vb.pp("fc1"))?;
    let fc2 = candle_nn::linear(120, 84, vb.pp("fc2"))?;
    let fc3 = candle_nn::linear(84, 10, vb.pp("fc3"))?;
    let (x, y) = (data("x", &[256, 1, 28, 28])?, index("y", &[256], 10)?);
    step(filled, y, move || {
        let h = ops::sigmoid(&conv1.forward(&x)?)?.avg_pool2d(2)?;
        let h = ops::sigmoid(&conv2.forward(&h)?)?.avg_pool2d(2)?;
        let h = ops::sigmoid(&fc1.forward(&h.flatten_from(1)?)?)?;
        fc3.forward(&ops::sigmoid(&fc2.forward(&h)?)?)
    })
}

fn gpt() -> Result<Timed> {
    let filled = Filled::trained();
    let model = Gpt::new(filled.builder(), 65, 256, 4, 256, 4)?;
    let (x, y) = (index("x", &[8, 256], 65)?, index("y", &[2048], 65)?);
    let params = ParamsAdamW { lr: 1e-4, weight_decay: 0.01, ..Default::default() };
    let mut optimizer = AdamW::new(filled.vars(), params)?;
    timed(move || {
        let loss = loss::cross_entropy(&model.forward(&x)?.reshape((2048, 65))?, &y)?;
        optimizer.backward_step(&loss)?;
        Ok(vec![loss])
    })
}

/// 64 tokens after a prompt of 16, GPT-2 small.
fn gpt2_decode() -> Result<Timed> {
    let (start, tokens) = (16, 64);
    let model = Gpt::new(Filled::default().builder(), 50_257, 1024, 12, 768, 12)?;
    let prompt = index("prompt", &[1, start], 50_257)?;
    forward(move || {
        let mut past = model.nothing_past(start + tokens);
        let first = model.decode(&prompt, &mut past)?;
        (0..tokens).try_fold(first, |logits, _| model.decode(&logits.argmax_keepdim(1)?, &mut past))
    })
}

/// Output of which the first two dimensions are exchanged when it is looked at.
struct Turned(Tensor);

impl Numbers for Turned {
    fn numbers(&self) -> std::result::Result<Option<Vec<f32>>, String> {
        self.0.transpose(0, 1).map_err(|e| e.to_string())?.numbers()
    }
}

/// States and gradients of a sequence; candle wants the batch first.
fn sequence<R: RNN + 'static>(filled: Filled, rnn: R) -> Result<Timed> {
    let turned = |name| data(name, &[35, 32, 256])?.transpose(0, 1)?.contiguous();
    let (x, g) = (var(turned("x")?)?, turned("g")?);
    let vars: Vec<Var> = std::iter::once(x).chain(filled.vars()).collect();
    let mut runs = 0;
    Ok(Box::new(move || {
        runs += 1;
        let all = gradients(&vars, &g, runs, |v| rnn.states_to_tensor(&rnn.seq(&v[0])?)?.reshape((32, 35, 256))).map_err(|e| e.to_string())?;
        let sequences = |(i, t): (usize, Tensor)| match i {
            0 | 1 => Box::new(Turned(t)) as Box<dyn Numbers>,
            _ => Box::new(t) as Box<dyn Numbers>,
        };
        Ok(all.into_iter().enumerate().map(sequences).collect())
    }))
}

fn adamw() -> Result<Timed> {
    let vars = (0..100).map(|i| var(data(&format!("w{i}"), &[250_000])?)).collect::<Result<Vec<_>>>()?;
    // A store can only be made by a backward pass; its gradients are then put in by hand.
    let mut grads = var(data("x", &[1])?)?.as_tensor().sqr()?.backward()?;
    for (i, v) in vars.iter().enumerate() {
        grads.insert(v.as_tensor(), data(&format!("g{i}"), &[250_000])?);
    }
    let shown = [vars[0].clone(), vars[99].clone()];
    let params = ParamsAdamW { lr: 1e-3, beta1: 0.9, beta2: 0.999, eps: 1e-8, weight_decay: 0.01 };
    let mut opt = AdamW::new(vars, params)?;
    timed(move || {
        opt.step(&grads)?;
        Ok(shown.iter().map(|v| v.as_tensor().clone()).collect())
    })
}

const WORKLOADS: &[&str] = &[
    "matmul_16", "matmul_32", "matmul_64", "matmul_128", "matmul_256", "matmul_512", "matmul_1024",
    "matmul_32x4096x1024", "matmul_tall_8192x256x64", "matmul_flat_64x256x8192", "matmul_batched_64x128",
    "matmul_nt_512", "matmul_tn_512", "matmul_tt_512", "linear_gelu_1024x384x1536", "sdpa_fwd", "chain",
    "softmax_4096x1024", "softmax_fwdbwd", "layernorm_4096x1024", "sum0_4096", "sum1_4096", "transpose_4096",
    "bn_add_relu", "embedding_fwdbwd", "adamw", "sort_1024x1024", "conv3x3_fwd", "conv3x3_b1", "conv3x3_512x7_b1",
    "conv3x3_256x14", "conv3x3_fwdbwd", "conv1x1", "conv1x1_fwdbwd", "conv7x7_stride2", "conv3x3_grouped",
    "conv3x3_dilated", "conv4x4_transposed", "depthwise", "avg_pool2x2", "resnet18_b1", "resnet18_b8",
    "mobilenetv2_b1", "mobilenetv2_b8", "minilm_b1", "minilm_b8", "gpt2_decode", "mlp1000_step", "mlp_step", "lenet_step", "gpt_step",
    "lstm_fwdbwd", "gru_fwdbwd", "small_graph",
];

fn build(workload: &str) -> Result<Timed> {
    let square = |n: &str| n.parse::<usize>().ok();
    if let Some(n) = workload.strip_prefix("matmul_").and_then(square) {
        return matmul(&[n, n], &[n, n]);
    }
    let images = |n: usize| data("x", &[n, 3, 224, 224]);
    let n = if workload.ends_with('8') { 8 } else { 1 };
    match workload {
        "matmul_32x4096x1024" => matmul(&[32, 4096], &[4096, 1024]),
        "matmul_tall_8192x256x64" => matmul(&[8192, 256], &[256, 64]),
        "matmul_flat_64x256x8192" => matmul(&[64, 256], &[256, 8192]),
        "matmul_batched_64x128" => matmul(&[64, 128, 128], &[64, 128, 128]),
        "matmul_nt_512" => layouts(false, true),
        "matmul_tn_512" => layouts(true, false),
        "matmul_tt_512" => layouts(true, true),
        "linear_gelu_1024x384x1536" => {
            let x = data("x", &[1024, 384])?;
            let fc = candle_nn::linear(384, 1536, Filled::default().builder().pp("fc"))?;
            forward(move || fc.forward(&x)?.gelu_erf())
        }
        "sdpa_fwd" => {
            // Tokens before heads, as this kernel wants them.
            let turned = |name| data(name, &[8, 8, 256, 64])?.transpose(1, 2)?.contiguous();
            let (q, k, v) = (turned("q")?, turned("k")?, turned("v")?);
            let mask = candle_nn::attention::AttnMask::causal;
            forward(move || candle_nn::attention::flash_attn::<f32>(&q, &k, &v, 0.125, mask(), None, None))
        }
        "chain" => {
            let x = data("x", &[1 << 24])?;
            forward(move || x.affine(1.5, 0.25)?.gelu_erf()? + &x)
        }
        "softmax_4096x1024" => {
            let x = data("x", &[4096, 1024])?;
            forward(move || ops::softmax_last_dim(&x))
        }
        // `softmax_last_dim` has no gradient.
        "softmax_fwdbwd" => {
            both(vec![var(data("x", &[4096, 1024])?)?], data("g", &[4096, 1024])?, |v| ops::softmax(&v[0], 1))
        }
        "layernorm_4096x1024" => {
            let (x, w, b) =
                (data("x", &[4096, 1024])?, weight("norm.weight", &[1024])?, weight("norm.bias", &[1024])?);
            forward(move || ops::layer_norm(&x, &w, &b, 1e-5))
        }
        "sum0_4096" | "sum1_4096" => {
            let x = data("x", &[4096, 4096])?;
            let dim = usize::from(workload == "sum1_4096");
            forward(move || x.sum(dim))
        }
        "transpose_4096" => {
            let x = data("x", &[4096, 4096])?;
            forward(move || x.t()?.contiguous())
        }
        "bn_add_relu" => {
            let (x, r) = (data("x", &[32, 64, 56, 56])?, data("r", &[32, 64, 56, 56])?);
            let norm = candle_nn::batch_norm(64, 1e-5, Filled::default().builder())?;
            forward(move || (norm.forward_t(&x, false)? + &r)?.relu())
        }
        "embedding_fwdbwd" => {
            let (table, tokens) = (var(data("table", &[30_000, 256])?)?, index("tokens", &[8192], 30_000)?);
            both(vec![table], data("g", &[8192, 256])?, move |v| v[0].index_select(&tokens, 0))
        }
        "adamw" => adamw(),
        "sort_1024x1024" => {
            let x = data("x", &[1024, 1024])?;
            forward(move || Ok(x.sort_last_dim(true)?.0))
        }
        "conv3x3_fwd" => Conv(32, 64, 64, 56, 3, 1, 1, 1, 1).forward(),
        "conv3x3_b1" => Conv(1, 64, 64, 56, 3, 1, 1, 1, 1).forward(),
        "conv3x3_512x7_b1" => Conv(1, 512, 512, 7, 3, 1, 1, 1, 1).forward(),
        "conv3x3_256x14" => Conv(32, 256, 256, 14, 3, 1, 1, 1, 1).forward(),
        "conv3x3_fwdbwd" => Conv(32, 64, 64, 56, 3, 1, 1, 1, 1).both(),
        "conv1x1" => Conv(32, 64, 256, 56, 1, 0, 1, 1, 1).forward(),
        "conv1x1_fwdbwd" => Conv(32, 64, 256, 56, 1, 0, 1, 1, 1).both(),
        "conv7x7_stride2" => Conv(32, 3, 64, 224, 7, 3, 2, 1, 1).forward(),
        "conv3x3_grouped" => Conv(32, 256, 256, 28, 3, 1, 1, 1, 32).forward(),
        "conv3x3_dilated" => Conv(32, 64, 64, 56, 3, 2, 1, 2, 1).forward(),
        "conv4x4_transposed" => {
            let (x, w) = (data("x", &[32, 128, 28, 28])?, weight("conv.weight", &[128, 64, 4, 4])?);
            forward(move || x.conv_transpose2d(&w, 1, 0, 2, 1))
        }
        "depthwise" => Conv(32, 96, 96, 56, 3, 1, 1, 1, 96).forward(),
        "avg_pool2x2" => {
            let x = data("x", &[32, 64, 112, 112])?;
            forward(move || x.avg_pool2d(2))
        }
        "resnet18_b1" | "resnet18_b8" => {
            let (model, x) = (ResNet18::new(Filled::default().builder())?, images(n)?);
            forward(move || model.forward(&x))
        }
        "mobilenetv2_b1" | "mobilenetv2_b8" => {
            let (model, x) = (MobileNetV2::new(Filled::default().builder())?, images(n)?);
            forward(move || model.forward(&x))
        }
        "minilm_b1" | "minilm_b8" => {
            let (model, x) = (Bert::minilm(Filled::default().builder())?, index("tokens", &[n, 128], 30_522)?);
            forward(move || model.forward(&x))
        }
        "gpt2_decode" => gpt2_decode(),
        "mlp1000_step" => mlp([22, 32, 8], 32),
        "mlp_step" => mlp([784, 256, 10], 256),
        "lenet_step" => lenet(),
        "gpt_step" => gpt(),
        "lstm_fwdbwd" => {
            let filled = Filled::trained();
            let rnn = candle_nn::lstm(256, 256, LSTMConfig::default(), filled.builder())?;
            sequence(filled, rnn)
        }
        "gru_fwdbwd" => {
            let filled = Filled::trained();
            let rnn = candle_nn::gru(256, 256, GRUConfig::default(), filled.builder())?;
            sequence(filled, rnn)
        }
        "small_graph" => {
            let x = data("x", &[4])?;
            forward(move || (0..100).try_fold(x.clone(), |y, _| y + &x))
        }
        _ => Err(candle_core::Error::Msg("unknown workload".into())),
    }
}

fn main() {
    serve::main("candle", &[("candle", "0.11.1")], WORKLOADS, |w| build(w).map_err(|e| e.to_string()));
}
