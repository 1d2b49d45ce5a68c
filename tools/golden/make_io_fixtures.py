"""Makes crates/hadal-io/tests/data: small files by the original writers of each format.

Run from the repository root in a virtual environment with
    pip install numpy==2.4.6 pillow==13.0.0 tensorboard==2.21.0 safetensors==0.8.0
The files are committed; run this only to change them.
"""

import glob
import io
import pathlib
import tempfile

import numpy as np
from PIL import Image
from safetensors.numpy import save_file
from tensorboard.compat.proto import event_pb2, summary_pb2
from tensorboard.summary.writer.event_file_writer import EventFileWriter

OUT = pathlib.Path("crates/hadal-io/tests/data")


def tensorboard():
    with tempfile.TemporaryDirectory() as d:
        w = EventFileWriter(d)
        value = summary_pb2.Summary.Value(tag="loss", simple_value=0.25)
        summary = summary_pb2.Summary(value=[value])
        w.add_event(event_pb2.Event(wall_time=1234.5, step=7, summary=summary))
        w.close()
        (OUT / "original.tfevents").write_bytes(pathlib.Path(glob.glob(d + "/*")[0]).read_bytes())


def npy():
    a = np.arange(6).reshape(2, 3)
    np.save(OUT / "c_f4.npy", a.astype("<f4"))
    np.save(OUT / "fortran_i4.npy", np.asfortranarray(np.arange(24).reshape(2, 3, 4).astype("<i4")))
    np.save(OUT / "big_f8.npy", (a / 4).astype(">f8"))
    np.save(OUT / "scalar_b1.npy", np.array(True))
    np.save(OUT / "empty_f2.npy", np.zeros((0, 3), "<f2"))
    np.save(OUT / "records.npy", np.zeros(2, [("x", "<f4"), ("y", "<i4")]))
    np.save(OUT / "complex.npy", np.zeros(2, "<c8"))
    for v in (2, 3):
        with open(OUT / f"version{v}.npy", "wb") as f:
            np.lib.format.write_array(f, a.astype("<i8"), version=(v, 0))
    np.savez(OUT / "plain.npz", x=a.astype("u1"), y=np.float32(2.5))
    np.savez_compressed(OUT / "packed.npz", x=a.astype("u1"), z=np.zeros((50, 50), "<f8"))


def images():
    y, x = np.mgrid[0:12, 0:17]
    rgb = np.stack([x * 15, y * 20, (x * y) % 256], -1).astype("u1")
    color = Image.fromarray(rgb)
    color.save(OUT / "color.png")
    color.save(OUT / "color.jpg", quality=95, subsampling=0)
    color.save(OUT / "progressive.jpg", quality=90, progressive=True)
    color.convert("L").save(OUT / "gray.png")
    color.convert("L").save(OUT / "gray.jpg", quality=95)
    color.convert("CMYK").save(OUT / "cmyk.jpg", quality=95)
    color.quantize(8).save(OUT / "palette.png")
    color.convert("1").save(OUT / "bits.png")
    Image.fromarray((rgb[..., 0].astype("<u2") * 257)).save(OUT / "gray16.png")
    alpha = np.dstack([rgb, np.where(x < 8, 255, 0).astype("u1")])
    Image.fromarray(alpha).save(OUT / "alpha.png")
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees clockwise to view
    color.save(OUT / "turned.jpg", quality=95, subsampling=0, exif=exif)
    (OUT / "color_gray.raw").write_bytes(color.convert("L").tobytes())
    (OUT / "color_jpg.raw").write_bytes(Image.open(OUT / "color.jpg").convert("RGB").tobytes())
    (OUT / "color_6x5.raw").write_bytes(color.resize((6, 5), Image.BILINEAR).tobytes())
    (OUT / "color_40x30.raw").write_bytes(color.resize((40, 30), Image.BILINEAR).tobytes())


def safetensors():
    tensors = {
        "layer.weight": np.arange(6, dtype="<f4").reshape(2, 3),
        "layer.bias": np.arange(2, dtype="<f8"),
        "mask": np.array([True, False]),
    }
    save_file(tensors, OUT / "numpy.safetensors", metadata={"format": "np"})


if __name__ == "__main__":
    OUT.mkdir(parents=True, exist_ok=True)
    tensorboard()
    npy()
    images()
    safetensors()
