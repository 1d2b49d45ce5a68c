"""Makes every golden file: `python tools/golden/make.py [ops|layers|optim|schedules|curves|numpy_print ...]`."""

import sys
import warnings

import torch

import common
import make_curves
import make_layers
import make_numpy_print
import make_ops
import make_optim
import make_recurrent
import make_schedules

PARTS = {"ops": make_ops, "layers": make_layers, "optim": make_optim, "schedules": make_schedules, "curves": make_curves,
         "numpy_print": make_numpy_print, "recurrent": make_recurrent}


def main():
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    common.OUT.mkdir(parents=True, exist_ok=True)
    wanted = sys.argv[1:] or list(PARTS)
    unknown = [w for w in wanted if w not in PARTS]
    if unknown:
        sys.exit(f"unknown part {unknown[0]!r}; there are: {', '.join(PARTS)}")
    for w in wanted:
        PARTS[w].main()


if __name__ == "__main__":
    main()
