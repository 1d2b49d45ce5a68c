//! burn (flex backend) as a contender of the benchmark.

use burn::module::{Module, Param};
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::nn::loss::{CrossEntropyLoss, CrossEntropyLossConfig};
use burn::nn::pool::{AvgPool2d, AvgPool2dConfig};
use burn::nn::{Linear, LinearConfig, PaddingConfig2d};
use burn::optim::{AdamWConfig, GradientsParams, SgdConfig};
use burn::tensor::ops::ConvOptions;
use burn::tensor::{activation, module, Device, Distribution, Int, Tensor};

#[path = "../../serve.rs"]
mod serve;
use serve::Timed;

fn randn<const D: usize>(shape: [usize; D], device: &Device) -> Tensor<D> {
    Tensor::random(shape, Distribution::Normal(0.0, 1.0), device)
}

fn timed(mut f: impl FnMut() + 'static) -> Result<Timed, String> {
    Ok(Box::new(move || {
        f();
        Ok(())
    }))
}

fn labels(n: usize, device: &Device) -> Tensor<1, Int> {
    let y: Vec<i64> = (0..n as i64).map(|i| i * 7 % 10).collect();
    Tensor::from_data(y.as_slice(), device)
}

fn matmul(n: usize, cpu: &Device) -> Result<Timed, String> {
    let (a, b) = (randn([n, n], cpu), randn([n, n], cpu));
    timed(move || drop(a.clone().matmul(b.clone())))
}

#[derive(Module, Debug)]
struct Mlp {
    fc1: Linear,
    fc2: Linear,
}

impl Mlp {
    fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        self.fc2.forward(activation::relu(self.fc1.forward(x)))
    }
}

#[derive(Module, Debug)]
struct LeNet {
    conv1: Conv2d,
    conv2: Conv2d,
    fc1: Linear,
    fc2: Linear,
    fc3: Linear,
    pool: AvgPool2d,
}

impl LeNet {
    fn new(d: &Device) -> Self {
        Self {
            conv1: Conv2dConfig::new([1, 6], [5, 5]).with_padding(PaddingConfig2d::Explicit(2, 2, 2, 2)).init(d),
            conv2: Conv2dConfig::new([6, 16], [5, 5]).init(d),
            fc1: LinearConfig::new(400, 120).init(d),
            fc2: LinearConfig::new(120, 84).init(d),
            fc3: LinearConfig::new(84, 10).init(d),
            pool: AvgPool2dConfig::new([2, 2]).with_strides([2, 2]).init(),
        }
    }

    fn forward(&self, x: Tensor<4>) -> Tensor<2> {
        let x = self.pool.forward(activation::sigmoid(self.conv1.forward(x)));
        let x = self.pool.forward(activation::sigmoid(self.conv2.forward(x)));
        let x = activation::sigmoid(self.fc1.forward(x.flatten(1, 3)));
        let x = activation::sigmoid(self.fc2.forward(x));
        self.fc3.forward(x)
    }
}

/// One SGD step of `model` on a fixed batch.
fn step<M: Module + 'static>(
    model: M,
    d: &Device,
    forward: impl Fn(&M) -> Tensor<2> + 'static,
) -> Result<Timed, String> {
    let y = labels(256, d);
    let loss: CrossEntropyLoss = CrossEntropyLossConfig::new().init(d);
    let mut sgd = SgdConfig::new().init();
    let mut model = Some(model);
    timed(move || {
        let Some(m) = model.take() else { return };
        let grads = loss.forward(forward(&m), y.clone()).backward();
        let grads = GradientsParams::from_grads(grads, &m);
        model = Some(sgd.step(0.1, m, grads));
    })
}

#[derive(Module, Debug)]
struct Many {
    ps: Vec<Param<Tensor<1>>>,
}

fn adamw(d: &Device) -> Result<Timed, String> {
    let many = Many { ps: (0..100).map(|_| Param::from_tensor(randn([250_000], d))).collect() };
    let plain = Device::flex();
    let grads: Vec<Tensor<1>> = (0..100).map(|_| randn([250_000], &plain)).collect();
    let mut opt = AdamWConfig::new().with_weight_decay(0.01).init();
    let mut many = Some(many);
    timed(move || {
        let Some(m) = many.take() else { return };
        let mut g = GradientsParams::new();
        for (p, t) in m.ps.iter().zip(&grads) {
            g.register(p.id, t.clone());
        }
        many = Some(opt.step(1e-3, m, g));
    })
}

fn build(workload: &str) -> Result<Timed, String> {
    let cpu = Device::flex();
    let auto = Device::flex().autodiff();
    let padded = |groups| ConvOptions::new([1, 1], [1, 1], [1, 1], groups);
    match workload {
        "matmul_256" => matmul(256, &cpu),
        "matmul_512" => matmul(512, &cpu),
        "matmul_1024" => matmul(1024, &cpu),
        "chain" => {
            let x = randn([1 << 24], &cpu);
            timed(move || drop(activation::gelu(x.clone() * 1.5 + 0.25) + x.clone()))
        }
        "softmax_4096x1024" => {
            let x = randn([4096, 1024], &cpu);
            timed(move || drop(activation::softmax(x.clone(), 1)))
        }
        "layernorm_4096x1024" => {
            let (x, w, b) = (randn([4096, 1024], &cpu), randn([1024], &cpu), randn([1024], &cpu));
            timed(move || drop(module::layer_norm(x.clone(), w.clone(), Some(b.clone()), 1e-5)))
        }
        "sum0_4096" | "sum1_4096" => {
            let x = randn([4096, 4096], &cpu);
            let dim = usize::from(workload == "sum1_4096");
            timed(move || drop(x.clone().sum_dim(dim)))
        }
        "conv3x3_fwd" => {
            let (x, w) = (randn([32, 64, 56, 56], &cpu), randn([64, 64, 3, 3], &cpu));
            timed(move || drop(module::conv2d(x.clone(), w.clone(), None, padded(1))))
        }
        "conv3x3_fwdbwd" => {
            let x = randn([32, 64, 56, 56], &auto).require_grad();
            let w = randn([64, 64, 3, 3], &auto).require_grad();
            // The backward pass starts from ones: a cotangent without a multiplication of its own.
            timed(move || drop(module::conv2d(x.clone(), w.clone(), None, padded(1)).backward()))
        }
        "depthwise" => {
            let (x, w) = (randn([32, 96, 56, 56], &cpu), randn([96, 1, 3, 3], &cpu));
            timed(move || drop(module::conv2d(x.clone(), w.clone(), None, padded(96))))
        }
        "mlp_step" => {
            let model =
                Mlp { fc1: LinearConfig::new(784, 256).init(&auto), fc2: LinearConfig::new(256, 10).init(&auto) };
            let x = randn([256, 784], &auto);
            step(model, &auto, move |m: &Mlp| m.forward(x.clone()))
        }
        "lenet_step" => {
            let x = randn([256, 1, 28, 28], &auto);
            step(LeNet::new(&auto), &auto, move |m: &LeNet| m.forward(x.clone()))
        }
        "adamw" => adamw(&auto),
        "small_graph" => {
            let x = randn([4], &cpu);
            timed(move || {
                let mut y = x.clone();
                for _ in 0..100 {
                    y = y + x.clone();
                }
            })
        }
        _ => Err("unknown workload".into()),
    }
}

fn main() {
    serve::main("burn-flex", &[("burn", "0.22.1")], build);
}
