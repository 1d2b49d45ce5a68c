"""Reductions, scans, sorting and arg-reductions."""

import torch

from common import NAMES, ints, randn, t, uniform

NAN = float("nan")
INF = float("inf")
DIMS = [({}, "all"), ({"dim": 1}, "d1"), ({"dim": -1, "keepdim": True}, "keep"),
        ({"dim": [0, 2]}, "d02"), ({"dim": [-3, -1], "keepdim": True}, "d02keep")]


def call(fn, args):
    return lambda x: fn(x, **args)


def run(r):
    r.seed("reduce", 303)
    for args, tag in DIMS:
        for name in ("sum", "mean", "amax", "amin", "logsumexp"):
            if name == "logsumexp" and not args:
                a = {"dim": [0, 1, 2]}
            else:
                a = args
            r.case(name, call(getattr(torch, name), a), {"input": randn(2, 3, 4)}, a, tag=tag)
        for c in (0, 1):
            a = dict(args, correction=c)
            if not args:
                a["dim"] = None
            for name in ("var", "std"):
                r.case(name, call(getattr(torch, name), a), {"input": randn(2, 3, 4)}, a, tag=f"{tag}_c{c}")
        for p in (1, 2, "inf", 3):
            a = dict(args, p=p)
            kw = dict(args, ord=float("inf") if p == "inf" else p)
            r.case("norm", call(torch.linalg.vector_norm, kw), {"input": randn(2, 3, 4)}, a, tag=f"{tag}_p{p}")
    one = [d for d in DIMS if not isinstance(d[0].get("dim"), list)]
    for args, tag in one:
        for name in ("prod", "max", "min", "argmax", "argmin"):
            r.case(name, call(getattr(torch, name), args), {"input": randn(2, 3, 4)}, args, tag=tag)
        mask = ints(0, 3, 2, 3, 4) > 0
        for name in ("any", "all"):
            r.case(name, call(getattr(torch, name), args), {"input": mask}, args, tag=tag)
            r.case(name, call(getattr(torch, name), args), {"input": ints(0, 2, 2, 3, 4).double()}, args,
                   tag=f"{tag}_f64", grad=False)
    # Zeros among the factors: the gradient by division would be NaN.
    r.case("prod", torch.prod, {"input": t([2.0, 0.0, 3.0, -1.0])}, tag="one_zero")
    r.case("prod", torch.prod, {"input": t([2.0, 0.0, 0.0, -1.0])}, tag="two_zeros")
    r.case("prod", lambda x: torch.prod(x, 1), {"input": t([[2.0, 0.0, 3.0], [0.0, 0.0, 1.0], [1.0, 2.0, 3.0]])},
           {"dim": 1}, tag="zeros_d1")
    # Ties: amax shares the gradient evenly; max over a dim gives it to the index it returns.
    tie = t([[1.0, 3.0, 3.0, 0.0], [2.0, 2.0, 2.0, 2.0]])
    for name in ("amax", "amin"):
        r.case(name, lambda x, n=name: getattr(torch, n)(x, 1), {"input": tie}, {"dim": 1}, tag="ties")
    for name in ("max", "min"):
        r.case(name, getattr(torch, name), {"input": tie}, tag="ties_all")
        r.case(name, lambda x, n=name: getattr(torch, n)(x, 1), {"input": tie}, {"dim": 1}, tag="ties")
    for name in ("argmax", "argmin"):
        r.case(name, lambda x, n=name: getattr(torch, n)(x, 1), {"input": tie}, {"dim": 1}, tag="ties")
    for name in ("max", "min", "argmax", "argmin", "sum", "amax"):
        fn = getattr(torch, name)
        r.case(name, lambda x, fn=fn: fn(x, 1), {"input": t([[1.0, NAN, 3.0], [INF, -INF, 0.0]])}, {"dim": 1},
               tag="nan", grad=False)
    r.case("logsumexp", lambda x: torch.logsumexp(x, 1), {"input": t([[1000.0, 1000.0], [-1000.0, -1001.0]])},
           {"dim": 1}, tag="far")
    r.case("logsumexp", lambda x: torch.logsumexp(x, 1), {"input": t([[-INF, -INF], [INF, 1.0]])}, {"dim": 1},
           tag="inf", grad=False)
    r.case("norm", lambda x: torch.linalg.vector_norm(x), {"input": torch.zeros(3, dtype=torch.float64)}, {"p": 2},
           tag="zero")
    # Empty and 0-d.
    empty = torch.zeros(0, 3, dtype=torch.float64)
    for name in ("sum", "prod", "mean"):
        r.case(name, getattr(torch, name), {"input": empty}, tag="empty")
        r.case(name, lambda x, n=name: getattr(torch, n)(x, 0), {"input": empty}, {"dim": 0}, tag="empty_d0")
    for name in ("any", "all"):
        r.case(name, getattr(torch, name), {"input": empty > 0}, tag="empty")
    for name in ("sum", "mean", "prod", "max", "argmax", "amax"):
        r.case(name, getattr(torch, name), {"input": randn()}, tag="0d")
    # The dtype of the result.
    for d in (torch.bool, torch.uint8, torch.int32, torch.int64, torch.float32, torch.float16, torch.bfloat16):
        x = (torch.arange(6).reshape(2, 3) % 4).to(d)
        if d == torch.uint8:
            x = x * 80
        for name in ("sum", "prod", "any", "all"):
            r.case(name, getattr(torch, name), {"input": x}, tag=NAMES[d], grad=False)
        r.case("cumsum", lambda x: torch.cumsum(x, 1), {"input": x}, {"dim": 1}, tag=NAMES[d], grad=False)
        if d != torch.bool:
            for name in ("max", "min", "argmax"):
                r.case(name, getattr(torch, name), {"input": x}, tag=NAMES[d], grad=False)
        if d.is_floating_point:
            r.case("mean", torch.mean, {"input": x}, tag=NAMES[d], grad=False)
    for name in ("cumsum", "cumprod"):
        fn = getattr(torch, name)
        for dim in (0, 1, -1):
            r.case(name, lambda x, fn=fn, dim=dim: fn(x, dim), {"input": randn(2, 3, 4)}, {"dim": dim})
    r.case("cumprod", lambda x: torch.cumprod(x, 0), {"input": t([2.0, 0.0, 3.0, 0.0, 4.0])}, {"dim": 0}, tag="zeros")

    sort(r)


def sort(r):
    r.seed("sort", 304)
    x = randn(3, 5)
    for desc in (False, True):
        for dim in (0, -1):
            a = {"dim": dim, "descending": desc, "stable": True}
            r.case("sort", call(torch.sort, a), {"input": x}, a)
            dup = ints(0, 3, 4, 6)
            r.case("argsort", call(torch.argsort, a), {"input": dup}, a, tag="stable")
            r.case("sort", call(torch.sort, a), {"input": dup.double()}, a, tag="dup")
        a = {"dim": 0, "descending": desc, "stable": True}
        r.case("sort", call(torch.sort, a), {"input": t([2.0, NAN, -INF, INF, -0.0, 0.0])}, a, tag="nan", grad=False)
        for d in (torch.uint8, torch.int32, torch.bool):
            r.case("sort", call(torch.sort, a), {"input": ints(0, 2 if d == torch.bool else 9, 6).to(d)}, a,
                   tag=NAMES[d])
    for largest in (True, False):
        for dim, k in ((0, 2), (-1, 3), (1, 1)):
            a = {"k": k, "dim": dim, "largest": largest, "sorted": True}
            r.case("topk", call(torch.topk, a), {"input": randn(3, 5)}, a)
    r.case("unique", lambda x: torch.unique(x, sorted=True, return_inverse=True, return_counts=True),
           {"input": ints(0, 5, 9)}, {"sorted": True, "return_inverse": True, "return_counts": True})
    r.case("nonzero", torch.nonzero, {"input": t([[0.0, 1.0, 2.0], [3.0, 0.0, 0.0]])}, grad=False)
    r.case("median", lambda x: torch.median(x, 1), {"input": randn(3, 5)}, {"dim": 1})
    r.case("logcumsumexp", lambda x: torch.logcumsumexp(x, 1), {"input": uniform(-2, 2, 2, 4)}, {"dim": 1})
