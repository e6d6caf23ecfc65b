"""Measure the error of SoftPool against float64, and the difference between its exact and detached gradients.

    python -m benchmarks.numerics [--device cuda] [--time] [--to FILE.md]

``composed`` is avg_pool(exp(x) * x) / avg_pool(exp(x)) in plain torch, in the dtype of the row; the inputs are small
enough that it does not overflow. The reference is the same formula in float64 on the same (rounded) inputs. Errors are
in epsilons of the dtype, relative to the largest result. A dash means that torch has no average pooling of the dtype.
"""

from __future__ import annotations

import argparse
import datetime
import functools
from collections.abc import Callable

import torch
import torch.nn.functional as F

from benchmarks.timing import Run, add_page_argument, cpu_clock, spread, time_interleaved, write_page
from videopool import ops

WINDOWS = {
    "2x2x2 s2": ((2, 2, 2), (2, 2, 2), (0, 0, 0)),
    "1x3x3 s122 p011": ((1, 3, 3), (1, 2, 2), (0, 1, 1)),
    "3x3x3 s2 p1": ((3, 3, 3), (2, 2, 2), (1, 1, 1)),
    "3x3x3 s1 p1": ((3, 3, 3), (1, 1, 1), (1, 1, 1)),
    "2x7x7 s277": ((2, 7, 7), (2, 7, 7), (0, 0, 0)),
    "global": ((8, 28, 28), (8, 28, 28), (0, 0, 0)),
}
INPUTS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "normal": lambda x: x,
    "normal x 3": lambda x: 3 * x,
    "relu": torch.relu,
    "normal + 10": lambda x: x + 10,
}
Window = tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]


def composed(x: torch.Tensor, window: Window) -> torch.Tensor:
    """Return SoftPool computed with two average poolings of torch."""
    kernel, stride, padding = window
    e = x.exp()
    return F.avg_pool3d(e * x, kernel, stride, padding) / F.avg_pool3d(e, kernel, stride, padding)


def with_gradient(
    pool: Callable[[torch.Tensor], torch.Tensor], x: torch.Tensor, grad: torch.Tensor
) -> list[torch.Tensor]:
    """Return the result of ``pool`` and the gradient of ``x``, in float64."""
    leaf = x.detach().requires_grad_()
    y = pool(leaf)
    return [y.detach().double(), torch.autograd.grad(y, leaf, grad.to(y.dtype))[0].double()]


def errors(got: list[torch.Tensor], want: list[torch.Tensor], unit: float) -> list[float]:
    """Return the largest and the root-mean-square error of result and gradient, in ``unit`` of the largest value."""
    found = []
    for g, w in zip(got, want, strict=True):
        scale = float(w.abs().max()) * unit
        found += [float((g - w).abs().max()) / scale, float((g - w).square().mean().sqrt()) / scale]
    return found


def accuracy_rows(device: torch.device) -> list[str]:
    """Return the table of errors over dtypes, inputs and windows."""
    lines = [
        "| dtype | input | window | result: largest, ratio | rms, ratio | gradient: largest, ratio | rms, ratio |",
        "|---|---|---|---:|---:|---:|---:|",
    ]
    for dtype in (torch.float32, torch.float16, torch.bfloat16):
        for input_name, make in INPUTS.items():
            for name, window in WINDOWS.items():
                lines.append(accuracy_row(device, dtype, input_name, make, name, window))
    return lines


def accuracy_row(
    device: torch.device,
    dtype: torch.dtype,
    input_name: str,
    make: Callable[[torch.Tensor], torch.Tensor],
    name: str,
    window: Window,
) -> str:
    """Return one row: our errors, and their ratio to those of ``composed``."""
    generator = torch.Generator().manual_seed(0)
    x = make(torch.randn(2, 16, 8, 28, 28, generator=generator)).to(device, dtype)
    want_shape = ops.soft_pool3d(x, *window).shape
    grad = torch.randn(want_shape, generator=generator).to(device, dtype)
    want = with_gradient(lambda t: softmax_of_windows(t, window), x.double(), grad.double())
    unit = torch.finfo(dtype).eps
    ours = errors(with_gradient(lambda t: ops.soft_pool3d(t, *window), x, grad), want, unit)
    try:
        theirs = errors(with_gradient(lambda t: composed(t, window), x, grad), want, unit)
    except RuntimeError:  # torch has no average pooling of this dtype here
        theirs = [float("nan")] * 4
    cells = [f"{a:.2f}, {a / b:.2f}" if b == b and b > 0 else f"{a:.2f}, -" for a, b in zip(ours, theirs, strict=True)]
    return f"| {str(dtype).removeprefix('torch.')} | {input_name} | {name} | " + " | ".join(cells) + " |"


def softmax_of_windows(x: torch.Tensor, window: Window) -> torch.Tensor:
    """Return the reference: SoftPool by torch's unfold and softmax, without code of videopool."""
    kernel, stride, padding = window
    cells = F.pad(x, [p for p in reversed(padding) for _ in range(2)], value=float("-inf"))
    for axis in range(3):
        cells = cells.unfold(2 + axis, kernel[axis], stride[axis])
    cells = cells.flatten(-3)
    weights = torch.softmax(cells, -1)
    return (weights * torch.where(weights > 0, cells, 0.0)).sum(-1)


def pool(window: Window, detach_weights: bool, x: torch.Tensor) -> torch.Tensor:
    return ops.soft_pool3d(x, *window, detach_weights=detach_weights)


def gradient_rows(device: torch.device) -> list[str]:
    """Return the table of distances between exact and detached gradients."""
    lines = ["| window | normal | relu | normal x 3 |", "|---|---:|---:|---:|"]
    for name, window in WINDOWS.items():
        cells = []
        for input_name in ("normal", "relu", "normal x 3"):
            generator = torch.Generator().manual_seed(0)
            x = INPUTS[input_name](torch.randn(2, 16, 8, 28, 28, generator=generator)).to(device).double()
            grad = torch.randn(ops.soft_pool3d(x, *window).shape, generator=generator).to(x)
            _, exact = with_gradient(functools.partial(pool, window, False), x, grad)
            _, detached = with_gradient(functools.partial(pool, window, True), x, grad)
            cells.append(f"{float((exact - detached).norm() / exact.norm()):.3f}")
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return lines


def error_tables(device: torch.device) -> list[str]:
    return [
        *accuracy_rows(device),
        "",
        "Relative L2 distance between the exact gradient and the gradient with constant weights:",
        "",
        *gradient_rows(device),
    ]


def time_rows() -> list[str]:
    """Return the times of the three code paths of the CPU kernels, each selected by its inputs."""
    x = torch.randn(4, 64, 16, 56, 56)
    inputs = {
        "normal: one pass, no shift": x,
        "normal + 1e4: relative to a reference": x + 1e4,
        "normal x 100: each window shifted by its maximum": x * 100,
    }
    lines = [
        "| window | layout | input | forward, ms | ratio | backward, ms | ratio |",
        "|---|---|---|---:|---:|---:|---:|",
    ]
    for name in ("2x2x2 s2", "1x3x3 s122 p011", "3x3x3 s2 p1"):
        for layout in (torch.contiguous_format, torch.channels_last_3d):
            runs: dict[tuple[str, str], Run] = {}
            for label, values in inputs.items():
                leaf = values.contiguous(memory_format=layout).requires_grad_()
                y = ops.soft_pool3d(leaf, *WINDOWS[name])
                runs[label, "forward"] = functools.partial(run_forward, leaf.detach(), WINDOWS[name])
                runs[label, "backward"] = functools.partial(run_backward, y, leaf, torch.ones_like(y))
            times = time_interleaved(runs, cpu_clock, rounds=9, seconds=0, warm_up=2)
            unit = {way: spread(times[next(iter(inputs)), way]).median_ms for way in ("forward", "backward")}
            for label in inputs:
                cells = []
                for way in ("forward", "backward"):
                    median = spread(times[label, way]).median_ms
                    cells += [f"{median:.1f}", f"{median / unit[way]:.2f}"]
                short = "channels_last_3d" if layout == torch.channels_last_3d else "contiguous"
                lines.append(f"| {name} | {short} | {label} | " + " | ".join(cells) + " |")
    return lines


def run_forward(x: torch.Tensor, window: Window, turn: int) -> torch.Tensor:
    return ops.soft_pool3d(x, *window)


def run_backward(y: torch.Tensor, x: torch.Tensor, grad: torch.Tensor, turn: int) -> object:
    return torch.autograd.grad(y, x, grad, retain_graph=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--device", default="cpu")
    add_page_argument(parser)
    parser.add_argument("--time", action="store_true", help="time the code paths of the CPU kernels instead")
    arguments = parser.parse_args()
    device = torch.device(arguments.device)
    tables = time_rows() if arguments.time else error_tables(device)
    lines = [
        f"{datetime.date.today().isoformat()}, torch {torch.__version__}, {torch.get_num_threads()} threads, "
        f"videopool.ops: {ops.backend()}, {device}",
        "",
        *tables,
    ]
    text = "\n".join(lines) + "\n"
    print(text)
    write_page([text], arguments.to)


if __name__ == "__main__":
    main()
