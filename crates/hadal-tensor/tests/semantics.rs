//! What laziness promises: errors as values, freed memory, depth, states, switches.

use hadal_tensor::*;

fn vec(t: &Tensor) -> Vec<f32> {
    t.to_vec::<f32>().expect("evaluates")
}

#[test]
fn the_first_error_survives_and_names_its_place() {
    let x = Tensor::ones([2, 3], DType::F32);
    let y = x.matmul(&Tensor::ones([4, 5], DType::F32)).relu() + 1.0;
    let z = y.reshape([7, 7]).sum(..);
    let text = z.eval().unwrap_err().to_string();
    assert!(
        text.starts_with("matmul: inner sizes differ: 3 and 4\n  operands: [2, 3] f32, [4, 5] f32"),
        "{text}"
    );
    assert!(text.contains("semantics.rs:"), "{text}");
    assert!(z.item::<f32>().is_err() && z.to_vec::<f32>().is_err() && grad(&z, &[&x]).is_err());
}

#[test]
fn wrong_dtype_and_rank_end_in_errors() {
    let a = Tensor::ones([2, 2], DType::F32);
    let e = a.matmul(&Tensor::ones([2, 2], DType::F64)).eval().unwrap_err().to_string();
    assert!(e.starts_with("matmul: dtypes differ: f32 and f64"), "{e}");
    let [_n, _c, _h, _w] = a.sizes();
    let e = (&a + 1.0).eval().unwrap_err().to_string();
    assert!(e.starts_with("sizes: 4 dimensions expected, the tensor has 2"), "{e}");
    assert!((&a + 1.0).eval().is_ok(), "a deferred error is reported once");
}

#[test]
fn strict_mode_stops_at_the_call() {
    let caught = std::panic::catch_unwind(|| {
        strict(|| {
            let x = Tensor::ones([2], DType::F32);
            let _ = x.add(Tensor::ones([3], DType::F32));
            unreachable!("the line above panics");
        })
    });
    let message = caught.unwrap_err().downcast::<String>().unwrap();
    assert!(message.starts_with("add: shapes do not broadcast"), "{message}");
}

#[test]
fn layers_are_named_in_errors() {
    let tag = Tag::new("Linear");
    let bad = {
        let _inside = enter(&tag);
        Tensor::ones([2], DType::F32).reshape([3])
    };
    assert!(bad.eval().unwrap_err().to_string().contains("in: a Linear layer"));
    tag.name("encoder.fc1");
    assert!(bad.eval().unwrap_err().to_string().contains("in: encoder.fc1 (Linear)"));
}

#[test]
fn a_chain_of_a_million_operations() {
    let x = Tensor::from_slice(&[1.0f32]).requires_grad();
    let mut y = x.clone();
    for _ in 0..1_000_000 {
        y = y + 1.0;
    }
    let s = y.sum(..);
    let g = grad(&s, &[&x]).unwrap();
    assert_eq!(vec(&g[0]), [1.0]);
    assert_eq!(s.item::<f32>().unwrap(), 1_000_001.0);
    drop((s, y, g)); // must not recurse either
}

#[test]
fn eager_unfused_and_lazy_agree() {
    let run = || {
        let x = Tensor::linspace(-2.0, 2.0, 1000).requires_grad();
        let y = (x.tanh() * &x + 0.5).sigmoid();
        let s = (y.softmax(0) * &y).sum(..);
        let g = grad(&s, &[&x]).unwrap().remove(0);
        (s.item::<f32>().unwrap().to_bits(), vec(&g).into_iter().map(f32::to_bits).collect::<Vec<_>>())
    };
    let lazy = run();
    assert_eq!(lazy, eager(run));
    assert_eq!(lazy, unfused(run));
}

#[test]
fn gradients_accumulate_and_take_cotangents() {
    let x = Tensor::from_slice(&[1.0f32, 2.0, 3.0]);
    let y = &x * &x;
    let a = vjp(&y, &Tensor::from_slice(&[1.0f32, 0.0, 0.0]), &[&x]).unwrap().remove(0);
    let b = vjp(&y, &Tensor::from_slice(&[0.0f32, 1.0, 1.0]), &[&x]).unwrap().remove(0);
    assert_eq!(vec(&(a + b)), [2.0, 4.0, 6.0]);
}

#[test]
fn an_intermediate_result_can_be_differentiated_by() {
    let x = Tensor::from_slice(&[2.0f32]);
    let h = &x * 3.0;
    let y = (&h * &h).sum(..);
    let g = grad(&y, &[&h, &x]).unwrap();
    assert_eq!((vec(&g[0]), vec(&g[1])), (vec![12.0], vec![36.0]));
}

#[test]
fn gradients_by_constants_are_not_folded_away() {
    let b = Tensor::zeros([1], DType::F32);
    let y = (Tensor::ones([4, 1], DType::F32) + &b).square().sum(..);
    assert_eq!(vec(&grad(&y, &[&b]).unwrap()[0]), [8.0]);
    let h = Tensor::ones([2], DType::F64);
    let g = grad(&(h.cast(DType::F32) * 3.0).sum(..), &[&h]).unwrap().remove(0);
    assert_eq!(g.to_vec::<f64>().unwrap(), [3.0, 3.0]);
}

#[test]
fn a_missing_path_is_an_error_that_says_why() {
    let x = Tensor::from_slice(&[2.0f32]);
    let e = grad(&x.detach().sum(..), &[&x]).unwrap_err().to_string();
    assert!(e.contains("the result does not depend on input 0") && e.contains("detach"), "{e}");
    let y = x.square().sum(..);
    y.eval().unwrap(); // untracked: the graph is gone
    assert!(grad(&y, &[&x]).is_err());
    let x = x.requires_grad();
    let y = x.square().sum(..);
    y.eval().unwrap();
    assert_eq!(vec(&grad(&y, &[&x]).unwrap()[0]), [4.0]);
}

#[test]
fn updates_of_state_do_not_grow_a_graph() {
    let state = State::new(Tensor::zeros([4], DType::F32));
    for _ in 0..1000 {
        state.update(state.get() * 0.9 + 0.1);
        // Any evaluation, of anything, flushes.
        Tensor::from_slice(&[1.0f32]).neg().eval().unwrap();
        assert!(state.get().is_evaluated());
    }
    assert!((vec(&state.get())[0] - 1.0).abs() < 1e-5);
    assert_eq!(plan_summary(&[&state.get()]).unwrap().nodes, 0);
}

#[test]
fn a_failed_update_of_state_leaves_the_last_value() {
    let state = State::new(Tensor::ones([2], DType::F32));
    let bad = Tensor::ones([2], DType::F32).gather(0, &Tensor::from_slice(&[7i64, 0]));
    state.update(bad);
    assert!(Tensor::from_slice(&[1.0f32]).neg().eval().is_err());
    assert_eq!(vec(&state.get()), [1.0, 1.0]);
    Tensor::from_slice(&[1.0f32]).neg().eval().unwrap();
}

#[test]
fn checkpointed_regions_give_the_same_gradient_and_recompute() {
    let key = Key::new(3);
    let x = Tensor::randn([64], DType::F64, key).requires_grad();
    let f = |x: &Tensor| {
        let noise = Tensor::rand([64], DType::F64, key.split(9));
        (x.sin() * noise).exp().tanh()
    };
    let plain = grad(&f(&x).sum(..), &[&x]).unwrap().remove(0);
    let region = grad(&checkpoint(|| f(&x)).sum(..), &[&x]).unwrap().remove(0);
    // Together with the forward pass, the region's nodes appear twice.
    let (kept, again) = (plan_summary(&[&plain]).unwrap(), plan_summary(&[&region]).unwrap());
    assert!(again.nodes > kept.nodes - 4, "nothing is computed again: {again:?}");
    assert_eq!(plain.to_vec::<f64>().unwrap(), region.to_vec::<f64>().unwrap());
}

#[test]
fn nan_is_traced_to_the_first_operation_that_made_it() {
    let x = Tensor::from_slice(&[1.0f32, -1.0]);
    let e = check_finite(|| (x.log() * 2.0 + 1.0).sum(..).eval()).unwrap_err().to_string();
    assert!(e.starts_with("log: the first result that is NaN or infinite (element 1"), "{e}");
    assert!(e.contains("\n  result: [2] f32\n") && !e.contains("operands"), "{e}");
    assert!(e.contains("semantics.rs:"), "{e}");
}

#[test]
fn chains_with_their_reductions_are_one_pass() {
    let x = Tensor::ones([8, 8], DType::F32);
    let y = ((&x * 2.0 + 1.0).exp() * &x).sum(1);
    assert_eq!(plan_summary(&[&y]).unwrap().kernels, ["mul+add+exp+mul+sum"]);
    // Softmax of rows has a kernel. Of columns: maximum; exponential with its sum; a division for each sum;
    // the product.
    let softmax = |dim| plan_summary(&[&x.softmax(dim)]).unwrap().kernels;
    assert_eq!(softmax(1), ["softmax"]);
    assert_eq!(softmax(0), ["max", "sub+exp+sum", "reciprocal", "mul"]);
    // Adam's update of one parameter is one pass with three results.
    let (p, m, v, g) = (&x, &x.neg().materialize().unwrap(), &x.abs().materialize().unwrap(), &x);
    let m2 = m * 0.9 + g * 0.1;
    let v2 = v * 0.99 + g * g * 0.01;
    let p2 = p - &m2 / (v2.sqrt() + 1e-8) * 0.1;
    assert_eq!(plan_summary(&[&p2, &m2, &v2]).unwrap().kernels.len(), 1);
}

#[test]
fn no_memory_is_an_error() {
    let huge = Tensor::ones([1 << 20, 1 << 20, 8], DType::F32);
    let e = huge.exp().eval().unwrap_err().to_string();
    assert!(e.starts_with("exp: no memory for 8796093022208 elements of f32 (32768.0 GiB)"), "{e}");
    assert!(Tensor::zeros([usize::MAX, 8], DType::F32).eval().is_err());
}

#[test]
fn indices_out_of_range_are_found_when_evaluated() {
    let x = Tensor::ones([3, 2], DType::F32);
    let e = x.index_select(0, &Tensor::from_slice(&[0i64, 5])).eval().unwrap_err().to_string();
    assert!(e.contains('5') && e.contains('3') && e.contains("semantics.rs:"), "{e}");
}

#[test]
fn a_path_cut_by_an_evaluation_is_an_error_and_never_half_a_gradient() {
    let x = Tensor::from_slice(&[0.5f32, 1.0]);
    let h = x.exp();
    h.eval().unwrap(); // h forgets that it came from x
    let y = (&h * &x).sum(..);
    let e = grad(&y, &[&x]).unwrap_err().to_string();
    assert!(e.starts_with("grad: the way back is incomplete: the result of exp was evaluated"), "{e}");
    // By what came after, or by what is followed, nothing is missing.
    assert_eq!(vec(&grad(&y, &[&h]).unwrap()[0]), [0.5, 1.0]);
    let x = x.requires_grad();
    let h = x.exp();
    h.eval().unwrap();
    let g = grad(&(&h * &x).sum(..), &[&x]).unwrap().remove(0);
    let want: Vec<f32> = [0.5f32, 1.0].iter().map(|v| (1.0 + v) * v.exp()).collect();
    assert!(vec(&g).iter().zip(&want).all(|(a, b)| (a - b).abs() < 1e-5));
}

#[test]
fn an_update_of_state_survives_the_failure_of_something_else() {
    let state = State::new(Tensor::zeros([2], DType::F32));
    state.update(state.get() + 1.0);
    let unrelated = Tensor::ones([2], DType::F32).gather(0, &Tensor::from_slice(&[7i64, 0]));
    assert!(unrelated.eval().is_err());
    assert_eq!(vec(&state.get()), [1.0, 1.0]);
    assert!(state.get().is_evaluated());
}

#[test]
fn numbers_that_do_not_fit_an_integer_dtype_are_errors_and_comparisons_are_exact() {
    let x = Tensor::from_slice(&[5u8]);
    assert!((&x + 300).eval().unwrap_err().to_string().starts_with("add: 300 does not fit u8"));
    assert!(x.masked_fill(&Tensor::new([true]), 300).eval().is_err());
    assert_eq!(x.ge(256).to_vec::<bool>().unwrap(), [false]);
    assert_eq!(Tensor::from_slice(&[5i32]).lt(3_000_000_000i64).to_vec::<bool>().unwrap(), [true]);
    assert_eq!(Tensor::arange(i64::MAX - 2, i64::MAX, 1).dims(), [2]);
}

#[test]
fn second_derivatives_of_products_with_zeros_and_gradients_of_repeated_writes() {
    let x = Tensor::from_slice(&[0.0f64, 2.0, 3.0]).requires_grad();
    let g = grad(&x.prod(..), &[&x]).unwrap().remove(0);
    assert_eq!(g.to_vec::<f64>().unwrap(), [6.0, 0.0, 0.0]);
    let row = grad(&g.select(0, 1), &[&x]).unwrap().remove(0);
    assert_eq!(row.to_vec::<f64>().unwrap(), [3.0, 0.0, 0.0]);
    let src = Tensor::from_slice(&[1.0f32, 2.0]);
    let y = Tensor::zeros([1], DType::F32).scatter(0, &Tensor::from_slice(&[0i64, 0]), &src);
    assert_eq!(vec(&grad(&y.sum(..), &[&src]).unwrap()[0]), [0.0, 1.0]);
    let flat = Tensor::ones([4], DType::F32);
    assert_eq!(vec(&grad(&flat.std(.., 1), &[&flat]).unwrap()[0]), [0.0; 4]);
}

/// Without a gradient in sight a maximum pool keeps no places; asked for one all the same, it has that
/// of a pool that does.
#[test]
fn a_pool_without_places_has_the_same_values_and_gradients() {
    let x = Tensor::randn([2, 3, 7, 6], DType::F32, Key::new(5));
    let options = hadal_tensor::PoolOptions::new(3).stride(2).padding(1);
    let plain = x.max_pool2d(options.clone());
    let y = x.requires_grad();
    let kept = y.max_pool2d(options);
    let loss = |t: &Tensor| t.square().sum(..);
    let (a, b) = (grad(&loss(&plain), &[&x]).unwrap(), grad(&loss(&kept), &[&y]).unwrap());
    assert_eq!(vec(&plain), vec(&kept));
    assert_eq!(vec(&a[0]), vec(&b[0]));
}
