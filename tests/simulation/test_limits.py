"""Keys in whole clusters under faults: never more of one at once than allowed, and all goes on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest

from tests.support.sim.keyed import KEYS, simulate_keys
from tests.support.sim.profile import STORMS, Profile


def beyond(most: Mapping[str, int]) -> dict[str, int]:
    """What more of a key ran at once than may."""
    return {key: count for key, count in most.items() if count > KEYS[key.partition("/")[2]]}


def test_no_more_run_than_may_and_everything_ends_in_a_calm_world() -> None:
    report = simulate_keys(0, Profile(tasks=60, work_s=15))
    assert set(report.most) == {f"{who}/{key}" for who in ("shop", "bank") for key in KEYS}
    assert beyond(report.most) == {}
    assert max(report.most.values()) > 1
    assert not report.left
    assert not report.problems


@pytest.mark.parametrize(("storm", "seed"), [("long pauses", 1), ("long pauses", 8)])
def test_a_storm_lets_no_more_of_a_key_run(storm: str, seed: int) -> None:
    report = simulate_keys(seed, replace(STORMS[storm], tasks=120, schedules=0, work_s=40))
    assert beyond(report.most) == {}
    assert not report.left
    assert not report.problems
    assert report.faults > 10
