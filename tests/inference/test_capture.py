"""Streams: FFmpeg's lavfi is the camera, files are read at their own rate, and ffmpeg sends over the loopback."""

import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.inference.rtsp_server import rtsp_server
from videopool.data.decoding.decode import READING
from videopool.data.sampling import ClipSampling
from videopool.data.video_file import write_video
from videopool.errors import InputError
from videopool.inference.capture import Capture, _Clock, _Lag
from videopool.inference.inputs import Stream, find_stream
from videopool.inference.windows import WindowClip, sliding_windows, window_seconds
from videopool.types import VideoRecord

SAMPLING = ClipSampling(frames=4, stride=2, scale=(32, 32), crop=32, test_scale=32, test_crop=32)
needs_ffmpeg = pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="needs the program ffmpeg to send a stream")


def capture_of(source: str | Path, *, live: bool = True, timeout: float = 20.0, **settings: object) -> Capture:
    stream = find_stream(str(source), live=live)
    assert stream is not None
    return Capture(stream, SAMPLING, crops=1, timeout=timeout, **settings)


def windows_of(capture: Capture, hop: float = 0.1) -> list[WindowClip]:
    found: list[WindowClip] = []
    with capture:
        while (window := capture.next_window(found[-1].end + hop if found else 0.0)) is not None:
            found.append(window)
    return found


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("capture") / "noise.mp4"
    write_video(path, np.random.default_rng(0).integers(0, 255, (40, 40, 48, 3), dtype=np.uint8), 20)
    return path


@pytest.fixture
def port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture
def send() -> Iterator[Callable[..., subprocess.Popen]]:
    """``send(video, address)`` sends a video in a loop, at its own rate, until the test ends."""
    senders: list[subprocess.Popen] = []

    def start(video: Path, address: str, *, loops: int = -1) -> subprocess.Popen:
        coding = ["-c:v", "libx264", "-preset", "ultrafast", "-tune", "zerolatency", "-g", "10", "-f", "mpegts"]
        command = [
            "ffmpeg",
            "-loglevel",
            "error",
            "-re",
            "-stream_loop",
            str(loops),
            "-i",
            str(video),
            *coding,
            address,
        ]
        senders.append(subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
        return senders[-1]

    yield start
    for sender in senders:
        sender.kill()
        sender.wait()


@pytest.mark.slow
def test_windows_of_a_live_file_have_the_pixels_of_the_file(video: Path) -> None:
    expected = [*sliding_windows(VideoRecord("v", video, 0), SAMPLING, hop=0.05, crops=1, reading=READING)]
    by_end = {round(window.end, 3): window.crops for window in expected}
    found = windows_of(capture_of(video))
    assert len(found) >= 3
    for window in found:
        assert window.end - window.start == pytest.approx(window_seconds(SAMPLING, 20.0))
        assert torch.equal(window.crops, by_end[round(window.end, 3)])
    assert found[-1].end == pytest.approx(2.0)  # with the video


@pytest.mark.slow
def test_a_file_is_read_at_its_own_rate(video: Path) -> None:
    started = time.monotonic()
    capture = capture_of(video)
    windows_of(capture)
    assert time.monotonic() - started >= 1.9  # of 2 s
    assert capture.frames == 40
    assert capture.ending == f"{video} ended"


@pytest.mark.slow
def test_a_slow_reader_gets_the_newest_frames_and_few_are_kept() -> None:
    with capture_of("lavfi:testsrc2=size=64x48:rate=50:duration=4") as capture:
        first = capture.next_window()
        assert first is not None
        time.sleep(1.5)
        second = capture.next_window(first.end + 0.05)
        assert second is not None
        assert second.end - first.end > 1.0  # windows in between were left out
        assert len(capture._kept) <= 7 + 2  # the frames of a window


def test_stop_ends_the_wait() -> None:
    with capture_of("lavfi:testsrc2=size=64x48:rate=5") as capture:
        threading.Timer(0.5, capture.stop).start()
        while capture.next_window() is not None:
            pass
        assert capture.ending.endswith("was stopped")


@pytest.mark.parametrize("drawn", ["testsrc2=size=64x48:rate=25:duration=1", "testsrc2=size=48x64:rate=25:duration=1"])
def test_frames_are_scaled_and_cropped_as_those_of_files(drawn: str) -> None:
    found = windows_of(capture_of(f"lavfi:{drawn}"))
    assert found[0].crops.shape == (1, 3, 4, 32, 32)


@pytest.mark.slow
def test_every_frame_is_passed_on(video: Path) -> None:
    seen: list[float] = []
    windows_of(capture_of(video, on_frame=lambda seconds, frame: seen.append(seconds)))
    np.testing.assert_allclose(seen, np.arange(40) / 20, atol=1e-6)


@needs_ffmpeg
@pytest.mark.slow
def test_udp_until_the_sender_is_silent(video: Path, port: int, send: Callable) -> None:
    sender = send(video, f"udp://127.0.0.1:{port}?pkt_size=1316")
    capture = capture_of(f"udp://127.0.0.1:{port}", live=False, timeout=3.0)
    with capture:
        first = capture.next_window()
        assert first is not None
        assert first.crops.float().std() > 20  # a picture of noise
        sender.kill()
        while capture.next_window() is not None:
            pass
    assert capture.ending == f"udp://127.0.0.1:{port} sent no frame for 3 s"


@needs_ffmpeg
@pytest.mark.slow
def test_rtsp_until_the_server_ends(video: Path) -> None:
    with rtsp_server(video) as address:
        capture = capture_of(address, live=False)
        found = windows_of(capture)
    assert len(found) >= 2
    assert all(window.crops.float().std() > 20 for window in found)  # pictures of noise
    assert 30 <= capture.frames <= 40
    assert capture.ending.startswith(f"{address} ended")


@needs_ffmpeg
@pytest.mark.slow
def test_tcp_until_the_sender_ends(video: Path, port: int, send: Callable) -> None:
    send(video, f"tcp://127.0.0.1:{port}?listen=1", loops=0)
    address = f"tcp://127.0.0.1:{port}"
    for _ in range(100):  # until the sender listens
        capture = capture_of(address, live=False)
        try:
            found = windows_of(capture)
            break
        except InputError:
            time.sleep(0.2)
    assert capture.ending == f"{address} ended"
    assert found[-1].end == pytest.approx(2.0, abs=0.2)


def read_slowly(seconds: float, video: Path, port: int, send: Callable) -> tuple[float, int]:
    """Read a stream of 8 s, ``seconds`` for each frame; return how late the last window was, and how many frames."""
    send(video, f"tcp://127.0.0.1:{port}?listen=1", loops=3)
    arrived: list[tuple[float, float]] = []

    def slow(at: float, frame: object) -> None:
        arrived.append((time.monotonic(), at))
        time.sleep(seconds)

    for _ in range(100):  # until the sender listens
        try:
            windows_of(capture_of(f"tcp://127.0.0.1:{port}", live=False, on_frame=slow), hop=1.0)
            break
        except InputError:
            time.sleep(0.2)
    late = [now - at for now, at in arrived]
    return late[-1] - min(late), len(arrived)


@needs_ffmpeg
@pytest.mark.long
def test_decoding_that_is_too_slow_skips_frames(video: Path, port: int, send: Callable) -> None:
    late, frames = read_slowly(0.12, video, port, send)  # 2.4 times the 0.05 s between two frames
    assert late < 3.0  # without skipping: 8 s * 1.4
    assert frames < 130  # of 160


def test_lag_is_counted_from_the_packets_that_were_waited_for() -> None:
    class Packet:
        time_base = 1.0

        def __init__(self, seconds: float, keyframe: bool = False) -> None:
            self.dts, self.is_keyframe = time.monotonic() + seconds, keyframe

    lag, now, before = _Lag(), time.monotonic, 1.0
    assert not lag.skip(Packet(0), now())
    assert not lag.skip(Packet(-0.9), now())
    assert lag.skip(Packet(-1.5), now())  # 1.5 s late, and the packet was there already
    assert lag.skip(Packet(-0.5), now())  # no keyframe
    assert not lag.skip(Packet(-0.5, keyframe=True), now())
    assert not lag.skip(Packet(-5), now() - before)  # the stream itself was late
    assert not lag.skip(Packet(-5.9), now())
    assert not lag.skip(Packet(-900), now())  # the stream started again
    assert lag.skipped


def test_an_address_where_nobody_listens(port: int) -> None:
    address = f"tcp://127.0.0.1:{port}"
    with pytest.raises(InputError, match=rf"{address} cannot be read \(Connection refused\)\. Check the address"):
        windows_of(capture_of(address, live=False))


def test_an_address_that_does_not_answer(port: int) -> None:
    address = f"udp://127.0.0.1:{port}"
    with pytest.raises(InputError, match=rf"{address} sent no frame for 1 s\. Check the address"):
        windows_of(capture_of(address, live=False, timeout=1.0))


def test_a_source_without_video(tmp_path: Path) -> None:
    (tmp_path / "text.mp4").write_bytes(b"no video")
    with pytest.raises(InputError, match=r"text\.mp4 cannot be read \(Invalid data found"):
        windows_of(capture_of(tmp_path / "text.mp4"))
    with pytest.raises(InputError, match="it has no video stream"):
        windows_of(capture_of("lavfi:anullsrc=duration=1"))


def test_a_network_of_segments_cannot_read_a_stream() -> None:
    sampling = ClipSampling(frames=4, stride=1, method="segments", scale=(32, 32), crop=32, test_scale=32, test_crop=32)
    with pytest.raises(InputError, match=r"clip\.sampling=dense"):
        Capture(Stream("x", "x"), sampling, crops=1, timeout=1.0)


def test_times_increase_where_a_stream_starts_again() -> None:
    clock = _Clock()
    found = [clock(given, 10.0) for given in (100.0, 100.1, 100.1, 3.0, 3.1, 900.0, None)]
    np.testing.assert_allclose(found[:6], [0.0, 0.1, 0.2, 0.3, 0.4, 0.5], atol=1e-9)
    assert found[6] > found[5]


def keep(capture: Capture, times: list[float]) -> None:
    """Give frames to a capture, each with the number of its tenth of a second in every pixel."""
    for seconds in times:
        capture._keep(seconds, [torch.full((3, 2, 2), round(10 * seconds), dtype=torch.uint8)])


def test_a_wrong_rate_is_corrected_even_if_a_window_has_few_frames() -> None:
    capture = Capture(Stream("x", "x"), SAMPLING, crops=1, timeout=1.0)
    capture.fps = 200.0  # then a window is shorter than the time between two frames
    keep(capture, [number / 10 for number in range(16)])
    assert capture.fps == pytest.approx(10.0)
    assert capture._newest_end() == -np.inf  # the frames before were dropped
    keep(capture, [number / 10 for number in range(16, 26)])
    clip = capture._window(capture._newest_end())
    assert clip.crops[0, 0, :, 0, 0].tolist() == [19, 21, 23, 25]


def test_the_frame_on_display_is_kept_over_a_gap() -> None:
    capture = Capture(Stream("x", "x"), SAMPLING, crops=1, timeout=1.0)
    capture.fps = 10.0
    keep(capture, [number / 10 for number in range(11)])
    keep(capture, [5.0])  # only keyframes came, for example
    assert capture._window(capture._newest_end()).crops[0, 0, :, 0, 0].tolist() == [10, 10, 10, 50]
    assert len(capture._kept) == 2
