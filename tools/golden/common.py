"""Recording of golden cases: run a PyTorch function, keep inputs, outputs, cotangents and gradients."""

import json
import pathlib

import safetensors.torch
import torch

OUT = pathlib.Path(__file__).resolve().parents[2] / "tests-data" / "golden"

DTYPES = {
    "f64": torch.float64,
    "f32": torch.float32,
    "f16": torch.float16,
    "bf16": torch.bfloat16,
    "i64": torch.int64,
    "i32": torch.int32,
    "u8": torch.uint8,
    "bool": torch.bool,
}
NAMES = {v: k for k, v in DTYPES.items()}


def versions():
    import numpy
    import scipy

    return {"torch": torch.__version__.split("+")[0], "numpy": numpy.__version__, "scipy": scipy.__version__}


def write_json(name, header, key, rows):
    """One row a line, so that a diff of a regenerated file can be read."""
    lines = ",\n".join(json.dumps(r, allow_nan=False) for r in rows)
    head = json.dumps(header, allow_nan=False)[1:-1]
    (OUT / name).write_text("{" + head + ',\n"' + key + '": [\n' + lines + "\n]}\n")


def write_tensors(name, tensors):
    kept = {k: v.detach().clone(memory_format=torch.contiguous_format) for k, v in tensors.items()}
    (OUT / name).write_bytes(safetensors.torch.save(kept))


class Recorder:
    """Collects cases. Keys of a case's tensors are `<case>/<what>`."""

    def __init__(self):
        self.cases = []
        self.tensors = {}
        self.names = set()
        self.family = ""

    def seed(self, family, seed):
        self.family = family
        torch.manual_seed(seed)

    def put(self, key, t):
        assert key not in self.tensors, key
        # The copy is laid out densely: what is recorded is the value, not PyTorch's strides.
        self.tensors[key] = t.detach().clone(memory_format=torch.contiguous_format)
        return key

    def case(self, op, fn, inputs, args=None, tag="", grad=True, no_grad=()):
        """Records `fn(*inputs)`.

        `inputs` maps PyTorch's argument names to tensors (order kept); `args` are the other arguments.
        With `grad`, the gradient of sum(output * cotangent) is kept for every float input not in `no_grad`.
        """
        name = op + ("_" + tag if tag else "")
        base, n = name, 1
        while name in self.names:
            n += 1
            name = f"{base}_{n}"
        self.names.add(name)
        xs = []
        for k, v in inputs.items():
            v = v.detach().clone()
            if grad and v.is_floating_point() and k not in no_grad:
                v.requires_grad_(True)
            xs.append(v)
        row = {"name": name, "family": self.family, "op": op, "args": args or {}}
        # Keys are written before the call, as some functions change their inputs (running statistics).
        row["input_names"] = list(inputs)
        row["inputs"] = [self.put(f"{name}/in{i}", x) for i, x in enumerate(xs)]
        out = fn(*xs)
        out = tuple(out) if isinstance(out, (tuple, list)) else (out,)
        row["outputs"] = [self.put(f"{name}/out{i}", y) for i, y in enumerate(out)]
        row["cotangents"] = [None] * len(out)
        row["grads"] = [None] * len(xs)
        diff = [(i, y) for i, y in enumerate(out) if y.requires_grad]
        if diff:
            total = 0
            for i, y in diff:
                c = torch.randn(y.shape, dtype=torch.float64).to(y.dtype)
                row["cotangents"][i] = self.put(f"{name}/cot{i}", c)
                total = total + (y * c).sum()
            want = [x for x in xs if x.requires_grad]
            got = iter(torch.autograd.grad(total, want, allow_unused=True))
            for i, x in enumerate(xs):
                if x.requires_grad:
                    g = next(got)
                    if g is not None:
                        row["grads"][i] = self.put(f"{name}/grad{i}", g)
        row["dtype"] = NAMES[out[0].dtype]
        self.cases.append(row)


def randn(*shape, dtype=torch.float64):
    return torch.randn(shape, dtype=dtype)


def uniform(lo, hi, *shape):
    return torch.rand(shape, dtype=torch.float64) * (hi - lo) + lo


def ints(lo, hi, *shape, dtype=torch.int64):
    return torch.randint(lo, hi, shape, dtype=dtype)


def t(values, dtype=torch.float64):
    return torch.tensor(values, dtype=dtype)
