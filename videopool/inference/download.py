"""Download a video of a web server, so that it is read like any other file."""

from __future__ import annotations

import http.client
import shutil
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path, PurePosixPath

from videopool.data.decoding.reader import DecodeError

_PLAYLISTS = ("mpegurl", "dash+xml")  # in the content type of HLS and DASH
_MOST_CHARACTERS = 60  # of the name of the file; file systems allow 255 bytes, and a character has up to 4


def download(address: str, folder: Path, *, timeout: float) -> Path | None:
    """Download the video at ``address`` to ``folder``, and return its file; None if it is a stream without an end.

    A stream is an answer without a length, or a playlist of HLS or DASH.

    Args:
        address: starts with ``http://`` or ``https://``.
        folder: exists.
        timeout: seconds without an answer, or without further bytes.

    Raises:
        DecodeError: if the server does not answer, refuses, or sends less than it announced.
    """
    try:
        with urllib.request.urlopen(address, timeout=timeout) as answer:
            length = answer.headers.get("Content-Length")
            kind = answer.headers.get("Content-Type", "").lower()
            if length is None or any(name in kind for name in _PLAYLISTS):
                return None
            name = PurePosixPath(urllib.parse.unquote(urllib.parse.urlsplit(address).path)).name or "video"
            file = folder / name[-_MOST_CHARACTERS:]
            with file.open("wb") as target:
                shutil.copyfileobj(answer, target)
    except urllib.error.HTTPError as error:
        raise DecodeError(address, f"cannot be read (the server answers {error.code} {error.reason})") from None
    except TimeoutError:
        raise DecodeError(address, f"did not answer within {timeout:g} s") from None
    except (urllib.error.URLError, http.client.HTTPException, ConnectionError, ValueError) as error:
        raise DecodeError(address, _reason(error, timeout)) from None
    if file.stat().st_size != int(length):
        raise DecodeError(address, f"broke off after {file.stat().st_size} of {length} bytes")
    return file


def _reason(error: Exception, timeout: float) -> str:
    cause = getattr(error, "reason", error)
    if isinstance(cause, TimeoutError):
        return f"did not answer within {timeout:g} s"
    return f"cannot be read ({getattr(cause, 'strerror', None) or cause})"
