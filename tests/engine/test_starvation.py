"""The number of workers that would keep up, against a simulation of a loader."""

from __future__ import annotations

import heapq

import pytest

from videopool.engine.watching.starvation import StarvationAdvice


def simulated(workers: int, decode: float, batch: int, compute: float, steps: int = 400) -> tuple[float, float]:
    """Return the mean seconds of a step and of its wait, with a batch decoded by each of ``workers`` at a time."""
    free = [0.0] * workers
    arrivals = []
    now = waited = start = 0.0
    for step in range(steps + 2 * workers):
        if step == 2 * workers:
            start, waited = now, 0.0
        while len(arrivals) < step + 2 * workers:  # two batches of each worker ahead
            begun = max(heapq.heappop(free), now if arrivals and len(arrivals) >= 2 * workers else 0.0)
            arrivals.append(begun + batch * decode)
            heapq.heappush(free, arrivals[-1])
        ready = arrivals[step]
        waited += max(0.0, ready - now)
        now = max(now, ready) + compute
    return (now - start) / steps, waited / steps


@pytest.mark.parametrize(
    ("workers", "decode", "compute"), [(2, 0.5, 0.5), (1, 0.3, 0.35), (3, 0.07, 0.05), (5, 1, 0.7)]
)
def test_the_advised_workers_keep_up_and_fewer_do_not(workers: int, decode: float, compute: float) -> None:
    batch = 4
    step, wait = simulated(workers, decode, batch, compute)
    given = StarvationAdvice(workers, cores=1000)
    assert given.advice(step=step, wait=wait, clips=batch) == ""  # the first window
    text = given.advice(step=step, wait=wait, clips=batch)
    needed = int(text.rpartition("data.workers=")[2].rstrip("."))
    step, wait = simulated(needed, decode, batch, compute)
    assert wait < 0.01 * step
    step, wait = simulated(needed - 1, decode, batch, compute)
    assert wait > 0.01 * step
    assert f"A clip takes {decode:.2g} s of a worker" in text


def test_without_workers_the_process_decodes_while_it_waits() -> None:
    given = StarvationAdvice(0, cores=8)
    given.advice(step=3.0, wait=2.0, clips=10)
    text = given.advice(step=3.0, wait=2.0, clips=10)
    assert text == (
        "The device waits for the loader 67 % of the time. A clip takes 0.2 s of a worker. 2 workers per process would "
        "keep up; there are 0. Set data.workers=2."
    )


def advice_after_the_first_window(given: StarvationAdvice, step: float, wait: float) -> str:
    assert given.advice(step=step, wait=wait, clips=10) == ""
    return given.advice(step=step, wait=wait, clips=10)


def test_a_machine_with_too_few_cores() -> None:
    enough = advice_after_the_first_window(StarvationAdvice(2, processes=4, cores=16), 0.8, 0.4)
    assert "Set data.workers=4." in enough
    text = advice_after_the_first_window(StarvationAdvice(2, processes=4, cores=16), 1.0, 0.6)
    assert "5 workers per process would keep up; there are 2, and 16 cores for 4 training processes. Use more" in text


def test_said_three_times_and_not_about_short_waits() -> None:
    given = StarvationAdvice(0, cores=16)
    texts = [given.advice(step=1.0, wait=0.1 if window < 3 else 0.3, clips=10) for window in range(1, 3001)]
    said = [window for window, text in enumerate(texts, start=1) if text]
    assert said == [3, 31, 311]
    assert "1 worker per process would keep up" in texts[2]
