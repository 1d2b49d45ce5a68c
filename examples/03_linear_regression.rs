//! Linear regression twice: from scratch with `grad`, and with a layer, a loss and an optimizer (d2l, chapter 3).

use hadal::prelude::*;

fn main() -> Result<()> {
    // y = 2·x₀ - 3.4·x₁ + 4.2 and a little noise.
    let key = Key::new(0);
    let w_true = Tensor::new([[2.0f32], [-3.4]]);
    let x = Tensor::randn([1000, 2], DType::F32, key.split(0)).materialize()?;
    let noise = Tensor::normal([1000, 1], DType::F32, key.split(1), 0.0, 0.01);
    let y = (x.matmul(&w_true) + 4.2 + noise).materialize()?;

    // From scratch: two tensors, a gradient, a step.
    let mut w = Tensor::zeros([2, 1], DType::F32);
    let mut b = Tensor::zeros([1], DType::F32);
    for _ in 0..100 {
        let loss = (x.matmul(&w) + &b - &y).square().mean(..) * 0.5;
        let g = grad(&loss, &[&w, &b])?;
        w = (&w - &g[0] * 0.1).materialize()?;
        b = (&b - &g[1] * 0.1).materialize()?;
    }
    println!("from scratch: w = {}, b = {b}", w.flatten(0));

    // With parts.
    let mut model = Linear::new(&Init::new(1), 2, 1);
    let mut optimizer = Optimizer::new(Sgd::new(0.1).momentum(0.9));
    for _ in 0..300 {
        let prediction = model.forward(&x, &Ctx::train(key.split(2)));
        let grads = (loss::mse_loss(&prediction, &y) * 0.5).backward(&model)?;
        optimizer.step(&mut model, &grads)?;
    }
    println!("with layers:  w = {}", model.weight.get().flatten(0));

    let error = (model.weight.get().t() - w_true).abs().max(..).item::<f32>()?;
    assert!(error < 0.01, "the weights are off by {error}");
    Ok(())
}
