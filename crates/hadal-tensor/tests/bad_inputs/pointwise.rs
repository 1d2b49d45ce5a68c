//! Pointwise operations, casts and the compositions of them.

use super::{Fixtures, POISON, row};
use hadal_core::{binary_table, unary_table};
use hadal_tensor::*;

macro_rules! unary_rows {
    ($($(#[doc = $doc:literal])+ $v:ident $name:ident $kind:ident ($lo:expr, $hi:expr)
        |$x:ident| $f:expr; |$xi:ident| $fi:expr; grad $(none)? $(|$gx:ident, $gy:ident, $gg:ident| $d:expr)?;)*) => {
        /// Every unary operation: poison stays, bools are refused or taken as the table says, and
        /// nothing is wrong with 0-d and empty tensors.
        fn unary(f: &Fixtures) { $(
            row(|| f.bad.$name(), POISON);
            row(|| f.z.$name(), "OK");
            row(|| f.e.$name(), "OK");
            row(|| f.i.$name(), "OK");
            let refused = concat!(stringify!($name), ": not defined for bool");
            row(|| f.b.$name(), if stringify!($kind) == "Num" { refused } else { "OK" });
        )* }
    };
}
unary_table!(unary_rows);

macro_rules! binary_rows {
    ($($(#[doc = $doc:literal])+ $v:ident $name:ident $kind:ident ($alo:expr, $ahi:expr) ($blo:expr, $bhi:expr)
        |$a:ident, $b:ident| $f:expr; |$ai:ident, $bi:ident| $fi:expr;
        grad $(none)? $(|$ga:ident, $gb:ident, $gy:ident, $gg:ident| $da:expr, $db:expr)?;)*) => {
        /// Every binary operation.
        fn binary(f: &Fixtures) { $(
            let bits = stringify!($kind) == "Bit";
            let broken = concat!(stringify!($name), ": shapes do not broadcast");
            let (x, four) = if bits { (&f.i, Tensor::zeros([4], DType::I64)) } else { (&f.x, f.v.clone()) };
            row(|| x.$name(&four), broken);
            row(|| x.$name(&f.bad), POISON);
            row(|| f.bad.$name(x), POISON);
            row(|| f.bad.$name(1), POISON);
            let float = concat!(stringify!($name), ": bits of f32 have no meaning; integers or bools only");
            row(|| f.x.$name(1.5), if bits { float } else { "OK" });
            // Division of whole numbers by 0, powers that overflow: a value, never a panic.
            for n in [0, -1, i64::MAX, i64::MIN] {
                row(|| f.i.$name(n), "OK");
                row(|| Tensor::new([i64::MIN, i64::MAX, 0]).$name(n), "OK");
            }
            for n in [0, -1, i32::MAX as i64, i32::MIN as i64] {
                row(|| Tensor::new([i32::MIN, i32::MAX, 0]).$name(n), "OK");
            }
            for n in [0, 1, 255] {
                row(|| Tensor::new([0u8, 255]).$name(n), "OK");
            }
            // A number that the dtype cannot hold: an error, except that comparisons and logic know.
            let fits = matches!(stringify!($kind), "Compare" | "Logic");
            let wraps = concat!(stringify!($name), ": 300 does not fit u8");
            row(|| Tensor::new([0u8, 255]).$name(300), if fits { "OK" } else { wraps });
            row(|| f.e.cast(x.dtype()).$name(x.select(0, 0)), "OK");
            row(|| f.e.cast(x.dtype()).$name(x), broken);
        )* }
    };
}
binary_table!(binary_rows);

pub fn table(f: &Fixtures) {
    unary(f);
    binary(f);
    let Fixtures { x, i, b, z, e, v, huge, bad, .. } = f;
    row(|| b - b.logical_not(), "sub: not defined for two bools; use logical_xor");
    row(|| b.sub(true), "sub: not defined for two bools; use logical_xor");
    row(|| x + v, "add: shapes do not broadcast");
    row(|| 1.0 - bad, POISON);
    row(|| -b, "neg: not defined for bool");
    row(|| x % v, "remainder: shapes do not broadcast");
    row(|| x.cast(DType::Bool).neg(), "neg: not defined for bool");
    row(|| bad.cast(DType::F64), POISON);
    row(|| bad.cast_like(x), POISON);
    row(|| x.cast_like(bad), "OK");
    row(|| x.where_(x, x), "where: the condition must be bool");
    row(|| b.where_(v, x), "where: shapes do not broadcast");
    row(|| b.where_(x, bad), POISON);
    row(|| bad.where_(x, x), POISON);
    row(|| x.masked_fill(x, 0.0), "masked_fill: the mask must be bool");
    row(|| v.masked_fill(b, 0.0), "masked_fill: shapes do not broadcast");
    row(|| x.masked_fill(bad, 0.0), "masked_fill: the mask must be bool");
    row(|| bad.logical_not(), POISON);
    row(|| x.bitwise_not(), "bitwise_xor: bits of f32 have no meaning; integers or bools only");
    row(|| x.clamp(v, 1.0), "clamp: shapes do not broadcast");
    row(|| x.clamp(bad, 1.0), POISON);
    row(|| x.clamp(f64::NAN, f64::NAN), "OK");
    row(|| x.clamp_min(v), "clamp: shapes do not broadcast");
    row(|| x.clamp_max(v), "clamp: shapes do not broadcast");
    row(|| b.clamp(0.0, 1.0), "OK");
    row(|| x.lerp(v, 0.5), "sub: shapes do not broadcast");
    row(|| x.lerp(x, v), "mul: shapes do not broadcast");
    row(|| x.lerp(x, bad), POISON);
    row(|| x.lerp(bad, 0.5), POISON);
    row(|| i.lerp(b, f64::NAN), "OK");
    row(|| x.addcmul(x, v, 1.0), "mul: shapes do not broadcast");
    row(|| x.addcmul(bad, x, 1.0), POISON);
    row(|| x.addcdiv(v, x, 1.0), "div: shapes do not broadcast");
    row(|| x.addcdiv(x, bad, 1.0), POISON);
    row(|| x.logaddexp(v), "logaddexp: shapes do not broadcast");
    row(|| bad.logaddexp(v), POISON);
    row(|| x.xlogy(v), "xlogy: shapes do not broadcast");
    row(|| x.xlogy(bad), POISON);
    row(|| x.isclose(v, 1e-5, 1e-8, false), "isclose: shapes do not broadcast");
    row(|| x.isclose(bad, 1e-5, 1e-8, false), POISON);
    row(|| x.allclose(v, 1e-5, 1e-8, true), "isclose: shapes do not broadcast");
    row(|| x.allclose(bad, 1e-5, 1e-8, true), POISON);
    row(|| bad.nan_to_num(0.0, None, None), POISON);
    row(|| bad.frac(), POISON);
    row(|| bad.signbit(), POISON);
    row(|| x.celu(0.0), "celu: an alpha of 0");
    row(|| x.celu(f64::NAN), "OK");
    row(|| x.softplus_with(0.0, 20.0), "softplus: a beta of 0");
    row(|| b.gelu(), "OK");
    row(|| bad.gelu(), POISON);
    row(|| bad.hardtanh(0.0, 1.0), POISON);
    row(|| x.prelu(v), "prelu: 4 weights for 3 channels");
    row(|| x.prelu(x), "prelu: 6 weights for 3 channels");
    row(|| x.prelu(bad), POISON);
    row(|| v.prelu(&Tensor::zeros([0], DType::F32)), "prelu: 0 weights for 1 channels");
    row(|| x.glu(1), "glu: dimension 1 has the odd size 3");
    row(|| x.glu(2), "glu: dimension 2 is out of range: -2 to 1 for this tensor");
    row(|| z.glu(0), "glu: dimension 0 of a tensor with no dimensions");
    row(|| e.glu(0), "OK");
    row(|| x.softmax(2), "softmax: dimension 2 is out of range: -2 to 1 for this tensor");
    row(
        || x.softmax(isize::MIN),
        "softmax: dimension -9223372036854775808 is out of range: -2 to 1 for this tensor",
    );
    row(|| z.softmax(0), "OK");
    row(|| e.softmax(0), "OK");
    row(|| bad.softmax(0), POISON);
    row(|| x.log_softmax(-3), "log_softmax: dimension -3 is out of range: -2 to 1 for this tensor");
    row(|| x.softmin(7), "softmin: dimension 7 is out of range: -2 to 1 for this tensor");
    row(|| huge.exp(), "exp: no memory for 1125899906842624 elements of f32 (4194304.0 GiB)");
}
