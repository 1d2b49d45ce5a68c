//! Reading and writing at indices.

use super::{Fixtures, row};
use hadal_tensor::*;

pub fn table(f: &Fixtures) {
    let Fixtures { x, i, b, z, e, v, huge, bad, .. } = f;
    let at = |n: &[i64]| Tensor::from_slice(n);
    row(|| x.gather(0, &at(&[0])), "gather: the index does not fit along dimension 0");
    row(|| x.gather(2, i), "gather: dimension 2 is out of range: -2 to 1 for this tensor");
    row(|| x.gather(0, x), "gather: indices must be integers");
    row(|| x.gather(0, b), "gather: indices must be integers");
    row(|| x.gather(0, &(i * 2)), "gather: index 2 at [0, 0] is out of range for axis 0 of size 2");
    row(|| x.gather(1, &(i * -1)), "gather: index -1 at [0, 0] is out of range for axis 1 of size 3");
    row(
        || x.gather(0, &(i * i64::MIN)),
        "gather: index -9223372036854775808 at [0, 0] is out of range for axis 0 of size 2",
    );
    row(
        || x.gather(1, &Tensor::zeros([3, 3], DType::I64)),
        "gather: the index does not fit along dimension 1",
    );
    row(
        || e.gather(0, &Tensor::zeros([1, 3], DType::I64)),
        "gather: index 0 at [0, 0] is out of range for axis 0 of size 0",
    );
    row(|| z.gather(0, &Tensor::full((), 1)), "gather: index 1 at [0] is out of range for axis 0 of size 1");
    row(|| z.gather(1, &Tensor::full((), 0)), "gather: dimension 1 is out of range: -1 to 0 for this tensor");
    row(|| bad.gather(0, i), "reshape: 4 elements do not fit shape [3]");
    row(|| x.gather(0, bad), "reshape: 4 elements do not fit shape [3]");
    row(|| x.scatter(0, i, v), "scatter: the index or source does not fit along dimension 0");
    row(|| x.scatter(0, i, &x.cast(DType::F64)), "scatter: the source must have the tensor's dtype");
    row(|| x.scatter(2, i, x), "scatter: dimension 2 is out of range: -2 to 1 for this tensor");
    row(|| x.scatter(0, x, x), "scatter: indices must be integers");
    row(|| x.scatter(1, &(i * 3), x), "scatter: index 3 at [0, 0] is out of range for axis 1 of size 3");
    row(|| x.scatter(0, i, bad), "reshape: 4 elements do not fit shape [3]");
    row(|| bad.scatter(0, i, x), "reshape: 4 elements do not fit shape [3]");
    row(|| x.scatter_value(5, i, 1.0), "scatter: dimension 5 is out of range: -2 to 1 for this tensor");
    row(|| x.scatter_value(0, bad, 1.0), "reshape: 4 elements do not fit shape [3]");
    row(
        || x.scatter_value(0, &(i * 9), 1.0),
        "scatter: index 9 at [0, 0] is out of range for axis 0 of size 2",
    );
    row(
        || x.scatter_add(0, &(i * -1), x),
        "scatter_add: index -1 at [0, 0] is out of range for axis 0 of size 2",
    );
    row(|| x.scatter_add(0, i, v), "scatter_add: the index or source does not fit along dimension 0");
    row(|| x.scatter_add(0, bad, v), "reshape: 4 elements do not fit shape [3]");
    row(
        || x.scatter_add(0, &Tensor::zeros([3, 3], DType::I64), x),
        "scatter_add: the index or source does not fit along dimension 0",
    );
    row(|| x.index_select(0, i), "index_select: the index must have one dimension");
    row(
        || x.index_select(2, &at(&[0])),
        "index_select: dimension 2 is out of range: -2 to 1 for this tensor",
    );
    row(|| x.index_select(0, v), "index_select: indices must be integers");
    row(|| x.index_select(0, &at(&[2])), "index_select: index 2 at [0] is out of range for axis 0 of size 2");
    row(
        || x.index_select(1, &at(&[-1])),
        "index_select: index -1 at [0] is out of range for axis 1 of size 3",
    );
    row(
        || x.index_select(1, &at(&[i64::MAX])),
        "index_select: index 9223372036854775807 at [0] is out of range for axis 1 of size 3",
    );
    row(|| x.index_select(1, &at(&[])), "OK");
    row(|| e.index_select(0, &at(&[0])), "index_select: index 0 at [0] is out of range for axis 0 of size 0");
    row(|| z.index_select(0, &at(&[0])), "OK");
    row(|| x.index_select(1, &Tensor::new(2i64)), "OK");
    row(
        || x.index_select(1, &Tensor::new(3i64)),
        "index_select: index 3 at [0] is out of range for axis 1 of size 3",
    );
    row(|| z.index_select(1, &at(&[0])), "index_select: dimension 1 of a tensor with no dimensions");
    row(|| x.index_select(0, bad), "reshape: 4 elements do not fit shape [3]");
    row(
        || x.index_select(0, &Tensor::zeros([1 << 59], DType::I64)),
        "full: more elements than memory could ever hold",
    );
    row(
        || x.index_select(0, &Tensor::zeros([1 << 45], DType::I64)),
        "index_select: no memory for 105553116266496 elements of f32 (393216.0 GiB)",
    );
    row(|| x.index_add(0, &at(&[0]), x), "index_add: the source must be [1, 3] f32");
    row(|| x.index_add(0, &at(&[0, 2]), x), "index_add: index 2 at [1] is out of range for axis 0 of size 2");
    row(
        || x.index_add(0, &at(&[0, -1]), x),
        "index_add: index -1 at [1] is out of range for axis 0 of size 2",
    );
    row(|| x.index_add(2, &at(&[0]), x), "index_add: dimension 2 is out of range: -2 to 1 for this tensor");
    row(|| x.index_add(0, &at(&[0, 1]), &x.cast(DType::F16)), "index_add: the source must be [2, 3] f32");
    row(|| x.index_add(0, i, x), "index_add: the source must be [6, 3] f32");
    row(|| x.index_add(0, &at(&[0, 1]), bad), "reshape: 4 elements do not fit shape [3]");
    row(|| x.embedding(v), "index_select: indices must be integers");
    row(|| x.embedding(&at(&[5])), "index_select: index 5 at [0] is out of range for axis 0 of size 2");
    row(|| z.embedding(&at(&[0])), "embedding: the table must have rows");
    row(|| bad.embedding(&at(&[0])), "reshape: 4 elements do not fit shape [3]");
    row(|| x.embedding(bad), "reshape: 4 elements do not fit shape [3]");
    row(|| x.masked_select(x), "masked_select: the mask must be bool");
    row(|| x.masked_select(&v.gt(0.0)), "masked_select: shapes do not broadcast");
    row(|| bad.masked_select(b), "reshape: 4 elements do not fit shape [3]");
    row(|| x.masked_select(bad), "reshape: 4 elements do not fit shape [3]");
    row(
        || x.masked_select(&Tensor::ones([1 << 45, 1, 1], DType::Bool)),
        "reshape: no memory for 211106232532992 elements of bool (196608.0 GiB)",
    );
    row(|| bad.nonzero(), "reshape: 4 elements do not fit shape [3]");
    row(|| huge.nonzero(), "cast: no memory for 1125899906842624 elements of bool (1048576.0 GiB)");
    row(|| z.nonzero(), "OK");
    row(|| bad.unique(), "reshape: 4 elements do not fit shape [3]");
    row(|| huge.unique(), "full: no memory for 1125899906842624 elements of u8 (1048576.0 GiB)");
    row(|| e.unique(), "OK");
    row(|| x.one_hot(3), "one_hot: classes must be integers");
    row(|| i.one_hot(1), "scatter: index 1 at [0, 0, 0] is out of range for axis 2 of size 1");
    row(|| i.one_hot(0), "scatter: index 1 at [0, 0, 0] is out of range for axis 2 of size 0");
    row(|| (i * -1).one_hot(3), "scatter: index -1 at [0, 0, 0] is out of range for axis 2 of size 3");
    row(|| i.one_hot(usize::MAX), "full: more elements than memory could ever hold");
    row(|| i.one_hot(1 << 45), "scatter: no memory for 211106232532992 elements of i64 (1572864.0 GiB)");
    row(|| bad.one_hot(3), "reshape: 4 elements do not fit shape [3]");
    row(|| x.take(&at(&[6])), "index_select: index 6 at [0] is out of range for axis 0 of size 6");
    row(|| x.take(&at(&[-7])), "index_select: index -1 at [0] is out of range for axis 0 of size 6");
    row(|| x.take(v), "index: indices must be integers or bools");
    row(|| x.take(bad), "reshape: 4 elements do not fit shape [3]");
    row(|| x.take_along_dim(v, 0), "take_along_dim: the index needs as many dimensions as the tensor");
    row(
        || x.take_along_dim(&Tensor::zeros([3, 2], DType::I64), 0),
        "take_along_dim: sizes other than dimension 0 do not broadcast",
    );
    row(|| x.take_along_dim(i, 2), "take_along_dim: dimension 2 is out of range: -2 to 1 for this tensor");
    row(|| x.take_along_dim(&(i * 5), 0), "gather: index 5 at [0, 0] is out of range for axis 0 of size 2");
    row(|| x.take_along_dim(x, 0), "gather: indices must be integers");
    row(|| x.take_along_dim(bad, 0), "reshape: 4 elements do not fit shape [3]");
    row(|| x.index(&[Some(v)]), "index: indices must be integers or bools");
    row(|| x.index(&[Some(&at(&[2]))]), "index_select: index 2 at [0] is out of range for axis 0 of size 2");
    row(
        || x.index(&[Some(&at(&[-3]))]),
        "index_select: index -1 at [0] is out of range for axis 0 of size 2",
    );
    row(
        || x.index(&[Some(&at(&[0, 1])), Some(&at(&[0, 1, 2]))]),
        "index: the indices do not broadcast together",
    );
    row(
        || x.index(&[Some(&at(&[0])), Some(&at(&[3]))]),
        "index_select: index 6 at [0] is out of range for axis 0 of size 6",
    );
    row(
        || x.index(&[Some(&at(&[i64::MIN])), Some(&at(&[i64::MAX]))]),
        "index_select: index 6 at [0] is out of range for axis 0 of size 6",
    );
    row(|| x.index(&[None, None, Some(&at(&[0]))]), "index: indices for 3 dimensions, the tensor has 2");
    row(|| x.index(&[Some(&v.gt(0.0))]), "index: a bool index does not have the sizes from dimension 0 on");
    row(|| x.index(&[Some(bad)]), "reshape: 4 elements do not fit shape [3]");
    row(|| x.index(&[]), "OK");
    row(|| z.index(&[Some(&at(&[0]))]), "index: indices for 1 dimensions, the tensor has 0");
    row(|| x.index(&[Some(&z.gt(0.0))]), "index: a bool index does not have the sizes from dimension 0 on");
    row(
        || x.index_put(&[Some(&at(&[0]))], v, false),
        "index_put: values do not broadcast to [1, 3], the shape indexed",
    );
    row(
        || x.index_put(&[Some(&at(&[2]))], x, false),
        "index_put: values do not broadcast to [1, 3], the shape indexed",
    );
    row(
        || x.index_put(&[Some(&at(&[5]))], &x.select(0, 0), true),
        "index_add: index 5 at [0] is out of range for axis 0 of size 2",
    );
    row(|| x.index_put(&[], x, false), "index_put: no index tensor given");
    row(
        || x.index_put(&[Some(&at(&[0]))], &x.cast(DType::F64), false),
        "index_put: the values must have the tensor's dtype",
    );
    row(|| x.index_put(&[Some(v)], x, true), "index_put: indices must be integers or bools");
    row(|| x.index_put(&[Some(&at(&[0]))], bad, false), "reshape: 4 elements do not fit shape [3]");
    row(|| bad.index_put(&[Some(&at(&[0]))], x, false), "reshape: 4 elements do not fit shape [3]");
}
