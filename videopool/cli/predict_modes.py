"""The three ways of ``videopool predict``: views of videos, timelines of videos, and streams."""

from __future__ import annotations

import argparse
import contextlib
import signal
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from videopool.cli.predict_outputs import Outputs, StreamOutputs
from videopool.data.decoding.reader import DecodeError
from videopool.data.lists.formats.entries import counted
from videopool.errors import InputError
from videopool.inference import Classifier
from videopool.inference.capture import Capture
from videopool.inference.classifier import top_of
from videopool.inference.download import download
from videopool.inference.features import FeatureFile
from videopool.inference.inputs import Inputs, Stream
from videopool.inference.records import Unreadable, VideoResult, WindowResult
from videopool.inference.timeline import TimelineBuilder, Window
from videopool.types import VideoRecord

_AT_ONCE = 256  # videos whose scores are in memory
_FEW = 8  # videos for which starting the workers of the configuration would take longer than they save
_REASONS_SHOWN = 5


def predict(classifier: Classifier, inputs: Inputs, arguments: argparse.Namespace) -> int:
    """Classify the inputs, and return the exit code."""
    with _fetched(inputs, arguments.timeout) as (records, streams, failed):
        if streams:
            if len(streams) + len(records) + len(failed) > 1:
                raise InputError(f"{streams[0].name} is read until it ends, so it must be the only input.")
            return predict_stream(classifier, streams[0], arguments)
        with Outputs(arguments, classifier, records) as outputs:
            write = _write_timelines if arguments.timeline else _write_views
            failed += write(classifier, records, arguments, outputs)
            for each in failed:
                outputs.write_failure(each)
        _report(failed, len(inputs.records) + len(inputs.addresses))
    return 0


def _write_views(
    classifier: Classifier, records: Sequence[VideoRecord], arguments: argparse.Namespace, outputs: Outputs
) -> list[Unreadable]:
    """Write the most probable classes of each video, and return the videos that cannot be read."""
    classifier = classifier if len(records) > _FEW else classifier.with_workers(0)
    failed: list[Unreadable] = []
    with contextlib.ExitStack() as stack:
        layer = arguments.features
        features = stack.enter_context(FeatureFile(outputs.features, layer)) if outputs.features else None
        for first in range(0, len(records), _AT_ONCE):
            part = records[first : first + _AT_ONCE]
            if features is None:
                scores = classifier.scores(part)
            else:
                scores, found = classifier.features(part, layer)
                features.add(found, [record.id for record in part])
            reasons = {bad.video: bad.reason for bad in scores.bad}
            for number, record in enumerate(part):
                if number not in reasons:
                    outputs.write(VideoResult(record.id, scores.top(number, arguments.top)))
            failed += [Unreadable(part[number].id, reason) for number, reason in reasons.items()]
    return failed


def _write_timelines(
    classifier: Classifier, records: Sequence[VideoRecord], arguments: argparse.Namespace, outputs: Outputs
) -> list[Unreadable]:
    """Write the windows and segments of each video, and return the videos that cannot be read."""
    failed: list[Unreadable] = []
    for record in records:
        try:
            _write_timeline(classifier, record, arguments, outputs)
        except DecodeError as error:
            failed.append(Unreadable(record.id, error.reason))
    return failed


def _write_timeline(
    classifier: Classifier, record: VideoRecord, arguments: argparse.Namespace, outputs: Outputs
) -> None:
    builder = None
    with outputs.of_video(record) as files:
        for window in classifier.windows(record, arguments.hop or 0.0):
            if builder is None:
                builder = _builder(classifier, window, arguments)
            outputs.write(_result(classifier, record.id, window, arguments.top))
            files.add(*builder.add(window))
        if builder is not None:
            files.add(*builder.finish())


def predict_stream(classifier: Classifier, stream: Stream, arguments: argparse.Namespace) -> int:
    """Write the windows and segments of a stream while it is read, until it ends or the user stops it."""
    if arguments.features:
        raise InputError("--features is for videos, not for streams. Give a file.")
    config = classifier.config
    with contextlib.ExitStack() as stack:
        outputs = stack.enter_context(StreamOutputs(arguments, classifier, stream))
        capture = stack.enter_context(
            Capture(
                stream,
                classifier.sampling,
                crops=config.evaluate.crops,
                timeout=arguments.timeout,
                square_pixels=config.data.square_pixels,
                deinterlace=config.data.deinterlace,
                on_frame=outputs.on_frame,
            )
        )
        stack.enter_context(_stopped_by_signals(capture))
        scored, omitted, seconds = _write_stream(classifier, capture, arguments, outputs)
        stopped = capture.stopped
    if not scored and not stopped:
        raise InputError(f"{capture.ending} after {capture.frames} frames, before a window was complete.")
    slow = f" {omitted} more windows were left out, because the stream was faster than the network."
    read = f"Read {seconds:.1f} s in {counted(scored, 'window')}."
    drawn = f" {outputs.omitted} frames are not in the video, because drawing was slower than the stream."
    print(f"{capture.ending}. {read}{slow if omitted else ''}{drawn if outputs.omitted else ''}", file=sys.stderr)
    return 0


def _write_stream(
    classifier: Classifier, capture: Capture, arguments: argparse.Namespace, outputs: StreamOutputs
) -> tuple[int, int, float]:
    """Write the windows and segments of a stream.

    Returns:
        How many windows were scored and how many were left out, and the end of the last one in seconds.
    """
    builder, begin, end = None, 0.0, 0.0  # ``begin``: the next window ends then or later
    scored, omitted = 0, 0
    while (clip := capture.next_window(begin)) is not None:
        (window,) = classifier.score_windows([clip])
        hop = arguments.hop or window.length / 2
        builder = builder or _builder(classifier, window, arguments)
        omitted += max(0, int((window.end - begin) / hop)) if scored else 0
        scored += 1
        outputs.write(_result(classifier, outputs.name, window, arguments.top))
        outputs.show(window)
        outputs.add(*builder.add(window))
        end = window.end
        begin = end + hop
    if builder is not None:
        outputs.add(*builder.finish())
    return scored, omitted, end


def _builder(classifier: Classifier, first: Window, arguments: argparse.Namespace) -> TimelineBuilder:
    smooth, shortest, threshold = arguments.smooth, arguments.shortest, arguments.threshold
    return classifier.timeline_builder(first.length, smooth=smooth, shortest=shortest, threshold=threshold)


def _result(classifier: Classifier, video: str, window: Window, top: int) -> WindowResult:
    return WindowResult(video, window.start, window.end, top_of(window.probabilities, classifier.classes, top))


@contextlib.contextmanager
def _stopped_by_signals(capture: Capture) -> Iterator[None]:
    """Stop the stream at Ctrl-C and SIGTERM, so that all files are completed; a second Ctrl-C interrupts."""

    def stop(number: int, frame: Any) -> None:
        capture.stop()
        signal.signal(signal.SIGINT, signal.default_int_handler)

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def _fetched(inputs: Inputs, timeout: float) -> Iterator[tuple[list[VideoRecord], list[Stream], list[Unreadable]]]:
    """Yield the videos, those of web addresses as temporary files; the streams; and the addresses without an answer."""
    with tempfile.TemporaryDirectory(prefix="videopool-") as folder:
        records, streams, failed = [*inputs.records], [*inputs.streams], []
        for number, address in enumerate(inputs.addresses):
            place = Path(folder, str(number))
            place.mkdir()
            try:
                file = download(address, place, timeout=timeout)
            except DecodeError as error:
                failed.append(Unreadable(address, error.reason))
                continue
            if file is None:
                streams.append(Stream(address, address))
            else:
                records.append(VideoRecord(address, file, 0))
        yield records, streams, failed


def _report(failed: Sequence[Unreadable], videos: int) -> None:
    """Raise InputError if videos could not be read."""
    if not failed:
        return
    shown = "; ".join(f"{each.video} {each.reason}" for each in failed[:_REASONS_SHOWN])
    more = f"; and {len(failed) - _REASONS_SHOWN} more" if len(failed) > _REASONS_SHOWN else ""
    raise InputError(shown if videos == 1 else f"{len(failed)} of {videos} videos could not be read: {shown}{more}")
