//! Deriving `Module` with nothing but `hadal` in reach.
//!
//! This file depends on `hadal` alone, as a user's program does: were a path to another crate of the
//! workspace generated, it would not compile.

use hadal::prelude::*;

#[derive(Module)]
struct Block {
    fc: Linear,
    #[module(rename = "norm_1")]
    norm: LayerNorm,
}

#[derive(Module)]
enum Head {
    Plain(Linear),
    #[allow(dead_code)]
    None,
}

#[derive(Module)]
struct Net<L: hadal::nn::Module> {
    blocks: Vec<Block>,
    #[module(flatten)]
    inner: L,
    head: Head,
    #[module(skip)]
    #[allow(dead_code)]
    width: usize,
    scale: Param,
}

/// What a program sees that renames the crate.
mod renamed {
    pub use hadal as hdl;
    #[derive(hdl::nn::Module)]
    #[module(crate = "hdl::nn")]
    pub struct One(pub hdl::nn::Linear);
}

fn names(m: &impl Module) -> Vec<String> {
    m.parameters().into_iter().map(|(n, _)| n).collect()
}

#[test]
fn structs_enums_generics_and_attributes() {
    let init = Init::new(0);
    let net = Net {
        blocks: vec![Block { fc: Linear::new(&init, 4, 4), norm: LayerNorm::new(&init, [4]) }],
        inner: Linear::new(&init, 4, 3).no_bias(),
        head: Head::Plain(Linear::new(&init, 3, 2)),
        width: 4,
        scale: Param::new(Tensor::ones([1], DType::F32)),
    };
    assert_eq!(
        names(&net),
        [
            "blocks.0.fc.weight",
            "blocks.0.fc.bias",
            "blocks.0.norm_1.weight",
            "blocks.0.norm_1.bias",
            "weight",
            "head.weight",
            "head.bias",
            "scale"
        ]
    );
    assert_eq!(names(&renamed::One(Linear::new(&init, 1, 1))), ["0.weight", "0.bias"]);
}

#[test]
fn a_model_learns_is_saved_and_loaded() {
    #[derive(Module)]
    struct Line {
        fc: Linear,
    }
    let mut model = Line { fc: Linear::new(&Init::new(0), 1, 1) };
    let x = Tensor::linspace(-1.0, 1.0, 32).reshape([32, 1]);
    let y = &x * 3.0 - 0.5;
    let mut optimizer = Optimizer::new(Sgd::new(0.5));
    for step in 0..60 {
        let cx = Ctx::train(Key::new(1).split(step));
        let loss = (model.fc.forward(&x, &cx) - &y).square().mean(..);
        let grads = loss.backward(&model).unwrap();
        optimizer.step(&mut model, &grads).unwrap();
    }
    assert!((model.fc.weight.get().item::<f32>().unwrap() - 3.0).abs() < 1e-3);

    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("line.safetensors");
    save_safetensors(&path, &model.state_dict(), &[("model", "line")]).unwrap();
    let other = Line { fc: Linear::new(&Init::new(9), 1, 1) };
    other.load_state_dict(&load_safetensors(&path).unwrap(), true).unwrap();
    let read = |m: &Line| m.fc.weight.get().item::<f32>().unwrap();
    assert_eq!(read(&model).to_bits(), read(&other).to_bits());
}

#[test]
fn the_prelude_reaches_slices_einsum_and_second_gradients() {
    let x = Tensor::arange(0, 6, 1).reshape([2, 3]).cast(DType::F32);
    assert_eq!(x.slice(&s![.., 1..]).dims(), [2, 2]);
    assert_eq!(einsum("ij,kj->ik", &[&x, &x]).dims(), [2, 2]);
    let t = Tensor::from_slice(&[2.0f64]);
    let d = grad(&(&t * &t * &t).sum(..), &[&t]).unwrap().remove(0);
    let dd = grad(&d.sum(..), &[&t]).unwrap().remove(0);
    assert_eq!(dd.item::<f64>().unwrap(), 12.0);
}
