//! Convolutions and pools.

use super::{Fixtures, row};
use hadal_tensor::*;

const MAX: usize = usize::MAX;

pub fn table(f: &Fixtures) {
    let Fixtures { x, z, v, h, img, w, bad, .. } = f;
    let o = ConvOptions::default;
    let img1 = &img.select(2, 0); // [2, 3, 8]
    let w1 = &w.select(2, 0); // [4, 3, 3]
    let groups = |g| ConvOptions { groups: g, ..o() };
    row(|| img.conv2d(w1, None, &o()), "conv2d: the weight has 3 dimensions, not 4");
    row(|| img.conv1d(w1, None, &o()), "conv1d: the input has 4 dimensions, not 3 (or 2 without a batch)");
    row(|| img1.conv1d(w, None, &o()), "conv1d: the weight has 4 dimensions, not 3");
    row(|| x.conv2d(w, None, &o()), "conv2d: the input has 2 dimensions, not 4 (or 3 without a batch)");
    row(|| z.conv2d(w, None, &o()), "conv2d: the input has 0 dimensions, not 4 (or 3 without a batch)");
    row(|| img.conv3d(w, None, &o()), "conv3d: the weight has 4 dimensions, not 5");
    row(|| img.cast(DType::F64).conv2d(w, None, &o()), "conv2d: dtypes differ: f64 and f32");
    row(|| img.cast(DType::I64).conv2d(&w.cast(DType::I64), None, &o()), "conv2d: not defined for i64");
    row(
        || img.conv2d(&w.transpose(0, 1), None, &o()),
        "conv2d: the input has 3 channels, the weight expects 4",
    );
    row(|| img.conv2d(w, Some(x), &o()), "conv2d: the bias must have 4 elements");
    row(|| img.conv2d(w, Some(&v.narrow(0, 0, 3)), &o()), "conv2d: the bias must have 4 elements");
    row(|| img.conv2d(w, Some(&v.cast(DType::F64)), &o()), "OK");
    row(|| img.conv2d(w, None, &o().stride(0)), "conv2d: stride, dilation and groups must be at least 1");
    row(|| img.conv2d(w, None, &o().stride([1, 1, 1])), "conv2d: stride and dilation take 1 or 2 numbers");
    row(|| img.conv2d(w, None, &o().padding([1, 1, 1])), "conv2d: padding takes 1 or 2 numbers");
    row(|| img.conv2d(w, None, &o().stride(2).padding("same")), "conv2d: same padding needs stride 1");
    row(|| img.conv2d(w, None, &o().dilation(0)), "conv2d: stride, dilation and groups must be at least 1");
    row(
        || img.conv2d(w, None, &o().dilation(4)),
        "conv2d: the kernel reaches 9 elements, the padded input has 8 (spatial dimension 0)",
    );
    row(|| img.conv2d(w, None, &o().dilation(MAX)), "conv2d: stride and dilation are 2147483647 at most");
    row(|| img.conv2d(w, None, &o().stride(MAX)), "conv2d: stride and dilation are 2147483647 at most");
    row(|| img.conv2d(w, None, &o().padding(MAX)), "conv2d: padding is 2147483647 at most");
    row(|| img.conv2d(w, None, &o().padding(1 << 30)), "conv: more elements than memory could ever hold");
    row(|| img.conv2d(w, None, &o().stride(1 << 30)), "OK");
    row(|| img.conv2d(w, None, &groups(0)), "conv2d: stride, dilation and groups must be at least 1");
    row(|| img.conv2d(w, None, &groups(2)), "conv2d: 3 input and 4 output channels in 2 groups");
    row(
        || img.conv2d(w, None, &groups(MAX)),
        "conv2d: 3 input and 4 output channels in 18446744073709551615 groups",
    );
    row(
        || img.narrow(1, 0, 0).conv2d(w, None, &groups(MAX)),
        "conv2d: 0 input and 4 output channels in 18446744073709551615 groups",
    );
    row(|| img.narrow(0, 0, 0).conv2d(w, None, &o()), "OK");
    row(|| img.narrow(1, 0, 0).conv2d(&w.narrow(1, 0, 0), None, &o()), "OK");
    row(
        || img.narrow(2, 0, 0).conv2d(w, None, &o()),
        "conv2d: the kernel reaches 3 elements, the padded input has 0 (spatial dimension 0)",
    );
    row(|| img.conv2d(&w.narrow(2, 0, 0), None, &o()), "conv2d: a kernel of size 0");
    row(|| img.conv2d(&w.narrow(0, 0, 0), None, &o()), "OK");
    row(|| img.conv2d(bad, None, &o()), "reshape: 4 elements do not fit shape [3]");
    row(|| img.conv2d(w, Some(bad), &o()), "reshape: 4 elements do not fit shape [3]");
    row(|| bad.conv2d(w, None, &o()), "reshape: 4 elements do not fit shape [3]");
    row(
        || Tensor::zeros([1, 3, 1 << 40, 8], DType::F32).conv2d(w, None, &o()),
        "conv: no memory for 26388279066576 elements of f32 (98304.0 GiB)",
    );
    row(
        || img.conv_transpose2d(w, None, &o()),
        "conv_transpose2d: the input has 3 channels, the weight expects 4",
    );
    row(
        || img.conv_transpose2d(&w.transpose(0, 1), Some(x), &o()),
        "conv_transpose2d: the bias must have 4 elements",
    );
    row(
        || img.conv_transpose1d(w1, None, &o()),
        "conv_transpose1d: the input has 4 dimensions, not 3 (or 2 without a batch)",
    );
    row(
        || img1.conv_transpose1d(w1, None, &o()),
        "conv_transpose1d: the input has 3 channels, the weight expects 4",
    );
    row(|| img.conv_transpose3d(w, None, &o()), "conv_transpose3d: the weight has 4 dimensions, not 5");
    let wt = &w.transpose(0, 1).contiguous(); // [3, 4, 3, 3]
    row(
        || img.conv_transpose2d(wt, None, &o().output_padding(1)),
        "conv_transpose2d: output padding must be smaller than stride or dilation",
    );
    row(
        || img.conv_transpose2d(wt, None, &o().output_padding([0, 0, 0])),
        "conv_transpose2d: output padding takes 1 or 2 numbers",
    );
    row(
        || img.conv_transpose2d(wt, None, &o().padding("same")),
        "conv_transpose2d: same padding is not defined for transposed convolutions",
    );
    row(
        || img.conv_transpose2d(wt, None, &o().padding(5)),
        "conv_transpose2d: padding 5 leaves nothing of 10 outputs",
    );
    row(
        || img.conv_transpose2d(wt, None, &o().padding(MAX)),
        "conv_transpose2d: padding is 2147483647 at most",
    );
    row(
        || img.conv_transpose2d(wt, None, &o().stride(MAX)),
        "conv_transpose2d: stride and dilation are 2147483647 at most",
    );
    row(
        || img.conv_transpose2d(wt, None, &o().stride(1 << 31)),
        "conv_transpose2d: stride and dilation are 2147483647 at most",
    );
    row(
        || img.conv_transpose2d(wt, None, &o().stride(1 << 30)),
        "conv_transpose: more elements than memory could ever hold",
    );
    row(
        || img.conv_transpose2d(wt, None, &o().stride(1 << 18)),
        "conv_transpose: no memory for 26938122960968 elements of f32 (100352.3 GiB)",
    );
    row(|| img.conv_transpose2d(wt, None, &groups(2)), "conv_transpose2d: 3 input channels in 2 groups");
    row(
        || img.conv_transpose2d(wt, None, &groups(MAX)),
        "conv_transpose2d: 3 input channels in 18446744073709551615 groups",
    );
    row(
        || img.narrow(1, 0, 0).conv_transpose2d(&wt.narrow(0, 0, 0), None, &groups(MAX)),
        "conv_transpose: more elements than memory could ever hold",
    );
    row(
        || img.narrow(2, 0, 0).conv_transpose2d(wt, None, &o()),
        "conv_transpose2d: an empty spatial dimension",
    );
    row(|| img.conv_transpose2d(bad, None, &o()), "reshape: 4 elements do not fit shape [3]");
    row(|| img.conv_transpose2d(wt, Some(bad), &o()), "reshape: 4 elements do not fit shape [3]");

    row(|| img.max_pool2d(0), "max_pool2d: kernel, stride and dilation must be at least 1");
    row(|| img.max_pool2d(9), "max_pool2d: a window of 9 in 8 elements (spatial dimension 0)");
    row(|| img.max_pool2d([2, 2, 2]), "max_pool2d: kernel, stride, padding and dilation take 1 or 2 numbers");
    row(
        || img.max_pool2d(MAX),
        "max_pool2d: kernel, stride and dilation are 2147483647 at most, padding 1048576",
    );
    row(
        || img.max_pool2d(PoolOptions::new(2).stride(0)),
        "max_pool2d: kernel, stride and dilation must be at least 1",
    );
    row(
        || img.max_pool2d(PoolOptions::new(2).padding(2)),
        "max_pool2d: padding 2 is more than half the kernel 2",
    );
    row(
        || img.max_pool2d(PoolOptions::new(2).dilation(0)),
        "max_pool2d: kernel, stride and dilation must be at least 1",
    );
    row(
        || img.max_pool2d(PoolOptions::new(2).dilation(MAX)),
        "max_pool2d: kernel, stride and dilation are 2147483647 at most, padding 1048576",
    );
    row(
        || img.max_pool2d(PoolOptions::new(2).stride(MAX)),
        "max_pool2d: kernel, stride and dilation are 2147483647 at most, padding 1048576",
    );
    row(
        || img.max_pool2d(PoolOptions::new(1 << 30).padding(1 << 29)),
        "max_pool2d: kernel, stride and dilation are 2147483647 at most, padding 1048576",
    );
    row(|| img.max_pool2d(PoolOptions::new(2).stride(1 << 30)), "OK");
    row(|| img.max_pool2d(PoolOptions::new(2).stride(1 << 30).ceil_mode(true)), "OK");
    row(|| img.cast(DType::I64).max_pool2d(2), "max_pool2d: not defined for i64; cast to a float first");
    row(|| x.max_pool2d(2), "max_pool2d: 2 dimensions, not 4 (or 3 without a batch)");
    row(|| img.max_pool1d(2), "max_pool1d: 4 dimensions, not 3 (or 2 without a batch)");
    row(|| x.max_pool3d(2), "max_pool3d: 2 dimensions, not 5 (or 4 without a batch)");
    row(|| z.max_pool1d(1), "max_pool1d: 0 dimensions, not 3 (or 2 without a batch)");
    row(|| bad.max_pool2d(2), "reshape: 4 elements do not fit shape [3]");
    row(
        || img.narrow(2, 0, 0).max_pool2d(1),
        "max_pool2d: a window of 1 in 0 elements (spatial dimension 0)",
    );
    row(|| img.narrow(0, 0, 0).max_pool2d(2), "OK");
    row(|| img.max_pool2d_with_indices(9), "max_pool2d: a window of 9 in 8 elements (spatial dimension 0)");
    row(|| x.max_pool1d_with_indices(4), "max_pool1d: a window of 4 in 3 elements (spatial dimension 0)");
    row(|| img.max_pool3d_with_indices(4), "max_pool3d: a window of 4 in 3 elements (spatial dimension 0)");
    let i = img.cast(DType::I64);
    row(|| img.max_unpool2d(&i, 2, None), "OK");
    row(|| img.max_unpool2d(&i, 2, Some(&[17, 15])), "OK");
    row(
        || img.max_unpool2d(&i, 2, Some(&[18, 16])),
        "max_unpool2d: an output size of 18 along spatial dimension 0, which must be within 1 of 16",
    );
    row(|| img.max_unpool2d(&i, 2, Some(&[16])), "max_unpool2d: the output size takes 2 numbers");
    row(|| img.max_unpool2d(img, 2, None), "max_unpool2d: the indices must be integers of the input's shape");
    row(
        || img.max_unpool2d(&i.select(0, 0), 2, None),
        "max_unpool2d: the indices must be integers of the input's shape",
    );
    row(
        || img.max_unpool2d(&i, [2, 2, 2], None),
        "max_unpool2d: kernel, stride and padding take 1 or 2 numbers",
    );
    row(|| img.max_unpool2d(&i, 0, None), "max_unpool2d: kernel and stride are from 1 to 2147483647");
    row(|| img.max_unpool2d(&i, MAX, None), "max_unpool2d: kernel and stride are from 1 to 2147483647");
    row(|| img.max_unpool2d(&i, 1 << 30, None), "max_unpool2d: more elements than memory could ever hold");
    row(
        || img.max_unpool2d(&i, PoolOptions::new(2).padding(8), None),
        "max_unpool2d: padding 8 leaves nothing of 16 outputs",
    );
    row(
        || img.max_unpool2d(&(&i * 1000), 2, None),
        "scatter: index 1000 at [0, 0] is out of range for axis 1 of size 256",
    );
    row(|| img.max_unpool1d(&i, 2, None), "max_unpool1d: 4 dimensions, not 3 (or 2 without a batch)");
    row(|| img.max_unpool3d(&i, 2, Some(&[1])), "max_unpool3d: the output size takes 3 numbers");
    row(|| bad.max_unpool2d(&i, 2, None), "reshape: 4 elements do not fit shape [3]");
    row(|| img.avg_pool2d(PoolOptions::new(2).divisor_override(0)), "avg_pool2d: a divisor of 0");
    row(|| img.avg_pool2d(0), "avg_pool2d: kernel, stride and dilation must be at least 1");
    row(|| img.avg_pool2d(9), "avg_pool2d: a window of 9 in 8 elements (spatial dimension 0)");
    row(|| x.avg_pool1d(4), "avg_pool1d: a window of 4 in 3 elements (spatial dimension 0)");
    row(|| img.avg_pool3d(9), "avg_pool3d: a window of 9 in 3 elements (spatial dimension 0)");
    row(|| h.cast(DType::U8).avg_pool1d(2), "avg_pool1d: not defined for u8; cast to a float first");
    row(|| bad.avg_pool2d(2), "reshape: 4 elements do not fit shape [3]");
    row(
        || img.avg_pool2d(PoolOptions::new(2).padding(MAX)),
        "avg_pool2d: kernel, stride and dilation are 2147483647 at most, padding 1048576",
    );
    row(
        || Tensor::zeros([1, 1 << 50], DType::F32).avg_pool1d(2),
        "avg_pool: no memory for 562949953421312 elements of f32 (2097152.0 GiB)",
    );
    row(
        || Tensor::zeros([1, 1 << 50], DType::F32).avg_pool1d(PoolOptions::new(2).padding(1)),
        "avg_pool: no memory for 562949953421313 elements of f32 (2097152.0 GiB)",
    );
    row(
        || Tensor::zeros([1, 1 << 50], DType::F32).max_pool1d(2),
        "max_pool: no memory for 562949953421312 elements of f32 (2097152.0 GiB)",
    );
    row(|| x.adaptive_avg_pool2d(2), "adaptive_avg_pool2d: 2 dimensions, not 4 (or 3 without a batch)");
    row(|| img.adaptive_avg_pool2d(0), "adaptive_avg_pool2d: an empty grid or input");
    row(|| img.adaptive_avg_pool2d([1, 1, 1]), "adaptive_avg_pool2d: the output size takes 1 or 2 numbers");
    row(
        || img.adaptive_avg_pool2d(MAX),
        "adaptive_avg_pool2d: a grid of [18446744073709551615, 18446744073709551615] cells; a dimension has 1048576 at most",
    );
    row(|| img.adaptive_avg_pool1d(2), "adaptive_avg_pool1d: 4 dimensions, not 3 (or 2 without a batch)");
    row(|| x.adaptive_avg_pool3d(2), "adaptive_avg_pool3d: 2 dimensions, not 5 (or 4 without a batch)");
    row(|| img.narrow(2, 0, 0).adaptive_max_pool2d(1), "adaptive_max_pool2d: an empty grid or input");
    row(|| img.adaptive_max_pool2d([3, 0]), "adaptive_max_pool2d: an empty grid or input");
    row(|| img.adaptive_max_pool1d(2), "adaptive_max_pool1d: 4 dimensions, not 3 (or 2 without a batch)");
    row(|| z.adaptive_max_pool3d(2), "adaptive_max_pool3d: 0 dimensions, not 5 (or 4 without a batch)");
    row(|| bad.adaptive_max_pool2d(2), "reshape: 4 elements do not fit shape [3]");
    row(|| img.cast(DType::I64).adaptive_avg_pool2d(2), "mean: the mean of i64 is not i64");
    row(|| img.cast(DType::I64).adaptive_max_pool2d(3), "OK");
}
