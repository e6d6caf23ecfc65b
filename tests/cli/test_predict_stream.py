"""``videopool predict`` of streams, in another process: it writes while it reads, and ends cleanly."""

import functools
import http.server
import json
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import finish
from videopool.data import open_video
from videopool.data.video_file import write_video
from videopool.inference import Classifier

CAMERA = "lavfi:testsrc2=size=64x48:rate=20"


def lines_of(path: Path, count: int, seconds: float = 90) -> list[dict]:
    """Wait until a file of JSON lines has ``count`` lines, and return them."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        lines = path.read_text().splitlines() if path.exists() else []
        if len(lines) >= count:
            return [json.loads(line) for line in lines]
        time.sleep(0.1)
    raise AssertionError(f"{path} has {len(lines)} lines")


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_camera_until_the_user_stops_it(
    number: signal.Signals, trained: Path, process: Callable, tmp_path: Path
) -> None:
    pytest.importorskip("matplotlib")
    files = {suffix: tmp_path / f"live.{suffix}" for suffix in ("jsonl", "json", "csv", "mp4", "png")}
    running = process("predict", trained, CAMERA, *(part for file in files.values() for part in ("--to", file)))
    windows = [each for each in lines_of(files["jsonl"], 4) if each["kind"] == "window"]
    assert running.poll() is None  # written while it runs
    running.send_signal(number)
    ended = finish(running)
    assert ended.code == 0, ended.err
    assert ended.err.startswith(f"{CAMERA} was stopped. Read ")
    assert ended.err.count("\n") == 1
    assert "  window        0.00 - " in ended.out
    records = [json.loads(line) for line in files["jsonl"].read_text().splitlines()]
    assert json.loads(files["json"].read_text()) == records
    assert records[: len(windows)] == windows
    assert records[-1]["kind"] == "segment"
    starts = [each["start"] for each in records if each["kind"] == "window"]
    assert starts == sorted(starts)
    with open_video(files["mp4"]) as video:
        assert video.timing.frames >= 10
    assert files["png"].read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
def test_a_stream_that_ends(trained: Path, tool: Callable) -> None:
    ended = tool("predict", trained, f"{CAMERA}:duration=1.5", "--format", "jsonl", "--hop", 0.2, "--top", 1)
    assert ended.code == 0, ended.err
    records = [json.loads(line) for line in ended.out.splitlines()]
    segments = [each for each in records if each["kind"] == "segment"]
    assert segments[-1]["end"] == 1.5
    assert ended.err == f"{CAMERA}:duration=1.5 ended. Read 1.5 s in {len(records) - len(segments)} windows.\n"
    short = tool("predict", trained, f"{CAMERA}:duration=0.2")
    assert short.code == 2
    assert "ended after 4 frames, before a window was complete" in short.err


@pytest.mark.slow
def test_an_interrupted_timeline_leaves_complete_files(trained: Path, process: Callable, tmp_path: Path) -> None:
    video = tmp_path / "long.mp4"
    write_video(video, np.random.default_rng(0).integers(0, 255, (3000, 40, 48, 3), dtype=np.uint8), 25)
    files = [tmp_path / f"t.{suffix}" for suffix in ("json", "jsonl")]
    # It cannot end before the signal, because nobody reads its 3,000 lines of output, more than a pipe holds.
    outputs = ("--format", "jsonl", *(part for file in files for part in ("--to", file)))
    running = process("predict", trained, video, "--hop", 0.04, *outputs)
    lines_of(files[1], 20)
    running.send_signal(signal.SIGINT)
    ended = finish(running)
    assert (ended.code, ended.err) == (130, "interrupted\n")
    records = [json.loads(line) for line in files[1].read_text().splitlines()]
    assert json.loads(files[0].read_text()) == records
    assert 20 <= len(records) < 2994


@pytest.mark.slow
def test_a_slow_network_leaves_windows_out(trained: Path, tool: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    score = Classifier.score_windows

    def slow(self: Classifier, batch: list) -> list:
        time.sleep(0.5)
        return score(self, batch)

    monkeypatch.setattr(Classifier, "score_windows", slow)
    ended = tool("predict", trained, f"{CAMERA}:duration=3", "--format", "jsonl", "--hop", 0.1)
    assert ended.code == 0, ended.err
    assert "more windows were left out, because the stream was faster than the network.\n" in ended.err
    windows = [each for each in map(json.loads, ended.out.splitlines()) if each["kind"] == "window"]
    assert len(windows) < 10  # of 27
    assert windows[-1]["end"] == 3.0


@pytest.mark.slow
def test_a_file_as_a_camera(trained: Path, motion_videos: Path, tool: Callable) -> None:
    video = next((motion_videos / "test").rglob("*.mp4"))
    ended = tool("predict", trained, video, "--live")
    assert ended.code == 0, ended.err
    assert ended.err.startswith(f"{video} ended. Read 1.0 s in ")


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="needs the program ffmpeg to make a playlist")
def test_a_web_address_of_a_video_and_of_a_playlist(
    trained: Path, motion_videos: Path, tool: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    video = next((motion_videos / "test").rglob("*.mp4"))
    shutil.copy(video, tmp_path / "video.mp4")
    command = ["ffmpeg", "-loglevel", "error", "-i", str(video), "-c", "copy", "-f", "hls", "-hls_time", "1"]
    subprocess.run([*command, "-hls_playlist_type", "vod", str(tmp_path / "list.m3u8")], check=True)
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(tmp_path))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        base = f"http://127.0.0.1:{server.server_port}"
        of_file, of_address = (tool("predict", trained, each) for each in (video, f"{base}/video.mp4"))
        playlist = tool("predict", trained, f"{base}/list.m3u8", "--format", "jsonl", "--top", 1)
        server.shutdown()
    assert of_address.code == 0, of_address.err
    assert of_address.out == of_file.out.replace(str(video), f"{base}/video.mp4")
    assert playlist.code == 0, playlist.err
    assert f"{base}/list.m3u8 ended. Read " in playlist.err
    assert {json.loads(line)["kind"] for line in playlist.out.splitlines()} == {"window", "segment"}


@pytest.mark.long
@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="needs the program ffmpeg to send a stream")
def test_a_udp_stream_until_it_is_silent(trained: Path, motion_videos: Path, process: Callable, tmp_path: Path) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"udp://127.0.0.1:{probe.getsockname()[1]}"
    video = next((motion_videos / "test").rglob("*.mp4"))
    coding = ["-c:v", "libx264", "-preset", "ultrafast", "-g", "10", "-f", "mpegts", f"{address}?pkt_size=1316"]
    command = ["ffmpeg", "-loglevel", "error", "-re", "-stream_loop", "-1", "-i", str(video), *coding]
    sender = subprocess.Popen(command, stdin=subprocess.DEVNULL)
    try:
        running = process("predict", trained, address, "--timeout", 5, "--to", tmp_path / "live.jsonl")
        lines_of(tmp_path / "live.jsonl", 3)
    finally:
        sender.kill()
        sender.wait()
    ended = finish(running)
    assert ended.code == 0, ended.err
    assert ended.err.startswith(f"{address} sent no frame for 5 s. Read ")
