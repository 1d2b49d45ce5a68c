"""Views, joining and splitting, indexing."""

import torch
import torch.nn.functional as F

from common import ints, randn, t


def sliced(x, slices):
    """Python's slicing on every dimension, negative steps too (PyTorch itself has none)."""
    for d, s in enumerate(slices):
        if s is not None:
            x = x.index_select(d, torch.tensor(list(range(*slice(*s).indices(x.shape[d]))), dtype=torch.int64))
    return x


def kw(r, op, fn, x, args, tag="", **rest):
    r.case(op, lambda x: fn(x, **args), {"input": x}, args, tag=tag, **rest)


def run(r):
    views(r)
    joins(r)
    index(r)


def views(r):
    r.seed("view", 404)
    for shape in ([6, 4], [-1], [2, -1, 2], [3, 1, 8]):
        kw(r, "reshape", torch.reshape, randn(2, 3, 4), {"shape": shape})
    r.case("reshape", lambda x: x.permute(2, 0, 1).reshape(4, 6), {"input": randn(2, 3, 4)},
           {"permute_first": [2, 0, 1], "shape": [4, 6]}, tag="of_permuted")
    kw(r, "reshape", torch.reshape, randn(0, 3), {"shape": [3, 0]}, tag="empty")
    kw(r, "reshape", torch.reshape, randn(1), {"shape": []}, tag="0d")
    kw(r, "permute", torch.permute, randn(2, 3, 4), {"dims": [2, 0, 1]})
    kw(r, "permute", torch.permute, randn(2, 3, 4), {"dims": [-1, 1, 0]})
    kw(r, "transpose", torch.transpose, randn(2, 3, 4), {"dim0": 0, "dim1": -1})
    kw(r, "movedim", torch.movedim, randn(2, 3, 4), {"source": 0, "destination": 2})
    for s in ([[1, 3, 1], None], [None, [0, 7, 3]], [[-3, None, 2], [1, -1, 2]], [[None, None, -1], None],
              [[4, 0, -2], [None, None, -3]], [[3, 3, 1], None], [[-100, 100, 1], [5, 2, 1]]):
        r.case("slice", lambda x, s=s: sliced(x, s), {"input": randn(5, 7)}, {"slices": s})
    kw(r, "flip", torch.flip, randn(2, 3, 2), {"dims": [0]})
    kw(r, "flip", torch.flip, randn(2, 3, 2), {"dims": [0, -1]})
    kw(r, "narrow", torch.narrow, randn(4, 5), {"dim": 1, "start": 1, "length": 3})
    kw(r, "narrow", torch.narrow, randn(4, 5), {"dim": -2, "start": 3, "length": 1})
    kw(r, "select", torch.select, randn(4, 5), {"dim": 0, "index": -2})
    for dim, size, step in ((0, 3, 1), (1, 2, 2), (-1, 4, 3)):
        a = {"dimension": dim, "size": size, "step": step}
        r.case("unfold", lambda x, a=a: x.unfold(**a), {"input": randn(4, 8)}, a)
    for shape, size in (((3, 1), [3, 4]), ((1,), [2, 3]), ((2, 1, 3), [-1, 5, -1]), ((), [2, 2])):
        r.case("expand", lambda x, size=size: x.expand(*size), {"input": randn(*shape)}, {"size": size})
    kw(r, "squeeze", torch.squeeze, randn(1, 3, 1, 2), {})
    kw(r, "squeeze", torch.squeeze, randn(1, 3, 1, 2), {"dim": 0})
    kw(r, "squeeze", torch.squeeze, randn(1, 3, 1, 2), {"dim": 1}, tag="not_one")
    kw(r, "squeeze", torch.squeeze, randn(1, 3, 1, 2), {"dim": [0, -2]}, tag="two")
    kw(r, "unsqueeze", torch.unsqueeze, randn(3, 2), {"dim": 0})
    kw(r, "unsqueeze", torch.unsqueeze, randn(3, 2), {"dim": -1})
    kw(r, "flatten", torch.flatten, randn(2, 3, 2, 2), {"start_dim": 1, "end_dim": -1})
    kw(r, "flatten", torch.flatten, randn(2, 3, 2, 2), {"start_dim": 1, "end_dim": 2})
    kw(r, "unflatten", torch.unflatten, randn(2, 6), {"dim": 1, "sizes": [2, -1]})
    kw(r, "diagonal", torch.diagonal, randn(3, 4), {"offset": 0, "dim1": 0, "dim2": 1})
    kw(r, "diagonal", torch.diagonal, randn(2, 3, 4), {"offset": 1, "dim1": -2, "dim2": -1})
    kw(r, "diag", torch.diag, randn(3), {"diagonal": 0})
    kw(r, "diag", torch.diag, randn(3), {"diagonal": -1})


def joins(r):
    r.seed("join", 405)
    r.case("cat", lambda *x: torch.cat(x, 0), {"t0": randn(2, 3), "t1": randn(1, 3), "t2": randn(0, 3)}, {"dim": 0})
    r.case("cat", lambda *x: torch.cat(x, -1), {"t0": randn(2, 3), "t1": randn(2, 1), "t2": randn(2, 4)}, {"dim": -1})
    for dim in (0, 1, -1):
        r.case("stack", lambda *x, dim=dim: torch.stack(x, dim), {"t0": randn(2, 3), "t1": randn(2, 3)}, {"dim": dim})
    kw(r, "split", torch.split, randn(7, 2), {"split_size_or_sections": 3, "dim": 0})
    kw(r, "split", torch.split, randn(2, 7), {"split_size_or_sections": [1, 4, 2], "dim": 1})
    kw(r, "chunk", torch.chunk, randn(7, 2), {"chunks": 3, "dim": 0})
    kw(r, "chunk", torch.chunk, randn(2, 5), {"chunks": 4, "dim": -1})
    kw(r, "unbind", torch.unbind, randn(3, 2, 4), {"dim": 1})
    # As in PyTorch, `pad` counts from the last dimension: [left, right, top, bottom, ...].
    for pad, mode, value in (([1, 2], "constant", 0.0), ([1, 0, 2, 1], "constant", -1.5), ([-1, 2], "constant", 0.0),
                             ([1, 1, 0, 0, 2, 0], "constant", 3.0)):
        kw(r, "pad", F.pad, randn(2, 3, 4), {"pad": pad, "mode": mode, "value": value})
    for mode in ("reflect", "replicate", "circular"):
        kw(r, "pad", F.pad, randn(1, 2, 4, 5), {"pad": [2, 1, 1, 3], "mode": mode}, tag=mode)
        kw(r, "pad", F.pad, randn(1, 2, 4), {"pad": [1, 2], "mode": mode}, tag=f"{mode}_1d")
    for reps in ([2, 1], [1, 3], [2, 2, 2]):
        r.case("repeat", lambda x, reps=reps: x.repeat(*reps), {"input": randn(2, 3)}, {"repeats": reps})
    kw(r, "repeat_interleave", torch.repeat_interleave, randn(2, 3), {"repeats": 2, "dim": 1})
    kw(r, "roll", torch.roll, randn(3, 4), {"shifts": [1], "dims": [0]})
    kw(r, "roll", torch.roll, randn(3, 4), {"shifts": [-1, 6], "dims": [0, 1]})
    kw(r, "roll", torch.roll, randn(3, 4), {"shifts": [5], "dims": []}, tag="flat")
    for k in (-1, 0, 2):
        kw(r, "tril", torch.tril, randn(3, 4), {"diagonal": k})
        kw(r, "triu", torch.triu, randn(2, 4, 3), {"diagonal": k})
    r.case("meshgrid", lambda a, b: torch.meshgrid(a, b, indexing="ij"), {"t0": randn(3), "t1": randn(2)},
           {"indexing": "ij"})
    r.case("meshgrid", lambda a, b: torch.meshgrid(a, b, indexing="xy"), {"t0": randn(3), "t1": randn(2)},
           {"indexing": "xy"})


def index(r):
    r.seed("index", 406)
    for dim in (0, 1, -1):
        r.case("gather", lambda x, i, dim=dim: torch.gather(x, dim, i),
               {"input": randn(3, 3, 3), "index": ints(0, 3, 2, 3, 2)}, {"dim": dim})
        r.case("scatter_add", lambda x, i, s, dim=dim: torch.scatter_add(x, dim, i, s),
               {"input": randn(3, 4), "index": ints(0, 3, 2, 3), "src": randn(2, 3)}, {"dim": dim})
    r.case("scatter", lambda x, i, s: torch.scatter(x, 1, i, s),
           {"input": randn(2, 4), "index": t([[0, 2], [3, 1]], torch.int64), "src": randn(2, 2)}, {"dim": 1})
    r.case("scatter", lambda x, i: torch.scatter(x, 0, i, 9.5),
           {"input": randn(3, 2), "index": t([[2, 0]], torch.int64)}, {"dim": 0, "value": 9.5}, tag="value")
    for dim in (0, 1):
        r.case("index_select", lambda x, i, dim=dim: torch.index_select(x, dim, i),
               {"input": randn(3, 4), "index": t([2, 0, 2, 1], torch.int64)}, {"dim": dim})
        r.case("index_add", lambda x, i, s, dim=dim: torch.index_add(x, dim, i, s),
               {"input": randn(3, 3), "index": t([2, 0, 2], torch.int64), "source": randn(3, 3)}, {"dim": dim})
    r.case("index_add", lambda x, i, s: torch.index_add(x, 0, i, s, alpha=-0.5),
           {"input": randn(3, 2), "index": t([1, 1], torch.int64), "source": randn(2, 2)}, {"dim": 0, "alpha": -0.5})
    r.case("index_select", lambda x, i: torch.index_select(x, 0, i),
           {"input": randn(3, 2), "index": torch.zeros(0, dtype=torch.int64)}, {"dim": 0}, tag="empty")
    r.case("index", lambda x, i: x[i], {"input": randn(4, 2), "index": t([[0, 3], [3, 3]], torch.int64)})
    r.case("index", lambda x, i: x[i], {"input": randn(4, 2), "index": t([-1, -4, 2], torch.int64)}, tag="negative")
    r.case("take_along_dim", lambda x, i: torch.take_along_dim(x, i, 1),
           {"input": randn(2, 4), "index": ints(0, 4, 2, 3)}, {"dim": 1})
    kw(r, "one_hot", F.one_hot, t([0, 2, 1, 2], torch.int64), {"num_classes": 3})
    kw(r, "one_hot", F.one_hot, t([[0, 4], [1, 1]], torch.int64), {"num_classes": 6})
    r.case("embedding", lambda i, w: F.embedding(i, w),
           {"input": t([[0, 3, 3], [1, 0, 3]], torch.int64), "weight": randn(5, 3)})
    r.case("embedding", lambda i, w: F.embedding(i, w, padding_idx=1),
           {"input": t([1, 3, 1, 4], torch.int64), "weight": randn(5, 3)}, {"padding_idx": 1}, tag="padding_idx")
    r.case("embedding", lambda i, w: F.embedding(i, w),
           {"input": t([2, 0], torch.int32), "weight": randn(3, 2)}, tag="i32")
