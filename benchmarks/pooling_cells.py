"""One cell of the pooling benchmark: all variants at one window, shape, layout and dtype."""

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
    """Kernel size, stride and padding of the three axes."""

    kernel_size: Triple
    stride: Triple
    padding: Triple = (0, 0, 0)


# None is the whole of the three axes, one window for each channel.
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
UNITS = ("clone", "copy_")  # a copy of the tensor: one time, whatever the direction

ROTATED_CACHES = 4  # the inputs that take turns fill the last-level cache this many times,
MOST_COPIES = 1024  # unless they are tiny
LONGEST_BURST = 8
LONGEST_REASON = 200


@dataclass(frozen=True)
class Memory:
    """Bytes beyond the inputs: the most at one time in forward + backward, and what waits for the backward."""

    peak: int
    saved: int


@dataclass(frozen=True)
class Cell:
    """What was measured at one window, shape, layout and dtype.

    ``times`` has the directions of each variant, and ``copy`` for clone and copy_; ``missing`` says why a variant
    has none. ``others`` is the share of the processor time that other processes took meanwhile. ``copy_gb_per_s`` is
    the device-to-device copy of the same run, 0 on a CPU.
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
    """A way to pool, and the number of tensors of the shape of x that it takes."""

    pool: Callable[..., torch.Tensor]
    inputs: int = 1


def variants(window: Window | None, names: Sequence[str]) -> dict[str, Variant]:
    """The variants of these names. Padding has no weight in any but avg_pool3d, which counts it, as networks do."""

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
        torch.compiler.reset()  # one compiled form of each cell, never a general one that serves several
        made["compiled"] = Variant(torch.compile(composed, fullgraph=True, dynamic=False))
    return {name: made[name] for name in names}


def make_inputs(
    shape: Sequence[int], dtype: torch.dtype, layout: torch.memory_format, device: torch.device, cache_bytes: int
) -> list[torch.Tensor]:
    """Tensors [N,C,D,H,W] of standard normal values that ask for gradients: enough that x is not found in the cache."""
    x_bytes = math.prod(shape) * dtype.itemsize
    # Of each one there is a target for copy_ and, for each variant, the graph, result and gradient of the backward: at
    # most 32 tensors of the size of x together, in float32, where the result is as large as x.
    room = free_bytes(device) // (math.prod(shape) * 4 * 32)
    copies = max(2, min(math.ceil(ROTATED_CACHES * cache_bytes / x_bytes), MOST_COPIES, room))
    return [
        torch.randn(shape, device=device).to(dtype).contiguous(memory_format=layout).requires_grad_()
        for _ in range(copies)
    ]


def directions(variant: Variant, inputs: Sequence[torch.Tensor]) -> dict[str, Run]:
    """The runs of a variant over inputs that take turns; the graphs of the backward are built here."""
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

    forward(0)  # what torch cannot run or compile is found here
    backward(0)
    return {"forward": forward, "backward": backward, "both": both}


def units(inputs: Sequence[torch.Tensor]) -> dict[tuple[str, str], Run]:
    """x.clone(), and copy_ into a tensor that is there."""
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
    """Times ``names`` on ``inputs``, of one shape, dtype and layout. A variant that torch cannot run has a reason."""
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
    """The most bytes of torch's allocator that one run holds at a time: results, what is saved, and temporaries."""
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
        held += event.nbytes()  # negative where memory is freed
        peak = max(peak, held)
    return peak


def saved_bytes(variant: Variant, inputs: Sequence[torch.Tensor]) -> int:
    """Bytes that the forward keeps for the backward beyond its inputs; a result that it keeps counts."""
    leaves = inputs[: variant.inputs]
    return bytes_kept(lambda: variant.pool(*leaves), leaves)


def bytes_kept(run: Callable[[], torch.Tensor], given: Iterable[torch.Tensor]) -> int:
    """Bytes that autograd keeps of a forward pass, without those of the tensors that were ``given`` to it."""
    kept: dict[int, int] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor.detach()  # a result that holds itself would never be freed

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        result = run()
    for leaf in given:
        kept.pop(leaf.untyped_storage().data_ptr(), None)
    del result  # until here the graph kept what it saved, so no address was used twice
    return sum(kept.values())


def copy_bandwidth(device: torch.device) -> float:
    """GB/s, read and written, of a device-to-device copy of 1 GiB."""
    source = torch.zeros(2**28, device=device)
    target = torch.ones_like(source)
    run: dict[str, Run] = {"copy_": lambda turn: target.copy_(source)}
    times = time_interleaved(run, CudaClock(burst=2), rounds=20, seconds=0, warm_up=3)["copy_"]
    return 2 * source.nbytes / spread(times).median_ms / 1e6


def fits(window: Window | None, shape: Sequence[int]) -> bool:
    """Whether the window lies within the last three axes and their padding."""
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
