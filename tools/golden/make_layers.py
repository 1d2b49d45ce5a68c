"""layers.json and layers.safetensors: options of layers and losses that ops.json does not have."""

import torch
import torch.nn.functional as F

import common
from common import ints, randn, t, uniform

MODES = ("reflect", "replicate", "circular")


def convs(r):
    r.seed("conv", 901)
    layers = {1: torch.nn.Conv1d, 2: torch.nn.Conv2d, 3: torch.nn.Conv3d}

    def conv(n, xs, outs, kernel, mode, tag, **a):
        layer = layers[n](xs[1], outs, kernel, padding_mode=mode, **a).double()

        def run(x, w, b):
            return torch.func.functional_call(layer, {"weight": w, "bias": b}, (x,))

        ins = {"input": randn(*xs), "weight": randn(*layer.weight.shape), "bias": randn(outs)}
        args = {"stride": [1] * n, "padding": [0] * n, "dilation": [1] * n, "groups": 1, **a, "padding_mode": mode}
        for k in ("stride", "padding", "dilation"):
            args[k] = args[k] if isinstance(args[k], str) else list(args[k])
        r.case(f"conv{n}d", run, ins, args, tag=f"{mode}_{tag}")

    for m in MODES:
        conv(1, (2, 2, 7), 3, 3, m, "plain", padding=(2,))
        conv(1, (1, 2, 8), 2, 4, m, "same_even", padding="same")
        conv(2, (1, 2, 5, 6), 2, (3, 2), m, "all", padding=(2, 1), stride=(2, 1), dilation=(1, 2), groups=2)
        conv(2, (1, 1, 6, 5), 2, 3, m, "same", padding="same", dilation=(2, 1))
        conv(2, (1, 1, 6, 5), 2, 3, m, "valid", padding="valid")
        conv(3, (1, 1, 3, 4, 4), 2, (2, 3, 2), m, "plain", padding=(1, 1, 2))


def embeddings(r):
    r.seed("embedding", 902)
    x = t([[1, 3, 1], [0, 1, 4]], torch.int64)
    for tag, a in (("freq", {"scale_grad_by_freq": True}), ("freq_padding", {"scale_grad_by_freq": True,
                                                                            "padding_idx": 1})):
        w = randn(5, 3)
        if "padding_idx" in a:
            w[a["padding_idx"]] = 0
        r.case("embedding", lambda i, w, a=a: F.embedding(i, w, **a), {"input": x, "weight": w}, a, tag=tag)
    # These change the table, which is a second output.
    for tag, a in (("max_norm", {"max_norm": 1.0}), ("max_norm_1", {"max_norm": 0.7, "norm_type": 1.0}),
                   ("max_norm_all", {"max_norm": 1.5, "norm_type": 3.0, "padding_idx": 3, "scale_grad_by_freq": True})):
        def both(i, w, a=a):
            y = F.embedding(i, w, **a)
            return y, w.detach().clone()

        r.case("embedding", both, {"input": x, "weight": randn(5, 3)}, a, tag=tag)


def batch_norms(r):
    r.seed("norm", 903)
    for tag, a in (("cumulative", {"momentum": None}), ("momentum", {"momentum": 0.3}),
                   ("no_stats", {"track_running_stats": False}), ("no_affine", {"affine": False})):
        layer = torch.nn.BatchNorm2d(2, **a).double()
        for p in layer.parameters():
            torch.nn.init.normal_(p)
        stats = lambda: [layer.running_mean.clone(), layer.running_var.clone()] if layer.running_mean is not None else []
        params = {"weight": layer.weight, "bias": layer.bias} if layer.affine else {}
        inputs = {f"input{i}": randn(3, 2, 2, 2) for i in range(4)}

        # Three batches in training, then one in evaluation.
        def run(*xs):
            out = []
            for i, x in enumerate(xs[:4]):
                layer.train(i < 3)
                with_params = dict(zip(params, xs[4:]))
                out.append(torch.func.functional_call(layer, with_params, (x,)) if with_params else layer(x))
            return (*out, *stats())

        r.case("batch_norm_steps", run, {**inputs, **params}, a, tag=tag)


def losses(r):
    r.seed("loss", 904)
    x, cls, w = randn(5, 4), t([0, 3, 1, 1, 2], torch.int64), uniform(0.3, 2, 4)

    def each(op, fn, inputs, args, tag="", no_grad=("target", "weight")):
        for red in ("mean", "sum", "none"):
            a = {**args, "reduction": red}
            r.case(op, lambda *v, a=a: fn(*v, **a), inputs, a, tag=(tag + "_" if tag else "") + red, no_grad=no_grad)

    def weighted(fn):
        return lambda x, y, w, **a: fn(x, y, weight=w, **a)

    each("multi_margin_loss", F.multi_margin_loss, {"input": x, "target": cls}, {"p": 2, "margin": 0.7}, "p2")
    each("multi_margin_loss", weighted(F.multi_margin_loss), {"input": x, "target": cls, "weight": w},
         {"p": 1, "margin": 1.0}, "weight")
    each("poisson_nll_loss", F.poisson_nll_loss, {"input": uniform(0.1, 3, 3, 2), "target": ints(0, 5, 3, 2).double()},
         {"log_input": False, "full": True, "eps": 1e-6}, "rates_full")
    for tag, var in (("full", uniform(0.5, 2, 3, 2)), ("one_wide", uniform(0.5, 2, 3, 1)), ("rows", uniform(0.5, 2, 3))):
        each("gaussian_nll_loss", F.gaussian_nll_loss, {"input": randn(3, 2), "target": randn(3, 2), "var": var},
             {"full": True, "eps": 1e-6}, tag)
    labels = ints(0, 2, 3, 4).double()
    each("multilabel_soft_margin_loss", F.multilabel_soft_margin_loss, {"input": randn(3, 4), "target": labels}, {})
    each("multilabel_soft_margin_loss", weighted(F.multilabel_soft_margin_loss),
         {"input": randn(3, 4), "target": labels, "weight": w}, {}, "weight")
    each("multilabel_margin_loss", F.multilabel_margin_loss,
         {"input": randn(4, 4), "target": t([[3, 0, -1, 1], [2, -1, 0, 0], [-1, 0, 1, 2], [0, 1, 2, 3]], torch.int64)}, {})
    each("multilabel_margin_loss", F.multilabel_margin_loss,
         {"input": randn(4), "target": t([1, 2, -1, 3], torch.int64)}, {}, "unbatched")
    each("cross_entropy", weighted(F.cross_entropy),
         {"input": randn(2, 3, 4), "target": torch.softmax(randn(2, 3, 4), 1), "weight": uniform(0.3, 2, 3)},
         {"label_smoothing": 0.2}, "probabilities_1d")
    each("cross_entropy", weighted(F.cross_entropy),
         {"input": randn(2, 3, 4), "target": t([[0, 1, -7, 2], [2, 2, 1, -7]], torch.int64),
          "weight": uniform(0.3, 2, 3)}, {"ignore_index": -7, "label_smoothing": 0.2}, "1d_all")
    each("triplet_margin_loss", F.triplet_margin_loss,
         {"anchor": randn(4, 3), "positive": randn(4, 3), "negative": randn(4, 3)},
         {"margin": 0.5, "p": 3.0, "eps": 1e-4, "swap": True}, "p3_swap", no_grad=())
    each("kl_div", F.kl_div, {"input": torch.log_softmax(randn(2, 3, 2), 1), "target": torch.softmax(randn(2, 3, 2), 1)},
         {"log_target": False}, "3d")
    sign = t([1.0, -1.0, 1.0])
    each("hinge_embedding_loss", F.hinge_embedding_loss, {"input": uniform(0, 2, 3), "target": sign}, {"margin": 0.6})


def main():
    r = common.Recorder()
    convs(r)
    embeddings(r)
    batch_norms(r)
    losses(r)
    common.write_tensors("layers.safetensors", r.tensors)
    common.write_json("layers.json", {"versions": common.versions()}, "cases", r.cases)
    print(f"layers: {len(r.cases)} cases")


if __name__ == "__main__":
    main()
