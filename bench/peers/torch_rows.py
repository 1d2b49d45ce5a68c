"""The workloads in PyTorch. `FORWARD` has what is only computed forward, as modules: ONNX Runtime gets the same."""

import torch
from torch import nn
from torch.nn import functional as F

import fill
from torch_models import Bert, Gpt, LeNet, Mlp, MobileNetV2, Past, ResNet18, StaticPast, filled

HEADS = (8, 8, 256, 64)
MAPS = (32, 64, 56, 56)
WIDE = (32, 64, 112, 112)


def data(name, *shape):
    return torch.from_numpy(fill.values(name, shape))


def weight(name, *shape):
    return torch.from_numpy(fill.parameter(name, shape))


def index(name, n, *shape):
    return torch.from_numpy(fill.indices(name, shape, n))


class Function(nn.Module):
    """`f(inputs.., weights..)` with the weights as buffers, so that an export may prepare them."""

    def __init__(self, f, weights=()):
        super().__init__()
        self.f, self.names = f, [f"weight{i}" for i in range(len(weights))]
        for name, w in zip(self.names, weights):
            self.register_buffer(name, w)

    def forward(self, *inputs):
        return self.f(*inputs, *(getattr(self, n) for n in self.names))


def matmul(m, k, n):
    return lambda: (Function(lambda a, b: a @ b), (data("a", m, k), data("b", k, n)))


def layouts(f):
    return lambda: (Function(f), (data("a", 512, 512), data("b", 512, 512)))


def on_wide(f):
    return lambda: (Function(f), (data("x", *WIDE),))


def on_rows(f, *weights):
    ws = tuple((n, 1024) for n in weights)
    return lambda: (Function(f, [weight(*w) for w in ws]), (data("x", 4096, 1024),))


def on_square(f):
    return lambda: (Function(f), (data("x", 4096, 4096),))


class Conv:
    """A convolution of square images by a square kernel, without bias."""

    def __init__(self, start=64, to=64, size=56, batch=32, kernel=3, transposed=False, **options):
        self.x, self.transposed = (batch, start, size, size), transposed
        self.options = {"padding": 1, **options}
        rows, columns = (start, to) if transposed else (to, start)
        self.w = (rows, columns // self.options.get("groups", 1), kernel, kernel)

    def f(self, x, w):
        return (F.conv_transpose2d if self.transposed else F.conv2d)(x, w, **self.options)

    def forward(self):
        return Function(self.f, [weight("conv.weight", *self.w)]), (data("x", *self.x),)

    def both(self, torch_):
        return torch_.both(self.f, data("x", *self.x), weight("conv.weight", *self.w))

    def backward(self, mask):
        """Only the gradient by the input or by the weight."""
        x, w = data("x", *self.x), weight("conv.weight", *self.w)
        g = data("g", *self.f(x, w).shape)
        which = mask.index(True)
        f = torch.ops.aten.convolution_backward
        return lambda: [f(g, x, w, None, [1, 1], [1, 1], [1, 1], False, [0, 0], 1, mask)[which]]


def norm(x, r, w, b, mean, var):
    return F.relu(F.batch_norm(x, mean, var, w, b, False, 0.0, 1e-5) + r)


def norm_weights():
    return [weight(n, 64) for n in ("weight", "bias", "running_mean", "running_var")]


def image_model(make, n):
    return lambda: (filled(make(1000)).eval(), (data("x", n, 3, 224, 224),))


def minilm(n):
    return lambda: (filled(Bert(30522, 512, 6, 384, 12, 1536)).eval(), (index("tokens", 30522, n, 128),))


SAME = Conv()
FORWARD = {
    **{f"matmul_{n}": matmul(n, n, n) for n in (16, 32, 64, 128, 256, 512, 1024)},
    "matmul_32x4096x1024": matmul(32, 4096, 1024),
    "matmul_tall_8192x256x64": matmul(8192, 256, 64),
    "matmul_flat_64x256x8192": matmul(64, 256, 8192),
    "matmul_batched_64x128": lambda: (
        Function(lambda a, b: a @ b), (data("a", 64, 128, 128), data("b", 64, 128, 128))),
    "matmul_nt_512": layouts(lambda a, b: a @ b.T),
    "matmul_tn_512": layouts(lambda a, b: a.T @ b),
    "matmul_tt_512": layouts(lambda a, b: a.T @ b.T),
    "matmul_bf16_1024": lambda: (
        Function(lambda a, b: a @ b), (data("a", 1024, 1024).bfloat16(), data("b", 1024, 1024).bfloat16())),
    "linear_gelu_1024x384x1536": lambda: (
        Function(lambda x, w, b: F.gelu(F.linear(x, w, b)), [weight("fc.weight", 1536, 384), weight("fc.bias", 1536)]),
        (data("x", 1024, 384),)),
    "sdpa_fwd": lambda: (
        Function(lambda q, k, v: F.scaled_dot_product_attention(q, k, v, is_causal=True)),
        tuple(data(n, *HEADS) for n in "qkv")),
    "chain": lambda: (Function(lambda x: F.gelu(x * 1.5 + 0.25) + x), (data("x", 1 << 24),)),
    "softmax_4096x1024": on_rows(lambda x: torch.softmax(x, -1)),
    "layernorm_4096x1024": on_rows(lambda x, w, b: F.layer_norm(x, (1024,), w, b), "norm.weight", "norm.bias"),
    "sum0_4096": on_square(lambda x: x.sum(0)),
    "sum1_4096": on_square(lambda x: x.sum(1)),
    "transpose_4096": on_square(lambda x: x.T.contiguous()),
    "bn_add_relu": lambda: (Function(norm, norm_weights()), (data("x", *MAPS), data("r", *MAPS))),
    "sort_1048576": lambda: (Function(lambda x: x.sort(0)), (data("x", 1 << 20),)),
    "sort_1024x1024": lambda: (Function(lambda x: x.sort(-1)), (data("x", 1024, 1024),)),
    "topk50_64x32000": lambda: (Function(lambda x: x.topk(50)), (data("x", 64, 32000),)),
    "conv3x3_fwd": SAME.forward,
    "conv3x3_b1": Conv(batch=1).forward,
    "conv3x3_512x7_b1": Conv(512, 512, 7, 1).forward,
    "conv3x3_256x14": Conv(256, 256, 14).forward,
    "conv1x1": Conv(to=256, kernel=1, padding=0).forward,
    "conv7x7_stride2": Conv(3, size=224, kernel=7, stride=2, padding=3).forward,
    "conv3x3_grouped": Conv(256, 256, 28, groups=32).forward,
    "conv3x3_dilated": Conv(padding=2, dilation=2).forward,
    "conv4x4_transposed": Conv(128, 64, 28, kernel=4, transposed=True, stride=2).forward,
    "depthwise": Conv(96, 96, groups=96).forward,
    "max_pool3x3_stride2": on_wide(lambda x: F.max_pool2d(x, 3, 2, 1)),
    "avg_pool2x2": on_wide(lambda x: F.avg_pool2d(x, 2)),
    "resnet18_b1": image_model(ResNet18, 1),
    "resnet18_b8": image_model(ResNet18, 8),
    "mobilenetv2_b1": image_model(MobileNetV2, 1),
    "mobilenetv2_b8": image_model(MobileNetV2, 8),
    "minilm_b1": minilm(1),
    "minilm_b8": minilm(8),
}
ORDERED = {"sort_1048576", "sort_1024x1024", "topk50_64x32000"}  # values and positions


class Torch:
    """PyTorch, eager or compiled."""

    def __init__(self, compiled):
        self.compiled = compiled

    def opt(self, f):
        # `dynamic=False`: shapes do not change here, so the compiler may rely on them.
        return torch.compile(f, dynamic=False) if self.compiled else f

    def forward(self, name):
        module, inputs = FORWARD[name]()
        f = self.opt(module)

        def run():
            with torch.no_grad():
                y = f(*inputs)
            return [y[0]] if name in ORDERED else [y]

        return run

    def both(self, f, *inputs, train=()):
        """Value and gradients by all inputs and the parameters in `train`."""
        inputs = [x.requires_grad_() for x in inputs]
        with torch.no_grad():
            g = data("g", *f(*inputs).shape)
        f = self.opt(f)
        wanted = [*inputs, *train]

        def run():
            for x in wanted:
                x.grad = None
            y = f(*inputs)
            y.backward(g)
            return [y, *(x.grad for x in wanted)]

        return run

    def step(self, model, x, y, optimizer=lambda ps: torch.optim.SGD(ps, lr=0.01)):
        model = filled(model).train()
        optimizer = optimizer(model.parameters())
        f = self.opt(lambda x, y: F.cross_entropy(model(x).flatten(0, -2), y.flatten()))

        def run():
            optimizer.zero_grad()
            loss = f(x, y)
            loss.backward()
            optimizer.step()
            return [loss]

        return run

    def sequence(self, kind):
        model = filled(kind(256, 256))
        return self.both(lambda x: model(x)[0], data("x", 35, 32, 256), train=list(model.parameters()))

    def gpt2_decode(self):
        """64 tokens after a prompt of 16. Compiled, every step has the same shapes."""
        start, tokens, heads = 16, 64, 12
        model = filled(Gpt(50_257, 1024, 12, 768, heads)).eval()
        prompt, places = index("prompt", 50_257, 1, start), torch.arange(start + tokens)
        masks = torch.ones(start + tokens, start + tokens, dtype=torch.bool).tril()
        kind = StaticPast if self.compiled else Past

        def at(pasts, first, end, mask):
            for past in pasts:
                past.place = places[first:end]
            return {"place": places[first:end], "pasts": pasts, "mask": masks[first:end] if mask else None}

        step = self.opt(model.decode)

        def run():
            pasts = [kind(heads, start + tokens, 64) for _ in range(12)]
            with torch.no_grad():
                logits = model.decode(prompt, **at(pasts, 0, start, self.compiled))
                for i in range(start, start + tokens):
                    logits = step(logits.argmax(-1, keepdim=True), **at(pasts, i, i + 1, self.compiled))
            return [logits]

        return run

    def adamw(self, **kw):
        ps = [nn.Parameter(data(f"w{i}", 250_000)) for i in range(100)]
        for i, p in enumerate(ps):
            p.grad = data(f"g{i}", 250_000)
        # A tensor as rate, else the compiler would make a new program for each value.
        lr = torch.tensor(1e-3) if self.compiled else 1e-3
        step = self.opt(torch.optim.AdamW(ps, lr=lr, weight_decay=0.01, **kw).step)

        def run():
            step()
            return [ps[0], ps[99]]

        return run

    def small_graph(self):
        x = data("x", 4)

        def chain(x):
            y = x
            for _ in range(100):
                y = y + x
            return y

        f = self.opt(chain)

        def run():
            with torch.no_grad():
                return [f(x)]

        return run

    def train_norm(self):
        bn = filled(nn.BatchNorm2d(64)).train()
        return self.both(lambda x, r: F.relu(bn(x) + r), data("x", *MAPS), data("r", *MAPS))

    def fused(self):
        if self.compiled:
            raise ValueError("the fused optimizer is not compiled")
        return self.adamw(fused=True)

    def rows(self):
        """All workloads by name."""
        sdpa = lambda q, k, v: F.scaled_dot_product_attention(q, k, v, is_causal=True)  # noqa: E731
        norm_row = lambda x, w, b: F.layer_norm(x, (1024,), w, b)  # noqa: E731
        gpt_optimizer = lambda ps: torch.optim.AdamW(ps, lr=1e-4, weight_decay=0.01, fused=True)  # noqa: E731

        def embedding():
            tokens = index("tokens", 30_000, 64, 128)
            return self.both(lambda w: F.embedding(tokens, w), data("table", 30_000, 256))

        return {
            **{name: (lambda name=name: self.forward(name)) for name in FORWARD},
            "sdpa_fwdbwd": lambda: self.both(sdpa, *(data(n, *HEADS) for n in "qkv")),
            "softmax_fwdbwd": lambda: self.both(lambda x: torch.softmax(x, -1), data("x", 4096, 1024)),
            "layernorm_fwdbwd": lambda: self.both(
                norm_row, data("x", 4096, 1024), weight("norm.weight", 1024), weight("norm.bias", 1024)),
            "bn_add_relu_train": self.train_norm,
            "embedding_fwdbwd": embedding,
            "conv3x3_fwdbwd": lambda: SAME.both(self),
            "conv3x3_bwd_input": lambda: SAME.backward([True, False, False]),
            "conv3x3_bwd_weight": lambda: SAME.backward([False, True, False]),
            "conv1x1_fwdbwd": lambda: Conv(to=256, kernel=1, padding=0).both(self),
            "conv3x3_stride2_fwdbwd": lambda: Conv(to=128, stride=2).both(self),
            "depthwise_fwdbwd": lambda: Conv(96, 96, groups=96).both(self),
            "max_pool_fwdbwd": lambda: self.both(lambda x: F.max_pool2d(x, 3, 2, 1), data("x", *WIDE)),
            "adamw": self.adamw,
            "adamw_fused": self.fused,
            "mlp1000_step": lambda: self.step(Mlp(22, 32, 8), data("x", 32, 22), index("y", 8, 32)),
            "mlp_step": lambda: self.step(Mlp(784, 256, 10), data("x", 256, 784), index("y", 10, 256)),
            "lenet_step": lambda: self.step(LeNet(), data("x", 256, 1, 28, 28), index("y", 10, 256)),
            "resnet18_step": lambda: self.step(ResNet18(10), data("x", 16, 3, 96, 96), index("y", 10, 16)),
            "gpt_step": lambda: self.step(
                Gpt(65, 256, 4, 256, 4), index("x", 65, 8, 256), index("y", 65, 8, 256), gpt_optimizer),
            "lstm_fwdbwd": lambda: self.sequence(nn.LSTM),
            "gru_fwdbwd": lambda: self.sequence(nn.GRU),
            "gpt2_decode": self.gpt2_decode,
            "small_graph": self.small_graph,
        }
