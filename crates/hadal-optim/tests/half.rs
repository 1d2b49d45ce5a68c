//! Half parameters: arithmetic and state in f32, one rounding; against PyTorch in f32 (see
//! `tools/golden/make_optim.py`).

use hadal_core::DType;
use hadal_nn::{Backward, Ctx, Forward, Grads, Init, Linear, Module, Param};
use hadal_optim::*;
use hadal_tensor::Tensor;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;

#[derive(Module)]
struct Two {
    w: Param,
    b: Param,
}

fn grads_of(model: &Two, w: &Tensor, b: &Tensor) -> Grads {
    let loss = (model.w.get() * w).sum(..) + (model.b.get() * b).sum(..);
    loss.backward(model).expect("depends on both")
}

fn optimizer(c: &Value) -> Optimizer {
    let a = &c["args"];
    let f = |k: &str| a[k].as_f64().unwrap_or(0.0);
    match c["optimizer"].as_str().expect("a name") {
        "SGD" => Optimizer::new(Sgd::new(f("lr")).momentum(f("momentum")).weight_decay(f("weight_decay"))),
        "Adam" => Optimizer::new(Adam::new(f("lr"))),
        "AdamW" => Optimizer::new(AdamW::new(f("lr")).weight_decay(f("weight_decay"))),
        _ => Optimizer::new(RmsProp::new(f("lr")).centered(true)),
    }
}

/// Distance of neighbouring numbers near `x`.
fn ulp(dtype: DType, x: f32) -> f32 {
    let digits = if dtype == DType::F16 { 10 } else { 7 };
    let smallest = if dtype == DType::F16 { -24 } else { -133 };
    2f32.powi((x.abs().log2().floor() as i32 - digits).max(smallest))
}

#[test]
fn half_parameters_equal_f32_arithmetic_rounded_once() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests-data/golden");
    let spec: Value = serde_json::from_str(&std::fs::read_to_string(dir.join("optim.json")).expect("a file"))
        .expect("JSON");
    let data: BTreeMap<String, Tensor> = hadal_io::safetensors::read(dir.join("optim.safetensors"))
        .expect("a file")
        .tensors
        .into_iter()
        .map(|(n, t)| (n, Tensor::from_bytes(&t.data, t.shape, t.dtype)))
        .collect();
    let (mut numbers, mut differ, mut cases) = (0, 0, 0);
    for c in spec["half"].as_array().expect("cases") {
        let name = c["name"].as_str().expect("a name");
        let dtype = if c["dtype"] == "f16" { DType::F16 } else { DType::BF16 };
        let mut opt = optimizer(c).master_weights(c["kind"] == "master");
        let start = |k: &str| Param::new(data[&format!("init/{k}")].cast(dtype).materialize().expect("data"));
        let mut model = Two { w: start("w"), b: start("b") };
        for t in 0..20 {
            if t == 9 {
                let saved = opt.state();
                assert!(saved.tensors.iter().all(|(_, t)| t.dtype() == DType::F32), "{name}");
                opt.load_state(&saved).expect("its own state");
            }
            let g = |k: &str| data[&format!("grads/{k}")].select(0, t).cast(dtype);
            let grads = grads_of(&model, &g("w"), &g("b"));
            opt.step(&mut model, &grads).expect("a step");
            for (k, p) in [("w", &model.w), ("b", &model.b)] {
                assert_eq!(p.dtype(), dtype);
                let want = data[&format!("{name}/{k}")].select(0, t).cast(DType::F32);
                let (a, b) = (
                    p.get().cast(DType::F32).to_vec::<f32>().expect("data"),
                    want.to_vec::<f32>().expect("data"),
                );
                for (a, b) in a.iter().zip(&b) {
                    // f32 sums may round differently next to a tie of the half type: a neighbour, rarely.
                    assert!((a - b).abs() <= 2.0 * ulp(dtype, *b), "{name}, {k} after {t}: {a}, not {b}");
                    numbers += 1;
                    differ += usize::from(a != b);
                }
            }
        }
        cases += 1;
    }
    assert_eq!(cases, 16);
    assert!(differ * 200 < numbers, "{differ} of {numbers} differ");
}

fn one(value: f32, dtype: DType) -> Two {
    let t = || Param::new(Tensor::new([value]).cast(dtype).materialize().expect("data"));
    Two { w: t(), b: t() }
}
fn w(model: &Two) -> f32 {
    model.w.get().cast(DType::F32).to_vec::<f32>().expect("data")[0]
}

#[test]
fn small_steps_add_up_in_master_weights_only() {
    // bf16 around 1 steps by 1/128: a step of 1e-4 is lost, a hundred of them are more than one.
    let run = |master: bool| {
        let mut model = one(1.0, DType::BF16);
        let mut opt = Optimizer::new(Sgd::new(1e-4)).master_weights(master);
        for _ in 0..100 {
            let g = Tensor::new([1.0f32]).cast(DType::BF16);
            let grads = grads_of(&model, &g, &g);
            opt.step(&mut model, &grads).expect("a step");
        }
        (model, opt)
    };
    assert_eq!(w(&run(false).0), 1.0);
    let (mut model, mut opt) = run(true);
    // 0.99 between its neighbours 0.98828125 and 0.9921875.
    assert_eq!(w(&model), 0.98828125);
    // A weight set from outside is where the next step starts.
    model.w.set(Tensor::new([3.0f32]).cast(DType::BF16));
    let g = Tensor::new([10_000.0f32]).cast(DType::BF16);
    let grads = grads_of(&model, &g, &g);
    opt.step(&mut model, &grads).expect("a step");
    assert_eq!(w(&model), 2.0);
}

#[test]
fn second_moments_do_not_underflow_in_f16() {
    // The square of 1e-4 is below f16's smallest number; Adam's step must still be lr in size.
    let mut model = one(0.0, DType::F16);
    let mut opt = Optimizer::new(Adam::new(0.01).eps(1e-12));
    let g = Tensor::new([1e-4f32]).cast(DType::F16);
    let grads = grads_of(&model, &g, &g);
    opt.step(&mut model, &grads).expect("a step");
    assert!((w(&model) + 0.01).abs() < 1e-5, "{}", w(&model));
}

#[test]
fn averages_of_half_weights_are_f32_and_survive_swapping() {
    let model = Linear::new(&Init::new(0).dtype(DType::BF16), 4, 2);
    let mut ema = Ema::new(&model, 0.999).expect("starts");
    let start = model.weight.get().cast(DType::F32).to_vec::<f32>().expect("data");
    model.weight.set(Tensor::zeros([2, 4], DType::BF16));
    let averages = |e: &Ema| e.state()[0].1.to_vec::<f32>().expect("f32");
    for _ in 0..10 {
        ema.update(&model).expect("updates");
    }
    for (a, s) in averages(&ema).iter().zip(&start) {
        let want = s * 0.999f32.powi(10);
        assert!((a - want).abs() <= 1e-6 * want.abs(), "{a} instead of {want}");
    }
    let before = averages(&ema);
    ema.swap(&model).expect("swaps");
    assert_eq!(model.weight.dtype(), DType::BF16);
    let e = ema.update(&model).expect_err("swapped").to_string();
    assert!(e.contains("swap them back"), "{e}");
    let y = model.forward(&Tensor::ones([1, 4], DType::BF16), &Ctx::eval());
    assert!(y.eval().is_ok());
    ema.swap(&model).expect("swaps back");
    assert_eq!(averages(&ema), before);
    assert_eq!(model.weight.get().cast(DType::F32).to_vec::<f32>().expect("data"), [0.0; 8]);
}

#[test]
fn the_factor_of_clipping_is_not_rounded_to_half() {
    let model = one(1.0, DType::BF16);
    let g = Tensor::new([3.0f32]).cast(DType::BF16);
    let grads = grads_of(&model, &g, &g);
    // Norm 3·√2; the exact result 1/√2 rounds to 0.70703125 in bf16.
    let (clipped, _) = clip_grad_norm(&grads, 1.0);
    let have = clipped.get("w").expect("one").cast(DType::F32).to_vec::<f32>().expect("data")[0];
    assert_eq!(have, 0.70703125);
}

#[test]
fn clipping_says_what_is_not_finite_and_which_norms_there_are() {
    let model = one(1.0, DType::F32);
    let grads = grads_of(&model, &Tensor::new([1.0f32]), &Tensor::new([f32::INFINITY]));
    let e = ClipNorm::new(1.0).checked(&grads).err().expect("not finite").to_string();
    assert!(
        e.starts_with("clip_grad_norm: the gradients' norm is inf; the gradient of b is not finite"),
        "{e}"
    );
    assert!(ClipNorm::new(1.0).only(|n, _| n == "w").checked(&grads).is_ok());
    for p in [0.0, -1.0, f64::NAN] {
        let e = total_norm(&grads, p).eval().expect_err("no norm").to_string();
        assert!(e.starts_with("clip_grad_norm: a norm of type"), "{e}");
    }
    assert_eq!(ClipNorm::new(1.0).only(|_, _| false).clip(&grads).1.item::<f32>().expect("0"), 0.0);
}

#[test]
fn state_of_other_groups_is_refused_before_anything_changes() {
    let mut model = one(1.0, DType::F32);
    let g = Tensor::new([1.0f32]);
    let mut with = Optimizer::new(Sgd::new(0.1)).group_rule(|n, _| n == "w", Sgd::new(0.1).momentum(0.9));
    let grads = grads_of(&model, &g, &g);
    with.step(&mut model, &grads).expect("a step");
    let saved = with.state();
    assert_eq!(saved.tensors.iter().map(|(n, _)| n.as_str()).collect::<Vec<_>>(), ["w.momentum_buffer"]);
    let e = Optimizer::new(Sgd::new(0.1)).load_state(&saved).expect_err("other options").to_string();
    assert!(e.contains("the state of w is of other options"), "{e}");
    let mut moved = Optimizer::new(Sgd::new(0.1)).group_rule(|n, _| n == "b", Sgd::new(0.1).momentum(0.9));
    moved.load_state(&saved).expect("each state fits a rule");
    let before = w(&model);
    let grads = grads_of(&model, &g, &g);
    let e = moved.step(&mut model, &grads).expect_err("of another group").to_string();
    assert!(e.starts_with("step: the state of"), "{e}");
    assert_eq!((w(&model), moved.steps()), (before, 1));
}

#[test]
fn a_first_metric_of_nan_is_not_the_best() {
    let mut p = Plateau::new(Mode::Min);
    p.patience = 0;
    assert_eq!(p.step(f64::NAN, 1.0), 0.1);
    assert_eq!(p.step(5.0, 0.1), 0.1);
    assert_eq!(p.step(4.0, 0.1), 0.1);
}

#[test]
fn a_far_step_of_equal_restarts_costs_nothing() {
    let s = Schedule::CosineRestarts { t_0: 10, t_mult: 1, eta_min: 0.0 };
    assert_eq!(s.lr(1.0, u64::MAX - 5), s.lr(1.0, (u64::MAX - 5) % 10));
}
