"""A long history without a fault in it, to see how fast the judge is."""

from __future__ import annotations

from collections.abc import Iterator

from tests.support.checker.history import Line
from tests.support.checker.records import (
    Call,
    Claim,
    End,
    Final,
    Kind,
    Mode,
    Op,
    Seen,
    Sent,
    Start,
    Terms,
    Try,
    Wish,
)

SHARDS = 16
_SECOND_US = 1_000_000
_DONE = Seen(
    state="SUCCEEDED", ended=True, place=(1, 3), tries=(Try(number=1, outcome="SUCCEEDED"),)
)
_OPEN = Seen(state="SCHEDULED", ended=False, place=(1, 1))
RECORDS_PER_TASK = 6


def made_up(tasks: int) -> Iterator[Line]:
    """So many tasks, each created, sent, started, ended and read twice."""
    for shard in range(SHARDS):
        yield Claim(shard=shard, epoch=1, owner="node-1")
    for number in range(tasks):
        yield from _task(number)
    yield Terms(calm=True, late_us=_SECOND_US, read_us=(tasks + 100) * _SECOND_US)


def _task(number: int) -> Iterator[Line]:
    task, at_us = f"task-{number}", number * 1_000
    due_us = at_us + 5 * _SECOND_US
    process, payload = f"executor-{number % 3}", f"wish-{number}"
    wish = Wish(mode=Mode.AT_MOST_ONCE, due_us=due_us, payload=payload)
    made = Op(
        client="c",
        call=Call.CREATE,
        inv_us=at_us,
        ret_us=at_us + 500,
        kind=Kind.OK,
        task=task,
        request=payload,
        wish=wish,
        seen=_OPEN,
    )
    yield made
    yield Sent(task=task, shard=number % SHARDS, epoch=1, owner="node-1")
    began_us = due_us + 2_000
    yield Start(task=task, attempt=1, epoch=1, process=process, at_us=began_us, payload=payload)
    yield End(task=task, attempt=1, process=process, at_us=began_us + 1_000, ok=True)
    asked_us = began_us + 2_000
    yield Op(
        client="c",
        call=Call.GET,
        inv_us=asked_us,
        ret_us=asked_us + 900,
        kind=Kind.OK,
        task=task,
        seen=_DONE,
    )
    yield Final(task=task, seen=_DONE)
