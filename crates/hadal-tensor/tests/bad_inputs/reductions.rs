//! Reductions, norms, normalisations, sorting.

use super::{Fixtures, POISON, row};
use hadal_tensor::*;

pub fn table(f: &Fixtures) {
    let Fixtures { x, i, b, h, z, e, v, img, huge, bad, .. } = f;
    macro_rules! dims {
        ($($name:ident $keep:ident $(, $more:expr)*;)*) => { $(
            let name = stringify!($name);
            let range = format!("{name}: dimension 2 is out of range: -2 to 1 for this tensor");
            row(|| x.$name(2 $(, $more)*), &range);
            row(|| x.$keep([0, 2] $(, $more)*), &range);
            row(|| x.$name([0, -2] $(, $more)*), &format!("{name}: dimension -2 is named twice"));
            row(|| x.$name(isize::MIN $(, $more)*), &format!("{name}: dimension {} is out of range: -2 to 1 for this tensor", isize::MIN));
            row(|| z.$name(1 $(, $more)*), &format!("{name}: dimension 1 of a tensor with no dimensions"));
            row(|| z.$keep(-1 $(, $more)*), "OK");
            row(|| bad.$name(.. $(, $more)*), POISON);
            row(|| bad.$keep(7 $(, $more)*), POISON);
        )* };
    }
    dims! {
        sum sum_keepdim;
        mean mean_keepdim;
        prod prod_keepdim;
        max max_keepdim;
        min min_keepdim;
        any any_keepdim;
        all all_keepdim;
        logsumexp logsumexp_keepdim;
        var var_keepdim, 1;
        std std_keepdim, 1;
    }
    row(|| i.mean(..), "mean: the mean of i64 is not i64");
    row(|| b.mean_keepdim(0), "mean: the mean of bool is not bool");
    row(|| i.var(.., 1), "var: the mean of i64 is not i64");
    row(|| b.std(0, 1), "std: the mean of bool is not bool");
    row(|| x.var(0, usize::MAX), "OK");
    row(|| e.max(0), "max: nothing to choose from");
    row(|| e.min_keepdim(..), "min: nothing to choose from");
    row(|| e.max(1), "OK");
    row(|| e.mean(0), "OK");
    row(|| e.sum(..), "OK");
    row(|| e.prod(0), "OK");
    row(|| e.logsumexp(0), "OK");
    row(|| e.var(0, 1), "OK");
    row(|| x.argmax(2, true), "argmax: dimension 2 is out of range: -2 to 1 for this tensor");
    row(|| x.argmin(-3, false), "argmin: dimension -3 is out of range: -2 to 1 for this tensor");
    row(|| x.argmax([0, 0], false), "argmax: dimension 0 is named twice");
    row(|| x.argmax(Vec::<i32>::new(), false), "argmax: no dimension is named");
    row(|| e.argmax(.., false), "argmax: nothing to choose from");
    row(|| e.argmax(0, false), "argmax: nothing to choose from");
    row(|| e.argmin(1, false), "OK");
    row(|| z.argmax(1, false), "argmax: dimension 1 of a tensor with no dimensions");
    row(|| z.argmax(0, true), "OK");
    row(|| bad.argmax(0, true), POISON);
    row(|| x.max_with_indices(2), "argmax: dimension 2 is out of range: -2 to 1 for this tensor");
    row(|| e.min_with_indices(0), "argmin: nothing to choose from");
    row(|| bad.max_with_indices(0), POISON);
    row(|| z.max_with_indices(0), "OK");
    row(|| z.min_with_indices(0), "OK");
    row(|| x.cumsum(2), "cumsum: dimension 2 is out of range: -2 to 1 for this tensor");
    row(|| z.cumsum(1), "cumsum: dimension 1 of a tensor with no dimensions");
    row(|| e.cumsum(0), "OK");
    row(|| bad.cumsum(0), POISON);
    row(|| x.norm(2.0, 2), "norm: dimension 2 is out of range: -2 to 1 for this tensor");
    row(|| x.norm(f64::NAN, ..), "norm: a p of NaN");
    row(|| e.norm(f64::INFINITY, 0), "norm: no largest or smallest of no elements");
    row(|| x.norm(-0.5, ..), "OK");
    row(|| bad.norm_keepdim(2.0, 0), POISON);
    row(|| x.norm_keepdim(1.0, [1, 1]), "norm: dimension 1 is named twice");
    row(|| x.normalize(2.0, 5, 1e-12), "norm: dimension 5 is out of range: -2 to 1 for this tensor");
    row(|| x.normalize(f64::NAN, 0, 1e-12), "norm: a p of NaN");
    row(|| bad.normalize(2.0, 0, 1e-12), POISON);
    row(|| x.layer_norm(&[2], None, None, 1e-5), "layer_norm: [2] are not the last sizes");
    row(|| x.layer_norm(&[], None, None, 1e-5), "layer_norm: [] are not the last sizes");
    row(|| x.layer_norm(&[1, 2, 3], None, None, 1e-5), "layer_norm: [1, 2, 3] are not the last sizes");
    row(|| x.layer_norm(&[3], Some(v), None, 1e-5), "layer_norm: weight and bias must have the shape [3]");
    row(|| x.layer_norm(&[3], None, Some(v), 1e-5), "layer_norm: weight and bias must have the shape [3]");
    row(|| x.layer_norm(&[3], Some(bad), None, 1e-5), POISON);
    row(|| bad.layer_norm(&[3], None, None, 1e-5), POISON);
    row(|| x.rms_norm(&[2], None, 1e-5), "rms_norm: [2] are not the last sizes");
    row(|| x.rms_norm(&[3], Some(v), 1e-5), "rms_norm: weight and bias must have the shape [3]");
    row(|| z.rms_norm(&[1], None, 1e-5), "rms_norm: [1] are not the last sizes");
    row(|| img.group_norm(2, None, None, 1e-5), "group_norm: 3 channels do not divide into 2 groups");
    row(|| img.group_norm(0, None, None, 1e-5), "group_norm: 3 channels do not divide into 0 groups");
    row(
        || img.group_norm(usize::MAX, None, None, 1e-5),
        "group_norm: 3 channels do not divide into 18446744073709551615 groups",
    );
    row(
        || img.group_norm(3, Some(v), None, 1e-5),
        "group_norm: weight and bias must have the shape [3] of the channels",
    );
    row(
        || img.group_norm(3, None, Some(v), 1e-5),
        "group_norm: weight and bias must have the shape [3] of the channels",
    );
    row(|| v.group_norm(1, None, None, 1e-5), "group_norm: two dimensions at least are needed");
    row(|| bad.group_norm(1, None, None, 1e-5), POISON);
    row(|| v.instance_norm(None, None, 1e-5), "group_norm: two dimensions at least are needed");
    row(
        || img.instance_norm(Some(v), None, 1e-5),
        "group_norm: weight and bias must have the shape [3] of the channels",
    );
    row(|| x.cosine_similarity(v, 0, 1e-8), "cosine_similarity: shapes do not broadcast");
    row(
        || x.cosine_similarity(x, 2, 1e-8),
        "cosine_similarity: dimension 2 is out of range: -2 to 1 for this tensor",
    );
    row(|| x.cosine_similarity(bad, 0, 1e-8), POISON);
    row(|| v.dot(x), "dot: two vectors of one length are needed");
    row(|| v.dot(&Tensor::zeros([3], DType::F32)), "dot: two vectors of one length are needed");
    row(|| v.dot(&v.cast(DType::F64)), "matmul: dtypes differ: f32 and f64");
    row(|| v.dot(bad), POISON);
    row(|| v.outer(x), "outer: two vectors are needed");
    row(|| z.outer(v), "outer: two vectors are needed");
    row(|| bad.outer(v), POISON);
    row(|| x.dist(v, 2.0), "sub: shapes do not broadcast");
    row(|| x.dist(x, f64::NAN), "norm: a p of NaN");
    row(|| x.cdist(v, 2.0), "cdist: rows of one length are needed, [.., n, m] and [.., k, m]");
    row(|| x.cdist(&x.t(), 2.0), "cdist: rows of one length are needed, [.., n, m] and [.., k, m]");
    row(|| x.cdist(bad, 2.0), POISON);
    row(|| x.sort(2, false), "sort: dimension 2 is out of range: -2 to 1 for this tensor");
    row(|| z.sort(0, false), "OK");
    row(|| e.sort(0, true), "OK");
    row(|| bad.sort(0, true), POISON);
    row(|| x.argsort(-3, false), "argsort: dimension -3 is out of range: -2 to 1 for this tensor");
    row(
        || huge.reshape([-1]).argsort(0, false),
        "sort: no memory for 1125899906842624 elements of i64 (8388608.0 GiB)",
    );
    row(|| x.topk(4, 1, true), "topk: 4 elements of dimension 1, which has 3");
    row(|| x.topk(usize::MAX, 0, true), "topk: 18446744073709551615 elements of dimension 0, which has 2");
    row(|| x.topk(1, 2, true), "topk: dimension 2 is out of range: -2 to 1 for this tensor");
    row(|| x.topk(0, 0, true), "OK");
    row(|| z.topk(2, 0, true), "topk: 2 elements of dimension 0, which has 1");
    row(|| bad.topk(1, 0, true), POISON);
    row(|| x.matmul(v), "matmul: inner sizes differ: 3 and 4");
    row(|| v.matmul(x), "matmul: inner sizes differ: 4 and 2");
    row(|| x.matmul(x), "matmul: inner sizes differ: 3 and 2");
    row(|| x.matmul(z), "matmul: a 0-d operand");
    row(|| z.matmul(x), "matmul: a 0-d operand");
    row(|| x.matmul(&x.cast(DType::F64).t()), "matmul: dtypes differ: f32 and f64");
    row(|| b.matmul(&b.t()), "matmul: not defined for bool");
    row(|| i.matmul(&h.t()), "matmul: dtypes differ: i64 and f16");
    row(|| x.matmul(bad), POISON);
    row(
        || Tensor::zeros([2, 3, 4], DType::F32).matmul(&Tensor::zeros([3, 4, 5], DType::F32)),
        "matmul: batch sizes do not broadcast",
    );
    row(
        || Tensor::zeros([1 << 40, 1], DType::F32).matmul(&Tensor::zeros([1, 1 << 40], DType::F32)),
        "matmul: more elements than memory could ever hold",
    );
    row(
        || Tensor::zeros([1 << 25, 1], DType::F32).matmul(&Tensor::zeros([1, 1 << 25], DType::F32)),
        "matmul: no memory for 1125899906842624 elements of f32 (4194304.0 GiB)",
    );
    row(|| e.t().matmul(e), "OK");
    row(|| x.linear(v, None), "matmul: inner sizes differ: 3 and 4");
    row(|| x.linear(x, Some(v)), "add: shapes do not broadcast");
    row(|| x.linear(bad, None), POISON);
    row(|| x.linear(x, Some(bad)), POISON);
    row(|| einsum("ij,jk->ik", &[x]), "einsum: \"ij,jk->ik\": labels for 2 operands, 1 given");
    row(
        || einsum("ij,jk->ik", &[x, x]),
        "einsum: \"ij,jk->ik\": label 'j' is 3 in operand 0 and 2 in operand 1",
    );
    row(|| einsum("ijk", &[x]), "einsum: \"ijk\": operand 0 has 2 dimensions, its labels are \"ijk\"");
    row(|| einsum("ij->ijz", &[x]), "einsum: \"ij->ijz\": label 'z' of the result is in no operand");
    row(|| einsum("i1", &[x]), "einsum: \"i1\": '1' is no letter; labels are a to z and A to Z");
    row(|| einsum("i.j", &[x]), "einsum: \"i.j\": a dot in \"i.j\" that is not part of '...'");
    row(|| einsum("i→j", &[x]), "einsum: \"i→j\": '→' is no letter; labels are a to z and A to Z");
    row(|| einsum("", &[]), "einsum: \"\": labels for 1 operands, 0 given");
    row(|| einsum("ij", &[b]), "einsum: \"ij\": not defined for bool; cast the operands to a number dtype");
    row(|| einsum("ij", &[bad]), POISON);
    row(
        || einsum("i,j->ij", &[&Tensor::zeros([1 << 40], DType::F32); 2]),
        "expand: more elements than memory could ever hold",
    );
    row(
        || x.scaled_dot_product_attention(v, x, None, false, None),
        "scaled_dot_product_attention: queries, keys and values need two dimensions at least",
    );
    row(
        || x.scaled_dot_product_attention(&x.t(), x, None, false, None),
        "scaled_dot_product_attention: queries and keys must have one last size, keys and values one length",
    );
    row(
        || x.scaled_dot_product_attention(x, &x.t(), None, false, None),
        "scaled_dot_product_attention: queries and keys must have one last size, keys and values one length",
    );
    row(
        || x.scaled_dot_product_attention(x, x, Some(b), true, None),
        "scaled_dot_product_attention: a mask and is_causal together",
    );
    row(
        || x.scaled_dot_product_attention(x, x, Some(v), false, None),
        "scaled_dot_product_attention: a mask of shape [4] does not broadcast to the scores [2, 2]",
    );
    let heads = |b: usize, h: usize| Tensor::zeros([b, h, 2, 3], DType::F32);
    for (q, kv) in [(heads(1, 4), heads(1, 3)), (heads(2, 4), heads(3, 4)), (heads(1, 2), heads(1, 0))] {
        row(
            || q.scaled_dot_product_attention(&kv, &kv, None, false, None),
            "scaled_dot_product_attention: batches do not broadcast, or the number of key heads does not divide \
             that of query heads",
        );
    }
    let mask = Tensor::ones([3, 2, 2], DType::Bool);
    row(
        || heads(1, 4).scaled_dot_product_attention(&heads(1, 4), &heads(1, 4), Some(&mask), false, None),
        "scaled_dot_product_attention: a mask of shape [3, 2, 2] does not broadcast to the scores [1, 4, 2, 2]",
    );
    row(|| x.scaled_dot_product_attention(x, x, Some(bad), false, None), POISON);
    row(|| x.scaled_dot_product_attention(bad, x, None, false, None), POISON);
}
