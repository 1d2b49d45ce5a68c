"""ONNX Runtime as a contender: the workloads that are only computed forward, exported from PyTorch.

    onnx_bench.py [--threads N] [--return-memory] setup | serve | check W | run W REPS

Exports are kept in target/bench-onnx, so that only the first run needs the exporter's seconds.
"""

import hashlib
import importlib.metadata
from pathlib import Path

from serve import arguments, serve

HERE = Path(__file__).parent
# Positions of a sort come in an order of their own; half types are not for this runtime's CPU kernels.
LEFT_OUT = {"sort_1048576", "sort_1024x1024", "topk50_64x32000", "matmul_bf16_1024"}


def exported(name):
    """The file of a workload, and its inputs."""
    import torch

    from torch_rows import FORWARD

    module, inputs = FORWARD[name]()
    sources = b"".join((HERE / f).read_bytes() for f in ("torch_rows.py", "torch_models.py", "fill.py"))
    key = hashlib.sha256(sources + torch.__version__.encode()).hexdigest()[:12]
    folder = HERE.parent.parent / "target/bench-onnx"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}-{key}.onnx"
    if not path.exists():
        for old in folder.glob(f"{name}-*"):
            old.unlink()
        program = torch.onnx.export(module, inputs, dynamo=True, verbose=False)
        part = path.with_suffix(".part")
        program.save(part, external_data=False)
        part.rename(path)
    return path, [x.numpy() for x in inputs]


def prepare(name, threads):
    import onnxruntime as ort

    path, inputs = exported(name)
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.log_severity_level = 3
    session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    # Bound inputs and outputs: nothing is copied in or out.
    binding = session.io_binding()
    for spec, x in zip(session.get_inputs(), inputs):
        binding.bind_cpu_input(spec.name, x)
    for spec in session.get_outputs():
        binding.bind_output(spec.name, "cpu")

    def run():
        session.run_with_iobinding(binding)
        return binding

    return run


def main():
    a = arguments(__doc__)
    versions = {"onnxruntime": importlib.metadata.version("onnxruntime")}
    from torch_rows import FORWARD

    names = [n for n in FORWARD if n not in LEFT_OUT]
    setup = {"name": "onnxruntime", "versions": versions, "workloads": names}
    serve(a, setup, lambda n: prepare(n, a.threads), lambda b: b.copy_outputs_to_cpu())


if __name__ == "__main__":
    main()
