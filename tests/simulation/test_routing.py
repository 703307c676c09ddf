"""Who runs where: strength tiers at half, nearly full and too much load, in virtual time.

Three executors of strength 1, 5 and 10 with as many slots each, tasks of every priority all the
time, half of them due at once and half planned ahead. Only counts are judged.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

import pytest

from tests.support.crowd import Crowd, Kind, Start, Worker

STRENGTHS = (1, 5, 10)
SLOTS, WORK_MS, STEP_MS = 20, 200, 20
CAPACITY_PER_S = len(STRENGTHS) * SLOTS * 1_000 / WORK_MS
WARM_MS, END_MS = 2_000, 6_000
LOADS = (0.5, 0.9, 1.5)
KINDS = tuple(Kind(priority=priority, takes_ms=WORK_MS) for priority in range(10))


@dataclass(frozen=True, slots=True)
class Look:
    """One moment: what started since the last one, and how things stand afterwards.

    `used` are slots in use by strength; `waiting` are tasks that are due, `urgent_waiting` those of
    them with priority 7 or 8 (a 9 has its own share) that did not come only now.
    """

    started: list[Start]
    used: dict[int, int]
    waiting: int
    urgent_waiting: int


def looks_at(load: float, kinds: tuple[Kind, ...] = KINDS) -> list[Look]:
    """Let it run under this share of what the slots allow."""
    chance = random.Random(11)
    workers = {
        each: Worker(f"x{each}", slots=SLOTS, strength=each, spread=0.3) for each in STRENGTHS
    }
    crowd = Crowd(*workers.values())
    crowd.connect()
    looks: list[Look] = []
    owed = 0.0
    while crowd.ms < END_MS:
        owed += load * CAPACITY_PER_S * STEP_MS / 1_000
        drawn = [chance.choice(kinds) for _ in range(int(owed))]
        owed -= len(drawn)
        before = len(crowd.starts)
        crowd.step(STEP_MS)
        ahead_ms = crowd.ms + 1_500
        planned = sum(chance.random() < 0.5 for _ in drawn)
        crowd.create(drawn[:planned], due_ms=ahead_ms)
        crowd.create(drawn[planned:])
        used = {strength: worker.running for strength, worker in workers.items()}
        waiting = crowd.due_and_waiting()
        urgent_waiting = sum(base in (7, 8) and age_ms > 0 for base, age_ms in waiting)
        looks.append(Look(crowd.starts[before:], used, len(waiting), urgent_waiting))
    return [look for number, look in enumerate(looks) if number * STEP_MS >= WARM_MS]


@pytest.fixture(scope="module")
def runs() -> dict[float, list[Look]]:
    """The moments of each load, the first seconds left out."""
    return {load: looks_at(load) for load in LOADS}


def urgent(looks: list[Look]) -> list[Start]:
    return [start for look in looks for start in look.started if start.priority >= 7]


def share_on_the_strongest(starts: list[Start]) -> float:
    assert len(starts) > 100
    return sum(start.executor == f"x{max(STRENGTHS)}" for start in starts) / len(starts)


def use(looks: list[Look], strength: int) -> float:
    """The share of its slots that a tier has in use."""
    return sum(look.used[strength] for look in looks) / (SLOTS * len(looks))


@pytest.mark.parametrize("load", [0.5, 0.9])
def test_the_urgent_run_on_the_strongest(load: float, runs: dict[float, list[Look]]) -> None:
    """Where it still has room after everybody has been placed, it had room for each of them."""
    roomy = [look for look in runs[load] if look.used[max(STRENGTHS)] < SLOTS]
    assert share_on_the_strongest(urgent(roomy)) >= 0.95
    assert len(urgent(roomy)) > 0.4 * len(urgent(runs[load])), "it hardly ever had room"


def test_beyond_full_load_room_on_the_strongest_is_for_the_urgent(
    runs: dict[float, list[Look]],
) -> None:
    """Of what becomes free there the urgent get what they want before anybody else gets any."""
    roomy = [look for look in runs[1.5] if look.used[max(STRENGTHS)] < SLOTS]
    strays = [start for start in urgent(roomy) if start.executor != f"x{max(STRENGTHS)}"]
    assert len(strays) <= 0.05 * len(urgent(roomy))
    assert len(urgent(runs[1.5])) > 100
    for look in runs[1.5]:
        mine = [start for start in look.started if start.executor == f"x{max(STRENGTHS)}"]
        lesser = [start for start in mine if start.priority < 7]
        assert not lesser or look.urgent_waiting == 0


def test_no_tier_idles_while_work_waits(runs: dict[float, list[Look]]) -> None:
    """Work waits 50 ms at most for a tier that is stronger than its own; then it takes any slot."""
    all_are_used(runs[1.5])


@pytest.mark.parametrize("priority", [0, 4, 8])
def test_no_tier_idles_whatever_the_work_asks_for(priority: int) -> None:
    """Work of one priority prefers one tier, and fills all of them."""
    all_are_used(looks_at(1.5, KINDS[priority : priority + 1]))


def all_are_used(looks: list[Look]) -> None:
    backlog = [look for look in looks if look.waiting > len(STRENGTHS) * SLOTS]
    assert len(backlog) > 0.9 * len(looks)
    used = [use(backlog, strength) for strength in STRENGTHS]
    assert min(used) > 0.9
    assert max(used) - min(used) < 0.1


def test_the_loads_are_what_they_say(runs: dict[float, list[Look]]) -> None:
    for load in (0.5, 0.9):
        used = sum(use(runs[load], strength) for strength in STRENGTHS) / len(STRENGTHS)
        assert abs(used - load) < 0.08
        assert max(look.waiting for look in runs[load]) < 2 * SLOTS
    assert runs[1.5][-1].waiting > 300
