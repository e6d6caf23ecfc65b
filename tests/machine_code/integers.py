"""Instructions of sm_90 that move values, and those of integers and predicates, for all threads of a block at once.

The order of operands is that of the listing; the names of instructions and their parts are those of the CUDA binary
utilities' manual. Only what the kernels use is here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tests.machine_code.listing import Instruction
from tests.machine_code.operations import COMPARE, Table, is_predicate, joined, leading_predicates, signed, widened

if TYPE_CHECKING:
    from tests.machine_code.machine import Machine, Mask

TABLE = Table()
_LOW = np.uint64(0xFFFFFFFF)


# ---- moves ----


@TABLE.enter("MOV", "UMOV", "R2UR")
def _move(m: Machine, one: Instruction, active: Mask) -> None:
    value = m.bits(one.operands[-1])
    m.set(one.operands[0], np.full_like(value, value[active][0]) if one.parts[0] == "R2UR" else value, active)


@TABLE.enter("CS2R")
def _zero(m: Machine, one: Instruction, active: Mask) -> None:
    for part in range(1 if "32" in one.parts else 2):
        m.set(one.operands[0], np.zeros(m.threads, np.uint32), active, part)


@TABLE.enter("S2R", "S2UR")
def _special(m: Machine, one: Instruction, active: Mask) -> None:
    values = {"SR_TID.X": np.arange(m.threads), "SR_CTAID.X": np.full(m.threads, m.block), "SR_LANEID": m.lane}
    m.set(one.operands[0], values.get(one.operands[1].text, np.zeros(m.threads)).astype(np.uint32), active)


@TABLE.enter("LDC", "ULDC")
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


@TABLE.enter("SEL", "USEL", "FSEL")
def _select(m: Machine, one: Instruction, active: Mask) -> None:
    target, first, second, condition = one.operands
    read = (lambda o: m.real(o).view(np.uint32)) if one.parts[0] == "FSEL" else m.bits
    m.set(target, np.where(m.predicate(condition), read(first), read(second)), active)


@TABLE.enter("SHFL")
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


@TABLE.enter("P2R")
def _predicates_to_register(m: Machine, one: Instruction, active: Mask) -> None:
    target, _, other, mask = one.operands
    bits = np.zeros(m.threads, np.uint32)
    for index in range(7):
        bits |= m.predicates[index].astype(np.uint32) << np.uint32(index)
    kept = m.bits(mask)
    m.set(target, (bits & kept) | (m.bits(other) & ~kept), active)


@TABLE.enter("R2P")
def _register_to_predicates(m: Machine, one: Instruction, active: Mask) -> None:
    bits, mask = m.bits(one.operands[-2]), m.bits(one.operands[-1])
    for index in range(7):
        chosen = active & ((mask >> np.uint32(index)) & 1).astype(bool)
        m.predicates[index][chosen] = ((bits >> np.uint32(index)) & 1).astype(bool)[chosen]


@TABLE.enter("B2R")
def _vote_to_register(m: Machine, one: Instruction, active: Mask) -> None:
    m.set(one.operands[0], np.full(m.threads, m.vote, np.uint32), active)
    if len(one.operands) > 1:
        m.set_predicate(one.operands[1], np.full(m.threads, m.vote), active)


@TABLE.enter("VOTE", "VOTEU")
def _vote(m: Machine, one: Instruction, active: Mask) -> None:
    outs, rest = leading_predicates(one.operands)
    condition = outs.pop() if not rest or not is_predicate(rest[-1]) else rest[-1]
    value = m.predicate(condition) & active
    ballot, every, some = (np.zeros(m.threads, kind) for kind in (np.uint32, bool, bool))
    for warp in np.unique(m.warp[active]):
        own = m.warp == warp
        ballot[own] = np.bitwise_or.reduce(
            np.where(value, np.uint32(1) << m.lane.astype(np.uint32), 0)[own].astype(np.uint32)
        )
        every[own], some[own] = value[own & active].all(), value[own].any()
    for target in rest:
        if not is_predicate(target):
            m.set(target, ballot, active)
    for out in outs:
        m.set_predicate(out, every if "ALL" in one.parts else some, active)


# ---- integers ----


@TABLE.enter("IADD3", "UIADD3")
def _add(m: Machine, one: Instruction, active: Mask) -> None:
    target, *rest = one.operands
    carries, rest = leading_predicates(tuple(rest))
    total = sum((widened(m.bits(term)) for term in rest[:3]), np.zeros(m.threads, np.uint64))
    if "X" in one.parts:
        for carry in rest[3:]:
            total = total + m.predicate(carry).astype(np.uint64)
    m.set(target, total, active)
    for number, carry in enumerate(carries, start=1):
        m.set_predicate(carry, total >> np.uint64(32) >= number, active)


@TABLE.enter("VIADD")
def _add_two(m: Machine, one: Instruction, active: Mask) -> None:
    m.set(one.operands[0], m.bits(one.operands[1]) + m.bits(one.operands[2]), active)


@TABLE.enter("IMAD", "UIMAD")
def _multiply_add(m: Machine, one: Instruction, active: Mask) -> None:
    target, *rest = one.operands
    carries, rest = leading_predicates(tuple(rest))
    a, b = m.bits(rest[0]), m.bits(rest[1])
    if "WIDE" in one.parts or "HI" in one.parts:
        if "U32" in one.parts:
            product = widened(a) * widened(b)
        else:
            product = (signed(a).astype(np.int64) * signed(b).astype(np.int64)).view(np.uint64)
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


@TABLE.enter("LEA", "ULEA")
def _shift_add(m: Machine, one: Instruction, active: Mask) -> None:
    target, *rest = one.operands
    carries, rest = leading_predicates(tuple(rest))
    added = [operand for operand in rest if is_predicate(operand)]
    rest = [operand for operand in rest if not is_predicate(operand)]
    shift = np.uint64(rest[-1].value)
    if "HI" in one.parts and "SX32" in one.parts:
        shifted = (signed(m.bits(rest[0])).astype(np.int64).view(np.uint64) << shift) >> np.uint64(32)
    elif "HI" in one.parts:
        both = widened(m.bits(rest[0])) | (widened(m.bits(rest[2])) << np.uint64(32))
        shifted = (both << shift) >> np.uint64(32)
    else:
        shifted = (widened(m.bits(rest[0])) << shift) & _LOW
    total = (shifted & _LOW) + widened(m.bits(rest[1]))
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


@TABLE.enter("LOP3", "ULOP3")
def _logic(m: Machine, one: Instruction, active: Mask) -> None:
    outs, (target, a, b, c, table, *_) = leading_predicates(one.operands)
    found = _looked_up(table.value, m.bits(a), m.bits(b), m.bits(c))
    m.set(target, found, active)
    for out in outs:
        m.set_predicate(out, found != 0, active)


@TABLE.enter("PLOP3", "UPLOP3")
def _predicate_logic(m: Machine, one: Instruction, active: Mask) -> None:
    first, second, a, b, c, *tables = one.operands
    inputs = [m.predicate(operand).copy() for operand in (a, b, c)]
    for out, table in zip((first, second), tables, strict=True):
        m.set_predicate(out, _looked_up(table.value, *inputs), active)


@TABLE.enter("ISETP", "UISETP")
def _compare(m: Machine, one: Instruction, active: Mask) -> None:
    first, second, left, right, condition, *lower = one.operands
    a: Any = m.bits(left)
    b: Any = m.bits(right)
    kind = one.parts[1]
    if "U32" not in one.parts:
        a, b = signed(a), signed(b)
    found = COMPARE[kind](a, b)
    if "EX" in one.parts:  # of the upper words, where the lower ones decide between equal ones
        low = m.predicate(lower[0])
        if kind in ("EQ", "NE"):
            found = np.where(a == b, low, kind == "NE")
        else:
            found = np.where(a == b, low, COMPARE[kind[0] + "T"](a, b))
    given = m.predicate(condition).copy()
    m.set_predicate(first, joined(one, found, given), active)
    m.set_predicate(second, joined(one, ~found, given), active)


def _extreme(one: Instruction, a: Any, b: Any, smaller: Mask) -> Any:
    if "U32" not in one.parts:
        a, b = signed(a), signed(b)
    return np.where(smaller, np.minimum(a, b), np.maximum(a, b)).view(np.uint32)


@TABLE.enter("IMNMX", "VIMNMX", "UIMNMX")
def _minimum(m: Machine, one: Instruction, active: Mask) -> None:
    target, a, b, smaller = one.operands[:4]
    m.set(target, _extreme(one, m.bits(a), m.bits(b), m.predicate(smaller)), active)


@TABLE.enter("VIMNMX3")
def _minimum_of_three(m: Machine, one: Instruction, active: Mask) -> None:
    target, a, b, c, smaller = one.operands[:5]
    chosen = m.predicate(smaller)
    m.set(target, _extreme(one, _extreme(one, m.bits(a), m.bits(b), chosen), m.bits(c), chosen), active)


@TABLE.enter("VIADDMNMX")
def _add_minimum(m: Machine, one: Instruction, active: Mask) -> None:
    target, a, b, c, smaller = one.operands[:5]
    m.set(target, _extreme(one, m.bits(a) + m.bits(b), m.bits(c), m.predicate(smaller)), active)


@TABLE.enter("SHF", "USHF")
def _shift(m: Machine, one: Instruction, active: Mask) -> None:
    target, low, by, high = one.operands
    count, parts = m.bits(by), one.parts
    wide = "64" in parts or "U64" in parts or "S64" in parts
    count = np.minimum(count, np.uint32(63)) if "W" not in parts else count & np.uint32(63 if wide else 31)
    both = widened(m.bits(low)) | (widened(m.bits(high)) << np.uint64(32))
    if parts[1] == "L":
        moved = both << widened(count) if wide else widened(m.bits(low)) << widened(count)
        if "HI" in parts and not wide:
            moved = both << widened(np.minimum(count, np.uint32(32)))
        found = moved >> np.uint64(32) if "HI" in parts else moved
    elif "HI" in parts and not wide:
        upper = m.bits(high)
        if "S32" in parts:
            found = (signed(upper).astype(np.int64) >> count.astype(np.int64)).view(np.uint64)
        else:
            found = widened(upper) >> widened(count)
    else:
        signed64 = both.view(np.int64) >> count.astype(np.int64)
        moved = signed64.view(np.uint64) if "S64" in parts else both >> widened(count)
        found = moved >> np.uint64(32) if "HI" in parts else moved
    m.set(target, found & _LOW, active)


@TABLE.enter("IABS")
def _absolute(m: Machine, one: Instruction, active: Mask) -> None:
    m.set(one.operands[0], np.abs(signed(m.bits(one.operands[1]))).view(np.uint32), active)


@TABLE.enter("PRMT", "UPRMT")
def _permute_bytes(m: Machine, one: Instruction, active: Mask) -> None:
    target, low, chosen, high = one.operands
    both = widened(m.bits(low)) | (widened(m.bits(high)) << np.uint64(32))
    selector, found = m.bits(chosen), np.zeros(m.threads, np.uint32)
    for byte in range(4):
        choice = (selector >> np.uint32(4 * byte)) & np.uint32(15)
        value = (both >> widened(8 * (choice & np.uint32(7)))) & np.uint64(255)
        value = np.where(choice & np.uint32(8), np.where(value & np.uint64(128), 255, 0), value)
        found |= value.astype(np.uint32) << np.uint32(8 * byte)
    m.set(target, found, active)


@TABLE.enter("POPC", "UPOPC")
def _count_bits(m: Machine, one: Instruction, active: Mask) -> None:
    bits = m.bits(one.operands[1])
    m.set(one.operands[0], sum((bits >> np.uint32(i)) & np.uint32(1) for i in range(32)), active)
