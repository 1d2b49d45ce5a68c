//! A layer of your own: a gated linear unit with learned temperature, in a model, with named errors.

use hadal::prelude::*;
use hadal::tensor::Tag;

/// `(x·W₁ᵀ + b₁) · sigmoid(τ·(x·W₂ᵀ + b₂))`: input `[.., in]`, output `[.., out]`.
#[derive(Module)]
struct Gated {
    tag: Tag,
    value: Linear,
    gate: Linear,
    temperature: Param,
}

impl Gated {
    fn new(init: &Init, inputs: usize, outputs: usize) -> Self {
        Self {
            tag: Tag::new("Gated"),
            value: Linear::new(init, inputs, outputs),
            gate: Linear::new(init, inputs, outputs),
            temperature: init.constant([1], 1.0),
        }
    }
}

impl Forward for Gated {
    fn forward(&self, x: &Tensor, cx: &Ctx) -> Tensor {
        let value = self.value.forward(x, cx);
        let gate = self.gate.forward(x, cx);
        let _layer = cx.enter(&self.tag);
        value * (gate * self.temperature.get()).sigmoid()
    }
}

#[derive(Module)]
struct Net {
    hidden: Vec<Gated>,
    out: Linear,
}

impl Forward for Net {
    fn forward(&self, x: &Tensor, cx: &Ctx) -> Tensor {
        let h = self.hidden.iter().fold(x.clone(), |h, layer| layer.forward(&h, cx));
        self.out.forward(&h, cx)
    }
}

fn main() -> Result<()> {
    let init = Init::new(3);
    let mut net = Net {
        hidden: vec![Gated::new(&init, 2, 16), Gated::new(&init, 16, 16)],
        out: Linear::new(&init, 16, 1),
    };
    for (name, p) in net.parameters() {
        println!("{name:28} {}", p.shape());
    }

    // Learn x·y, which needs the gates.
    let x = Tensor::uniform([512, 2], DType::F32, Key::new(1), -1.0, 1.0).materialize()?;
    let y = x.prod_keepdim(1).materialize()?;
    let mut optimizer = Optimizer::new(Adam::new(0.01));
    let mut last = f32::NAN;
    for step in 0..300 {
        let grads = loss::mse_loss(&net.forward(&x, &Ctx::train(Key::new(step))), &y).backward(&net)?;
        optimizer.step(&mut net, &grads)?;
        last = grads.loss().item()?;
    }
    println!("mean squared error {last:.5}");
    assert!(last < 0.01);

    // What a wrong input says.
    println!("\n{}", net.forward(&Tensor::ones([1, 3], DType::F32), &Ctx::eval()).eval().unwrap_err());
    Ok(())
}
