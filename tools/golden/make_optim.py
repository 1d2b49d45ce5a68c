"""optim.safetensors and optim.json: 20 steps of each optimizer on given gradients, and gradient clipping.

PyTorch has no Yogi and no Lion; both are written out below in NumPy from their papers.
"""

import numpy as np
import torch

import common

STEPS = 20
SHAPES = {"w": (3, 4), "b": (4,)}

# name, PyTorch class, arguments by PyTorch's names
CASES = [
    ("sgd", "SGD", {"lr": 0.1}),
    ("sgd_weight_decay", "SGD", {"lr": 0.1, "weight_decay": 0.05}),
    ("sgd_momentum", "SGD", {"lr": 0.1, "momentum": 0.9}),
    ("sgd_momentum_weight_decay", "SGD", {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.05}),
    ("sgd_dampening", "SGD", {"lr": 0.1, "momentum": 0.9, "dampening": 0.4}),
    ("sgd_nesterov", "SGD", {"lr": 0.1, "momentum": 0.9, "nesterov": True}),
    ("sgd_nesterov_weight_decay", "SGD", {"lr": 0.1, "momentum": 0.8, "nesterov": True, "weight_decay": 0.01}),
    ("sgd_maximize", "SGD", {"lr": 0.1, "momentum": 0.9, "maximize": True}),
    ("adagrad", "Adagrad", {"lr": 0.1}),
    ("adagrad_all", "Adagrad", {"lr": 0.1, "lr_decay": 0.02, "weight_decay": 0.03, "initial_accumulator_value": 0.1,
                                "eps": 1e-8}),
    ("rmsprop", "RMSprop", {"lr": 0.01}),
    ("rmsprop_momentum", "RMSprop", {"lr": 0.01, "alpha": 0.9, "momentum": 0.8, "weight_decay": 0.02}),
    ("rmsprop_centered", "RMSprop", {"lr": 0.01, "alpha": 0.95, "eps": 1e-6, "centered": True}),
    ("rmsprop_centered_momentum", "RMSprop", {"lr": 0.01, "alpha": 0.95, "centered": True, "momentum": 0.5}),
    ("adadelta", "Adadelta", {"lr": 1.0}),
    ("adadelta_all", "Adadelta", {"lr": 0.5, "rho": 0.8, "eps": 1e-5, "weight_decay": 0.02}),
    ("adam", "Adam", {"lr": 0.01}),
    ("adam_weight_decay", "Adam", {"lr": 0.01, "betas": [0.8, 0.99], "eps": 1e-6, "weight_decay": 0.1}),
    ("adam_amsgrad", "Adam", {"lr": 0.01, "betas": [0.5, 0.7], "amsgrad": True}),
    ("adamw", "AdamW", {"lr": 0.01}),
    ("adamw_all", "AdamW", {"lr": 0.02, "betas": [0.8, 0.95], "eps": 1e-6, "weight_decay": 0.3}),
    ("adamw_amsgrad", "AdamW", {"lr": 0.02, "betas": [0.5, 0.7], "weight_decay": 0.1, "amsgrad": True}),
    ("adamax", "Adamax", {"lr": 0.01, "weight_decay": 0.02}),
    ("nadam", "NAdam", {"lr": 0.01}),
    ("nadam_weight_decay", "NAdam", {"lr": 0.01, "weight_decay": 0.1, "momentum_decay": 0.01}),
    ("nadam_decoupled", "NAdam", {"lr": 0.01, "weight_decay": 0.1, "decoupled_weight_decay": True}),
    ("radam", "RAdam", {"lr": 0.01}),
    ("radam_weight_decay", "RAdam", {"lr": 0.01, "betas": [0.9, 0.99], "weight_decay": 0.1}),
    ("radam_decoupled", "RAdam", {"lr": 0.01, "weight_decay": 0.1, "decoupled_weight_decay": True}),
    ("adam_decoupled", "Adam", {"lr": 0.01, "weight_decay": 0.1, "decoupled_weight_decay": True}),
    ("adagrad_maximize", "Adagrad", {"lr": 0.1, "weight_decay": 0.03, "maximize": True}),
    ("rmsprop_maximize", "RMSprop", {"lr": 0.01, "weight_decay": 0.03, "maximize": True}),
    ("adadelta_maximize", "Adadelta", {"lr": 1.0, "weight_decay": 0.03, "maximize": True}),
    ("adam_maximize", "Adam", {"lr": 0.01, "weight_decay": 0.1, "maximize": True}),
    ("adamw_maximize", "AdamW", {"lr": 0.01, "weight_decay": 0.1, "maximize": True}),
    ("adamax_maximize", "Adamax", {"lr": 0.01, "weight_decay": 0.1, "maximize": True}),
    ("nadam_maximize", "NAdam", {"lr": 0.01, "weight_decay": 0.1, "maximize": True}),
    ("radam_maximize", "RAdam", {"lr": 0.01, "weight_decay": 0.1, "maximize": True}),
]

# Half parameters: rounded start and gradients, everything else in f32, and the weight rounded after each step.
# This is what Hadal does; PyTorch keeps moments in the half type. The reference is PyTorch's own optimizer on f32
# tensors that are rounded from outside ("rounded") or not at all ("master": the half weight is the rounded f32 one).
HALF = [
    ("sgd", "SGD", {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.05}),
    ("adam", "Adam", {"lr": 0.01}),
    ("adamw", "AdamW", {"lr": 0.001, "weight_decay": 0.1}),
    ("rmsprop", "RMSprop", {"lr": 0.01, "centered": True}),
]


def yogi(lr, betas=(0.9, 0.999), eps=1e-3, weight_decay=0.0, initial_accumulator=1e-6, bias_correction=True):
    """Zaheer et al. 2018, "Adaptive Methods for Nonconvex Optimization", algorithm 2.

    The paper's listing has no bias correction; with it, the form most implementations use.
    Weight decay is coupled: it is added to the gradient.
    """
    m, v = 0.0, initial_accumulator

    def step(t, p, g):
        nonlocal m, v
        g = g + weight_decay * p
        m = betas[0] * m + (1 - betas[0]) * g
        v = v - (1 - betas[1]) * np.sign(v - g * g) * g * g
        mh, vh = m, v
        if bias_correction:
            mh = m / (1 - betas[0] ** t)
            vh = v / (1 - betas[1] ** t)
        return p - lr * mh / (np.sqrt(vh) + eps)

    return step


def lion(lr, betas=(0.9, 0.99), weight_decay=0.0):
    """Chen et al. 2023, "Symbolic Discovery of Optimization Algorithms", algorithm 2: decoupled decay."""
    m = 0.0

    def step(t, p, g):
        nonlocal m
        update = np.sign(betas[0] * m + (1 - betas[0]) * g)
        p = p - lr * (update + weight_decay * p)
        m = betas[1] * m + (1 - betas[1]) * g
        return p

    return step


NUMPY_CASES = [
    ("yogi", "Yogi", yogi, {"lr": 0.01, "betas": [0.9, 0.999], "eps": 1e-3, "initial_accumulator": 1e-6,
                            "bias_correction": True}),
    ("yogi_weight_decay", "Yogi", yogi, {"lr": 0.02, "betas": [0.8, 0.99], "eps": 1e-4, "weight_decay": 0.1,
                                         "initial_accumulator": 1e-6, "bias_correction": True}),
    ("yogi_zero_accumulator", "Yogi", yogi, {"lr": 0.01, "betas": [0.9, 0.999], "eps": 1e-3,
                                             "initial_accumulator": 0.0, "bias_correction": True}),
    ("yogi_paper", "Yogi", yogi, {"lr": 0.01, "betas": [0.9, 0.999], "eps": 1e-3, "initial_accumulator": 1e-6,
                                  "bias_correction": False}),
    ("lion", "Lion", lion, {"lr": 0.01, "betas": [0.9, 0.99]}),
    ("lion_weight_decay", "Lion", lion, {"lr": 0.02, "betas": [0.8, 0.95], "weight_decay": 0.3}),
]


def optimizers(tensors):
    rows = []
    init = {k: tensors[f"init/{k}"] for k in SHAPES}
    grads = {k: tensors[f"grads/{k}"] for k in SHAPES}

    def record(name, optimizer, args, source, step, groups=None):
        after = {k: [] for k in SHAPES}
        for t in range(STEPS):
            now = step(t)
            for k in SHAPES:
                after[k].append(torch.as_tensor(now[k]).detach().clone())
        for k in SHAPES:
            tensors[f"{name}/{k}"] = torch.stack(after[k])
        row = {"name": name, "optimizer": optimizer, "args": args, "source": source,
               "init": {k: f"init/{k}" for k in SHAPES}, "grads": {k: f"grads/{k}" for k in SHAPES},
               "after": {k: f"{name}/{k}" for k in SHAPES}}
        if groups:
            row["groups"] = groups
        rows.append(row)

    def with_torch(name, cls, args, groups=None):
        p = {k: torch.nn.Parameter(v.clone()) for k, v in init.items()}
        kw = {k: tuple(v) if isinstance(v, list) else v for k, v in args.items()}
        gs = [{"params": [p[k]], **(groups or {}).get(k, {})} for k in SHAPES]
        opt = getattr(torch.optim, cls)(gs, foreach=False, **kw)

        def step(t):
            for k in SHAPES:
                p[k].grad = grads[k][t].clone()
            opt.step()
            return p

        record(name, cls, args, "torch", step, groups)

    for name, cls, args in CASES:
        with_torch(name, cls, args)
    with_torch("adamw_groups", "AdamW", {"lr": 0.01, "weight_decay": 0.2}, {"b": {"weight_decay": 0.0, "lr": 0.05}})
    with_torch("adam_group_betas", "Adam", {"lr": 0.01}, {"w": {"betas": (0.5, 0.8), "eps": 1e-3}})
    with_torch("sgd_groups", "SGD", {"lr": 0.1, "momentum": 0.9}, {"w": {"momentum": 0.5, "weight_decay": 0.1}})

    for name, label, make, args in NUMPY_CASES:
        fs = {k: make(**args) for k in SHAPES}
        p = {k: init[k].numpy().copy() for k in SHAPES}

        def step(t, p=p, fs=fs):
            for k in SHAPES:
                p[k] = fs[k](t + 1, p[k], grads[k][t].numpy())
            return p

        record(name, label, args, "numpy, from the paper", step)
    return rows


def half(tensors):
    rows = []
    for dtype in ("f16", "bf16"):
        for name, cls, args in HALF:
            for kind in ("rounded", "master"):
                d = common.DTYPES[dtype]
                p = {k: torch.nn.Parameter(tensors[f"init/{k}"].to(d).float()) for k in SHAPES}
                opt = getattr(torch.optim, cls)(list(p.values()), foreach=False, **args)
                after = {k: [] for k in SHAPES}
                for t in range(STEPS):
                    for k in SHAPES:
                        p[k].grad = tensors[f"grads/{k}"][t].to(d).float()
                    opt.step()
                    for k in SHAPES:
                        after[k].append(p[k].detach().to(d))
                        if kind == "rounded":
                            p[k].data = p[k].detach().to(d).float()
                full = f"{name}_{dtype}_{kind}"
                for k in SHAPES:
                    tensors[f"{full}/{k}"] = torch.stack(after[k])
                rows.append({"name": full, "optimizer": cls, "args": args, "dtype": dtype, "kind": kind,
                             "after": {k: f"{full}/{k}" for k in SHAPES}})
    return rows


def clipping(tensors):
    rows = []
    for name, args in (
        ("clip_norm", {"max_norm": 1.0, "norm_type": 2.0}),
        ("clip_norm_not_reached", {"max_norm": 1000.0, "norm_type": 2.0}),
        ("clip_norm_1", {"max_norm": 2.5, "norm_type": 1.0}),
        ("clip_norm_inf", {"max_norm": 0.5, "norm_type": "inf"}),
        ("clip_norm_3", {"max_norm": 0.7, "norm_type": 3.0}),
        ("clip_norm_half", {"max_norm": 9.0, "norm_type": 0.5}),
        ("clip_value", {"clip_value": 0.4}),
    ):
        p = {k: torch.nn.Parameter(tensors[f"init/{k}"].clone()) for k in SHAPES}
        for k in SHAPES:
            p[k].grad = tensors[f"grads/{k}"][0].clone()
        row = {"name": name, "args": args, "grads": {k: f"grads/{k}" for k in SHAPES}, "at_step": 0,
               "clipped": {k: f"{name}/{k}" for k in SHAPES}}
        if "clip_value" in args:
            torch.nn.utils.clip_grad_value_(p.values(), args["clip_value"], foreach=False)
        else:
            total = torch.nn.utils.clip_grad_norm_(p.values(), args["max_norm"], float(args["norm_type"]),
                                                   foreach=False)
            row["total_norm"] = float(total)
        for k in SHAPES:
            tensors[f"{name}/{k}"] = p[k].grad
        rows.append(row)
    return rows


def main():
    torch.manual_seed(707)
    tensors = {}
    for k, s in SHAPES.items():
        tensors[f"init/{k}"] = common.randn(*s)
    for k, s in SHAPES.items():
        # The scale changes over the steps, so that second moments rise and fall (AMSGrad, Yogi).
        scale = torch.linspace(0, 6, STEPS, dtype=torch.float64).cos().abs() + 0.1
        tensors[f"grads/{k}"] = common.randn(STEPS, *s) * scale.reshape(-1, *[1] * len(s))
    rows = optimizers(tensors)
    clips = clipping(tensors)
    halves = half(tensors)
    common.write_tensors("optim.safetensors", tensors)
    head = {"versions": common.versions(), "steps": STEPS, "clipping": clips, "half": halves}
    common.write_json("optim.json", head, "cases", rows)
    print(f"optim: {len(rows)} cases, {len(clips)} clippings, {len(halves)} with half types")


if __name__ == "__main__":
    main()
