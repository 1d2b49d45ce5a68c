//! LSTM and GRU over a whole sequence, step by step, with PyTorch's names and gate order.

use hadal_nn::{Ctx, Forward, Init, Module, Param};
use hadal_tensor::{DType, Tensor};

/// The parameters of one layer: `gates` stacked in a weight.
#[derive(Module)]
struct Weights {
    weight_ih_l0: Param,
    weight_hh_l0: Param,
    bias_ih_l0: Param,
    bias_hh_l0: Param,
    #[module(skip)]
    hidden: usize,
}

impl Weights {
    fn new(init: &Init, input: usize, hidden: usize, gates: usize) -> Weights {
        let bound = 1.0 / (hidden as f64).sqrt();
        Weights {
            weight_ih_l0: init.uniform([gates * hidden, input], bound),
            weight_hh_l0: init.uniform([gates * hidden, hidden], bound),
            bias_ih_l0: init.uniform([gates * hidden], bound),
            bias_hh_l0: init.uniform([gates * hidden], bound),
            hidden,
        }
    }
    /// The inputs' part of the gates for all steps at once, `[len, n, gates * hidden]`.
    fn project(&self, x: &Tensor) -> Tensor {
        x.linear(&self.weight_ih_l0.get(), Some(&self.bias_ih_l0.get()))
    }
    /// The state's part of the gates for one step, `[n, gates * hidden]`.
    fn recur(&self, h: &Tensor) -> Tensor {
        h.linear(&self.weight_hh_l0.get(), Some(&self.bias_hh_l0.get()))
    }
    fn zeros(&self, x: &Tensor) -> Tensor {
        Tensor::zeros([x.size(1), self.hidden], DType::F32)
    }
}

/// Long short-term memory (Hochreiter and Schmidhuber 1997; the variant with forget gate): sequence
/// `[len, n, input]` to states `[len, n, hidden]`.
#[derive(Module)]
pub struct Lstm {
    #[module(flatten)]
    weights: Weights,
}

impl Lstm {
    /// One layer.
    pub fn new(init: &Init, input: usize, hidden: usize) -> Lstm {
        Lstm { weights: Weights::new(init, input, hidden, 4) }
    }
}

impl Forward for Lstm {
    fn forward(&self, x: &Tensor, _: &Ctx) -> Tensor {
        let (mut h, mut c) = (self.weights.zeros(x), self.weights.zeros(x));
        let mut states = Vec::with_capacity(x.size(0));
        for from_input in self.weights.project(x).unbind(0) {
            let gates = (from_input + self.weights.recur(&h)).chunk(4, -1);
            let [i, f, g, o] = &gates[..] else { break };
            c = f.sigmoid() * &c + i.sigmoid() * g.tanh();
            h = o.sigmoid() * c.tanh();
            states.push(h.clone());
        }
        Tensor::stack(&states.iter().collect::<Vec<_>>(), 0)
    }
}

/// Gated recurrent unit (Cho et al. 2014, arXiv:1406.1078, with the reset gate behind the product as in
/// cuDNN): sequence `[len, n, input]` to states `[len, n, hidden]`.
#[derive(Module)]
pub struct Gru {
    #[module(flatten)]
    weights: Weights,
}

impl Gru {
    /// One layer.
    pub fn new(init: &Init, input: usize, hidden: usize) -> Gru {
        Gru { weights: Weights::new(init, input, hidden, 3) }
    }
}

impl Forward for Gru {
    fn forward(&self, x: &Tensor, _: &Ctx) -> Tensor {
        let mut h = self.weights.zeros(x);
        let mut states = Vec::with_capacity(x.size(0));
        for from_input in self.weights.project(x).unbind(0) {
            let (a, b) = (from_input.chunk(3, -1), self.weights.recur(&h).chunk(3, -1));
            let ([ra, za, na], [rb, zb, nb]) = (&a[..], &b[..]) else { break };
            let (r, z) = ((ra + rb).sigmoid(), (za + zb).sigmoid());
            let n = (na + r * nb).tanh();
            h = &n + z * (&h - &n);
            states.push(h.clone());
        }
        Tensor::stack(&states.iter().collect::<Vec<_>>(), 0)
    }
}
