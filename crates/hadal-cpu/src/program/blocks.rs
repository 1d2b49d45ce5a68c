//! Block functions: one per row of the pointwise tables and compute type, made by the tables
//! themselves. Each maps whole blocks in scratch or tensor memory; none knows shapes or strides.

use super::isa::versions;
use crate::simd::Level;
use hadal_core::math::Real;
use hadal_core::ops::{BinaryOp, UnaryOp};
use hadal_core::{DType, binary_table, unary_table};

/// Elements in a block: 2 KiB of f32, so that a dozen registers stay in a 32 KiB L1 cache, while
/// the cost of dispatch (a few ns) is small beside the work on a block.
pub(super) const BLOCK: usize = 512;
/// Block functions run on whole multiples of this many elements, so none has a scalar rest.
pub(super) const PAD: usize = 64;

/// `kernel(dst, a, b, c, n, whole)`: `n` is a multiple of [`PAD`]; `dst` and the sources the
/// operation reads are valid for `n` elements and aligned, and `dst` overlaps no source. A source
/// whose bit of `whole` (1, 2, 4 for a, b, c) is not set is the same everywhere and has only [`PAD`]
/// elements, so that a constant takes next to nothing of the L1 cache; block functions of one source
/// take only whole ones.
pub(super) type Kernel = unsafe fn(*mut u8, *const u8, *const u8, *const u8, usize, u32);

trait Map1<T, U> {
    fn at(x: T) -> U;
}
trait Map2<T, U> {
    fn at(a: T, b: T) -> U;
}

#[inline(always)]
unsafe fn body1<T: Copy, U, F: Map1<T, U>>(
    d: *mut u8,
    a: *const u8,
    _: *const u8,
    _: *const u8,
    n: usize,
    _: u32,
) {
    // Tells the compiler that there is no rest.
    let n = n & !(PAD - 1);
    // SAFETY: see `Kernel`.
    let (d, a) = unsafe {
        (std::slice::from_raw_parts_mut(d.cast::<U>(), n), std::slice::from_raw_parts(a.cast::<T>(), n))
    };
    map1::<T, U, F>(d, a);
}
#[inline(always)]
fn map1<T: Copy, U, F: Map1<T, U>>(d: &mut [U], a: &[T]) {
    for (d, &a) in d.iter_mut().zip(a) {
        *d = F::at(a);
    }
}

/// Elements between two chunks of source number `i`.
#[inline(always)]
fn step(whole: u32, i: u32) -> usize {
    if whole >> i & 1 == 1 { PAD } else { 0 }
}

#[inline(always)]
unsafe fn body2<T: Copy, U, F: Map2<T, U>>(
    d: *mut u8,
    a: *const u8,
    b: *const u8,
    _: *const u8,
    n: usize,
    whole: u32,
) {
    let (d, a, b) = (d.cast::<[U; PAD]>(), a.cast::<T>(), b.cast::<T>());
    for k in 0..n / PAD {
        // SAFETY: see `Kernel`.
        unsafe {
            let (a, b) = (a.add(k * step(whole, 0)), b.add(k * step(whole, 1)));
            map2::<T, U, F>(&mut *d.add(k), &*a.cast(), &*b.cast());
        }
    }
}
#[inline(always)]
fn map2<T: Copy, U, F: Map2<T, U>>(d: &mut [U; PAD], a: &[T; PAD], b: &[T; PAD]) {
    for i in 0..PAD {
        d[i] = F::at(a[i], b[i]);
    }
}

/// Selection moves bits, so it needs only the size of the type.
#[inline(always)]
unsafe fn body_select<T: Copy>(d: *mut u8, c: *const u8, a: *const u8, b: *const u8, n: usize, whole: u32) {
    let (d, a, b) = (d.cast::<[T; PAD]>(), a.cast::<T>(), b.cast::<T>());
    for k in 0..n / PAD {
        // SAFETY: see `Kernel`.
        unsafe {
            let c = c.add(k * step(whole, 0));
            let (a, b) = (a.add(k * step(whole, 1)), b.add(k * step(whole, 2)));
            select::<T>(&mut *d.add(k), &*c.cast(), &*a.cast(), &*b.cast());
        }
    }
}
#[inline(always)]
fn select<T: Copy>(d: &mut [T; PAD], c: &[u8; PAD], a: &[T; PAD], b: &[T; PAD]) {
    for i in 0..PAD {
        d[i] = if c[i] != 0 { a[i] } else { b[i] };
    }
}

/// Rounds a register in place; reads no source.
#[inline(always)]
unsafe fn body_round<T: Copy, F: Map1<T, T>>(
    d: *mut u8,
    _: *const u8,
    _: *const u8,
    _: *const u8,
    n: usize,
    _: u32,
) {
    let n = n & !(PAD - 1);
    // SAFETY: see `Kernel`.
    for x in unsafe { std::slice::from_raw_parts_mut(d.cast::<T>(), n) } {
        *x = F::at(*x);
    }
}

versions!(pick1, Kernel, body1, [T, U, F], [T: Copy, F: Map1<T, U>],
    (d: *mut u8, a: *const u8, b: *const u8, c: *const u8, n: usize, whole: u32));
versions!(pick2, Kernel, body2, [T, U, F], [T: Copy, F: Map2<T, U>],
    (d: *mut u8, a: *const u8, b: *const u8, c: *const u8, n: usize, whole: u32));
versions!(pick_select, Kernel, body_select, [T], [T: Copy],
    (d: *mut u8, a: *const u8, b: *const u8, c: *const u8, n: usize, whole: u32));
versions!(pick_round, Kernel, body_round, [T, F], [T: Copy, F: Map1<T, T>],
    (d: *mut u8, a: *const u8, b: *const u8, c: *const u8, n: usize, whole: u32));

macro_rules! impl1 {
    ($v:ident, $t:ty => $u:ty, |$x:ident| $f:expr) => {
        impl Map1<$t, $u> for $v {
            #[inline(always)]
            fn at($x: $t) -> $u {
                $f
            }
        }
    };
}
macro_rules! impl2 {
    ($v:ident, $t:ty => $u:ty, |$a:ident, $b:ident| $f:expr) => {
        impl Map2<$t, $u> for $v {
            #[inline(always)]
            fn at($a: $t, $b: $t) -> $u {
                $f
            }
        }
    };
}

macro_rules! unary_impls {
    (Float $v:ident |$x:ident| $f:expr; |$xi:ident| $fi:expr;) => {
        impl1!($v, f32 => f32, |$x| $f);
        impl1!($v, f64 => f64, |$x| $f);
    };
    (Num $v:ident |$x:ident| $f:expr; |$xi:ident| $fi:expr;) => {
        unary_impls!(Float $v |$x| $f; |$xi| $fi;);
        impl1!($v, i64 => i64, |$xi| $fi);
        impl1!($v, u8 => u8, |x| (<$v as Map1<i64, i64>>::at(x as i64) != 0) as u8);
    };
    (Test $v:ident |$x:ident| $f:expr; |$xi:ident| $fi:expr;) => {
        impl1!($v, f32 => u8, |$x| ($f) as u8);
        impl1!($v, f64 => u8, |$x| ($f) as u8);
    };
}
macro_rules! unary_pick {
    (Float $v:ident $isa:ident $t:ident) => {
        match $t {
            DType::F32 => Some(pick1::<f32, f32, $v>($isa)),
            DType::F64 => Some(pick1::<f64, f64, $v>($isa)),
            _ => None,
        }
    };
    (Num $v:ident $isa:ident $t:ident) => {
        match $t {
            DType::I64 => Some(pick1::<i64, i64, $v>($isa)),
            DType::Bool => Some(pick1::<u8, u8, $v>($isa)),
            _ => unary_pick!(Float $v $isa $t),
        }
    };
    (Test $v:ident $isa:ident $t:ident) => {
        match $t {
            DType::F32 => Some(pick1::<f32, u8, $v>($isa)),
            DType::F64 => Some(pick1::<f64, u8, $v>($isa)),
            _ => None,
        }
    };
}
macro_rules! unary_rows {
    ($($(#[doc = $doc:literal])+ $v:ident $name:ident $kind:ident ($lo:expr, $hi:expr)
        |$x:ident| $f:expr; |$xi:ident| $fi:expr; grad $(none)? $(|$gx:ident, $gy:ident, $gg:ident| $d:expr)?;)*) => {
        mod unary_rows {
            use super::*;
            $(pub struct $v; unary_impls!($kind $v |$x| $f; |$xi| $fi;);)*
            /// The block function of an operation on operands of a compute type; `None` where the
            /// operation does not take it.
            pub fn unary(isa: Level, op: UnaryOp, t: DType) -> Option<Kernel> {
                match op { $(UnaryOp::$v => unary_pick!($kind $v isa t)),* }
            }
        }
    };
}

macro_rules! binary_impls {
    (Float $v:ident |$a:ident, $b:ident| $f:expr; |$ai:ident, $bi:ident| $fi:expr;) => {
        impl2!($v, f32 => f32, |$a, $b| $f);
        impl2!($v, f64 => f64, |$a, $b| $f);
    };
    (Num $v:ident |$a:ident, $b:ident| $f:expr; |$ai:ident, $bi:ident| $fi:expr;) => {
        binary_impls!(Float $v |$a, $b| $f; |$ai, $bi| $fi;);
        impl2!($v, i64 => i64, |$ai, $bi| $fi);
        impl2!($v, u8 => u8, |a, b| (<$v as Map2<i64, i64>>::at(a as i64, b as i64) != 0) as u8);
    };
    (Compare $v:ident |$a:ident, $b:ident| $f:expr; |$ai:ident, $bi:ident| $fi:expr;) => {
        impl2!($v, f32 => u8, |$a, $b| ($f) as u8);
        impl2!($v, f64 => u8, |$a, $b| ($f) as u8);
        impl2!($v, i64 => u8, |$ai, $bi| ($fi) as u8);
        impl2!($v, u8 => u8, |$ai, $bi| ($fi) as u8);
    };
    (Logic $v:ident |$a:ident, $b:ident| $f:expr; |$ai:ident, $bi:ident| $fi:expr;) => {
        impl2!($v, u8 => u8, |$a, $b| $f);
    };
    (Bit $v:ident |$a:ident, $b:ident| $f:expr; |$ai:ident, $bi:ident| $fi:expr;) => {
        impl2!($v, u8 => u8, |$a, $b| $f);
        impl2!($v, i64 => i64, |$ai, $bi| $fi);
    };
}
macro_rules! binary_pick {
    (Float $v:ident $isa:ident $t:ident) => {
        match $t {
            DType::F32 => Some(pick2::<f32, f32, $v>($isa)),
            DType::F64 => Some(pick2::<f64, f64, $v>($isa)),
            _ => None,
        }
    };
    (Num $v:ident $isa:ident $t:ident) => {
        match $t {
            DType::I64 => Some(pick2::<i64, i64, $v>($isa)),
            DType::Bool => Some(pick2::<u8, u8, $v>($isa)),
            _ => binary_pick!(Float $v $isa $t),
        }
    };
    (Compare $v:ident $isa:ident $t:ident) => {
        match $t {
            DType::F32 => Some(pick2::<f32, u8, $v>($isa)),
            DType::F64 => Some(pick2::<f64, u8, $v>($isa)),
            DType::I64 => Some(pick2::<i64, u8, $v>($isa)),
            DType::Bool => Some(pick2::<u8, u8, $v>($isa)),
            _ => None,
        }
    };
    (Logic $v:ident $isa:ident $t:ident) => {
        match $t {
            DType::Bool => Some(pick2::<u8, u8, $v>($isa)),
            _ => None,
        }
    };
    (Bit $v:ident $isa:ident $t:ident) => {
        match $t {
            DType::Bool => Some(pick2::<u8, u8, $v>($isa)),
            DType::I64 => Some(pick2::<i64, i64, $v>($isa)),
            _ => None,
        }
    };
}
macro_rules! binary_rows {
    ($($(#[doc = $doc:literal])+ $v:ident $name:ident $kind:ident ($alo:expr, $ahi:expr) ($blo:expr, $bhi:expr)
        |$a:ident, $b:ident| $f:expr; |$ai:ident, $bi:ident| $fi:expr;
        grad $(none)? $(|$ga:ident, $gb:ident, $gy:ident, $gg:ident| $da:expr, $db:expr)?;)*) => {
        mod binary_rows {
            use super::*;
            $(pub struct $v; binary_impls!($kind $v |$a, $b| $f; |$ai, $bi| $fi;);)*
            /// The block function of an operation on operands of a compute type; `None` where the
            /// operation does not take it.
            pub fn binary(isa: Level, op: BinaryOp, t: DType) -> Option<Kernel> {
                match op { $(BinaryOp::$v => binary_pick!($kind $v isa t)),* }
            }
        }
    };
}
unary_table!(unary_rows);
binary_table!(binary_rows);
pub(super) use binary_rows::binary;
pub(super) use unary_rows::unary;

/// `select(dst, cond, a, b)` for a compute type.
pub(super) fn select_kernel(isa: Level, t: DType) -> Kernel {
    match t.compute().size() {
        8 => pick_select::<u64>(isa),
        4 => pick_select::<u32>(isa),
        _ => pick_select::<u8>(isa),
    }
}

struct Convert;
struct Truth;
macro_rules! converts {
    ($($t:ty => $u:ty),*) => { $(impl1!(Convert, $t => $u, |x| x as $u);)* };
}
converts!(f32 => f64, f32 => i64, f64 => f32, f64 => i64, i64 => f32, i64 => f64,
    u8 => f32, u8 => f64, u8 => i64, f32 => f32, f64 => f64, i64 => i64, u8 => u8);
impl1!(Truth, f32 => u8, |x| (x != 0.0) as u8);
impl1!(Truth, f64 => u8, |x| (x != 0.0) as u8);
impl1!(Truth, i64 => u8, |x| (x != 0) as u8);

/// Conversion between compute types, as [`hadal_core::Element`] converts. Between equal types it
/// copies.
pub(super) fn cast_kernel(isa: Level, from: DType, to: DType) -> Kernel {
    use DType::*;
    match (from.compute(), to.compute()) {
        (F32, F64) => pick1::<f32, f64, Convert>(isa),
        (F32, I64) => pick1::<f32, i64, Convert>(isa),
        (F32, Bool) => pick1::<f32, u8, Truth>(isa),
        (F64, F32) => pick1::<f64, f32, Convert>(isa),
        (F64, I64) => pick1::<f64, i64, Convert>(isa),
        (F64, Bool) => pick1::<f64, u8, Truth>(isa),
        (I64, F32) => pick1::<i64, f32, Convert>(isa),
        (I64, F64) => pick1::<i64, f64, Convert>(isa),
        (I64, Bool) => pick1::<i64, u8, Truth>(isa),
        (Bool, F32) => pick1::<u8, f32, Convert>(isa),
        (Bool, F64) => pick1::<u8, f64, Convert>(isa),
        (Bool, I64) => pick1::<u8, i64, Convert>(isa),
        (F32, _) => pick1::<f32, f32, Convert>(isa),
        (F64, _) => pick1::<f64, f64, Convert>(isa),
        (I64, _) => pick1::<i64, i64, Convert>(isa),
        _ => pick1::<u8, u8, Convert>(isa),
    }
}

struct ToF16;
struct ToBf16;
struct ToI32;
struct ToU8;
impl1!(ToF16, f32 => f32, |x| half::f16::from_f32(x).to_f32());
impl1!(ToBf16, f32 => f32, |x| f32::from_bits((bf16_bits(x) as u32) << 16));
impl1!(ToI32, i64 => i64, |x| x as i32 as i64);
impl1!(ToU8, i64 => i64, |x| x as u8 as i64);

/// The bits of `half::bf16::from_f32`, without branches.
#[inline(always)]
pub(super) fn bf16_bits(x: f32) -> u16 {
    let bits = x.to_bits();
    // To nearest, ties to even: add just under half of the last place, and its parity.
    let rounded = (bits.wrapping_add(0x7fff + ((bits >> 16) & 1)) >> 16) as u16;
    // A NaN keeps its sign and top payload and is made quiet.
    let nan = (bits >> 16) as u16 | 0x40;
    if bits & 0x7fff_ffff > 0x7f80_0000 { nan } else { rounded }
}

/// Rounds or wraps a register to a storage dtype in place; `None` where the compute type is the
/// storage type.
pub(super) fn round_kernel(isa: Level, to: DType) -> Option<Kernel> {
    match to {
        #[cfg(target_arch = "x86_64")]
        DType::F16 if isa != Level::Portable => Some(super::x86::round_f16),
        DType::F16 => Some(pick_round::<f32, ToF16>(isa)),
        DType::BF16 => Some(pick_round::<f32, ToBf16>(isa)),
        DType::I32 => Some(pick_round::<i64, ToI32>(isa)),
        DType::U8 => Some(pick_round::<i64, ToU8>(isa)),
        _ => None,
    }
}
