//! A training loop of your own on real digits: loader, accumulation, clipping, a schedule, averages of
//! the weights.

use hadal::prelude::*;
use std::sync::Arc;

#[derive(Module)]
struct Net {
    conv: Conv2d,
    norm: BatchNorm2d,
    out: Linear,
}

impl Forward for Net {
    fn forward(&self, x: &Tensor, cx: &Ctx) -> Tensor {
        // [n, 1, 28, 28]
        let x = self.norm.forward(&self.conv.forward(x, cx), cx).relu(); // [n, 8, 14, 14]
        self.out.forward(&x.max_pool2d(2).flatten(1), cx) // [n, 10]
    }
}

fn main() -> std::result::Result<(), Box<dyn std::error::Error>> {
    let digits = |split| load_named("digits", split, Places::default(), &mut |_| {});
    let (train, test) = (digits(Split::Train)?, digits(Split::Test)?);
    let loader = DataLoader::new(Arc::new(train)).batch_size(64).shuffle(0).drop_last(true);

    let init = Init::new(0);
    let mut net = Net {
        conv: Conv2d::new(&init, 1, 8, 5).stride(2).padding(2),
        norm: BatchNorm2d::new(&init, 8),
        out: Linear::new(&init, 8 * 7 * 7, 10),
    };
    let mut optimizer = Optimizer::new(AdamW::new(3e-3));
    let mut average = Ema::new(&net, 0.98)?;
    let key = Key::new(1);
    let updates = loader.batches(0)? as u64 * 4 / 2; // four epochs, two batches a step
    let schedule = Schedule::cosine(updates, 0.0).with_warmup(10, 0.1);

    for epoch in 0..4 {
        let mut pending: Option<Grads> = None;
        for batch in loader.epoch(epoch).iter() {
            let batch = batch?;
            let (x, y) = (batch.inputs.tensor(), batch.targets.tensor());
            let logits = net.forward(&x, &Ctx::train(key.split(optimizer.steps())));
            let grads = loss::cross_entropy(&logits, &y).backward(&net)?;
            // Two batches make one step.
            let Some(first) = pending.take() else {
                grads.eval()?;
                pending = Some(grads);
                continue;
            };
            let (grads, norm) = clip_grad_norm(&first.accumulate(&grads)?.scale(0.5), 1.0);
            optimizer.set_lr(schedule.lr(3e-3, optimizer.steps()));
            optimizer.step(&mut net, &grads)?;
            average.update(&net)?;
            if optimizer.steps().is_multiple_of(25) {
                let loss = grads.loss().item::<f32>()?;
                println!(
                    "step {:3}  loss {loss:.3}  gradient norm {:.2}",
                    optimizer.steps(),
                    norm.item::<f32>()?
                );
            }
        }
    }

    average.swap(&net)?;
    let (mut right, mut seen) = (0.0, 0.0);
    for batch in DataLoader::new(Arc::new(test)).batch_size(500).epoch(0).iter() {
        let batch = batch?;
        let guess = net.forward(&batch.inputs.tensor(), &Ctx::eval()).argmax(1, false);
        right += guess.eq(batch.targets.tensor()).sum(..).item::<f32>()?;
        seen += guess.numel() as f32;
    }
    println!("test accuracy {:.3}", right / seen);
    assert!(right / seen > 0.93);
    Ok(())
}
