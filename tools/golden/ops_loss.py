"""Losses, each with the reductions mean, sum and none."""

import torch
import torch.nn.functional as F

from common import ints, randn, t, uniform

REDUCTIONS = ("mean", "sum", "none")


def each(r, op, fn, inputs, args=None, tag="", no_grad=(), reductions=REDUCTIONS):
    for red in reductions:
        a = dict(args or {}, reduction=red)
        r.case(op, lambda *x, a=a: fn(*x, **a), inputs, a, tag=(tag + "_" if tag else "") + red, no_grad=no_grad)


def run(r):
    r.seed("loss", 606)
    x, y = randn(3, 4), randn(3, 4)
    each(r, "mse_loss", F.mse_loss, {"input": x, "target": y})
    each(r, "l1_loss", F.l1_loss, {"input": x, "target": y})
    for beta in (1.0, 0.3):
        each(r, "smooth_l1_loss", F.smooth_l1_loss, {"input": x, "target": y}, {"beta": beta})
        each(r, "huber_loss", F.huber_loss, {"input": x, "target": y}, {"delta": beta})

    logits, cls = randn(5, 4), t([0, 3, 1, 1, 2], torch.int64)
    ignored = t([0, -100, 1, 2, -100], torch.int64)
    w = uniform(0.3, 2, 4)
    each(r, "cross_entropy", F.cross_entropy, {"input": logits, "target": cls})
    each(r, "cross_entropy", F.cross_entropy, {"input": logits, "target": cls}, {"label_smoothing": 0.1}, "smooth")
    each(r, "cross_entropy", F.cross_entropy, {"input": logits, "target": ignored}, {"ignore_index": -100}, "ignore")
    each(r, "cross_entropy", F.cross_entropy, {"input": logits, "target": cls}, {"ignore_index": 1}, "ignore1")

    def weighted(fn):
        return lambda x, y, w, **a: fn(x, y, weight=w, **a)

    each(r, "cross_entropy", weighted(F.cross_entropy), {"input": logits, "target": cls, "weight": w}, {}, "weight",
         no_grad=("weight",))
    each(r, "cross_entropy", weighted(F.cross_entropy), {"input": logits, "target": ignored, "weight": w},
         {"ignore_index": -100, "label_smoothing": 0.2}, "weight_ignore_smooth", no_grad=("weight",))
    probs = torch.softmax(randn(5, 4), 1)
    each(r, "cross_entropy", F.cross_entropy, {"input": logits, "target": probs}, {}, "probabilities",
         no_grad=("target",))
    each(r, "cross_entropy", weighted(F.cross_entropy), {"input": logits, "target": probs, "weight": w},
         {"label_smoothing": 0.1}, "probabilities_weight_smooth", no_grad=("weight", "target"))
    each(r, "cross_entropy", F.cross_entropy, {"input": randn(2, 3, 2, 2), "target": ints(0, 3, 2, 2, 2)}, {}, "2d")
    each(r, "cross_entropy", F.cross_entropy, {"input": randn(4), "target": t(2, torch.int64)}, {}, "unbatched")
    each(r, "cross_entropy", F.cross_entropy, {"input": t([[1000.0, 0.0, -1000.0]]), "target": t([1], torch.int64)},
         {}, "far", reductions=("mean",))

    logp = torch.log_softmax(randn(5, 4), 1)
    each(r, "nll_loss", F.nll_loss, {"input": logp, "target": cls})
    each(r, "nll_loss", F.nll_loss, {"input": logp, "target": ignored}, {"ignore_index": -100}, "ignore")
    each(r, "nll_loss", weighted(F.nll_loss), {"input": logp, "target": cls, "weight": w}, {}, "weight",
         no_grad=("weight",))
    each(r, "nll_loss", F.nll_loss, {"input": torch.log_softmax(randn(2, 3, 4), 1), "target": ints(0, 3, 2, 4)}, {},
         "1d")

    p, q = uniform(0.05, 0.95, 3, 4), ints(0, 2, 3, 4).double()
    each(r, "binary_cross_entropy", F.binary_cross_entropy, {"input": p, "target": q}, no_grad=("target",))
    each(r, "binary_cross_entropy", weighted(F.binary_cross_entropy),
         {"input": p, "target": uniform(0, 1, 3, 4), "weight": uniform(0.5, 2, 3, 4)}, {}, "weight",
         no_grad=("target", "weight"))
    # log is held at -100, as PyTorch does.
    each(r, "binary_cross_entropy", F.binary_cross_entropy,
         {"input": t([0.0, 1.0, 0.0, 1.0]), "target": t([0.0, 1.0, 1.0, 0.0])}, {}, "edge", reductions=("none",),
         no_grad=("target", "input"))
    z = randn(3, 4)
    each(r, "binary_cross_entropy_with_logits", F.binary_cross_entropy_with_logits, {"input": z, "target": q},
         no_grad=("target",))
    each(r, "binary_cross_entropy_with_logits", lambda x, y, pw, **a: F.binary_cross_entropy_with_logits(
        x, y, pos_weight=pw, **a), {"input": z, "target": q, "pos_weight": uniform(0.5, 3, 4)}, {}, "pos_weight",
        no_grad=("target", "pos_weight"))
    each(r, "binary_cross_entropy_with_logits", lambda x, y, w, pw, **a: F.binary_cross_entropy_with_logits(
        x, y, weight=w, pos_weight=pw, **a), {"input": z, "target": q, "weight": uniform(0.5, 2, 3, 4),
                                              "pos_weight": uniform(0.5, 3, 4)}, {}, "weight_pos_weight",
        no_grad=("target", "pos_weight", "weight"))
    each(r, "binary_cross_entropy_with_logits", F.binary_cross_entropy_with_logits,
         {"input": t([-500.0, 500.0, -500.0, 500.0]), "target": t([0.0, 1.0, 1.0, 0.0])}, {}, "far",
         no_grad=("target",))

    a, b = torch.log_softmax(randn(3, 4), 1), torch.softmax(randn(3, 4), 1)
    kl = REDUCTIONS + ("batchmean",)
    each(r, "kl_div", F.kl_div, {"input": a, "target": b}, {"log_target": False}, reductions=kl)
    each(r, "kl_div", F.kl_div, {"input": a, "target": b.log()}, {"log_target": True}, "log_target", reductions=kl)
    each(r, "kl_div", F.kl_div, {"input": a[:1], "target": t([[0.0, 0.5, 0.5, 0.0]])}, {"log_target": False}, "zeros",
         no_grad=("target",))
    sign = t([1.0, -1.0, 1.0, -1.0])
    each(r, "hinge_embedding_loss", F.hinge_embedding_loss, {"input": uniform(-1, 2, 3, 4), "target": sign},
         {"margin": 1.0}, no_grad=("target",))
    each(r, "margin_ranking_loss", F.margin_ranking_loss,
         {"input1": randn(4), "input2": randn(4), "target": sign}, {"margin": 0.3}, no_grad=("target",))
    for p, swap in ((2.0, False), (2.0, True), (1.0, False)):
        each(r, "triplet_margin_loss", F.triplet_margin_loss,
             {"anchor": randn(4, 3), "positive": randn(4, 3), "negative": randn(4, 3)},
             {"margin": 1.0, "p": p, "eps": 1e-6, "swap": swap}, "swap" if swap else f"p{int(p)}")
    each(r, "cosine_embedding_loss", F.cosine_embedding_loss,
         {"input1": randn(4, 3), "input2": randn(4, 3), "target": sign}, {"margin": 0.1}, no_grad=("target",))
    each(r, "soft_margin_loss", F.soft_margin_loss, {"input": randn(4), "target": sign}, no_grad=("target",))
    each(r, "multi_margin_loss", F.multi_margin_loss, {"input": logits, "target": cls}, {"p": 1, "margin": 1.0})
    each(r, "gaussian_nll_loss", F.gaussian_nll_loss,
         {"input": randn(3, 2), "target": randn(3, 2), "var": uniform(0.5, 2, 3, 2)}, {"full": False, "eps": 1e-6},
         no_grad=("target",))
    each(r, "poisson_nll_loss", F.poisson_nll_loss,
         {"input": randn(3, 2), "target": ints(0, 5, 3, 2).double()}, {"log_input": True, "full": False},
         no_grad=("target",))
