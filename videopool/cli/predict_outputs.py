"""What ``videopool predict`` prints, and the files of ``--to``."""

from __future__ import annotations

import argparse
import contextlib
import itertools
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TextIO

from videopool.engine.builders.parts import reading
from videopool.errors import InputError
from videopool.files import naming_file
from videopool.inference import Classifier
from videopool.inference.annotate import Captions, LiveAnnotator, annotate
from videopool.inference.classifier import top_of
from videopool.inference.fonts import Fonts
from videopool.inference.inputs import Stream
from videopool.inference.picture import ScoreHistory, draw_timeline
from videopool.inference.records import Record, RecordWriter, SegmentResult, TableWriter, Unreadable, record_writer
from videopool.inference.timeline import Segment, Window
from videopool.types import VideoRecord

_TEXTS = {".txt": "table", ".csv": "csv", ".json": "json", ".jsonl": "jsonl"}
_PICTURES = (".png", ".svg", ".pdf")
_VIDEO, _FEATURES = ".mp4", ".npz"
_NAME = "{name}"
_CAPTIONS = 3  # classes on a frame


class _Files:
    """The places of ``--to``, and the writers of records."""

    def __init__(self, arguments: argparse.Namespace, classifier: Classifier, *, windows: bool) -> None:
        self._arguments, self.classifier, self._windows = arguments, classifier, windows
        places: Sequence[Path] = arguments.to
        unknown = [path for path in places if path.suffix.lower() not in (*_TEXTS, *_PICTURES, _VIDEO, _FEATURES)]
        if unknown:
            known = ", ".join((*_TEXTS, _VIDEO, *_PICTURES, _FEATURES))
            raise InputError(f"--to {unknown[0]}: the suffix must be one of {known}.")
        self._texts = [path for path in places if path.suffix.lower() in _TEXTS]
        shared = [path for path in self._texts if _NAME in str(path)]
        if shared:
            raise InputError(f"--to {shared[0]}: {_NAME} is for .mp4 and pictures. Results of all videos share a file.")
        self.videos = [path for path in places if path.suffix.lower() == _VIDEO]
        self.pictures = [path for path in places if path.suffix.lower() in _PICTURES]
        self.features = next((path for path in places if path.suffix.lower() == _FEATURES), None)
        self.fonts = Fonts(())
        self._writers: list[tuple[str, RecordWriter]] = []
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Any:
        if self.videos or self.pictures:
            self.fonts = Fonts(self.classifier.classes, self._arguments.font)
            if self.fonts.note():
                print(f"warning: {self.fonts.note()}", file=sys.stderr)
        for path in (*self._texts, *self.videos, *self.pictures):
            if _NAME not in str(path.parent):
                path.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.ExitStack() as stack:
            self._add_writer(stack, "standard output", self._arguments.format, sys.stdout)
            for path in self._texts:
                file = path.open("w", encoding="utf-8", newline="")
                stack.callback(_close, str(path), file)
                self._add_writer(stack, str(path), _TEXTS[path.suffix.lower()], file)
            self._stack = stack.pop_all()
        return self

    def _add_writer(self, stack: contextlib.ExitStack, name: str, form: str, stream: TextIO) -> None:
        with naming_file(name):
            writer = record_writer(form, stream, windows=self._windows)
        stack.callback(_close, name, writer)
        self._writers.append((name, writer))

    def __exit__(self, *raised: Any) -> None:
        self._stack.__exit__(*raised)

    def write(self, record: Record) -> None:
        """Write a record to standard output and to all text files."""
        for name, writer in self._writers:
            with naming_file(name):
                writer.write(record)


def _close(name: str, closed: RecordWriter | TextIO) -> None:
    with naming_file(name):
        closed.close()


def _refuse_inputs(arguments: argparse.Namespace, records: Sequence[VideoRecord]) -> None:
    """Raise InputError if a place of ``--to`` is a video or list that is read."""
    if not arguments.to:
        return
    read = {os.path.realpath(path) for path in (*arguments.videos, *(record.path for record in records))}
    for place in map(str, arguments.to):
        names = (Path(record.id).stem for record in records) if _NAME in place else ("",)
        for path in (place.replace(_NAME, name) for name in names):
            if os.path.realpath(path) in read:
                raise InputError(f"--to {place} would overwrite {path}, which is read. Give another path.")


class Outputs(_Files):
    """The outputs of videos, a context manager."""

    def __init__(self, arguments: argparse.Namespace, classifier: Classifier, records: Sequence[VideoRecord]) -> None:
        super().__init__(arguments, classifier, windows=False)
        _refuse_inputs(arguments, records)
        for path in (*self.videos, *self.pictures):
            if len(records) > 1 and _NAME not in str(path):
                raise InputError(
                    f"--to {path} is for one video, but {len(records)} are given. Use a name for each, such as "
                    f"--to '{path.with_name(_NAME + path.suffix)}'."
                )
        self._names: set[str] = set()

    def write_failure(self, failure: Unreadable) -> None:
        """Write that a video could not be read, where programs read it; people read it in the error."""
        for name, writer in self._writers:
            if not isinstance(writer, TableWriter):
                with naming_file(name):
                    writer.write(failure)

    def of_video(self, record: VideoRecord) -> VideoOutputs:
        """Return the outputs of one video, a context manager."""
        stem = Path(record.id).stem
        names = (f"{stem}-{number}" if number > 1 else stem for number in itertools.count(1))
        name = next(name for name in names if name not in self._names)
        self._names.add(name)
        return VideoOutputs(self, record, name)


class VideoOutputs:
    """The segments, picture and annotated copy of one video, a context manager."""

    def __init__(self, outputs: Outputs, record: VideoRecord, name: str) -> None:
        self._outputs, self._record, self._name = outputs, record, name
        self._history = ScoreHistory()
        self._captions = Captions(outputs.fonts)
        self._segments: list[Segment] = []

    def __enter__(self) -> VideoOutputs:
        return self

    def add(self, windows: Sequence[Window], segments: Sequence[Segment]) -> None:
        """Add smoothed windows, and the segments that ended."""
        classes = self._outputs.classifier.classes
        for segment in segments:
            self._outputs.write(SegmentResult(self._record.id, segment))
        if self._outputs.pictures:
            self._segments += segments
        for window in windows:
            if self._outputs.pictures:
                self._history.add(window)
            if self._outputs.videos:
                self._captions.add(window.center, top_of(window.probabilities, classes, _CAPTIONS))

    def __exit__(self, kind: Any, *raised: Any) -> None:
        if kind is not None:
            return
        outputs, read_as = self._outputs, reading(self._outputs.classifier.config)
        for path in outputs.pictures:
            target = self._place(path)
            target.parent.mkdir(parents=True, exist_ok=True)
            title = Path(self._record.id).name
            draw_timeline(target, title, self._history, self._segments, outputs.classifier.classes, outputs.fonts)
        for path in outputs.videos:
            annotate(self._record, self._captions, self._place(path), read_as)

    def _place(self, path: Path) -> Path:
        return Path(str(path).replace(_NAME, self._name))


class StreamOutputs(_Files):
    """The outputs of a stream, a context manager."""

    def __init__(self, arguments: argparse.Namespace, classifier: Classifier, stream: Stream) -> None:
        super().__init__(arguments, classifier, windows=True)
        _refuse_inputs(arguments, [])
        self.name = stream.name
        self._history = ScoreHistory()
        self._segments: list[Segment] = []
        self._annotators: list[LiveAnnotator] = []

    def __enter__(self) -> StreamOutputs:
        super().__enter__()
        with contextlib.ExitStack() as stack:
            for path in self.videos:
                self._annotators.append(stack.enter_context(LiveAnnotator(path, Captions(self.fonts))))
            stack.push(self._stack.pop_all())
            self._stack = stack.pop_all()
        return self

    def on_frame(self, seconds: float, frame: Any) -> None:
        """Take a frame of the stream."""
        for each in self._annotators:
            each.on_frame(seconds, frame)

    def show(self, window: Window) -> None:
        """Draw the classes of ``window``, before smoothing, on the frames from now on."""
        for each in self._annotators:
            each.predictions = top_of(window.probabilities, self.classifier.classes, _CAPTIONS)

    @property
    def omitted(self) -> int:
        """How many frames are missing in the annotated videos so far."""
        return sum(each.omitted for each in self._annotators)

    def add(self, windows: Sequence[Window], segments: Sequence[Segment]) -> None:
        """Add smoothed windows, and the segments that ended."""
        for segment in segments:
            self.write(SegmentResult(self.name, segment))
        if self.pictures:
            self._segments += segments
            for window in windows:
                self._history.add(window)

    def __exit__(self, *raised: Any) -> None:
        super().__exit__(*raised)
        for path in self.pictures:
            path.parent.mkdir(parents=True, exist_ok=True)
            draw_timeline(path, self.name, self._history, self._segments, self.classifier.classes, self.fonts)
