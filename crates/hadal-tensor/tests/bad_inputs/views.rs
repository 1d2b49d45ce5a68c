//! Views and movement.

use super::{Fixtures, row};
use hadal_tensor::*;

const MIN: isize = isize::MIN;
const MAX: isize = isize::MAX;

pub fn table(f: &Fixtures) {
    let Fixtures { x, z, e, v, h, huge, bad, .. } = f;
    row(|| x.reshape([7]), "reshape: 6 elements do not fit shape [7]");
    row(|| x.reshape([-1, -1]), "reshape: 6 elements do not fit shape [-1, -1]");
    row(|| x.reshape([-1, 4]), "reshape: 6 elements do not fit shape [-1, 4]");
    row(|| x.reshape([-2, -3]), "reshape: 6 elements do not fit shape [-2, -3]");
    row(
        || x.reshape([MIN, MAX]),
        "reshape: 6 elements do not fit shape [-9223372036854775808, 9223372036854775807]",
    );
    row(|| x.reshape([usize::MAX]), "reshape: 6 elements do not fit shape [9223372036854775807]");
    row(
        || x.reshape([1usize << 63, 1 << 63, 6]),
        "reshape: 6 elements do not fit shape [9223372036854775807, 9223372036854775807, 6]",
    );
    row(|| e.reshape([-1, 0]), "reshape: 0 elements do not fit shape [-1, 0]");
    row(|| e.reshape([0, MAX, MAX]), "reshape: more elements than memory could ever hold");
    row(|| x.reshape(()), "reshape: 6 elements do not fit shape []");
    row(|| bad.reshape([3]), "reshape: 4 elements do not fit shape [3]");
    row(|| x.flatten(2), "flatten: dimension 2 is out of range: -2 to 1 for this tensor");
    row(|| x.flatten(-3), "flatten: dimension -3 is out of range: -2 to 1 for this tensor");
    row(|| z.flatten(5), "OK");
    row(|| x.permute([0]), "permute: [0] is no reordering of 2 dimensions");
    row(|| x.permute([0, 0]), "permute: [0, 0] is no reordering of 2 dimensions");
    row(|| x.permute([0, 2]), "permute: dimension 2 is out of range: -2 to 1 for this tensor");
    row(|| x.permute([0, 1, 1]), "permute: [0, 1, 1] is no reordering of 2 dimensions");
    row(
        || x.permute([0, MIN]),
        "permute: dimension -9223372036854775808 is out of range: -2 to 1 for this tensor",
    );
    row(|| x.transpose(0, 2), "transpose: dimension 2 is out of range: -2 to 1 for this tensor");
    row(
        || x.transpose(MIN, 0),
        "transpose: dimension -9223372036854775808 is out of range: -2 to 1 for this tensor",
    );
    row(|| z.transpose(0, -1), "OK");
    row(|| z.transpose(0, 1), "transpose: dimension 0 of a tensor with no dimensions");
    row(|| x.expand([3, 3]), "expand: cannot broadcast to [3, 3]");
    row(|| x.expand([3]), "expand: cannot broadcast to [3]");
    row(|| x.expand([-1, 2, 3]), "expand: cannot broadcast to [-1, 2, 3]");
    row(|| x.expand([2, -3]), "expand: cannot broadcast to [2, -3]");
    row(|| x.expand([MAX, 2, 3]), "expand: more elements than memory could ever hold");
    row(|| x.expand([1usize << 40, 1 << 40, 2, 3]), "expand: more elements than memory could ever hold");
    row(
        || x.expand([1usize << 45, 2, 3]).contiguous(),
        "contiguous: no memory for 211106232532992 elements of f32 (786432.0 GiB)",
    );
    row(
        || x.expand([1usize << 40, 2, 3]).exp(),
        "exp: no memory for 6597069766656 elements of f32 (24576.0 GiB)",
    );
    row(|| x.expand_as(v), "expand: cannot broadcast to [4]");
    row(|| x.expand_as(bad), "reshape: 4 elements do not fit shape [3]");
    row(|| x.squeeze(2), "squeeze: dimension 2 is out of range: -2 to 1 for this tensor");
    row(|| z.squeeze(-1), "OK");
    row(|| z.squeeze(1), "squeeze: dimension 1 of a tensor with no dimensions");
    row(|| x.unsqueeze(3), "unsqueeze: a new dimension at 3 is out of range: -3 to 2 for this tensor");
    row(|| x.unsqueeze(-4), "unsqueeze: a new dimension at -4 is out of range: -3 to 2 for this tensor");
    row(
        || x.unsqueeze(MAX),
        "unsqueeze: a new dimension at 9223372036854775807 is out of range: -3 to 2 for this tensor",
    );
    row(
        || x.unsqueeze(MIN),
        "unsqueeze: a new dimension at -9223372036854775808 is out of range: -3 to 2 for this tensor",
    );
    row(|| x.narrow(2, 0, 1), "narrow: dimension 2 is out of range: -2 to 1 for this tensor");
    row(|| x.narrow(0, 1, 2), "narrow: elements 1 to 3 of dimension 0, which has 2");
    row(
        || x.narrow(1, usize::MAX, 2),
        "narrow: elements 18446744073709551615 to 18446744073709551615 of dimension 1, which has 3",
    );
    row(|| x.narrow(1, 3, 0), "OK");
    row(|| x.select(0, 2), "slice: index 2 of dimension 0, which has 2 elements");
    row(|| x.select(0, -3), "slice: index -3 of dimension 0, which has 2 elements");
    row(|| x.select(1, MIN), "slice: index -9223372036854775808 of dimension 1, which has 3 elements");
    row(|| x.select(2, 0), "select: dimension 2 is out of range: -2 to 1 for this tensor");
    row(|| e.select(0, 0), "slice: index 0 of dimension 0, which has 0 elements");
    row(|| z.select(0, 0), "select: dimension 0 of a tensor with no dimensions");
    row(|| x.slice(&s![0, 0, 0]), "slice: 3 indices for 2 dimensions");
    row(|| x.slice(&s![5]), "slice: index 5 of dimension 0, which has 2 elements");
    row(|| x.slice(&[Slice::new(None, None, 0)]), "slice: a step of 0");
    row(|| x.slice(&[Slice::new(Some(MIN), Some(MAX), MAX)]), "OK");
    row(|| x.slice(&[Slice::new(Some(MAX), Some(MIN), MIN)]), "OK");
    row(|| x.slice(&[Slice::new(None, None, MIN), Slice::new(None, None, MIN + 1)]), "OK");
    row(|| x.slice(&s![usize::MAX]), "slice: index 9223372036854775807 of dimension 0, which has 2 elements");
    row(|| x.slice(&[Slice::from(..usize::MAX), Slice::new(Some(7), Some(2), 1)]), "OK");
    row(|| e.slice(&s![0..5, Slice::new(None, None, -1)]), "OK");
    row(|| x.flip(2), "flip: dimension 2 is out of range: -2 to 1 for this tensor");
    row(|| x.flip([0, 0]), "flip: dimension 0 is named twice");
    row(
        || x.flip([usize::MAX]),
        "flip: dimension 9223372036854775807 is out of range: -2 to 1 for this tensor",
    );
    row(|| x.unfold(2, 1, 1), "unfold: dimension 2 is out of range: -2 to 1 for this tensor");
    row(|| x.unfold(1, 4, 1), "unfold: windows of 4 every 1 in dimension 1, which has 3 elements");
    row(|| x.unfold(1, 0, 1), "unfold: windows of 0 every 1 in dimension 1, which has 3 elements");
    row(|| x.unfold(1, 2, 0), "unfold: windows of 2 every 0 in dimension 1, which has 3 elements");
    row(|| x.unfold(1, 2, usize::MAX), "OK");
    row(
        || x.unfold(1, usize::MAX, 1),
        "unfold: windows of 18446744073709551615 every 1 in dimension 1, which has 3 elements",
    );
    row(|| z.unfold(0, 1, 1), "OK");
    row(|| z.unfold(0, 2, 1), "unfold: windows of 2 every 1 in dimension 0, which has 1 elements");
    row(|| z.unfold(1, 1, 1), "unfold: dimension 1 of a tensor with no dimensions");
    row(|| bad.unfold(0, 1, 1), "reshape: 4 elements do not fit shape [3]");
    row(|| huge.contiguous(), "contiguous: no memory for 1125899906842624 elements of u8 (1048576.0 GiB)");

    row(|| Tensor::cat(&[], 0), "cat: no tensors to join");
    row(|| Tensor::cat(&[x, v], 0), "cat: sizes other than dimension 0 differ");
    row(|| Tensor::cat(&[x, x], 2), "cat: dimension 2 is out of range: -2 to 1 for this tensor");
    row(|| Tensor::cat(&[z, z], 0), "cat: dimension 0 of a tensor with no dimensions");
    row(|| Tensor::cat(&[x, &x.t()], 0), "cat: sizes other than dimension 0 differ");
    row(|| Tensor::cat(&[x, bad], 0), "reshape: 4 elements do not fit shape [3]");
    row(|| Tensor::cat(&[x, h], 0), "OK");
    row(
        || Tensor::cat(&[huge, huge], 0),
        "cat: no memory for 2251799813685248 elements of u8 (2097152.0 GiB)",
    );
    row(
        || Tensor::cat(&[&Tensor::zeros([1 << 60], DType::U8); 20], 0),
        "cat: more elements than memory could ever hold",
    );
    row(|| Tensor::stack(&[], 0), "stack: no tensors to join");
    row(|| Tensor::stack(&[x, v], 0), "stack: shapes differ");
    row(|| Tensor::stack(&[x, x], 3), "stack: a new dimension at 3 is out of range: -3 to 2 for this tensor");
    row(
        || Tensor::stack(&[x, x], MIN),
        "stack: a new dimension at -9223372036854775808 is out of range: -3 to 2 for this tensor",
    );
    row(|| Tensor::stack(&[x, bad], 0), "reshape: 4 elements do not fit shape [3]");
    row(|| x.split(0, 0), "split: pieces of size 0");
    row(|| x.split(1, 2), "split: dimension 2 is out of range: -2 to 1 for this tensor");
    row(|| x.split(usize::MAX, 0), "OK");
    row(|| e.split(1, 0), "OK");
    row(|| huge.reshape([-1]).split(1, 0), "split: 1125899906842624 pieces, 16777216 at most");
    row(|| x.split_sizes(&[1, 2], 0), "split: [1, 2] do not add up to 2");
    row(|| x.split_sizes(&[usize::MAX, 3], 0), "split: [18446744073709551615, 3] do not add up to 2");
    row(|| x.split_sizes(&[], 2), "split: dimension 2 is out of range: -2 to 1 for this tensor");
    row(|| x.split_sizes(&[1, 2], 0)[1].clone(), "split: [1, 2] do not add up to 2");
    row(|| x.chunk(3, 5)[2].clone(), "chunk: dimension 5 is out of range: -2 to 1 for this tensor");
    row(|| e.chunk(3, 0)[2].clone(), "OK");
    row(|| x.chunk(0, 0), "chunk: 0 pieces");
    row(|| x.chunk(usize::MAX, 0), "OK");
    row(|| x.unbind(0), "OK");
    row(|| x.unbind(-3), "unbind: dimension -3 is out of range: -2 to 1 for this tensor");
    row(|| huge.unbind(0), "unbind: 33554432 pieces, 16777216 at most");
    row(|| x.chunk(2, 5), "chunk: dimension 5 is out of range: -2 to 1 for this tensor");
    row(|| huge.chunk(1 << 25, 0), "split: 33554432 pieces, 16777216 at most");
    row(|| x.pad(&[(0, 0), (0, 0), (1, 1)], 0.0), "pad: 3 pairs for 2 dimensions");
    row(|| x.pad(&[(-4, 0)], 0.0), "pad: (-4, 0) leaves nothing of dimension 1");
    row(|| x.pad(&[(-2, -2)], 0.0), "pad: (-2, -2) leaves nothing of dimension 1");
    row(|| x.pad(&[(5, -4)], 0.0), "pad: (5, -4) leaves nothing of dimension 1");
    row(|| x.pad(&[(MAX, MAX)], 0.0), "pad: more elements than memory could ever hold");
    row(|| x.pad(&[(MIN, 0)], 0.0), "pad: (-9223372036854775808, 0) leaves nothing of dimension 1");
    row(|| x.pad(&[(0, MIN)], 0.0), "pad: (0, -9223372036854775808) leaves nothing of dimension 1");
    row(
        || x.pad(&[(MIN, MAX)], 0.0),
        "pad: (-9223372036854775808, 9223372036854775807) leaves nothing of dimension 1",
    );
    row(|| x.pad(&[(1 << 45, 0)], 0.0), "pad: no memory for 70368744177670 elements of f32 (262144.0 GiB)");
    row(|| x.pad(&[(1, 1)], f64::NAN), "OK");
    row(|| z.pad(&[(1, 1)], 0.0), "pad: 1 pairs for 0 dimensions");
    row(
        || x.pad_with(&[(3, 0)], PadMode::Reflect),
        "pad: (3, 0) around dimension 1, which has 3 elements, by Reflect",
    );
    row(
        || x.pad_with(&[(4, 0)], PadMode::Circular),
        "pad: (4, 0) around dimension 1, which has 3 elements, by Circular",
    );
    row(
        || x.pad_with(&[(-1, 0)], PadMode::Replicate),
        "pad: (-1, 0) around dimension 1, which has 3 elements, by Replicate",
    );
    row(
        || x.pad_with(&[(0, MIN)], PadMode::Replicate),
        "pad: (0, -9223372036854775808) around dimension 1, which has 3 elements, by Replicate",
    );
    row(|| x.pad_with(&[(MAX, 0)], PadMode::Replicate), "pad: more elements than memory could ever hold");
    row(|| x.pad_with(&[(1 << 50, 0)], PadMode::Replicate), "pad: more elements than memory could ever hold");
    row(
        || e.pad_with(&[(0, 0), (1, 0)], PadMode::Replicate),
        "pad: (1, 0) around dimension 0, which has 0 elements, by Replicate",
    );
    row(|| x.pad_with(&[(0, 0), (0, 0), (0, 0)], PadMode::Replicate), "pad: 3 pairs for 2 dimensions");
    row(|| x.repeat([2]), "repeat: [2] for 2 dimensions");
    row(|| x.repeat([2, -1]), "repeat: [2, -1] for 2 dimensions");
    row(|| x.repeat([usize::MAX, 2]), "repeat: more elements than memory could ever hold");
    row(|| x.repeat([1usize << 62, 1 << 62, 0]), "repeat: more elements than memory could ever hold");
    row(
        || x.repeat([1usize << 45, 1]),
        "reshape: no memory for 211106232532992 elements of f32 (786432.0 GiB)",
    );
    row(
        || x.repeat_interleave(2, 2),
        "repeat_interleave: dimension 2 is out of range: -2 to 1 for this tensor",
    );
    row(
        || x.repeat_interleave(usize::MAX, 1),
        "repeat_interleave: more elements than memory could ever hold",
    );
    row(|| x.repeat_interleave(0, 1), "OK");
    row(|| x.roll(1, 2), "roll: dimension 2 is out of range: -2 to 1 for this tensor");
    row(|| x.roll([1, 2], 0), "roll: 2 shifts for 1 dimensions");
    row(|| x.roll(MIN, 0), "OK");
    row(|| x.roll([1, 2], ..), "roll: 2 shifts for 1 dimensions");
    row(|| e.roll(1, 0), "OK");
    row(|| Tensor::meshgrid(&[x]), "meshgrid: vectors are needed");
    row(|| Tensor::meshgrid(&[]), "OK");
    row(|| Tensor::meshgrid(&[v, bad]), "reshape: 4 elements do not fit shape [3]");
    row(
        || Tensor::meshgrid(&[&Tensor::zeros([1 << 40], DType::U8); 3]),
        "expand: more elements than memory could ever hold",
    );
    row(|| Tensor::meshgrid_xy(&[v, x]), "meshgrid: vectors are needed");
    row(|| v.tril(0), "tril: two dimensions at least are needed");
    row(|| x.tril(MIN), "OK");
    row(|| z.triu(0), "triu: two dimensions at least are needed");
    row(|| x.triu(MAX), "OK");
    row(|| bad.triu(1), "reshape: 4 elements do not fit shape [3]");
    row(|| v.diagonal(0, 0, 1), "diagonal: dimension 1 is out of range: -1 to 0 for this tensor");
    row(|| x.diagonal(0, 0, 0), "diagonal: dimension 0 is named twice");
    row(|| x.diagonal(0, 0, 2), "diagonal: dimension 2 is out of range: -2 to 1 for this tensor");
    row(|| x.diagonal(MIN, 0, 1), "OK");
    row(|| x.diagonal(MAX, 0, 1), "OK");
    row(|| Tensor::zeros([2, 2, 2], DType::F32).diag(0), "diag: a vector or a matrix is needed");
    row(|| z.diag(0), "diag: a vector or a matrix is needed");
    row(|| v.diag(MAX), "diag: an offset of 9223372036854775807");
    row(|| v.diag(MIN), "diag: an offset of -9223372036854775808");
    row(|| v.diag(1 << 30), "pad: more elements than memory could ever hold");
    row(|| v.trace(), "trace: a matrix is needed");
    row(|| e.trace(), "OK");
}
