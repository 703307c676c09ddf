"""The benchmark's plan: how many tasks come when, when they are due, and what a table offers."""

from __future__ import annotations

import random

import pytest

from tests.bench.arrivals import (
    BURST_EVERY_S,
    BURST_LASTS_S,
    DAY_MS,
    DUE_MS,
    Due,
    due_ms,
    evenly,
    in_bursts,
    ticks,
)
from tests.bench.calling import ACTS
from tests.bench.table import CREATE, TABLE

NOW_MS = 1_000_000.0
DRAWN = 4_000


@pytest.mark.parametrize("rate", [50.0, 200.0, 333.0])
def test_every_plan_asks_for_the_same_number_in_the_end(rate: float) -> None:
    seconds = 4 * BURST_EVERY_S
    asked = [sum(tick.tasks for tick in ticks(plan, rate, seconds)) for plan in (evenly, in_bursts)]
    assert asked == [int(rate * seconds)] * 2


def test_an_even_plan_never_runs_ahead() -> None:
    begun = 0
    for tick in ticks(evenly, 200.0, 3.0):
        begun += tick.tasks
        assert begun == pytest.approx(200 * tick.at_s, abs=1)


def test_a_burst_comes_within_its_quarter_of_a_second() -> None:
    plan = [tick for tick in ticks(in_bursts, 100.0, 2 * BURST_EVERY_S) if tick.tasks]
    assert all(tick.at_s % BURST_EVERY_S <= BURST_LASTS_S + 0.01 for tick in plan)
    assert {int(tick.at_s // BURST_EVERY_S) for tick in plan} == {0, 1}


def test_one_task_in_ten_is_due_at_once_and_the_others_at_random_milliseconds() -> None:
    drawn = [due_ms(Due.USUAL, NOW_MS, random.Random(seed)) for seed in range(DRAWN)]
    ahead = [int(each - NOW_MS) for each in drawn if each is not None]
    assert (DRAWN - len(ahead)) / DRAWN == pytest.approx(0.1, abs=0.03)
    assert DUE_MS[0] <= min(ahead) <= max(ahead) <= DUE_MS[1]
    assert len({each % 1_000 for each in ahead}) > 900


def test_stored_tasks_are_due_long_after_the_run() -> None:
    drawn = [due_ms(Due.LATER, NOW_MS, random.Random(seed)) for seed in range(100)]
    assert all(each is not None and each >= NOW_MS + DAY_MS for each in drawn)


SCHEDULES = ("schedules-spread", "schedules-instant")


def test_the_table_has_every_workload_that_is_promised() -> None:
    names = {"ready", "steady", "burst", "immediate", "create", "read", "mixed", "fail-over"}
    assert {each.name for each in TABLE} == names | {"stored-future", *SCHEDULES}


@pytest.mark.parametrize("workload", TABLE, ids=lambda each: each.name)
def test_a_rows_parts_are_known_and_are_all_of_its_rate(workload: object) -> None:
    (row,) = (each for each in TABLE if each is workload)
    assert row.parts.keys() <= {CREATE, *ACTS}
    creates = row.seconds and not row.schedules
    assert sum(row.parts.values()) == pytest.approx(1.0 if creates else 0.0)
    assert row.rates.keys() <= {"dev", "cluster"}
