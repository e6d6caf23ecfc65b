"""Loads and stores, for all threads of a block at once; see ``integers``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from tests.machine_code.listing import Instruction, Operand
from tests.machine_code.operations import Table

if TYPE_CHECKING:
    from tests.machine_code.machine import Machine, Mask

TABLE = Table()


# ---- memory ----


def _size(one: Instruction) -> int:
    sizes = {"128": 16, "64": 8, "U16": 2, "S16": 2, "U8": 1, "S8": 1}
    return next((size for part, size in sizes.items() if part in one.parts), 4)


def _words_of(m: Machine, source: Operand, count: int, active: Mask) -> NDArray[np.uint32]:
    words = [m.word(source, part)[active] for part in range(count)]
    return np.ascontiguousarray(np.stack(words, axis=1))


@TABLE.enter("LDG")
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


@TABLE.enter("STG")
def _store(m: Machine, one: Instruction, active: Mask) -> None:
    size = _size(one)
    words = _words_of(m, one.operands[1], max(1, size // 4), active)
    m.memory.store(m.address(one.operands[0])[active], np.flatnonzero(active), words.view(np.uint8)[:, :size])


@TABLE.enter("LDS")
def _load_shared(m: Machine, one: Instruction, active: Mask) -> None:
    address = m.shared_address(one.operands[1])[active]
    _spread(m, one.operands[0], m.shared.load(address, np.flatnonzero(active), _size(one)), active)


@TABLE.enter("STS")
def _store_shared(m: Machine, one: Instruction, active: Mask) -> None:
    words = _words_of(m, one.operands[1], _size(one) // 4, active)
    m.shared.store(m.shared_address(one.operands[0])[active], np.flatnonzero(active), words)
