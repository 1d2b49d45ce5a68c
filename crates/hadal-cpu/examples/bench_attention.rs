//! Speed of attention:
//! `cargo run --release -p hadal-cpu --example bench_attention -- [part of a name] [--threads 1,2]`.
//!
//! Prints GFLOP/s of the products that are needed (half of them under a causal mask; the backward pass
//! counts five against the forward pass's two), for few queries GB/s of keys and values.

mod harness;

use hadal_core::ops::{Arg, AttentionOp, Backend, Data, Op, Out};
use hadal_core::{Buffer, DType, Layout, Shape};
use hadal_cpu::Cpu;
use harness::Harness;

struct Operand {
    buffer: Buffer,
    layout: Layout,
}

impl Operand {
    fn new(shape: &[usize], seed: usize) -> Operand {
        let layout = Layout::contiguous(Shape::new(shape));
        let mut buffer = Buffer::new(4 * layout.shape.numel());
        for (i, v) in buffer.as_mut_slice::<f32>().iter_mut().enumerate() {
            *v = ((i * 7919 + seed * 104_729) % 1009) as f32 / 504.0 - 1.0;
        }
        Operand { buffer, layout }
    }
    /// `[b, n, h, d]` in memory, seen as `[b, h, n, d]`.
    fn swapped(mut self) -> Operand {
        self.layout.shape.swap(1, 2);
        self.layout.strides.swap(1, 2);
        self
    }
    fn arg(&self) -> Arg<'_> {
        Arg { data: Data::Buffer(&self.buffer), dtype: DType::F32, layout: &self.layout }
    }
}

fn attention(h: &Harness, [b, heads, n, m, d]: [usize; 5], causal: bool, swapped: bool) {
    let order = if swapped { " [b, n, h, d]" } else { "" };
    let name = format!("[{b}, {heads}, {n}, {d}] keys {m}{}{order}", if causal { " causal" } else { "" });
    if !h.wants(&name) {
        return;
    }
    let of = |rows: usize, seed: usize| match swapped {
        true => Operand::new(&[b, rows, heads, d], seed).swapped(),
        false => Operand::new(&[b, heads, rows, d], seed),
    };
    let (q, k, v, dy) = (of(n, 1), of(m, 2), of(m, 3), of(n, 4));
    let op = AttentionOp { scale: 1.0 / (d as f64).sqrt(), causal };
    let mut y = Operand::new(&[b * n * heads * (d + 1)], 0);
    let shape = y.layout.shape.clone();
    let shapes = [&q.layout.shape, &k.layout.shape, &v.layout.shape];
    let flops = Op::Attention(op).flops(&shapes, &shape) as f64;
    let (amount, unit) = match n {
        1 => ((8 * b * heads * m * d) as f64, "GB/s"),
        _ => (flops, "GFLOP/s"),
    };
    h.report(&format!("{name} forward"), amount, unit, || {
        let out = Out { data: &mut y.buffer, dtype: DType::F32, shape: &shape };
        Cpu.run_op(&Op::Attention(op), &[q.arg(), k.arg(), v.arg()], out).expect("attention");
    });
    if n == 1 {
        return;
    }
    let mut grads = Operand::new(&[b * heads * d * (n + 2 * m)], 0);
    let shape = grads.layout.shape.clone();
    h.report(&format!("{name} backward"), 2.5 * flops, unit, || {
        let out = Out { data: &mut grads.buffer, dtype: DType::F32, shape: &shape };
        let inputs = [q.arg(), k.arg(), v.arg(), y.arg(), dy.arg()];
        Cpu.run_op(&Op::AttentionGrad(op), &inputs, out).expect("its gradient");
    });
}

fn main() {
    let h = Harness::from_args();
    for swapped in [false, true] {
        attention(&h, [8, 8, 256, 256, 64], true, swapped);
        attention(&h, [8, 12, 128, 128, 32], false, swapped);
        attention(&h, [1, 12, 1024, 1024, 64], true, swapped);
        attention(&h, [1, 12, 1, 1024, 64], false, swapped);
        attention(&h, [8, 12, 1, 4096, 64], false, swapped);
    }
}
