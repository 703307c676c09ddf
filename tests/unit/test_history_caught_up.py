"""The judge of what is caught up after a long absence: in turn, and what comes then at once."""

from __future__ import annotations

from collections.abc import Iterable

from tests.support.checker.history import History
from tests.support.checker.judge import judge
from tests.support.checker.records import Away, Terms, Verdict
from tests.support.checker.verdicts import Promise

S = 1_000_000
TERMS = Terms(calm=False, catch_up_per_s=5, read_us=600 * S)
AWAY = Away(from_us=10 * S, until_us=130 * S)
MISSED_US = range(12 * S, 36 * S, S)
ONE_AT_A_TIME = [(at_us, 131 * S + number * S // 10) for number, at_us in enumerate(MISSED_US)]


def promises(decided: Iterable[tuple[int, int]]) -> list[Promise]:
    """What is broken if these nominal times were decided at those instants."""
    verdicts = [
        Verdict(
            schedule="s",
            nominal_us=at_us,
            verdict="LAUNCHED",
            task=f"{at_us}",
            late_us=when - at_us,
        )
        for at_us, when in decided
    ]
    return [each.promise for each in judge(History([TERMS, AWAY, *verdicts]))]


def test_missed_starts_are_caught_up_at_their_rate() -> None:
    assert not promises(ONE_AT_A_TIME)


def test_not_all_of_them_at_once() -> None:
    assert Promise.LIMITS in promises((at_us, 131 * S) for at_us in MISSED_US)


def test_not_much_slower() -> None:
    assert Promise.LIVE in promises([*ONE_AT_A_TIME, (40 * S, 200 * S)])


def test_what_was_missed_just_now_is_not_counted() -> None:
    assert not promises((at_us, 131 * S) for at_us in range(90 * S, 120 * S, S))


def test_what_comes_then_waits_for_nothing() -> None:
    assert not promises([*ONE_AT_A_TIME, (200 * S, 200 * S + 1)])
    assert Promise.LIVE in promises([*ONE_AT_A_TIME, (200 * S, 201 * S)])
