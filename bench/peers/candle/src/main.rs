//! candle as a contender of the benchmark.

use candle_core::{DType, Device, Result, Tensor, Var};
use candle_nn::{loss, ops, AdamW, Conv2dConfig, Module, Optimizer, ParamsAdamW, VarBuilder, VarMap, SGD};

#[path = "../../serve.rs"]
mod serve;
use serve::Timed;

const CPU: Device = Device::Cpu;

fn randn(shape: &[usize]) -> Result<Tensor> {
    Tensor::randn(0f32, 1f32, shape, &CPU)
}

fn timed(mut f: impl FnMut() -> Result<()> + 'static) -> Result<Timed> {
    Ok(Box::new(move || f().map_err(|e| e.to_string())))
}

fn matmul(n: usize) -> Result<Timed> {
    let (a, b) = (randn(&[n, n])?, randn(&[n, n])?);
    timed(move || a.matmul(&b).map(drop))
}

fn labels(n: usize) -> Result<Tensor> {
    Tensor::from_vec((0..n as u32).map(|i| i * 7 % 10).collect::<Vec<_>>(), n, &CPU)
}

fn mlp() -> Result<Timed> {
    let vars = VarMap::new();
    let vb = VarBuilder::from_varmap(&vars, DType::F32, &CPU);
    let fc1 = candle_nn::linear(784, 256, vb.pp("fc1"))?;
    let fc2 = candle_nn::linear(256, 10, vb.pp("fc2"))?;
    let (x, y) = (randn(&[256, 784])?, labels(256)?);
    let mut sgd = SGD::new(vars.all_vars(), 0.1)?;
    timed(move || {
        let logits = fc2.forward(&fc1.forward(&x)?.relu()?)?;
        sgd.backward_step(&loss::cross_entropy(&logits, &y)?)
    })
}

fn lenet() -> Result<Timed> {
    let vars = VarMap::new();
    let vb = VarBuilder::from_varmap(&vars, DType::F32, &CPU);
    let padded = Conv2dConfig { padding: 2, ..Default::default() };
    let conv1 = candle_nn::conv2d(1, 6, 5, padded, vb.pp("conv1"))?;
    let conv2 = candle_nn::conv2d(6, 16, 5, Default::default(), vb.pp("conv2"))?;
    let fc1 = candle_nn::linear(400, 120, vb.pp("fc1"))?;
    let fc2 = candle_nn::linear(120, 84, vb.pp("fc2"))?;
    let fc3 = candle_nn::linear(84, 10, vb.pp("fc3"))?;
    let (x, y) = (randn(&[256, 1, 28, 28])?, labels(256)?);
    let mut sgd = SGD::new(vars.all_vars(), 0.1)?;
    timed(move || {
        let h = ops::sigmoid(&conv1.forward(&x)?)?.avg_pool2d(2)?;
        let h = ops::sigmoid(&conv2.forward(&h)?)?.avg_pool2d(2)?;
        let h = ops::sigmoid(&fc1.forward(&h.flatten_from(1)?)?)?;
        let h = ops::sigmoid(&fc2.forward(&h)?)?;
        sgd.backward_step(&loss::cross_entropy(&fc3.forward(&h)?, &y)?)
    })
}

fn adamw() -> Result<Timed> {
    let vars = (0..100).map(|_| Var::from_tensor(&randn(&[250_000])?)).collect::<Result<Vec<_>>>()?;
    // A store can only be made by a backward pass; its gradients are then put in by hand.
    let mut grads = Var::from_tensor(&randn(&[1])?)?.as_tensor().sqr()?.backward()?;
    for v in &vars {
        grads.insert(v.as_tensor(), randn(&[250_000])?);
    }
    let params = ParamsAdamW { lr: 1e-3, beta1: 0.9, beta2: 0.999, eps: 1e-8, weight_decay: 0.01 };
    let mut opt = AdamW::new(vars, params)?;
    timed(move || opt.step(&grads))
}

fn build(workload: &str) -> Result<Timed> {
    match workload {
        "matmul_256" => matmul(256),
        "matmul_512" => matmul(512),
        "matmul_1024" => matmul(1024),
        "chain" => {
            let x = randn(&[1 << 24])?;
            timed(move || (x.affine(1.5, 0.25)?.gelu_erf()? + &x).map(drop))
        }
        "softmax_4096x1024" => {
            let x = randn(&[4096, 1024])?;
            timed(move || ops::softmax_last_dim(&x).map(drop))
        }
        "layernorm_4096x1024" => {
            let (x, w, b) = (randn(&[4096, 1024])?, randn(&[1024])?, randn(&[1024])?);
            timed(move || ops::layer_norm(&x, &w, &b, 1e-5).map(drop))
        }
        "sum0_4096" | "sum1_4096" => {
            let x = randn(&[4096, 4096])?;
            let dim = usize::from(workload == "sum1_4096");
            timed(move || x.sum(dim).map(drop))
        }
        "conv3x3_fwd" => {
            let (x, w) = (randn(&[32, 64, 56, 56])?, randn(&[64, 64, 3, 3])?);
            timed(move || x.conv2d(&w, 1, 1, 1, 1).map(drop))
        }
        "conv3x3_fwdbwd" => {
            let (x, w) = (Var::from_tensor(&randn(&[32, 64, 56, 56])?)?, Var::from_tensor(&randn(&[64, 64, 3, 3])?)?);
            // The backward pass starts from ones: a cotangent without a multiplication of its own.
            timed(move || x.conv2d(&w, 1, 1, 1, 1)?.backward().map(drop))
        }
        "depthwise" => {
            let (x, w) = (randn(&[32, 96, 56, 56])?, randn(&[96, 1, 3, 3])?);
            timed(move || x.conv2d(&w, 1, 1, 1, 96).map(drop))
        }
        "mlp_step" => mlp(),
        "lenet_step" => lenet(),
        "adamw" => adamw(),
        "small_graph" => {
            let x = randn(&[4])?;
            timed(move || {
                let mut y = x.clone();
                for _ in 0..100 {
                    y = (y + &x)?;
                }
                Ok(())
            })
        }
        _ => Err(candle_core::Error::Msg("unknown workload".into())),
    }
}

fn main() {
    serve::main("candle", &[("candle", "0.11.1")], |w| build(w).map_err(|e| e.to_string()));
}
