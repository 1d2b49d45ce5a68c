"""Checks with the original readers what `cargo run -p hadal-io --example write_samples -- DIR` wrote.

    pip install tensorboard==2.21.0 safetensors==0.8.0 numpy==2.4.6 pillow==13.0.0 torch
    python tools/golden/check_tensorboard.py DIR

(torch only for the bf16 tensor; without it that one check is left out and says so.)
"""

import pathlib
import sys

import numpy as np
from PIL import Image
from safetensors import safe_open
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.util import tensor_util

dir = pathlib.Path(sys.argv[1])
x = np.arange(6, dtype="f4").reshape(2, 3) * 0.5

assert (np.load(dir / "x.npy") == x).all()
assert (np.load(dir / "x.npz")["x"] == x).all()
with safe_open(dir / "x.safetensors", "np") as f:
    assert f.metadata() == {"format": "pt"}
    assert sorted(f.keys()) == ["odd", "x"]
    assert (f.get_tensor("x") == x).all()
try:
    from safetensors.torch import load_file

    assert load_file(dir / "x.safetensors")["odd"].float().tolist() == [0.5, 2.0, 4.0]
except ImportError:
    print("no torch here: the bf16 tensor was not checked")
pixels = (np.arange(28 * 28 * 3) % 256).astype("u1").reshape(28, 28, 3)
assert (np.asarray(Image.open(dir / "x.png")) == pixels).all()

acc = EventAccumulator(str(dir), size_guidance={"scalars": 0, "images": 0, "tensors": 0})
acc.Reload()
print(acc.Tags())
loss = [(e.step, e.value) for e in acc.Scalars("train/loss")]
assert [s for s, _ in loss] == [1, 2, 3, 4, 5, 6, 7, 8], loss
assert loss[-1] == (8, -8.0) and all(v == np.float32(1 / s) for s, v in loss[:-1])
assert acc.Scalars("train/loss")[0].wall_time == 1.7e9
text = tensor_util.make_ndarray(acc.Tensors("config")[0].tensor_proto)
assert text.tolist() == [b"lr = **0.1**"], text
plugin = acc.SummaryMetadata("config").plugin_data.plugin_name
assert plugin == "text", plugin
(image,) = acc.Images("digits")
assert (image.step, image.width, image.height) == (3, 28, 28)
assert image.encoded_image_string == (dir / "x.png").read_bytes()
print("all as written")
