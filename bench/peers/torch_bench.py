"""PyTorch as a contender of the benchmark. See README.md beside this file for workloads and protocol.

    torch_bench.py [--compile] [--threads N] [--return-memory] setup | serve | first_step | check W | run W REPS
"""

from serve import arguments, serve


def main():
    a = arguments(__doc__, ("--compile", "compile what is timed"))
    import torch

    from torch_rows import Torch

    if a.threads:
        torch.set_num_threads(a.threads)
    if a.compile:
        # Weights of what is only evaluated are prepared once.
        import torch._inductor.config

        torch._inductor.config.freezing = True
    rows = Torch(a.compile).rows()
    setup = {
        "name": "torch-compile" if a.compile else "torch",
        "versions": {"torch": torch.__version__},
        "workloads": list(rows),
    }
    serve(a, setup, lambda name: rows[name](), lambda ts: [t.detach().float().numpy() for t in ts])


if __name__ == "__main__":
    main()
