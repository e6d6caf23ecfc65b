"""Machine code for sm_90 as nvdisasm prints it: kernels, instructions and operands."""

from __future__ import annotations

import functools
import re
from typing import NamedTuple

import numpy as np


class Operand(NamedTuple):
    """An operand of an instruction.

    Attributes:
        kind: register, uniform, predicate, uniform predicate, constant, literal, decimal, address, or name (of a label,
            a barrier or a special register).
        index: the number of the register or predicate (-1: the one that is always 0 or true), or the byte of the
            constant bank.
        value: the 32 bits of a literal, those of a decimal number as float32.
        text: as printed, without signs.
        negative, inverted, absolute: what is applied to the value.
        half: which half of a register holds a float16, or -1.
        scale: of a register in an address.
        terms: of an address.
    """

    kind: str
    index: int = -1
    value: int = 0
    text: str = ""
    negative: bool = False
    inverted: bool = False
    absolute: bool = False
    half: int = -1
    scale: int = 1
    terms: tuple[Operand, ...] = ()


class Instruction(NamedTuple):
    """One instruction.

    Attributes:
        address: in bytes from the start of the kernel.
        predicate: under which it runs, if any.
        name: such as ``ISETP.GE.AND``.
        parts: the name, cut at the points.
        operands: in the order of the listing.
    """

    address: int
    predicate: Operand | None
    name: str
    parts: tuple[str, ...]
    operands: tuple[Operand, ...]


class Kernel(NamedTuple):
    """The instructions of a kernel, and the numbers of those that labels and addresses point to."""

    instructions: tuple[Instruction, ...]
    labels: dict[str, int]
    numbers: dict[int, int]


_REGISTERS = {"R": "register", "UR": "uniform", "P": "predicate", "UP": "uniform predicate"}


def bodies(listing: str) -> dict[str, str]:
    """Return the text of each kernel by its mangled name."""
    parts = re.split(r"^\.text\.(\S+):\n", listing, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


@functools.cache
def parse(body: str) -> Kernel:
    """Return the instructions of a kernel."""
    instructions, labels = [], {}
    for line in body.split("//-----")[0].splitlines():
        if label := re.match(r"(\.L_x_\d+|\$\S+):", line):
            labels[label[1]] = len(instructions)
        elif code := re.match(r"\s+/\*([0-9a-f]{4,6})\*/\s+(.*?)\s*;", line):
            instructions.append(_instruction(int(code[1], 16), code[2]))
    return Kernel(tuple(instructions), labels, {one.address: number for number, one in enumerate(instructions)})


def _instruction(address: int, text: str) -> Instruction:
    predicate = None
    if guarded := re.match(r"@(!?U?P\w+)\s+(.*)", text):
        predicate, text = operand(guarded[1]), guarded[2]
    name, _, rest = text.replace(".reuse", "").partition(" ")
    if name.startswith("RET"):  # a register, and the kernel that the address belongs to
        rest = rest.split()[0]
    return Instruction(address, predicate, name, tuple(name.split(".")), tuple(map(operand, _split(rest))))


def _split(text: str) -> list[str]:
    """Cut at the commas that are not in brackets."""
    return [part.strip() for part in re.split(r",(?![^\[(]*[\])])", text) if part.strip()]


@functools.cache
def operand(text: str) -> Operand:
    """Return the operand that ``text`` describes."""
    sign = text[0] if text[0] in "-~!+" else ""
    bare = text[len(sign) :]
    if re.fullmatch(r"0x[0-9a-f]+", bare):
        value = int(bare, 16)
        return Operand("literal", value=(-value if sign == "-" else value) & 0xFFFFFFFF, text=text)
    if re.fullmatch(r"(\d[\d.]*(e[-+]?\d+)?|INF|QNAN)", bare):
        number = float(text.replace("INF", "inf").replace("QNAN", "nan"))
        return Operand("decimal", value=int(np.float32(number).view(np.uint32)), text=text)
    one = _unsigned(bare)
    return one._replace(negative=sign in ("-", "!"), inverted=sign == "~")


def _unsigned(text: str) -> Operand:
    if text.startswith("|"):
        return operand(text[1:-1])._replace(absolute=True)
    if half := re.fullmatch(r"(\S+)\.H([01])_H[01]", text):
        return operand(half[1])._replace(half=int(half[2]))
    if register := re.fullmatch(r"(U?[RP])(\d+|Z|T)(?:\.64)?(?:\.X(\d+))?(?:\.\w+)?", text):
        index = int(register[2]) if register[2].isdigit() else -1
        return Operand(_REGISTERS[register[1]], index, text=text, scale=int(register[3] or 1))
    if constant := re.fullmatch(r"c\[0x0\]\[(0x[0-9a-f]+)\]", text):
        return Operand("constant", int(constant[1], 16), text=text)
    if address := re.fullmatch(r"(?:desc\[UR\d+\])?\[([^\]]*)\]", text):
        terms = tuple(operand(term) for term in address[1].split("+"))
        return Operand("address", text=text, terms=terms)
    return Operand("register" if text == "SRZ" else "name", text=text)
