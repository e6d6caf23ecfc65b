"""Check that every kernel family loads and is right, in seconds: results and gradients against float64.

python -m benchmarks.gpu_smoke [--device cpu]
"""

from __future__ import annotations

import argparse

import torch

from videopool import ops

WINDOWS = {
    "2x2x2": (2, 2, 0), "1x2x2": ((1, 2, 2), (1, 2, 2), 0), "1x3x3 s2": ((1, 3, 3), (1, 2, 2), (0, 1, 1)),
    "3x3x3 s2": (3, 2, 1), "3x3x3 s1": (3, 1, 1), "2x7x7": ((2, 7, 7), (2, 7, 7), 0), "2x3x2 s1": ((2, 3, 2), 1, 1),
    "global": ((4, 14, 14), 1, 0),
}  # fmt: skip
TOLERANCE = {torch.float32: 2e-6, torch.float16: 1.5e-3, torch.bfloat16: 1.2e-2}


def largest_error(window: tuple, dtype: torch.dtype, layout: torch.memory_format, device: str) -> float:
    """Return the largest difference from float64, of the result and the gradient, relative to the largest value."""
    generator = torch.Generator().manual_seed(0)
    x = (torch.randn(2, 16, 4, 14, 14, generator=generator) * 2).to(dtype)
    own = x.to(device).contiguous(memory_format=layout).requires_grad_()
    exact = x.double().requires_grad_()
    y, want = ops.soft_pool3d(own, *window), ops.soft_pool3d(exact, *window)
    grad = torch.randn(want.shape, generator=generator).to(dtype)
    (dx,) = torch.autograd.grad(y, own, grad.to(device))
    (want_dx,) = torch.autograd.grad(want, exact, grad.double())
    pairs = ((y.detach().cpu().double(), want.detach()), (dx.cpu().double(), want_dx))
    return max(float((found - right).abs().max() / right.abs().max()) for found, right in pairs)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--device", default="cuda")
    device = parser.parse_args().device
    print(ops.backend())
    wrong = 0
    for name, window in WINDOWS.items():
        for dtype, limit in TOLERANCE.items():
            for layout in (torch.contiguous_format, torch.channels_last_3d):
                error = largest_error(window, dtype, layout, device)
                if not error <= limit:
                    wrong += 1
                    print(f"WRONG: {name} {dtype} {layout}: error {error:g}, at most {limit:g}")
    if wrong:
        raise SystemExit(f"{wrong} of {len(WINDOWS) * len(TOLERANCE) * 2} calls are wrong")
    print(f"{len(WINDOWS) * len(TOLERANCE) * 2} calls are right")


if __name__ == "__main__":
    main()
