"""Learning-rate schedules against their formulas, torch's schedulers and fvcore's."""

import math

import pytest
import torch
from fvcore.common.param_scheduler import (
    CompositeParamScheduler,
    CosineParamScheduler,
    LinearParamScheduler,
    MultiStepParamScheduler,
    ParamScheduler,
)

from videopool.engine.optimization.schedule import build_schedule
from videopool.errors import InputError

ROUNDING = 2**-50  # a few roundings of float64


def test_cosine_with_warm_up_matches_the_formula() -> None:
    schedule = build_schedule("cosine", epochs=10, warmup_epochs=2, warmup_start=0.1, final=0.01)

    def cosine(progress: float) -> float:
        return 0.01 + 0.99 * (1 + math.cos(math.pi * progress)) / 2

    assert schedule(0.0) == pytest.approx(0.1)
    assert schedule(0.1) == pytest.approx((0.1 + cosine(0.2)) / 2)
    for progress in (0.2, 0.5, 0.9, 0.999):
        assert schedule(progress) == pytest.approx(cosine(progress))


@pytest.mark.parametrize("warm", [0.0, 0.7, 3.0])
@pytest.mark.parametrize(
    ("kind", "main"),
    [
        ("cosine", CosineParamScheduler(1.0, 0.03)),
        ("multistep", MultiStepParamScheduler([1.0, 0.3, 0.3**2], num_updates=12, milestones=[4, 9])),
    ],
)
def test_every_step_has_the_rate_of_fvcore_bit_for_bit(kind: str, main: ParamScheduler, warm: float) -> None:
    arguments = {"warmup_epochs": warm, "warmup_start": 0.02, "final": 0.03, "milestones": (4, 9), "gamma": 0.3}
    schedule = build_schedule(kind, epochs=12, **arguments)
    if warm:
        ramp, part = LinearParamScheduler(0.02 * main(0.0), main(warm / 12)), warm / 12
        main = CompositeParamScheduler([ramp, main], lengths=[part, 1 - part], interval_scaling=["rescaled", "fixed"])
    steps = 12 * 37
    assert [schedule(step / steps) for step in range(steps)] == [main(step / steps) for step in range(steps)]


def test_multistep_changes_at_its_epochs() -> None:
    schedule = build_schedule("multistep", epochs=10, milestones=(4, 8), gamma=0.1)
    values = [schedule(step / 100) for step in range(100)]
    assert values[:40] == [1.0] * 40
    assert values[40:80] == pytest.approx([0.1] * 40)
    assert values[80:] == pytest.approx([0.01] * 20)


def test_cool_down_holds_the_final_rate() -> None:
    cooled = build_schedule("cosine", epochs=10, final=0.05, cooldown_epochs=2, warmup_epochs=1)
    shorter = build_schedule("cosine", epochs=8, final=0.05, warmup_epochs=1)
    for step in range(80):
        assert cooled(step / 100) == pytest.approx(shorter(step / 80), rel=ROUNDING)
    assert [cooled(step / 100) for step in range(80, 100)] == pytest.approx([0.05] * 20, rel=ROUNDING)


@pytest.mark.parametrize("power", [1.0, 0.9, 2.5])
def test_polynomial_is_that_of_torch(power: float) -> None:
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=1.0)
    reference = torch.optim.lr_scheduler.PolynomialLR(optimizer, total_iters=50, power=power)
    schedule = build_schedule("polynomial", epochs=5, power=power)
    for step in range(50):
        assert schedule(step / 50) == pytest.approx(reference.get_last_lr()[0], rel=1e-12)  # torch multiplies 50 ratios
        optimizer.step()
        reference.step()


def test_polynomial_ends_at_final_before_the_cool_down() -> None:
    schedule = build_schedule("polynomial", epochs=10, power=2.0, final=0.1, cooldown_epochs=5)
    assert schedule(0.25) == pytest.approx(0.1 + 0.9 * 0.25)
    assert [schedule(0.5), schedule(0.9)] == pytest.approx([0.1, 0.1])


def test_one_cycle_is_that_of_torch() -> None:
    """torch reaches the last rate in its last step N, so a step of it is at progress step / (N - 1)."""
    steps, rise = 101, 31  # the rate is highest in step 30
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=1.0)
    reference = torch.optim.lr_scheduler.OneCycleLR(
        optimizer,
        1.0,
        total_steps=steps,
        pct_start=rise / steps,
        div_factor=25,
        final_div_factor=40,
        cycle_momentum=False,
    )
    schedule = build_schedule("one_cycle", epochs=100, warmup_epochs=30, warmup_start=1 / 25, final=1 / 1000)
    for step in range(steps - 1):
        assert schedule(step / (steps - 1)) == pytest.approx(reference.get_last_lr()[0], rel=1e-12), step
        optimizer.step()
        reference.step()
    assert max(schedule(step / 100) for step in range(100)) == schedule(0.3) == 1.0


@pytest.mark.parametrize("kind", ["cosine", "polynomial"])
def test_decay_after_the_warm_up_is_a_line_and_a_shorter_schedule(kind: str) -> None:
    schedule = build_schedule(
        kind, epochs=100, warmup_epochs=20, warmup_start=0.2, final=0.1, power=2.0, decay_after_warmup=True
    )
    shorter = build_schedule(kind, epochs=80, final=0.1, power=2.0)
    for epoch in range(20):
        assert schedule(epoch / 100) == pytest.approx(0.2 + 0.8 * epoch / 20, rel=ROUNDING)
    for epoch in range(20, 100):
        assert schedule(epoch / 100) == pytest.approx(shorter((epoch - 20) / 80), rel=1e-14)  # of differences near 1


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"kind": "cosine", "epochs": 2, "warmup_epochs": 2}, "warmup_epochs=2 must be smaller than epochs=2"),
        ({"kind": "multistep", "epochs": 2, "milestones": (2,)}, r"milestones=\[2\] must be smaller than epochs=2"),
        ({"kind": "multistep", "epochs": 4, "milestones": (1.5,)}, "must be whole epochs"),
        ({"kind": "multistep", "epochs": 4}, r"milestones=\[\] must have at least one epoch"),
        (
            {"kind": "cosine", "epochs": 4, "warmup_epochs": 1, "cooldown_epochs": 3},
            "cooldown_epochs=3 and warmup_epochs=1 must be shorter than epochs=4 together",
        ),
        ({"kind": "constant", "epochs": 4, "cooldown_epochs": 1}, "cooldown_epochs=1 has no effect with the schedule"),
        ({"kind": "one_cycle", "epochs": 4}, "warmup_epochs=0 must be above 0 with the schedule one_cycle"),
    ],
)
def test_invalid_schedules(arguments: dict, expected: str) -> None:
    with pytest.raises(InputError, match=expected):
        build_schedule(**arguments)
