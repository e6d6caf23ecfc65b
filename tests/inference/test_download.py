"""Videos of web servers on the loopback."""

import functools
import http.server
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from videopool.data import DecodeError
from videopool.inference.download import download


class Handler(http.server.SimpleHTTPRequestHandler):
    """Serves files; ``/short`` breaks off, ``/live`` has no length, ``/list.m3u8`` is a playlist."""

    def log_message(self, *arguments: object) -> None:
        """Print nothing."""

    def do_GET(self) -> None:
        headers = {"/short": ("Content-Length", "100"), "/live": ("X-Live", "1")}
        if self.path in headers:
            self.send_response(200)
            self.send_header(*headers[self.path])
            self.end_headers()
            self.wfile.write(b"12345")
        elif self.path.startswith("/list.m3u8"):
            self.send_response(200)
            self.send_header("Content-Length", "3")
            self.send_header("Content-Type", "application/vnd.apple.mpegURL")
            self.end_headers()
            self.wfile.write(b"#EX")
        else:
            super().do_GET()


@pytest.fixture(autouse=True)
def without_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    (tmp_path / "served").mkdir()
    (tmp_path / "served/a b.mp4").write_bytes(bytes(range(256)) * 1000)
    handler = functools.partial(Handler, directory=str(tmp_path / "served"))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as serving:
        thread = threading.Thread(target=serving.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{serving.server_port}"
        serving.shutdown()
        thread.join()


def test_a_long_name_keeps_its_suffix(server: str, tmp_path: Path) -> None:
    (tmp_path / "served" / f"{'v' * 250}.mp4").write_bytes(b"12345")
    file = download(f"{server}/{'v' * 250}.mp4", tmp_path, timeout=5)
    assert file is not None
    assert (len(file.name), file.suffix, file.read_bytes()) == (60, ".mp4", b"12345")


def test_a_video_is_a_file_with_its_name(server: str, tmp_path: Path) -> None:
    file = download(f"{server}/a%20b.mp4?key=a=b", tmp_path, timeout=5)
    assert file == tmp_path / "a b.mp4"
    assert file.read_bytes() == bytes(range(256)) * 1000


@pytest.mark.parametrize("path", ["live", "list.m3u8?x=1"])
def test_streams_are_not_downloaded(path: str, server: str, tmp_path: Path) -> None:
    assert download(f"{server}/{path}", tmp_path, timeout=5) is None


@pytest.mark.parametrize(
    ("path", "message"),
    [("none.mp4", r"cannot be read \(the server answers 404"), ("short", "broke off after 5 of 100 bytes")],
)
def test_what_cannot_be_read(path: str, message: str, server: str, tmp_path: Path) -> None:
    with pytest.raises(DecodeError, match=message):
        download(f"{server}/{path}", tmp_path, timeout=5)


def test_a_server_that_does_not_answer(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"http://127.0.0.1:{silent.getsockname()[1]}/v.mp4"
        with pytest.raises(DecodeError, match=r"did not answer within 0\.5 s"):
            download(address, tmp_path, timeout=0.5)
    with pytest.raises(DecodeError, match="cannot be read"):
        download(address, tmp_path, timeout=5)


@pytest.mark.parametrize("address", ["http://", "http://[bad", "http://127.0.0.1:port/x"])
def test_addresses_that_are_wrong(address: str, tmp_path: Path) -> None:
    with pytest.raises(DecodeError, match="cannot be read"):
        download(address, tmp_path, timeout=1)
