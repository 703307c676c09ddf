"""Random lives in rough weather: what was promised holds, and nothing is left behind."""

from __future__ import annotations

import pytest

from tests.support.engine_weather import Weather

SEEDS = 8


@pytest.mark.parametrize("seed", range(SEEDS))
def test_in_any_weather_what_was_promised_holds_and_nothing_is_left_behind(seed: int) -> None:
    weather = Weather(seed)
    weather.live()
    weather.heal()
    weather.check_the_end()
