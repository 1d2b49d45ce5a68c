"""Pointwise functions of one tensor: values and gradients inside the domain, then values at the edges."""

import torch
import torch.nn.functional as F

from common import t, uniform

# name: (function, low, high) of the sampled domain.
PLAIN = {
    "abs": (torch.abs, -3, 3),
    "neg": (torch.neg, -3, 3),
    "sign": (torch.sign, -3, 3),
    "exp": (torch.exp, -4, 4),
    "exp2": (torch.exp2, -4, 4),
    "expm1": (torch.expm1, -2, 2),
    "log": (torch.log, 0.05, 5),
    "log2": (torch.log2, 0.05, 5),
    "log10": (torch.log10, 0.05, 5),
    "log1p": (torch.log1p, -0.9, 5),
    "sqrt": (torch.sqrt, 0.05, 5),
    "rsqrt": (torch.rsqrt, 0.05, 5),
    "square": (torch.square, -3, 3),
    "reciprocal": (torch.reciprocal, 0.2, 4),
    "sin": (torch.sin, -7, 7),
    "cos": (torch.cos, -7, 7),
    "tan": (torch.tan, -1.4, 1.4),
    "asin": (torch.asin, -0.95, 0.95),
    "acos": (torch.acos, -0.95, 0.95),
    "atan": (torch.atan, -5, 5),
    "sinh": (torch.sinh, -3, 3),
    "cosh": (torch.cosh, -3, 3),
    "tanh": (torch.tanh, -3, 3),
    "asinh": (torch.asinh, -5, 5),
    "acosh": (torch.acosh, 1.05, 6),
    "atanh": (torch.atanh, -0.95, 0.95),
    "erf": (torch.erf, -3, 3),
    "erfc": (torch.erfc, -3, 3),
    "sigmoid": (torch.sigmoid, -6, 6),
    "floor": (torch.floor, -4, 4),
    "ceil": (torch.ceil, -4, 4),
    "round": (torch.round, -4, 4),
    "trunc": (torch.trunc, -4, 4),
    "frac": (torch.frac, -4, 4),
    "relu": (F.relu, -3, 3),
    "silu": (F.silu, -4, 4),
    "mish": (F.mish, -4, 4),
    "selu": (F.selu, -3, 3),
    "hardswish": (F.hardswish, -5, 5),
    "hardsigmoid": (F.hardsigmoid, -5, 5),
    "softsign": (F.softsign, -3, 3),
    "logsigmoid": (F.logsigmoid, -6, 6),
    "relu6": (F.relu6, -3, 9),
    "tanhshrink": (F.tanhshrink, -3, 3),
}

WITH_ARGS = [
    ("gelu", F.gelu, {"approximate": "none"}),
    ("gelu", F.gelu, {"approximate": "tanh"}),
    ("softplus", F.softplus, {"beta": 1.0, "threshold": 20.0}),
    ("softplus", F.softplus, {"beta": 2.5, "threshold": 3.0}),
    ("elu", F.elu, {"alpha": 1.0}),
    ("elu", F.elu, {"alpha": 0.3}),
    ("celu", F.celu, {"alpha": 1.0}),
    ("celu", F.celu, {"alpha": 0.4}),
    ("leaky_relu", F.leaky_relu, {"negative_slope": 0.01}),
    ("leaky_relu", F.leaky_relu, {"negative_slope": 0.3}),
    ("hardtanh", F.hardtanh, {"min_val": -1.0, "max_val": 1.0}),
    ("hardtanh", F.hardtanh, {"min_val": -0.5, "max_val": 2.0}),
    ("softshrink", F.softshrink, {"lambd": 0.5}),
    ("softshrink", F.softshrink, {"lambd": 1.2}),
    ("hardshrink", F.hardshrink, {"lambd": 0.5}),
    ("clamp", torch.clamp, {"min": -1.0, "max": 0.5}),
    ("clamp", torch.clamp, {"min": 0.2}),
    ("clamp", torch.clamp, {"max": -0.2}),
]

INF, NAN = float("inf"), float("nan")


def edge_values(dtype):
    big = 1e30 if dtype == torch.float32 else 1e300
    # asin, acosh ... give NaN outside of their domain; halves test rounding to even.
    vals = [0.0, -0.0, 1.0, -1.0, 0.5, -0.5, 1.5, 2.5, -2.5, 1e-20, -1e-20, 30.0, -30.0, 800.0, -800.0]
    return t(vals + [big, -big, INF, -INF, NAN], dtype)


def run(r):
    r.seed("unary", 101)
    for name, (fn, lo, hi) in PLAIN.items():
        r.case(name, fn, {"input": uniform(lo, hi, 3, 5)})
    for name, fn, args in WITH_ARGS:
        r.case(name, lambda x, fn=fn, args=args: fn(x, **args), {"input": uniform(-4, 4, 3, 5)}, args)
    weight = t([0.25, -0.4, 1.5])
    r.case("prelu", F.prelu, {"input": uniform(-3, 3, 2, 3, 4), "weight": weight})
    r.case("prelu", F.prelu, {"input": uniform(-3, 3, 2, 3), "weight": t([0.2])}, tag="one")

    # Values only: at the edges PyTorch's own gradients are conventions, a few of which follow below.
    # Sines of huge arguments are left out: range reduction of 1e300 is tested nowhere else.
    for dtype, suffix in ((torch.float64, "f64"), (torch.float32, "f32")):
        x = edge_values(dtype)
        small = x[(x.abs() < 1e4) | ~torch.isfinite(x)]
        for name, (fn, _, _) in PLAIN.items():
            v = small if name in ("sin", "cos", "tan") else x
            r.case(name, fn, {"input": v}, tag=f"edge_{suffix}", grad=False)
        for name, fn, args in WITH_ARGS:
            r.case(
                name, lambda x, fn=fn, args=args: fn(x, **args), {"input": x}, args, tag=f"edge_{suffix}", grad=False
            )
    # The gradient at a kink, where it is finite.
    kink = t([-1.0, 0.0, 1.0])
    for name in ("abs", "sign", "relu", "relu6", "hardswish", "hardsigmoid", "selu", "silu", "mish", "tanhshrink"):
        r.case(name, PLAIN[name][0], {"input": kink}, tag="kink")
    for name, fn, args in [
        ("clamp", torch.clamp, {"min": -1.0, "max": 1.0}),
        ("hardtanh", F.hardtanh, {"min_val": -1.0, "max_val": 1.0}),
        ("leaky_relu", F.leaky_relu, {"negative_slope": 0.1}),
        ("elu", F.elu, {"alpha": 1.0}),
        ("softshrink", F.softshrink, {"lambd": 1.0}),
        ("hardshrink", F.hardshrink, {"lambd": 1.0}),
    ]:
        r.case(name, lambda x, fn=fn, args=args: fn(x, **args), {"input": kink}, args, tag="kink")
    # Stable far from zero, with the gradient.
    far = t([-60.0, -25.0, 25.0, 60.0])
    for name in ("logsigmoid", "sigmoid", "tanh", "erf", "silu", "mish"):
        r.case(name, PLAIN[name][0], {"input": far}, tag="far")
    for name in ("isnan", "isinf", "isfinite", "signbit"):
        r.case(name, getattr(torch, name), {"input": edge_values(torch.float64)}, grad=False)
    r.case("nan_to_num", lambda x: torch.nan_to_num(x, nan=1.5, posinf=7.0, neginf=-8.0),
           {"input": t([NAN, INF, -INF, 2.0])}, {"nan": 1.5, "posinf": 7.0, "neginf": -8.0})
    # Integers: the dtype of the result.
    for dtype in (torch.int64, torch.int32, torch.uint8, torch.bool):
        x = t([1, 0, 1] if dtype == torch.bool else [1, 2, 4], dtype)
        tag = str(dtype).split(".")[1]
        for name in ("exp", "sqrt", "sin", "sigmoid", "reciprocal"):
            r.case(name, PLAIN[name][0], {"input": x}, tag=tag, grad=False)
        if dtype != torch.bool:
            for name in ("abs", "neg", "square", "floor", "relu", "sign"):
                r.case(name, PLAIN[name][0], {"input": x}, tag=tag, grad=False)
    r.case("logical_not", torch.logical_not, {"input": t([0.0, 1.0, NAN])}, grad=False)
    r.case("bitwise_not", torch.bitwise_not, {"input": t([0, 5, -3], torch.int64)}, grad=False)
    r.case("bitwise_not", torch.bitwise_not, {"input": t([True, False], torch.bool)}, tag="bool", grad=False)
