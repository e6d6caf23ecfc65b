"""Twelve ways in which a file of a data set can be broken or odd, and decoders that hang, die, or find it gone.

What no file does by itself, a name brings about: ``MisbehavingTrainClips`` and ``MisbehavingTestVideos`` are the data
sets of training and testing, in which a video of such a name makes its own decoding hang for ever, kill its process, or
delete the file first.
"""

from __future__ import annotations

import dataclasses
import os
import re
import shutil
import signal
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from videopool.data.loading.dataset import TestVideos, TrainClips
from videopool.types import VideoRecord

VANISHING, HANGING, KILLING = "vanishing-", "hanging-", "killing-"
TRIMMED_FRAME = 17  # that a trimmed file begins with; its keyframe is 12


@dataclasses.dataclass(frozen=True)
class Fault:
    """One way to break a file.

    Attributes:
        change: makes the file so, and gives the path that it has then.
        reason: regular expression of what is said of it; "" for a file that is odd, but can be read.
        frames: of a readable file, those of the whole video that it shows: the first, and the one behind the last.
    """

    change: Callable[[Path], Path]
    reason: str = ""
    frames: tuple[int, int | None] = (0, None)

    @property
    def fails(self) -> bool:
        """Whether there is nothing to decode."""
        return bool(self.reason)

    def whole(self, record: VideoRecord, path: Path, fps: int) -> VideoRecord:
        """What a readable file has to give, as a span of the whole video ``path``."""
        first, end = self.frames
        return dataclasses.replace(
            record, path=path, start_seconds=first / fps or None, end_seconds=None if end is None else end / fps
        )


def _content(change: Callable[[bytes], bytes]) -> Callable[[Path], Path]:
    def apply(path: Path) -> Path:
        path.write_bytes(change(path.read_bytes()))
        return path

    return apply


def _name(prefix: str = "", suffix: str = ".mp4") -> Callable[[Path], Path]:
    return lambda path: path.rename(path.with_name(prefix + path.name).with_suffix(suffix))


def _audio_only(path: Path) -> Path:
    """A second of a sine, as sound alone."""
    import av

    wave = (8000 * np.sin(np.arange(16000) / 16000 * 2 * np.pi * 440)).astype(np.int16)
    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream("aac", rate=16000)
        frame = av.AudioFrame.from_ndarray(wave[None], format="s16", layout="mono")
        frame.sample_rate = 16000
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def _unreadable(path: Path) -> Path:
    path.chmod(0)
    return path


def _part(keep: Callable[[int, int], bool], begin: int = 0) -> Callable[[Path], Path]:
    """Cuts without decoding: ``keep`` is asked for each packet's number and keyframe; frame ``begin`` comes at 0."""

    def apply(path: Path) -> Path:
        import av

        with av.open(str(path)) as source, av.open(f"{path}.part", "w", format="mp4") as target:
            stream = source.streams.video[0]
            copy = target.add_stream_from_template(stream)
            step = round(1 / (stream.average_rate * stream.time_base))
            keyframe = 0
            for number, packet in enumerate(source.demux(stream)):
                if packet.dts is None:
                    continue
                keyframe = packet.pts // step if packet.is_keyframe else keyframe
                if keep(number, keyframe):
                    packet.pts, packet.dts = packet.pts - begin * step, packet.dts - begin * step
                    packet.stream = copy
                    target.mux(packet)
        Path(f"{path}.part").replace(path)
        return path

    return apply


FAULTS = {
    "truncated": Fault(_content(lambda data: data[: len(data) // 2]), r"no video that FFmpeg can open"),
    "zeroed": Fault(_content(lambda data: bytes(len(data))), r"no video that FFmpeg can open"),
    "empty": Fault(_content(lambda data: b""), r"is empty"),
    "text": Fault(_content(lambda data: b"404: the video is not available\n" * 20), r"no video that FFmpeg can open"),
    "audio only": Fault(_audio_only, r"has no video stream"),
    "vanished during the run": Fault(_name(VANISHING), r"No such file"),
    "permission denied": Fault(_unreadable, r"Permission denied"),
    "hanging decoder": Fault(_name(HANGING), r"took longer"),
    "killed worker": Fault(_name(KILLING), r"ended its worker process \(signal 9, SIGKILL\b"),
    "one frame": Fault(_part(lambda number, keyframe: number == 0), frames=(0, 1)),
    "trimmed, not decoded": Fault(
        _part(lambda number, keyframe: keyframe + 12 > TRIMMED_FRAME, TRIMMED_FRAME), frames=(TRIMMED_FRAME, None)
    ),
    "wrong extension": Fault(_name(suffix=".avi")),
}


def reads_everything(folder: Path) -> bool:
    """Whether this process may read a file that nobody is permitted to read, as the superuser may."""
    probe = folder / "probe"
    probe.touch()
    probe.chmod(0)
    allowed = os.access(probe, os.R_OK)
    probe.unlink()
    return allowed


def break_files(records: list[VideoRecord], faults: dict[int, str], whole: Path, broken: Path) -> list[VideoRecord]:
    """Copies the videos below ``whole`` to ``broken``, breaks number i as ``faults[i]`` says; gives the new list."""
    listed = []
    for number, record in enumerate(records):
        path = broken / record.path.relative_to(whole)
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(record.path, path)
        if number in faults:
            path = FAULTS[faults[number]].change(path)
        listed.append(dataclasses.replace(record, id=str(path.relative_to(broken)), path=path))
    return listed


def reason_fits(fault: str, reason: str) -> bool:
    """Whether a video that is broken in this way failed for that reason, and not for another."""
    return FAULTS[fault].fails and re.search(FAULTS[fault].reason, reason) is not None


class MisbehavingTrainClips(TrainClips):
    """Training clips of which some hang, die or vanish, as their names say."""

    def _decode(self, record: VideoRecord, rng: np.random.Generator) -> torch.Tensor:
        misbehave(record.path)
        return super()._decode(record, rng)


class MisbehavingTestVideos(TestVideos):
    """Test videos of which some hang, die or vanish, as their names say."""

    def _decode(self, record: VideoRecord) -> list[torch.Tensor]:
        misbehave(record.path)
        return super()._decode(record)


def misbehave(path: Path) -> None:
    """What the name of ``path`` says, in the thread that is about to decode it."""
    if path.name.startswith(VANISHING):
        path.unlink(missing_ok=True)
    if path.name.startswith(HANGING):
        threading.Event().wait()
    if path.name.startswith(KILLING):
        os.kill(os.getpid(), signal.SIGKILL)
