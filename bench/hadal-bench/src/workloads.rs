//! What is timed. Each is prepared once, outputs are computed and dropped every time.

use crate::models::{LeNet, Mlp, batch, training};
use hadal_nn::{Backward, Ctx, Forward, Init, Module, Param, loss::cross_entropy};
use hadal_optim::{AdamW, Optimizer};
use hadal_tensor::{ConvOptions, DType, Key, Tensor, eval, no_grad, plan_summary, vjp};

/// Names, in the order of reports.
pub const WORKLOADS: &[&str] = &[
    "matmul_256",
    "matmul_512",
    "matmul_1024",
    "chain",
    "softmax_4096x1024",
    "layernorm_4096x1024",
    "sum0_4096",
    "sum1_4096",
    "conv3x3_fwd",
    "conv3x3_fwdbwd",
    "depthwise",
    "mlp_step",
    "lenet_step",
    "adamw",
    "adamw_fused",
    "small_graph",
    "graph_build",
    "graph_cost",
    "lenet_graph_cost",
];

/// The function that is timed.
pub type Run = Box<dyn FnMut() -> Result<(), String>>;

/// A prepared workload.
pub struct Workload {
    /// One repetition.
    pub run: Run,
    /// Nodes of the graph, where the cost of a node is the point.
    pub nodes: Option<usize>,
}

impl Workload {
    /// Evaluates what `f` builds, without gradients.
    fn computing(f: impl Fn() -> Tensor + 'static) -> Workload {
        Workload::new(move || no_grad(&f).eval().map_err(|e| e.to_string()))
    }
    fn new(run: impl FnMut() -> Result<(), String> + 'static) -> Workload {
        Workload { run: Box::new(run), nodes: None }
    }
}

/// Data of a workload, computed.
fn data(shape: impl AsRef<[usize]>, stream: u64) -> Result<Tensor, String> {
    let t = Tensor::randn(shape.as_ref(), DType::F32, Key::new(0).split(stream));
    t.eval().map_err(|e| e.to_string())?;
    Ok(t)
}

/// Prepares a workload.
pub fn prepare(name: &str) -> Result<Workload, String> {
    Ok(match name {
        "matmul_256" => matmul(256)?,
        "matmul_512" => matmul(512)?,
        "matmul_1024" => matmul(1024)?,
        "chain" => {
            let x = data([1 << 24], 1)?;
            Workload::computing(move || (&x * 1.5 + 0.25).gelu() + &x)
        }
        "softmax_4096x1024" => {
            let x = data([4096, 1024], 1)?;
            Workload::computing(move || x.softmax(-1))
        }
        "layernorm_4096x1024" => {
            let (x, w, b) = (data([4096, 1024], 1)?, data([1024], 2)?, data([1024], 3)?);
            Workload::computing(move || x.layer_norm(&[1024], Some(&w), Some(&b), 1e-5))
        }
        "sum0_4096" => {
            let x = data([4096, 4096], 1)?;
            Workload::computing(move || x.sum(0))
        }
        "sum1_4096" => {
            let x = data([4096, 4096], 1)?;
            Workload::computing(move || x.sum(1))
        }
        "conv3x3_fwd" => conv(64, 64, 1)?,
        "conv3x3_fwdbwd" => {
            let x = data([32, 64, 56, 56], 1)?.requires_grad();
            let w = data([64, 64, 3, 3], 2)?.requires_grad();
            let g = data([32, 64, 56, 56], 3)?;
            let options = ConvOptions::default().padding(1);
            Workload::new(move || {
                let y = x.conv2d(&w, None, &options);
                let grads = vjp(&y, &g, &[&x, &w]).map_err(|e| e.to_string())?;
                eval(&[&y, &grads[0], &grads[1]]).map_err(|e| e.to_string())
            })
        }
        "depthwise" => conv(96, 96, 96)?,
        "mlp_step" => Workload::new(training(Mlp::new(&Init::new(0)), batch(&[256, 784])?)),
        "lenet_step" => Workload::new(training(LeNet::new(&Init::new(0)), batch(&[256, 1, 28, 28])?)),
        // The second name is PyTorch's other way of doing the same.
        "adamw" | "adamw_fused" => adamw()?,
        "small_graph" => {
            let x = data([4], 1)?;
            Workload::computing(move || additions(&x))
        }
        // The same graph built and dropped, and planned in between.
        "graph_build" => {
            let x = data([4], 1)?;
            let run = move || {
                let y = additions(&x);
                std::hint::black_box(&y);
                Ok(())
            };
            Workload { run: Box::new(run), nodes: Some(100) }
        }
        "graph_cost" => {
            let x = data([4], 1)?;
            planned(move || Ok(vec![additions(&x)]))?
        }
        // A whole training step's graph, forward and backward, planned and not run.
        "lenet_graph_cost" => {
            let model = LeNet::new(&Init::new(0));
            let (x, y) = batch(&[256, 1, 28, 28])?;
            planned(move || {
                let loss = cross_entropy(&model.forward(&x, &Ctx::train_without_key()), &y);
                let grads = loss.backward(&model).map_err(|e| e.to_string())?;
                Ok(grads.entries().iter().filter_map(|e| e.grad.clone()).chain([loss]).collect())
            })?
        }
        _ => return Err("unknown workload".to_owned()),
    })
}

fn matmul(n: usize) -> Result<Workload, String> {
    let (a, b) = (data([n, n], 1)?, data([n, n], 2)?);
    Ok(Workload::computing(move || a.matmul(&b)))
}

/// 3x3, padding 1, on [32, channels, 56, 56].
fn conv(channels: usize, out: usize, groups: usize) -> Result<Workload, String> {
    let (x, w) = (data([32, channels, 56, 56], 1)?, data([out, channels / groups, 3, 3], 2)?);
    let options = ConvOptions::default().padding(1).groups(groups);
    Ok(Workload::computing(move || x.conv2d(&w, None, &options)))
}

/// 100 additions, one after another.
fn additions(x: &Tensor) -> Tensor {
    let mut y = x + x;
    for _ in 1..100 {
        y = &y + x;
    }
    y
}

/// Builds, plans and drops a graph.
fn planned(build: impl Fn() -> Result<Vec<Tensor>, String> + 'static) -> Result<Workload, String> {
    let plan = move || {
        let roots = build()?;
        plan_summary(&roots.iter().collect::<Vec<_>>()).map_err(|e| e.to_string())
    };
    let nodes = plan()?.nodes;
    Ok(Workload { run: Box::new(move || plan().map(|_| ())), nodes: Some(nodes) })
}

#[derive(Module)]
struct Weights {
    weights: Vec<Param>,
}

/// One step over 100 tensors of 250,000 with gradients given.
fn adamw() -> Result<Workload, String> {
    let weights: Result<Vec<Param>, String> = (0..100).map(|i| Ok(Param::new(data([250_000], i)?))).collect();
    let model = Weights { weights: weights? };
    let given: Result<Vec<Tensor>, String> = (0..100).map(|i| data([250_000], 1000 + i)).collect();
    let mut given = given?.into_iter();
    // Any loss will do to get the list of parameters; its gradients are replaced.
    let loss = model.weights.iter().fold(Tensor::full((), 0.0f32), |sum, p| sum + p.get().sum(..));
    let grads = loss.backward(&model).map_err(|e| e.to_string())?;
    let grads = grads.map(|_, g| given.next().unwrap_or_else(|| g.clone()));
    grads.eval().map_err(|e| e.to_string())?;
    drop(loss);
    let mut optimizer = Optimizer::new(AdamW::new(1e-3).weight_decay(0.01));
    Ok(Workload::new(move || optimizer.apply(&grads).map_err(|e| e.to_string())))
}
