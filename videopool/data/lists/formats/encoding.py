"""Decoding text in UTF-8 or UTF-16; errors for other files name their likely encoding or kind."""

from __future__ import annotations

import codecs
import itertools
from pathlib import Path

from videopool.errors import InputError

_MARKS = (  # byte order marks; UTF-32's starts with UTF-16's
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_OTHER_KINDS = {  # by the first bytes
    b"PK\x03\x04": "a zip archive or an Excel workbook. Unpack it, or save the table as CSV.",
    b"\xd0\xcf\x11\xe0": "an Excel workbook. Save the table as CSV.",
    b"\x1f\x8b": "compressed with gzip. Unpack it with gunzip.",
    b"PAR1": "a Parquet file. Save the table as CSV.",
    b"%PDF": "a PDF. Give a list of videos or a folder.",
    b"version https://git-lfs": "a Git LFS pointer and not the file itself. Run git lfs pull in its repository.",
}
_WEB_PAGE = (b"<!doctype html", b"<html")
_KANA = range(0x3041, 0x30FF)
_SHARE_OF_ZEROS = 0.2  # half of the bytes of Western text in UTF-16 are zero


def decode_text(path: Path, content: bytes) -> str:
    """Return ``content``, the bytes of ``path``, as text.

    Raises:
        InputError: for anything but UTF-8, and UTF-16 or UTF-32 with a byte order mark. The error names the likely
            encoding and the command that converts it, or the kind of file.
    """
    _refuse_other_kinds(path, content)
    encoding = next((name for mark, name in _MARKS if content.startswith(mark)), "utf-8")
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        raise _unreadable(path, "" if encoding != "utf-8" else _likely(content), str(error)) from None
    if "\0" in text:
        raise _unreadable(path, _likely_utf16(content), "it contains zero bytes")
    return text


def _refuse_other_kinds(path: Path, content: bytes) -> None:
    kind = next((kind for mark, kind in _OTHER_KINDS.items() if content.startswith(mark)), "")
    if content[:100].lstrip().lower().startswith(_WEB_PAGE):
        kind = "an HTML page, probably from a failed download. Download the file again."
    if kind:
        raise InputError(f"{path} is {kind}")


def _unreadable(path: Path, encoding: str, reason: str) -> InputError:
    """Return the error for a file that is not UTF-8, but seems to have ``encoding`` ("": is not text)."""
    if not encoding:
        return InputError(f"{path} cannot be read as text ({reason}). Give a list of videos or a folder.")
    return InputError(
        f"{path} is not UTF-8; it looks like {encoding}. Convert it with "
        f"iconv -f {encoding} -t UTF-8 {path.name} > {path.stem}.utf8{path.suffix}"
    )


def _likely(content: bytes) -> str:
    """Return the encoding that ``content``, which is not UTF-8, seems to have, "" for none."""
    likely = _likely_utf16(content)
    if likely:
        return likely
    if b"\0" in content:
        return ""
    if _pairs_of_gb2312(content):
        return "GBK"
    japanese = _decodes(content, "shift_jis")
    if any(ord(character) in _KANA for character in japanese):
        return "SHIFT_JIS"
    if _decodes(content, "gbk") and _mostly_pairs(content):
        return "GBK"
    printable = all(byte >= 32 or byte in b"\t\r\n\f" for byte in content)
    return "WINDOWS-1252" if printable and _decodes(content, "cp1252") else ""


def _likely_utf16(content: bytes) -> str:
    """Return UTF-16LE or UTF-16BE for mostly Western text without a byte order mark, else ""."""
    even, odd = content[::2].count(0), content[1::2].count(0)
    if len(content) % 2 or max(even, odd) < _SHARE_OF_ZEROS * len(content) or min(even, odd) > 0.05 * len(content):
        return ""
    return "UTF-16LE" if odd > even else "UTF-16BE"


def _pairs_of_gb2312(content: bytes) -> bool:
    """Return whether all bytes above 127 form pairs that are characters of GB2312, as accents of Latin-1 rarely do."""
    position = 0
    while position < len(content):
        if content[position] < 0x80:
            position += 1
        elif 0xA1 <= content[position] <= 0xF7 and 0xA1 <= (content[position + 1 : position + 2] or b"\0")[0] <= 0xFE:
            position += 2
        else:
            return False
    return True


def _mostly_pairs(content: bytes) -> bool:
    """Return whether most bytes above 127 are next to another one."""
    high = [byte >= 0x80 for byte in content]
    beside = sum(a and b for a, b in itertools.pairwise(high))
    return 3 * beside >= sum(high)


def _decodes(content: bytes, encoding: str) -> str:
    try:
        return content.decode(encoding)
    except UnicodeDecodeError:
        return ""
