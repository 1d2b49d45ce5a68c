"""Matrix products, softmax, normalisation, convolution, pooling, attention."""

import torch
import torch.nn.functional as F

from common import NAMES, ints, randn, t, uniform


def run(r):
    products(r)
    norms(r)
    convs(r)
    pools(r)


def products(r):
    r.seed("matmul", 505)
    for a, b in (((4,), (4,)), ((4,), (4, 3)), ((2, 4), (4,)), ((2, 4), (4, 3)), ((3, 2, 4), (4, 2)),
                 ((2, 4), (3, 4, 2)), ((3, 2, 4), (3, 4, 2)), ((2, 1, 2, 3), (3, 3, 2)), ((4,), (2, 4, 3)),
                 ((2, 3, 4), (4,)), ((1, 2, 3), (4, 3, 2)), ((2, 0), (0, 3)), ((0, 2), (2, 3)), ((1, 1), (1, 1))):
        tag = "x".join("".join(map(str, s)) for s in (a, b))
        r.case("matmul", torch.matmul, {"input": randn(*a), "other": randn(*b)}, tag=tag)
    r.case("matmul", lambda a, b: torch.matmul(a.t(), b.t()), {"input": randn(4, 2), "other": randn(3, 4)},
           {"transpose_input": True, "transpose_other": True}, tag="transposed")
    r.case("matmul", torch.matmul, {"input": ints(-5, 5, 2, 3), "other": ints(-5, 5, 3, 2)}, tag="i64")
    for d in (torch.float32, torch.float16, torch.bfloat16):
        r.case("matmul", torch.matmul, {"input": randn(3, 5).to(d), "other": randn(5, 2).to(d)}, tag=NAMES[d],
               grad=False)
    for shape in ((2, 4), (4,), (2, 3, 4)):
        r.case("linear", F.linear, {"input": randn(*shape), "weight": randn(3, 4), "bias": randn(3)})
    r.case("linear", F.linear, {"input": randn(2, 4), "weight": randn(3, 4)}, tag="no_bias")
    r.case("outer", torch.outer, {"input": randn(3), "vec2": randn(2)})
    for eq, shapes in (
        ("ij,jk->ik", ((2, 3), (3, 4))),
        ("bij,bkj->bik", ((2, 2, 3), (2, 4, 3))),
        ("ii->i", ((3, 3),)),
        ("ii", ((3, 3),)),
        ("i,j->ij", ((3,), (2,))),
        ("ijk->kji", ((2, 3, 4),)),
        ("ij->j", ((2, 3),)),
        ("bhqd,bhkd->bhqk", ((1, 2, 3, 2), (1, 2, 4, 2))),
        ("...ij,...jk", ((2, 2, 3), (1, 3, 2))),
        ("ab,bc,cd->ad", ((2, 3), (3, 2), (2, 3))),
        ("bn,anm,bm->ba", ((2, 3), (4, 3, 2), (2, 2))),
        ("ij,ij->", ((2, 3), (2, 3))),
        ("b i, b j -> b i j", ((2, 3), (2, 2))),
        ("...a->a...", ((2, 3, 2),)),
    ):
        ins = {f"t{i}": randn(*s) for i, s in enumerate(shapes)}
        r.case("einsum", lambda *x, eq=eq: torch.einsum(eq, *x), ins, {"equation": eq})


def norms(r):
    r.seed("norm", 506)
    for name in ("softmax", "log_softmax", "softmin"):
        fn = getattr(F, name)
        for dim in (0, 1, -1):
            r.case(name, lambda x, fn=fn, dim=dim: fn(x, dim), {"input": randn(2, 3, 4)}, {"dim": dim})
        r.case(name, lambda x, fn=fn: fn(x, 1), {"input": t([[1e3, 0.0, -1e3], [-1e3, -1001.0, -1002.0]])}, {"dim": 1},
               tag="far")
    r.case("softmax", lambda x: F.softmax(x, -1), {"input": t([[0.5, float("-inf"), 1.0]])}, {"dim": -1}, tag="masked")
    r.case("layer_norm", lambda x: F.layer_norm(x, [4]), {"input": randn(2, 3, 4)},
           {"normalized_shape": [4], "eps": 1e-5}, tag="plain")
    r.case("layer_norm", lambda x, w, b: F.layer_norm(x, [4], w, b),
           {"input": randn(2, 3, 4), "weight": randn(4), "bias": randn(4)}, {"normalized_shape": [4], "eps": 1e-5})
    r.case("layer_norm", lambda x, w, b: F.layer_norm(x, [3, 4], w, b, 1e-2),
           {"input": randn(2, 3, 4), "weight": randn(3, 4), "bias": randn(3, 4)},
           {"normalized_shape": [3, 4], "eps": 1e-2}, tag="two_dims")
    r.case("layer_norm", lambda x, w: F.layer_norm(x, [4], w),
           {"input": randn(2, 4), "weight": randn(4)}, {"normalized_shape": [4], "eps": 1e-5}, tag="no_bias")
    r.case("rms_norm", lambda x, w: F.rms_norm(x, [4], w, 1e-6),
           {"input": randn(2, 3, 4), "weight": randn(4)}, {"normalized_shape": [4], "eps": 1e-6})
    r.case("rms_norm", lambda x: F.rms_norm(x, [3, 4], None, 1e-3),
           {"input": randn(2, 3, 4)}, {"normalized_shape": [3, 4], "eps": 1e-3}, tag="plain")
    for g in (1, 2, 4):
        r.case("group_norm", lambda x, w, b, g=g: F.group_norm(x, g, w, b),
               {"input": randn(2, 4, 3), "weight": randn(4), "bias": randn(4)}, {"num_groups": g, "eps": 1e-5})
    r.case("group_norm", lambda x: F.group_norm(x, 2, eps=1e-3), {"input": randn(1, 4, 2, 3)},
           {"num_groups": 2, "eps": 1e-3}, tag="plain")
    r.case("instance_norm", lambda x, w, b: F.instance_norm(x, weight=w, bias=b),
           {"input": randn(2, 3, 5), "weight": randn(3), "bias": randn(3)}, {"eps": 1e-5})
    r.case("instance_norm", lambda x: F.instance_norm(x, eps=1e-2), {"input": randn(2, 3, 2, 3)}, {"eps": 1e-2},
           tag="plain")

    # Outputs: the result, then (training only) the running statistics after the call.
    def bn(train, momentum, eps):
        def f(x, m, v, w=None, b=None):
            m, v = m.clone(), v.clone()
            y = F.batch_norm(x, m, v, w, b, train, momentum, eps)
            return (y, m, v) if train else y
        return f

    for shape in ((4, 3), (2, 3, 4), (2, 3, 2, 3), (2, 2, 2, 2, 2)):
        c = shape[1]
        for train in (True, False):
            a = {"training": train, "momentum": 0.1, "eps": 1e-5}
            r.case("batch_norm", bn(**{"train": train, "momentum": 0.1, "eps": 1e-5}),
                   {"input": randn(*shape), "running_mean": randn(c), "running_var": uniform(0.5, 2, c),
                    "weight": randn(c), "bias": randn(c)}, a, tag="train" if train else "eval",
                   no_grad=("running_mean", "running_var"))
    r.case("batch_norm", bn(True, 0.3, 1e-2),
           {"input": randn(4, 3), "running_mean": randn(3), "running_var": uniform(0.5, 2, 3)},
           {"training": True, "momentum": 0.3, "eps": 1e-2}, tag="train_plain", no_grad=("running_mean", "running_var"))
    r.case("normalize", lambda x: F.normalize(x, 2.0, 1), {"input": randn(2, 4)}, {"p": 2, "dim": 1, "eps": 1e-12})
    r.case("cosine_similarity", lambda a, b: F.cosine_similarity(a, b, 1), {"x1": randn(3, 4), "x2": randn(3, 4)},
           {"dim": 1, "eps": 1e-8})
    q, k, v = randn(1, 2, 3, 4), randn(1, 2, 5, 4), randn(1, 2, 5, 3)
    r.case("scaled_dot_product_attention", F.scaled_dot_product_attention, {"query": q, "key": k, "value": v})
    r.case("scaled_dot_product_attention", lambda q, k, v: F.scaled_dot_product_attention(q, k, v, is_causal=True),
           {"query": randn(1, 2, 4, 3), "key": randn(1, 2, 4, 3), "value": randn(1, 2, 4, 3)}, {"is_causal": True},
           tag="causal")
    mask = ints(0, 2, 3, 5) > 0
    mask[:, 0] = True
    r.case("scaled_dot_product_attention",
           lambda q, k, v, m: F.scaled_dot_product_attention(q, k, v, attn_mask=m, scale=0.3),
           {"query": q, "key": k, "value": v, "attn_mask": mask}, {"scale": 0.3}, tag="mask")

    def masked(q, k, v, m):
        return F.scaled_dot_product_attention(q, k, v, attn_mask=m)

    # A query that sees no key; masks that repeat; a mask with a gradient.
    nothing = mask.clone()
    nothing[0, 1] = False
    r.case("scaled_dot_product_attention", masked, {"query": q, "key": k, "value": v, "attn_mask": nothing}, tag="nothing")
    padding = ints(0, 2, 1, 1, 1, 5) > 0
    padding[..., 0] = True
    r.case("scaled_dot_product_attention", masked, {"query": q, "key": k, "value": v, "attn_mask": padding}, tag="padding")
    for shape in ((1, 2, 3, 5), (2, 1, 5), (3, 1), (5,)):
        r.case("scaled_dot_product_attention", masked,
               {"query": q, "key": k, "value": v, "attn_mask": randn(*shape)}, tag=f"added{len(shape)}")

    def grouped(q, k, v):
        return F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)

    for n, m in ((4, 4), (2, 5), (5, 2), (1, 6)):
        r.case("scaled_dot_product_attention", grouped,
               {"query": randn(2, 4, n, 3), "key": randn(2, 2, m, 3), "value": randn(2, 2, m, 3)},
               {"is_causal": True}, tag=f"grouped_{n}_{m}")
    r.case("scaled_dot_product_attention", F.scaled_dot_product_attention,
           {"query": randn(3, 4), "key": randn(5, 4), "value": randn(5, 2)}, tag="single")
    # More than one tile of queries and of keys.
    r.case("scaled_dot_product_attention", lambda q, k, v: F.scaled_dot_product_attention(q, k, v, is_causal=True),
           {"query": randn(1, 1, 70, 4), "key": randn(1, 1, 140, 4), "value": randn(1, 1, 140, 4)},
           {"is_causal": True}, tag="tiles")


def convs(r):
    r.seed("conv", 507)
    rank = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
    trank = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}

    def conv(n, xs, ws, tag, bias=True, **a):
        args = {"stride": [1] * n, "padding": [0] * n, "dilation": [1] * n, "groups": 1, **a}
        ins = {"input": randn(*xs), "weight": randn(*ws)}
        if bias:
            ins["bias"] = randn(ws[0])
        r.case(f"conv{n}d", lambda x, w, b=None: rank[n](x, w, b, **args), ins, args, tag=tag)

    conv(1, (2, 2, 7), (3, 2, 3), "plain")
    conv(1, (1, 2, 8), (2, 2, 3), "stride_pad", stride=[2], padding=[1])
    conv(1, (1, 2, 9), (2, 2, 3), "dilation", dilation=[3], padding=[2], bias=False)
    conv(1, (1, 4, 6), (6, 2, 2), "groups", groups=2)
    conv(1, (1, 1, 7), (1, 1, 4), "same_even", padding="same")
    conv(1, (1, 2, 7), (2, 2, 3), "same_dilated", padding="same", dilation=[2])
    conv(1, (1, 2, 7), (2, 2, 3), "valid", padding="valid")
    conv(1, (1, 1, 3), (1, 1, 3), "one_out")
    conv(2, (2, 2, 5, 4), (3, 2, 3, 2), "plain")
    conv(2, (1, 2, 6, 5), (2, 2, 3, 3), "stride_pad", stride=[2, 1], padding=[1, 2])
    conv(2, (1, 2, 7, 6), (2, 2, 3, 2), "dilation", dilation=[2, 3], padding=[0, 1], bias=False)
    conv(2, (1, 4, 4, 4), (4, 2, 2, 2), "groups", groups=2)
    conv(2, (1, 3, 4, 5), (3, 1, 3, 3), "depthwise", groups=3, padding=[1, 1])
    conv(2, (1, 2, 4, 4), (4, 1, 3, 3), "depthwise_mult", groups=2, stride=[2, 2], padding=[1, 1])
    conv(2, (2, 3, 3, 3), (4, 3, 1, 1), "pointwise")
    conv(2, (1, 1, 5, 4), (2, 1, 4, 3), "same_mixed", padding="same")
    conv(2, (1, 2, 6, 6), (2, 1, 3, 3), "all", stride=[2, 3], padding=[2, 1], dilation=[2, 1], groups=2)
    conv(3, (1, 2, 3, 4, 3), (2, 2, 2, 3, 2), "plain")
    conv(3, (1, 2, 4, 3, 4), (2, 1, 2, 2, 2), "all", stride=[2, 1, 2], padding=[1, 0, 1], dilation=[1, 2, 2], groups=2)
    conv(3, (1, 1, 3, 3, 3), (1, 1, 3, 2, 3), "same", padding="same", bias=False)

    def convt(n, xs, ws, tag, bias=True, **a):
        args = {"stride": [1] * n, "padding": [0] * n, "output_padding": [0] * n, "groups": 1, "dilation": [1] * n, **a}
        ins = {"input": randn(*xs), "weight": randn(*ws)}
        if bias:
            ins["bias"] = randn(ws[1] * args["groups"])
        r.case(f"conv_transpose{n}d", lambda x, w, b=None: trank[n](x, w, b, **args), ins, args, tag=tag)

    convt(1, (2, 2, 4), (2, 3, 3), "plain")
    convt(1, (1, 2, 4), (2, 2, 3), "stride", stride=[2], padding=[1], output_padding=[1])
    convt(1, (1, 4, 3), (4, 1, 3), "groups", groups=2, dilation=[2], bias=False)
    convt(2, (1, 2, 3, 3), (2, 3, 2, 3), "plain")
    convt(2, (1, 2, 3, 2), (2, 2, 3, 3), "stride", stride=[2, 3], padding=[1, 0], output_padding=[1, 2])
    convt(2, (1, 4, 3, 3), (4, 2, 2, 2), "groups", groups=2, dilation=[2, 1], padding=[1, 0], bias=False)
    convt(2, (1, 2, 3, 3), (2, 2, 4, 4), "double", stride=[2, 2], padding=[1, 1])
    convt(3, (1, 2, 2, 3, 2), (2, 1, 2, 2, 3), "plain")
    convt(3, (1, 2, 2, 2, 2), (2, 1, 3, 2, 2), "all", stride=[2, 1, 2], padding=[1, 0, 1], output_padding=[1, 0, 1],
          groups=2, dilation=[1, 2, 1])


def pools(r):
    r.seed("pool", 508)
    sizes = {1: (2, 2, 9), 2: (1, 2, 7, 6), 3: (1, 1, 5, 4, 5)}
    for n in (1, 2, 3):
        fn = getattr(F, f"max_pool{n}d")
        for k, s, p, d, c, tag in ((2, 2, 0, 1, False, "plain"), (3, 2, 1, 1, False, "overlap"),
                                   (3, 2, 0, 1, True, "ceil"), (2, 1, 1, 2, False, "dilation"),
                                   (3, 3, 1, 1, True, "ceil_pad")):
            a = {"kernel_size": [k] * n, "stride": [s] * n, "padding": [p] * n, "dilation": [d] * n, "ceil_mode": c}
            r.case(f"max_pool{n}d", lambda x, fn=fn, a=a: fn(x, **a), {"input": randn(*sizes[n])}, a, tag=tag)
        fn = getattr(F, f"avg_pool{n}d")
        for k, s, p, c, tag in ((2, 2, 0, False, "plain"), (3, 2, 1, False, "pad"), (3, 2, 1, True, "ceil_pad"),
                                (3, 2, 0, True, "ceil"), (2, 1, 1, False, "overlap")):
            for inc in (True, False):
                a = {"kernel_size": [k] * n, "stride": [s] * n, "padding": [p] * n, "ceil_mode": c,
                     "count_include_pad": inc}
                r.case(f"avg_pool{n}d", lambda x, fn=fn, a=a: fn(x, **a), {"input": randn(*sizes[n])}, a,
                       tag=tag + ("" if inc else "_exclude"))
        for kind in ("avg", "max"):
            fn = getattr(F, f"adaptive_{kind}_pool{n}d")
            for out in (1, 2, 3, 4):
                a = {"output_size": [out] * n}
                r.case(f"adaptive_{kind}_pool{n}d", lambda x, fn=fn, a=a: fn(x, **a), {"input": randn(*sizes[n])}, a)
    a = {"kernel_size": [2, 3], "stride": [1, 2], "padding": [1, 0], "dilation": [2, 1], "ceil_mode": True}
    r.case("max_pool2d", lambda x: F.max_pool2d(x, **a), {"input": randn(2, 1, 5, 6)}, a, tag="mixed")
    b = {"kernel_size": [3, 2], "stride": [2, 1], "padding": [1, 1], "ceil_mode": True, "count_include_pad": True}
    r.case("avg_pool2d", lambda x: F.avg_pool2d(x, **b), {"input": randn(2, 1, 6, 5)}, b, tag="mixed")
    c = {"output_size": [3, 2]}
    r.case("adaptive_avg_pool2d", lambda x: F.adaptive_avg_pool2d(x, **c), {"input": randn(1, 2, 5, 7)}, c, tag="mixed")
    # Ties: the first place in a window gets the gradient.
    x = t([[[[1.0, 1.0, 0.0], [1.0, 1.0, 2.0], [0.0, 2.0, 2.0]]]])
    a = {"kernel_size": [2, 2], "stride": [1, 1], "padding": [0, 0], "dilation": [1, 1], "ceil_mode": False}
    r.case("max_pool2d", lambda x: F.max_pool2d(x, **a), {"input": x}, a, tag="ties")
    neg = -uniform(1, 2, 1, 1, 4, 4)
    a2 = {"kernel_size": [3, 3], "stride": [2, 2], "padding": [1, 1], "dilation": [1, 1], "ceil_mode": False}
    r.case("max_pool2d", lambda x: F.max_pool2d(x, **a2), {"input": neg}, a2, tag="all_negative_pad")
    for n in (2, 3):
        fn = getattr(F, f"avg_pool{n}d")
        for c, inc in ((False, True), (True, False)):
            d = {"kernel_size": [3] * n, "stride": [2] * n, "padding": [1] * n, "ceil_mode": c, "count_include_pad": inc,
                 "divisor_override": 5}
            r.case(f"avg_pool{n}d", lambda x, fn=fn, d=d: fn(x, **d), {"input": randn(*sizes[n])}, d, tag="divisor")
    for n in (1, 2, 3):
        pool, fn = getattr(F, f"max_pool{n}d"), getattr(F, f"max_unpool{n}d")
        for k, s, p, out in ((2, 2, 0, None), (3, 3, 1, sizes[n][2:]), (2, 2, 0, sizes[n][2:])):
            a = {"kernel_size": [k] * n, "stride": [s] * n, "padding": [p] * n}
            shape = sizes[n] if out else (2, 2) + (4,) * n
            y, at = pool(randn(*shape), **a, return_indices=True)
            o = {"output_size": list(out)} if out else {}
            r.case(f"max_unpool{n}d", lambda y, at, fn=fn, a={**a, **o}: fn(y, at, **a), {"input": y, "indices": at},
                   {**a, **o}, tag="sized" if out else "")
