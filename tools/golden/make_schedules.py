"""schedules.json: the learning rate of each of 50 steps. `lrs[t]` is what step t (from 0) uses."""

import math
import warnings

import torch
from torch.optim import lr_scheduler as S

import common

STEPS = 50


def run(base_lr, make, metrics=None, key="lr"):
    opt = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=base_lr, momentum=0.9)
    sched = make(opt)
    lrs = []
    for t in range(STEPS):
        lrs.append(float(opt.param_groups[0][key]))
        opt.step()
        if t + 1 < STEPS:
            sched.step(metrics[t]) if metrics else sched.step()
    return lrs


def plateau_metrics(mode):
    """Falls, stalls with small wiggles, falls once more, then rises. For "max" the same upside down."""
    out = []
    for t in range(STEPS):
        if t < 8:
            v = 2.0 - 0.15 * t
        elif t < 24:
            v = 0.95 + 0.00005 * math.sin(t)
        elif t < 30:
            v = 0.9 - 0.03 * (t - 24)
        else:
            v = 0.75 + 0.001 * (t - 30)
        out.append(round(v if mode == "min" else 3.0 - v, 6))
    return out


def main():
    warnings.simplefilter("ignore")
    rows = []

    def add(name, schedule, base_lr, args, make=None, metrics=None, source="torch"):
        make = make or (lambda o: getattr(S, schedule)(o, **args))
        row = {"name": name, "schedule": schedule, "base_lr": base_lr, "args": args, "source": source,
               "lrs": run(base_lr, make, metrics)}
        if metrics:
            row["metrics"] = metrics
        rows.append(row)

    add("step", "StepLR", 0.1, {"step_size": 7, "gamma": 0.5})
    add("multi_step", "MultiStepLR", 0.1, {"milestones": [5, 12, 13, 40], "gamma": 0.3})
    add("exponential", "ExponentialLR", 0.1, {"gamma": 0.93})
    add("constant", "ConstantLR", 0.1, {"factor": 0.25, "total_iters": 6})
    add("polynomial_1", "PolynomialLR", 0.1, {"total_iters": 40, "power": 1.0})
    add("polynomial_2", "PolynomialLR", 0.1, {"total_iters": 30, "power": 2.0})
    add("cosine", "CosineAnnealingLR", 0.1, {"T_max": 49, "eta_min": 0.0})
    # Past T_max PyTorch's cosine comes up again.
    add("cosine_past_end", "CosineAnnealingLR", 0.1, {"T_max": 30, "eta_min": 0.01})
    add("restarts", "CosineAnnealingWarmRestarts", 0.1, {"T_0": 10, "T_mult": 1, "eta_min": 0.0})
    add("restarts_mult", "CosineAnnealingWarmRestarts", 0.1, {"T_0": 5, "T_mult": 2, "eta_min": 0.001})
    add("linear", "LinearLR", 0.1, {"start_factor": 0.1, "end_factor": 1.0, "total_iters": 10})
    add("linear_down", "LinearLR", 0.1, {"start_factor": 1.0, "end_factor": 0.2, "total_iters": 25})

    warm = {"start_factor": 0.01, "end_factor": 1.0, "total_iters": 8}
    cos = {"T_max": 42, "eta_min": 0.002}
    add("warmup_cosine", "SequentialLR", 0.1,
        {"milestones": [8], "schedulers": [{"schedule": "LinearLR", "args": warm},
                                           {"schedule": "CosineAnnealingLR", "args": cos}]},
        lambda o: S.SequentialLR(o, [S.LinearLR(o, **warm), S.CosineAnnealingLR(o, **cos)], [8]))
    exp = {"gamma": 0.9}
    add("warmup_exponential", "SequentialLR", 0.2,
        {"milestones": [5], "schedulers": [{"schedule": "LinearLR", "args": dict(warm, total_iters=5)},
                                           {"schedule": "ExponentialLR", "args": exp}]},
        lambda o: S.SequentialLR(o, [S.LinearLR(o, **dict(warm, total_iters=5)), S.ExponentialLR(o, **exp)], [5]))

    one = {"max_lr": 0.4, "total_steps": 50, "pct_start": 0.3, "div_factor": 25.0, "final_div_factor": 1e4,
           "cycle_momentum": False}
    for name, extra in (
        ("one_cycle_cos", {"anneal_strategy": "cos", "three_phase": False}),
        ("one_cycle_linear", {"anneal_strategy": "linear", "three_phase": False}),
        ("one_cycle_three_phase", {"anneal_strategy": "cos", "three_phase": True}),
        ("one_cycle_other", {"anneal_strategy": "cos", "three_phase": False, "pct_start": 0.15, "div_factor": 10.0,
                             "final_div_factor": 100.0}),
    ):
        add(name, "OneCycleLR", 0.4, {**one, **extra})

    # The momentum that goes with the rates.
    for name, extra in (
        ("one_cycle_momentum", {"anneal_strategy": "cos", "three_phase": False}),
        ("one_cycle_momentum_linear", {"anneal_strategy": "linear", "three_phase": False}),
        ("one_cycle_momentum_three_phase", {"anneal_strategy": "cos", "three_phase": True}),
    ):
        args = {**one, **extra, "cycle_momentum": True, "base_momentum": 0.8, "max_momentum": 0.95}
        add(name, "OneCycleLR", 0.4, args)
        rows[-1]["momenta"] = run(0.4, lambda o, args=args: S.OneCycleLR(o, **args), key="momentum")
    down = {"start_factor": 1.0, "end_factor": 0.2, "total_iters": 25}
    add("chained", "ChainedScheduler", 0.1,
        {"schedulers": [{"schedule": "LinearLR", "args": warm}, {"schedule": "ExponentialLR", "args": exp},
                        {"schedule": "StepLR", "args": {"step_size": 9, "gamma": 0.5}},
                        {"schedule": "LinearLR", "args": down}]},
        lambda o: S.ChainedScheduler([S.LinearLR(o, **warm), S.ExponentialLR(o, **exp),
                                      S.StepLR(o, step_size=9, gamma=0.5), S.LinearLR(o, **down)]))
    # Parts with a floor of their own draw towards it; those that set the rate win over what stands before them.
    floor, again = {"T_max": 12, "eta_min": 0.01}, {"T_0": 10, "T_mult": 1, "eta_min": 0.02}
    for name, parts in (
        ("floor", (("CosineAnnealingLR", floor), ("ExponentialLR", exp))),
        ("floor_last", (("LinearLR", warm), ("ExponentialLR", exp), ("CosineAnnealingLR", floor))),
        ("floors", (("CosineAnnealingLR", floor), ("CosineAnnealingLR", {"T_max": 9, "eta_min": 0.03}))),
        ("set", (("ExponentialLR", exp), ("CosineAnnealingWarmRestarts", again), ("StepLR", {"step_size": 9, "gamma": 0.5}))),
        ("to_zero", (("PolynomialLR", {"total_iters": 20, "power": 2.0}), ("ExponentialLR", exp))),
    ):
        add(f"chained_{name}", "ChainedScheduler", 0.1,
            {"schedulers": [{"schedule": n, "args": a} for n, a in parts]},
            lambda o, parts=parts: S.ChainedScheduler([getattr(S, n)(o, **a) for n, a in parts]))
    cyclic = {"base_lr": 0.1, "max_lr": 0.5, "step_size_up": 5, "step_size_down": 8, "cycle_momentum": False}
    for mode in ("triangular", "triangular2", "exp_range"):
        add(f"cyclic_{mode}", "CyclicLR", 0.1, {**cyclic, "mode": mode, "gamma": 0.97})

    for name, args in (
        ("plateau", {"mode": "min", "factor": 0.5, "patience": 3, "threshold": 1e-4, "threshold_mode": "rel",
                     "cooldown": 0, "min_lr": 0.0}),
        ("plateau_cooldown", {"mode": "min", "factor": 0.1, "patience": 2, "threshold": 1e-3, "threshold_mode": "abs",
                              "cooldown": 4, "min_lr": 2e-3}),
        ("plateau_max", {"mode": "max", "factor": 0.3, "patience": 4, "threshold": 1e-4, "threshold_mode": "rel",
                         "cooldown": 1, "min_lr": 0.0}),
        ("plateau_max_abs", {"mode": "max", "factor": 0.5, "patience": 1, "threshold": 0.02, "threshold_mode": "abs",
                             "cooldown": 2, "min_lr": 1e-3}),
        ("plateau_eps", {"mode": "min", "factor": 0.5, "patience": 0, "threshold": 1e-4, "threshold_mode": "rel",
                         "cooldown": 0, "min_lr": 0.0, "eps": 0.004}),
    ):
        add(name, "ReduceLROnPlateau", 0.1, args, metrics=plateau_metrics(args["mode"]))

    # No PyTorch class: formulas of "Dive into Deep Learning", section 12.11, through LambdaLR.
    add("factor_floor", "factor", 0.1, {"factor": 0.9, "min_lr": 0.01},
        lambda o: S.LambdaLR(o, lambda t: max(0.01, 0.1 * 0.9**t) / 0.1), source="d2l 12.11: max(min_lr, lr * factor^t)")
    add("square_root", "square_root", 0.1, {}, lambda o: S.LambdaLR(o, lambda t: (t + 1) ** -0.5),
        source="d2l 12.11: lr * (t + 1)^-0.5")

    common.write_json("schedules.json", {"versions": common.versions(), "steps": STEPS}, "cases", rows)
    print(f"schedules: {len(rows)} cases")


if __name__ == "__main__":
    main()
