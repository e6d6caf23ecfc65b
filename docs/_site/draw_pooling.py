"""Draw docs/pooling.png: a photograph after average, soft and max pooling. Needs scikit-image and matplotlib.

The photograph is the astronaut of scikit-image (NASA, public domain). Values are normalized as for networks,
(v - 0.45) / 0.225, before pooling, and converted back after it.
"""

from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import torch
import torch.nn.functional as F
from skimage import data

from videopool.ops import soft_pool2d

MEAN, STD, KERNEL = 0.45, 0.225, 6


def main() -> None:
    crop = data.astronaut()[0:240, 100:340]
    x = (torch.from_numpy(np.ascontiguousarray(crop)).permute(2, 0, 1).double() / 255 - MEAN) / STD
    pooled = {
        "original": x,
        "average": F.avg_pool2d(x, KERNEL),
        "SoftPool": soft_pool2d(x, KERNEL),
        "max": F.max_pool2d(x, KERNEL),
    }
    figure, axes = plt.subplots(1, 4, figsize=(12, 3.4))
    for axis, (name, values) in zip(axes, pooled.items(), strict=True):
        axis.imshow((values * STD + MEAN).clamp(0, 1).permute(1, 2, 0).numpy(), interpolation="nearest")
        height, width = values.shape[1:]
        axis.set_title(name if name == "original" else f"{name}, {KERNEL}x{KERNEL}", fontsize=12)
        axis.set_xlabel(f"{width} x {height}", fontsize=9)
        axis.set_xticks([])
        axis.set_yticks([])
    figure.tight_layout()
    figure.savefig(Path(__file__).parents[1] / "pooling.png", dpi=110)


if __name__ == "__main__":
    main()
