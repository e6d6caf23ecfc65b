"""A small RTSP server (RFC 2326): it sends a file once, as RTP packets inside the TCP connection of the client."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

_METHODS = "OPTIONS, DESCRIBE, SETUP, PLAY, TEARDOWN"


@contextlib.contextmanager
def rtsp_server(video: Path) -> Iterator[str]:
    """Yield the address of a server that sends ``video`` at its own rate to one client, and then closes."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=_serve, args=(listening, video), daemon=True)
        thread.start()
        yield f"rtsp://127.0.0.1:{listening.getsockname()[1]}/video"
    thread.join(10)


def _serve(listening: socket.socket, video: Path) -> None:
    with contextlib.suppress(OSError), listening.accept()[0] as client, client.makefile("rb") as requests:
        while request := _read(requests):
            method, number = request
            if method == "DESCRIBE":
                # FFmpeg writes the description itself; the packetization must be that of the sender below.
                text = _description(video)
                _answer(client, number, f"Content-Type: application/sdp\r\nContent-Length: {len(text)}", text)
            elif method == "SETUP":
                _answer(client, number, "Transport: RTP/AVP/TCP;unicast;interleaved=0-1\r\nSession: 1")
            else:
                _answer(client, number, f"Public: {_METHODS}\r\nSession: 1")
            if method == "PLAY":
                _send(client, video)
                return


def _read(requests: object) -> tuple[str, str] | None:
    """Return the method and the number of the next request; None at the end."""
    lines = []
    while line := requests.readline().decode().strip():  # type: ignore[attr-defined]
        lines.append(line)
    number = next((line.partition(":")[2].strip() for line in lines if line.lower().startswith("cseq")), "0")
    return (lines[0].split()[0], number) if lines else None


def _answer(client: socket.socket, number: str, headers: str, text: str = "") -> None:
    client.sendall(f"RTSP/1.0 200 OK\r\nCSeq: {number}\r\n{headers}\r\n\r\n{text}".encode())


def _command(video: Path, port: int, *options: str) -> list[str]:
    coding = ["-an", "-c:v", "mpeg4", "-g", "5", "-b:v", "2M", "-f", "rtp", *options]
    return ["ffmpeg", "-loglevel", "error", "-re", "-i", str(video), *coding, f"rtp://127.0.0.1:{port}?pkt_size=1200"]


def _description(video: Path) -> str:
    """Return the session description (SDP) of the stream."""
    command = _command(video, 9, "-sdp_file", "pipe:1", "-t", "0.1")
    text = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=True).stdout
    lines = [line for line in text.splitlines() if not line.startswith("SDP:")]
    return "\r\n".join(line if not line.startswith("m=") else "m=video 0 RTP/AVP 96" for line in lines) + "\r\n"


def _send(client: socket.socket, video: Path) -> None:
    """Relay the RTP packets of ffmpeg to the client until the video ends."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as packets:
        packets.bind(("127.0.0.1", 0))
        packets.settimeout(1.0)
        sender = subprocess.Popen(_command(video, packets.getsockname()[1]), stdin=subprocess.DEVNULL)
        try:
            while True:
                try:
                    packet = packets.recv(2048)
                except TimeoutError:
                    if sender.poll() is not None:
                        return
                    continue
                client.sendall(b"$\0" + len(packet).to_bytes(2) + packet)
        finally:
            sender.kill()
            sender.wait()
