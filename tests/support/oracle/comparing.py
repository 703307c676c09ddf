"""Asks evaluator and oracle the same question and says where they differ."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from functools import lru_cache

from timeball_server.core.schedules.calendars import nominal_times
from timeball_server.core.schedules.spec import Calendar, Cron
from timeball_server.oracle import rules
from timeball_server.oracle.clock import Shown
from timeball_server.oracle.expressions import Expression, read

UNLIMITED = 10_000_000


def text(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1_000, UTC).isoformat()


def evaluated(calendar: Calendar, from_ms: int, to_ms: int) -> list[int]:
    """What the evaluator finds between two instants, both included."""
    return list(nominal_times(calendar, from_ms - 1, to_ms, UNLIMITED))


def judged(calendar: Calendar, from_ms: int, to_ms: int) -> list[int]:
    """What the oracle finds, from the calendar as the journal's plain text holds it."""
    return rules.nominal_times(json.loads(json.dumps(asdict(calendar))), from_ms, to_ms)


def differences(found: Sequence[int], wanted: Sequence[int]) -> list[str]:
    """The first instants that only one of the two names."""
    too_many, too_few = set(found) - set(wanted), set(wanted) - set(found)
    words = [f"evaluator alone: {text(at_ms)}" for at_ms in sorted(too_many)]
    words += [f"oracle alone: {text(at_ms)}" for at_ms in sorted(too_few)]
    if not words and list(found) != list(wanted):
        words = ["an instant is named twice, or out of order"]
    return words[:6]


def cron_differences(cron: Cron, readings: Sequence[Shown], step_s: int) -> list[str]:
    """As `differences`, for one cron and a clock that was walked before.

    The first reading is only looked back at. With `step_s` above a minute, all minutes of the
    expression and all offsets among the readings must be multiples of it.
    """
    from_ms, to_ms = readings[1].at_s * 1_000, readings[-1].at_s * 1_000
    fired = rules.fired(meaning(cron.expression), cron.gap, cron.fold, readings, step_s)
    wanted = sorted({at_s * 1_000 for at_s in fired})
    found = evaluated(Calendar(crons=(cron,)), from_ms, to_ms)
    return [f"{cron}: {words}" for words in differences(found, wanted)]


@lru_cache(maxsize=64)
def meaning(expression: str) -> Expression:
    return read(expression, "")
