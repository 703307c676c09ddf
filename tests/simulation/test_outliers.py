"""Executors that are ill for a while, for ever or again and again: who gets work, and when.

The real engine in virtual time over minutes, three executors that serve the same, and always nearly
as much work as they can do. Judged is only what began where.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import pytest

from tests.support.crowd import Crowd, Kind, Start, Worker
from timeball_server.core.model import Failure, RetryPolicy

SLOTS, WORK_MS, STEP_MS = 2, 200, 200
ONCE = Kind(takes_ms=WORK_MS, retry=RetryPolicy(max_attempts=1))
NO = Failure(kind="OSError", message="no")
ILL, NAMES = "ill", ("ill", "fine", "good")
PER_STEP = 5
"""Of six that all of them together could begin."""
Illness = Callable[[int], bool]
Break = Callable[[Crowd, Worker, bool], None]


def fails(_: Crowd, worker: Worker, ill: bool) -> None:
    """All it is given fails."""
    worker.outcome = lambda start: NO if ill else None


def crawls(_: Crowd, worker: Worker, ill: bool) -> None:
    """It takes many times as long as the others."""
    worker.speed = 1 / 8 if ill else 1.0


def lived(
    until_ms: int, ill: Illness, how: Break = fails, hours_back_at_ms: int | None = None
) -> list[Start]:
    """Everything that began."""
    workers = {name: Worker(name, slots=SLOTS) for name in NAMES}
    crowd = Crowd(*workers.values())
    crowd.connect()
    while crowd.ms < until_ms:
        how(crowd, workers[ILL], ill(crowd.ms))
        if hours_back_at_ms is not None and crowd.ms >= hours_back_at_ms:
            crowd.wrong_ms = -7_200_000
        crowd.create([ONCE] * PER_STEP)
        crowd.step(STEP_MS)
    return crowd.starts


def at(starts: list[Start], name: str, from_ms: int, to_ms: int) -> int:
    """How many began there meanwhile."""
    return sum(each.executor == name and from_ms < each.ms <= to_ms for each in starts)


def gaps_ms(starts: list[Start], name: str) -> list[tuple[int, int]]:
    """When it was given nothing for some seconds: from when, and how long."""
    times = [each.ms for each in starts if each.executor == name]
    return [(one, other - one) for one, other in pairwise(times) if other - one > 3_000]


def the_well_work(starts: list[Start], until_ms: int) -> None:
    """Nobody who is well is ever left out."""
    for name in NAMES[1:]:
        for from_ms in range(1_000, until_ms - 1_000, 1_000):
            assert at(starts, name, from_ms, from_ms + 1_000), (name, from_ms)


@pytest.mark.parametrize(
    ("how", "ill_ms", "noticed_ms"), [(fails, 6_000, 4_500), (crawls, 11_000, 11_000)]
)
def test_who_was_ill_is_left_out_and_then_gets_its_share_again(
    how: Break, ill_ms: int, noticed_ms: int
) -> None:
    until_ms = 60_000
    starts = lived(until_ms, lambda ms: ms < ill_ms, how)
    the_well_work(starts, until_ms)
    ((gone_ms, gone_for_ms),) = gaps_ms(starts, ILL)
    assert gone_ms < noticed_ms
    assert 9_000 <= gone_for_ms <= 13_000
    back_ms = gone_ms + gone_for_ms
    shares = [at(starts, ILL, back_ms + s, back_ms + s + 5_000) for s in (0, 31_000)]
    fair = at(starts, "fine", back_ms + 31_000, back_ms + 36_000)
    assert 0 < shares[0] < 0.7 * fair, (shares, fair)
    assert 0.8 * fair < shares[1] < 1.2 * fair, (shares, fair)


@pytest.mark.parametrize("back_at_ms", [6_000, 15_000], ids=["while it is out", "while it is new"])
def test_a_clock_that_is_put_back_keeps_nobody_away_for_longer(back_at_ms: int) -> None:
    until_ms = 52_000
    starts = lived(until_ms, lambda ms: ms < 4_000, fails, back_at_ms)
    the_well_work(starts, until_ms)
    ((gone_ms, gone_for_ms),) = gaps_ms(starts, ILL)
    assert gone_ms < 4_500
    assert 9_000 <= gone_for_ms <= 13_000
    shares = [at(starts, name, 47_000, 52_000) for name in (ILL, "fine")]
    assert 0.8 * shares[1] < shares[0] < 1.2 * shares[1], shares


def test_who_stays_ill_is_left_out_for_longer_each_time() -> None:
    until_ms = 100_000
    starts = lived(until_ms, lambda ms: True)
    the_well_work(starts, until_ms)
    lengths = [length_ms for _, length_ms in gaps_ms(starts, ILL)]
    assert [round(length_ms, -4) for length_ms in lengths] == [10_000, 20_000, 40_000]
    assert at(starts, ILL, 5_000, until_ms) < 0.04 * len(starts)


def test_of_an_illness_long_ago_nothing_is_left() -> None:
    """Ill once, well for minutes, ill again: left out for as short a time as the first."""
    again_ms = 400_000
    until_ms = again_ms + 22_000
    workers = {name: Worker(name, slots=SLOTS) for name in NAMES}
    crowd = Crowd(*workers.values())
    crowd.connect()
    while crowd.ms < until_ms:
        busy = crowd.ms < 20_000 or crowd.ms >= again_ms - 5_000
        fails(crowd, workers[ILL], crowd.ms < 4_000 or crowd.ms >= again_ms)
        crowd.create([ONCE] * (PER_STEP if busy else 0))
        crowd.step(STEP_MS if busy else 500)
    first, last = (
        [length_ms for gone_ms, length_ms in gaps_ms(crowd.starts, ILL) if from_ms <= gone_ms < to]
        for from_ms, to in ((0, 15_000), (again_ms, until_ms))
    )
    assert [round(each, -4) for each in (*first, *last)] == [10_000, 10_000]


@pytest.mark.parametrize("share", [1, 2])
def test_what_fails_everywhere_leaves_nobody_out(share: int) -> None:
    """Bad input, or a dependency that is down."""

    def everywhere(crowd: Crowd, _: Worker, ill: bool) -> None:
        for worker in crowd.workers.values():
            worker.outcome = lambda start: NO if ill and start.number % share == 0 else None

    starts = lived(12_000, lambda ms: True, everywhere)
    the_well_work(starts, 12_000)
    assert not gaps_ms(starts, ILL)


def test_who_does_not_begin_what_it_was_sent_is_left_out() -> None:
    def stuck(_: Crowd, worker: Worker, ill: bool) -> None:
        worker.begins = not ill

    starts = lived(14_000, lambda ms: ms >= 3_000, stuck)
    the_well_work(starts, 14_000)
    assert at(starts, ILL, 9_500, 14_000) == 0
