//! Rules that divide by the size of past gradients, before Adam.

use super::{Common, Rule, Slots, StepInfo, rule_options};
use hadal_tensor::Tensor;

rule_options! {
    /// AdaGrad (Duchi, Hazan, Singer 2011).
    Adagrad(name = "Adagrad", lr = 1e-2, weight_decay = 0.0, decoupled = false) {
        /// Decay of the learning rate per step. Default 0.
        lr_decay: f64 = 0.0,
        /// Where the sum of squares starts. Default 0.
        initial_accumulator_value: f64 = 0.0,
        /// Keeps the division finite. Default 1e-10.
        eps: f64 = 1e-10,
    }
}
impl Rule for Adagrad {
    fn common(&self) -> &Common {
        &self.common
    }
    fn slots(&self) -> &'static [&'static str] {
        &["sum"]
    }
    fn start(&self, param: &Tensor) -> Slots {
        Slots { tensors: vec![Tensor::full_like(param, self.initial_accumulator_value)], product: 1.0 }
    }
    fn update(&self, p: &Tensor, g: &Tensor, slots: &mut Slots, info: &StepInfo) -> Tensor {
        let lr = info.lr / (1.0 + (info.step - 1) as f64 * self.lr_decay);
        slots.tensors[0] = &slots.tensors[0] + g * g;
        p - g / (slots.tensors[0].sqrt() + self.eps) * lr
    }
}

rule_options! {
    /// RMSProp (Tieleman, Hinton 2012), centered as in Graves 2013.
    RmsProp(name = "RMSprop", lr = 1e-2, weight_decay = 0.0, decoupled = false) {
        /// Memory of the mean square. Default 0.99.
        alpha: f64 = 0.99,
        /// Keeps the division finite. Default 1e-8.
        eps: f64 = 1e-8,
        /// Momentum factor. Default 0.
        momentum: f64 = 0.0,
        /// Divides by the variance instead of the mean square. Default false.
        centered: bool = false,
    }
}
impl Rule for RmsProp {
    fn common(&self) -> &Common {
        &self.common
    }
    fn slots(&self) -> &'static [&'static str] {
        match (self.centered, self.momentum != 0.0) {
            (false, false) => &["square_avg"],
            (true, false) => &["square_avg", "grad_avg"],
            (false, true) => &["square_avg", "momentum_buffer"],
            (true, true) => &["square_avg", "grad_avg", "momentum_buffer"],
        }
    }
    fn update(&self, p: &Tensor, g: &Tensor, slots: &mut Slots, info: &StepInfo) -> Tensor {
        let t = &mut slots.tensors;
        t[0] = &t[0] * self.alpha + g * g * (1.0 - self.alpha);
        let mut scale = t[0].clone();
        if self.centered {
            t[1] = &t[1] * self.alpha + g * (1.0 - self.alpha);
            scale = scale - &t[1] * &t[1];
        }
        let direction = g / (scale.sqrt() + self.eps);
        if self.momentum == 0.0 {
            return p - direction * info.lr;
        }
        let last = t.len() - 1;
        t[last] = &t[last] * info.momentum.unwrap_or(self.momentum) + direction;
        p - &t[last] * info.lr
    }
}

rule_options! {
    /// Adadelta (Zeiler 2012).
    Adadelta(name = "Adadelta", lr = 1.0, weight_decay = 0.0, decoupled = false) {
        /// Memory of both averages. Default 0.9.
        rho: f64 = 0.9,
        /// Keeps the division finite. Default 1e-6.
        eps: f64 = 1e-6,
    }
}
impl Rule for Adadelta {
    fn common(&self) -> &Common {
        &self.common
    }
    fn slots(&self) -> &'static [&'static str] {
        &["square_avg", "acc_delta"]
    }
    fn update(&self, p: &Tensor, g: &Tensor, slots: &mut Slots, info: &StepInfo) -> Tensor {
        let t = &mut slots.tensors;
        t[0] = &t[0] * self.rho + g * g * (1.0 - self.rho);
        let delta = (&t[1] + self.eps).sqrt() / (&t[0] + self.eps).sqrt() * g;
        t[1] = &t[1] * self.rho + &delta * &delta * (1.0 - self.rho);
        p - delta * info.lr
    }
}
