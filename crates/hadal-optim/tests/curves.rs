//! Whole trainings against PyTorch: four small networks, 30 steps in f64 from the same weights on the
//! same batches. Losses, first gradients and final parameters (running statistics too) agree to 1e-6.

use hadal_nn::loss::cross_entropy;
use hadal_nn::*;
use hadal_optim::{Adam, AdamW, Optimizer, Sgd};
use hadal_tensor::{DType, Tensor};
use serde_json::Value;

const TOLERANCE: f64 = 1e-6;

#[derive(Module)]
struct Mlp {
    fc1: Linear,
    fc2: Linear,
}
impl Forward for Mlp {
    fn forward(&self, x: &Tensor, cx: &Ctx) -> Tensor {
        self.fc2.forward(&self.fc1.forward(x, cx).tanh(), cx)
    }
}

#[derive(Module)]
struct ConvNet {
    conv1: Conv2d,
    conv2: Conv2d,
    fc1: Linear,
    fc2: Linear,
}
impl Forward for ConvNet {
    fn forward(&self, x: &Tensor, cx: &Ctx) -> Tensor {
        let x = self.conv1.forward(x, cx).sigmoid().avg_pool2d(2); // [n, 4, 6, 6]
        let x = self.conv2.forward(&x, cx).sigmoid().avg_pool2d(2); // [n, 6, 2, 2]
        let x = self.fc1.forward(&x.flatten(1), cx).sigmoid(); // [n, 12]
        self.fc2.forward(&x, cx)
    }
}

#[derive(Module)]
struct BnNet {
    conv1: Conv2d,
    bn1: BatchNorm2d,
    conv2: Conv2d,
    bn2: BatchNorm2d,
    fc: Linear,
}
impl Forward for BnNet {
    fn forward(&self, x: &Tensor, cx: &Ctx) -> Tensor {
        let x = self.bn1.forward(&self.conv1.forward(x, cx), cx).relu();
        let x = x.max_pool2d(hadal_tensor::PoolOptions::new(3).stride(2)); // [n, 4, 4, 4]
        let x = self.bn2.forward(&self.conv2.forward(&x, cx), cx).relu(); // [n, 6, 2, 2]
        self.fc.forward(&x.flatten(1), cx)
    }
}

#[derive(Module)]
struct Attention {
    qkv: Linear,
    proj: Linear,
    heads: usize,
}
impl Forward for Attention {
    fn forward(&self, x: &Tensor, cx: &Ctx) -> Tensor {
        let [n, t, d] = x.sizes();
        let qkv =
            self.qkv.forward(x, cx).reshape([n, t, 3, self.heads, d / self.heads]).permute([2, 0, 3, 1, 4]);
        let [q, k, v] = [0, 1, 2].map(|i| qkv.select(0, i)); // [n, heads, t, d / heads]
        let y = q.scaled_dot_product_attention(&k, &v, None, true, None);
        self.proj.forward(&y.transpose(1, 2).reshape([n, t, d]), cx)
    }
}

#[derive(Module)]
struct Block {
    ln1: LayerNorm,
    attn: Attention,
    ln2: LayerNorm,
    fc1: Linear,
    fc2: Linear,
}
impl Forward for Block {
    fn forward(&self, x: &Tensor, cx: &Ctx) -> Tensor {
        let x = x + self.attn.forward(&self.ln1.forward(x, cx), cx);
        let h = self.fc1.forward(&self.ln2.forward(&x, cx), cx).gelu_tanh();
        x + self.fc2.forward(&h, cx)
    }
}

#[derive(Module)]
struct Gpt {
    tok_emb: Embedding,
    pos_emb: Embedding,
    blocks: Vec<Block>,
    ln_f: LayerNorm,
}
impl Forward for Gpt {
    fn forward(&self, ids: &Tensor, cx: &Ctx) -> Tensor {
        let [_, t] = ids.sizes();
        let mut x = self.tok_emb.forward(ids, cx) + self.pos_emb.forward(&Tensor::arange(0, t, 1), cx);
        for block in &self.blocks {
            x = block.forward(&x, cx);
        }
        self.ln_f.forward(&x, cx).linear(&self.tok_emb.weight.get(), None) // tied
    }
}

fn model(name: &str) -> Box<dyn Layer> {
    let i = &Init::new(0).dtype(DType::F64);
    match name {
        "mlp" => Box::new(Mlp { fc1: Linear::new(i, 8, 16), fc2: Linear::new(i, 16, 3) }),
        "conv" => Box::new(ConvNet {
            conv1: Conv2d::new(i, 1, 4, 3).padding(1),
            conv2: Conv2d::new(i, 4, 6, 3),
            fc1: Linear::new(i, 24, 12),
            fc2: Linear::new(i, 12, 5),
        }),
        "batch_norm" => Box::new(BnNet {
            conv1: Conv2d::new(i, 2, 4, 3).padding(1).no_bias(),
            bn1: BatchNorm2d::new(i, 4),
            conv2: Conv2d::new(i, 4, 6, 3).stride(2).padding(1),
            bn2: BatchNorm2d::new(i, 6),
            fc: Linear::new(i, 24, 4),
        }),
        "gpt" => {
            let block = || Block {
                ln1: LayerNorm::new(i, 16),
                attn: Attention { qkv: Linear::new(i, 16, 48), proj: Linear::new(i, 16, 16), heads: 2 },
                ln2: LayerNorm::new(i, 16),
                fc1: Linear::new(i, 16, 64),
                fc2: Linear::new(i, 64, 16),
            };
            Box::new(Gpt {
                tok_emb: Embedding::new(i, 13, 16),
                pos_emb: Embedding::new(i, 8, 16),
                blocks: vec![block(), block()],
                ln_f: LayerNorm::new(i, 16),
            })
        }
        other => panic!("no model {other}"),
    }
}

fn optimizer(case: &Value) -> Optimizer {
    let args = &case["args"];
    let get = |name: &str, default: f64| args[name].as_f64().unwrap_or(default);
    let lr = args["lr"].as_f64().unwrap();
    let beta = |i: usize, default: f64| args["betas"][i].as_f64().unwrap_or(default);
    let betas = (beta(0, 0.9), beta(1, 0.999));
    match case["optimizer"].as_str().unwrap() {
        "SGD" => Optimizer::new(Sgd::new(lr).momentum(get("momentum", 0.0))),
        "Adam" => Optimizer::new(Adam::new(lr).betas(betas)),
        "AdamW" => Optimizer::new(AdamW::new(lr).betas(betas).weight_decay(get("weight_decay", 0.01))),
        other => panic!("no optimizer {other}"),
    }
}

/// The reference's JSON and tensors.
struct Curves {
    cases: Vec<Value>,
    tensors: hadal_io::safetensors::SafeTensors,
}

impl Curves {
    fn load() -> Curves {
        let base = format!("{}/../../tests-data/golden/curves", env!("CARGO_MANIFEST_DIR"));
        let json: Value = serde_json::from_slice(&std::fs::read(format!("{base}.json")).unwrap()).unwrap();
        let tensors = hadal_io::safetensors::read(format!("{base}.safetensors")).unwrap();
        Curves { cases: json["cases"].as_array().unwrap().clone(), tensors }
    }
    fn tensor(&self, name: &str) -> Tensor {
        let t = self.tensors.get(name).unwrap_or_else(|| panic!("no tensor {name}"));
        Tensor::from_bytes(&t.data, &t.shape, t.dtype)
    }
    /// The tensors under a prefix, by the names of the case.
    fn all(&self, case: &Value, prefix: &str) -> Vec<(String, Tensor)> {
        let names = case["names"].as_array().unwrap().iter().map(|n| n.as_str().unwrap());
        names
            .map(|n| (n.to_owned(), self.tensor(&format!("{}{n}", case[prefix].as_str().unwrap()))))
            .collect()
    }
}

fn close(what: &str, have: &Tensor, want: &Tensor) {
    assert_eq!(have.dims(), want.dims(), "{what}");
    let read = |t: &Tensor| t.cast(DType::F64).to_vec::<f64>().unwrap();
    for (a, b) in read(have).iter().zip(read(want)) {
        assert!((a - b).abs() <= TOLERANCE * (1.0 + b.abs()), "{what}: {a}, PyTorch has {b}");
    }
}

fn follows_pytorch(name: &str) {
    let curves = Curves::load();
    let case = curves.cases.iter().find(|c| c["name"] == name).unwrap();
    let (x, y) = (curves.tensor(case["x"].as_str().unwrap()), curves.tensor(case["y"].as_str().unwrap()));
    let batches = case["batches"].as_u64().unwrap() as usize;
    let mut model = model(name);
    model.load_state_dict(&curves.all(case, "init"), true).unwrap();
    let mut opt = optimizer(case);
    let losses: Vec<f64> = case["losses"].as_array().unwrap().iter().map(|l| l.as_f64().unwrap()).collect();
    assert_eq!(losses.len(), 30);
    for (t, want) in losses.iter().enumerate() {
        let i = (t % batches) as isize;
        let out = model.forward(&x.select(0, i), &Ctx::train_without_key());
        let classes = out.size(-1) as isize;
        let loss = cross_entropy(&out.reshape([-1, classes]), &y.select(0, i).reshape([-1]));
        let grads = loss.backward(&*model).unwrap();
        if t == 0 {
            for e in grads.entries() {
                let want = curves.tensor(&format!("{}{}", case["grad0"].as_str().unwrap(), e.name));
                close(&format!("{name}: first gradient of {}", e.name), e.grad.as_ref().unwrap(), &want);
            }
        }
        opt.step(&mut model, &grads).unwrap();
        let have = grads.loss().item::<f64>().unwrap();
        assert!((have - want).abs() <= TOLERANCE, "{name}, step {t}: loss {have}, PyTorch has {want}");
    }
    let last = curves.all(case, "final");
    let state = model.state_dict();
    assert_eq!(state.len(), last.len());
    for ((name_here, have), (name_there, want)) in state.iter().zip(&last) {
        assert_eq!(name_here, name_there, "the order of PyTorch's state_dict");
        close(&format!("{name}: final {name_here}"), have, want);
    }
}

#[test]
fn mlp() {
    follows_pytorch("mlp");
}

#[test]
fn conv() {
    follows_pytorch("conv");
}

#[test]
fn batch_norm() {
    follows_pytorch("batch_norm");
}

#[test]
fn gpt() {
    follows_pytorch("gpt");
}
