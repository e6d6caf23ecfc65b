"""What ``videopool predict`` prints, and the files of ``--to``."""

from __future__ import annotations

import argparse
import contextlib
import itertools
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from videopool.engine.builders.parts import reading
from videopool.errors import InputError
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
        self._writers: list[RecordWriter] = []
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Any:
        if self.videos or self.pictures:
            self.fonts = Fonts(self.classifier.classes, self._arguments.font)
            if self.fonts.note():
                print(f"warning: {self.fonts.note()}", file=sys.stderr)
        with contextlib.ExitStack() as stack:
            streams = [(self._arguments.format, sys.stdout)]
            for path in self._texts:
                path.parent.mkdir(parents=True, exist_ok=True)
                file = stack.enter_context(path.open("w", encoding="utf-8", newline=""))
                streams.append((_TEXTS[path.suffix.lower()], file))
            for form, stream in streams:
                writer = record_writer(form, stream, windows=self._windows)
                stack.callback(writer.close)
                self._writers.append(writer)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *raised: Any) -> None:
        self._stack.__exit__(*raised)

    def write(self, record: Record) -> None:
        """Write a record to standard output and to all text files."""
        for writer in self._writers:
            writer.write(record)


class Outputs(_Files):
    """The outputs of videos, a context manager."""

    def __init__(self, arguments: argparse.Namespace, classifier: Classifier, records: Sequence[VideoRecord]) -> None:
        super().__init__(arguments, classifier, windows=False)
        for path in (*self.videos, *self.pictures):
            if len(records) > 1 and _NAME not in str(path):
                raise InputError(
                    f"--to {path} is for one video, but {len(records)} are given. Use a name for each, such as "
                    f"--to '{path.with_name(_NAME + path.suffix)}'."
                )
        self._names: set[str] = set()

    def write_failure(self, failure: Unreadable) -> None:
        """Write that a video could not be read, where programs read it; people read it in the error."""
        for writer in self._writers:
            if not isinstance(writer, TableWriter):
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
