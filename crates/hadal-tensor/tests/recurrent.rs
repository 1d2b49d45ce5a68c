//! Recurrent sequences: the operation against single steps, gradients of first and second order against
//! central differences, the same bits however it is evaluated, and errors.

use hadal_tensor::*;

const CELLS: [(RecurrentCell, usize, usize); 4] = [
    (RecurrentCell::Tanh, 1, 1),
    (RecurrentCell::Relu, 1, 1),
    (RecurrentCell::Lstm, 4, 4),
    (RecurrentCell::Gru, 3, 4),
];

fn randn(shape: &[usize], seed: u64) -> Tensor {
    Tensor::randn(shape, DType::F64, Key::new(seed)).materialize().unwrap()
}
fn values(t: &Tensor) -> Vec<f64> {
    t.to_vec::<f64>().unwrap()
}

/// One choice of options, with inputs.
struct Case {
    cell: RecurrentCell,
    reverse: bool,
    bias: bool,
    initial: bool,
    projected: bool,
    lengths: Option<Tensor>,
    /// Gates, weight, then what the options say.
    inputs: Vec<Tensor>,
}

impl Case {
    fn new(cell: (RecurrentCell, usize, usize), bits: u32, [t, n, h]: [usize; 3]) -> Option<Case> {
        let (cell, g, s) = cell;
        let [reverse, initial, ends, projected, bias] = [0, 1, 2, 3, 4].map(|i| bits >> i & 1 == 1);
        let lstm = cell == RecurrentCell::Lstm;
        if projected && !lstm {
            return None;
        }
        let p = if projected { 2 } else { h };
        let mut inputs = vec![randn(&[t, n, g * h], 1), randn(&[g * h, p], 2)];
        inputs.extend(bias.then(|| randn(&[s * h], 3)));
        inputs.extend(initial.then(|| randn(&[n, p], 4)));
        inputs.extend((initial && lstm).then(|| randn(&[n, h], 5)));
        inputs.extend(projected.then(|| randn(&[p, h], 6)));
        let lengths = (0..n).map(|i| [2, t, 0][i % 3].min(t) as i64).collect::<Vec<_>>();
        let lengths = ends.then(|| Tensor::from_slice(&lengths));
        Some(Case { cell, reverse, bias, initial, projected, lengths, inputs })
    }
    fn run(&self, x: &[Tensor]) -> RecurrentStates {
        let mut rest = x[2..].iter();
        let mut r = Recurrent::new(self.cell, &x[1]).reverse(self.reverse);
        if self.bias {
            r = r.bias(rest.next().unwrap());
        }
        if self.initial {
            let h = rest.next().unwrap();
            r = r.initial(h, if self.cell == RecurrentCell::Lstm { rest.next() } else { None });
        }
        if self.projected {
            r = r.projection(rest.next().unwrap());
        }
        if let Some(l) = &self.lengths {
            r = r.lengths(l);
        }
        r.forward(&x[0])
    }
    /// All results in one number.
    fn number(&self, x: &[Tensor]) -> Tensor {
        let out = self.run(x);
        let weighted = |t: &Tensor, seed| (t * randn(t.dims(), seed)).sum(..);
        let sum = weighted(&out.output, 9) + weighted(&out.state, 10);
        out.cell.map_or(sum.clone(), |c| sum + weighted(&c.square(), 11))
    }
    fn name(&self, bits: u32) -> String {
        format!("{:?} with options {bits:05b}", self.cell)
    }
}

fn all(out: &RecurrentStates) -> Vec<f64> {
    [Some(&out.output), Some(&out.state), out.cell.as_ref()].into_iter().flatten().flat_map(values).collect()
}

#[test]
fn a_sequence_equals_its_steps() {
    for cell in CELLS {
        for bits in 0..32 {
            let [t, n, h] = [4, 3, 5];
            let Some(case) = Case::new(cell, bits, [t, n, h]) else { continue };
            let got = all(&case.run(&case.inputs));
            assert_eq!(got, all(&no_grad(|| case.run(&case.inputs))), "{}", case.name(bits));
            // Step by step: sequences of one step are computed without the kernels.
            let p = case.inputs[1].dims()[1];
            let zeros = |size| Tensor::zeros([n, size], DType::F64);
            let first = 2 + usize::from(case.bias);
            let (mut state, mut memory) = match case.initial {
                true => (case.inputs[first].clone(), case.inputs[first + 1..].first().cloned()),
                false => (zeros(p), None),
            };
            let lstm = case.cell == RecurrentCell::Lstm;
            memory = lstm.then(|| memory.filter(|_| case.initial).unwrap_or_else(|| zeros(h)));
            let mut outputs = vec![zeros(p); t];
            for k in 0..t {
                let time = if case.reverse { t - 1 - k } else { k };
                let mut r = Recurrent::new(case.cell, &case.inputs[1]).initial(&state, memory.as_ref());
                if case.bias {
                    r = r.bias(&case.inputs[2]);
                }
                if case.projected {
                    r = r.projection(case.inputs.last().unwrap());
                }
                let next = r.forward(&case.inputs[0].narrow(0, time, 1));
                let on = case.lengths.as_ref().map(|l| l.gt(time as i64).unsqueeze(1));
                let choose = |a: &Tensor, b: &Tensor| on.as_ref().map_or(a.clone(), |on| on.where_(a, b));
                outputs[time] = choose(&next.state, &zeros(p));
                memory = next.cell.zip(memory).map(|(a, b)| choose(&a, &b));
                state = choose(&next.state, &state);
            }
            let output = Tensor::stack(&outputs.iter().collect::<Vec<_>>(), 0);
            let want = all(&RecurrentStates { output, state, cell: memory });
            assert_eq!(got.len(), want.len());
            for (a, b) in got.iter().zip(&want) {
                assert!((a - b).abs() < 1e-12, "{}: {a} instead of {b}", case.name(bits));
            }
        }
    }
}

/// Central differences of `f` by every element of every input, beside its gradient.
fn compare(what: &str, xs: &[Tensor], f: &dyn Fn(&[Tensor]) -> Tensor) {
    let inputs: Vec<&Tensor> = xs.iter().collect();
    let grads = vjp_or_none(&f(xs), &Tensor::ones((), DType::F64), &inputs).unwrap();
    for (i, g) in grads.iter().enumerate() {
        let got = g.as_ref().map_or_else(|| vec![0.0; xs[i].numel()], values);
        let base = values(&xs[i]);
        for (j, got) in got.iter().enumerate() {
            let at = |delta: f64| {
                let (mut moved, mut xs) = (base.clone(), xs.to_vec());
                moved[j] += delta;
                xs[i] = Tensor::from_vec(moved, xs[i].dims());
                f(&xs).item::<f64>().unwrap()
            };
            let want = (at(1e-5) - at(-1e-5)) / 2e-5;
            let near = (got - want).abs() <= 2e-6 * (1.0 + want.abs());
            assert!(near, "{what}: input {i}, element {j}: {got}, by differences {want}");
        }
    }
}

#[test]
fn gradients_of_first_and_second_order() {
    for cell in CELLS {
        for bits in 0..32 {
            let Some(case) = Case::new(cell, bits, [3, 2, 3]) else { continue };
            compare(&case.name(bits), &case.inputs, &|x| case.number(x));
            // The second order of some: the compositions are differentiated.
            if [0b00000, 0b10110, 0b11111, 0b01001, 0b10011].contains(&bits) {
                let second = |x: &[Tensor]| {
                    let inputs: Vec<&Tensor> = x.iter().collect();
                    let grads = grad(&case.number(x), &inputs).unwrap();
                    let sums = grads.iter().zip(20..).map(|(g, seed)| (g * randn(g.dims(), seed)).sum(..));
                    sums.reduce(|a, b| a + b).unwrap()
                };
                compare(&format!("{}, second order", case.name(bits)), &case.inputs, &second);
            }
        }
    }
}

#[test]
fn a_third_derivative_exists() {
    let case = Case::new(CELLS[2], 0b10010, [2, 1, 2]).unwrap();
    let third = |x: &[Tensor]| {
        let by = |y: &Tensor| grad(&y.square().sum(..), &[&x[1]]).unwrap().remove(0);
        by(&by(&case.number(x))).sum(..)
    };
    compare("third order", &case.inputs, &third);
}

#[test]
fn the_same_bits_however_it_is_evaluated() {
    let run = |case: &Case| {
        let inputs: Vec<Tensor> = case.inputs.iter().map(|t| t.cast(DType::F32)).collect();
        let inputs: Vec<Tensor> = inputs.iter().map(Tensor::requires_grad).collect();
        let out = case.run(&inputs);
        let loss = out.output.square().sum(..) + out.state.sum(..);
        let mut all = vec![out.output.clone(), out.state.clone()];
        all.extend(grad(&loss, &inputs.iter().collect::<Vec<_>>()).unwrap());
        all.iter().flat_map(|t| t.to_vec::<f32>().unwrap()).map(f32::to_bits).collect::<Vec<_>>()
    };
    let before = threads();
    for cell in CELLS {
        // Rows shared among threads, and units of few rows.
        for sizes in [[3, 70, 40], [5, 3, 70]] {
            let case = Case::new(cell, 0b10110, sizes).unwrap();
            set_threads(1);
            let want = run(&case);
            for n in [2, 3, 8] {
                set_threads(n);
                assert!(run(&case) == want, "{:?} with {n} threads", case.cell);
            }
            assert!(eager(|| run(&case)) == want, "{:?} eagerly", case.cell);
            assert!(unfused(|| run(&case)) == want, "{:?} unfused", case.cell);
            let again = checkpoint(|| run(&case));
            assert!(again == want, "{:?} recomputed", case.cell);
        }
    }
    set_threads(before);
}

#[test]
fn wrong_operands_say_what_does_not_fit() {
    let x = |shape: &[usize]| Tensor::ones(shape, DType::F32);
    let says = |out: RecurrentStates, want: &str| {
        for t in [Some(out.output), Some(out.state), out.cell].into_iter().flatten() {
            let message = t.eval().unwrap_err().to_string();
            assert!(message.starts_with(want), "{message}");
            assert!(message.contains("tests/recurrent.rs"), "{message}");
        }
    };
    let (w, gates) = (x(&[8, 2]), x(&[3, 1, 8]));
    let lstm = Recurrent::new(RecurrentCell::Lstm, &w);
    assert!(lstm.forward(&gates).output.eval().is_ok());
    says(lstm.forward(&x(&[3, 8])), "lstm: 2 and 2 dimensions, 3 and 2 are needed");
    says(lstm.forward(&x(&[3, 1, 6])), "lstm: 6 gates of the input, 8 of the state, 4 for each unit");
    says(lstm.forward(&x(&[0, 1, 8])), "lstm: a sequence of no steps");
    says(lstm.forward(&gates.cast(DType::F64)), "lstm: dtypes f64 and f32");
    says(lstm.forward(&gates.cast(DType::I64)), "lstm: dtypes i64 and i64");
    says(lstm.bias(&x(&[4])).forward(&gates), "lstm: the bias is [4], [8] is needed");
    says(
        lstm.initial(&x(&[1, 3]), None).forward(&gates),
        "lstm: the initial state is [1, 3], [1, 2] is needed",
    );
    says(lstm.initial(&x(&[1, 2]), None).forward(&gates), "lstm: no initial cell");
    says(lstm.projection(&x(&[2, 3])).forward(&gates), "lstm: the projection is [2, 3], [2, 2] is needed");
    let other = x(&[8, 1]);
    says(Recurrent::new(RecurrentCell::Lstm, &other).forward(&gates), "lstm: a state of 1 for 2 units");
    let w = x(&[6, 2]);
    let gru = Recurrent::new(RecurrentCell::Gru, &w);
    let gates = x(&[3, 1, 6]);
    says(gru.bias(&x(&[6])).forward(&gates), "gru: the bias is [6], [8] is needed");
    says(gru.projection(&x(&[2, 2])).forward(&gates), "gru: a projection");
    let l = Tensor::new([1i64, 2]);
    says(gru.lengths(&l).forward(&gates), "gru: the tensor of lengths is [2], [1] is needed");
}
