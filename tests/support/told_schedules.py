"""What a judge is told of one schedule, `s`, for tests of the judge."""

from __future__ import annotations

from tests.support.checker.history import Line
from tests.support.checker.records import (
    Call,
    End,
    Final,
    Kind,
    Op,
    Rhythm,
    Seen,
    Start,
    Verdict,
    Wish,
)

PLAN = "schedule p"
"""The payload of its runs."""
DONE = Seen(state="SUCCEEDED", ended=True, place=(1, 4))


def op(call: Call, at_us: int, rhythm: Rhythm | None = None, wish: Wish | None = None) -> Op:
    """An operation on it that went well, at once."""
    return Op(
        client="c",
        call=call,
        task="s",
        inv_us=at_us,
        ret_us=at_us + 1,
        kind=Kind.OK,
        request="s",
        rhythm=rhythm,
        wish=wish,
    )


def ran(nominal_us: int, from_us: int, to_us: int) -> list[Line]:
    """A launched nominal time, and its run."""
    task = f"run of {nominal_us}"
    return [
        Verdict(schedule="s", nominal_us=nominal_us, verdict="LAUNCHED", task=task),
        Start(task=task, attempt=1, epoch=1, process="x", at_us=from_us, payload=PLAN),
        End(task=task, attempt=1, process="x", at_us=to_us, ok=True),
        Final(task=task, seen=DONE),
    ]
