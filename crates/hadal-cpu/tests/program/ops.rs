//! Every row of the tables on every dtype it takes, every cast, on all instruction sets.

use crate::support::*;
use hadal_core::DType;
use hadal_core::ops::{BinaryOp, Code, Kind, UnaryOp};
use hadal_cpu::simd::{Level, detected, limit_level};
use std::sync::Mutex;

/// The level is global; tests that change it take turns.
static LEVEL: Mutex<()> = Mutex::new(());

fn on_all_levels(f: impl Fn()) {
    let _turn = LEVEL.lock().unwrap_or_else(|e| e.into_inner());
    for level in [Level::Portable, Level::Avx2, Level::Avx512] {
        if level <= detected() {
            limit_level(level);
            f();
        }
    }
    limit_level(Level::Avx512);
}

fn takes(kind: Kind, dtype: DType) -> bool {
    match kind {
        Kind::Float | Kind::Test => dtype.is_float(),
        Kind::Num | Kind::Compare => true,
        Kind::Logic => dtype == DType::Bool,
        Kind::Bit => !dtype.is_float(),
    }
}

/// Values inside the domain and the awkward ones outside.
fn operand(dtype: DType, (low, high): (f64, f64), n: usize, seed: u64) -> Host {
    let mut rng = Lcg(seed);
    let special =
        [0.0, -0.0, 1.0, -1.0, f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1e-30, -1e30, 0.5, 2.5, -2.5];
    let whole = [0, 1, -1, 2, -7, 63, 255, i32::MAX as i64, i32::MIN as i64, i64::MAX, i64::MIN, 3];
    Host::new(&[n], dtype, |i| match (i % 3, dtype.category()) {
        (0, hadal_core::Category::Float) => convert(Val::F64(special[rng.below(special.len())]), dtype),
        (0, hadal_core::Category::Int) => convert(Val::I(whole[rng.below(whole.len())]), dtype),
        _ => random_value(dtype, low, high, &mut rng),
    })
}

#[test]
fn unary_rows_equal_their_formula_on_all_dtypes() {
    on_all_levels(|| {
        for &op in UnaryOp::ALL {
            for dtype in DType::ALL.into_iter().filter(|&d| takes(op.kind(), d)) {
                let x = operand(dtype, op.domain(), 700, op as u64 * 8 + dtype as u64);
                let mut b = Builder::new(&[700]);
                let r = b.load(0, dtype);
                let y = b.unary(op, r);
                b.store(y);
                check(&b.0, &[&x], &format!("{op:?} {dtype}"));
            }
        }
    });
}

#[test]
fn binary_rows_equal_their_formula_on_all_dtypes() {
    on_all_levels(|| {
        for &op in BinaryOp::ALL {
            for dtype in DType::ALL.into_iter().filter(|&d| takes(op.kind(), d)) {
                let [da, db] = op.domain();
                let x = operand(dtype, da, 700, op as u64 * 16 + dtype as u64);
                let y = operand(dtype, db, 700, op as u64 * 16 + dtype as u64 + 1000);
                let mut b = Builder::new(&[700]);
                let (rx, ry) = (b.load(0, dtype), b.load(1, dtype));
                let z = b.binary(op, rx, ry);
                b.store(z);
                check(&b.0, &[&x, &y], &format!("{op:?} {dtype}"));
            }
        }
    });
}

#[test]
fn casts_convert_as_elements_do() {
    on_all_levels(|| {
        for from in DType::ALL {
            for to in DType::ALL {
                let x = operand(from, (-300.0, 300.0), 600, from as u64 * 8 + to as u64);
                let mut b = Builder::new(&[600]);
                let r = b.load(0, from);
                let y = b.cast(r, to);
                let z = b.cast(y, from);
                b.store(y).store(z);
                check(&b.0, &[&x], &format!("{from} to {to}"));
            }
        }
    });
}

#[test]
fn where_selects_on_all_dtypes() {
    on_all_levels(|| {
        for dtype in DType::ALL {
            let mut rng = Lcg(5);
            let c = Host::random(&[600], DType::Bool, 0.0, 1.0, &mut rng);
            let (x, y) = (operand(dtype, (-2.0, 2.0), 600, 1), operand(dtype, (-2.0, 2.0), 600, 2));
            let mut b = Builder::new(&[600]);
            let (rc, rx, ry) = (b.load(0, DType::Bool), b.load(1, dtype), b.load(2, dtype));
            let z = b.push(Code::Where(rc, rx, ry), dtype);
            b.store(z);
            check(&b.0, &[&c, &x, &y], &format!("where {dtype}"));
        }
    });
}

#[test]
fn constants_are_of_their_dtype() {
    for dtype in DType::ALL {
        for v in [0.1, -3.7, 300.25, 0.0] {
            let mut b = Builder::new(&[3, 5]);
            let c = b.constant(v, dtype);
            b.store(c);
            check(&b.0, &[], &format!("{v} as {dtype}"));
        }
    }
}
