//! The update rules, each with its paper. Defaults are PyTorch's.

use hadal_tensor::Tensor;

/// What a rule remembers about one parameter.
#[derive(Clone, Debug)]
pub struct Slots {
    /// In the order of [`Rule::slots`].
    pub tensors: Vec<Tensor>,
    /// A running product of numbers (NAdam's momentum schedule); starts at 1.
    pub product: f64,
}

/// Where in training an update happens.
#[derive(Clone, Copy, Debug)]
pub struct StepInfo {
    /// Learning rate of this parameter at this step.
    pub lr: f64,
    /// How many updates the parameter has had with this one.
    pub step: u64,
}

/// An update rule: mathematics only. Groups, decay, state and evaluation are the
/// [`Optimizer`](crate::Optimizer)'s.
pub trait Rule: Send {
    /// The name users know.
    fn name(&self) -> &'static str;
    /// The learning rate to begin with.
    fn lr(&self) -> f64;
    /// Names of what is remembered per parameter, PyTorch's where it has them.
    fn slots(&self) -> &'static [&'static str];
    /// Weight decay.
    fn weight_decay(&self) -> f64 {
        0.0
    }
    /// Whether decay shrinks the weight directly (AdamW) instead of adding to the gradient.
    fn decoupled(&self) -> bool {
        false
    }
    /// Whether to climb instead of descend.
    fn maximize(&self) -> bool {
        false
    }
    /// State before the first update.
    fn start(&self, param: &Tensor) -> Slots {
        Slots { tensors: self.slots().iter().map(|_| Tensor::zeros_like(param)).collect(), product: 1.0 }
    }
    /// The new parameter from the old one `p` and gradient `g` (decay included); changes the slots.
    fn update(&self, p: &Tensor, g: &Tensor, slots: &mut Slots, info: &StepInfo) -> Tensor;
}

/// Fields with defaults, and a builder method for each.
macro_rules! rule_options {
    ($(#[$doc:meta])* $name:ident(lr = $lr:expr) { $($(#[$fdoc:meta])* $field:ident: $t:ty = $default:expr),* $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq)]
        pub struct $name { lr: f64, $($field: $t),* }
        impl $name {
            /// The rule with this learning rate and PyTorch's other defaults.
            pub fn new(lr: f64) -> Self { $name { lr, $($field: $default),* } }
            $($(#[$fdoc])* pub fn $field(self, $field: $t) -> Self { $name { $field, ..self } })*
        }
        impl Default for $name {
            fn default() -> Self { Self::new($lr) }
        }
    };
}

rule_options! {
    /// Stochastic gradient descent, with momentum (Polyak 1964; Nesterov as in Sutskever et al. 2013).
    Sgd(lr = 1e-3) {
        /// Momentum factor. Default 0.
        momentum: f64 = 0.0,
        /// How much of each gradient momentum leaves out. Default 0.
        dampening: f64 = 0.0,
        /// Looks ahead along the momentum. Default false.
        nesterov: bool = false,
        /// Coupled weight decay. Default 0.
        weight_decay: f64 = 0.0,
        /// Climbs instead of descends. Default false.
        maximize: bool = false,
    }
}
impl Rule for Sgd {
    fn name(&self) -> &'static str {
        "SGD"
    }
    fn lr(&self) -> f64 {
        self.lr
    }
    fn slots(&self) -> &'static [&'static str] {
        if self.momentum != 0.0 { &["momentum_buffer"] } else { &[] }
    }
    fn weight_decay(&self) -> f64 {
        self.weight_decay
    }
    fn maximize(&self) -> bool {
        self.maximize
    }
    fn update(&self, p: &Tensor, g: &Tensor, slots: &mut Slots, info: &StepInfo) -> Tensor {
        let Some(buffer) = slots.tensors.first_mut() else { return p - g * info.lr };
        // The first gradient enters whole, as in PyTorch.
        *buffer =
            if info.step == 1 { g.clone() } else { &*buffer * self.momentum + g * (1.0 - self.dampening) };
        let direction = if self.nesterov { g + &*buffer * self.momentum } else { buffer.clone() };
        p - direction * info.lr
    }
}

rule_options! {
    /// AdaGrad (Duchi, Hazan, Singer 2011).
    Adagrad(lr = 1e-2) {
        /// Decay of the learning rate per step. Default 0.
        lr_decay: f64 = 0.0,
        /// Coupled weight decay. Default 0.
        weight_decay: f64 = 0.0,
        /// Where the sum of squares starts. Default 0.
        initial_accumulator_value: f64 = 0.0,
        /// Keeps the division finite. Default 1e-10.
        eps: f64 = 1e-10,
    }
}
impl Rule for Adagrad {
    fn name(&self) -> &'static str {
        "Adagrad"
    }
    fn lr(&self) -> f64 {
        self.lr
    }
    fn slots(&self) -> &'static [&'static str] {
        &["sum"]
    }
    fn weight_decay(&self) -> f64 {
        self.weight_decay
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
    RmsProp(lr = 1e-2) {
        /// Memory of the mean square. Default 0.99.
        alpha: f64 = 0.99,
        /// Keeps the division finite. Default 1e-8.
        eps: f64 = 1e-8,
        /// Coupled weight decay. Default 0.
        weight_decay: f64 = 0.0,
        /// Momentum factor. Default 0.
        momentum: f64 = 0.0,
        /// Divides by the variance instead of the mean square. Default false.
        centered: bool = false,
    }
}
impl Rule for RmsProp {
    fn name(&self) -> &'static str {
        "RMSprop"
    }
    fn lr(&self) -> f64 {
        self.lr
    }
    fn slots(&self) -> &'static [&'static str] {
        match (self.centered, self.momentum != 0.0) {
            (false, false) => &["square_avg"],
            (true, false) => &["square_avg", "grad_avg"],
            (false, true) => &["square_avg", "momentum_buffer"],
            (true, true) => &["square_avg", "grad_avg", "momentum_buffer"],
        }
    }
    fn weight_decay(&self) -> f64 {
        self.weight_decay
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
        t[last] = &t[last] * self.momentum + direction;
        p - &t[last] * info.lr
    }
}

rule_options! {
    /// Adadelta (Zeiler 2012).
    Adadelta(lr = 1.0) {
        /// Memory of both averages. Default 0.9.
        rho: f64 = 0.9,
        /// Keeps the division finite. Default 1e-6.
        eps: f64 = 1e-6,
        /// Coupled weight decay. Default 0.
        weight_decay: f64 = 0.0,
    }
}
impl Rule for Adadelta {
    fn name(&self) -> &'static str {
        "Adadelta"
    }
    fn lr(&self) -> f64 {
        self.lr
    }
    fn slots(&self) -> &'static [&'static str] {
        &["square_avg", "acc_delta"]
    }
    fn weight_decay(&self) -> f64 {
        self.weight_decay
    }
    fn update(&self, p: &Tensor, g: &Tensor, slots: &mut Slots, info: &StepInfo) -> Tensor {
        let t = &mut slots.tensors;
        t[0] = &t[0] * self.rho + g * g * (1.0 - self.rho);
        let delta = (&t[1] + self.eps).sqrt() / (&t[0] + self.eps).sqrt() * g;
        t[1] = &t[1] * self.rho + &delta * &delta * (1.0 - self.rho);
        p - delta * info.lr
    }
}

/// Exponential averages of gradient and squared gradient, which the Adam family shares.
fn moments(g: &Tensor, slots: &mut Slots, betas: (f64, f64)) -> (Tensor, Tensor) {
    let t = &mut slots.tensors;
    t[0] = &t[0] * betas.0 + g * (1.0 - betas.0);
    t[1] = &t[1] * betas.1 + g * g * (1.0 - betas.1);
    (t[0].clone(), t[1].clone())
}

/// What an average that started at 0 must be divided by after `step` steps.
fn bias(beta: f64, step: u64) -> f64 {
    1.0 - beta.powf(step as f64)
}

macro_rules! adam_like {
    ($(#[$doc:meta])* $name:ident, decoupled = $decoupled:literal, decay = $decay:expr) => {
        rule_options! {
            $(#[$doc])*
            $name(lr = 1e-3) {
                /// Memory of gradient and squared gradient. Default (0.9, 0.999).
                betas: (f64, f64) = (0.9, 0.999),
                /// Keeps the division finite. Default 1e-8.
                eps: f64 = 1e-8,
                /// Weight decay; the default is the type's.
                weight_decay: f64 = $decay,
                /// Divides by the largest average so far (AMSGrad; Reddi, Kale, Kumar 2018). Default false.
                amsgrad: bool = false,
            }
        }
        impl Rule for $name {
            fn name(&self) -> &'static str { stringify!($name) }
            fn lr(&self) -> f64 { self.lr }
            fn slots(&self) -> &'static [&'static str] {
                if self.amsgrad { &["exp_avg", "exp_avg_sq", "max_exp_avg_sq"] } else { &["exp_avg", "exp_avg_sq"] }
            }
            fn weight_decay(&self) -> f64 { self.weight_decay }
            fn decoupled(&self) -> bool { $decoupled }
            fn update(&self, p: &Tensor, g: &Tensor, slots: &mut Slots, info: &StepInfo) -> Tensor {
                let (m, mut v) = moments(g, slots, self.betas);
                if self.amsgrad {
                    slots.tensors[2] = slots.tensors[2].maximum(&v);
                    v = slots.tensors[2].clone();
                }
                let denominator = v.sqrt() * (1.0 / bias(self.betas.1, info.step).sqrt()) + self.eps;
                p - m / denominator * (info.lr / bias(self.betas.0, info.step))
            }
        }
    };
}
adam_like! {
    /// Adam (Kingma, Ba 2015), weight decay added to the gradient. Default decay 0.
    Adam, decoupled = false, decay = 0.0
}
adam_like! {
    /// AdamW (Loshchilov, Hutter 2019), weight decay apart from the gradient. Default decay 0.01.
    AdamW, decoupled = true, decay = 1e-2
}

rule_options! {
    /// Adamax: Adam with the infinity norm (Kingma, Ba 2015, section 7).
    Adamax(lr = 2e-3) {
        /// Memory of gradient and norm. Default (0.9, 0.999).
        betas: (f64, f64) = (0.9, 0.999),
        /// Keeps the division finite. Default 1e-8.
        eps: f64 = 1e-8,
        /// Coupled weight decay. Default 0.
        weight_decay: f64 = 0.0,
    }
}
impl Rule for Adamax {
    fn name(&self) -> &'static str {
        "Adamax"
    }
    fn lr(&self) -> f64 {
        self.lr
    }
    fn slots(&self) -> &'static [&'static str] {
        &["exp_avg", "exp_inf"]
    }
    fn weight_decay(&self) -> f64 {
        self.weight_decay
    }
    fn update(&self, p: &Tensor, g: &Tensor, slots: &mut Slots, info: &StepInfo) -> Tensor {
        let t = &mut slots.tensors;
        t[0] = &t[0] * self.betas.0 + g * (1.0 - self.betas.0);
        t[1] = (&t[1] * self.betas.1).maximum(g.abs() + self.eps);
        p - &t[0] / &t[1] * (info.lr / bias(self.betas.0, info.step))
    }
}

rule_options! {
    /// Yogi (Zaheer et al. 2018): the second moment changes by its sign, so it cannot jump.
    Yogi(lr = 1e-2) {
        /// Memory of gradient and squared gradient. Default (0.9, 0.999).
        betas: (f64, f64) = (0.9, 0.999),
        /// Keeps the division finite. Default 1e-3.
        eps: f64 = 1e-3,
        /// Coupled weight decay. Default 0.
        weight_decay: f64 = 0.0,
        /// Where the second moment starts. Default 1e-6.
        initial_accumulator: f64 = 1e-6,
        /// Corrects the averages' start, as implementations do; the paper does not. Default true.
        bias_correction: bool = true,
    }
}
impl Rule for Yogi {
    fn name(&self) -> &'static str {
        "Yogi"
    }
    fn lr(&self) -> f64 {
        self.lr
    }
    fn slots(&self) -> &'static [&'static str] {
        &["exp_avg", "exp_avg_sq"]
    }
    fn weight_decay(&self) -> f64 {
        self.weight_decay
    }
    fn start(&self, param: &Tensor) -> Slots {
        let tensors = vec![Tensor::zeros_like(param), Tensor::full_like(param, self.initial_accumulator)];
        Slots { tensors, product: 1.0 }
    }
    fn update(&self, p: &Tensor, g: &Tensor, slots: &mut Slots, info: &StepInfo) -> Tensor {
        let t = &mut slots.tensors;
        let square = g * g;
        t[0] = &t[0] * self.betas.0 + g * (1.0 - self.betas.0);
        t[1] = &t[1] - (&t[1] - &square).sign() * &square * (1.0 - self.betas.1);
        let (b1, b2) = if self.bias_correction {
            (bias(self.betas.0, info.step), bias(self.betas.1, info.step))
        } else {
            (1.0, 1.0)
        };
        p - &t[0] / (t[1].sqrt() * (1.0 / b2.sqrt()) + self.eps) * (info.lr / b1)
    }
}

rule_options! {
    /// NAdam: Adam with Nesterov momentum (Dozat 2016).
    NAdam(lr = 2e-3) {
        /// Memory of gradient and squared gradient. Default (0.9, 0.999).
        betas: (f64, f64) = (0.9, 0.999),
        /// Keeps the division finite. Default 1e-8.
        eps: f64 = 1e-8,
        /// Weight decay. Default 0.
        weight_decay: f64 = 0.0,
        /// How fast momentum approaches its full value. Default 4e-3.
        momentum_decay: f64 = 4e-3,
        /// Decay apart from the gradient. Default false.
        decoupled_weight_decay: bool = false,
    }
}
impl Rule for NAdam {
    fn name(&self) -> &'static str {
        "NAdam"
    }
    fn lr(&self) -> f64 {
        self.lr
    }
    fn slots(&self) -> &'static [&'static str] {
        &["exp_avg", "exp_avg_sq"]
    }
    fn weight_decay(&self) -> f64 {
        self.weight_decay
    }
    fn decoupled(&self) -> bool {
        self.decoupled_weight_decay
    }
    fn update(&self, p: &Tensor, g: &Tensor, slots: &mut Slots, info: &StepInfo) -> Tensor {
        let mu = |t: u64| self.betas.0 * (1.0 - 0.5 * 0.96f64.powf(t as f64 * self.momentum_decay));
        let (now, next) = (mu(info.step), mu(info.step + 1));
        slots.product *= now;
        let product = slots.product;
        let (m, v) = moments(g, slots, self.betas);
        let denominator = (v * (1.0 / bias(self.betas.1, info.step))).sqrt() + self.eps;
        let gradient_part = g / &denominator * (info.lr * (1.0 - now) / (1.0 - product));
        let momentum_part = m / &denominator * (info.lr * next / (1.0 - product * next));
        p - gradient_part - momentum_part
    }
}

rule_options! {
    /// RAdam: Adam that waits until its second moment can be trusted (Liu et al. 2020).
    RAdam(lr = 1e-3) {
        /// Memory of gradient and squared gradient. Default (0.9, 0.999).
        betas: (f64, f64) = (0.9, 0.999),
        /// Keeps the division finite. Default 1e-8.
        eps: f64 = 1e-8,
        /// Weight decay. Default 0.
        weight_decay: f64 = 0.0,
        /// Decay apart from the gradient. Default false.
        decoupled_weight_decay: bool = false,
    }
}
impl Rule for RAdam {
    fn name(&self) -> &'static str {
        "RAdam"
    }
    fn lr(&self) -> f64 {
        self.lr
    }
    fn slots(&self) -> &'static [&'static str] {
        &["exp_avg", "exp_avg_sq"]
    }
    fn weight_decay(&self) -> f64 {
        self.weight_decay
    }
    fn decoupled(&self) -> bool {
        self.decoupled_weight_decay
    }
    fn update(&self, p: &Tensor, g: &Tensor, slots: &mut Slots, info: &StepInfo) -> Tensor {
        let (m, v) = moments(g, slots, self.betas);
        let (b1, b2) = (bias(self.betas.0, info.step), bias(self.betas.1, info.step));
        let t = info.step as f64;
        let rho_inf = 2.0 / (1.0 - self.betas.1) - 1.0;
        let rho = rho_inf - 2.0 * t * self.betas.1.powf(t) / b2;
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
    Lion(lr = 1e-4) {
        /// Interpolation for the step and for the memory. Default (0.9, 0.99).
        betas: (f64, f64) = (0.9, 0.99),
        /// Weight decay. Default 0.
        weight_decay: f64 = 0.0,
    }
}
impl Rule for Lion {
    fn name(&self) -> &'static str {
        "Lion"
    }
    fn lr(&self) -> f64 {
        self.lr
    }
    fn slots(&self) -> &'static [&'static str] {
        &["exp_avg"]
    }
    fn weight_decay(&self) -> f64 {
        self.weight_decay
    }
    fn decoupled(&self) -> bool {
        true
    }
    fn update(&self, p: &Tensor, g: &Tensor, slots: &mut Slots, info: &StepInfo) -> Tensor {
        let m = &mut slots.tensors[0];
        let direction = (&*m * self.betas.0 + g * (1.0 - self.betas.0)).sign();
        *m = &*m * self.betas.1 + g * (1.0 - self.betas.1);
        p - direction * info.lr
    }
}
