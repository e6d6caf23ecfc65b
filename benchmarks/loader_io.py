"""Measure how much of a large file is read for one clip, and how long that takes, in each container.

    python -m benchmarks.loader_io [--megabytes 90] [--clips 5] [--package FOLDER] [--to FILE.md]

The script writes one stream of noise, 320x240 with a keyframe every 50 frames, into each container, as H.264 (in avi as
MPEG-4). ``variable`` leaves out frames, so that the rate varies. It then reads clips of 8 frames at stride 4 from
different places of the file, each with a new reader. Bytes are those that this process requests from the system
(``rchar`` of /proc/self/io); the files stay in the page cache. The containers take turns. ``--package`` measures
another checkout.
"""

from __future__ import annotations

import argparse
import datetime
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

FPS, GOP, SIZE = 25, 50, (320, 240)
CONTAINERS = {
    "mp4": "constant.mp4",
    "mp4, variable rate": "variable.mp4",
    "mov": "constant.mov",
    "mkv": "constant.mkv",
    "mkv, frames missing": "variable.mkv",
    "avi": "constant.avi",
    "ts": "constant.ts",
    "mpg": "constant.mpg",
    "flv": "constant.flv",
}
INDEXED = ("mp4", "mov", "mkv", "avi")


class ClipCost(NamedTuple):
    """The bytes read and the seconds needed for one clip."""

    bytes: int
    seconds: float


def packets_of(size: int, name: str) -> tuple[Any, list[Any]]:
    """Return a codec context and packets of at least ``size`` bytes in total."""
    import av

    codec: Any = av.CodecContext.create(name, "w")
    codec.width, codec.height, codec.pix_fmt = *SIZE, "yuv420p"
    codec.time_base, codec.framerate, codec.gop_size, codec.max_b_frames = Fraction(1, FPS), Fraction(FPS), GOP, 0
    codec.options = {"preset": "ultrafast", "crf": "28"} if name == "libx264" else {"qmin": "20", "qmax": "20"}
    codec.options = {**codec.options, "sc_threshold": "0" if name == "libx264" else "1000000000"}
    rng = np.random.default_rng(0)
    pictures = [rng.integers(0, 256, (SIZE[1] * 3 // 2, SIZE[0]), dtype=np.uint8) for _ in range(16)]
    frames = [av.VideoFrame.from_ndarray(picture, format="yuv420p") for picture in pictures]
    found: list[Any] = []
    total = number = 0
    while total < size:
        frame = frames[number % len(frames)]
        frame.pts, frame.time_base = number, Fraction(1, FPS)
        for packet in codec.encode(frame):
            found.append(packet)
            total += packet.size
        number += 1
    return codec, [*found, *codec.encode(None)]


def write(path: Path, codec: Any, packets: list[Any]) -> Path:
    """Write the packets to ``path``, in the container of its suffix."""
    import av

    with av.open(str(path), "w") as target:
        stream = target.add_stream(codec.name, rate=FPS)
        stream.width, stream.height, stream.pix_fmt = *SIZE, "yuv420p"
        stream.codec_context.extradata = codec.extradata
        for number, packet in enumerate(packets):
            copy: Any = av.Packet(bytes(packet))
            time_stamp = number + (number // 7 if path.stem == "variable" else 0)
            copy.pts = copy.dts = time_stamp
            copy.duration, copy.time_base, copy.stream = 1, Fraction(1, FPS), stream
            copy.is_keyframe = packet.is_keyframe
            target.mux(copy)
    return path


def read_bytes() -> int:
    """Return the bytes that this process has requested from the system."""
    return int(Path("/proc/self/io").read_text(encoding="ascii").split()[1])


def read_clip(path: Path, place: float) -> ClipCost:
    """Read a clip at ``place``, from 0 (the start of the video) to 1 (its end)."""
    from videopool.data.decoding.decode import open_video

    before, begin = read_bytes(), time.perf_counter()
    with open_video(path) as video:
        timing = video.timing
        first = place * (timing.duration_seconds - 32 / timing.fps)
        video.frames_at(first + (np.arange(8) * 4 + 0.5) / timing.fps, 224)
    return ClipCost(read_bytes() - before, time.perf_counter() - begin)


def table(costs: dict[str, list[ClipCost]], sizes: dict[str, int]) -> Iterator[str]:
    """Yield the lines of a Markdown table, one row for each container."""
    from benchmarks.timing import spread

    yield "| container | file, MB | read for a clip, MB | ms, median (quartiles) | has an index |"
    yield "|---|---:|---:|---:|---|"
    for name, clips in costs.items():
        read = statistics.median(clip.bytes for clip in clips) / 1e6
        ms = spread([1000 * clip.seconds for clip in clips])
        times = f"{ms.median_ms:.0f} ({ms.low_ms:.0f}-{ms.high_ms:.0f})"
        index = "yes" if name.startswith(INDEXED) else "no"
        yield f"| {name} | {sizes[name] / 1e6:.1f} | {read:.2f} | {times} | {index} |"


def main(arguments: argparse.Namespace) -> None:
    if arguments.package:
        sys.path.insert(0, str(arguments.package.resolve()))
    from benchmarks.timing import this_machine, turn_order, write_page

    places = np.linspace(0.15, 0.95, arguments.clips)
    with tempfile.TemporaryDirectory() as folder:
        size = int(arguments.megabytes * 1e6)
        h264, mpeg4 = packets_of(size, "libx264"), packets_of(size, "mpeg4")
        files = {
            name: write(Path(folder, file), *(mpeg4 if name == "avi" else h264)) for name, file in CONTAINERS.items()
        }
        sizes = {name: path.stat().st_size for name, path in files.items()}
        costs: dict[str, list[ClipCost]] = {name: [] for name in files}
        for number, place in enumerate(places):
            for name in turn_order(list(files), number):
                costs[name].append(read_clip(files[name], float(place)))
    lines = [
        f"# One clip of a large file, {this_machine(torch.device('cpu'), 'malloc').hardware}, {datetime.date.today()}",
        "",
        f"    python -m benchmarks.loader_io --megabytes {arguments.megabytes:g} --clips {arguments.clips}",
        "",
        *table(costs, sizes),
    ]
    print("\n".join(lines))
    write_page(lines, arguments.to)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=float, default=90, help="size of each file (90)")
    parser.add_argument("--clips", type=int, default=5, help="clips per file (5)")
    parser.add_argument("--package", type=Path, help="folder of another checkout to measure")
    parser.add_argument("--to", type=Path, help="write the result to this Markdown file")
    main(parser.parse_args())
