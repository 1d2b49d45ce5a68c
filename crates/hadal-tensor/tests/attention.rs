//! Attention as operations of the graph: which are used, what they compute against the formula, and that
//! nothing of the size of the scores is ever made.

use hadal_tensor::*;

fn random(shape: &[usize], dtype: DType, seed: u64) -> Tensor {
    Tensor::uniform(shape, DType::F64, Key::new(seed), -1.5, 1.5).cast(dtype).requires_grad()
}

fn values(t: &Tensor) -> Vec<f64> {
    t.cast(DType::F64).to_vec().unwrap_or_else(|e| panic!("{e}"))
}

#[track_caller]
fn same(a: &Tensor, b: &Tensor, tol: f64) {
    assert_eq!(a.shape(), b.shape());
    for (a, b) in values(a).iter().zip(values(b)) {
        assert!((a - b).abs() <= tol * b.abs().max(1.0), "{a} {b}");
    }
}

/// The formula as operations on whole matrices; a mask is added.
fn formula(q: &Tensor, k: &Tensor, v: &Tensor, mask: &Tensor) -> Tensor {
    ((q * (1.0 / (q.size(-1) as f64).sqrt())).matmul(&k.t()) + mask).softmax(-1).matmul(v)
}

fn operations(t: &Tensor) -> Vec<&'static str> {
    trace(t).unwrap().iter().filter(|n| n.flops > 0).map(|n| n.op).collect()
}

#[test]
fn one_operation_each_way_and_no_matrix_of_scores() {
    let [q, k, v] = [1, 2, 3].map(|seed| random(&[2, 4, 96, 8], DType::F32, seed).requires_grad());
    let mask = random(&[4, 1, 96], DType::F32, 4).requires_grad();
    let y = q.scaled_dot_product_attention(&k, &v, Some(&mask), false, None);
    assert_eq!(operations(&y), ["scaled_dot_product_attention"]);
    let grads = vjp(&y, &Tensor::ones(y.shape(), DType::F32), &[&q, &k, &v, &mask]).unwrap();
    for (g, op) in grads.iter().zip(["grad", "grad", "grad", "mask_grad"]) {
        let op = format!("scaled_dot_product_attention_{op}");
        assert_eq!(operations(g), ["scaled_dot_product_attention", &op]);
        let largest = trace(g).unwrap().iter().map(|n| n.shape.numel()).max();
        // The gradients of the three operands together at most; scores would be 2·4·96·96.
        assert!(largest.is_some_and(|n| n <= 3 * 2 * 4 * 96 * 8), "{largest:?}");
    }
    // Two products of 2·4·96·96·8 multiply-adds, half of them under a causal mask.
    let flops = |causal| {
        let y = q.scaled_dot_product_attention(&k, &v, None, causal, None);
        trace(&y).unwrap().iter().map(|n| n.flops).sum::<u64>()
    };
    assert_eq!((flops(false), flops(true)), (2 * 2 * 8 * 96 * 96 * 8, 2 * 2 * 8 * (96 * 97 / 2) * 8));
}

#[test]
fn what_the_operation_does_not_take_is_the_composition() {
    let (q, k) = (random(&[2, 3, 4], DType::F64, 1), random(&[2, 5, 4], DType::F64, 2));
    // A mask that repeats the scores, and no keys.
    let mask = random(&[3, 1, 3, 5], DType::F64, 3);
    let y = q.scaled_dot_product_attention(&k, &k, Some(&mask), false, None);
    assert!(!operations(&y).contains(&"scaled_dot_product_attention"));
    same(&y, &formula(&q, &k, &k, &mask), 1e-12);
    let none = k.narrow(1, 0, 0);
    same(
        &q.scaled_dot_product_attention(&none, &none, None, true, None),
        &Tensor::zeros([2, 3, 4], DType::F64),
        0.0,
    );
    // Heads that share keys, through the composition too.
    let (q, k) = (random(&[1, 4, 3, 2], DType::F64, 4), random(&[1, 2, 5, 2], DType::F64, 5));
    for mask in [
        random(&[2, 4, 3, 5], DType::F64, 6),
        random(&[2, 1, 1, 5], DType::F64, 6),
        random(&[3, 1, 1, 3, 5], DType::F64, 7),
    ] {
        let y = q.scaled_dot_product_attention(&k, &k, Some(&mask), false, None);
        let all = k.repeat_interleave(2, 1);
        same(&y, &formula(&q, &all, &all, &mask), 1e-12);
    }
}

#[test]
fn shared_heads_and_batches_of_any_rank() {
    for (q, k, v, mask) in [
        (&[2, 6, 3, 4][..], &[2, 2, 5, 4][..], &[2, 2, 5, 7][..], &[2, 6, 3, 5][..]),
        (&[2, 3, 2, 3, 4], &[3, 2, 5, 4], &[2, 1, 1, 5, 4], &[3, 1, 1, 5]),
        (&[2, 3, 2, 3, 4], &[5, 4], &[5, 4], &[2, 1, 1, 3, 1]),
        (&[3, 4], &[2, 5, 4], &[2, 5, 4], &[3, 5]),
        (&[4, 1, 4], &[5, 4], &[5, 1], &[5]),
        (&[3, 4], &[5, 4], &[5, 6], &[1, 1]),
    ] {
        let what = format!("{q:?} {k:?} {v:?} {mask:?}");
        let (q, k, v) = (random(q, DType::F64, 1), random(k, DType::F64, 2), random(v, DType::F64, 3));
        let mask = random(mask, DType::F64, 4);
        let repeat = |t: &Tensor| match (q.rank() > 3, t.rank() > 2) {
            (true, true) if q.size(-3) > t.size(-3) && t.size(-3) > 1 => {
                t.repeat_interleave(q.size(-3) / t.size(-3), -3)
            }
            _ => t.clone(),
        };
        let all = [&q, &k, &v, &mask];
        let y = q.scaled_dot_product_attention(&k, &v, Some(&mask), false, None);
        assert_eq!(operations(&y), ["scaled_dot_product_attention"], "{what}");
        let want = formula(&q, &repeat(&k), &repeat(&v), &mask);
        same(&y, &want, 1e-12);
        let dy = random(y.dims(), DType::F64, 5);
        for (a, b) in vjp(&y, &dy, &all).unwrap().iter().zip(vjp(&want, &dy, &all).unwrap()) {
            same(a, &b, 1e-12);
        }
    }
}

#[test]
fn strided_operands_are_read_where_they_lie() {
    // As a layer has them: one tensor of all projections, heads after positions.
    let qkv = random(&[2, 5, 3, 4, 8], DType::F32, 1).requires_grad();
    let part = |i: isize| qkv.select(2, i).permute([0, 2, 1, 3]);
    let y = part(0).scaled_dot_product_attention(&part(1), &part(2), None, true, None);
    let merged = y.permute([0, 2, 1, 3]).reshape([2, 5, 32]);
    let [q, k, v] = [0, 1, 2].map(|i| part(i).contiguous());
    let plain = q.scaled_dot_product_attention(&k, &v, None, true, None);
    assert_eq!(values(&merged), values(&plain.permute([0, 2, 1, 3]).contiguous()));
    let grad_of = |y: &Tensor| grad(&y.square().sum(..), &[&qkv]).unwrap().remove(0);
    assert_eq!(values(&grad_of(&merged)), values(&grad_of(&plain)));
}

#[test]
fn halves_are_computed_in_f32() {
    for dtype in [DType::F16, DType::BF16] {
        let [q, k, v] = [1, 2, 3].map(|seed| random(&[1, 2, 9, 8], dtype, seed));
        let y = q.scaled_dot_product_attention(&k, &v, None, true, None);
        let [a, b, c] = [&q, &k, &v].map(|t| t.cast(DType::F32));
        assert_eq!(y.dtype(), dtype);
        assert_eq!(values(&y), values(&a.scaled_dot_product_attention(&b, &c, None, true, None).cast(dtype)));
        let g = grad(&y.cast(DType::F32).sum(..), &[&q]).unwrap().remove(0);
        assert_eq!(g.dtype(), dtype);
    }
}

#[test]
fn third_derivatives_are_the_formulas() {
    let x = random(&[1, 2, 3, 2], DType::F64, 1);
    let mask = Tensor::ones([3, 3], DType::Bool).tril(0).where_(0.0, f64::NEG_INFINITY).cast(DType::F64);
    let third = |f: &dyn Fn(&Tensor) -> Tensor| {
        (0..3).fold(f(&x), |y, i| grad(&(y.square() * (i + 1)).sum(..), &[&x]).unwrap().remove(0))
    };
    let fast = third(&|x| x.scaled_dot_product_attention(x, x, None, true, None));
    same(&fast, &third(&|x| formula(x, x, x, &mask)), 1e-9);
}

#[test]
fn a_checkpointed_region_gives_the_same_gradients() {
    let x = random(&[1, 2, 7, 4], DType::F32, 1).requires_grad();
    let f = || (&x * 2.0).scaled_dot_product_attention(&x, &x.square(), None, true, None).square();
    let of = |y: &Tensor| values(&grad(&y.sum(..), &[&x]).unwrap()[0]);
    assert_eq!(of(&checkpoint(f)), of(&f()));
}
