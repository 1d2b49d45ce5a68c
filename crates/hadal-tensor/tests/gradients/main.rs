//! Gradients of every differentiable operation against central differences in f64, of first and second
//! order, over contiguous, transposed, broadcast, empty and 0-d inputs.
//!
//! The pointwise part reads the operation table, so a new row is tested without a line here. Class
//! operations have rows in `class.rs`. What was proved is written to `target/optable/gradients.json`,
//! from which `cargo xtask optable` makes the documentation's table.

mod check;
mod class;

use check::{Proof, check, empty_and_scalar, layouts};
use hadal_core::ops::{BinaryOp, UnaryOp};
use hadal_tensor::{DType, Key, Tensor};
use std::fmt::Write as _;
use std::path::Path;

/// Inputs inside an open interval, away from its ends.
fn within((low, high): (f64, f64), shape: &[usize], seed: u64) -> Tensor {
    let margin = 0.02 * (high - low);
    let x = Tensor::uniform(shape.to_vec(), DType::F64, Key::new(seed), low + margin, high - margin);
    // Kinks and jumps lie at whole and half numbers: keep a step of the differences away from them.
    let near = ((&x * 2.0).round() * 0.5 - &x).abs().lt(1e-3);
    near.where_(&x + 0.01, &x)
}

fn unary(op: UnaryOp, x: &Tensor) -> Tensor {
    by_name(op.name(), x)
}

macro_rules! name_unary {
    ($($(#[doc = $doc:literal])+ $v:ident $name:ident $kind:ident ($lo:expr, $hi:expr)
        |$x:ident| $f:expr; |$xi:ident| $fi:expr; grad $(none)? $(|$gx:ident, $gy:ident, $gg:ident| $d:expr)?;)*) => {
        fn by_name(name: &str, x: &Tensor) -> Tensor {
            match name { $(stringify!($name) => x.$name(),)* _ => unreachable!("{name} is in the table") }
        }
    };
}
hadal_core::unary_table!(name_unary);
macro_rules! name_binary {
    ($($(#[doc = $doc:literal])+ $v:ident $name:ident $kind:ident ($alo:expr, $ahi:expr) ($blo:expr, $bhi:expr)
        |$a:ident, $b:ident| $f:expr; |$ai:ident, $bi:ident| $fi:expr;
        grad $(none)? $(|$ga:ident, $gb:ident, $gy:ident, $gg:ident| $da:expr, $db:expr)?;)*) => {
        fn binary(op: BinaryOp, a: &Tensor, b: &Tensor) -> Tensor {
            match op { $(BinaryOp::$v => a.$name(b),)* }
        }
    };
}
hadal_core::binary_table!(name_binary);

fn write_proofs(proofs: &[Proof]) {
    let dir = Path::new(concat!(env!("CARGO_TARGET_TMPDIR"), "/../optable"));
    let mut text = String::new();
    for p in proofs {
        let class = if p.class == "pointwise" { String::new() } else { format!(r#""class":"{}","#, p.class) };
        let proved = if p.proved { "true" } else { "null" };
        let _ = writeln!(text, r#"{{"op":"{}",{class}"grad":{proved},"double":{proved}}}"#, p.op);
    }
    std::fs::create_dir_all(dir).expect("the target folder is writable");
    std::fs::write(dir.join("gradients.json"), text).expect("the target folder is writable");
}

#[test]
fn gradients_of_every_operation() {
    let mut proofs = Vec::new();
    for &op in UnaryOp::ALL {
        let f = |xs: &[Tensor]| unary(op, &xs[0]);
        if !op.differentiable() {
            proofs.push(Proof::none(op.name(), "pointwise"));
            continue;
        }
        let x = within(op.domain(), &[3, 4], 1);
        proofs.push(check(op.name(), "pointwise", std::slice::from_ref(&x), f));
        layouts(op.name(), &x, |x| unary(op, x));
        empty_and_scalar(op.name(), op.domain(), |x| unary(op, x));
    }
    for &op in BinaryOp::ALL {
        let [da, db] = op.domain();
        if !op.differentiable() {
            proofs.push(Proof::none(op.name(), "pointwise"));
            continue;
        }
        let (a, b) = (within(da, &[3, 4], 2), within(db, &[3, 4], 3));
        proofs.push(check(op.name(), "pointwise", &[a.clone(), b.clone()], |xs| binary(op, &xs[0], &xs[1])));
        // Broadcast in both directions, and transposed.
        let (row, col) = (within(da, &[4], 4), within(db, &[3, 1], 5));
        check(op.name(), "pointwise", &[row, col], |xs| binary(op, &xs[0], &xs[1]));
        check(op.name(), "pointwise", &[within(da, &[4, 3], 6), b], |xs| binary(op, &xs[0].t(), &xs[1]));
        check(op.name(), "pointwise", &[a, within(db, &[], 7)], |xs| binary(op, &xs[0], &xs[1]));
        empty_and_scalar(op.name(), da, |x| binary(op, x, &(x * 0.0 + (db.0 + db.1) / 2.0)));
    }
    proofs.extend(class::all());
    write_proofs(&proofs);
    let second = proofs.iter().filter(|p| p.proved).count();
    println!("{} operations, {second} with proven second derivatives", proofs.len());
    assert!(second > 100, "only {second} operations were checked to second order");
}

#[test]
fn a_wrong_gradient_is_caught() {
    // The checks above would be worth nothing if they could not fail.
    let wrong = |xs: &[Tensor]| hadal_tensor::no_grad(|| xs[0].sin()) + &xs[0];
    let x = within((-1.0, 1.0), &[3], 9);
    let caught = std::panic::catch_unwind(|| check("wrong", "test", &[x], wrong));
    assert!(caught.is_err());
}
