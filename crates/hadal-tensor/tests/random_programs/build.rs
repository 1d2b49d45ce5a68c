//! A step as a call of the library.

use super::program::{Reduction, Spec};
use hadal_core::ops::{BinaryOp, UnaryOp};
use hadal_core::{binary_table, unary_table};
use hadal_tensor::{ConvOptions, DType, Key, Operand, PoolOptions, Slice, Tensor};

macro_rules! unary_calls {
    ($($(#[doc = $doc:literal])+ $v:ident $name:ident $kind:ident ($lo:expr, $hi:expr)
        |$x:ident| $f:expr; |$xi:ident| $fi:expr; grad $(none)? $(|$gx:ident, $gy:ident, $gg:ident| $d:expr)?;)*) => {
        fn unary(op: UnaryOp, x: &Tensor) -> Tensor {
            match op { $(UnaryOp::$v => x.$name(),)* }
        }
    };
}
unary_table!(unary_calls);

macro_rules! binary_calls {
    ($($(#[doc = $doc:literal])+ $v:ident $name:ident $kind:ident ($alo:expr, $ahi:expr) ($blo:expr, $bhi:expr)
        |$a:ident, $b:ident| $f:expr; |$ai:ident, $bi:ident| $fi:expr;
        grad $(none)? $(|$ga:ident, $gb:ident, $gy:ident, $gg:ident| $da:expr, $db:expr)?;)*) => {
        fn binary(op: BinaryOp, x: &Tensor, y: Operand) -> Tensor {
            match op { $(BinaryOp::$v => x.$name(y),)* }
        }
    };
}
binary_table!(binary_calls);

/// A leaf of data in its own dtype.
fn leaf(dims: &[usize], d: DType, data: &[f64]) -> Tensor {
    macro_rules! of {
        ($f:expr) => {
            Tensor::from_vec(data.iter().map($f).collect::<Vec<_>>(), dims)
        };
    }
    match d {
        DType::F64 => of!(|&v| v),
        DType::F32 => of!(|&v| v as f32),
        DType::F16 => of!(|&v| half::f16::from_f64(v)),
        DType::BF16 => of!(|&v| half::bf16::from_f64(v)),
        DType::I64 => of!(|&v| v as i64),
        DType::I32 => of!(|&v| v as i32),
        DType::U8 => of!(|&v| v as u8),
        DType::Bool => of!(|&v| v != 0.0),
    }
}

pub fn build(spec: &Spec, args: &[&Tensor]) -> Tensor {
    let x = || args[0];
    match spec {
        Spec::Leaf(dims, d, data) => leaf(dims, *d, data),
        Spec::Full(dims, d, v) => Tensor::full(dims, *v).cast(*d),
        Spec::Arange(n) => Tensor::arange(0, *n, 1),
        Spec::Random(dims, d, key) => Tensor::uniform(dims, *d, Key::new(*key), -2.0, 2.0),
        Spec::Unary(op) => unary(*op, x()),
        Spec::Binary(op) => binary(*op, x(), args[1].into()),
        Spec::BinaryScalar(op, s) => binary(*op, x(), (*s).into()),
        Spec::Where => x().where_(args[1], args[2]),
        Spec::Cast(d) => x().cast(*d),
        Spec::Clamp(l, h) => x().clamp(*l, *h),
        Spec::Reduce(r, axes, keep) => reduce(*r, x(), axes, *keep),
        Spec::Softmax(dim, false) => x().softmax(*dim as isize),
        Spec::Softmax(dim, true) => x().log_softmax(*dim as isize),
        Spec::CumSum(dim) => x().cumsum(*dim as isize),
        Spec::ArgMax(dim, keep) => x().argmax(*dim as isize, *keep),
        Spec::Reshape(dims) => x().reshape(dims),
        Spec::Permute(p) => x().permute(p),
        Spec::Slice(parts) => {
            let slices: Vec<Slice> = parts
                .iter()
                .map(|&(start, len, step)| {
                    let end = start as isize + len as isize * step;
                    Slice::new(Some(start as isize), (end >= 0).then_some(end), step)
                })
                .collect();
            x().slice(&slices)
        }
        Spec::Expand(dims) => x().expand(dims),
        Spec::Flip(axes) => x().flip(axes),
        Spec::Unfold(dim, size, step) => x().unfold(*dim as isize, *size, *step),
        Spec::Contiguous => x().contiguous(),
        Spec::Detach => x().detach(),
        Spec::Cat(dim) => Tensor::cat(args, *dim as isize),
        Spec::Stack(dim) => Tensor::stack(args, *dim as isize),
        Spec::Pad(amounts, fill) => x().pad(amounts, *fill),
        Spec::Repeat(times) => x().repeat(times),
        Spec::Roll(by, dim) => x().roll(*by, *dim),
        Spec::Matmul => x().matmul(args[1]),
        Spec::Conv2d { stride, padding, dilation, groups } => {
            let mut o = ConvOptions::default().stride(*stride).padding(*padding).dilation(*dilation);
            o.groups = *groups;
            x().conv2d(args[1], None, &o)
        }
        Spec::MaxPool(k, s, p) => x().max_pool2d(PoolOptions::new(*k).stride(*s).padding(*p)),
        Spec::AvgPool(k, s, p) => x().avg_pool2d(PoolOptions::new(*k).stride(*s).padding(*p)),
        Spec::Gather(dim) => x().gather(*dim as isize, args[1]),
        Spec::ScatterAdd(dim) => x().scatter_add(*dim as isize, args[1], args[2]),
        Spec::IndexSelect(dim) => x().index_select(*dim as isize, args[1]),
        Spec::Sort(dim, descending) => x().sort(*dim as isize, *descending).0,
        Spec::Tril(offset) => x().tril(*offset),
        Spec::Gelu => x().gelu(),
        Spec::LayerNorm => x().layer_norm(&x().dims()[x().rank() - 1..], None, None, 1e-5),
    }
}

fn reduce(r: Reduction, x: &Tensor, axes: &[usize], keep: bool) -> Tensor {
    macro_rules! call {
        ($plain:ident, $keep:ident $(, $more:expr)*) => {
            if keep { x.$keep(axes $(, $more)*) } else { x.$plain(axes $(, $more)*) }
        };
    }
    match r {
        Reduction::Sum => call!(sum, sum_keepdim),
        Reduction::Mean => call!(mean, mean_keepdim),
        Reduction::Prod => call!(prod, prod_keepdim),
        Reduction::Max => call!(max, max_keepdim),
        Reduction::Min => call!(min, min_keepdim),
        Reduction::Any => call!(any, any_keepdim),
        Reduction::All => call!(all, all_keepdim),
        Reduction::LogSumExp => call!(logsumexp, logsumexp_keepdim),
        Reduction::Var(correction) => call!(var, var_keepdim, correction),
    }
}
