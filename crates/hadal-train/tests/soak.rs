//! Training that goes on: after a cycle of steps has been seen, memory is what it was after the cycle before.
//! A program of its own, since the figures are of the whole process. A few cycles as a test; with
//! `cargo xtask soak --minutes N` as many as fit, and then the memory that the system counts must not grow either.

use hadal_data::{Array, ArrayDataset, DataLoader};
use hadal_nn::loss::cross_entropy;
use hadal_nn::{Backward, Ctx, Embedding, Forward, Init, LayerNorm, Linear, Module};
use hadal_optim::{AdamW, ClipNorm, Optimizer, Sgd};
use hadal_tensor::{Key, Tensor, memory_stats};
use hadal_zoo::LeNet;
use peak_alloc::PeakAlloc;
use std::sync::Arc;
use std::time::{Duration, Instant};

#[global_allocator]
static HEAP: PeakAlloc = PeakAlloc;

/// Cycles before memory is looked at.
const WARM_UP: usize = 6;
/// Cycles of the test.
const CYCLES: usize = 10;
/// Bytes that the heap may have gained: queues of threads, buffers of the output.
const SLACK: usize = 64 << 10;
/// Bytes that the resident set of a long run may have gained from its first tenth to its end.
const RESIDENT_SLACK: usize = 8 << 20;

/// A layer of a small GPT.
#[derive(Module)]
struct Block {
    norm1: LayerNorm,
    mix: Linear,
    out: Linear,
    norm2: LayerNorm,
    up: Linear,
    down: Linear,
}

impl Forward for Block {
    fn forward(&self, x: &Tensor, cx: &Ctx) -> Tensor {
        let [n, len, width] = x.sizes();
        let all = self.mix.forward(&self.norm1.forward(x, cx), cx).reshape([n, len, 3, 4, width / 4]);
        let part = |i| all.select(2, i).transpose(1, 2); // [n, heads, len, width/heads]
        let y = part(0).scaled_dot_product_attention(&part(1), &part(2), None, true, None);
        let x = x + self.out.forward(&y.transpose(1, 2).flatten(2), cx);
        &x + self.down.forward(&self.up.forward(&self.norm2.forward(&x, cx), cx).gelu(), cx)
    }
}

#[derive(Module)]
struct Gpt {
    tokens: Embedding,
    blocks: Vec<Block>,
    head: Linear,
}

impl Gpt {
    fn new(init: &Init) -> Gpt {
        let linear = |from, to| Linear::new(init, from, to);
        let block = || Block {
            norm1: LayerNorm::new(init, 32),
            mix: linear(32, 96),
            out: linear(32, 32),
            norm2: LayerNorm::new(init, 32),
            up: linear(32, 64),
            down: linear(64, 32),
        };
        Gpt {
            tokens: Embedding::new(init, 50, 32),
            blocks: (0..2).map(|_| block()).collect(),
            head: linear(32, 50),
        }
    }
}

impl Forward for Gpt {
    fn forward(&self, x: &Tensor, cx: &Ctx) -> Tensor {
        let x = self.blocks.iter().fold(self.tokens.forward(x, cx), |x, b| b.forward(&x, cx));
        self.head.forward(&x, cx)
    }
}

/// Models that are trained, with what they need.
struct Runs {
    lenet: (LeNet, Optimizer),
    digits: DataLoader,
    gpt: (Gpt, Optimizer),
    steps: u64,
}

impl Runs {
    fn new() -> Runs {
        let init = Init::new(0);
        let images: Vec<f32> = (0..100 * 784).map(|i| (i * 37 % 101) as f32 / 101.0).collect();
        let data = ArrayDataset::new(
            Array::f32(&[100, 1, 28, 28], images).unwrap(),
            Array::i64(&[100], (0..100).map(|i| i % 10).collect()).unwrap(),
        );
        Runs {
            lenet: (LeNet::new(&init, 10), Optimizer::new(Sgd::new(0.1).momentum(0.9))),
            digits: DataLoader::new(Arc::new(data.unwrap())).batch_size(16).shuffle(1).workers(1),
            gpt: (Gpt::new(&init), Optimizer::new(AdamW::new(1e-3))),
            steps: 0,
        }
    }

    /// An epoch of LeNet, whose last batch is smaller, and texts of several lengths.
    fn cycle(&mut self, epoch: u64) {
        let (model, optimizer) = &mut self.lenet;
        for batch in self.digits.epoch(epoch).iter() {
            let batch = batch.unwrap();
            let x = Tensor::from_vec(batch.inputs.as_f32().unwrap().to_vec(), batch.inputs.shape());
            let y = Tensor::from_vec(batch.targets.as_i64().unwrap().to_vec(), batch.targets.shape());
            let loss = cross_entropy(&model.forward(&x, &Ctx::train(Key::new(epoch))), &y);
            let grads = loss.backward(model).unwrap();
            let (grads, _) = ClipNorm::new(1.0).clip(&grads);
            optimizer.step(model, &grads).unwrap();
            assert!(loss.item::<f32>().unwrap().is_finite());
            self.steps += 1;
        }
        let (model, optimizer) = &mut self.gpt;
        for len in [3, 17, 8, 33, 1, 20, 5] {
            let x = Tensor::randint(0, 50, [4, len], Key::new(epoch).split(len as u64));
            let logits = model.forward(&x, &Ctx::train(Key::new(epoch)));
            let loss = cross_entropy(&logits.reshape([4 * len, 50]), &x.reshape([4 * len]));
            let grads = loss.backward(model).unwrap();
            optimizer.step(model, &grads).unwrap();
            assert!(loss.item::<f32>().unwrap().is_finite());
            self.steps += 1;
        }
    }
}

/// What is held after a cycle, in bytes: by tensors, taken from the system for them, by everything on the heap
/// (graphs too), and what the system counts.
#[derive(Clone, Copy, Debug)]
struct Held {
    live: usize,
    fresh: usize,
    heap: usize,
    resident: usize,
}

fn held() -> Held {
    let m = memory_stats();
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let rss =
        status.lines().find_map(|l| l.strip_prefix("VmRSS:")?.trim().strip_suffix("kB")?.trim().parse().ok());
    Held { live: m.live, fresh: m.fresh, heap: HEAP.current_usage(), resident: rss.unwrap_or(0) * 1024 }
}

#[test]
fn memory_does_not_grow() {
    let minutes = std::env::var("HADAL_SOAK_MINUTES").ok().and_then(|m| m.parse::<f64>().ok());
    let mut runs = Runs::new();
    let (begun, mut next) = (Instant::now(), Duration::ZERO);
    // Kept apart and not in a list, which would grow.
    let (mut first, mut early, mut last) = (None, None, held());
    for cycle in 0.. {
        let spent = begun.elapsed();
        let share = minutes.map_or(0.0, |m| spent.as_secs_f64() / (60.0 * m));
        let enough = if minutes.is_some() { share > 1.0 && cycle > WARM_UP } else { cycle == CYCLES };
        if enough {
            break;
        }
        runs.cycle(cycle as u64);
        last = held();
        if minutes.is_some() && spent >= next {
            println!("{:6.1} min {:9} steps {last:?}", spent.as_secs_f64() / 60.0, runs.steps);
            next += Duration::from_secs(30);
        }
        if cycle < WARM_UP {
            continue;
        }
        let first: &Held = first.get_or_insert(last);
        assert_eq!((last.live, last.fresh), (first.live, first.fresh), "tensors after cycle {cycle}");
        assert!(last.heap <= first.heap + SLACK, "heap after cycle {cycle}: {last:?}, {first:?} at first");
        if share > 0.1 {
            early.get_or_insert(last.resident);
        }
    }
    println!("{} steps: {first:?} to {last:?}", runs.steps);
    if let Some(early) = early {
        assert!(last.resident <= early + RESIDENT_SLACK, "resident: {early} bytes, then {}", last.resident);
    }
}
