"""Ten thousand changes of mind within five milliseconds of due: the answer and the sink agree."""

from __future__ import annotations

from collections import Counter

import pytest

from tests.support.races import Begun, Entry, Race, Races
from timeball_server.core.commands import Done, Rejected, RejectionReason

WAVES, RACES = 100, 100
"""The owner is replaced in the middle of each wave."""


def applied(entry: Entry, starts: list[Begun]) -> None:
    """It was answered that the change holds."""
    assert entry.call is not None
    assert isinstance(entry.call.outcome, Done)
    if entry.race is Race.CANCEL:
        assert starts == [], "cancelled, and it started"
        return
    (start,) = starts
    if entry.race is Race.UPDATE:
        assert start.payload == b"new", "updated, and it started as it was"
        assert start.due_ms == entry.due_ms
    else:
        due_ms = entry.call.outcome.task.due_ms
        assert start.due_ms == due_ms <= start.at_ms, "moved, and it started at the old time"


def too_late(entry: Entry, starts: list[Begun]) -> None:
    """It was answered that an attempt had begun."""
    assert entry.call is not None
    assert entry.call.refusal is RejectionReason.TOO_LATE
    (start,) = starts
    assert start.order < entry.told, "too late, and nothing had begun"
    assert (start.payload, start.due_ms) == (b"", entry.due_ms), "too late, and it was changed"
    assert isinstance(entry.call.outcome, Rejected)
    assert "attempt 1 " in entry.call.outcome.message


@pytest.mark.timeout(300)
def test_whoever_races_with_the_start_is_told_who_won() -> None:
    races = Races(seed=6)
    won: Counter[tuple[Race, bool]] = Counter()
    repeated = 0
    for _ in range(WAVES):
        for entry in races.wave(RACES):
            assert entry.call is not None
            holds = isinstance(entry.call.outcome, Done)
            judge = applied if holds else too_late
            judge(entry, races.starts[entry.task_id])
            won[entry.race, holds] += 1
            repeated += getattr(entry.call.command, "resend", False)
    assert won.total() == WAVES * RACES
    for race in Race:
        assert min(won[race, True], won[race, False]) > 500, won
    assert repeated > 50, "hardly anybody asked twice"
