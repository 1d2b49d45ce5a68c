"""The data of the workloads, the same for all contenders; the rule is in README.md. `fill.rs` is the same in Rust."""

import math

import numpy as np

UNIT = 1.7320508  # range of data whose variance is one


def bits(name, n):
    """FNV-1a of the name, then the finalizer `lowbias32` on each position."""
    h = 0x811C9DC5
    for b in name.encode():
        h = ((h ^ b) * 0x01000193) & 0xFFFFFFFF
    x = np.arange(n, dtype=np.uint32)
    x *= np.uint32(0x9E3779B1)
    x += np.uint32(h)
    x ^= x >> np.uint32(16)
    x *= np.uint32(0x7FEB352D)
    x ^= x >> np.uint32(15)
    x *= np.uint32(0x846CA68B)
    x ^= x >> np.uint32(16)
    x >>= np.uint32(8)
    return x


def values(name, shape, scale=UNIT):
    x = bits(name, math.prod(shape)).astype(np.float32)
    x /= np.float32(8388608.0)
    x -= np.float32(1.0)
    x *= np.float32(scale)
    return x.reshape(shape)


def indices(name, shape, n):
    return (bits(name, math.prod(shape)) % np.uint32(n)).astype(np.int64).reshape(shape)


def parameter(name, shape):
    """The parameter or running statistic of this name: convolutions after He, other matrices so that variance is kept,
    the weights of norms and running variances near one, the others near zero."""
    if len(shape) < 2:
        near = values(name, shape, 0.1)
        return np.float32(1.0) + near if name.endswith(("weight", "var")) else near
    gain = 3.0 if len(shape) == 2 else 6.0
    return values(name, shape, math.sqrt(gain / math.prod(shape[1:])))


def summary(a):
    """What is compared of an output: length, sum, sum of absolute values, nine elements spread over it."""
    a = np.asarray(a, dtype=np.float32).reshape(-1)
    last = max(a.size - 1, 0)
    at = [float(a[last * i // 8]) for i in range(9)] if a.size else []
    numbers = [a.sum(dtype=np.float64), np.abs(a).sum(dtype=np.float64), *at]
    total, absolute, *at = [float(x) if math.isfinite(x) else None for x in numbers]
    return {"len": int(a.size), "sum": total, "abs": absolute, "at": at}
