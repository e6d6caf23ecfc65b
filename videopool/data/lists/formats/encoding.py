"""Text of files in UTF-8 or UTF-16; for other encodings, a sentence that names the likely one."""

from __future__ import annotations

import codecs
import itertools
from pathlib import Path

from videopool.errors import InputError

_MARKS = (  # byte order marks; that of UTF-32 begins with that of UTF-16
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_OTHER_KINDS = {  # of files, by how they begin
    b"PK\x03\x04": "a zip archive or an Excel workbook; unpack it, or save the table as csv",
    b"\xd0\xcf\x11\xe0": "an Excel workbook; save the table as csv",
    b"\x1f\x8b": "compressed with gzip; unpack it with gunzip",
    b"PAR1": "a Parquet file; save the table as csv",
    b"%PDF": "a PDF; give a list of videos or a folder",
    b"version https://git-lfs": "a Git LFS pointer and not the file itself; run git lfs pull in its repository",
}
_WEB_PAGE = (b"<!doctype html", b"<html")
_KANA = range(0x3041, 0x30FF)
_SHARE_OF_ZEROS = 0.2  # of the bytes of western text in UTF-16 half are zero


def decoded_text(path: Path, content: bytes) -> str:
    """Return ``content``, the bytes of ``path``, as text.

    Raises:
        InputError: for anything but UTF-8, or UTF-16 and UTF-32 with a byte order mark; it names the likely encoding
            and the command that converts it, or the kind of file.
    """
    _refuse_other_kinds(path, content)
    encoding = next((name for mark, name in _MARKS if content.startswith(mark)), "utf-8")
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        likely = "" if encoding != "utf-8" else _likely(content)
        if not likely:
            raise InputError(f"{path}: cannot be read as text ({error}); give a list of videos or a folder") from None
        raise _other(path, likely) from None
    if "\0" in text:
        raise (
            _other(path, _likely_utf16(content))
            if _likely_utf16(content)
            else InputError(f"{path}: cannot be read as text (it holds zero bytes); give a list of videos or a folder")
        )
    return text


def _refuse_other_kinds(path: Path, content: bytes) -> None:
    kind = next((kind for mark, kind in _OTHER_KINDS.items() if content.startswith(mark)), "")
    if content[:100].lstrip().lower().startswith(_WEB_PAGE):
        kind = "an HTML page, as a failed download leaves; download the file again"
    if kind:
        raise InputError(f"{path} is {kind}")


def _other(path: Path, encoding: str) -> InputError:
    return InputError(
        f"{path}: cannot be read as text in UTF-8, but looks like {encoding}; convert it with "
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
    """Return UTF-16LE or UTF-16BE for text of mostly western letters without a byte order mark, else ""."""
    even, odd = content[::2].count(0), content[1::2].count(0)
    if len(content) % 2 or max(even, odd) < _SHARE_OF_ZEROS * len(content) or min(even, odd) > 0.05 * len(content):
        return ""
    return "UTF-16LE" if odd > even else "UTF-16BE"


def _pairs_of_gb2312(content: bytes) -> bool:
    """Whether all bytes above 127 come in pairs that are characters of GB2312, as the accents of Latin-1 rarely do."""
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
    """Whether most bytes above 127 stand beside another one."""
    high = [byte >= 0x80 for byte in content]
    beside = sum(a and b for a, b in itertools.pairwise(high))
    return 3 * beside >= sum(high)


def _decodes(content: bytes, encoding: str) -> str:
    try:
        return content.decode(encoding)
    except UnicodeDecodeError:
        return ""
