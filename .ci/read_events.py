"""Reads the TensorBoard events below a folder with TensorBoard's own reader and fails unless training
loss and accuracy are there as curves of finite numbers.

    python read_events.py RUN
"""

import math
import pathlib
import sys

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

files = sorted(pathlib.Path(sys.argv[1]).rglob("*tfevents*"))
if not files:
    sys.exit(f"no event files below {sys.argv[1]}")
curves = {}
for file in files:
    events = EventAccumulator(str(file), size_guidance={"scalars": 0})
    events.Reload()
    for tag in events.Tags()["scalars"]:
        curves[tag] = [(e.step, e.value) for e in events.Scalars(tag)]
for tag, points in curves.items():
    steps = [s for s, _ in points]
    if steps != sorted(steps) or not all(math.isfinite(v) for _, v in points):
        sys.exit(f"{tag}: steps out of order or values not finite")
    print(f"{tag}: {len(points)} points, last {points[-1]}")
for wanted in ("loss", "accuracy"):
    if not any(wanted in tag for tag in curves):
        sys.exit(f"no curve of {wanted}: {sorted(curves)}")
