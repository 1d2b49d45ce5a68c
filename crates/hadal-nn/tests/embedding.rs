//! Tables whose rows are kept short: the table itself changes, and gradients still reach it.

use hadal_nn::*;
use hadal_tensor::{Tensor, vjp};

fn table() -> Embedding {
    Embedding::from_param(Param::new(Tensor::new([[3.0, 4.0], [0.0, 0.5], [6.0, 8.0]]))).max_norm(1.0)
}

#[test]
fn rows_that_are_looked_up_become_short_in_the_table_and_others_stay() {
    let words = table();
    let y = words.forward(&Tensor::new([0i64, 1]), &Ctx::train_without_key());
    let weight = words.weight.get().to_vec::<f64>().unwrap();
    for (got, want) in weight.iter().zip([0.6, 0.8, 0.0, 0.5, 6.0, 8.0]) {
        assert!((got - want).abs() < 1e-6, "{weight:?}");
    }
    assert_eq!(y.to_vec::<f64>().unwrap(), weight[..4]);
}

#[test]
fn both_uses_before_a_backward_pass_count() {
    let words = table();
    let cx = Ctx::train_without_key();
    let (a, b) = (Tensor::new([0i64, 1]), Tensor::new([2i64, 0]));
    let loss = words.forward(&a, &cx).sum(..) + words.forward(&b, &cx).sum(..) * 10;
    let grads = loss.backward(&words).unwrap();
    let g = grads.get("weight").unwrap().to_vec::<f64>().unwrap();
    assert_eq!(g, [11.0, 11.0, 1.0, 1.0, 10.0, 10.0]);
    // The loss is that of the short rows.
    let short = vjp(&loss, &Tensor::new(1.0f64), &[&words.weight.get()]);
    assert!(short.is_ok() && (loss.item::<f64>().unwrap() - (1.4 + 0.5 + 28.0)).abs() < 1e-4);
}

#[test]
fn what_cannot_be_is_an_error_and_changes_nothing() {
    let cx = Ctx::eval();
    let words = table();
    let e = words.forward(&Tensor::new([0i64, 3]), &cx).eval().unwrap_err().to_string();
    assert!(e.starts_with("index_select: index 3 at [1] is out of range for axis 0 of size 3"), "{e}");
    assert_eq!(words.weight.get().to_vec::<f64>().unwrap()[0], 3.0);
    let e = table().max_norm(-1.0).forward(&Tensor::new([0i64]), &cx).eval().unwrap_err().to_string();
    assert!(e.starts_with("Embedding: a max_norm of -1 with norm_type 2"), "{e}");
    let e = words.weight.overwrite(&Tensor::new([1.0f64])).unwrap_err().to_string();
    assert!(e.starts_with("overwrite: the values must have the parameter's shape and dtype"), "{e}");
}
