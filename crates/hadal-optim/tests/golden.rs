//! Optimizers over 20 steps, clipping and schedules against PyTorch (Yogi and Lion against their papers),
//! from `tests-data/golden/` (made by `tools/golden/make_optim.py` and `make_schedules.py`).

use hadal_nn::{Backward, Grads, Module, Param};
use hadal_optim::*;
use hadal_tensor::Tensor;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

fn dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests-data/golden")
}
fn json(name: &str) -> Value {
    serde_json::from_str(&std::fs::read_to_string(dir().join(name)).expect("in the repository"))
        .expect("JSON")
}
fn tensors(name: &str) -> BTreeMap<String, Tensor> {
    let file = hadal_io::safetensors::read(dir().join(name)).expect("in the repository");
    file.tensors.into_iter().map(|(n, t)| (n, Tensor::from_bytes(&t.data, t.shape, t.dtype))).collect()
}

#[derive(Module)]
struct Two {
    w: Param,
    b: Param,
}

fn number(a: &Value, key: &str, default: f64) -> f64 {
    a[key].as_f64().unwrap_or(default)
}
fn flag(a: &Value, key: &str) -> bool {
    a[key].as_bool().unwrap_or(false)
}
fn pair(a: &Value, default: (f64, f64)) -> (f64, f64) {
    a["betas"].as_array().map_or(default, |v| (v[0].as_f64().unwrap(), v[1].as_f64().unwrap()))
}
fn sgd(a: &Value) -> Sgd {
    Sgd::new(number(a, "lr", f64::NAN))
        .momentum(number(a, "momentum", 0.0))
        .dampening(number(a, "dampening", 0.0))
        .nesterov(flag(a, "nesterov"))
        .weight_decay(number(a, "weight_decay", 0.0))
        .maximize(flag(a, "maximize"))
}
fn adam(a: &Value) -> Adam {
    Adam::new(number(a, "lr", f64::NAN))
        .betas(pair(a, (0.9, 0.999)))
        .eps(number(a, "eps", 1e-8))
        .weight_decay(number(a, "weight_decay", 0.0))
        .amsgrad(flag(a, "amsgrad"))
        .maximize(flag(a, "maximize"))
        .decoupled_weight_decay(flag(a, "decoupled_weight_decay"))
}

/// The rule of a case.
fn rule(name: &str, a: &Value) -> Optimizer {
    let f = |k: &str, default: f64| number(a, k, default);
    let b = |k: &str| flag(a, k);
    let betas = |default| pair(a, default);
    let lr = f("lr", f64::NAN);
    let std = (0.9, 0.999);
    match name {
        "SGD" => Optimizer::new(sgd(a)),
        "Adagrad" => Optimizer::new(
            Adagrad::new(lr)
                .maximize(b("maximize"))
                .lr_decay(f("lr_decay", 0.0))
                .weight_decay(f("weight_decay", 0.0))
                .initial_accumulator_value(f("initial_accumulator_value", 0.0))
                .eps(f("eps", 1e-10)),
        ),
        "RMSprop" => Optimizer::new(
            RmsProp::new(lr)
                .maximize(b("maximize"))
                .alpha(f("alpha", 0.99))
                .eps(f("eps", 1e-8))
                .weight_decay(f("weight_decay", 0.0))
                .momentum(f("momentum", 0.0))
                .centered(b("centered")),
        ),
        "Adadelta" => Optimizer::new(
            Adadelta::new(lr)
                .maximize(b("maximize"))
                .rho(f("rho", 0.9))
                .eps(f("eps", 1e-6))
                .weight_decay(f("weight_decay", 0.0)),
        ),
        "Adam" => Optimizer::new(adam(a)),
        "AdamW" => Optimizer::new(
            AdamW::new(lr)
                .maximize(b("maximize"))
                .betas(betas(std))
                .eps(f("eps", 1e-8))
                .weight_decay(f("weight_decay", 1e-2))
                .amsgrad(b("amsgrad")),
        ),
        "Adamax" => Optimizer::new(
            Adamax::new(lr)
                .maximize(b("maximize"))
                .betas(betas(std))
                .eps(f("eps", 1e-8))
                .weight_decay(f("weight_decay", 0.0)),
        ),
        "NAdam" => Optimizer::new(
            NAdam::new(lr)
                .maximize(b("maximize"))
                .maximize(b("maximize"))
                .weight_decay(f("weight_decay", 0.0))
                .momentum_decay(f("momentum_decay", 4e-3))
                .decoupled_weight_decay(b("decoupled_weight_decay")),
        ),
        "RAdam" => Optimizer::new(
            RAdam::new(lr)
                .maximize(b("maximize"))
                .maximize(b("maximize"))
                .betas(betas(std))
                .weight_decay(f("weight_decay", 0.0))
                .decoupled_weight_decay(b("decoupled_weight_decay")),
        ),
        "Yogi" => Optimizer::new(
            Yogi::new(lr)
                .betas(betas(std))
                .eps(f("eps", 1e-3))
                .weight_decay(f("weight_decay", 0.0))
                .initial_accumulator(f("initial_accumulator", 1e-6))
                .bias_correction(b("bias_correction")),
        ),
        "Lion" => {
            Optimizer::new(Lion::new(lr).betas(betas((0.9, 0.99))).weight_decay(f("weight_decay", 0.0)))
        }
        other => panic!("no rule for {other}"),
    }
}

/// Gradients that are exactly these: of `Σ w·g`.
fn grads_of(model: &Two, w: &Tensor, b: &Tensor) -> Grads {
    let loss = (model.w.get() * w).sum(..) + (model.b.get() * b).sum(..);
    loss.backward(model).expect("depends on both")
}

fn close(what: &str, got: &Tensor, want: &Tensor) {
    // PyTorch keeps NAdam's running product of momenta in f32.
    let tolerance = if what.starts_with("nadam") { 1e-8 } else { 1e-12 };
    let (a, b) = (got.to_vec::<f64>().expect("f64"), want.to_vec::<f64>().expect("f64"));
    assert_eq!(a.len(), b.len(), "{what}");
    for (x, y) in a.iter().zip(&b) {
        assert!((x - y).abs() <= tolerance * (1.0 + y.abs()), "{what}: {x} instead of {y}");
    }
}

#[test]
fn optimizers_equal_pytorch_over_twenty_steps() {
    let (spec, data) = (json("optim.json"), tensors("optim.safetensors"));
    let get = |v: &Value| data[v.as_str().expect("a key")].clone();
    let mut ran = 0;
    for c in spec["cases"].as_array().expect("cases") {
        let name = c["name"].as_str().expect("a name");
        let mut opt = rule(c["optimizer"].as_str().expect("a name"), &c["args"]);
        if let Some(groups) = c["groups"].as_object() {
            let lr = c["args"]["lr"].as_f64().expect("a rate");
            for (param, options) in groups {
                let (param, is) = (param.clone(), param.clone());
                if options.get("momentum").is_some() || options.get("betas").is_some() {
                    let mut args = c["args"].clone();
                    for (k, v) in options.as_object().expect("options") {
                        args[k] = v.clone();
                    }
                    opt = match c["optimizer"].as_str() {
                        Some("SGD") => opt.group_rule(move |n, _| n == is, sgd(&args)),
                        _ => opt.group_rule(move |n, _| n == is, adam(&args)),
                    };
                    continue;
                }
                opt = opt.group(
                    move |n, _| n == param,
                    GroupOptions {
                        lr_scale: options["lr"].as_f64().map(|v| v / lr),
                        weight_decay: options["weight_decay"].as_f64(),
                        l1: None,
                    },
                );
            }
        }
        let mut model = Two { w: Param::new(get(&c["init"]["w"])), b: Param::new(get(&c["init"]["b"])) };
        let (gw, gb) = (get(&c["grads"]["w"]), get(&c["grads"]["b"]));
        let (aw, ab) = (get(&c["after"]["w"]), get(&c["after"]["b"]));
        for t in 0..gw.dims()[0] {
            // In the middle, everything goes through a saved state.
            if t == 9 {
                let saved = opt.state();
                opt.load_state(&saved).expect("its own state");
            }
            let at = |x: &Tensor| x.select(0, t as isize);
            let grads = grads_of(&model, &at(&gw), &at(&gb));
            opt.step(&mut model, &grads).expect("a step");
            close(&format!("{name}, w after step {t}"), &model.w.get(), &at(&aw));
            close(&format!("{name}, b after step {t}"), &model.b.get(), &at(&ab));
        }
        ran += 1;
    }
    assert!(ran >= 47, "only {ran} cases ran");
}

#[test]
fn clipping_equals_pytorch() {
    let (spec, data) = (json("optim.json"), tensors("optim.safetensors"));
    let get = |v: &Value| data[v.as_str().expect("a key")].clone();
    let mut ran = 0;
    for c in spec["clipping"].as_array().expect("cases") {
        let name = c["name"].as_str().expect("a name");
        let step = c["at_step"].as_i64().expect("a step") as isize;
        let (gw, gb) = (get(&c["grads"]["w"]).select(0, step), get(&c["grads"]["b"]).select(0, step));
        let model = Two {
            w: Param::new(gw.materialize().expect("data")),
            b: Param::new(gb.materialize().expect("data")),
        };
        let grads = grads_of(&model, &gw, &gb);
        let clipped = match c["args"]["clip_value"].as_f64() {
            Some(limit) => clip_grad_value(&grads, limit),
            None => {
                let p = c["args"]["norm_type"].as_f64().unwrap_or(f64::INFINITY);
                let max = c["args"]["max_norm"].as_f64().expect("a norm");
                let (clipped, norm) = ClipNorm::new(max).norm_type(p).checked(&grads).expect("finite");
                let want = c["total_norm"].as_f64().expect("a norm");
                for norm in [norm, total_norm(&grads, p)] {
                    let have = norm.item::<f64>().expect("computes");
                    assert!((have - want).abs() < 1e-12 * (1.0 + want), "{name}: {have}, not {want}");
                }
                clipped
            }
        };
        for p in ["w", "b"] {
            close(name, clipped.get(p).expect("has one"), &get(&c["clipped"][p]));
        }
        ran += 1;
    }
    assert_eq!(ran, 7);
}

#[test]
fn schedules_equal_pytorch() {
    for c in json("schedules.json")["cases"].as_array().expect("cases") {
        let base = c["base_lr"].as_f64().expect("a rate");
        let want: Vec<f64> = c["lrs"].as_array().expect("rates").iter().filter_map(Value::as_f64).collect();
        let name = c["name"].as_str().expect("a name");
        let got: Vec<f64> = if c["schedule"] == "ReduceLROnPlateau" {
            let a = &c["args"];
            let f = |k: &str| a[k].as_f64().expect(k);
            let mut p = Plateau::new(if a["mode"] == "min" { Mode::Min } else { Mode::Max });
            p.factor = f("factor");
            p.patience = f("patience") as u64;
            p.threshold = f("threshold");
            p.relative = a["threshold_mode"] == "rel";
            p.cooldown = f("cooldown") as u64;
            p.min_lr = f("min_lr");
            p.eps = a["eps"].as_f64().unwrap_or(p.eps);
            let mut lr = base;
            let metrics = c["metrics"].as_array().expect("metrics").iter().filter_map(Value::as_f64);
            metrics
                // The rate an epoch has is the one before its metric is known.
                .map(|m| {
                    let next = p.step(m, lr);
                    std::mem::replace(&mut lr, next)
                })
                .collect()
        } else {
            let s = schedule(c["schedule"].as_str().expect("a name"), &c["args"]);
            (0..want.len() as u64).map(|t| s.lr(base, t)).collect()
        };
        if let Some(momenta) = c["momenta"].as_array() {
            let s = schedule("OneCycleLR", &c["args"]);
            for (t, want) in momenta.iter().filter_map(Value::as_f64).enumerate() {
                let have = s.momentum(0.8, 0.95, t as u64).expect("one cycle");
                assert!(
                    (have - want).abs() < 1e-12,
                    "{name}, momentum of step {t}: {have} instead of {want}"
                );
            }
        }
        for (t, (a, b)) in got.iter().zip(&want).enumerate() {
            assert!((a - b).abs() <= 1e-12 * (1.0 + b.abs()), "{name} at step {t}: {a} instead of {b}");
        }
        assert_eq!(got.len(), want.len(), "{name}");
    }
}

fn schedule(name: &str, a: &Value) -> Schedule {
    let f = |k: &str| a[k].as_f64().unwrap_or(0.0);
    let n = |k: &str| a[k].as_u64().unwrap_or(0);
    match name {
        // Every `step_size` steps, from the start on.
        "StepLR" => Schedule::Factor { factor: f("gamma"), every: n("step_size"), floor: 0.0 },
        "MultiStepLR" => Schedule::MultiStep {
            milestones: a["milestones"]
                .as_array()
                .expect("a list")
                .iter()
                .filter_map(Value::as_u64)
                .collect(),
            gamma: f("gamma"),
        },
        "ExponentialLR" => Schedule::Exponential { gamma: f("gamma") },
        "ConstantLR" => Schedule::Sequential {
            parts: vec![
                Schedule::Linear { start: f("factor"), end: f("factor"), total: 1 },
                Schedule::Constant,
            ],
            milestones: vec![n("total_iters")],
        },
        "PolynomialLR" => Schedule::Polynomial { total: n("total_iters"), power: f("power") },
        "CosineAnnealingLR" => Schedule::cosine(n("T_max"), f("eta_min")),
        "CosineAnnealingWarmRestarts" => {
            Schedule::CosineRestarts { t_0: n("T_0"), t_mult: n("T_mult"), eta_min: f("eta_min") }
        }
        "LinearLR" => {
            Schedule::Linear { start: f("start_factor"), end: f("end_factor"), total: n("total_iters") }
        }
        "SequentialLR" => Schedule::Sequential {
            parts: a["schedulers"]
                .as_array()
                .expect("a list")
                .iter()
                .map(|s| schedule(s["schedule"].as_str().expect("a name"), &s["args"]))
                .collect(),
            milestones: a["milestones"]
                .as_array()
                .expect("a list")
                .iter()
                .filter_map(Value::as_u64)
                .collect(),
        },
        "OneCycleLR" => Schedule::OneCycle {
            total: n("total_steps"),
            pct_start: f("pct_start"),
            div_factor: f("div_factor"),
            final_div_factor: f("final_div_factor"),
            anneal: if a["anneal_strategy"] == "cos" { Anneal::Cos } else { Anneal::Linear },
            three_phase: a["three_phase"].as_bool().unwrap_or(false),
        },
        "ChainedScheduler" => Schedule::Chained {
            parts: a["schedulers"]
                .as_array()
                .expect("a list")
                .iter()
                .map(|s| schedule(s["schedule"].as_str().expect("a name"), &s["args"]))
                .collect(),
        },
        "CyclicLR" => Schedule::Cyclic {
            max: f("max_lr"),
            up: n("step_size_up"),
            down: n("step_size_down"),
            height: match a["mode"].as_str() {
                Some("triangular") => CycleHeight::Constant,
                Some("triangular2") => CycleHeight::Halved,
                _ => CycleHeight::Exponential(f("gamma")),
            },
        },
        "factor" => Schedule::Factor { factor: f("factor"), every: 1, floor: f("min_lr") },
        "square_root" => Schedule::SquareRoot,
        other => panic!("no schedule for {other}"),
    }
}

#[test]
fn gradients_of_another_model_are_refused() {
    let two = || Two { w: Param::new(Tensor::new([1.0f64])), b: Param::new(Tensor::new([1.0f64])) };
    let (mut model, other) = (two(), two());
    let grads = (other.w.get().sum(..) + other.b.get().sum(..)).backward(&other).expect("builds");
    let e = Optimizer::new(Sgd::new(0.1)).step(&mut model, &grads).expect_err("refused").to_string();
    assert!(e.starts_with("step: w of these gradients is no parameter of the model"), "{e}");
    assert_eq!(other.w.get().item::<f64>().expect("kept"), 1.0);
}

#[test]
fn an_error_in_the_graph_changes_no_parameter() {
    let w = Tensor::new([1.0f64, 2.0]);
    let mut model = Two { w: Param::new(w.clone()), b: Param::new(w.clone()) };
    let mut opt = Optimizer::new(Sgd::new(0.1));
    // Found only when computed: an index out of range.
    let picked = model.w.get().gather(0, &Tensor::new([9i64]));
    let grads = (picked.sum(..) + model.b.get().sum(..)).backward(&model).expect("builds");
    assert!(opt.step(&mut model, &grads).is_err());
    assert_eq!(model.w.get().to_vec::<f64>().expect("kept"), [1.0, 2.0]);
    assert_eq!(opt.steps(), 0);
}
