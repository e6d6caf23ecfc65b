"""Twelve faults of files in a data set, and data sets whose decoding hangs, kills its process or deletes the file.

No file can cause those three by itself. ``MisbehavingTrainClips`` and ``MisbehavingTestVideos`` cause them, if the name
of the file asks for it.
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
TRIMMED_FRAME = 17  # first displayed frame of a trimmed file; the keyframe before it is 12


@dataclasses.dataclass(frozen=True)
class Fault:
    """One way to break a file.

    Attributes:
        change: changes the file and returns its new path.
        reason: regular expression of the reported reason; "" for an unusual file that can be read.
        frames: the frames of the whole video that a readable file shows: first, and last + 1 (None: all).
    """

    change: Callable[[Path], Path]
    reason: str = ""
    frames: tuple[int, int | None] = (0, None)

    @property
    def fails(self) -> bool:
        """Whether the file cannot be decoded."""
        return bool(self.reason)

    def whole(self, record: VideoRecord, path: Path, fps: int) -> VideoRecord:
        """Return what a readable file must show, as a span of the whole video ``path``."""
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
    """Replace the file by a second of a sine tone, without video."""
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
    """Return a change that cuts without decoding.

    ``keep`` takes the number and the keyframe of each packet; frame ``begin`` gets time 0.
    """

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


_NOT_A_VIDEO = r"is not a video that FFmpeg can open"
FAULTS = {
    "truncated": Fault(_content(lambda data: data[: len(data) // 2]), _NOT_A_VIDEO),
    "zeroed": Fault(_content(lambda data: bytes(len(data))), _NOT_A_VIDEO),
    "empty": Fault(_content(lambda data: b""), r"is empty"),
    "text": Fault(_content(lambda data: b"404: the video is not available\n" * 20), _NOT_A_VIDEO),
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
    """Return whether this process may read files without permission, as the superuser may."""
    probe = folder / "probe"
    probe.touch()
    probe.chmod(0)
    allowed = os.access(probe, os.R_OK)
    probe.unlink()
    return allowed


def break_files(records: list[VideoRecord], faults: dict[int, str], whole: Path, broken: Path) -> list[VideoRecord]:
    """Copy the videos from ``whole`` to ``broken``, apply ``faults[i]`` to number i, and return the new list."""
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
    """Return whether ``reason`` is the one expected of this fault."""
    return FAULTS[fault].fails and re.search(FAULTS[fault].reason, reason) is not None


class MisbehavingTrainClips(TrainClips):
    """Training clips of which some hang, kill their process or vanish, depending on their names."""

    def _decode(self, record: VideoRecord, shape: int, rng: np.random.Generator) -> torch.Tensor:
        misbehave(record.path)
        return super()._decode(record, shape, rng)


class MisbehavingTestVideos(TestVideos):
    """Test videos of which some hang, kill their process or vanish, depending on their names."""

    def _decode(self, record: VideoRecord) -> list[torch.Tensor]:
        misbehave(record.path)
        return super()._decode(record)


def misbehave(path: Path) -> None:
    """Do what the name of ``path`` asks for, in the thread that is about to decode it."""
    if path.name.startswith(VANISHING):
        path.unlink(missing_ok=True)
    if path.name.startswith(HANGING):
        threading.Event().wait()
    if path.name.startswith(KILLING):
        os.kill(os.getpid(), signal.SIGKILL)
