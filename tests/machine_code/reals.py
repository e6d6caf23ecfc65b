"""Instructions of float32 numbers, and conversions, for all threads of a block at once; see ``integers``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from tests.machine_code.listing import Instruction, Operand
from tests.machine_code.operations import COMPARE, Table, joined, signed, widened

if TYPE_CHECKING:
    from tests.machine_code.machine import Machine, Mask

TABLE = Table()
_SMALLEST = np.float32(2.0**-126)


# ---- float32 ----


def _rounded(exact: NDArray[np.float64], parts: tuple[str, ...]) -> NDArray[np.float32]:
    """Return float32 numbers, rounded to the nearest, or as ``parts`` says."""
    found = exact.astype(np.float32)
    back = found.astype(np.float64)
    if "RM" in parts:
        return np.where(back > exact, np.nextafter(found, np.float32(-np.inf)), found)
    if "RP" in parts:
        return np.where(back < exact, np.nextafter(found, np.float32(np.inf)), found)
    if "RZ" in parts:
        return np.where(np.abs(back) > np.abs(exact), np.nextafter(found, np.float32(0)), found)
    return found


def _flushed(value: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.where(np.abs(value) < _SMALLEST, np.copysign(np.float32(0), value), value).astype(np.float32)


@TABLE.enter("FADD", "HADD2")
def _add_real(m: Machine, one: Instruction, active: Mask) -> None:
    if one.parts[0] == "HADD2" and "F32" not in one.parts:
        raise NotImplementedError(f"instruction {one.name}")
    m.set(one.operands[0], m.real(one.operands[1]) + m.real(one.operands[2]), active)


@TABLE.enter("FMUL")
def _multiply_real(m: Machine, one: Instruction, active: Mask) -> None:
    product = m.real(one.operands[1]) * m.real(one.operands[2])
    m.set(one.operands[0], _flushed(product) if "FTZ" in one.parts else product, active)


@TABLE.enter("FFMA")
def _multiply_add_real(m: Machine, one: Instruction, active: Mask) -> None:
    target, a, b, c = one.operands
    exact = m.real(a).astype(np.float64) * m.real(b).astype(np.float64) + m.real(c).astype(np.float64)
    m.set(target, _rounded(exact, one.parts), active)


@TABLE.enter("FCHK")
def _check_division(m: Machine, one: Instruction, active: Mask) -> None:
    """Whether the fast division fails, by the exponents of the numbers."""
    above, below = (
        ((m.real(operand).view(np.uint32) >> np.uint32(23)) & np.uint32(255)).astype(int)
        for operand in one.operands[1:3]
    )
    difference = above - below
    slow = (above == 255) | (below == 255) | (below < 3) | (below > 252) | ((above < 26) & (above != 0))
    m.set_predicate(one.operands[0], slow | (difference > 125) | (difference < -123), active)


def _compared(kind: str, a: NDArray[np.float32], b: NDArray[np.float32]) -> Mask:
    """Compare; a name with U at its end is true for NaN."""
    if kind in ("NUM", "NAN"):
        return (np.isnan(a) | np.isnan(b)) == (kind == "NAN")
    unordered = np.isnan(a) | np.isnan(b)
    return np.where(unordered, len(kind) == 3, COMPARE[kind[:2]](a, b))


@TABLE.enter("FSETP")
def _compare_real(m: Machine, one: Instruction, active: Mask) -> None:
    first, second, left, right, condition = one.operands
    found, given = _compared(one.parts[1], m.real(left), m.real(right)), m.predicate(condition).copy()
    m.set_predicate(first, joined(one, found, given), active)
    m.set_predicate(second, joined(one, ~found, given), active)


@TABLE.enter("FSET")
def _compare_to_real(m: Machine, one: Instruction, active: Mask) -> None:
    target, left, right, condition = one.operands
    kind = next(part for part in one.parts[1:] if part[:2] in COMPARE or part in ("NUM", "NAN"))
    found = joined(one, _compared(kind, m.real(left), m.real(right)), m.predicate(condition))
    m.set(target, np.where(found, np.float32(1), np.float32(0)), active)


@TABLE.enter("FMNMX")
def _minimum_real(m: Machine, one: Instruction, active: Mask) -> None:
    target, a, b, smaller = one.operands
    low, high = (np.minimum, np.maximum) if "NAN" in one.parts else (np.fmin, np.fmax)
    left, right = m.real(a), m.real(b)
    m.set(target, np.where(m.predicate(smaller), low(left, right), high(left, right)), active)


@TABLE.enter("MUFU")
def _special_function(m: Machine, one: Instruction, active: Mask) -> None:
    """The functions of the special-function unit, rounded to the nearest; hardware may be a unit further off."""
    x = m.real(one.operands[1]).astype(np.float64)
    if "EX2" in one.parts:
        exact = np.exp2(x)
    elif "RCP" in one.parts:
        exact = 1.0 / np.where(np.abs(x) < float(_SMALLEST), np.copysign(0.0, x), x)
    elif "RSQ" in one.parts:
        exact = 1.0 / np.sqrt(x)
    else:
        raise NotImplementedError(f"instruction {one.name}")
    m.set(one.operands[0], _flushed(exact.astype(np.float32)), active)


# ---- conversions ----


@TABLE.enter("I2F", "I2FP", "UI2F")
def _integer_to_real(m: Machine, one: Instruction, active: Mask) -> None:
    bits = m.bits(one.operands[1])
    exact = (bits if "U32" in one.parts else signed(bits)).astype(np.float64)
    m.set(one.operands[0], _rounded(exact, one.parts), active)


@TABLE.enter("F2I")
def _real_to_integer(m: Machine, one: Instruction, active: Mask) -> None:
    most = 2**32 - 1 if "U32" in one.parts else 2**31 - 1
    least = 0 if "U32" in one.parts else -(2**31)
    whole = np.trunc(m.real(one.operands[1]).astype(np.float64))
    m.set(one.operands[0], np.clip(np.nan_to_num(whole), least, most).astype(np.int64), active)


@TABLE.enter("HFMA2")
def _pair_of_halves(m: Machine, one: Instruction, active: Mask) -> None:
    """A constant: the compiler writes it as 0 * 0 + a pair of float16 numbers."""
    target, a, b, *pair = one.operands
    if not (a.kind == b.kind == "register" and a.index == b.index == -1 and len(pair) == 2):
        raise NotImplementedError(f"instruction {one.name} other than of a constant")
    high, low = (
        int(np.array(operand.value, np.uint32).view(np.float32).astype(np.float16).view(np.uint16)) for operand in pair
    )
    m.set(target, np.full(m.threads, high << 16 | low, np.uint32), active)


@TABLE.enter("F2FP")
def _to_pair_of_halves(m: Machine, one: Instruction, active: Mask) -> None:
    def halved(operand: Operand) -> NDArray[np.uint32]:
        value = m.real(operand)
        if "BF16" not in one.parts:
            return value.astype(np.float16).view(np.uint16).astype(np.uint32)
        bits = widened(value.view(np.uint32))
        rounded = (bits + np.uint64(0x7FFF) + ((bits >> np.uint64(16)) & np.uint64(1))) >> np.uint64(16)
        return np.where(np.isnan(value), np.uint32(0x7FFF), rounded.astype(np.uint32))

    target, high, low = one.operands[:3]
    m.set(target, (halved(high) << np.uint32(16)) | halved(low), active)
