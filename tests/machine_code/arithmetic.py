"""What instructions of sm_90 compute, for all threads of a block at once.

The order of operands is that of the listing; the names of instructions and their parts are those of the CUDA binary
utilities' manual. Only what the kernels use is here: float32, conversions from and to 16 bits, and integers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tests.machine_code.listing import Instruction, Operand

if TYPE_CHECKING:
    from tests.machine_code.machine import Machine, Mask

Operation = Callable[["Machine", Instruction, "Mask"], None]
OPERATIONS: dict[str, Operation] = {}
_LOW = np.uint64(0xFFFFFFFF)
_COMPARE: dict[str, Callable[[Any, Any], Any]] = {
    "LT": np.less, "LE": np.less_equal, "GT": np.greater, "GE": np.greater_equal, "EQ": np.equal, "NE": np.not_equal,
}  # fmt: skip
_SMALLEST = np.float32(2.0**-126)


def operation(*names: str) -> Callable[[Operation], Operation]:
    """Enter a function for the instructions of these names."""

    def enter(function: Operation) -> Operation:
        OPERATIONS.update(dict.fromkeys(names, function))
        return function

    return enter


def _is_predicate(one: Operand) -> bool:
    return one.kind in ("predicate", "uniform predicate")


def _leading_predicates(operands: tuple[Operand, ...]) -> tuple[list[Operand], list[Operand]]:
    """Return the predicates at the start of the operands, and the others."""
    count = 0
    while count < len(operands) and _is_predicate(operands[count]):
        count += 1
    return list(operands[:count]), list(operands[count:])


def _signed(bits: NDArray[np.uint32]) -> NDArray[np.int32]:
    return bits.view(np.int32)


def _widened(bits: NDArray[np.uint32]) -> NDArray[np.uint64]:
    return bits.astype(np.uint64)


# ---- moves ----


@operation("MOV", "UMOV", "R2UR")
def _move(m: Machine, one: Instruction, active: Mask) -> None:
    value = m.bits(one.operands[-1])
    m.set(one.operands[0], np.full_like(value, value[active][0]) if one.parts[0] == "R2UR" else value, active)


@operation("CS2R")
def _zero(m: Machine, one: Instruction, active: Mask) -> None:
    for part in range(1 if "32" in one.parts else 2):
        m.set(one.operands[0], np.zeros(m.threads, np.uint32), active, part)


@operation("S2R", "S2UR")
def _special(m: Machine, one: Instruction, active: Mask) -> None:
    values = {"SR_TID.X": np.arange(m.threads), "SR_CTAID.X": np.full(m.threads, m.block), "SR_LANEID": m.lane}
    m.set(one.operands[0], values.get(one.operands[1].text, np.zeros(m.threads)).astype(np.uint32), active)


@operation("LDC", "ULDC")
def _load_constant(m: Machine, one: Instruction, active: Mask) -> None:
    target, source = one.operands
    for signs, kind in (("U8", np.uint8), ("S8", np.int8), ("U16", np.uint16), ("S16", np.int16)):
        if signs in one.parts:
            size = np.dtype(kind).itemsize
            value = m.constants[source.index : source.index + size].view(kind)[0]
            m.set(target, np.full(m.threads, value).astype(np.int64), active)
            return
    for part in range(2 if "64" in one.parts else 1):
        m.set(target, m.word(source, part), active, part)


@operation("SEL", "USEL", "FSEL")
def _select(m: Machine, one: Instruction, active: Mask) -> None:
    target, first, second, condition = one.operands
    read = (lambda o: m.real(o).view(np.uint32)) if one.parts[0] == "FSEL" else m.bits
    m.set(target, np.where(m.predicate(condition), read(first), read(second)), active)


@operation("SHFL")
def _shuffle(m: Machine, one: Instruction, active: Mask) -> None:
    inside, target, value, by, bound = one.operands
    offset, limit = m.bits(by).astype(int), m.bits(bound).astype(int)
    segment = (limit >> 8) & 31  # lanes of a segment have these bits in common
    first = m.lane & segment
    last = first | (limit & 31 & ~segment)
    source = {"UP": m.lane - offset, "DOWN": m.lane + offset, "BFLY": m.lane ^ offset, "IDX": first | offset}[
        one.parts[1]
    ]
    valid = source >= (limit & 31 | first) if one.parts[1] == "UP" else source <= last
    lane = np.where(valid, source, m.lane)
    sender = np.arange(m.threads) - m.lane + lane
    m.set(target, m.word(value)[sender], active)
    m.set_predicate(inside, valid, active)


@operation("P2R")
def _predicates_to_register(m: Machine, one: Instruction, active: Mask) -> None:
    target, _, other, mask = one.operands
    bits = np.zeros(m.threads, np.uint32)
    for index in range(7):
        bits |= m.predicates[index].astype(np.uint32) << np.uint32(index)
    kept = m.bits(mask)
    m.set(target, (bits & kept) | (m.bits(other) & ~kept), active)


@operation("R2P")
def _register_to_predicates(m: Machine, one: Instruction, active: Mask) -> None:
    bits, mask = m.bits(one.operands[-2]), m.bits(one.operands[-1])
    for index in range(7):
        chosen = active & ((mask >> np.uint32(index)) & 1).astype(bool)
        m.predicates[index][chosen] = ((bits >> np.uint32(index)) & 1).astype(bool)[chosen]


@operation("B2R")
def _vote_to_register(m: Machine, one: Instruction, active: Mask) -> None:
    m.set(one.operands[0], np.full(m.threads, m.vote, np.uint32), active)
    if len(one.operands) > 1:
        m.set_predicate(one.operands[1], np.full(m.threads, m.vote), active)


@operation("VOTE", "VOTEU")
def _vote(m: Machine, one: Instruction, active: Mask) -> None:
    outs, rest = _leading_predicates(one.operands)
    condition = outs.pop() if not rest or not _is_predicate(rest[-1]) else rest[-1]
    value = m.predicate(condition) & active
    ballot, every, some = (np.zeros(m.threads, kind) for kind in (np.uint32, bool, bool))
    for warp in np.unique(m.warp[active]):
        own = m.warp == warp
        ballot[own] = np.bitwise_or.reduce(
            np.where(value, np.uint32(1) << m.lane.astype(np.uint32), 0)[own].astype(np.uint32)
        )
        every[own], some[own] = value[own & active].all(), value[own].any()
    for target in rest:
        if not _is_predicate(target):
            m.set(target, ballot, active)
    for out in outs:
        m.set_predicate(out, every if "ALL" in one.parts else some, active)


# ---- integers ----


@operation("IADD3", "UIADD3")
def _add(m: Machine, one: Instruction, active: Mask) -> None:
    target, *rest = one.operands
    carries, rest = _leading_predicates(tuple(rest))
    total = sum((_widened(m.bits(term)) for term in rest[:3]), np.zeros(m.threads, np.uint64))
    if "X" in one.parts:
        for carry in rest[3:]:
            total = total + m.predicate(carry).astype(np.uint64)
    m.set(target, total, active)
    for number, carry in enumerate(carries, start=1):
        m.set_predicate(carry, total >> np.uint64(32) >= number, active)


@operation("VIADD")
def _add_two(m: Machine, one: Instruction, active: Mask) -> None:
    m.set(one.operands[0], m.bits(one.operands[1]) + m.bits(one.operands[2]), active)


@operation("IMAD", "UIMAD")
def _multiply_add(m: Machine, one: Instruction, active: Mask) -> None:
    target, *rest = one.operands
    carries, rest = _leading_predicates(tuple(rest))
    a, b = m.bits(rest[0]), m.bits(rest[1])
    if "WIDE" in one.parts or "HI" in one.parts:
        if "U32" in one.parts:
            product = _widened(a) * _widened(b)
        else:
            product = (_signed(a).astype(np.int64) * _signed(b).astype(np.int64)).view(np.uint64)
        total = product + m.long(rest[2])
        if "HI" in one.parts:
            m.set(target, total >> np.uint64(32), active)
        else:
            m.set_long(target, total, active)
        for carry in carries:
            m.set_predicate(carry, total < product, active)
        return
    total32 = a * b + m.bits(rest[2])
    if "X" in one.parts:
        total32 = total32 + m.predicate(rest[3]).astype(np.uint32)
    m.set(target, total32, active)


@operation("LEA", "ULEA")
def _shift_add(m: Machine, one: Instruction, active: Mask) -> None:
    target, *rest = one.operands
    carries, rest = _leading_predicates(tuple(rest))
    added = [operand for operand in rest if _is_predicate(operand)]
    rest = [operand for operand in rest if not _is_predicate(operand)]
    shift = np.uint64(rest[-1].value)
    if "HI" in one.parts and "SX32" in one.parts:
        shifted = (_signed(m.bits(rest[0])).astype(np.int64).view(np.uint64) << shift) >> np.uint64(32)
    elif "HI" in one.parts:
        both = _widened(m.bits(rest[0])) | (_widened(m.bits(rest[2])) << np.uint64(32))
        shifted = (both << shift) >> np.uint64(32)
    else:
        shifted = (_widened(m.bits(rest[0])) << shift) & _LOW
    total = (shifted & _LOW) + _widened(m.bits(rest[1]))
    for operand in added:
        total = total + m.predicate(operand).astype(np.uint64)
    m.set(target, total, active)
    for carry in carries:
        m.set_predicate(carry, total >> np.uint64(32) > 0, active)


def _looked_up(table: int, a: Any, b: Any, c: Any) -> Any:
    """Return the bits of ``table`` that the bits of a, b and c choose."""
    found = a & ~a
    for row in range(8):
        if table >> row & 1:
            found = found | ((a if row & 4 else ~a) & (b if row & 2 else ~b) & (c if row & 1 else ~c))
    return found


@operation("LOP3", "ULOP3")
def _logic(m: Machine, one: Instruction, active: Mask) -> None:
    outs, (target, a, b, c, table, *_) = _leading_predicates(one.operands)
    found = _looked_up(table.value, m.bits(a), m.bits(b), m.bits(c))
    m.set(target, found, active)
    for out in outs:
        m.set_predicate(out, found != 0, active)


@operation("PLOP3", "UPLOP3")
def _predicate_logic(m: Machine, one: Instruction, active: Mask) -> None:
    first, second, a, b, c, *tables = one.operands
    inputs = [m.predicate(operand).copy() for operand in (a, b, c)]
    for out, table in zip((first, second), tables, strict=True):
        m.set_predicate(out, _looked_up(table.value, *inputs), active)


def _joined(one: Instruction, found: Mask, condition: Mask) -> Mask:
    if "AND" in one.parts:
        return found & condition
    return found | condition if "OR" in one.parts else found ^ condition


@operation("ISETP", "UISETP")
def _compare(m: Machine, one: Instruction, active: Mask) -> None:
    first, second, left, right, condition, *lower = one.operands
    a: Any = m.bits(left)
    b: Any = m.bits(right)
    kind = one.parts[1]
    if "U32" not in one.parts:
        a, b = _signed(a), _signed(b)
    found = _COMPARE[kind](a, b)
    if "EX" in one.parts:  # of the upper words, where the lower ones decide between equal ones
        low = m.predicate(lower[0])
        if kind in ("EQ", "NE"):
            found = np.where(a == b, low, kind == "NE")
        else:
            found = np.where(a == b, low, _COMPARE[kind[0] + "T"](a, b))
    given = m.predicate(condition).copy()
    m.set_predicate(first, _joined(one, found, given), active)
    m.set_predicate(second, _joined(one, ~found, given), active)


def _extreme(one: Instruction, a: Any, b: Any, smaller: Mask) -> Any:
    if "U32" not in one.parts:
        a, b = _signed(a), _signed(b)
    return np.where(smaller, np.minimum(a, b), np.maximum(a, b)).view(np.uint32)


@operation("IMNMX", "VIMNMX", "UIMNMX")
def _minimum(m: Machine, one: Instruction, active: Mask) -> None:
    target, a, b, smaller = one.operands[:4]
    m.set(target, _extreme(one, m.bits(a), m.bits(b), m.predicate(smaller)), active)


@operation("VIMNMX3")
def _minimum_of_three(m: Machine, one: Instruction, active: Mask) -> None:
    target, a, b, c, smaller = one.operands[:5]
    chosen = m.predicate(smaller)
    m.set(target, _extreme(one, _extreme(one, m.bits(a), m.bits(b), chosen), m.bits(c), chosen), active)


@operation("VIADDMNMX")
def _add_minimum(m: Machine, one: Instruction, active: Mask) -> None:
    target, a, b, c, smaller = one.operands[:5]
    m.set(target, _extreme(one, m.bits(a) + m.bits(b), m.bits(c), m.predicate(smaller)), active)


@operation("SHF", "USHF")
def _shift(m: Machine, one: Instruction, active: Mask) -> None:
    target, low, by, high = one.operands
    count, parts = m.bits(by), one.parts
    wide = "64" in parts or "U64" in parts or "S64" in parts
    count = np.minimum(count, np.uint32(63)) if "W" not in parts else count & np.uint32(63 if wide else 31)
    both = _widened(m.bits(low)) | (_widened(m.bits(high)) << np.uint64(32))
    if parts[1] == "L":
        moved = both << _widened(count) if wide else _widened(m.bits(low)) << _widened(count)
        if "HI" in parts and not wide:
            moved = (both << _widened(np.minimum(count, np.uint32(32)))) & ~np.uint64(0)
        found = moved >> np.uint64(32) if "HI" in parts else moved
    elif "HI" in parts and not wide:
        upper = m.bits(high)
        signed = "S32" in parts
        found = (
            (_signed(upper).astype(np.int64) >> count.astype(np.int64)).view(np.uint64)
            if signed
            else (_widened(upper) >> _widened(count))
        )
    else:
        signed64 = both.view(np.int64) >> count.astype(np.int64)
        moved = signed64.view(np.uint64) if "S64" in parts else both >> _widened(count)
        found = moved >> np.uint64(32) if "HI" in parts else moved
    m.set(target, found & _LOW, active)


@operation("IABS")
def _absolute(m: Machine, one: Instruction, active: Mask) -> None:
    m.set(one.operands[0], np.abs(_signed(m.bits(one.operands[1]))).view(np.uint32), active)


@operation("PRMT", "UPRMT")
def _permute_bytes(m: Machine, one: Instruction, active: Mask) -> None:
    target, low, chosen, high = one.operands
    both = _widened(m.bits(low)) | (_widened(m.bits(high)) << np.uint64(32))
    selector, found = m.bits(chosen), np.zeros(m.threads, np.uint32)
    for byte in range(4):
        choice = (selector >> np.uint32(4 * byte)) & np.uint32(15)
        value = (both >> _widened(8 * (choice & np.uint32(7)))) & np.uint64(255)
        value = np.where(choice & np.uint32(8), np.where(value & np.uint64(128), 255, 0), value)
        found |= value.astype(np.uint32) << np.uint32(8 * byte)
    m.set(target, found, active)


@operation("POPC", "UPOPC")
def _count_bits(m: Machine, one: Instruction, active: Mask) -> None:
    bits = m.bits(one.operands[1])
    m.set(one.operands[0], sum((bits >> np.uint32(i)) & np.uint32(1) for i in range(32)), active)


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


@operation("FADD", "HADD2")
def _add_real(m: Machine, one: Instruction, active: Mask) -> None:
    if one.parts[0] == "HADD2" and "F32" not in one.parts:
        raise NotImplementedError(f"instruction {one.name}")
    m.set(one.operands[0], m.real(one.operands[1]) + m.real(one.operands[2]), active)


@operation("FMUL")
def _multiply_real(m: Machine, one: Instruction, active: Mask) -> None:
    product = m.real(one.operands[1]) * m.real(one.operands[2])
    m.set(one.operands[0], _flushed(product) if "FTZ" in one.parts else product, active)


@operation("FFMA")
def _multiply_add_real(m: Machine, one: Instruction, active: Mask) -> None:
    target, a, b, c = one.operands
    exact = m.real(a).astype(np.float64) * m.real(b).astype(np.float64) + m.real(c).astype(np.float64)
    m.set(target, _rounded(exact, one.parts), active)


@operation("FCHK")
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
    return np.where(unordered, len(kind) == 3, _COMPARE[kind[:2]](a, b))


@operation("FSETP")
def _compare_real(m: Machine, one: Instruction, active: Mask) -> None:
    first, second, left, right, condition = one.operands
    found, given = _compared(one.parts[1], m.real(left), m.real(right)), m.predicate(condition).copy()
    m.set_predicate(first, _joined(one, found, given), active)
    m.set_predicate(second, _joined(one, ~found, given), active)


@operation("FSET")
def _compare_to_real(m: Machine, one: Instruction, active: Mask) -> None:
    target, left, right, condition = one.operands
    kind = next(part for part in one.parts[1:] if part[:2] in _COMPARE or part in ("NUM", "NAN"))
    found = _joined(one, _compared(kind, m.real(left), m.real(right)), m.predicate(condition))
    m.set(target, np.where(found, np.float32(1), np.float32(0)), active)


@operation("FMNMX")
def _minimum_real(m: Machine, one: Instruction, active: Mask) -> None:
    target, a, b, smaller = one.operands
    low, high = (np.minimum, np.maximum) if "NAN" in one.parts else (np.fmin, np.fmax)
    left, right = m.real(a), m.real(b)
    m.set(target, np.where(m.predicate(smaller), low(left, right), high(left, right)), active)


@operation("MUFU")
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


@operation("I2F", "I2FP", "UI2F")
def _integer_to_real(m: Machine, one: Instruction, active: Mask) -> None:
    bits = m.bits(one.operands[1])
    exact = (bits if "U32" in one.parts else _signed(bits)).astype(np.float64)
    m.set(one.operands[0], _rounded(exact, one.parts), active)


@operation("F2I")
def _real_to_integer(m: Machine, one: Instruction, active: Mask) -> None:
    most = 2**32 - 1 if "U32" in one.parts else 2**31 - 1
    least = 0 if "U32" in one.parts else -(2**31)
    whole = np.trunc(m.real(one.operands[1]).astype(np.float64))
    m.set(one.operands[0], np.clip(np.nan_to_num(whole), least, most).astype(np.int64), active)


@operation("HFMA2")
def _pair_of_halves(m: Machine, one: Instruction, active: Mask) -> None:
    """A constant: the compiler writes it as 0 * 0 + a pair of float16 numbers."""
    target, a, b, *pair = one.operands
    if not (a.kind == b.kind == "register" and a.index == b.index == -1 and len(pair) == 2):
        raise NotImplementedError(f"instruction {one.name} other than of a constant")
    high, low = (
        int(np.array(operand.value, np.uint32).view(np.float32).astype(np.float16).view(np.uint16)) for operand in pair
    )
    m.set(target, np.full(m.threads, high << 16 | low, np.uint32), active)


@operation("F2FP")
def _to_pair_of_halves(m: Machine, one: Instruction, active: Mask) -> None:
    def halved(operand: Operand) -> NDArray[np.uint32]:
        value = m.real(operand)
        if "BF16" not in one.parts:
            return value.astype(np.float16).view(np.uint16).astype(np.uint32)
        bits = _widened(value.view(np.uint32))
        rounded = (bits + np.uint64(0x7FFF) + ((bits >> np.uint64(16)) & np.uint64(1))) >> np.uint64(16)
        return np.where(np.isnan(value), np.uint32(0x7FFF), rounded.astype(np.uint32))

    target, high, low = one.operands[:3]
    m.set(target, (halved(high) << np.uint32(16)) | halved(low), active)


# ---- memory ----


def _size(one: Instruction) -> int:
    sizes = {"128": 16, "64": 8, "U16": 2, "S16": 2, "U8": 1, "S8": 1}
    return next((size for part, size in sizes.items() if part in one.parts), 4)


def _words_of(m: Machine, source: Operand, count: int, active: Mask) -> NDArray[np.uint32]:
    words = [m.word(source, part)[active] for part in range(count)]
    return np.ascontiguousarray(np.stack(words, axis=1))


@operation("LDG")
def _load(m: Machine, one: Instruction, active: Mask) -> None:
    target, size = one.operands[0], _size(one)
    found = m.memory.load(m.address(one.operands[1])[active], np.flatnonzero(active), size)
    if size < 4:
        found = np.concatenate([found, np.zeros((len(found), 4 - size), np.uint8)], axis=1)
    _spread(m, target, np.ascontiguousarray(found).view(np.uint32), active)


def _spread(m: Machine, target: Operand, words: NDArray[np.uint32], active: Mask) -> None:
    """Write words [threads,n] of the active threads to n registers."""
    for part in range(words.shape[1]):
        value = np.zeros(m.threads, np.uint32)
        value[active] = words[:, part]
        m.set(target, value, active, part)


@operation("STG")
def _store(m: Machine, one: Instruction, active: Mask) -> None:
    size = _size(one)
    words = _words_of(m, one.operands[1], max(1, size // 4), active)
    m.memory.store(m.address(one.operands[0])[active], np.flatnonzero(active), words.view(np.uint8)[:, :size])


@operation("LDS")
def _load_shared(m: Machine, one: Instruction, active: Mask) -> None:
    address = m.shared_address(one.operands[1])[active]
    _spread(m, one.operands[0], m.shared.load(address, np.flatnonzero(active), _size(one)), active)


@operation("STS")
def _store_shared(m: Machine, one: Instruction, active: Mask) -> None:
    words = _words_of(m, one.operands[1], _size(one) // 4, active)
    m.shared.store(m.shared_address(one.operands[0])[active], np.flatnonzero(active), words)
