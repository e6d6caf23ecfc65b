"""``videopool benchmark loader``: how fast clips load, where the time goes, and what would make loading faster."""

from __future__ import annotations

import argparse
import datetime
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

if __name__ == "__main__":  # videopool benchmark runs this file
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import loader_rates
from benchmarks.loader_advice import LoadingCosts, advice
from benchmarks.loader_others import DecordClips, pytorchvideo_clips, pytorchvideo_problem
from benchmarks.loader_stages import (
    STAGES,
    ClipSpan,
    decode_only,
    device_stages,
    measure_stages,
    memory_mb,
    process_seconds,
    time_stages,
    worker_pids,
)
from benchmarks.timing import OtherWork, spread, this_machine, turn_order, write_page
from videopool.cli.parsing import add_overrides, positive, run_command
from videopool.cli.parsing import seconds as seconds_above_0
from videopool.config import Config, load
from videopool.data.decoding.decode import Reading, open_video
from videopool.data.decoding.reader import DecodeError
from videopool.data.decoding.timeline import read_timeline
from videopool.data.label_sets import LabelSets
from videopool.data.lists.records import VideoList
from videopool.data.loading.dataset import TrainClips
from videopool.data.loading.loader import TrainLoader, collate_train
from videopool.data.sampling import ClipSampling
from videopool.data.transforms import Normalize
from videopool.engine.builders.parts import augmentation, clip_sampling, preprocessing, read_list, reading
from videopool.engine.cluster.distributed import connect
from videopool.errors import InputError
from videopool.files import strip_local_paths
from videopool.types import Batch, VideoRecord

SAMPLING = ClipSampling(frames=8, stride=4, scale=(256, 256), crop=224, test_scale=256, test_crop=224)
INSPECTED_FILES = 16  # files that are opened for the medians of size and keyframe distance
SUMMARY = "Measure how fast clips load, where the time goes, and what would make loading faster."
EXAMPLES = """examples:
  videopool benchmark loader --config small/c3d data.root=my_videos --step-seconds 0.25 --to loading.md
  videopool benchmark loader --files a.mp4 b.mkv --others
  videopool benchmark loader --config small/c3d data.root=my_videos --memory 20000

--config measures the training data of a configuration. --files measures single files with clips of 8 frames at stride
4, the shorter side scaled to 256 pixels, crops of 224.

Times are processor milliseconds per sample (clip) on one core. "limit" is the time that PyAV needs to decode the same
frames, from the keyframe before them to the last one, and nothing else. The variants take turns in one process.
"""


# --- the training data of a configuration --------------------------------------------------------------------------


def measure_config(config: Config, samples: int, workers: int, step_seconds: float | None) -> list[str]:
    """Return stages, limit, throughput and advice for the training data of a configuration."""
    videos = read_list(config, config.data.train, None)
    dataset = TrainClips(
        videos.records,
        clip_sampling(config),
        seed=config.train.seed,
        reading=Reading(timeout=config.data.decode_timeout),  # of no other decoder can stages be timed
    )
    keys = [(0, int(index)) for index in torch.randperm(len(dataset), generator=torch.Generator().manual_seed(0))]
    keys = (keys * -(-samples // len(keys)))[:samples]
    dataset[keys[0]]
    stage_times, seconds = measure_stages(dataset, keys, config.device_batch)
    limit = limit_ms(stage_times.spans)
    stages = {name: 1000 * stage_times.seconds[name] / samples for name in STAGES}
    costs = LoadingCosts(
        milliseconds=stages,
        span=(config.clip.frames - 1) * config.clip.stride + 1,
        decoded=stage_times.packets / samples,
        batch=config.device_batch,
        step_seconds=step_seconds,
        scaled_side=config.clip.scale[1],
        **median_properties(videos.records),
    )
    lines = [f"{len(dataset)} videos of {strip_local_paths(videos.source)}, {samples} clips:", ""]
    lines += ["Processor time in a loader process:", ""]
    lines += ["| stage | ms | share |", "|---|---:|---:|"]
    lines += [f"| {name} | {ms:.2f} | {ms / costs.total_ms:.0%} |" for name, ms in stages.items()]
    lines += [f"| **sample** | **{1000 * seconds / samples:.2f}** | |", f"| limit | {limit:.2f} | |", ""]
    lines += [f"The limit is {limit / costs.total_ms:.2f} of the sample.", ""]
    lines += training_process_table(config, videos, dataset, keys[: config.device_batch])
    lines += throughput(config, dataset, samples, workers)
    return [*lines, "", *(f"- {sentence}" for sentence in advice(costs))]


def training_process_table(
    config: Config, videos: VideoList, dataset: TrainClips, keys: Sequence[tuple[int, int]]
) -> list[str]:
    """Return the times of transfer, augmentation and normalization of a batch, on the device of the configuration."""
    targets = LabelSets(videos.records, len(videos.classes)) if videos.several_labels else None
    batch = collate_train([dataset[key] for key in keys], targets)
    if not isinstance(batch, Batch):
        raise InputError(batch.message)
    device = connect(config.train.device).device
    stages = device_stages(batch, device, augmentation(config, videos.classes), preprocessing(config))
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else f"the CPU, {torch.get_num_threads()} thread"
    lines = [f"Time in the training process, for a batch of {len(batch)} on {name}:", ""]
    lines += ["| stage | ms per sample |", "|---|---:|"]
    return [*lines, *(f"| {name} | {1000 * seconds:.2f} |" for name, seconds in stages.items()), ""]


def limit_ms(spans: Sequence[ClipSpan]) -> float:
    """Return the processor milliseconds of ``decode_only``, mean over the clips, without those that fail."""
    times = []
    for span in spans:
        begin = time.process_time()
        try:
            decode_only(span)
        except Exception:  # the loader has reported what is wrong with the file
            continue
        times.append(time.process_time() - begin)
    return 1000 * statistics.fmean(times) if times else float("nan")


def median_properties(records: Sequence[VideoRecord]) -> dict[str, float]:
    """Return the median keyframe distance and shorter side of some of the files."""
    step = max(1, len(records) // INSPECTED_FILES)
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
    """Return the samples per second of the loader, and the memory of its workers."""
    if not workers:
        return []
    loader = TrainLoader(dataset, batch=config.device_batch, seed=config.train.seed, workers=workers)
    try:
        seen, begin, received, epoch = 0, 0.0, 0.0, 0
        while seen < samples:
            for batch in loader.batches(epoch):
                if not seen:
                    begin, received = (
                        time.perf_counter(),
                        time.process_time(),
                    )  # the start of the workers does not count
                seen += len(batch)
                if seen >= samples:
                    break
            epoch += 1
        counted = seen - config.device_batch
        rate, received = counted / (time.perf_counter() - begin), (time.process_time() - received) / max(counted, 1)
        memory = statistics.median(memory_mb(pid) for pid in worker_pids(loader))
    finally:
        loader.close()
    return [
        f"{workers} worker(s): {rate:.0f} samples/s. The training process needs {1000 * received:.2f} ms to receive a "
        f"sample. A worker uses {memory:.0f} MB (with its share of common pages)."
    ]


# --- single files, with other loaders ------------------------------------------------------------------------------


def variants(path: Path, others: bool) -> tuple[dict[str, Callable[[int], object]], list[str]]:
    """Return functions that load clip ``i`` of a file, by name, and the reasons for those that are missing."""
    dataset = TrainClips([VideoRecord(str(path), path, 0)], SAMPLING, seed=0)
    normalize = Normalize((0.45,) * 3, (0.225,) * 3)
    with time_stages() as stages:  # records the spans of our clips, which the limit decodes too
        for index in range(INSPECTED_FILES):
            dataset[0, index]
    spans = stages.spans

    def load_clip(index: int) -> object:
        return dataset[0, index % len(spans)]

    def load_normalized(index: int) -> object:
        return normalize(dataset[0, index % len(spans)].frames[None])  # type: ignore[union-attr]

    found: dict[str, Callable[[int], object]] = {
        "limit": lambda index: decode_only(spans[index % len(spans)]),
        "videopool": load_clip,
        "videopool, normalized": load_normalized,
    }
    missing: list[str] = []
    if others:
        found["decord, defaults"] = DecordClips([str(path)], SAMPLING, 10**9).__getitem__
        reason = pytorchvideo_problem()
        if reason:
            missing.append(f"pytorchvideo was not measured: {reason}.")
        else:
            with open_video(path) as video:
                stream = iter(pytorchvideo_clips([str(path)], SAMPLING, video.timing.fps, 100_000))
            found["pytorchvideo"] = lambda index: next(stream)
    return found, missing


def measure_file(path: Path, rounds: int, others: bool) -> tuple[list[str], list[str]]:
    """Return the rows of one file, whose variants take turns, and the reasons for missing variants."""
    runs, missing = variants(path, others)
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
            f"{means['limit'] / means[name]:.2f} | {means[name] / means['videopool, normalized']:.2f} |"
        )
    return rows, missing


def measure_files(paths: Sequence[Path], rounds: int, others: bool, samples: int) -> list[str]:
    """Return one table of all files."""
    lines = [
        "| file | loader | ms per sample, mean | median | quartiles | limit / ms | ms / videopool, normalized |",
        "|---|---|---:|---:|---:|---:|---:|",
    ]
    missing: list[str] = []
    for path in paths:
        rows, reasons = measure_file(path, rounds, others)
        lines, missing = lines + rows, missing + reasons
        print("\n".join(rows), flush=True)
    lines += ["", *dict.fromkeys(missing)]
    if others:
        lines += ["", "## Whole loaders", "", f"{loader_rates.environment()}; batches of {loader_rates.BATCH}.", ""]
        lines += loader_rates.table(paths, SAMPLING, samples, rounds=3)
    return lines


# --- memory --------------------------------------------------------------------------------------------------------


def measure_memory(config: Config, samples: int, workers: int) -> list[str]:
    """Return the memory of the workers while they load ``samples`` clips, without that of finished batches."""
    videos = read_list(config, config.data.train, None)
    dataset = TrainClips(videos.records, clip_sampling(config), seed=config.train.seed, reading=reading(config))
    batch = config.device_batch
    loader = TrainLoader(dataset, batch=batch, seed=config.train.seed, workers=max(workers, 1))
    interval, readings, seen, epoch = max(samples // 20, 1), [], 0, 0
    begin = time.perf_counter()
    try:
        while seen < samples:
            for _ in loader.batches(epoch):
                seen += batch
                if seen // interval > len(readings) or seen >= samples:
                    readings.append((seen, [memory_mb(pid, "Pss_Anon") for pid in worker_pids(loader)]))
                    print(readings[-1], flush=True)
                if seen >= samples:
                    break
            epoch += 1
        pids, seconds = worker_pids(loader), time.perf_counter() - begin
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
        f"The mean memory of a worker over samples {readings[half][0]} to {readings[-1][0]} exceeds that over samples "
        f"{readings[1][0]} to {readings[half - 1][0]} by {growth:+.1%} at most. "
        f"{seen / seconds:.0f} samples/s, {1000 * used / seen:.1f} ms of processor time per sample.",
    ]


# -------------------------------------------------------------------------------------------------------------------


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``videopool benchmark loader``."""
    add_overrides(parser, "data.root=my_videos")
    parser.add_argument("--config", metavar="NAME", help="YAML file, or the name of a shipped configuration")
    parser.add_argument("--files", type=Path, nargs="+", default=[], metavar="VIDEO", help="measure these files")
    parser.add_argument("--others", action="store_true", help="with --files: time decord and pytorchvideo too")
    parser.add_argument("--samples", type=positive, default=200, help="clips to load (200)")
    parser.add_argument("--rounds", type=positive, default=30, help="with --files: turns of four clips (30)")
    parser.add_argument("--step-seconds", type=seconds_above_0, help="duration of your training step, for the advice")
    parser.add_argument("--memory", type=positive, metavar="N", help="measure worker memory over N samples instead")
    parser.add_argument("--to", type=Path, metavar="FILE.md", help="write the result to this file too")


def run(arguments: argparse.Namespace) -> int:
    """Measure, print the result and write it to ``--to``."""
    torch.set_num_threads(1)
    others, machine = OtherWork(), this_machine(torch.device("cpu"), "malloc")
    lines = measure(arguments)
    command = " ".join(["videopool benchmark loader", *map(strip_local_paths, sys.argv[1:])])
    head = [
        f"# Loading clips, {machine.hardware}",
        "",
        f"    {command}",
        "",
        f"{datetime.date.today().isoformat()}, torch {machine.torch}; other processes used "
        f"{others.share():.0%} of the machine.",
        "",
    ]
    print("\n".join(lines))
    write_page([*head, *lines], arguments.to)
    return 0


def measure(arguments: argparse.Namespace) -> list[str]:
    """Return the lines of the measurement that the options ask for."""
    if arguments.files:
        absent = next((path for path in arguments.files if not path.is_file()), None)
        if absent is not None:
            raise InputError(f"{absent}: no such file; give videos after --files")
        return measure_files(arguments.files, arguments.rounds, arguments.others, arguments.samples)
    if not arguments.config:
        raise InputError("--config is missing; give a configuration, or videos with --files")
    config = load(arguments.config, arguments.overrides)
    if arguments.memory:
        return measure_memory(config, arguments.memory, config.data.workers)
    return measure_config(config, arguments.samples, config.data.workers, arguments.step_seconds)


if __name__ == "__main__":
    sys.exit(run_command("videopool benchmark loader", sys.modules[__name__], sys.argv[1:]))
