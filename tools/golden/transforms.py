"""Golden values of image transforms, made with torchvision's tensor functions.

Usage: python tools/golden/transforms.py > crates/hadal-data/tests/goldens/transforms.json
Needs torch and torchvision from PyPI; the versions used are written into the file.
"""

import json

import torch
import torchvision
import torchvision.transforms.functional as F
from torchvision.transforms import InterpolationMode as M

gen = torch.Generator().manual_seed(0)
C, H, W = 3, 9, 7
u8 = torch.randint(0, 256, (C, H, W), generator=gen, dtype=torch.uint8)
# A grey pixel and a saturated one, for the special cases of hue and saturation.
u8[:, 0, 0] = 77
u8[:, 1, 1] = torch.tensor([255, 0, 0], dtype=torch.uint8)
f32 = F.convert_image_dtype(u8, torch.float32)
cases = []


def case(op, fn, **params):
    for name, x in (("u8", u8), ("f32", f32)):
        y = fn(x.clone())
        data = [round(v, 7) for v in y.flatten().tolist()] if y.is_floating_point() else y.flatten().tolist()
        cases.append({"op": op, "params": params, "input": name, "shape": list(y.shape), "data": data})


for h, w in ((5, 4), (14, 12), (4, 13), (9, 3)):
    for aa in (True, False):
        case("resize", lambda x: F.resize(x, [h, w], antialias=aa), size=[h, w], antialias=aa)
case("resize", lambda x: F.resize(x, [5], antialias=True), size=5, antialias=True)
for angle in (17.3, -40.6, 181.0):
    for how, name in ((M.NEAREST, "nearest"), (M.BILINEAR, "bilinear")):
        case("rotate", lambda x: F.rotate(x, angle, how, fill=[0.25] * C), angle=angle, how=name, fill=0.25)
for angle, t, s, sh in ((10.0, (2, -1), 1.1, (5.0, 0.0)), (-33.0, (0, 1), 0.7, (-8.0, 12.5))):
    for how, name in ((M.NEAREST, "nearest"), (M.BILINEAR, "bilinear")):
        case(
            "affine",
            lambda x: F.affine(x, angle, list(t), s, list(sh), how, fill=[0.0] * C),
            angle=angle, translate=t, scale=s, shear=sh, how=name, fill=0.0,
        )
for factor in (0.0, 0.4, 1.7):
    case("brightness", lambda x: F.adjust_brightness(x, factor), factor=factor)
    case("contrast", lambda x: F.adjust_contrast(x, factor), factor=factor)
    case("saturation", lambda x: F.adjust_saturation(x, factor), factor=factor)
for factor in (-0.5, -0.13, 0.31):
    case("hue", lambda x: F.adjust_hue(x, factor), factor=factor)
for mode in ("constant", "edge", "reflect", "symmetric"):
    case("pad", lambda x: F.pad(x, [1, 2, 3, 0], padding_mode=mode), by=[1, 2, 3, 0], mode=mode)
for h, w in ((4, 4), (5, 2), (12, 3), (10, 10)):
    case("center_crop", lambda x: F.center_crop(x, [h, w]), size=[h, w])
case("grayscale", lambda x: F.rgb_to_grayscale(x, 1), channels=1)
case("grayscale", lambda x: F.rgb_to_grayscale(x, 3), channels=3)
mean, std = [0.4914, 0.4822, 0.4465], [0.247, 0.2435, 0.2616]
case("normalize", lambda x: F.normalize(F.convert_image_dtype(x, torch.float32), mean, std), mean=mean, std=std)
case("hflip", F.hflip)
case("vflip", F.vflip)

print(json.dumps({
    "versions": {"torch": torch.__version__, "torchvision": torchvision.__version__},
    "shape": [C, H, W],
    "u8": u8.flatten().tolist(),
    "cases": cases,
}, separators=(",", ":")))
