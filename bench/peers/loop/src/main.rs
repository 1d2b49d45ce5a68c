//! A training step of a small network as one would write it by hand in Rust, without any framework: what a framework's
//! own costs are measured against. No allocation in a step, one thread.

#[path = "../../serve.rs"]
mod serve;
use serve::{fill, Numbers, Timed};

const BATCH: usize = 32;
const INPUTS: usize = 22;
const HIDDEN: usize = 32;
const CLASSES: usize = 8;
const RATE: f32 = 0.01;

/// 22-32-8 with ReLU: 1,000 parameters. Weights lie `[out][in]`.
struct Mlp {
    w1: [[f32; INPUTS]; HIDDEN],
    b1: [f32; HIDDEN],
    w2: [[f32; HIDDEN]; CLASSES],
    b2: [f32; CLASSES],
}

fn rows<const N: usize, const M: usize>(flat: &[f32]) -> [[f32; N]; M] {
    std::array::from_fn(|i| std::array::from_fn(|j| flat[i * N + j]))
}

impl Mlp {
    fn new() -> Mlp {
        let parameter = |name: &str, shape: &[usize]| fill::parameter(name, shape);
        Mlp {
            w1: rows(&parameter("hidden.weight", &[HIDDEN, INPUTS])),
            b1: rows::<HIDDEN, 1>(&parameter("hidden.bias", &[HIDDEN]))[0],
            w2: rows(&parameter("out.weight", &[CLASSES, HIDDEN])),
            b2: rows::<CLASSES, 1>(&parameter("out.bias", &[CLASSES]))[0],
        }
    }

    /// One step of gradient descent on the mean cross-entropy. Returns the loss before it.
    fn step(&mut self, x: &[[f32; INPUTS]; BATCH], y: &[usize; BATCH]) -> f32 {
        let mut gw1 = [[0.0f32; INPUTS]; HIDDEN];
        let mut gb1 = [0.0f32; HIDDEN];
        let mut gw2 = [[0.0f32; HIDDEN]; CLASSES];
        let mut gb2 = [0.0f32; CLASSES];
        let mut loss = 0.0;
        for (x, &label) in x.iter().zip(y) {
            let mut hidden = self.b1;
            for (h, w) in hidden.iter_mut().zip(&self.w1) {
                *h += x.iter().zip(w).map(|(x, w)| x * w).sum::<f32>();
                *h = h.max(0.0);
            }
            let mut logits = self.b2;
            for (l, w) in logits.iter_mut().zip(&self.w2) {
                *l += hidden.iter().zip(w).map(|(h, w)| h * w).sum::<f32>();
            }
            let most = logits.iter().copied().fold(f32::MIN, f32::max);
            let all: f32 = logits.iter().map(|l| (l - most).exp()).sum();
            loss += all.ln() + most - logits[label];
            let mut g_hidden = [0.0f32; HIDDEN];
            for (class, logit) in logits.iter().enumerate() {
                let p = (logit - most).exp() / all;
                let g = (p - f32::from(u8::from(class == label))) / BATCH as f32;
                gb2[class] += g;
                for i in 0..HIDDEN {
                    gw2[class][i] += g * hidden[i];
                    g_hidden[i] += g * self.w2[class][i];
                }
            }
            for i in 0..HIDDEN {
                if hidden[i] > 0.0 {
                    gb1[i] += g_hidden[i];
                    for (g, x) in gw1[i].iter_mut().zip(x) {
                        *g += g_hidden[i] * x;
                    }
                }
            }
        }
        let descend = |w: &mut [f32], g: &[f32]| w.iter_mut().zip(g).for_each(|(w, g)| *w -= RATE * g);
        descend(self.w1.as_flattened_mut(), gw1.as_flattened());
        descend(&mut self.b1, &gb1);
        descend(self.w2.as_flattened_mut(), gw2.as_flattened());
        descend(&mut self.b2, &gb2);
        loss / BATCH as f32
    }
}

impl Numbers for f32 {
    fn numbers(&self) -> Result<Option<Vec<f32>>, String> {
        Ok(Some(vec![*self]))
    }
}

fn prepare(workload: &str) -> Result<Timed, String> {
    if workload != "mlp1000_step" {
        return Err("unknown workload".into());
    }
    let x = rows::<INPUTS, BATCH>(&fill::values("x", BATCH * INPUTS, fill::UNIT));
    let labels = fill::indices("y", BATCH, CLASSES as u32);
    let y: [usize; BATCH] = std::array::from_fn(|i| labels[i] as usize);
    let mut model = Mlp::new();
    Ok(Box::new(move || Ok(vec![Box::new(model.step(&x, &y)) as Box<dyn Numbers>])))
}

fn main() {
    serve::main("loop", &[("loop", "by hand")], &["mlp1000_step"], prepare);
}
