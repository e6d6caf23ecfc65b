"""How fast clips come out of the loader, where their time goes, and what would make them come faster.

    python tools/benchmark.py loader --config FILE [key=value ...] [--samples N] [--to FILE.md]
    python tools/benchmark.py loader --files VIDEO ... [--beside] [--to FILE.md]
    python tools/benchmark.py loader --config FILE --memory 20000

The first form measures a run's own data. ``--files`` takes clips of single files, each by itself, 8 frames with stride
4, the shorter side scaled to 256 pixels, crops of 224; ``--beside`` adds the loaders that people use now. ``--memory``
watches the workers while that many samples pass.

Times are processor milliseconds of a sample: what a core gives. ``limit`` is PyAV decoding the same frames, from the
keyframe before them to the last one, and doing nothing else. All variants of a table take turns in one process.
"""

from __future__ import annotations

import argparse
import datetime
import functools
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

if __name__ == "__main__":  # run as a file by tools/benchmark.py
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import loader_rates
from benchmarks.loader_advice import Measured, advice
from benchmarks.loader_others import DecordClips, pytorchvideo_clips, pytorchvideo_loads
from benchmarks.loader_stages import (
    STAGES,
    Wanted,
    decode_only,
    device_stages,
    measure_stages,
    memory_mb,
    process_seconds,
    watching,
    worker_pids,
)
from benchmarks.timing import OtherWork, spread, this_machine, turn_order
from videopool.config import Config, load
from videopool.data.decoding.decode import DecodeError, Reading, open_video
from videopool.data.decoding.timeline import read_timeline
from videopool.data.lists.records import VideoList
from videopool.data.loading.dataset import TrainClips
from videopool.data.loading.loader import TrainLoader, collate_train
from videopool.data.sampling import ClipSampling
from videopool.data.targets import LabelSets
from videopool.data.transforms import Normalize
from videopool.engine.build import augmentation, clip_sampling, preprocessing, read_list, reading
from videopool.engine.distributed import connect
from videopool.errors import InputError
from videopool.files import atomic_write, strip_local_paths
from videopool.types import Batch, VideoRecord

SAMPLING = ClipSampling(frames=8, stride=4, scale=(256, 256), crop=224, test_scale=256, test_crop=224)
LOOKED_AT = 16  # files whose sizes and keyframes stand for all


# --- a run's own data ----------------------------------------------------------------------------------------------


def own_data(config: Config, samples: int, workers: int, step_seconds: float | None) -> list[str]:
    """Stages, limit, throughput and advice for the training data of a configuration."""
    videos = read_list(config, config.data.train, None)
    dataset = TrainClips(
        videos.records,
        clip_sampling(config),
        seed=config.train.seed,
        reading=Reading(decoder="pyav", timeout=config.data.decode_timeout),  # whose stages can be told apart
    )
    keys = [(0, int(index)) for index in torch.randperm(len(dataset), generator=torch.Generator().manual_seed(0))]
    keys = (keys * -(-samples // len(keys)))[:samples]
    dataset[keys[0]]
    watch, seconds = measure_stages(dataset, keys, config.train.batch_per_device)
    limit = limit_ms(watch.wanted)
    stages = {name: 1000 * watch.seconds[name] / samples for name in STAGES}
    measured = Measured(
        milliseconds=stages,
        span=(config.clip.frames - 1) * config.clip.stride + 1,
        decoded=watch.packets / samples,
        batch=config.train.batch_per_device,
        step_seconds=step_seconds,
        wanted_side=config.clip.scale[1],
        **looks(videos.records),
    )
    lines = [f"{len(dataset)} videos of {strip_local_paths(videos.source)}, {samples} clips:", ""]
    lines += ["In a loader process, of processor time:", ""]
    lines += ["| stage | ms | part |", "|---|---:|---:|"]
    lines += [f"| {name} | {ms:.2f} | {ms / measured.total_ms:.0%} |" for name, ms in stages.items()]
    lines += [f"| **sample** | **{1000 * seconds / samples:.2f}** | |", f"| limit | {limit:.2f} | |", ""]
    lines += [f"The limit is {limit / measured.total_ms:.2f} of it.", ""]
    lines += in_the_training_process(config, videos, dataset, keys[: config.train.batch_per_device])
    lines += throughput(config, dataset, samples, workers)
    return [*lines, "", *(f"- {sentence}" for sentence in advice(measured))]


def in_the_training_process(
    config: Config, videos: VideoList, dataset: TrainClips, keys: Sequence[tuple[int, int]]
) -> list[str]:
    """What becomes of a batch before the network sees it, on the device of the configuration."""
    targets = LabelSets(videos.records, len(videos.classes)) if videos.several_labels else None
    batch = collate_train([dataset[key] for key in keys], targets)
    if not isinstance(batch, Batch):
        raise InputError(batch.message)
    device = connect(config.train.device).device
    stages = device_stages(batch, device, augmentation(config, videos.classes), preprocessing(config))
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else f"the CPU, {torch.get_num_threads()} thread"
    lines = [f"In the training process, a batch of {len(batch)} on {name}, until it is done:", ""]
    lines += ["| stage | ms a sample |", "|---|---:|"]
    return [*lines, *(f"| {name} | {1000 * seconds:.2f} |" for name, seconds in stages.items()), ""]


def limit_ms(wanted: Sequence[Wanted]) -> float:
    """Processor milliseconds of ``decode_only``, mean over the clips; those that fail are left out."""
    times = []
    for clip in wanted:
        begin = time.process_time()
        try:
            decode_only(clip)
        except Exception:  # the loader has said what is wrong with the file
            continue
        times.append(time.process_time() - begin)
    return 1000 * statistics.fmean(times) if times else float("nan")


def looks(records: Sequence[VideoRecord]) -> dict[str, float]:
    """Distance of keyframes and shorter side, medians over some of the files."""
    step = max(1, len(records) // LOOKED_AT)
    keyframes, sides = [], []
    for index in range(0, len(records), step):
        try:
            timeline = read_timeline(records[index].path)
        except DecodeError:
            continue
        keyframes.append(timeline.info.frames / max(1, len(timeline.keyframes)))
        sides.append(min(timeline.info.width, timeline.info.height))
    if not sides:
        return {"keyframes": 1.0, "short_side": 1.0}
    return {"keyframes": statistics.median(keyframes), "short_side": statistics.median(sides)}


def throughput(config: Config, dataset: TrainClips, samples: int, workers: int) -> list[str]:
    """Samples a second of the real loader, and the memory of its workers."""
    if not workers:
        return []
    loader = TrainLoader(dataset, batch=config.train.batch_per_device, seed=config.train.seed, workers=workers)
    try:
        seen, begin, received, epoch = 0, 0.0, 0.0, 0
        while seen < samples:
            for batch in loader.batches(epoch):
                if not seen:
                    begin, received = time.perf_counter(), time.process_time()  # starting workers is not loading
                seen += len(batch)
                if seen >= samples:
                    break
            epoch += 1
        counted = seen - config.train.batch_per_device
        rate, received = counted / (time.perf_counter() - begin), (time.process_time() - received) / max(counted, 1)
        memory = statistics.median(memory_mb(pid) for pid in worker_pids(loader._loader))
    finally:
        loader.close()
    return [
        f"{workers} worker(s): {rate:.0f} samples/s, each of which costs the training process {1000 * received:.2f} ms "
        f"to receive; a worker takes {memory:.0f} MB (its share of common pages)."
    ]


# --- single files, beside other loaders ----------------------------------------------------------------------------


def variants(path: Path, beside: bool) -> tuple[dict[str, Callable[[int], object]], list[str]]:
    """Functions that load clip ``i`` of a file, by name; and what could not be measured."""
    dataset = TrainClips([VideoRecord(str(path), path, 0)], SAMPLING, seed=0)
    normalize = Normalize((0.45,) * 3, (0.225,) * 3)
    with watching() as watch:  # where our clips lie, for the limit to decode the same
        for index in range(LOOKED_AT):
            dataset[0, index]
    wanted = watch.wanted

    def plain(index: int) -> object:
        return dataset[0, index % LOOKED_AT]

    def normalised(index: int) -> object:
        return normalize(dataset[0, index % LOOKED_AT].frames[None])  # type: ignore[union-attr]

    found: dict[str, Callable[[int], object]] = {
        "limit": lambda index: decode_only(wanted[index % LOOKED_AT]),
        "videopool": plain,
        "videopool, normalised": normalised,
    }
    missing: list[str] = []
    if beside:
        found["decord, its defaults"] = DecordClips([str(path)], SAMPLING, 10**9).__getitem__
        reason = pytorchvideo_loads()
        if reason:
            missing.append(f"pytorchvideo was not measured: {reason}.")
        else:
            with open_video(path) as video:
                stream = iter(pytorchvideo_clips([str(path)], SAMPLING, video.timing.fps, 100_000))
            found["pytorchvideo"] = lambda index: next(stream)
    return found, missing


def single_file(path: Path, rounds: int, beside: bool) -> tuple[list[str], list[str]]:
    """Rows of the table for one file: every variant takes turns, clip by clip."""
    runs, missing = variants(path, beside)
    times: dict[str, list[float]] = {name: [] for name in runs}
    for number in range(-2, rounds):
        for name in turn_order(list(runs), abs(number)):
            begin = time.process_time()
            for index in range(4):  # a turn is four clips
                runs[name](4 * max(number, 0) + index)
            if number >= 0:
                times[name].append(1000 * (time.process_time() - begin) / 4)
    means = {name: statistics.fmean(values) for name, values in times.items()}
    rows = []
    for name, values in times.items():
        s = spread(values)
        rows.append(
            f"| {path.name} | {name} | {means[name]:.2f} | {s.median_ms:.2f} | {s.low_ms:.2f} to {s.high_ms:.2f} | "
            f"{means['limit'] / means[name]:.2f} | {means[name] / means['videopool, normalised']:.2f} |"
        )
    return rows, missing


def files(paths: Sequence[Path], rounds: int, beside: bool, samples: int) -> list[str]:
    """One table over all files."""
    lines = [
        "| file | loader | ms a sample, mean | median | quartiles | limit / ms | ms / videopool, normalised |",
        "|---|---|---:|---:|---:|---:|---:|",
    ]
    missing: list[str] = []
    for path in paths:
        rows, why = single_file(path, rounds, beside)
        lines, missing = lines + rows, missing + why
        print("\n".join(rows), flush=True)
    lines += ["", *dict.fromkeys(missing)]
    if beside:
        lines += ["", "## Whole loaders", "", f"{loader_rates.environment()}; batches of {loader_rates.BATCH}.", ""]
        lines += loader_rates.table(paths, SAMPLING, samples, rounds=3)
    return lines


# --- memory --------------------------------------------------------------------------------------------------------


def memory(config: Config, samples: int, workers: int) -> list[str]:
    """Memory of the workers while ``samples`` clips pass, without the batches that are on their way."""
    videos = read_list(config, config.data.train, None)
    dataset = TrainClips(videos.records, clip_sampling(config), seed=config.train.seed, reading=reading(config))
    batch = config.train.batch_per_device
    loader = TrainLoader(dataset, batch=batch, seed=config.train.seed, workers=max(workers, 1))
    looks_at, readings, seen, epoch = samples // 20, [], 0, 0
    begin = time.perf_counter()
    try:
        while seen < samples:
            for _ in loader.batches(epoch):
                seen += batch
                if seen // looks_at > len(readings) or seen >= samples:
                    readings.append((seen, [memory_mb(pid, "Pss_Anon") for pid in worker_pids(loader._loader)]))
                    print(readings[-1], flush=True)
                if seen >= samples:
                    break
            epoch += 1
        pids, seconds = worker_pids(loader._loader), time.perf_counter() - begin
        used = process_seconds(pids)
    finally:
        loader.close()
    lines = ["| samples | MB of each worker |", "|---:|---|"]
    lines += [f"| {count} | {', '.join(f'{mb:.1f}' for mb in each)} |" for count, each in readings]
    half = (len(readings) + 1) // 2
    early, late = (
        [statistics.fmean(worker) for worker in zip(*(each for _, each in part), strict=True)]
        for part in (readings[1:half], readings[half:])
    )
    growth = max(b / a - 1 for a, b in zip(early, late, strict=True))
    return [
        *lines,
        "",
        f"From samples {readings[1][0]} to {readings[half - 1][0]} to those from {readings[half][0]} on, the mean "
        f"memory of a worker grew by {growth:+.1%} at most; "
        f"{seen / seconds:.0f} samples/s, {1000 * used / seen:.1f} ms of processor time a sample.",
    ]


# -------------------------------------------------------------------------------------------------------------------


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, prog="benchmark.py loader"
    )
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="changes of the configuration")
    parser.add_argument("--config", help="a run's configuration")
    parser.add_argument("--files", type=Path, nargs="+", default=[], metavar="VIDEO", help="measure these files")
    parser.add_argument("--beside", action="store_true", help="with --files: measure other loaders too")
    parser.add_argument("--samples", type=int, default=200, help="clips that are measured (200)")
    parser.add_argument("--rounds", type=int, default=30, help="with --files: turns of four clips (30)")
    parser.add_argument("--step-seconds", type=float, help="how long your training step takes, for the advice")
    parser.add_argument("--memory", type=int, metavar="N", help="watch the workers' memory over N samples instead")
    parser.add_argument("--to", type=Path, help="write the result to this Markdown file too")
    arguments = parser.parse_intermixed_args()
    torch.set_num_threads(1)
    others, machine = OtherWork(), this_machine(torch.device("cpu"), "malloc")
    try:
        lines = measured_lines(parser, arguments)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    command = " ".join(["python tools/benchmark.py loader", *map(strip_local_paths, sys.argv[1:])])
    head = [
        f"# Loading clips, {machine.hardware}",
        "",
        f"    {command}",
        "",
        f"{datetime.date.today().isoformat()}, torch {machine.torch}; processes beside this one took "
        f"{others.share():.0%} of the machine.",
        "",
    ]
    print("\n".join(lines))
    if arguments.to is not None:
        with atomic_write(arguments.to) as place:
            place.write_text("\n".join([*head, *lines]) + "\n", encoding="utf-8")
    return 0


def measured_lines(parser: argparse.ArgumentParser, arguments: argparse.Namespace) -> list[str]:
    if arguments.files:
        absent = next((path for path in arguments.files if not path.is_file()), None)
        if absent is not None:
            raise InputError(f"{absent}: no such file; name videos behind --files")
        return files(arguments.files, arguments.rounds, arguments.beside, arguments.samples)
    if not arguments.config:
        parser.error("give --config FILE or --files VIDEO ...")
    config = load(arguments.config, arguments.overrides)
    if arguments.memory:
        return memory(config, arguments.memory, config.data.workers)
    run = functools.partial(own_data, config, arguments.samples, config.data.workers)
    return run(arguments.step_seconds)


if __name__ == "__main__":
    sys.exit(main())
