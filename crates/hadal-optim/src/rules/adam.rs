//! Adam and what came of it.

use super::{Common, Rule, Slots, StepInfo, rule_options};
use hadal_tensor::Tensor;

/// The running average with one value more; `memory` is the share of the old one.
fn average(old: &Tensor, new: &Tensor, memory: f64) -> Tensor {
    old * memory + new * (1.0 - memory)
}

/// Exponential averages of gradient and squared gradient, which the Adam family shares.
fn moments(g: &Tensor, slots: &mut Slots, betas: (f64, f64)) -> (Tensor, Tensor) {
    let t = &mut slots.tensors;
    t[0] = average(&t[0], g, betas.0);
    t[1] = average(&t[1], &(g * g), betas.1);
    (t[0].clone(), t[1].clone())
}

/// What an average that started at 0 must be divided by after `step` steps.
fn bias(beta: f64, step: u64) -> f64 {
    1.0 - beta.powf(step as f64)
}

/// The betas of this step: a schedule may move the first.
fn betas_of(betas: (f64, f64), info: &StepInfo) -> (f64, f64) {
    (info.momentum.unwrap_or(betas.0), betas.1)
}

/// Decay apart from the gradient, for rules that offer both.
macro_rules! decay_either_way {
    ($($rule:ident),*) => { $(impl $rule {
        /// Whether decay shrinks the weight directly instead of adding to the gradient. Default false.
        pub fn decoupled_weight_decay(mut self, decoupled: bool) -> Self {
            self.common.decoupled = decoupled;
            self
        }
    })* };
}
decay_either_way!(Adam, NAdam, RAdam);

rule_options! {
    /// Adam (Kingma, Ba 2015), weight decay added to the gradient.
    Adam(name = "Adam", lr = 1e-3, weight_decay = 0.0, decoupled = false) {
        /// Memory of gradient and squared gradient. Default (0.9, 0.999).
        betas: (f64, f64) = (0.9, 0.999),
        /// Keeps the division finite. Default 1e-8.
        eps: f64 = 1e-8,
        /// Divides by the largest average so far (AMSGrad; Reddi, Kale, Kumar 2018). Default false.
        amsgrad: bool = false,
    }
}
impl Rule for Adam {
    fn common(&self) -> &Common {
        &self.common
    }
    fn slots(&self) -> &'static [&'static str] {
        adam_slots(self.amsgrad)
    }
    fn update(&self, p: &Tensor, g: &Tensor, slots: &mut Slots, info: &StepInfo) -> Tensor {
        adam(p, g, slots, info, betas_of(self.betas, info), self.eps)
    }
}

rule_options! {
    /// AdamW (Loshchilov, Hutter 2019), weight decay apart from the gradient.
    AdamW(name = "AdamW", lr = 1e-3, weight_decay = 1e-2, decoupled = true) {
        /// Memory of gradient and squared gradient. Default (0.9, 0.999).
        betas: (f64, f64) = (0.9, 0.999),
        /// Keeps the division finite. Default 1e-8.
        eps: f64 = 1e-8,
        /// Divides by the largest average so far (AMSGrad; Reddi, Kale, Kumar 2018). Default false.
        amsgrad: bool = false,
    }
}
impl Rule for AdamW {
    fn common(&self) -> &Common {
        &self.common
    }
    fn slots(&self) -> &'static [&'static str] {
        adam_slots(self.amsgrad)
    }
    fn update(&self, p: &Tensor, g: &Tensor, slots: &mut Slots, info: &StepInfo) -> Tensor {
        adam(p, g, slots, info, betas_of(self.betas, info), self.eps)
    }
}

fn adam_slots(amsgrad: bool) -> &'static [&'static str] {
    if amsgrad { &["exp_avg", "exp_avg_sq", "max_exp_avg_sq"] } else { &["exp_avg", "exp_avg_sq"] }
}

/// The step of Adam and AdamW; a third slot is AMSGrad's.
fn adam(p: &Tensor, g: &Tensor, slots: &mut Slots, info: &StepInfo, betas: (f64, f64), eps: f64) -> Tensor {
    let (m, mut v) = moments(g, slots, betas);
    if let Some(largest) = slots.tensors.get_mut(2) {
        *largest = largest.maximum(&v);
        v = largest.clone();
    }
    let denominator = v.sqrt() * (1.0 / bias(betas.1, info.step).sqrt()) + eps;
    p - m / denominator * (info.lr / bias(betas.0, info.step))
}

rule_options! {
    /// Adamax: Adam with the infinity norm (Kingma, Ba 2015, section 7).
    Adamax(name = "Adamax", lr = 2e-3, weight_decay = 0.0, decoupled = false) {
        /// Memory of gradient and norm. Default (0.9, 0.999).
        betas: (f64, f64) = (0.9, 0.999),
        /// Keeps the division finite. Default 1e-8.
        eps: f64 = 1e-8,
    }
}
impl Rule for Adamax {
    fn common(&self) -> &Common {
        &self.common
    }
    fn slots(&self) -> &'static [&'static str] {
        &["exp_avg", "exp_inf"]
    }
    fn update(&self, p: &Tensor, g: &Tensor, slots: &mut Slots, info: &StepInfo) -> Tensor {
        let betas = betas_of(self.betas, info);
        let t = &mut slots.tensors;
        t[0] = average(&t[0], g, betas.0);
        t[1] = (&t[1] * betas.1).maximum(g.abs() + self.eps);
        p - &t[0] / &t[1] * (info.lr / bias(betas.0, info.step))
    }
}

rule_options! {
    /// Yogi (Zaheer et al. 2018): the second moment changes by its sign, so it cannot jump.
    Yogi(name = "Yogi", lr = 1e-2, weight_decay = 0.0, decoupled = false) {
        /// Memory of gradient and squared gradient. Default (0.9, 0.999).
        betas: (f64, f64) = (0.9, 0.999),
        /// Keeps the division finite. Default 1e-3.
        eps: f64 = 1e-3,
        /// Where the second moment starts. Default 1e-6.
        initial_accumulator: f64 = 1e-6,
        /// Corrects the averages' start, as implementations do; the paper does not. Default true.
        bias_correction: bool = true,
    }
}
impl Rule for Yogi {
    fn common(&self) -> &Common {
        &self.common
    }
    fn slots(&self) -> &'static [&'static str] {
        &["exp_avg", "exp_avg_sq"]
    }
    fn start(&self, param: &Tensor) -> Slots {
        let tensors = vec![Tensor::zeros_like(param), Tensor::full_like(param, self.initial_accumulator)];
        Slots { tensors, product: 1.0 }
    }
    fn update(&self, p: &Tensor, g: &Tensor, slots: &mut Slots, info: &StepInfo) -> Tensor {
        let betas = betas_of(self.betas, info);
        let t = &mut slots.tensors;
        let square = g * g;
        t[0] = average(&t[0], g, betas.0);
        t[1] = &t[1] - (&t[1] - &square).sign() * &square * (1.0 - betas.1);
        let (b1, b2) = if self.bias_correction {
            (bias(betas.0, info.step), bias(betas.1, info.step))
        } else {
            (1.0, 1.0)
        };
        p - &t[0] / (t[1].sqrt() * (1.0 / b2.sqrt()) + self.eps) * (info.lr / b1)
    }
}

rule_options! {
    /// NAdam: Adam with Nesterov momentum (Dozat 2016).
    NAdam(name = "NAdam", lr = 2e-3, weight_decay = 0.0, decoupled = false) {
        /// Memory of gradient and squared gradient. Default (0.9, 0.999).
        betas: (f64, f64) = (0.9, 0.999),
        /// Keeps the division finite. Default 1e-8.
        eps: f64 = 1e-8,
        /// How fast momentum approaches its full value. Default 4e-3.
        momentum_decay: f64 = 4e-3,
    }
}
impl Rule for NAdam {
    fn common(&self) -> &Common {
        &self.common
    }
    fn slots(&self) -> &'static [&'static str] {
        &["exp_avg", "exp_avg_sq"]
    }
    fn update(&self, p: &Tensor, g: &Tensor, slots: &mut Slots, info: &StepInfo) -> Tensor {
        let betas = betas_of(self.betas, info);
        let mu = |t: u64| betas.0 * (1.0 - 0.5 * 0.96f64.powf(t as f64 * self.momentum_decay));
        let (now, next) = (mu(info.step), mu(info.step + 1));
        slots.product *= now;
        let product = slots.product;
        let (m, v) = moments(g, slots, betas);
        let denominator = (v * (1.0 / bias(betas.1, info.step))).sqrt() + self.eps;
        let gradient_part = g / &denominator * (info.lr * (1.0 - now) / (1.0 - product));
        let momentum_part = m / &denominator * (info.lr * next / (1.0 - product * next));
        p - gradient_part - momentum_part
    }
}

rule_options! {
    /// RAdam: Adam that waits until its second moment can be trusted (Liu et al. 2020).
    RAdam(name = "RAdam", lr = 1e-3, weight_decay = 0.0, decoupled = false) {
        /// Memory of gradient and squared gradient. Default (0.9, 0.999).
        betas: (f64, f64) = (0.9, 0.999),
        /// Keeps the division finite. Default 1e-8.
        eps: f64 = 1e-8,
    }
}
impl Rule for RAdam {
    fn common(&self) -> &Common {
        &self.common
    }
    fn slots(&self) -> &'static [&'static str] {
        &["exp_avg", "exp_avg_sq"]
    }
    fn update(&self, p: &Tensor, g: &Tensor, slots: &mut Slots, info: &StepInfo) -> Tensor {
        let betas = betas_of(self.betas, info);
        let (m, v) = moments(g, slots, betas);
        let (b1, b2) = (bias(betas.0, info.step), bias(betas.1, info.step));
        let t = info.step as f64;
        let rho_inf = 2.0 / (1.0 - betas.1) - 1.0;
        let rho = rho_inf - 2.0 * t * betas.1.powf(t) / b2;
        let m = m * (1.0 / b1);
        // Eq. 5 of the paper: variance is tractable from rho > 5 on in PyTorch's version.
        if rho <= 5.0 {
            return p - m * info.lr;
        }
        let rect = ((rho - 4.0) * (rho - 2.0) * rho_inf / ((rho_inf - 4.0) * (rho_inf - 2.0) * rho)).sqrt();
        p - m / (v.sqrt() + self.eps) * (info.lr * rect * b2.sqrt())
    }
}

rule_options! {
    /// Lion: the sign of an interpolated momentum (Chen et al. 2023). Decay is decoupled.
    Lion(name = "Lion", lr = 1e-4, weight_decay = 0.0, decoupled = true) {
        /// Interpolation for the step and for the memory. Default (0.9, 0.99).
        betas: (f64, f64) = (0.9, 0.99),
    }
}
impl Rule for Lion {
    fn common(&self) -> &Common {
        &self.common
    }
    fn slots(&self) -> &'static [&'static str] {
        &["exp_avg"]
    }
    fn update(&self, p: &Tensor, g: &Tensor, slots: &mut Slots, info: &StepInfo) -> Tensor {
        let betas = betas_of(self.betas, info);
        let m = &mut slots.tensors[0];
        let direction = average(m, g, betas.0).sign();
        *m = average(m, g, betas.1);
        p - direction * info.lr
    }
}
