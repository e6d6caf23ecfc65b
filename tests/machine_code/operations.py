"""What the operations of instructions share."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tests.machine_code.listing import Instruction, Operand

if TYPE_CHECKING:
    from tests.machine_code.machine import Machine, Mask

Operation = Callable[["Machine", Instruction, "Mask"], None]
COMPARE: dict[str, Callable[[Any, Any], Any]] = {
    "LT": np.less, "LE": np.less_equal, "GT": np.greater, "GE": np.greater_equal, "EQ": np.equal, "NE": np.not_equal,
}  # fmt: skip


class Table(dict[str, Operation]):
    """Operations by the names of their instructions."""

    def enter(self, *names: str) -> Callable[[Operation], Operation]:
        """Enter a function for the instructions of these names."""

        def enter(function: Operation) -> Operation:
            self.update(dict.fromkeys(names, function))
            return function

        return enter


def is_predicate(one: Operand) -> bool:
    """Return whether an operand is a predicate."""
    return one.kind in ("predicate", "uniform predicate")


def leading_predicates(operands: tuple[Operand, ...]) -> tuple[list[Operand], list[Operand]]:
    """Return the predicates at the start of the operands, and the others."""
    count = 0
    while count < len(operands) and is_predicate(operands[count]):
        count += 1
    return list(operands[:count]), list(operands[count:])


def joined(one: Instruction, found: Mask, condition: Mask) -> Mask:
    """Join the result of a comparison with a predicate, as the name says."""
    if "AND" in one.parts:
        return found & condition
    return found | condition if "OR" in one.parts else found ^ condition


def signed(bits: NDArray[np.uint32]) -> NDArray[np.int32]:
    """Return the same bits as signed numbers."""
    return bits.view(np.int32)


def widened(bits: NDArray[np.uint32]) -> NDArray[np.uint64]:
    """Return the same numbers in 64 bits."""
    return bits.astype(np.uint64)
