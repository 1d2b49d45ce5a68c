//! burn (flex backend) as a contender of the benchmark.

use burn::module::{Module, Param};
use burn::nn::loss::{CrossEntropyLoss, CrossEntropyLossConfig};
use burn::optim::{AdamWConfig, GradientsParams, SgdConfig};
use burn::tensor::ops::{AvgPoolOptions, ConvOptions, ConvTransposeOptions};
use burn::tensor::{activation, module, Device, Int, Tensor, TensorData};

mod models;
#[path = "../../serve.rs"]
mod serve;
use models::{weight, Bert, Gpt, LeNet, Mlp, MobileNetV2, ResNet18};
use serve::{fill, Numbers, Outputs, Timed, WARM_UPS};

impl<const D: usize> Numbers for Tensor<D> {
    fn numbers(&self) -> Result<Option<Vec<f32>>, String> {
        self.clone().into_data().convert::<f32>().try_to_vec().map(Some).map_err(|e| format!("{e:?}"))
    }
}

/// Output of which the first two dimensions are exchanged when it is looked at.
struct Turned(Tensor<3>);

impl Numbers for Turned {
    fn numbers(&self) -> Result<Option<Vec<f32>>, String> {
        self.0.clone().swap_dims(0, 1).numbers()
    }
}

/// Gradients of weights that lie differently from everybody else's.
struct Elsewhere;

impl Numbers for Elsewhere {
    fn numbers(&self) -> Result<Option<Vec<f32>>, String> {
        Ok(None)
    }
}

fn data<const D: usize>(name: &str, shape: [usize; D], d: &Device) -> Tensor<D> {
    let all = fill::values(name, shape.iter().product(), fill::UNIT);
    Tensor::from_data(TensorData::new(all, shape), d)
}

fn index<const D: usize>(name: &str, shape: [usize; D], n: u32, d: &Device) -> Tensor<D, Int> {
    let all = fill::indices(name, shape.iter().product(), n);
    Tensor::from_data(TensorData::new(all, shape), d)
}

fn one<const D: usize>(t: Tensor<D>) -> Outputs {
    vec![Box::new(t)]
}

fn timed(mut f: impl FnMut() -> Outputs + 'static) -> Result<Timed, String> {
    Ok(Box::new(move || Ok(f())))
}

fn forward<const D: usize>(f: impl Fn() -> Tensor<D> + 'static) -> Result<Timed, String> {
    timed(move || one(f()))
}

/// Value and gradients. burn's backward pass starts from ones: the runs that are compared multiply with the cotangent
/// first, those that are timed do without.
fn both<const D: usize>(
    g: Tensor<D>,
    f: impl Fn() -> Tensor<D> + 'static,
    grads: impl Fn(&burn::tensor::Gradients) -> Outputs + 'static,
) -> Result<Timed, String> {
    let mut runs = 0;
    timed(move || {
        runs += 1;
        let y = f();
        let g = if runs <= WARM_UPS { (y.clone() * g.clone()).backward() } else { y.clone().backward() };
        one(y).into_iter().chain(grads(&g)).collect()
    })
}

fn gradient<const D: usize>(t: &Tensor<D>, g: &burn::tensor::Gradients) -> Box<dyn Numbers> {
    match t.grad(g) {
        Some(g) => Box::new(g),
        None => Box::new(Elsewhere),
    }
}

fn matmul<const D: usize>(a: [usize; D], b: [usize; D], d: &Device) -> Result<Timed, String> {
    let (a, b) = (data("a", a, d), data("b", b, d));
    forward(move || a.clone().matmul(b.clone()))
}

fn layouts(left: bool, right: bool, d: &Device) -> Result<Timed, String> {
    let turn = |t: Tensor<2>, yes: bool| if yes { t.transpose() } else { t };
    let (a, b) = (turn(data("a", [512, 512], d), left), turn(data("b", [512, 512], d), right));
    forward(move || a.clone().matmul(b.clone()))
}

/// Batch, channels in and out, image size, kernel, padding, stride, dilation, groups.
#[derive(Clone, Copy)]
struct Conv(usize, usize, usize, usize, usize, usize, usize, usize, usize);

impl Conv {
    fn tensors(self, d: &Device) -> (Tensor<4>, Tensor<4>) {
        let Conv(n, from, to, size, kernel, .., groups) = self;
        (data("x", [n, from, size, size], d), weight("conv.weight", [to, from / groups, kernel, kernel], d))
    }
    fn apply(self, x: &Tensor<4>, w: &Tensor<4>) -> Tensor<4> {
        let Conv(.., padding, stride, dilation, groups) = self;
        let options = ConvOptions::new([stride; 2], [padding; 2], [dilation; 2], groups);
        module::conv2d(x.clone(), w.clone(), None, options)
    }
    fn forward(self, d: &Device) -> Result<Timed, String> {
        let (x, w) = self.tensors(d);
        forward(move || self.apply(&x, &w))
    }
    fn both(self, d: &Device) -> Result<Timed, String> {
        let (x, w) = self.tensors(d);
        let (x, w) = (x.require_grad(), w.require_grad());
        let g = data("g", self.apply(&x, &w).dims(), d);
        let (x2, w2) = (x.clone(), w.clone());
        both(g, move || self.apply(&x, &w), move |g| vec![gradient(&x2, g), gradient(&w2, g)])
    }
}

/// One SGD step of `model` on a fixed batch.
fn step<M: Module + 'static>(
    model: M,
    y: Tensor<1, Int>,
    d: &Device,
    logits: impl Fn(&M) -> Tensor<2> + 'static,
) -> Result<Timed, String> {
    let loss: CrossEntropyLoss = CrossEntropyLossConfig::new().init(d);
    let mut sgd = SgdConfig::new().init();
    let mut model = Some(model);
    timed(move || {
        let Some(m) = model.take() else { return Vec::new() };
        let l = loss.forward(logits(&m), y.clone());
        let grads = GradientsParams::from_grads(l.clone().backward(), &m);
        model = Some(sgd.step(0.01, m, grads));
        one(l)
    })
}

fn gpt(d: &Device) -> Result<Timed, String> {
    let loss: CrossEntropyLoss = CrossEntropyLossConfig::new().init(d);
    let mut adamw = AdamWConfig::new().with_epsilon(1e-8).with_weight_decay(0.01).init();
    let mut model = Some(Gpt::new(65, 256, 4, 256, 4, d));
    let (x, y) = (index("x", [8, 256], 65, d), index("y", [2048], 65, d));
    timed(move || {
        let Some(m) = model.take() else { return Vec::new() };
        let l = loss.forward(m.forward(x.clone()).reshape([2048, 65]), y.clone());
        let grads = GradientsParams::from_grads(l.clone().backward(), &m);
        model = Some(adamw.step(1e-4, m, grads));
        one(l)
    })
}

/// States and gradients of a sequence; burn wants the batch first.
fn sequence(f: impl Fn(Tensor<3>) -> Tensor<3> + 'static, d: &Device) -> Result<Timed, String> {
    let turned = |name| {
        let t: Tensor<3> = data(name, [35, 32, 256], d).swap_dims(0, 1);
        Tensor::<3>::from_data(t.into_data(), d)
    };
    let (x, g) = (turned("x").require_grad(), turned("g"));
    let mut runs = 0;
    timed(move || {
        runs += 1;
        let y = f(x.clone());
        let grads = if runs <= WARM_UPS { (y.clone() * g.clone()).backward() } else { y.clone().backward() };
        let mut all: Outputs = vec![Box::new(Turned(y))];
        all.extend(x.grad(&grads).map(|g| Box::new(Turned(g)) as Box<dyn Numbers>));
        all.extend((0..4).map(|_| Box::new(Elsewhere) as Box<dyn Numbers>));
        all
    })
}

#[derive(Module, Debug)]
struct Many {
    ps: Vec<Param<Tensor<1>>>,
}

fn adamw(d: &Device) -> Result<Timed, String> {
    let many =
        Many { ps: (0..100).map(|i| Param::from_tensor(data(&format!("w{i}"), [250_000], d))).collect() };
    let plain = Device::flex();
    let grads: Vec<Tensor<1>> = (0..100).map(|i| data(&format!("g{i}"), [250_000], &plain)).collect();
    let mut opt = AdamWConfig::new().with_epsilon(1e-8).with_weight_decay(0.01).init();
    let mut many = Some(many);
    timed(move || {
        let Some(m) = many.take() else { return Vec::new() };
        let mut g = GradientsParams::new();
        for (p, t) in m.ps.iter().zip(&grads) {
            g.register(p.id, t.clone());
        }
        let m = opt.step(1e-3, m, g);
        let shown = [0, 99].map(|i: usize| Box::new(m.ps[i].val()) as Box<dyn Numbers>);
        many = Some(m);
        shown.into()
    })
}

const WORKLOADS: &[&str] = &[
    "matmul_16", "matmul_32", "matmul_64", "matmul_128", "matmul_256", "matmul_512", "matmul_1024",
    "matmul_32x4096x1024", "matmul_tall_8192x256x64", "matmul_flat_64x256x8192", "matmul_batched_64x128",
    "matmul_nt_512", "matmul_tn_512", "matmul_tt_512", "linear_gelu_1024x384x1536", "sdpa_fwd", "sdpa_fwdbwd", "chain",
    "softmax_4096x1024", "softmax_fwdbwd", "layernorm_4096x1024", "layernorm_fwdbwd", "sum0_4096", "sum1_4096",
    "bn_add_relu", "bn_add_relu_train", "embedding_fwdbwd", "adamw", "sort_1048576", "sort_1024x1024",
    "topk50_64x32000", "conv3x3_fwd", "conv3x3_b1", "conv3x3_512x7_b1", "conv3x3_256x14", "conv3x3_fwdbwd", "conv1x1",
    "conv1x1_fwdbwd", "conv7x7_stride2", "conv3x3_stride2_fwdbwd", "conv3x3_grouped", "conv3x3_dilated",
    "conv4x4_transposed", "depthwise", "depthwise_fwdbwd", "max_pool3x3_stride2", "max_pool_fwdbwd", "avg_pool2x2",
    "resnet18_b1", "resnet18_b8", "mobilenetv2_b1", "mobilenetv2_b8", "minilm_b1", "minilm_b8", "gpt2_decode",
    "mlp1000_step", "mlp_step", "lenet_step", "resnet18_step", "gpt_step", "lstm_fwdbwd", "gru_fwdbwd", "small_graph",
];

fn build(workload: &str) -> Result<Timed, String> {
    let cpu = Device::flex();
    let auto = Device::flex().autodiff();
    let square = |n: &str| n.parse::<usize>().ok();
    if let Some(n) = workload.strip_prefix("matmul_").and_then(square) {
        return matmul([n, n], [n, n], &cpu);
    }
    let n = if workload.ends_with('8') { 8 } else { 1 };
    let images = data::<4>("x", [n, 3, 224, 224], &cpu);
    const HEADS: [usize; 4] = [8, 8, 256, 64];
    const MAPS: [usize; 4] = [32, 64, 56, 56];
    const WIDE: [usize; 4] = [32, 64, 112, 112];
    match workload {
        "matmul_32x4096x1024" => matmul([32, 4096], [4096, 1024], &cpu),
        "matmul_tall_8192x256x64" => matmul([8192, 256], [256, 64], &cpu),
        "matmul_flat_64x256x8192" => matmul([64, 256], [256, 8192], &cpu),
        "matmul_batched_64x128" => matmul([64, 128, 128], [64, 128, 128], &cpu),
        "matmul_nt_512" => layouts(false, true, &cpu),
        "matmul_tn_512" => layouts(true, false, &cpu),
        "matmul_tt_512" => layouts(true, true, &cpu),
        "linear_gelu_1024x384x1536" => {
            let (x, fc) = (data("x", [1024, 384], &cpu), models::linear("fc", 384, 1536, true, &cpu));
            forward::<2>(move || activation::gelu(fc.forward(x.clone())))
        }
        "sdpa_fwd" => {
            let [q, k, v] = ["q", "k", "v"].map(|name| data(name, HEADS, &cpu));
            forward(move || models::attend(q.clone(), k.clone(), v.clone(), true))
        }
        "sdpa_fwdbwd" => {
            let all = ["q", "k", "v"].map(|name| data(name, HEADS, &auto).require_grad());
            let [q, k, v] = all.clone();
            both(
                data("g", HEADS, &auto),
                move || models::attend(q.clone(), k.clone(), v.clone(), true),
                move |g| all.iter().map(|t| gradient(t, g)).collect(),
            )
        }
        "chain" => {
            let x = data("x", [1 << 24], &cpu);
            forward(move || activation::gelu(x.clone() * 1.5 + 0.25) + x.clone())
        }
        "softmax_4096x1024" => {
            let x = data("x", [4096, 1024], &cpu);
            forward(move || activation::softmax(x.clone(), 1))
        }
        "softmax_fwdbwd" => {
            let x = data("x", [4096, 1024], &auto).require_grad();
            let x2 = x.clone();
            let g = data("g", [4096, 1024], &auto);
            both(g, move || activation::softmax(x.clone(), 1), move |g| vec![gradient(&x2, g)])
        }
        "layernorm_4096x1024" => {
            let x = data("x", [4096, 1024], &cpu);
            let (w, b) = (weight("norm.weight", [1024], &cpu), weight("norm.bias", [1024], &cpu));
            forward(move || module::layer_norm(x.clone(), w.clone(), Some(b.clone()), 1e-5))
        }
        "layernorm_fwdbwd" => {
            let x = data("x", [4096, 1024], &auto).require_grad();
            let w = weight("norm.weight", [1024], &auto).require_grad();
            let b = weight("norm.bias", [1024], &auto).require_grad();
            let (x2, w2, b2) = (x.clone(), w.clone(), b.clone());
            both(
                data("g", [4096, 1024], &auto),
                move || module::layer_norm(x.clone(), w.clone(), Some(b.clone()), 1e-5),
                move |g| vec![gradient(&x2, g), gradient(&w2, g), gradient(&b2, g)],
            )
        }
        "sum0_4096" | "sum1_4096" => {
            let x = data("x", [4096, 4096], &cpu);
            let dim = usize::from(workload == "sum1_4096");
            forward(move || x.clone().sum_dim(dim))
        }
        "bn_add_relu" => {
            let (x, r, norm) = (data("x", MAPS, &cpu), data("r", MAPS, &cpu), models::batch_norm("", 64, &cpu));
            forward(move || activation::relu(norm.forward(x.clone()) + r.clone()))
        }
        "bn_add_relu_train" => {
            let (x, r) = (data("x", MAPS, &auto).require_grad(), data("r", MAPS, &auto).require_grad());
            let (x2, r2, norm) = (x.clone(), r.clone(), models::batch_norm("", 64, &auto));
            both(
                data("g", MAPS, &auto),
                move || activation::relu(norm.forward(x.clone()) + r.clone()),
                move |g| vec![gradient(&x2, g), gradient(&r2, g)],
            )
        }
        "embedding_fwdbwd" => {
            let table = data("table", [30_000, 256], &auto).require_grad();
            let (table2, tokens) = (table.clone(), index("tokens", [64, 128], 30_000, &auto));
            both(
                data("g", [64, 128, 256], &auto),
                move || module::embedding(table.clone(), tokens.clone()),
                move |g| vec![gradient(&table2, g)],
            )
        }
        "adamw" => adamw(&auto),
        "sort_1048576" => {
            let x = data("x", [1 << 20], &cpu);
            forward(move || x.clone().sort_with_indices(0).0)
        }
        "sort_1024x1024" => {
            let x = data("x", [1024, 1024], &cpu);
            forward(move || x.clone().sort_with_indices(1).0)
        }
        "topk50_64x32000" => {
            let x = data("x", [64, 32_000], &cpu);
            forward(move || x.clone().topk_with_indices(50, 1).0)
        }
        "conv3x3_fwd" => Conv(32, 64, 64, 56, 3, 1, 1, 1, 1).forward(&cpu),
        "conv3x3_b1" => Conv(1, 64, 64, 56, 3, 1, 1, 1, 1).forward(&cpu),
        "conv3x3_512x7_b1" => Conv(1, 512, 512, 7, 3, 1, 1, 1, 1).forward(&cpu),
        "conv3x3_256x14" => Conv(32, 256, 256, 14, 3, 1, 1, 1, 1).forward(&cpu),
        "conv3x3_fwdbwd" => Conv(32, 64, 64, 56, 3, 1, 1, 1, 1).both(&auto),
        "conv1x1" => Conv(32, 64, 256, 56, 1, 0, 1, 1, 1).forward(&cpu),
        "conv1x1_fwdbwd" => Conv(32, 64, 256, 56, 1, 0, 1, 1, 1).both(&auto),
        "conv7x7_stride2" => Conv(32, 3, 64, 224, 7, 3, 2, 1, 1).forward(&cpu),
        "conv3x3_stride2_fwdbwd" => Conv(32, 64, 128, 56, 3, 1, 2, 1, 1).both(&auto),
        "conv3x3_grouped" => Conv(32, 256, 256, 28, 3, 1, 1, 1, 32).forward(&cpu),
        "conv3x3_dilated" => Conv(32, 64, 64, 56, 3, 2, 1, 2, 1).forward(&cpu),
        "conv4x4_transposed" => {
            let (x, w) = (data("x", [32, 128, 28, 28], &cpu), weight("conv.weight", [128, 64, 4, 4], &cpu));
            let options = || ConvTransposeOptions::new([2, 2], [1, 1], [0, 0], [1, 1], 1);
            forward(move || module::conv_transpose2d(x.clone(), w.clone(), None, options()))
        }
        "depthwise" => Conv(32, 96, 96, 56, 3, 1, 1, 1, 96).forward(&cpu),
        "depthwise_fwdbwd" => Conv(32, 96, 96, 56, 3, 1, 1, 1, 96).both(&auto),
        "max_pool3x3_stride2" => {
            let x = data("x", WIDE, &cpu);
            forward(move || module::max_pool2d(x.clone(), models::pool()))
        }
        "max_pool_fwdbwd" => {
            let x = data("x", WIDE, &auto).require_grad();
            let x2 = x.clone();
            let g = data("g", MAPS, &auto);
            both(g, move || module::max_pool2d(x.clone(), models::pool()), move |g| vec![gradient(&x2, g)])
        }
        "avg_pool2x2" => {
            let x = data("x", WIDE, &cpu);
            forward(move || module::avg_pool2d(x.clone(), AvgPoolOptions::new([2, 2])))
        }
        "resnet18_b1" | "resnet18_b8" => {
            let model = ResNet18::new(1000, &cpu);
            forward(move || model.forward(images.clone()))
        }
        "mobilenetv2_b1" | "mobilenetv2_b8" => {
            let model = MobileNetV2::new(&cpu);
            forward(move || model.forward(images.clone()))
        }
        "minilm_b1" | "minilm_b8" => {
            let (model, x) = (Bert::minilm(&cpu), index("tokens", [n, 128], 30_522, &cpu));
            forward(move || model.forward(x.clone()))
        }
        "gpt2_decode" => {
            // 64 tokens after a prompt of 16, GPT-2 small.
            let (model, prompt) = (Gpt::new(50_257, 1024, 12, 768, 12, &cpu), index("prompt", [1, 16], 50_257, &cpu));
            forward(move || {
                let mut past = model.nothing_past();
                let first = model.decode(prompt.clone(), &mut past);
                (0..64).fold(first, |logits, _| model.decode(logits.argmax(1), &mut past))
            })
        }
        "mlp1000_step" | "mlp_step" => {
            let (sizes, batch) = if workload == "mlp_step" { ([784, 256, 10], 256) } else { ([22, 32, 8], 32) };
            let x = data("x", [batch, sizes[0]], &auto);
            let y = index("y", [batch], sizes[2] as u32, &auto);
            step(Mlp::new(sizes, &auto), y, &auto, move |m: &Mlp| m.forward(x.clone()))
        }
        "lenet_step" => {
            let (x, y) = (data("x", [256, 1, 28, 28], &auto), index("y", [256], 10, &auto));
            step(LeNet::new(&auto), y, &auto, move |m: &LeNet| m.forward(x.clone()))
        }
        "resnet18_step" => {
            let (x, y) = (data("x", [16, 3, 96, 96], &auto), index("y", [16], 10, &auto));
            step(ResNet18::new(10, &auto), y, &auto, move |m: &ResNet18| m.forward(x.clone()))
        }
        "gpt_step" => gpt(&auto),
        "lstm_fwdbwd" => {
            let model = models::lstm(&auto);
            sequence(move |x| model.forward(x, None).0, &auto)
        }
        "gru_fwdbwd" => {
            let model = models::gru(&auto);
            sequence(move |x| model.forward(x, None), &auto)
        }
        "small_graph" => {
            let x = data("x", [4], &cpu);
            forward(move || (0..100).fold(x.clone(), |y, _| y + x.clone()))
        }
        _ => Err("unknown workload".into()),
    }
}

fn main() {
    serve::main("burn-flex", &[("burn", "0.22.1")], WORKLOADS, build);
}
