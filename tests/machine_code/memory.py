"""Memory of the emulated GPU, with checks of every access."""

from __future__ import annotations

import ctypes
from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.generic]
WARP = 32
SECTOR, LINE = 32, 128  # bytes


class FaultError(Exception):
    """The machine code does what is not allowed, such as an access outside of all tensors."""


class _Tensor(NamedTuple):
    first: int  # address
    name: str
    data: NDArray[np.uint8]
    writable: bool


class GlobalMemory:
    """Memory of the host that kernels may use, at its own addresses.

    Attributes:
        counts: load and store requests of warps, the 32-byte sectors and 128-byte lines that they touch, and the bytes
            that threads asked for.
    """

    def __init__(self) -> None:
        self._tensors: list[_Tensor] = []
        self.counts: Counter[str] = Counter()

    def allow(self, address: int, size: int, name: str, *, writable: bool = False) -> None:
        """Allow reads, and writes if it is ``writable``, of ``size`` bytes from ``address``."""
        data = np.ctypeslib.as_array((ctypes.c_uint8 * size).from_address(address))
        self._tensors.append(_Tensor(address, name, data, writable))

    def load(self, addresses: Array, lanes: Array, size: int) -> NDArray[np.uint8]:
        """Return uint8 [threads,size] from the addresses [threads] of threads with the numbers ``lanes``."""
        self._count("load", addresses, lanes, size)
        found = np.empty((len(addresses), size), np.uint8)
        for data, at, own in self._places(addresses, size, write=False):
            found[own] = data[at[:, None] + np.arange(size)]
        return found

    def store(self, addresses: Array, lanes: Array, values: NDArray[np.uint8]) -> None:
        """Write ``values`` uint8 [threads,size] to the addresses [threads]."""
        size = values.shape[1]
        self._count("store", addresses, lanes, size)
        for data, at, own in self._places(addresses, size, write=True):
            data[at[:, None] + np.arange(size)] = values[own]

    def _places(
        self, addresses: Array, size: int, *, write: bool
    ) -> Iterator[tuple[NDArray[np.uint8], Array, NDArray[np.bool_]]]:
        """Yield the tensors that the addresses are in, with the positions in them and which addresses those are."""
        what = f"{'write' if write else 'read'} of {size} bytes"
        if (addresses % size).any():
            raise FaultError(f"a {what} that is not aligned")
        known = np.zeros(len(addresses), bool)
        for tensor in self._tensors:
            at = addresses.astype(np.int64) - tensor.first
            own = (at >= 0) & (at + size <= len(tensor.data))
            if not own.any():
                continue
            if write and not tensor.writable:
                raise FaultError(f"a {what} to {tensor.name}, which is an input")
            known |= own
            yield tensor.data, at[own], own
        if not known.all():
            raise FaultError(f"a {what} outside of all tensors")

    def _count(self, kind: str, addresses: Array, lanes: Array, size: int) -> None:
        for warp in np.unique(lanes // WARP):
            own = addresses[lanes // WARP == warp].astype(np.int64)
            sectors = np.unique((own[:, None] + np.arange(0, size, min(size, SECTOR))) // SECTOR)
            self.counts[f"{kind} requests"] += 1
            self.counts[f"{kind} bytes"] += len(own) * size
            self.counts[f"{kind} sectors"] += len(sectors)
            self.counts[f"{kind} lines"] += len(np.unique(sectors // (LINE // SECTOR)))


class SharedMemory:
    """The shared memory of one block. Accesses of two threads must have a barrier between them.

    Attributes:
        epoch: barriers passed.
        counts: requests of warps, and the wavefronts that bank conflicts make of them.
    """

    WORDS = 1 << 15
    BANKS = 32
    MANY = -2  # threads have read a word

    def __init__(self, counts: Counter[str]) -> None:
        self._words = np.zeros(self.WORDS, np.uint32)
        self._writer, self._write_epoch = (np.full(self.WORDS, -1, np.int64) for _ in range(2))
        self._reader, self._read_epoch = (np.full(self.WORDS, -1, np.int64) for _ in range(2))
        self.epoch = 0
        self.counts = counts

    def load(self, addresses: Array, lanes: Array, size: int) -> NDArray[np.uint32]:
        """Return uint32 [threads,size / 4]."""
        words = self._checked(addresses, lanes, size)
        for at in words.T:
            if (self._write_epoch[at] < 0).any():
                raise FaultError("a read of shared memory where nothing was written")
            if ((self._write_epoch[at] == self.epoch) & (self._writer[at] != lanes)).any():
                raise FaultError("shared memory read before a barrier")
            before = np.where(self._read_epoch[at] == self.epoch, self._reader[at], lanes)
            self._reader[at] = lanes
            self._reader[at[(before != lanes) | (self._reader[at] != lanes)]] = self.MANY
            self._read_epoch[at] = self.epoch
        return self._words[words]

    def store(self, addresses: Array, lanes: Array, values: NDArray[np.uint32]) -> None:
        """Write ``values`` uint32 [threads,words]."""
        words = self._checked(addresses, lanes, values.shape[1] * 4)
        for column, at in enumerate(words.T):
            if ((self._read_epoch[at] == self.epoch) & (self._reader[at] != lanes)).any():
                raise FaultError("shared memory written before a barrier after a read")
            if ((self._write_epoch[at] == self.epoch) & (self._writer[at] != lanes)).any():
                raise FaultError("two threads write shared memory")
            if len(np.unique(at)) != len(at):
                raise FaultError("two threads write shared memory at once")
            self._writer[at], self._write_epoch[at] = lanes, self.epoch
            self._words[at] = values[:, column]

    def _checked(self, addresses: Array, lanes: Array, size: int) -> NDArray[np.int64]:
        at = addresses.astype(np.int64)
        if (at % size).any():
            raise FaultError(f"an access of {size} bytes of shared memory that is not aligned")
        if (at < 0).any() or (at + size > 4 * self.WORDS).any():
            raise FaultError("shared memory accessed out of bounds")
        words = at[:, None] // 4 + np.arange(size // 4)
        for warp in np.unique(lanes // WARP):
            self.counts["shared requests"] += 1
            used = np.unique(words[lanes // WARP == warp])
            self.counts["shared wavefronts"] += int(np.bincount(used % self.BANKS).max())
        return words
