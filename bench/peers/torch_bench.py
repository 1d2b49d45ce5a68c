"""PyTorch as a contender of the benchmark. See README.md beside this file for workloads and protocol.

    torch_bench.py [--compile] [--threads N] [--return-memory] setup | serve | first_step | run WORKLOAD REPS
"""

import argparse
import ctypes
import json
import sys
import time


def keep_memory():
    """Asks glibc to keep freed memory. By default it gives large blocks back to the system at once, and then every
    operation pays for fresh pages; with it, PyTorch is compared at its best."""
    try:
        libc = ctypes.CDLL(None)
        m_trim_threshold, m_mmap_max, m_arena_max = -1, -4, -8  # <malloc.h>
        libc.mallopt(m_mmap_max, 0)
        libc.mallopt(m_trim_threshold, 2**31 - 1)
        libc.mallopt(m_arena_max, 1)
    except (OSError, AttributeError):
        pass  # not glibc


def lenet():
    from torch import nn

    return nn.Sequential(
        nn.Conv2d(1, 6, 5, padding=2), nn.Sigmoid(), nn.AvgPool2d(2),
        nn.Conv2d(6, 16, 5), nn.Sigmoid(), nn.AvgPool2d(2), nn.Flatten(),
        nn.Linear(400, 120), nn.Sigmoid(), nn.Linear(120, 84), nn.Sigmoid(), nn.Linear(84, 10),
    )


class Bench:
    """`NAME()` prepares a workload and returns the function that is timed."""

    def __init__(self, compiled):
        import torch

        self.torch = torch
        self.compiled = compiled
        torch.manual_seed(0)

    def opt(self, f):
        # `dynamic=False`: shapes do not change here, so the compiler may rely on them.
        return self.torch.compile(f, dynamic=False) if self.compiled else f

    def no_grad(self, f, *args):
        f = self.opt(f)

        def run():
            with self.torch.no_grad():
                return f(*args)

        return run

    def matmul(self, n):
        a, b = self.torch.randn(n, n), self.torch.randn(n, n)
        return self.no_grad(lambda a, b: a @ b, a, b)

    def matmul_256(self):
        return self.matmul(256)

    def matmul_512(self):
        return self.matmul(512)

    def matmul_1024(self):
        return self.matmul(1024)

    def chain(self):
        gelu = self.torch.nn.functional.gelu
        return self.no_grad(lambda x: gelu(x * 1.5 + 0.25) + x, self.torch.randn(1 << 24))

    def softmax_4096x1024(self):
        return self.no_grad(lambda x: self.torch.softmax(x, -1), self.torch.randn(4096, 1024))

    def layernorm_4096x1024(self):
        ln = self.torch.nn.functional.layer_norm
        w, b = self.torch.randn(1024), self.torch.randn(1024)
        return self.no_grad(lambda x, w, b: ln(x, (1024,), w, b), self.torch.randn(4096, 1024), w, b)

    def sum0_4096(self):
        return self.no_grad(lambda x: x.sum(0), self.torch.randn(4096, 4096))

    def sum1_4096(self):
        return self.no_grad(lambda x: x.sum(1), self.torch.randn(4096, 4096))

    def conv3x3_fwd(self):
        conv = self.torch.nn.functional.conv2d
        x, w = self.torch.randn(32, 64, 56, 56), self.torch.randn(64, 64, 3, 3)
        return self.no_grad(lambda x, w: conv(x, w, padding=1), x, w)

    def conv3x3_fwdbwd(self):
        conv = self.torch.nn.functional.conv2d
        x = self.torch.randn(32, 64, 56, 56, requires_grad=True)
        w = self.torch.randn(64, 64, 3, 3, requires_grad=True)
        g = self.torch.randn(32, 64, 56, 56)
        f = self.opt(lambda x, w: conv(x, w, padding=1))

        def run():
            x.grad = w.grad = None
            f(x, w).backward(g)

        return run

    def depthwise(self):
        conv = self.torch.nn.functional.conv2d
        x, w = self.torch.randn(32, 96, 56, 56), self.torch.randn(96, 1, 3, 3)
        return self.no_grad(lambda x, w: conv(x, w, padding=1, groups=96), x, w)

    def step(self, model, x, lr):
        torch = self.torch
        y = torch.randint(0, 10, (x.shape[0],))
        sgd = torch.optim.SGD(model.parameters(), lr=lr)
        f = self.opt(lambda x, y: torch.nn.functional.cross_entropy(model(x), y))

        def run():
            sgd.zero_grad()
            loss = f(x, y)
            loss.backward()
            sgd.step()

        return run

    def mlp_step(self):
        nn = self.torch.nn
        model = nn.Sequential(nn.Linear(784, 256), nn.ReLU(), nn.Linear(256, 10))
        return self.step(model, self.torch.randn(256, 784), 0.1)

    def lenet_step(self):
        return self.step(lenet(), self.torch.randn(256, 1, 28, 28), 0.1)

    def adamw_with(self, **kw):
        torch = self.torch
        ps = [torch.nn.Parameter(torch.randn(250_000)) for _ in range(100)]
        for p in ps:
            p.grad = torch.randn(250_000)
        # A tensor as rate, else the compiler would make a new program for each value.
        lr = torch.tensor(1e-3) if self.compiled else 1e-3
        return self.opt(torch.optim.AdamW(ps, lr=lr, weight_decay=0.01, **kw).step)

    def adamw(self):
        return self.adamw_with()

    def adamw_fused(self):
        if self.compiled:
            raise ValueError("the fused optimizer is not compiled")
        return self.adamw_with(fused=True)

    def small_graph(self):
        def chain(x):
            y = x
            for _ in range(100):
                y = y + x
            return y

        return self.no_grad(chain, self.torch.randn(4))


WORKLOADS = [
    "matmul_256", "matmul_512", "matmul_1024", "chain", "softmax_4096x1024", "layernorm_4096x1024", "sum0_4096",
    "sum1_4096", "conv3x3_fwd", "conv3x3_fwdbwd", "depthwise", "mlp_step", "lenet_step", "adamw", "adamw_fused",
    "small_graph",
]  # fmt: skip


class Server:
    def __init__(self, bench):
        self.bench = bench
        self.ready = {}

    def run(self, workload, reps):
        if workload not in WORKLOADS:
            return {"workload": workload, "error": "unknown workload"}
        try:
            if workload not in self.ready:
                f = getattr(self.bench, workload)()
                for _ in range(3):
                    f()
                self.ready[workload] = f
            f = self.ready[workload]
            ms = []
            for _ in range(reps):
                t = time.perf_counter()
                f()
                ms.append((time.perf_counter() - t) * 1e3)
            return {"workload": workload, "ms": [round(m, 6) for m in ms]}
        except Exception as e:  # one workload that cannot run must not end the others
            return {"workload": workload, "error": f"{type(e).__name__}: {e}"[:300]}


def say(obj):
    print(json.dumps(obj), flush=True)


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--compile", action="store_true")
    p.add_argument("--threads", type=int, default=0)
    p.add_argument("--return-memory", action="store_true", help="leave the allocator at its defaults")
    p.add_argument("command", choices=["setup", "serve", "first_step", "run"])
    p.add_argument("rest", nargs="*")
    a = p.parse_args()
    if not a.return_memory:
        keep_memory()
    import torch

    if a.threads:
        torch.set_num_threads(a.threads)
    name = "torch-compile" if a.compile else "torch"
    if a.command == "setup":
        say({"name": name, "versions": {"torch": torch.__version__, "python": sys.version.split()[0]},
             "threads": torch.get_num_threads(), "workloads": WORKLOADS})
        return
    bench = Bench(a.compile)
    if a.command == "first_step":
        bench.lenet_step()()
        say({"workload": "first_step", "done": True})
        return
    server = Server(bench)
    if a.command == "run":
        workload, reps = a.rest
        say(server.run(workload, int(reps)))
        return
    for line in sys.stdin:
        words = line.split()
        if not words:
            continue
        if words[0] == "QUIT":
            return
        if words[0] == "FREE":
            server.ready.pop(words[1], None)
            say({"workload": words[1], "freed": True})
        elif words[0] == "RUN" and len(words) == 3 and words[2].isdigit():
            say(server.run(words[1], int(words[2])))
        else:
            say({"error": "expected: RUN <workload> <reps> | FREE <workload> | QUIT"})


if __name__ == "__main__":
    main()
