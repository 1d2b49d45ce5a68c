//! Rows for operations that are not in the pointwise table.

use super::check::{Proof, check};
use super::within;
use hadal_tensor::*;

fn x(shape: &[usize], seed: u64) -> Tensor {
    within((-2.0, 2.0), shape, seed)
}
fn positive(shape: &[usize], seed: u64) -> Tensor {
    within((0.4, 2.0), shape, seed)
}
fn index(values: &[i64]) -> Tensor {
    Tensor::from_slice(values)
}

type Function = Box<dyn Fn(&[Tensor]) -> Tensor>;

/// Collects rows: name, inputs, function.
struct Rows(Vec<(&'static str, &'static str, Vec<Tensor>, Function)>);
impl Rows {
    fn one(
        &mut self,
        class: &'static str,
        op: &'static str,
        input: Tensor,
        f: impl Fn(&Tensor) -> Tensor + 'static,
    ) {
        self.0.push((class, op, vec![input], Box::new(move |v| f(&v[0]))));
    }
    fn many<const N: usize>(
        &mut self,
        class: &'static str,
        op: &'static str,
        inputs: [Tensor; N],
        f: impl Fn(&[Tensor]) -> Tensor + 'static,
    ) {
        self.0.push((class, op, inputs.to_vec(), Box::new(f)));
    }
}

/// Operations without a gradient.
const NONE: &[(&str, &str)] = &[
    ("reduce", "argmax"),
    ("reduce", "argmin"),
    ("reduce", "any"),
    ("reduce", "all"),
    ("sort", "argsort"),
    ("index", "one_hot"),
    ("index", "nonzero"),
    ("composition", "logical_not"),
    ("composition", "bitwise_not"),
    ("composition", "isclose"),
];

pub fn all() -> Vec<Proof> {
    let mut rows = Rows(Vec::new());
    pointwise(&mut rows);
    reductions(&mut rows);
    views(&mut rows);
    indices(&mut rows);
    products(&mut rows);
    convolutions(&mut rows);
    pools(&mut rows);
    normalisations(&mut rows);
    recurrences(&mut rows);
    let mut proofs: Vec<Proof> = Vec::new();
    for (class, op, inputs, f) in rows.0 {
        let proof = check(op, class, &inputs, f);
        if !proofs.iter().any(|p| p.op == op) {
            proofs.push(proof);
        }
    }
    proofs.extend(NONE.iter().map(|(class, op)| Proof::none(op, class)));
    proofs
}

fn pointwise(r: &mut Rows) {
    macro_rules! plain {
        ($($name:ident)*) => { $(r.one("composition", stringify!($name), x(&[3, 4], 11), |x| x.$name());)* };
    }
    plain!(gelu gelu_tanh silu mish selu logsigmoid relu6 hardswish hardsigmoid softsign tanhshrink);
    let a = || x(&[3, 4], 12);
    r.one("composition", "elu", a(), |x| x.elu(0.7));
    r.one("composition", "celu", a(), |x| x.celu(0.7));
    r.one("composition", "leaky_relu", a(), |x| x.leaky_relu(0.1));
    r.one("composition", "hardtanh", a(), |x| x.hardtanh(-0.9, 1.1));
    r.one("composition", "softshrink", a(), |x| x.softshrink(0.4));
    r.one("composition", "hardshrink", a(), |x| x.hardshrink(0.4));
    r.one("composition", "threshold", a(), |x| x.threshold(0.3, 2.0));
    r.one("composition", "softplus_with", a(), |x| x.softplus_with(2.0, 20.0));
    r.one("composition", "clamp", a(), |x| x.clamp(-0.9, 1.1));
    r.one("composition", "glu", a(), |x| x.glu(1));
    r.one("composition", "frac", a(), |x| x.frac());
    r.one("composition", "cast", a(), |x| x.cast(DType::F64) * x);
    r.many("composition", "prelu", [x(&[2, 3, 2], 13), positive(&[3], 14)], |v| v[0].prelu(&v[1]));
    r.many("composition", "where_", [a(), x(&[4], 15)], |v| v[0].gt(0.1).where_(&v[0], &v[1]));
    r.one("composition", "masked_fill", a(), |x| x.masked_fill(&x.gt(0.1), 3.0));
    r.many("composition", "lerp", [a(), x(&[3, 4], 16)], |v| v[0].lerp(&v[1], 0.3));
    r.many("composition", "addcmul", [a(), x(&[3, 4], 17), x(&[3, 4], 18)], |v| {
        v[0].addcmul(&v[1], &v[2], 0.7)
    });
    r.many("composition", "addcdiv", [a(), x(&[3, 4], 17), positive(&[3, 4], 18)], |v| {
        v[0].addcdiv(&v[1], &v[2], 0.7)
    });
    r.many("composition", "logaddexp", [a(), x(&[3, 4], 19)], |v| v[0].logaddexp(&v[1]));
    r.many("composition", "xlogy", [a(), positive(&[3, 4], 20)], |v| v[0].xlogy(&v[1]));
}

fn reductions(r: &mut Rows) {
    let a = || x(&[2, 3, 4], 21);
    r.one("reduce", "sum", a(), |x| x.sum([0, -1]).square());
    r.one("reduce", "sum", a(), |x| x.sum(..).square());
    r.one("reduce", "mean", a(), |x| x.mean_keepdim(1).square());
    r.one("reduce", "var", a(), |x| x.var([0, 2], 1));
    r.one("reduce", "std", a(), |x| x.std(-1, 0));
    r.one("reduce", "prod", a(), |x| x.prod(1));
    r.one("reduce", "max", a(), |x| x.max([1, 2]).square());
    r.one("reduce", "min", a(), |x| x.min(0).square());
    r.one("reduce", "max_with_indices", a(), |x| x.max_with_indices(1).0.square());
    r.one("reduce", "min_with_indices", a(), |x| x.min_with_indices(-1).0.square());
    r.one("reduce", "logsumexp", a(), |x| x.logsumexp([0, 2]));
    r.one("reduce", "norm", a(), |x| x.norm(2.0, 1));
    r.one("reduce", "norm", a(), |x| x.norm(3.0, [0, 1]));
    r.one("scan", "cumsum", a(), |x| x.cumsum(1).square());
    r.one("reduce", "trace", x(&[3, 3], 22), |x| x.trace().square());
}

fn views(r: &mut Rows) {
    let a = || x(&[2, 3, 4], 31);
    // Squared, so that the second derivative is not trivially zero.
    r.one("view", "reshape", a(), |x| x.reshape([4, -1]).square());
    r.one("view", "reshape", a(), |x| x.permute([2, 0, 1]).reshape([6, 4]).square());
    r.one("view", "flatten", a(), |x| x.flatten(1).square());
    r.one("view", "permute", a(), |x| x.permute([2, 0, 1]).square());
    r.one("view", "transpose", a(), |x| x.transpose(0, 2).square());
    r.one("view", "expand", x(&[3, 1], 32), |x| x.expand([2, 3, 4]).square());
    r.one("view", "squeeze", x(&[3, 1], 33), |x| x.squeeze(1).square());
    r.one("view", "unsqueeze", a(), |x| x.unsqueeze(-1).square());
    r.one("view", "narrow", a(), |x| x.narrow(2, 1, 2).square());
    r.one("view", "select", a(), |x| x.select(1, -1).square());
    r.one("view", "slice", a(), |x| x.slice(&s![1, .., Slice::new(Some(3), Some(0), -2)]).square());
    r.one("view", "flip", a(), |x| x.flip([0, 2]).square());
    r.one("view", "unfold", x(&[2, 7], 34), |x| x.unfold(1, 3, 2).square());
    r.one("view", "diagonal", x(&[3, 4], 35), |x| x.diagonal(1, 0, 1).square());
    r.one("view", "diag", x(&[3], 36), |x| x.diag(0).square());
    r.one("movement", "contiguous", a(), |x| x.transpose(0, 1).contiguous().square());
    r.many("movement", "cat", [x(&[2, 3], 37), x(&[2, 2], 38)], |v| Tensor::cat(&[&v[0], &v[1]], 1).square());
    r.many("movement", "stack", [x(&[2, 3], 37), x(&[2, 3], 38)], |v| {
        Tensor::stack(&[&v[0], &v[1]], 1).square()
    });
    r.one("movement", "split", a(), |x| {
        x.split(2, 1).iter().map(|t| t.square().sum(..)).reduce(|a, b| a * b).unwrap()
    });
    r.one("movement", "unbind", a(), |x| x.unbind(1).iter().fold(x.sum(..), |y, x| y + x.square().sum(..)));
    r.one("movement", "chunk", a(), |x| x.chunk(2, 2)[1].square());
    r.one("movement", "pad", a(), |x| x.pad(&[(1, 2), (-1, 1)], 0.5).square());
    r.one("movement", "pad_with", x(&[3, 4], 39), |x| {
        x.pad_with(&[(1, 2), (2, 1)], PadMode::Reflect).square()
    });
    r.one("movement", "repeat", x(&[2, 3], 39), |x| x.repeat([2, 1, 2]).square());
    r.one("movement", "repeat_interleave", x(&[2, 3], 39), |x| x.repeat_interleave(2, 1).square());
    r.one("movement", "roll", a(), |x| x.roll([1, -2], [0, 2]).square());
    r.one("movement", "tril", x(&[3, 4], 39), |x| x.tril(0).square());
    r.one("movement", "triu", x(&[3, 4], 39), |x| x.triu(1).square());
    r.many("movement", "meshgrid", [x(&[2], 37), x(&[3], 38)], |v| {
        let m = Tensor::meshgrid(&[&v[0], &v[1]]);
        &m[0] * &m[1]
    });
}

fn indices(r: &mut Rows) {
    let a = || x(&[4, 3], 41);
    r.one("index", "gather", a(), |x| x.gather(0, &Tensor::new([[0i64, 2, 1], [3, 3, 0]])).square());
    r.many("index", "scatter", [a(), x(&[2, 3], 42)], |v| {
        v[0].scatter(0, &Tensor::new([[0i64, 2, 1], [3, 1, 0]]), &v[1]).square()
    });
    r.many("index", "scatter_add", [a(), x(&[2, 3], 42)], |v| {
        v[0].scatter_add(0, &Tensor::new([[0i64, 2, 1], [0, 2, 0]]), &v[1]).square()
    });
    r.one("index", "index_select", a(), |x| x.index_select(1, &index(&[2, 0, 2])).square());
    r.many("index", "index_add", [a(), x(&[3, 3], 43)], |v| {
        v[0].index_add(0, &index(&[1, 1, 3]), &v[1]).square()
    });
    r.one("index", "embedding", a(), |x| x.embedding(&Tensor::new([[1i64, 1], [0, 3]])).square());
    r.one("index", "index", a(), |x| x.index(&[Some(&index(&[0, -1])), Some(&index(&[2, 2]))]).square());
    r.one("index", "take", a(), |x| x.take(&index(&[0, 11, 5])).square());
    r.one("index", "masked_select", a(), |x| x.masked_select(&Tensor::new([true, false, true])).square());
    r.one("sort", "sort", a(), |x| x.sort(0, true).0.square());
    r.one("sort", "topk", a(), |x| x.topk(2, 0, true).0.square());
}

fn products(r: &mut Rows) {
    let m = |v: &[Tensor]| v[0].matmul(&v[1]);
    r.many("matmul", "matmul", [x(&[3, 4], 51), x(&[4, 2], 52)], m);
    r.many("matmul", "matmul", [x(&[4], 51), x(&[4], 52)], m);
    r.many("matmul", "matmul", [x(&[2, 3, 4], 51), x(&[4], 52)], m);
    r.many("matmul", "matmul", [x(&[2, 1, 3, 4], 51), x(&[3, 4, 2], 52)], m);
    r.many("matmul", "matmul", [x(&[4, 3], 51), x(&[2, 4], 52)], |v| v[0].t().matmul(&v[1].t()));
    r.many("matmul", "linear", [x(&[2, 3], 51), x(&[4, 3], 52), x(&[4], 53)], |v| {
        v[0].linear(&v[1], Some(&v[2]))
    });
    r.many("matmul", "outer", [x(&[3], 51), x(&[2], 52)], |v| v[0].outer(&v[1]));
    r.many("matmul", "dot", [x(&[3], 51), x(&[3], 52)], |v| v[0].dot(&v[1]));
    r.many("matmul", "einsum", [x(&[2, 3, 4], 51), x(&[4, 3], 52)], |v| {
        einsum("bij,ji->bi", &[&v[0], &v[1]])
    });
    attention(r);
}

fn attention(r: &mut Rows) {
    const OP: &str = "scaled_dot_product_attention";
    let (q, k, v) = (|| x(&[2, 3, 3, 2], 54), || x(&[2, 3, 4, 2], 55), || x(&[2, 3, 4, 3], 56));
    let plain = |v: &[Tensor], mask: Option<&Tensor>, causal: bool| {
        v[0].scaled_dot_product_attention(&v[1], &v[2], mask, causal, None)
    };
    r.many("composition", OP, [q(), k(), v()], move |v| plain(v, None, false));
    r.many("composition", OP, [x(&[5, 2], 54), x(&[3, 2], 55), x(&[3, 3], 56)], move |v| {
        plain(v, None, true)
    });
    // Heads that share keys, batches that broadcast.
    r.many("composition", OP, [x(&[1, 4, 2, 2], 54), x(&[2, 2, 3, 2], 55), x(&[1, 3, 2], 56)], move |v| {
        plain(v, None, true)
    });
    // One of the queries sees no key.
    r.many("composition", OP, [q(), k(), v()], move |v| {
        let seen = Tensor::new([[true, false, true, true], [false; 4], [true; 4]]);
        plain(v, Some(&seen), false)
    });
    // Added masks that repeat along none, some and all but one of the dimensions.
    for mask in [&[2, 3, 3, 4][..], &[3, 1, 4], &[2, 1, 3, 1], &[4]] {
        r.many("composition", OP, [q(), k(), v(), x(mask, 57)], move |v| plain(v, Some(&v[3]), false));
    }
    // One tensor as queries, keys and values.
    r.one("composition", OP, x(&[2, 3, 4], 58), |x| {
        x.scaled_dot_product_attention(x, x, None, true, Some(0.6))
    });
    // The gradients' own rules.
    r.many("composition", OP, [q(), k(), v()], move |v| {
        let inputs = [&v[0], &v[1], &v[2]];
        let grads = vjp(&plain(v, None, true), &Tensor::ones([2, 3, 3, 3], DType::F64), &inputs).unwrap();
        grads[0].square().sum(..) + (&grads[1] * &grads[2].sum_keepdim(-1)).sum(..)
    });
    r.many("composition", OP, [q(), k(), v(), x(&[3, 1, 4], 57)], move |v| {
        let y = plain(v, Some(&v[3]), false);
        vjp(&y, &y.square(), &[&v[3]]).unwrap().remove(0).square()
    });
}

fn convolutions(r: &mut Rows) {
    let o = ConvOptions::default;
    r.many("convolution", "conv1d", [x(&[2, 3, 6], 61), x(&[2, 3, 3], 62), x(&[2], 63)], move |v| {
        v[0].conv1d(&v[1], Some(&v[2]), &o().padding(1))
    });
    r.many("convolution", "conv2d", [x(&[1, 2, 5, 4], 61), x(&[2, 2, 3, 2], 62), x(&[2], 63)], move |v| {
        v[0].conv2d(&v[1], Some(&v[2]), &o().stride([2, 1]).padding([1, 0]))
    });
    r.many("convolution", "conv2d", [x(&[1, 4, 5, 5], 61), x(&[4, 2, 2, 2], 62)], move |v| {
        v[0].conv2d(&v[1], None, &o().groups(2).dilation(2).padding(Padding::Same))
    });
    r.many("convolution", "conv2d", [x(&[1, 3, 4, 4], 61), x(&[3, 1, 3, 3], 62)], move |v| {
        v[0].conv2d(&v[1], None, &o().groups(3).padding(1))
    });
    r.many("convolution", "conv3d", [x(&[1, 1, 3, 3, 3], 61), x(&[2, 1, 2, 2, 2], 62)], move |v| {
        v[0].conv3d(&v[1], None, &o())
    });
    r.many("convolution", "conv_transpose1d", [x(&[1, 2, 4], 64), x(&[2, 2, 3], 65)], move |v| {
        v[0].conv_transpose1d(&v[1], None, &o().stride(2).output_padding(1))
    });
    r.many(
        "convolution",
        "conv_transpose2d",
        [x(&[1, 2, 3, 3], 64), x(&[2, 1, 3, 2], 65), x(&[2], 66)],
        move |v| v[0].conv_transpose2d(&v[1], Some(&v[2]), &o().stride([2, 1]).padding([1, 0]).groups(2)),
    );
    r.many("convolution", "conv_transpose3d", [x(&[1, 1, 2, 2, 2], 64), x(&[1, 2, 2, 2, 2], 65)], move |v| {
        v[0].conv_transpose3d(&v[1], None, &o().stride(2))
    });
}

fn pools(r: &mut Rows) {
    // Overlapping windows, padding and ceil mode: what others get wrong.
    let o = |k: usize, s: usize| PoolOptions::new(k).stride(s);
    r.one("pooling", "max_pool1d", x(&[2, 2, 7], 71), move |x| x.max_pool1d(o(3, 2).padding(1)).square());
    r.one("pooling", "max_pool2d", x(&[1, 2, 6, 5], 71), move |x| {
        x.max_pool2d(o(3, 2).padding(1).ceil_mode(true)).square()
    });
    r.one("pooling", "max_pool2d", x(&[1, 2, 6, 5], 71), move |x| x.max_pool2d(o(2, 1).dilation(2)).square());
    r.one("pooling", "max_pool3d", x(&[1, 1, 4, 4, 4], 71), move |x| x.max_pool3d(o(2, 1)).square());
    r.one("pooling", "avg_pool1d", x(&[2, 2, 7], 71), move |x| x.avg_pool1d(o(3, 2).padding(1)).square());
    r.one("pooling", "avg_pool2d", x(&[1, 2, 6, 5], 71), move |x| {
        x.avg_pool2d(o(3, 2).padding(1).ceil_mode(true).count_include_pad(false)).square()
    });
    r.one("pooling", "avg_pool3d", x(&[1, 1, 4, 4, 4], 71), move |x| x.avg_pool3d(o(3, 1)).square());
    let places = |shape: &[usize], step: i64| {
        let n = shape.iter().product::<usize>() as i64;
        (Tensor::arange(0, n, 1) % step * 2).reshape(shape)
    };
    r.one("pooling", "max_unpool1d", x(&[2, 2, 3], 71), move |x| {
        x.max_unpool1d(&places(&[2, 2, 3], 3), 2, None).square()
    });
    r.one("pooling", "max_unpool2d", x(&[1, 2, 3, 2], 71), move |x| {
        x.max_unpool2d(&places(&[1, 2, 3, 2], 6), o(2, 2), Some(&[7, 5])).square()
    });
    r.one("pooling", "max_unpool3d", x(&[1, 1, 2, 2, 2], 71), move |x| {
        x.max_unpool3d(&places(&[1, 1, 2, 2, 2], 8), 2, None).square()
    });
    r.one("pooling", "adaptive_avg_pool1d", x(&[1, 2, 7], 72), |x| x.adaptive_avg_pool1d(3).square());
    r.one("pooling", "adaptive_avg_pool2d", x(&[1, 2, 5, 4], 72), |x| x.adaptive_avg_pool2d([3, 2]).square());
    r.one("pooling", "adaptive_avg_pool3d", x(&[1, 1, 4, 3, 2], 72), |x| x.adaptive_avg_pool3d(2).square());
    r.one("pooling", "adaptive_max_pool1d", x(&[1, 2, 7], 72), |x| x.adaptive_max_pool1d(3).square());
    r.one("pooling", "adaptive_max_pool2d", x(&[1, 2, 5, 4], 72), |x| x.adaptive_max_pool2d([3, 2]).square());
    r.one("pooling", "adaptive_max_pool3d", x(&[1, 1, 4, 3, 2], 72), |x| x.adaptive_max_pool3d(2).square());
}

fn normalisations(r: &mut Rows) {
    let a = || x(&[2, 4, 3], 81);
    r.one("composition", "softmax", a(), |x| x.softmax(1));
    r.one("composition", "log_softmax", a(), |x| x.log_softmax(-1));
    r.one("composition", "softmin", a(), |x| x.softmin(1));
    r.many("composition", "layer_norm", [a(), x(&[4, 3], 82), x(&[4, 3], 83)], |v| {
        v[0].layer_norm(&[4, 3], Some(&v[1]), Some(&v[2]), 1e-5)
    });
    r.many("composition", "rms_norm", [a(), x(&[3], 82)], |v| v[0].rms_norm(&[3], Some(&v[1]), 1e-6));
    r.many("composition", "group_norm", [a(), x(&[4], 82), x(&[4], 83)], |v| {
        v[0].group_norm(2, Some(&v[1]), Some(&v[2]), 1e-5)
    });
    r.many("composition", "instance_norm", [a(), x(&[4], 82), x(&[4], 83)], |v| {
        v[0].instance_norm(Some(&v[1]), Some(&v[2]), 1e-5)
    });
    r.one("composition", "normalize", a(), |x| x.normalize(2.0, 1, 1e-12));
    r.many("composition", "cosine_similarity", [x(&[3, 4], 84), x(&[3, 4], 85)], |v| {
        v[0].cosine_similarity(&v[1], 1, 1e-8)
    });
    r.many("composition", "cdist", [x(&[3, 2], 84), x(&[4, 2], 85)], |v| v[0].cdist(&v[1], 2.0));
}

fn recurrences(r: &mut Rows) {
    // Every option of these is checked in tests/recurrent.rs.
    let cells =
        [("rnn", RecurrentCell::Tanh, 1), ("lstm", RecurrentCell::Lstm, 4), ("gru", RecurrentCell::Gru, 3)];
    for (op, cell, g) in cells {
        r.many("recurrent", op, [x(&[3, 2, 2 * g], 91), x(&[2 * g, 2], 92)], move |v| {
            Recurrent::new(cell, &v[1]).forward(&v[0]).output
        });
    }
}
