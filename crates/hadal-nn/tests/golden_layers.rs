//! Layers against PyTorch: outputs, and gradients by input and parameters.

mod common;

use common::{Golden, Outcome, compare_case};
use hadal_nn::*;
use hadal_tensor::{DType, PadMode, Padding, Spatial, Tensor};
use serde_json::Value;

fn numbers(v: &Value) -> Spatial {
    let all: Vec<usize> = v.as_array().unwrap().iter().map(|n| n.as_u64().unwrap() as usize).collect();
    Spatial::from(all.as_slice())
}
fn padding(v: &Value) -> Padding {
    match v.as_str() {
        Some("same") => Padding::Same,
        Some(_) => Padding::Valid,
        None => Padding::Explicit(numbers(v)),
    }
}
fn number(case: &Value, name: &str) -> f64 {
    case["args"][name].as_f64().unwrap_or_else(|| panic!("{}: no {name}", case["name"]))
}

/// A case with its inputs by name.
struct Case<'a> {
    case: &'a Value,
    names: Vec<&'a str>,
    inputs: Vec<Tensor>,
}

impl Case<'_> {
    fn input(&self, name: &str) -> Option<Tensor> {
        self.names.iter().position(|n| *n == name).map(|i| self.inputs[i].clone())
    }
    fn op(&self) -> &str {
        self.case["op"].as_str().unwrap()
    }
    /// Sets a layer's parameters to the inputs of the same names, runs it, and reports the parameters in
    /// place of those inputs.
    fn run<L: Layer>(&self, layer: L, cx: &Ctx) -> Outcome {
        let x = self.input("input").unwrap().requires_grad();
        let params = layer.parameters();
        for (name, p) in &params {
            p.set(self.input(name).unwrap_or_else(|| panic!("{} has no {name}", self.case["name"])));
        }
        let y = layer.forward(&x, cx);
        let inputs = self.names.iter().map(|&n| match n {
            "input" => Some(x.clone()),
            n => params.iter().find(|(m, _)| m == n).map(|(_, p)| p.get()),
        });
        Outcome { outputs: vec![y], inputs: inputs.collect() }
    }
    fn conv<const N: usize>(&self) -> Outcome {
        let (args, w) = (&self.case["args"], self.input("weight").unwrap());
        let groups = args["groups"].as_u64().unwrap() as usize;
        let (o, i) = (w.dims()[0], w.dims()[1] * groups);
        let layer = Conv::<N>::new(&Init::new(0).dtype(DType::F64), i, o, Spatial::from(&w.dims()[2..]))
            .groups(groups)
            .stride(numbers(&args["stride"]))
            .padding(padding(&args["padding"]))
            .dilation(numbers(&args["dilation"]))
            .padding_mode(match args["padding_mode"].as_str() {
                Some("reflect") => Some(PadMode::Reflect),
                Some("replicate") => Some(PadMode::Replicate),
                Some("circular") => Some(PadMode::Circular),
                _ => None,
            });
        assert_eq!(layer.weight.shape(), *w.shape());
        self.run(if self.input("bias").is_some() { layer } else { layer.no_bias() }, &Ctx::eval())
    }
    fn conv_transpose<const N: usize>(&self) -> Outcome {
        let (args, w) = (&self.case["args"], self.input("weight").unwrap());
        let groups = args["groups"].as_u64().unwrap() as usize;
        let (i, o) = (w.dims()[0], w.dims()[1] * groups);
        let layer =
            ConvTranspose::<N>::new(&Init::new(0).dtype(DType::F64), i, o, Spatial::from(&w.dims()[2..]))
                .groups(groups)
                .stride(numbers(&args["stride"]))
                .padding(numbers(&args["padding"]))
                .output_padding(numbers(&args["output_padding"]))
                .dilation(numbers(&args["dilation"]));
        assert_eq!(layer.weight.shape(), *w.shape());
        self.run(if self.input("bias").is_some() { layer } else { layer.no_bias() }, &Ctx::eval())
    }
    fn max_pool<const N: usize>(&self) -> Outcome {
        let args = &self.case["args"];
        let layer = MaxPool::<N>::new(numbers(&args["kernel_size"]))
            .stride(numbers(&args["stride"]))
            .padding(numbers(&args["padding"]))
            .dilation(numbers(&args["dilation"]))
            .ceil_mode(args["ceil_mode"].as_bool().unwrap());
        self.run(layer, &Ctx::eval())
    }
    fn max_unpool<const N: usize>(&self) -> Outcome {
        let args = &self.case["args"];
        let layer = MaxUnpool::<N>::new(numbers(&args["kernel_size"]))
            .stride(numbers(&args["stride"]))
            .padding(numbers(&args["padding"]));
        let size = args["output_size"].as_array();
        let size: Option<Vec<usize>> = size.map(|s| s.iter().map(|n| n.as_u64().unwrap() as usize).collect());
        let x = self.input("input").unwrap().requires_grad();
        let y = layer.forward(&x, &self.input("indices").unwrap(), size.as_deref(), &Ctx::eval());
        Outcome { outputs: vec![y], inputs: vec![Some(x), None] }
    }
    fn avg_pool<const N: usize>(&self) -> Outcome {
        let args = &self.case["args"];
        let layer = AvgPool::<N>::new(numbers(&args["kernel_size"]))
            .stride(numbers(&args["stride"]))
            .padding(numbers(&args["padding"]))
            .ceil_mode(args["ceil_mode"].as_bool().unwrap())
            .count_include_pad(args["count_include_pad"].as_bool().unwrap())
            .divisor_override(args["divisor_override"].as_u64().map(|d| d as usize));
        self.run(layer, &Ctx::eval())
    }
    fn batch_norm<const N: usize>(&self) -> Outcome {
        let args = &self.case["args"];
        let (mean, var) = (self.input("running_mean").unwrap(), self.input("running_var").unwrap());
        let layer = BatchNorm::<N>::new(&Init::new(0).dtype(DType::F64), mean.numel())
            .eps(number(self.case, "eps"))
            .momentum(number(self.case, "momentum"));
        let layer = if self.input("weight").is_some() { layer } else { layer.no_affine() };
        layer.running_mean.as_ref().unwrap().set(mean).unwrap();
        layer.running_var.as_ref().unwrap().set(var).unwrap();
        let train = args["training"].as_bool().unwrap();
        let states = [layer.running_mean.clone().unwrap(), layer.running_var.clone().unwrap()];
        let mut outcome = self.run(layer, &if train { Ctx::train_without_key() } else { Ctx::eval() });
        if self.case["outputs"].as_array().unwrap().len() > 1 {
            outcome.outputs.extend(states.iter().map(State::get));
        }
        outcome
    }
}

/// The outcome of a case, if there is a layer for it.
fn layer(c: &Case) -> Option<Outcome> {
    let (case, eval, init) = (c.case, Ctx::eval(), Init::new(0).dtype(DType::F64));
    let args = &case["args"];
    let x = c.input("input")?;
    let eps = || number(case, "eps");
    Some(match c.op() {
        "linear" => {
            let w = c.input("weight")?;
            let layer = Linear::new(&init, w.dims()[1], w.dims()[0]);
            c.run(if c.input("bias").is_some() { layer } else { layer.no_bias() }, &eval)
        }
        "conv1d" => c.conv::<1>(),
        "conv2d" => c.conv::<2>(),
        "conv3d" => c.conv::<3>(),
        "conv_transpose1d" => c.conv_transpose::<1>(),
        "conv_transpose2d" => c.conv_transpose::<2>(),
        "conv_transpose3d" => c.conv_transpose::<3>(),
        "max_pool1d" => c.max_pool::<1>(),
        "max_pool2d" => c.max_pool::<2>(),
        "max_pool3d" => c.max_pool::<3>(),
        "max_unpool1d" => c.max_unpool::<1>(),
        "max_unpool2d" => c.max_unpool::<2>(),
        "max_unpool3d" => c.max_unpool::<3>(),
        "avg_pool1d" => c.avg_pool::<1>(),
        "avg_pool2d" => c.avg_pool::<2>(),
        "avg_pool3d" => c.avg_pool::<3>(),
        "adaptive_avg_pool1d" => c.run(AdaptiveAvgPool1d::new(numbers(&args["output_size"])), &eval),
        "adaptive_avg_pool2d" => c.run(AdaptiveAvgPool2d::new(numbers(&args["output_size"])), &eval),
        "adaptive_avg_pool3d" => c.run(AdaptiveAvgPool3d::new(numbers(&args["output_size"])), &eval),
        "adaptive_max_pool1d" => c.run(AdaptiveMaxPool1d::new(numbers(&args["output_size"])), &eval),
        "adaptive_max_pool2d" => c.run(AdaptiveMaxPool2d::new(numbers(&args["output_size"])), &eval),
        "adaptive_max_pool3d" => c.run(AdaptiveMaxPool3d::new(numbers(&args["output_size"])), &eval),
        "batch_norm" => match x.rank() {
            2 | 3 => c.batch_norm::<1>(),
            4 => c.batch_norm::<2>(),
            _ => c.batch_norm::<3>(),
        },
        "layer_norm" | "rms_norm" => {
            let sizes = args["normalized_shape"].as_array().unwrap();
            let shape: Vec<usize> = sizes.iter().map(|n| n.as_u64().unwrap() as usize).collect();
            let (weight, bias) = (c.input("weight").is_some(), c.input("bias").is_some());
            if c.op() == "rms_norm" {
                let layer = RMSNorm::new(&init, shape).eps(eps());
                c.run(if weight { layer } else { layer.no_affine() }, &eval)
            } else {
                let layer = LayerNorm::new(&init, shape).eps(eps());
                c.run(
                    match (weight, bias) {
                        (true, true) => layer,
                        (true, false) => layer.no_bias(),
                        _ => layer.no_affine(),
                    },
                    &eval,
                )
            }
        }
        "group_norm" => {
            let groups = args["num_groups"].as_u64().unwrap() as usize;
            let layer = GroupNorm::new(&init, groups, x.dims()[1]).eps(eps());
            c.run(if c.input("weight").is_some() { layer } else { layer.no_affine() }, &eval)
        }
        "instance_norm" => {
            let affine = c.input("weight").is_some();
            match x.rank() {
                3 => {
                    let layer = InstanceNorm1d::new(&init, x.dims()[1]).eps(eps());
                    c.run(if affine { layer.affine() } else { layer }, &eval)
                }
                _ => {
                    let layer = InstanceNorm2d::new(&init, x.dims()[1]).eps(eps());
                    c.run(if affine { layer.affine() } else { layer }, &eval)
                }
            }
        }
        "embedding" => {
            let w = c.input("weight")?;
            let mut layer = Embedding::new(&init, w.dims()[0], w.dims()[1])
                .scale_grad_by_freq(args["scale_grad_by_freq"].as_bool() == Some(true));
            if let Some(p) = args["padding_idx"].as_i64() {
                layer = layer.padding_idx(p as isize);
            }
            if let Some(longest) = args["max_norm"].as_f64() {
                layer = layer.max_norm(longest).norm_type(args["norm_type"].as_f64().unwrap_or(2.0));
            }
            c.run_with_input_as_it_is(layer)
        }
        "softmax" => c.run(Softmax::new(args["dim"].as_i64()? as isize), &eval),
        "softmin" => c.run(Softmin::new(args["dim"].as_i64()? as isize), &eval),
        "log_softmax" => c.run(LogSoftmax::new(args["dim"].as_i64()? as isize), &eval),
        "relu" => c.run(ReLU::new(), &eval),
        "relu6" => c.run(ReLU6::new(), &eval),
        "leaky_relu" => c.run(LeakyReLU::new().negative_slope(number(case, "negative_slope")), &eval),
        "prelu" => {
            let n = c.input("weight")?.numel();
            c.run(PReLU::new(&init).num_parameters(n), &eval)
        }
        "elu" => c.run(ELU::new().alpha(number(case, "alpha")), &eval),
        "celu" => c.run(CELU::new().alpha(number(case, "alpha")), &eval),
        "selu" => c.run(SELU::new(), &eval),
        "gelu" => c.run(GELU::new().tanh(args["approximate"] == "tanh"), &eval),
        "silu" => c.run(SiLU::new(), &eval),
        "mish" => c.run(Mish::new(), &eval),
        "softplus" => {
            c.run(Softplus::new().beta(number(case, "beta")).threshold(number(case, "threshold")), &eval)
        }
        "softsign" => c.run(Softsign::new(), &eval),
        "sigmoid" => c.run(Sigmoid::new(), &eval),
        "logsigmoid" => c.run(LogSigmoid::new(), &eval),
        "tanh" => c.run(Tanh::new(), &eval),
        "hardswish" => c.run(Hardswish::new(), &eval),
        "hardsigmoid" => c.run(Hardsigmoid::new(), &eval),
        "hardtanh" => {
            c.run(Hardtanh::new().min_val(number(case, "min_val")).max_val(number(case, "max_val")), &eval)
        }
        "hardshrink" => c.run(Hardshrink::new().lambda(number(case, "lambd")), &eval),
        "softshrink" => c.run(Softshrink::new().lambda(number(case, "lambd")), &eval),
        "tanhshrink" => c.run(Tanhshrink::new(), &eval),
        _ => return None,
    })
}

impl Case<'_> {
    /// For inputs that have no gradient.
    fn run_with_input_as_it_is<L: Layer>(&self, layer: L) -> Outcome {
        let x = self.input("input").unwrap();
        let params = layer.parameters();
        for (name, p) in &params {
            p.set(self.input(name).unwrap());
        }
        let y = layer.forward(&x, &Ctx::eval());
        let mut outputs = vec![y];
        if self.case["outputs"].as_array().unwrap().len() > 1 {
            outputs.extend(params.iter().map(|(_, p)| p.get()));
        }
        let inputs = self.names.iter().map(|n| params.iter().find(|(m, _)| m == n).map(|(_, p)| p.get()));
        Outcome { outputs, inputs: inputs.collect() }
    }
}

#[test]
fn batch_norm_over_several_steps_equals_pytorch() {
    let golden = Golden::load("layers");
    let mut compared = 0;
    for case in golden.cases.iter().filter(|c| c["op"] == "batch_norm_steps") {
        let args = &case["args"];
        let names: Vec<&str> =
            case["input_names"].as_array().unwrap().iter().map(|n| n.as_str().unwrap()).collect();
        let inputs: Vec<Tensor> = golden.list(case, "inputs").into_iter().map(Option::unwrap).collect();
        let mut layer = BatchNorm2d::new(&Init::new(0).dtype(DType::F64), 2);
        if let Some(momentum) = args.get("momentum") {
            layer = layer.momentum(momentum.as_f64());
        }
        if args["track_running_stats"] == false {
            layer = layer.no_running_stats();
        }
        if args["affine"] == false {
            layer = layer.no_affine();
        }
        let params = layer.parameters();
        for (name, p) in &params {
            p.set(inputs[names.iter().position(|n| n == name).unwrap()].clone());
        }
        let xs: Vec<Tensor> = inputs[..4].iter().map(Tensor::requires_grad).collect();
        let modes = [true, true, true, false];
        let mut outputs: Vec<Tensor> = xs
            .iter()
            .zip(modes)
            .map(|(x, train)| layer.forward(x, &if train { Ctx::train_without_key() } else { Ctx::eval() }))
            .collect();
        outputs.extend([&layer.running_mean, &layer.running_var].into_iter().flatten().map(State::get));
        let vars = xs.into_iter().chain(params.iter().map(|(_, p)| p.get())).map(Some).collect();
        compare_case(&golden, case, &Outcome { outputs, inputs: vars }, 1e-12);
        compared += 1;
    }
    assert_eq!(compared, 4);
}

#[test]
fn layers_equal_pytorch() {
    let (all, more) = (Golden::load("ops"), Golden::load("layers"));
    let mut compared = std::collections::BTreeMap::<&str, usize>::new();
    let families = ["unary", "norm", "conv", "pool", "index", "matmul", "embedding"];
    let both = all.cases.iter().map(|c| (&all, c)).chain(more.cases.iter().map(|c| (&more, c)));
    for (golden, case) in both {
        let family = case["family"].as_str().unwrap();
        if !families.contains(&family) {
            continue;
        }
        // PyTorch's vector code makes gelu(inf) NaN in f32 and inf in f64.
        if case["name"].as_str().unwrap().starts_with("gelu_edge_f32") {
            continue;
        }
        let names = case["input_names"].as_array().unwrap().iter().map(|n| n.as_str().unwrap()).collect();
        let inputs = golden.list(case, "inputs").into_iter().map(Option::unwrap).collect();
        let Some(outcome) = layer(&Case { case, names, inputs }) else { continue };
        let tol = match (case["op"].as_str(), case["dtype"].as_str()) {
            // PyTorch keeps constants of these f64 gradients (a sixth, alpha) in f32.
            (Some("hardsigmoid" | "celu"), _) => 1e-7,
            (_, Some("f64")) => 1e-12,
            _ => 2e-6,
        };
        compare_case(golden, case, &outcome, tol);
        *compared.entry(family).or_default() += 1;
    }
    for (family, at_least) in [
        ("conv", 47),
        ("embedding", 2),
        ("pool", 60),
        ("norm", 30),
        ("unary", 100),
        ("index", 3),
        ("matmul", 4),
    ] {
        let n = compared.get(family).copied().unwrap_or(0);
        assert!(n >= at_least, "{n} cases of family {family} compared, at least {at_least} expected");
    }
}
