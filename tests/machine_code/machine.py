"""An emulator of a GPU's threads: those of one block step together through the machine code of a kernel.

Of all threads that can run, those at the smallest instruction run next, so that threads of a warp whose ways part meet
again where hardware lets them. A step of a warp is one issue slot.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from tests.machine_code import accesses, integers, reals
from tests.machine_code.listing import Instruction, Kernel, Operand
from tests.machine_code.memory import WARP, FaultError, GlobalMemory, SharedMemory

Mask = NDArray[np.bool_]
PARAMETERS, CONSTANT_BYTES = 0x210, 0x1210  # where parameters start in the constant bank; its size
BLOCK_SIZE, GRID_SIZE, STACK = 0x0, 0xC, 0x28
SHARED_START = 0x400  # the first bytes of shared memory belong to the system
MOST_STEPS = 2_000_000
OPERATIONS = {**integers.TABLE, **reals.TABLE, **accesses.TABLE}
_IDLE = {"NOP", "DEPBAR", "YIELD", "ERRBAR"}


class Machine:
    """Runs blocks of a kernel.

    Args:
        kernel: its machine code.
        memory: with the tensors of the call.
        parameters: the bytes of the kernel's parameters.
        threads, blocks: of a block, and of the grid.

    Attributes:
        slots: warps that issued each instruction, by its name.
        lanes, idle: active threads of these warps, and warps that issued without an active thread.
    """

    def __init__(self, kernel: Kernel, memory: GlobalMemory, parameters: bytes, threads: int, blocks: int) -> None:
        self.kernel, self.memory, self.threads = kernel, memory, threads
        self.constants = np.zeros(CONSTANT_BYTES, np.uint8)
        self.constants[PARAMETERS : PARAMETERS + len(parameters)] = np.frombuffer(parameters, np.uint8)
        for place, value in ((BLOCK_SIZE, threads), (GRID_SIZE, blocks)):
            self.constants[place : place + 4] = np.array([value], np.uint32).view(np.uint8)
        self.slots: Counter[str] = Counter()
        self.lanes = self.idle = 0
        self.warp = np.arange(threads) // WARP
        self.lane = np.arange(threads) % WARP
        self.first_of_warp = np.arange(0, threads, WARP)

    def run(self, block: int) -> None:
        """Run one block to its end.

        Raises:
            FaultError: if it does what is not allowed, or does not end.
            NotImplementedError: for an instruction that the emulator does not know.
        """
        self._begin(block)
        with np.errstate(all="ignore"):
            for _ in range(MOST_STEPS):
                if self.done.all():
                    return
                ready = ~self.done & ~self.at_barrier & (self.converging < 0)
                if ready.any():
                    self._step(ready)
                elif (self.converging >= 0).any():
                    if not self._converge():
                        raise FaultError("threads wait for others of their warp that never come")
                else:
                    self._pass_barrier()
        raise FaultError(f"block {block} does not end")

    def _begin(self, block: int) -> None:
        shape = (256, self.threads)
        self.block = block
        self.registers, self.uniform = np.zeros(shape, np.uint32), np.zeros(shape, np.uint32)
        self.predicates, self.uniform_predicates = np.zeros((8, self.threads), bool), np.zeros((8, self.threads), bool)
        self.next = np.zeros(self.threads, np.int64)
        self.done, self.at_barrier = np.zeros(self.threads, bool), np.zeros(self.threads, bool)
        self.converging = np.full(self.threads, -1)  # the convergence barrier at which a thread waits
        self.members = np.zeros((16, self.threads), np.uint32)  # lanes of the warp that belong to each of these
        self.votes, self.vote = np.zeros(self.threads, bool), False
        self.shared = SharedMemory(self.memory.counts)

    def _step(self, ready: Mask) -> None:
        """Run instructions up to one that changes which threads run where, or to one that other threads are at."""
        at = int(self.next[ready].min())
        threads = ready & (self.next == at)
        others = self.next[ready & ~threads]
        end = int(others.min()) if others.size else len(self.kernel.instructions)
        lanes = int(threads.sum())
        warps = int(np.logical_or.reduceat(threads, self.first_of_warp).sum())
        while at < end:
            one = self.kernel.instructions[at]
            active = threads & self.predicate(one.predicate) if one.predicate is not None else threads
            runs = active is threads or bool(active.any())
            self.slots[one.name] += warps
            self.lanes += lanes
            self.idle += 0 if runs else warps
            self.next[threads] = at
            if self._control(one, threads, active):
                return
            if runs:
                operation = OPERATIONS.get(one.parts[0])
                if operation is None:
                    raise NotImplementedError(f"instruction {one.name}")
                operation(self, one, active)
            at += 1
        self.next[threads] = at

    # ---- control flow ----

    def _control(self, one: Instruction, threads: Mask, active: Mask) -> bool:
        """Do what changes which threads run where, and return True; False for other instructions."""
        name = one.parts[0]
        if name == "EXIT":
            self._exit(one, threads, active)
        elif name in ("BRA", "CALL"):
            self._jump(one, threads, active)
        elif name == "RET":
            self.next[threads] += 1
            targets = self.bits(one.operands[0])[active]
            self.next[active] = [self.kernel.numbers[int(target)] for target in targets]
        elif name == "BSSY":
            for warp in self._warps(threads):
                self.members[self._barrier(one)][warp] = self._lanes(warp)
            self.next[threads] += 1
        elif name in ("BSYNC", "WARPSYNC"):
            self._wait(one, threads)
        elif name == "BAR":
            self._arrive(one, threads)
        elif name in _IDLE:
            self.next[threads] += 1
        else:
            return False
        return True

    def _exit(self, one: Instruction, threads: Mask, active: Mask) -> None:
        for condition in one.operands:
            active = active & self.predicate(condition)
        self.done |= active
        self.next[threads & ~active] += 1
        self._converge()

    def _jump(self, one: Instruction, threads: Mask, active: Mask) -> None:
        self.next[threads] += 1
        if "DIV" in one.parts:  # taken if the threads of a warp have parted; both ways are right
            return
        for condition in one.operands[:-1]:
            if condition.kind in ("predicate", "uniform predicate"):
                active = active & self.predicate(condition)
        label = one.operands[-1].text.strip("`()")
        self.next[active] = self.kernel.labels[label]

    def _wait(self, one: Instruction, threads: Mask) -> None:
        barrier = self._barrier(one) if one.parts[0] == "BSYNC" else 15
        if barrier == 15:
            self.members[15][threads] = 0xFFFFFFFF
        self.converging[threads] = barrier
        self._converge()

    @staticmethod
    def _barrier(one: Instruction) -> int:
        return int(one.operands[0].text.removeprefix("B"))

    def _warps(self, threads: Mask) -> Iterator[Mask]:
        for warp in np.unique(self.warp[threads]):
            yield threads & (self.warp == warp)

    def _lanes(self, threads: Mask) -> int:
        return int(np.bitwise_or.reduce(np.uint32(1) << self.lane[threads].astype(np.uint32)))

    def _converge(self) -> bool:
        """Release the threads of warps whose members all wait at a convergence barrier; return whether any were."""
        released = False
        for warp in self._warps(self.converging >= 0):
            for barrier in np.unique(self.converging[warp]):
                waiting = warp & (self.converging == barrier)
                for members in np.unique(self.members[barrier][waiting]):
                    own = waiting & (self.members[barrier] == members)
                    of_warp = self.warp == self.warp[own][0]
                    belongs = of_warp & ((members >> self.lane.astype(np.uint32)) & 1).astype(bool) & ~self.done
                    if (belongs & ~own).any():
                        continue
                    self.converging[own] = -1
                    self.next[own] += 1
                    released = True
        return released

    def _arrive(self, one: Instruction, threads: Mask) -> None:
        for warp in self._warps(threads):
            if ((self.warp == self.warp[warp][0]) & ~self.done & ~warp).any():
                raise FaultError("a part of a warp is at a barrier")
        if "RED" in one.parts:
            self.votes |= threads & self.predicate(one.operands[-1])
        self.at_barrier |= threads

    def _pass_barrier(self) -> None:
        if len(np.unique(self.next[self.at_barrier])) > 1:
            raise FaultError("threads wait at different barriers")
        self.vote = bool(self.votes[self.at_barrier].any())
        self.votes[:] = False
        self.next[self.at_barrier] += 1
        self.at_barrier[:] = False
        self.shared.epoch += 1

    # ---- values ----

    def predicate(self, one: Operand) -> Mask:
        """Return the value of a predicate in all threads."""
        if one.index < 0:
            value = np.ones(self.threads, bool)
        else:
            value = (self.predicates if one.kind == "predicate" else self.uniform_predicates)[one.index]
        return ~value if one.negative else value

    def set_predicate(self, one: Operand, value: Mask, active: Mask) -> None:
        """Set a predicate in the active threads."""
        if one.index >= 0:
            (self.predicates if one.kind == "predicate" else self.uniform_predicates)[one.index][active] = value[active]

    def word(self, one: Operand, part: int = 0) -> NDArray[np.uint32]:
        """Return the bits of a register, a constant or a literal as they are, or of the register ``part`` after it."""
        if one.kind in ("literal", "decimal"):
            return np.full(self.threads, one.value if part == 0 else 0, np.uint32)
        if one.kind == "constant":
            at = one.index + 4 * part
            return np.full(self.threads, self.constants[at : at + 4].view(np.uint32)[0])
        if one.index < 0:
            return np.zeros(self.threads, np.uint32)
        return (self.registers if one.kind == "register" else self.uniform)[one.index + part]

    def bits(self, one: Operand) -> NDArray[np.uint32]:
        """Return an integer operand, with its sign."""
        value = self.word(one)
        if one.kind == "decimal":
            value = np.full(self.threads, int(one.text), np.uint32)
        if one.absolute:
            value = np.abs(value.view(np.int32)).view(np.uint32)
        if one.inverted:
            value = ~value
        return (~value + np.uint32(1)) if one.negative else value

    def long(self, one: Operand) -> NDArray[np.uint64]:
        """Return an integer operand of two registers, with its sign."""
        if one.kind == "literal":
            signed = -1 if one.text.startswith("-") else 1
            return np.full(self.threads, signed * int(one.text.lstrip("-"), 16) & (2**64 - 1), np.uint64)
        if one.index < 0 and one.kind != "constant":
            return np.zeros(self.threads, np.uint64)
        value = self.word(one).astype(np.uint64) | (self.word(one, 1).astype(np.uint64) << np.uint64(32))
        return ~value + np.uint64(1) if one.negative else value

    def real(self, one: Operand) -> NDArray[np.float32]:
        """Return a float32 operand, with its sign."""
        value = self.word(one)
        if one.half >= 0:
            half = (value >> np.uint32(16 * one.half)).astype(np.uint16).view(np.float16)
            found = half.astype(np.float32)
        else:
            found = value.view(np.float32)
        if one.absolute:
            found = np.abs(found)
        return -found if one.negative else found

    def set(self, one: Operand, value: NDArray, active: Mask, part: int = 0) -> None:
        """Set a register, or the register ``part`` after it, in the active threads."""
        if one.index < 0:
            return
        if value.dtype == np.float32:
            value = value.view(np.uint32)
        file = self.registers if one.kind == "register" else self.uniform
        if value.dtype != np.uint32:
            value = value.astype(np.uint64).astype(np.uint32)
        np.copyto(file[one.index + part], value, where=active)

    def set_long(self, one: Operand, value: NDArray[np.uint64], active: Mask) -> None:
        """Set two registers in the active threads."""
        self.set(one, value & np.uint64(0xFFFFFFFF), active)
        self.set(one, value >> np.uint64(32), active, 1)

    def address(self, one: Operand) -> NDArray[np.uint64]:
        """Return the sum of the terms of an address in global memory."""
        total = np.zeros(self.threads, np.uint64)
        for term in one.terms:
            total = total + self.long(term)
        return total

    def shared_address(self, one: Operand) -> NDArray[np.int64]:
        """Return the sum of the terms of an address in shared memory."""
        total = np.zeros(self.threads, np.int64)
        for term in one.terms:
            total = total + self.bits(term).view(np.int32).astype(np.int64) * term.scale
        return total
