"""The emulator of machine code: instructions against numpy, control flow and counts against small listings by hand."""

from __future__ import annotations

import struct

import numpy as np
import pytest

from tests.machine_code.listing import operand, parse
from tests.machine_code.machine import Machine
from tests.machine_code.memory import FaultError, GlobalMemory

THREADS = 64
WORDS = np.random.default_rng(0).integers(0, 2**32, (4, THREADS), dtype=np.uint32)
WORDS[:, :4] = [[0], [1], [0x7FFFFFFF], [0xFFFFFFFF]]


def machine(
    lines: list[str], parameters: bytes = b"", memory: GlobalMemory | None = None, threads: int = THREADS
) -> Machine:
    """Return a machine that runs ``lines``: instructions, and labels that end with a colon."""
    text, address = "", 0
    for line in [*lines, "EXIT"]:
        if line.endswith(":"):
            text += line + "\n"
        else:
            text += f"        /*{address:04x}*/                   {line} ;\n"
            address += 16
    return Machine(parse(text), memory or GlobalMemory(), parameters, threads, 1)


def result(lines: list[str], *, dtype: type = np.uint32, registers: int = 1) -> np.ndarray:
    """Run ``lines`` on the words in R4 to R7, and return R0 [threads], or more registers, [registers,threads]."""
    one = machine(lines)
    begin = one._begin

    def begin_with_words(block: int) -> None:
        begin(block)
        one.registers[4:8] = WORDS

    one._begin = begin_with_words
    one.run(0)
    found = one.registers[:registers].view(dtype)
    return found[0] if registers == 1 else found


A, B, C, D = WORDS
SIGNED = WORDS.view(np.int32).astype(np.int64)
REAL = WORDS.view(np.float32)
WIDE = WORDS.astype(np.uint64)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("MOV R0, 0x12", np.full(THREADS, 0x12)),
        ("IADD3 R0, R4, R5, -R6", A + B - C),
        ("VIADD R0, R4, 0xfffffffe", A - np.uint32(2)),
        ("IMAD R0, R4, R5, R6", A * B + C),
        ("IMAD.HI.U32 R0, R4, R5, RZ", WIDE[0] * WIDE[1] >> np.uint64(32)),
        ("LEA R0, R4, R5, 0x3", (A << np.uint32(3)) + B),
        ("LOP3.LUT R0, R4, R5, R6, 0x96, !PT", A ^ B ^ C),
        ("LOP3.LUT R0, R4, R5, RZ, 0xc0, !PT", A & B),
        ("SHF.R.U32.HI R0, RZ, 0x5, R4", A >> np.uint32(5)),
        ("SHF.R.S32.HI R0, RZ, 0x1f, R4", SIGNED[0] >> 31),
        ("SHF.L.U32 R0, R4, 0x4, RZ", A << np.uint32(4)),
        ("SHF.L.U64.HI R0, R4, 0x4, R5", ((WIDE[1] << np.uint64(32) | WIDE[0]) << np.uint64(4)) >> np.uint64(32)),
        ("PRMT R0, R4, 0x5410, R5", (A & np.uint32(0xFFFF)) | (B << np.uint32(16))),
        ("PRMT R0, R4, 0x7632, R5", (A >> np.uint32(16)) | (B & np.uint32(0xFFFF0000))),
        ("IABS R0, R4", np.abs(SIGNED[0])),
        ("VIMNMX R0, R4, R5, PT", np.minimum(SIGNED[0], SIGNED[1])),
        ("VIMNMX.U32 R0, R4, R5, !PT", np.maximum(A, B)),
        ("I2F.U32.RP R0, R4", None),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_integer_instructions(line, expected):
    if expected is None:  # rounded up
        found = result([line], dtype=np.float32).astype(np.float64)
        assert (found >= A).all()
        assert (np.nextafter(found.astype(np.float32), np.float32(-np.inf)).astype(np.float64) < A)[A > 0].all()
        return
    np.testing.assert_array_equal(result([line]), expected.astype(np.int64).astype(np.uint32))


def test_carries_join_two_words():
    lines = ["IADD3 R0, P0, R4, R6, RZ", "IADD3.X R1, R5, R7, RZ, P0, !PT"]
    low, high = result(lines, registers=2)
    total = (WIDE[1] << np.uint64(32) | WIDE[0]) + (WIDE[3] << np.uint64(32) | WIDE[2])
    np.testing.assert_array_equal(low.astype(np.uint64) | high.astype(np.uint64) << np.uint64(32), total)
    low, high = result(["IMAD.WIDE R0, R4, R5, R6"], registers=2)
    product = (SIGNED[0] * SIGNED[1]).view(np.uint64) + (WIDE[3] << np.uint64(32) | WIDE[2])
    np.testing.assert_array_equal(low.astype(np.uint64) | high.astype(np.uint64) << np.uint64(32), product)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("FADD R0, R4, -|R5|", lambda a, b, c: a - np.abs(b)),
        ("FMUL R0, R4, 0.5", lambda a, b, c: a * np.float32(0.5)),
        ("FFMA R0, R4, R5, R6", lambda a, b, c: (a.astype(np.longdouble) * b + c).astype(np.float32)),
        ("FMNMX R0, R4, R5, !PT", lambda a, b, c: np.fmax(a, b)),
        ("MUFU.RCP R0, R4", lambda a, b, c: 1 / a),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_float_instructions(line, expected):
    with np.errstate(all="ignore"):
        want = expected(*REAL[:3]).astype(np.float32)
    found = result([line], dtype=np.float32)
    usual = np.isfinite(want) & (np.abs(want) > 2.0**-120) & (np.abs(REAL[0]) > 2.0**-126)
    assert usual.sum() > THREADS // 2
    np.testing.assert_allclose(found[usual], want[usual], rtol=1.2e-7)
    np.testing.assert_array_equal(np.isnan(found), np.isnan(want))


def test_16_bit_numbers_round_to_nearest_even():
    found = result(["F2FP.BF16.F32.PACK_AB R0, RZ, R4"])
    bits = A.astype(np.uint64)
    want = (bits + 0x7FFF + (bits >> np.uint64(16) & np.uint64(1))) >> np.uint64(16)
    numbers = ~np.isnan(REAL[0])
    np.testing.assert_array_equal(found[numbers], want[numbers])
    found = result(["F2FP.F16.F32.PACK_AB R0, R4, R5"])
    with np.errstate(over="ignore"):
        halves = REAL[:2].astype(np.float16).view(np.uint16)
    numbers = ~np.isnan(REAL[:2]).any(0)
    np.testing.assert_array_equal(found[numbers], (halves[0].astype(np.uint32) << np.uint32(16) | halves[1])[numbers])


def test_comparisons_with_nan():
    lines = ["FSETP.GEU.AND P0, PT, R4, R5, PT", "SEL R0, R6, R7, P0"]
    with np.errstate(invalid="ignore"):
        chosen = ~(REAL[0] < REAL[1])  # unordered counts as true
    np.testing.assert_array_equal(result(lines), np.where(chosen, C, D))


def test_shuffles_stay_in_their_warp():
    lane = np.arange(THREADS) % 32
    for line, source in (
        ("SHFL.BFLY PT, R0, R4, 0x10, 0x1f", lane ^ 16),
        ("SHFL.DOWN PT, R0, R4, 0x2, 0x1f", np.where(lane + 2 < 32, lane + 2, lane)),
        ("SHFL.UP PT, R0, R4, 0x1, RZ", np.maximum(lane - 1, 0)),
    ):
        np.testing.assert_array_equal(result([line]), A[np.arange(THREADS) - lane + source])


DIVERGE = [
    "S2R R1, SR_TID.X",
    "LOP3.LUT R2, R1, 0x1, RZ, 0xc0, !PT",
    "ISETP.NE.AND P0, PT, R2, RZ, PT",
    "BSSY B0, `(.L_x_2)",
    "@P0 BRA `(.L_x_1)",
    "MOV R0, 0xa",  # even threads
    "BRA `(.L_x_2)",
    ".L_x_1:",
    "MOV R0, 0xb",  # odd threads
    "MOV R3, 0xc",
    ".L_x_2:",
    "BSYNC B0",
    "VIADD R0, R0, 0x1",
]


def test_slots_of_two_ways_count_both():
    """By hand, for each of 2 warps: 3, BSSY, BRA, 2 of even threads, 2 of odd ones, each BSYNC, VIADD, EXIT."""
    one = machine(DIVERGE)
    one.run(0)
    np.testing.assert_array_equal(one.registers[0], np.where(np.arange(THREADS) % 2, 0xC, 0xB))
    counts = {name: count // 2 for name, count in one.slots.items()}
    assert counts["MOV"] == 3
    assert counts["VIADD"] == 1  # after the ways have met again
    assert sum(counts.values()) == 5 + 2 + 2 + counts["BSYNC"] + 2


def test_slots_of_a_loop():
    """By hand: MOV, then 3 times VIADD, ISETP and BRA, then EXIT, for each warp; the last warp is half empty."""
    lines = ["MOV R0, RZ", ".L_x_0:", "VIADD R0, R0, 0x1", "ISETP.NE.AND P0, PT, R0, 0x3, PT", "@P0 BRA `(.L_x_0)"]
    one = machine(lines, threads=48)
    one.run(0)
    assert sum(one.slots.values()) == 2 * (1 + 3 * 3 + 1)
    assert one.lanes == 48 * 11
    assert (one.registers[0] == 3).all()


def test_a_barrier_orders_shared_memory():
    """Each thread reads what its neighbor wrote."""
    lines = [
        "S2R R1, SR_TID.X", "SHF.L.U32 R2, R1, 0x2, RZ", "LOP3.LUT R3, R2, 0x4, RZ, 0x3c, !PT", "STS [R2], R1",
        "BAR.SYNC.DEFER_BLOCKING 0x0", "LDS R0, [R3]",
    ]  # fmt: skip
    one = machine(lines)
    one.run(0)
    np.testing.assert_array_equal(one.registers[0], np.arange(THREADS) ^ 1)
    assert one.memory.counts["shared wavefronts"] == one.memory.counts["shared requests"] == 4
    for missing, says in ((4, "before a barrier"), (3, "nothing was written")):
        with pytest.raises(FaultError, match=says):
            machine([line for number, line in enumerate(lines) if number != missing]).run(0)
    with pytest.raises(FaultError, match="two threads write"):
        machine(["S2R R1, SR_TID.X", "STS [RZ], R1"]).run(0)
    with pytest.raises(FaultError, match="part of a warp"):
        machine([*DIVERGE[:3], "@P0 BRA `(.L_x_1)", "BAR.SYNC 0x0", ".L_x_1:"]).run(0)


def test_bank_conflicts_count_wavefronts():
    lines = ["S2R R1, SR_TID.X", "SHF.L.U32 R2, R1, 0x3, RZ", "STS [R2], R1"]  # every other bank
    one = machine(lines, threads=32)
    one.run(0)
    assert one.memory.counts["shared wavefronts"] == 2


def test_global_memory_is_checked_and_counted():
    source, target = np.arange(THREADS + 2, dtype=np.float32), np.zeros(THREADS, np.float32)

    def run(offset: int, *, writable: bool = True) -> Machine:
        memory = GlobalMemory()
        memory.allow(source.ctypes.data, source.nbytes, "source")
        memory.allow(target.ctypes.data, target.nbytes, "target", writable=writable)
        lines = [
            "LDC.64 R2, c[0x0][0x210]", "LDC.64 R4, c[0x0][0x218]", "S2R R1, SR_TID.X",
            "IMAD.WIDE R2, R1, 0x4, R2", "IMAD.WIDE R4, R1, 0x4, R4",
            "LDG.E R0, desc[UR4][R2.64]", "FADD R0, R0, 1.5", "STG.E desc[UR4][R4.64], R0",
        ]  # fmt: skip
        one = machine(lines, struct.pack("2Q", source.ctypes.data + offset, target.ctypes.data), memory)
        one.run(0)
        return one

    one = run(4)
    np.testing.assert_array_equal(target, np.arange(THREADS) + 2.5)
    counts = one.memory.counts
    assert counts["load bytes"] == counts["store bytes"] == 4 * THREADS
    assert counts["load requests"] == counts["store requests"] == 2
    first = source.ctypes.data + 4
    assert counts["load sectors"] == sum((first + 128 * w + 127) // 32 - (first + 128 * w) // 32 + 1 for w in range(2))
    for offset, writable, says in ((2, True, "not aligned"), (16, True, "outside of all"), (0, False, "an input")):
        with pytest.raises(FaultError, match=says):
            run(offset, writable=writable)


def test_what_it_does_not_know_is_an_error(monkeypatch):
    with pytest.raises(NotImplementedError, match="DADD"):
        machine(["DADD R0, R2, R4"]).run(0)
    monkeypatch.setattr("tests.machine_code.machine.MOST_STEPS", 100)
    with pytest.raises(FaultError, match="does not end"):
        machine([".L_x_0:", "BRA `(.L_x_0)"]).run(0)


def test_operands():
    assert operand("-0x10").value == 0xFFFFFFF0
    assert operand("!P3") == operand("P3")._replace(negative=True)
    assert operand("-|R7|") == operand("R7")._replace(negative=True, absolute=True)
    assert operand("R9.H1_H1").half == 1
    assert operand("desc[UR4][R2.64+-0x4]").terms == (operand("R2.64"), operand("-0x4"))
    assert operand("[R4.X4+UR5+0x10]").terms[0].scale == 4
    assert np.isnan(np.uint32(operand("+QNAN").value).view(np.float32))
