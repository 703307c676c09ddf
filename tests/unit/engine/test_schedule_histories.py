"""Random lives of a schedule: every nominal time gets one verdict, every launch one start."""

from __future__ import annotations

import pytest

from tests.support.schedule_model import ScheduleModel

SEEDS = 400
GROUP = 50
STEPS = 25


def live(seed: int) -> None:
    """One life from its seed."""
    model = ScheduleModel(seed)
    happened: list[str] = []
    try:
        for _ in range(STEPS):
            happened.append(model.act())
            model.check()
        ends = seed % 4 == 0 and "step_back" not in happened
        model.check_the_end(model.heal(ends=ends))
    except AssertionError as wrong:
        wrong.add_note(f"seed {seed}: {' '.join(happened)}")
        raise


@pytest.mark.parametrize("first", range(0, SEEDS, GROUP))
def test_every_nominal_time_has_one_verdict_and_every_launch_one_start(first: int) -> None:
    for seed in range(first, first + GROUP):
        live(seed)
