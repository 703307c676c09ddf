"""Random lives of a schedule in rough weather: each verdict is true, and it goes on."""

from __future__ import annotations

import pytest

from tests.support.schedule_weather import ScheduleWeather

SEEDS = 16
GROUP = 8
STEPS = 35


def live(seed: int) -> None:
    """One life from its seed."""
    model = ScheduleWeather(seed)
    happened: list[str] = []
    try:
        for _ in range(STEPS):
            happened.append(model.act())
            model.check()
        model.check_all()
    except AssertionError as wrong:
        wrong.add_note(f"seed {seed}: {model.rule} {' '.join(happened)}")
        raise


@pytest.mark.parametrize("first", range(0, SEEDS, GROUP))
def test_in_any_weather_each_verdict_is_true_and_the_schedule_goes_on(first: int) -> None:
    for seed in range(first, first + GROUP):
        live(seed)
