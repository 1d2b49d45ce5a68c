//! The cases' operations by PyTorch's names.

use super::case::Case;
use hadal_tensor::{
    ConvOptions, DType, Dims, Operand, PadMode, Padding, PoolOptions, Scalar, Sizes, Slice, Spatial, Tensor,
    einsum,
};

macro_rules! by_name {
    ($c:expr, $x:expr; $($name:ident)*) => { match $c.op.as_str() { $(stringify!($name) => return Some(vec![$x.$name()]),)* _ => {} } };
}
macro_rules! binary_by_name {
    ($c:expr, $x:expr, $o:expr; $($name:ident)*) => { match $c.op.as_str() { $(stringify!($name) => return Some(vec![$x.$name($o)]),)* _ => {} } };
}

/// Dimensions to reduce, from a case.
struct Over(Option<Vec<isize>>);
impl Dims for Over {
    fn dims(&self) -> Option<Sizes> {
        self.0.clone().map(Sizes::from_vec)
    }
}

pub fn run(c: &Case) -> Option<Vec<Tensor>> {
    let x = c.inputs.first()?;
    by_name!(c, x; abs neg sign exp exp2 expm1 log log2 log10 log1p sqrt rsqrt square reciprocal sin cos tan asin
        acos atan sinh cosh tanh asinh acosh atanh erf erfc sigmoid floor ceil round trunc frac relu silu mish selu
        hardswish hardsigmoid softsign logsigmoid relu6 tanhshrink isnan isinf isfinite signbit logical_not
        bitwise_not nonzero);
    let scalar = || -> Option<Operand> {
        let v = ["other", "exponent"].iter().map(|k| &c.args[*k]).find(|v| !v.is_null())?;
        Some(match v {
            serde_json::Value::Bool(b) => (*b).into(),
            v if v.is_i64() => v.as_i64()?.into(),
            v => v.as_f64()?.into(),
        })
    };
    let other = c.inputs.get(1).map(Operand::from).or_else(scalar);
    if let Some(o) = other.clone()
        && !(c.op == "div" && c.args.get("rounding_mode").is_some())
    {
        binary_by_name!(c, x, o; add sub mul div pow atan2 maximum minimum fmod remainder hypot logaddexp
            floor_divide eq ne lt le gt ge logical_and logical_or logical_xor bitwise_and bitwise_or bitwise_xor);
    }
    unary(c, x)
        .or_else(|| binary(c, x, other))
        .or_else(|| reduce(c, x))
        .or_else(|| view(c, x))
        .or_else(|| index(c, x))
        .or_else(|| class(c, x))
}

fn unary(c: &Case, x: &Tensor) -> Option<Vec<Tensor>> {
    let f = |k: &str| c.f(k);
    let bound = |k: &str| {
        let number = || c.i(k).map(|i| Operand::from(i as i64)).or_else(|| c.f(k).map(Operand::from));
        c.input(k).map(Operand::from).or_else(number)
    };
    Some(vec![match c.op.as_str() {
        "gelu" if c.s("approximate") == "tanh" => x.gelu_tanh(),
        "gelu" => x.gelu(),
        "softplus" => x.softplus_with(f("beta")?, f("threshold")?),
        "elu" => x.elu(f("alpha")?),
        "celu" => x.celu(f("alpha")?),
        "leaky_relu" => x.leaky_relu(f("negative_slope")?),
        "hardtanh" => x.hardtanh(f("min_val")?, f("max_val")?),
        "softshrink" => x.softshrink(f("lambd")?),
        "hardshrink" => x.hardshrink(f("lambd")?),
        "prelu" => x.prelu(&c.inputs[1]),
        "clamp" => match (bound("min"), bound("max")) {
            (Some(a), Some(b)) => x.clamp(a, b),
            (Some(a), None) => x.clamp_min(a),
            (None, Some(b)) => x.clamp_max(b),
            (None, None) => return None,
        },
        "nan_to_num" => x.nan_to_num(f("nan")?, f("posinf"), f("neginf")),
        "to" => x.cast(DType::parse(c.s("dtype"))?),
        _ => return None,
    }])
}

fn binary(c: &Case, x: &Tensor, other: Option<Operand>) -> Option<Vec<Tensor>> {
    Some(vec![match c.op.as_str() {
        "div" => match c.s("rounding_mode") {
            "floor" => x.floor_divide(other?),
            "trunc" => x.div(other?).trunc(),
            _ => x.div(other?),
        },
        "pow" => x.pow(other?),
        "where" => x.where_(&c.inputs[1], c.inputs.get(2).map(Operand::from).or(other)?),
        "masked_fill" => x.masked_fill(&c.inputs[1], c.f("value")?),
        "masked_select" => x.masked_select(&c.inputs[1]),
        "lerp" => match c.input("weight") {
            Some(w) => x.lerp(&c.inputs[1], w),
            None => x.lerp(&c.inputs[1], c.f("weight")?),
        },
        "addcmul" => x.addcmul(&c.inputs[1], &c.inputs[2], c.f("value")?),
        "addcdiv" => x.addcdiv(&c.inputs[1], &c.inputs[2], c.f("value")?),
        _ => return None,
    }])
}

fn reduce(c: &Case, x: &Tensor) -> Option<Vec<Tensor>> {
    let over = Over(c.list("dim"));
    let keep = c.b("keepdim");
    macro_rules! pick {
        ($plain:ident $kept:ident $($a:expr),*) => { if keep { x.$kept(over $(, $a)*) } else { x.$plain(over $(, $a)*) } };
    }
    let correction = c.i("correction").unwrap_or(1) as usize;
    Some(vec![match c.op.as_str() {
        "sum" => pick!(sum sum_keepdim),
        "mean" => pick!(mean mean_keepdim),
        "amax" => pick!(max max_keepdim),
        "amin" => pick!(min min_keepdim),
        "prod" => pick!(prod prod_keepdim),
        // For u8 PyTorch keeps u8, for every other dtype it gives bool; we always give bool.
        "any" => pick!(any any_keepdim).cast(if x.dtype() == DType::U8 { DType::U8 } else { DType::Bool }),
        "all" => pick!(all all_keepdim).cast(if x.dtype() == DType::U8 { DType::U8 } else { DType::Bool }),
        "logsumexp" => pick!(logsumexp logsumexp_keepdim),
        "var" => pick!(var var_keepdim correction),
        "std" => pick!(std std_keepdim correction),
        "norm" => {
            let p = c.f("p").unwrap_or(2.0);
            if keep { x.norm_keepdim(p, over) } else { x.norm(p, over) }
        }
        // With a dimension these return positions too; without one they reduce everything.
        "max" | "min" => {
            let max = c.op == "max";
            match c.i("dim") {
                None if max => x.max(..),
                None => x.min(..),
                Some(d) => {
                    let (v, i) = if max { x.max_with_indices(d) } else { x.min_with_indices(d) };
                    let back = |t: Tensor| if keep && x.rank() > 0 { t.unsqueeze(d) } else { t };
                    return Some(vec![back(v), back(i)]);
                }
            }
        }
        "argmax" | "argmin" => {
            let over = Over(c.i("dim").map(|d| vec![d]));
            if c.op == "argmax" { x.argmax(over, keep) } else { x.argmin(over, keep) }
        }
        "cumsum" => x.cumsum(c.i("dim")?),
        _ => return None,
    }])
}

fn view(c: &Case, x: &Tensor) -> Option<Vec<Tensor>> {
    let all: Vec<&Tensor> = c.inputs.iter().collect();
    Some(vec![match c.op.as_str() {
        "reshape" => {
            let x = match c.list("permute_first") {
                Some(p) => x.permute(p),
                None => x.clone(),
            };
            x.reshape(c.list("shape")?)
        }
        "permute" => x.permute(c.list("dims")?),
        "transpose" => x.transpose(c.i("dim0")?, c.i("dim1")?),
        "movedim" => {
            let (s, d) = (c.i("source")? as usize, c.i("destination")? as usize);
            let mut order: Vec<usize> = (0..x.rank()).filter(|&i| i != s).collect();
            order.insert(d, s);
            x.permute(order)
        }
        "slice" => {
            let parts: Vec<Slice> = c.args["slices"]
                .as_array()?
                .iter()
                .map(|v| match v.as_array() {
                    None => match v.as_i64() {
                        Some(i) => Slice::from(i as isize),
                        None => Slice::from(..),
                    },
                    Some(a) => {
                        let n = |i: usize| a.get(i).and_then(|v| v.as_i64()).map(|v| v as isize);
                        Slice::new(n(0), n(1), n(2).unwrap_or(1))
                    }
                })
                .collect();
            x.slice(&parts)
        }
        "flip" => x.flip(c.list("dims")?),
        "narrow" => x.narrow(c.i("dim")?, c.i("start")? as usize, c.i("length")? as usize),
        "select" => x.select(c.i("dim")?, c.i("index")?),
        "unfold" => x.unfold(c.i("dimension")?, c.i("size")? as usize, c.i("step")? as usize),
        "expand" => x.expand(c.list("size")?),
        "squeeze" => match c.list("dim") {
            None => x.squeeze_all(),
            Some(dims) => {
                let mut dims: Vec<isize> =
                    dims.iter().map(|&d| if d < 0 { d + x.rank() as isize } else { d }).collect();
                dims.sort_unstable();
                dims.iter().rev().fold(x.clone(), |t, &d| t.squeeze(d))
            }
        },
        "unsqueeze" => x.unsqueeze(c.i("dim")?),
        "flatten" => {
            let r = x.rank() as isize;
            let wrap = |d: isize| if d < 0 { (d + r) as usize } else { d as usize };
            let (s, e) = (wrap(c.i("start_dim")?), wrap(c.i("end_dim")?));
            let mut dims = x.dims()[..s].to_vec();
            dims.push(x.dims()[s..=e].iter().product());
            dims.extend(&x.dims()[e + 1..]);
            x.reshape(dims)
        }
        "unflatten" => {
            let d = c.i("dim")? as usize;
            let mut dims: Vec<isize> = x.dims().iter().map(|&n| n as isize).collect();
            dims.splice(d..=d, c.list("sizes")?);
            x.reshape(dims)
        }
        "diagonal" => x.diagonal(c.i("offset")?, c.i("dim1")?, c.i("dim2")?),
        "diag" => x.diag(c.i("diagonal")?),
        "cat" => Tensor::cat(&all, c.i("dim")?),
        "stack" => Tensor::stack(&all, c.i("dim")?),
        "split" => {
            let d = c.i("dim")?;
            return Some(match &c.args["split_size_or_sections"] {
                serde_json::Value::Array(_) => x.split_sizes(&c.sizes("split_size_or_sections"), d),
                v => x.split(v.as_u64()? as usize, d),
            });
        }
        "chunk" => return Some(x.chunk(c.i("chunks")? as usize, c.i("dim")?)),
        "unbind" => return Some(x.unbind(c.i("dim")?)),
        "pad" => {
            let p = c.list("pad")?;
            let pairs: Vec<(isize, isize)> = p.chunks(2).map(|v| (v[0], v[1])).collect();
            match c.s("mode") {
                "constant" => x.pad(&pairs, c.f("value").unwrap_or(0.0)),
                "reflect" => x.pad_with(&pairs, PadMode::Reflect),
                "replicate" => x.pad_with(&pairs, PadMode::Replicate),
                "circular" => x.pad_with(&pairs, PadMode::Circular),
                _ => return None,
            }
        }
        "repeat" => x.repeat(c.list("repeats")?),
        "repeat_interleave" => x.repeat_interleave(c.i("repeats")? as usize, c.i("dim")?),
        "roll" => match c.list("dims") {
            Some(d) if !d.is_empty() => x.roll(c.list("shifts")?, d),
            _ => x.reshape([-1]).roll(c.list("shifts")?, 0).reshape(x.shape()),
        },
        "tril" => x.tril(c.i("diagonal")?),
        "triu" => x.triu(c.i("diagonal")?),
        "meshgrid" => {
            return Some(if c.s("indexing") == "ij" {
                Tensor::meshgrid(&all)
            } else {
                Tensor::meshgrid_xy(&all)
            });
        }
        _ => return None,
    }])
}

fn index(c: &Case, x: &Tensor) -> Option<Vec<Tensor>> {
    let at = |i: usize| c.inputs.get(i);
    Some(vec![match c.op.as_str() {
        "gather" => x.gather(c.i("dim")?, at(1)?),
        "scatter" => match c.f("value") {
            Some(v) => x.scatter_value(c.i("dim")?, at(1)?, Scalar::F(v)),
            None => x.scatter(c.i("dim")?, at(1)?, at(2)?),
        },
        "scatter_add" => x.scatter_add(c.i("dim")?, at(1)?, at(2)?),
        "index_select" => x.index_select(c.i("dim")?, at(1)?),
        "index_add" => {
            let alpha = c.f("alpha").unwrap_or(1.0);
            x.index_add(c.i("dim")?, at(1)?, &(at(2)? * alpha))
        }
        "index" => {
            let rest: Vec<Option<&Tensor>> = c.inputs[1..].iter().map(Some).collect();
            x.index(&rest)
        }
        "take_along_dim" => x.take_along_dim(at(1)?, c.i("dim")?),
        "one_hot" => x.one_hot(c.i("num_classes")? as usize),
        // PyTorch's gradient of the padding row is cut; a layer's business here.
        "embedding" if c.args.get("padding_idx").is_none_or(|v| v.is_null()) => at(1)?.embedding(x),
        "embedding" => {
            let (w, pad) = (at(1)?, c.i("padding_idx")?);
            let keep = Tensor::arange(0, w.dims()[0], 1).eq(pad as i64).unsqueeze(1);
            keep.where_(w.detach(), w).embedding(x)
        }
        "sort" => {
            let (v, i) = x.sort(c.i("dim")?, c.b("descending"));
            return Some(vec![v, i]);
        }
        "argsort" => x.argsort(c.i("dim")?, c.b("descending")),
        "topk" => {
            let (v, i) = x.topk(c.i("k")? as usize, c.i("dim")?, c.b("largest"));
            return Some(vec![v, i]);
        }
        "unique" => {
            let (v, inverse, counts) = x.unique();
            return Some(vec![v, inverse, counts]);
        }
        _ => return None,
    }])
}

fn spatial(v: &[usize]) -> Spatial {
    Spatial::from(v)
}

fn conv_options(c: &Case) -> ConvOptions {
    let mut o = ConvOptions::default().groups(c.i("groups").unwrap_or(1) as usize);
    o = o.stride(spatial(&c.sizes("stride"))).dilation(spatial(&c.sizes("dilation")));
    o.padding = match c.s("padding") {
        "same" => Padding::Same,
        "valid" => Padding::Valid,
        _ => Padding::Explicit(spatial(&c.sizes("padding"))),
    };
    if c.args.get("output_padding").is_some() {
        o = o.output_padding(spatial(&c.sizes("output_padding")));
    }
    o
}

fn pool_options(c: &Case) -> PoolOptions {
    let mut o = PoolOptions::new(spatial(&c.sizes("kernel_size")))
        .stride(spatial(&c.sizes("stride")))
        .padding(spatial(&c.sizes("padding")))
        .ceil_mode(c.b("ceil_mode"))
        .count_include_pad(c.args["count_include_pad"].as_bool().unwrap_or(true));
    if c.args.get("dilation").is_some() {
        o = o.dilation(spatial(&c.sizes("dilation")));
    }
    o.divisor_override(c.i("divisor_override").map(|d| d as usize))
}

fn class(c: &Case, x: &Tensor) -> Option<Vec<Tensor>> {
    let w = c.inputs.get(1);
    let bias = c.input("bias");
    let all: Vec<&Tensor> = c.inputs.iter().collect();
    let grid = || spatial(&c.sizes("output_size"));
    let given = c.list("output_size").map(|all| all.iter().map(|&n| n as usize).collect::<Vec<_>>());
    let unpooled = || given.as_deref();
    macro_rules! max_pool {
        ($plain:ident) => {{
            let (v, i) = x.$plain(pool_options(c));
            return Some(vec![v, i]);
        }};
    }
    Some(vec![match c.op.as_str() {
        "matmul" => {
            let t = |t: &Tensor, key: &str| if c.b(key) { t.t() } else { t.clone() };
            t(x, "transpose_input").matmul(&t(w?, "transpose_other"))
        }
        "linear" => x.linear(w?, bias),
        "outer" => x.outer(w?),
        "einsum" => einsum(c.s("equation"), &all),
        "softmax" => x.softmax(c.i("dim")?),
        "log_softmax" => x.log_softmax(c.i("dim")?),
        "softmin" => x.softmin(c.i("dim")?),
        "layer_norm" => x.layer_norm(&c.sizes("normalized_shape"), c.input("weight"), bias, c.f("eps")?),
        "rms_norm" => x.rms_norm(&c.sizes("normalized_shape"), c.input("weight"), c.f("eps")?),
        "group_norm" => x.group_norm(c.i("num_groups")? as usize, c.input("weight"), bias, c.f("eps")?),
        "instance_norm" => x.instance_norm(c.input("weight"), bias, c.f("eps")?),
        "normalize" => x.normalize(c.f("p")?, c.i("dim")?, c.f("eps")?),
        "cosine_similarity" => x.cosine_similarity(w?, c.i("dim")?, c.f("eps")?),
        "scaled_dot_product_attention" => x.scaled_dot_product_attention(
            w?,
            c.inputs.get(2)?,
            c.input("attn_mask"),
            c.b("is_causal"),
            c.f("scale"),
        ),
        "conv1d" => x.conv1d(w?, bias, &conv_options(c)),
        "conv2d" => x.conv2d(w?, bias, &conv_options(c)),
        "conv3d" => x.conv3d(w?, bias, &conv_options(c)),
        "conv_transpose1d" => x.conv_transpose1d(w?, bias, &conv_options(c)),
        "conv_transpose2d" => x.conv_transpose2d(w?, bias, &conv_options(c)),
        "conv_transpose3d" => x.conv_transpose3d(w?, bias, &conv_options(c)),
        "max_pool1d" => max_pool!(max_pool1d_with_indices),
        "max_pool2d" => max_pool!(max_pool2d_with_indices),
        "max_pool3d" => max_pool!(max_pool3d_with_indices),
        "max_unpool1d" => x.max_unpool1d(w?, pool_options(c), unpooled()),
        "max_unpool2d" => x.max_unpool2d(w?, pool_options(c), unpooled()),
        "max_unpool3d" => x.max_unpool3d(w?, pool_options(c), unpooled()),
        "avg_pool1d" => x.avg_pool1d(pool_options(c)),
        "avg_pool2d" => x.avg_pool2d(pool_options(c)),
        "avg_pool3d" => x.avg_pool3d(pool_options(c)),
        "adaptive_avg_pool1d" => x.adaptive_avg_pool1d(grid()),
        "adaptive_avg_pool2d" => x.adaptive_avg_pool2d(grid()),
        "adaptive_avg_pool3d" => x.adaptive_avg_pool3d(grid()),
        "adaptive_max_pool1d" => x.adaptive_max_pool1d(grid()),
        "adaptive_max_pool2d" => x.adaptive_max_pool2d(grid()),
        "adaptive_max_pool3d" => x.adaptive_max_pool3d(grid()),
        _ => return None,
    }])
}
