"""Measure one cell of the pooling benchmark: all variants at one window, shape, layout and dtype."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch.profiler import ProfilerActivity, profile

from benchmarks.timing import (
    Clock,
    CudaClock,
    Run,
    Spread,
    cpu_clock,
    free_bytes,
    spread,
    time_interleaved,
    time_undisturbed,
)
from videopool import ops

Triple = tuple[int, int, int]


class Window(NamedTuple):
    """The kernel size, stride and padding of the three axes."""

    kernel_size: Triple
    stride: Triple
    padding: Triple = (0, 0, 0)


# None: one window over all three axes.
WINDOWS: dict[str, Window | None] = {
    "2x2x2-s2": Window((2, 2, 2), (2, 2, 2)),
    "1x2x2-s122": Window((1, 2, 2), (1, 2, 2)),
    "2x7x7-s277": Window((2, 7, 7), (2, 7, 7)),
    "1x3x3-s122-p011": Window((1, 3, 3), (1, 2, 2), (0, 1, 1)),
    "3x3x3-s2-p1": Window((3, 3, 3), (2, 2, 2), (1, 1, 1)),
    "3x3x3-s1-p1": Window((3, 3, 3), (1, 1, 1), (1, 1, 1)),
    "global": None,
}
SHAPES = [(8, 24, 13, 80, 80), (4, 64, 16, 56, 56), (8, 64, 8, 112, 112), (2, 64, 32, 112, 112), (2, 128, 4, 14, 14)]
LAYOUTS = {"contiguous": torch.contiguous_format, "channels_last_3d": torch.channels_last_3d}
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
DIRECTIONS = ("forward", "backward", "both")
VARIANTS = ("videopool", "max_pool3d", "avg_pool3d", "composed", "compiled", "softmax_pool3d")
OURS = ("videopool", "softmax_pool3d")
UNITS = ("clone", "copy_")  # copies of the tensor, with one time for all directions

ROTATED_CACHES = 4  # the inputs that take turns are this many times as large as the last-level cache,
MOST_COPIES = 1024  # but not more than this many
LONGEST_BURST = 8
LONGEST_REASON = 200


@dataclass(frozen=True)
class Memory:
    """Bytes beyond the inputs: the peak in forward + backward, and those saved for the backward."""

    peak: int
    saved: int


@dataclass(frozen=True)
class Cell:
    """The measurements at one window, shape, layout and dtype.

    ``times`` has the directions of each variant, and ``copy`` for clone and copy_; ``missing`` has the reason for each
    variant without times. ``others`` is the share of processor time that other processes used during the measurement.
    ``copy_gb_per_s`` is the bandwidth of a device-to-device copy in the same run, 0 on a CPU.
    """

    window: str
    shape: tuple[int, ...]
    layout: str
    dtype: str
    copies: int
    rounds: int
    others: float
    x_bytes: int
    y_bytes: int
    copy_gb_per_s: float
    times: dict[str, dict[str, Spread]]
    missing: dict[str, str]
    memory: dict[str, Memory]


class Variant(NamedTuple):
    """A pooling function, and its number of arguments of the shape of x."""

    pool: Callable[..., torch.Tensor]
    inputs: int = 1


def variants(window: Window | None, names: Sequence[str]) -> dict[str, Variant]:
    """Return the variants of these names. Only avg_pool3d counts padding, as networks use it."""

    def average(x: torch.Tensor) -> torch.Tensor:
        return F.adaptive_avg_pool3d(x, 1) if window is None else F.avg_pool3d(x, *window)

    def maximum(x: torch.Tensor) -> torch.Tensor:
        return F.adaptive_max_pool3d(x, 1) if window is None else F.max_pool3d(x, *window)

    def soft(x: torch.Tensor) -> torch.Tensor:
        return ops.adaptive_soft_pool3d(x, 1) if window is None else ops.soft_pool3d(x, *window)

    def softmax(values: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
        whole = values.shape[2:]
        return ops.softmax_pool3d(values, logits, *(window or (whole, whole)))

    def composed(x: torch.Tensor) -> torch.Tensor:
        e = x.exp()
        return average(e * x) / average(e)

    made = {
        "videopool": Variant(soft),
        "max_pool3d": Variant(maximum),
        "avg_pool3d": Variant(average),
        "composed": Variant(composed),
        "softmax_pool3d": Variant(softmax, inputs=2),
    }
    if "compiled" in names:
        torch.compiler.reset()  # compile for each cell, never a general form for several cells
        made["compiled"] = Variant(torch.compile(composed, fullgraph=True, dynamic=False))
    return {name: made[name] for name in names}


def make_inputs(
    shape: Sequence[int], dtype: torch.dtype, layout: torch.memory_format, device: torch.device, cache_bytes: int
) -> list[torch.Tensor]:
    """Return tensors [N,C,D,H,W] of normal values that require gradients, enough that x is not in the cache."""
    x_bytes = math.prod(shape) * dtype.itemsize
    # Each input has a target for copy_ and, for each variant, the graph, result and gradient of the backward: at most
    # 32 tensors of the size of x in float32, if the result is as large as x.
    room = free_bytes(device) // (math.prod(shape) * 4 * 32)
    copies = max(2, min(math.ceil(ROTATED_CACHES * cache_bytes / x_bytes), MOST_COPIES, room))
    return [
        torch.randn(shape, device=device).to(dtype).contiguous(memory_format=layout).requires_grad_()
        for _ in range(copies)
    ]


def directions(variant: Variant, inputs: Sequence[torch.Tensor]) -> dict[str, Run]:
    """Return the runs of a variant over inputs that take turns, and build the graphs of the backward."""
    n = len(inputs)
    leaves = [[inputs[(k + i) % n] for i in range(variant.inputs)] for k in range(n)]
    results = [variant.pool(*each) for each in leaves]
    grads = [torch.randn_like(y) for y in results]

    def forward(turn: int) -> torch.Tensor:
        with torch.no_grad():
            return variant.pool(*leaves[turn % n])

    def backward(turn: int) -> tuple[torch.Tensor, ...]:
        k = turn % n
        return torch.autograd.grad(results[k], leaves[k], grads[k], retain_graph=True)

    def both(turn: int) -> tuple[torch.Tensor, ...]:
        k = turn % n
        return torch.autograd.grad(variant.pool(*leaves[k]), leaves[k], grads[k])

    forward(0)  # raises here if torch cannot run or compile the variant
    backward(0)
    return {"forward": forward, "backward": backward, "both": both}


def units(inputs: Sequence[torch.Tensor]) -> dict[tuple[str, str], Run]:
    """Return the runs of x.clone() and of copy_ into an existing tensor."""
    plain = [x.detach() for x in inputs]
    targets = [x.clone() for x in plain]
    n = len(inputs)
    return {
        ("clone", "copy"): lambda turn: plain[turn % n].clone(),
        ("copy_", "copy"): lambda turn: targets[turn % n].copy_(plain[turn % n]),
    }


def measure_cell(
    window: str,
    layout: str,
    inputs: Sequence[torch.Tensor],
    names: Sequence[str],
    *,
    rounds: int,
    seconds: float,
    with_memory: bool,
    copy_gb_per_s: float,
) -> Cell:
    """Time the variants ``names`` on ``inputs`` of one shape, dtype and layout.

    A variant that torch cannot run gets a reason instead of times.
    """
    runs = units(inputs)
    missing: dict[str, str] = {}
    memory: dict[str, Memory] = {}
    for name, variant in variants(WINDOWS[window], names).items():
        try:
            made = directions(variant, inputs)
            if with_memory:
                memory[name] = Memory(peak_bytes(made["both"], inputs[0].device), saved_bytes(variant, inputs))
        except Exception as error:
            if name in OURS:
                raise
            missing[name] = " ".join(f"{type(error).__name__}: {error}".split())[:LONGEST_REASON]
        else:
            runs |= {(name, direction): run for direction, run in made.items()}
    cuda = inputs[0].is_cuda
    clock: Clock = CudaClock(min(len(inputs), LONGEST_BURST)) if cuda else cpu_clock
    taken, others = time_undisturbed(runs, clock, rounds=rounds, seconds=seconds, warm_up=3 if cuda else 1)
    times: dict[str, dict[str, Spread]] = {}
    for (name, direction), values in taken.items():
        times.setdefault(name, {})[direction] = spread(values)
    x = inputs[0]
    return Cell(
        window=window,
        shape=tuple(x.shape),
        layout=layout,
        dtype=str(x.dtype).removeprefix("torch."),
        copies=len(inputs),
        rounds=len(taken["clone", "copy"]),
        others=others,
        x_bytes=x.nbytes,
        y_bytes=_result_cells(WINDOWS[window], x.shape) * x.dtype.itemsize,
        copy_gb_per_s=copy_gb_per_s,
        times=times,
        missing=missing,
        memory=memory,
    )


def peak_bytes(run: Run, device: torch.device) -> int:
    """Return the peak of bytes in torch's allocator during one run: results, saved tensors and temporaries."""
    if device.type == "cuda":
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        run(0)
        return torch.cuda.max_memory_allocated() - before
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiled:
        run(0)
    events = [event for event in profiled.profiler.kineto_results.events() if event.name() == "[memory]"]
    held = peak = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        held += event.nbytes()  # negative if memory is freed
        peak = max(peak, held)
    return peak


def saved_bytes(variant: Variant, inputs: Sequence[torch.Tensor]) -> int:
    """Return the bytes that the forward saves for the backward beyond its inputs; a saved result counts."""
    leaves = inputs[: variant.inputs]
    return bytes_kept(lambda: variant.pool(*leaves), leaves)


def bytes_kept(run: Callable[[], torch.Tensor], given: Iterable[torch.Tensor]) -> int:
    """Return the bytes that autograd keeps of a forward pass, without those of the ``given`` tensors."""
    kept: dict[int, int] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor.detach()  # a result that keeps itself would never be freed

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        result = run()
    for leaf in given:
        kept.pop(leaf.untyped_storage().data_ptr(), None)
    del result  # until here the graph keeps its tensors, so that no address occurs twice
    return sum(kept.values())


def copy_bandwidth(device: torch.device) -> float:
    """Return the GB/s, read and written, of a device-to-device copy of 1 GiB."""
    source = torch.zeros(2**28, device=device)
    target = torch.ones_like(source)
    run: dict[str, Run] = {"copy_": lambda turn: target.copy_(source)}
    times = time_interleaved(run, CudaClock(burst=2), rounds=20, seconds=0, warm_up=3)["copy_"]
    return 2 * source.nbytes / spread(times).median_ms / 1e6


def fits(window: Window | None, shape: Sequence[int]) -> bool:
    """Return whether the window fits into the last three axes and their padding."""
    return window is None or all(
        kernel <= size + 2 * padding
        for kernel, size, padding in zip(window.kernel_size, shape[2:], window.padding, strict=True)
    )


def _result_cells(window: Window | None, shape: Sequence[int]) -> int:
    if window is None:
        return math.prod(shape[:2])
    sizes = (
        (size + 2 * padding - kernel) // stride + 1
        for size, kernel, stride, padding in zip(shape[2:], *window, strict=True)
    )
    return math.prod([*shape[:2], *sizes])
