"""Pointwise functions of two and three tensors, comparisons, logic, and dtype promotion."""

import torch

from common import DTYPES, NAMES, ints, randn, t, uniform

INF, NAN = float("inf"), float("nan")
SHAPES = [((3, 4), (3, 4), ""), ((3, 1), (4,), "bcast"), ((2, 3, 2), (), "scalar"), ((0, 3), (1, 3), "empty")]

# name: (function, low and high of both operands)
FLOAT = {
    "add": (torch.add, -3, 3, -3, 3),
    "sub": (torch.sub, -3, 3, -3, 3),
    "mul": (torch.mul, -3, 3, -3, 3),
    "div": (torch.div, -3, 3, 0.3, 3),
    "pow": (torch.pow, 0.2, 3, -2, 3),
    "atan2": (torch.atan2, -3, 3, -3, 3),
    "maximum": (torch.maximum, -3, 3, -3, 3),
    "minimum": (torch.minimum, -3, 3, -3, 3),
    "fmod": (torch.fmod, -7, 7, 0.5, 3),
    "remainder": (torch.remainder, -7, 7, -3, -0.5),
    "hypot": (torch.hypot, -3, 3, 0.2, 3),
    "logaddexp": (torch.logaddexp, -3, 3, -3, 3),
}
COMPARE = ["eq", "ne", "lt", "le", "gt", "ge"]


def sample(dtype):
    vals = {"f64": [1.5, -2.25, 3.0], "f32": [1.5, -2.25, 3.0], "f16": [0.1, -2.25, 3.0], "bf16": [0.3, -2.25, 3.0]}
    name = NAMES[dtype]
    if name in vals:
        return t(vals[name], torch.float64).to(dtype)
    if name == "bool":
        return t([True, False, True], dtype)
    if name == "u8":
        return t([200, 7, 3], dtype)
    return t([100, -7, 3], dtype)


def promotion(r):
    r.seed("promotion", 203)
    order = list(DTYPES.values())
    for op in ("add", "mul", "div", "lt", "maximum"):
        for i, a in enumerate(order):
            for b in order[i if op in ("mul", "maximum") else 0:]:
                x, y = sample(a), sample(b)
                if op == "div":
                    y = torch.where(y == 0, torch.ones_like(y), y)
                r.case(op, getattr(torch, op), {"input": x, "other": y}, tag=f"{NAMES[a]}_{NAMES[b]}", grad=False)
    # A 0-d tensor gives its kind (bool < integer < float) but not its width.
    for a in order:
        for b in order:
            if NAMES[b] in ("f16", "i32"):
                continue
            y = sample(b)[0]
            r.case("add", torch.add, {"input": sample(a), "other": y}, tag=f"{NAMES[a]}_0d_{NAMES[b]}", grad=False)
    # A plain number.
    for a in order:
        for v in (2, 0.5):
            kind = "int" if isinstance(v, int) else "float"
            for op in ("add", "mul", "div"):
                fn = getattr(torch, op)
                r.case(op, lambda x, fn=fn, v=v: fn(x, v), {"input": sample(a)}, {"other": v},
                       tag=f"{NAMES[a]}_number_{kind}", grad=False)
    for a, b in (("f32", "i64"), ("i32", "u8"), ("f16", "bf16"), ("bool", "f32"), ("i64", "f64")):
        c = t([True, False, True], torch.bool)
        r.case("where", torch.where, {"condition": c, "input": sample(DTYPES[a]), "other": sample(DTYPES[b])},
               tag=f"{a}_{b}", grad=False)
        r.case("cat", lambda *xs: torch.cat(xs, 0), {"t0": sample(DTYPES[a]), "t1": sample(DTYPES[b])}, {"dim": 0},
               tag=f"{a}_{b}", grad=False)
    # Casts. Values out of an integer type's range are left out: PyTorch leaves them undefined.
    floats = t([0.0, -0.0, 1.9, -1.9, 2.5, 65519.0, 1.0009765625, 0.1, 3e-8, 127.0], torch.float64)
    small = t([0.0, 1.9, 2.5, 100.7, 0.2], torch.float64)
    for name, d in DTYPES.items():
        v = small if name == "u8" else floats
        r.case("to", lambda x, d=d: x.to(d), {"input": v}, {"dtype": name}, tag=f"f64_{name}", grad=False)
        r.case("to", lambda x, d=d: x.to(d), {"input": v.to(torch.float32)}, {"dtype": name}, tag=f"f32_{name}",
               grad=False)
        r.case("to", lambda x, d=d: x.to(d), {"input": t([0, 1, 7, 120], torch.int64)}, {"dtype": name},
               tag=f"i64_{name}", grad=False)
        r.case("to", lambda x, d=d: x.to(d), {"input": t([True, False], torch.bool)}, {"dtype": name},
               tag=f"bool_{name}", grad=False)
    special = t([INF, -INF, NAN, 1e39, -1e39, 1e-46], torch.float64)
    for name in ("f32", "f16", "bf16", "bool"):
        r.case("to", lambda x, name=name: x.to(DTYPES[name]), {"input": special}, {"dtype": name},
               tag=f"special_{name}", grad=False)
    r.case("to", lambda x: x.to(torch.float32), {"input": randn(2, 3)}, {"dtype": "f32"}, tag="grad")


def run(r):
    r.seed("binary", 202)
    for name, (fn, a0, a1, b0, b1) in FLOAT.items():
        for sa, sb, tag in SHAPES:
            r.case(name, fn, {"input": uniform(a0, a1, *sa), "other": uniform(b0, b1, *sb)}, tag=tag)
    for v in (2.0, 3.0, 0.5, -1.0, 0.0, 1.7):
        r.case("pow", lambda x, v=v: torch.pow(x, v), {"input": uniform(0.2, 3, 5)}, {"exponent": v}, tag="number")
    r.case("pow", lambda x: torch.pow(x, 3.0), {"input": uniform(-3, 3, 5)}, {"exponent": 3.0}, tag="negative_base")
    r.case("pow", torch.pow, {"input": t([0.0, 0.0, -2.0, -2.0, 0.0, INF, 1.0, NAN]),
                              "other": t([0.0, 2.0, 0.5, 3.0, -1.0, 0.0, NAN, 0.0])}, tag="edge", grad=False)
    r.case("pow", torch.pow, {"input": t([2, 3, -2, 0], torch.int64), "other": t([5, 0, 3, 0], torch.int64)},
           tag="int")
    for name in ("maximum", "minimum"):
        fn = getattr(torch, name)
        r.case(name, fn, {"input": t([1.0, 2.0, -1.0]), "other": t([1.0, 3.0, -1.0])}, tag="ties")
        r.case(name, fn, {"input": t([NAN, 1.0, INF]), "other": t([1.0, NAN, -INF])}, tag="nan", grad=False)
    x, y = t([7.0, -7.0, 7.0, -7.0, 0.0, INF, 1.0]), t([2.0, 2.0, -2.0, -2.0, 3.0, 2.0, INF])
    for name in ("fmod", "remainder", "floor_divide"):
        r.case(name, getattr(torch, name), {"input": x, "other": y}, tag="signs", grad=False)
        for d in (torch.int64, torch.int32):
            a, b = t([7, -7, 7, -7, 0, 6], d), t([2, 2, -2, -2, 3, 3], d)
            r.case(name, getattr(torch, name), {"input": a, "other": b}, tag=NAMES[d])
        r.case(name, getattr(torch, name), {"input": t([7, 200, 3], torch.uint8), "other": t([2, 3, 5], torch.uint8)},
               tag="u8")
    r.case("atan2", torch.atan2, {"input": t([0.0, -0.0, 0.0, -0.0, 1.0, -1.0, INF, INF]),
                                  "other": t([1.0, 1.0, -1.0, -1.0, 0.0, 0.0, INF, -INF])}, tag="edge", grad=False)
    r.case("hypot", torch.hypot, {"input": t([0.0, 3e200, INF, NAN]), "other": t([0.0, 4e200, NAN, 1.0])},
           tag="edge", grad=False)
    r.case("div", torch.div, {"input": t([1.0, -1.0, 0.0]), "other": t([0.0, 0.0, 0.0])}, tag="zero", grad=False)
    for mode in ("floor", "trunc"):
        r.case("div", lambda a, b, mode=mode: torch.div(a, b, rounding_mode=mode),
               {"input": uniform(-7, 7, 6), "other": uniform(0.5, 3, 6)}, {"rounding_mode": mode}, grad=False)

    for name in COMPARE:
        fn = getattr(torch, name)
        r.case(name, fn, {"input": ints(0, 3, 3, 4).double(), "other": ints(0, 3, 4).double()})
        r.case(name, fn, {"input": ints(-2, 3, 5), "other": ints(-2, 3, 5)}, tag="i64")
        r.case(name, fn, {"input": t([NAN, 1.0, INF, -0.0]), "other": t([NAN, NAN, INF, 0.0])}, tag="nan", grad=False)
        r.case(name, fn, {"input": t([True, True, False], torch.bool), "other": t([True, False, False], torch.bool)},
               tag="bool")
    for name in ("logical_and", "logical_or", "logical_xor"):
        fn = getattr(torch, name)
        a, b = t([True, True, False, False], torch.bool), t([True, False, True, False], torch.bool)
        r.case(name, fn, {"input": a, "other": b})
        r.case(name, fn, {"input": a.double() * 2.5, "other": b.long() * -3}, tag="numbers", grad=False)
    for name in ("bitwise_and", "bitwise_or", "bitwise_xor"):
        fn = getattr(torch, name)
        r.case(name, fn, {"input": ints(-9, 9, 6), "other": ints(-9, 9, 6)}, tag="i64")
        r.case(name, fn, {"input": ints(0, 255, 6, dtype=torch.uint8), "other": ints(0, 255, 6, dtype=torch.uint8)},
               tag="u8")
        r.case(name, fn, {"input": ints(0, 255, 6, dtype=torch.uint8), "other": ints(-99, 99, 6, dtype=torch.int32)},
               tag="u8_i32")
        r.case(name, fn, {"input": t([True, False], torch.bool), "other": t([True, True], torch.bool)}, tag="bool")
    for name in ("bitwise_left_shift", "bitwise_right_shift"):
        r.case(name, getattr(torch, name), {"input": t([5, -9, 1], torch.int64), "other": t([2, 1, 3], torch.int64)})

    cond = t([[True, False, True], [False, False, True]], torch.bool)
    r.case("where", torch.where, {"condition": cond, "input": randn(2, 3), "other": randn(2, 3)})
    r.case("where", torch.where, {"condition": cond, "input": randn(3), "other": randn(2, 1)}, tag="bcast")
    r.case("where", torch.where, {"condition": cond[0], "input": randn(2, 3), "other": randn()}, tag="bcast_cond")
    r.case("masked_fill", lambda x, m: x.masked_fill(m, -1.5), {"input": randn(2, 3), "mask": cond}, {"value": -1.5})
    r.case("masked_fill", lambda x, m: x.masked_fill(m, 2.0), {"input": randn(4, 2, 3), "mask": cond}, {"value": 2.0},
           tag="bcast")
    r.case("masked_select", torch.masked_select, {"input": randn(2, 3), "mask": cond})
    r.case("clamp", torch.clamp, {"input": randn(2, 4), "min": t([-0.5]), "max": t([0.1, 0.2, 0.3, 0.4])},
           tag="tensors")
    r.case("clamp", lambda x: torch.clamp(x, 2, 4), {"input": t([1, 3, 9], torch.int64)}, {"min": 2, "max": 4},
           tag="i64")
    r.case("lerp", lambda a, b: torch.lerp(a, b, 0.3), {"input": randn(2, 3), "end": randn(2, 3)}, {"weight": 0.3})
    r.case("lerp", lambda a, b: torch.lerp(a, b, 0.8), {"input": randn(2, 3), "end": randn(2, 3)}, {"weight": 0.8})
    r.case("lerp", torch.lerp, {"input": randn(2, 3), "end": randn(2, 3), "weight": uniform(0, 1, 2, 3)}, tag="tensor")
    r.case("addcmul", lambda a, b, c: torch.addcmul(a, b, c, value=0.7),
           {"input": randn(2, 3), "tensor1": randn(2, 3), "tensor2": randn(3)}, {"value": 0.7})
    r.case("addcdiv", lambda a, b, c: torch.addcdiv(a, b, c, value=0.7),
           {"input": randn(2, 3), "tensor1": randn(2, 3), "tensor2": uniform(1, 2, 3)}, {"value": 0.7})
    promotion(r)
