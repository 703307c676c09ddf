"""When tasks come and when they are due: pure arithmetic, drawn from a seed.

An open loop has a plan: by which instant how many tasks are asked for. It never looks at answers.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from enum import StrEnum
from typing import Final, NamedTuple

TICK_S: Final = 0.01
IMMEDIATE_SHARE: Final = 0.1
DUE_MS: Final = (2_000, 10_000)
BURST_EVERY_S: Final = 5.0
BURST_LASTS_S: Final = 0.25
DAY_MS: Final = 86_400_000
STORED_DAYS: Final = (1, 30)

Plan = Callable[[float, float], int]
"""How many tasks have been asked for after so many seconds at a rate."""


class Due(StrEnum):
    """When a task may start."""

    USUAL = "usual"
    """2 to 10 s after it was asked for, at a random millisecond; one in ten at once."""
    LATER = "later"
    """In 1 to 30 days: stored, and not started while anybody looks."""


def evenly(seconds: float, rate: float) -> int:
    """One after the other."""
    return int(rate * seconds + 1e-6)


def in_bursts(seconds: float, rate: float) -> int:
    """All of five seconds within a quarter of one, then nothing."""
    bursts, into_s = divmod(seconds + 1e-9, BURST_EVERY_S)
    return int(rate * BURST_EVERY_S * (bursts + min(1.0, into_s / BURST_LASTS_S)) + 1e-6)


class Tick(NamedTuple):
    """A moment of the plan: when it is, counted from the beginning, and how many tasks are asked
    for then."""

    at_s: float
    tasks: int


def ticks(plan: Plan, rate: float, seconds: float) -> Iterator[Tick]:
    """The whole plan, tick by tick, those without a task too."""
    begun = 0
    for number in range(1, round(seconds / TICK_S) + 1):
        wanted = plan(number * TICK_S, rate)
        yield Tick(number * TICK_S, wanted - begun)
        begun = wanted


def due_ms(due: Due, asked_ms: float, rng: random.Random) -> int | None:
    """The instant at which a task may start; None = at once."""
    if due is Due.LATER:
        first, last = STORED_DAYS
        return int(asked_ms) + rng.randint(first * DAY_MS, last * DAY_MS)
    if rng.random() < IMMEDIATE_SHARE:
        return None
    return int(asked_ms) + rng.randint(*DUE_MS)
