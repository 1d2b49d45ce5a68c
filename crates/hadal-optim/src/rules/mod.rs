//! The update rules, each with its paper. Defaults are PyTorch's.

mod adam;
mod adaptive;
mod sgd;

pub use adam::{Adam, AdamW, Adamax, Lion, NAdam, RAdam, Yogi};
pub use adaptive::{Adadelta, Adagrad, RmsProp};
pub use sgd::Sgd;

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
    /// A momentum in place of the rule's (of the first beta, for rules with betas): schedules may move it.
    pub momentum: Option<f64>,
}

/// What all rules have.
#[derive(Clone, Debug, PartialEq)]
pub struct Common {
    /// The name users know.
    pub name: &'static str,
    /// The learning rate to begin with.
    pub lr: f64,
    /// Weight decay.
    pub weight_decay: f64,
    /// Whether decay shrinks the weight directly (AdamW) instead of adding to the gradient.
    pub decoupled: bool,
    /// Whether to climb instead of descend.
    pub maximize: bool,
}

/// An update rule: mathematics only. Groups, decay, state, dtypes and evaluation are the
/// [`Optimizer`](crate::Optimizer)'s; for half parameters it hands in f32 tensors.
pub trait Rule: Send {
    /// Name, learning rate, decay and direction.
    fn common(&self) -> &Common;
    /// Names of what is remembered per parameter, PyTorch's where it has them.
    fn slots(&self) -> &'static [&'static str];
    /// State before the first update.
    fn start(&self, param: &Tensor) -> Slots {
        Slots { tensors: self.slots().iter().map(|_| Tensor::zeros_like(param)).collect(), product: 1.0 }
    }
    /// The new parameter from the old one `p` and gradient `g` (decay included); changes the slots.
    fn update(&self, p: &Tensor, g: &Tensor, slots: &mut Slots, info: &StepInfo) -> Tensor;
}

/// Fields with defaults, and a builder method for each.
macro_rules! rule_options {
    ($(#[$doc:meta])* $type:ident(name = $name:literal, lr = $lr:expr, weight_decay = $decay:expr, decoupled = $decoupled:expr) {
        $($(#[$fdoc:meta])* $field:ident: $t:ty = $default:expr),* $(,)?
    }) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq)]
        pub struct $type { common: Common, $($field: $t),* }
        impl $type {
            /// The rule with this learning rate and PyTorch's other defaults.
            pub fn new(lr: f64) -> Self {
                let common =
                    Common { name: $name, lr, weight_decay: $decay, decoupled: $decoupled, maximize: false };
                $type { common, $($field: $default),* }
            }
            #[doc = concat!("Weight decay. Default ", stringify!($decay), ".")]
            pub fn weight_decay(mut self, weight_decay: f64) -> Self {
                self.common.weight_decay = weight_decay;
                self
            }
            /// Climbs instead of descends. Default false.
            pub fn maximize(mut self, maximize: bool) -> Self {
                self.common.maximize = maximize;
                self
            }
            $($(#[$fdoc])* pub fn $field(self, $field: $t) -> Self { $type { $field, ..self } })*
        }
        impl Default for $type {
            fn default() -> Self { Self::new($lr) }
        }
    };
}
pub(crate) use rule_options;
