"""The judge of histories says of a real campaign's records what the trial says of them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.support.chaos.campaign import Round
from tests.support.chaos.records import Ack, Event, Evidence
from tests.support.chaos.testimony import told_by
from tests.support.checker.judge import judge
from tests.support.checker.verdicts import Promise
from tests.support.start_logs import Start

DUE_MS = 1_000_000
KILLED_MS = DUE_MS + 500
ACK = Ack("task", 7, DUE_MS, False, "127.0.0.1:1", DUE_MS - 50, DUE_MS - 20, 0)
FIRST = Start(
    task_id="task", attempt=1, epoch=5, due_ms=DUE_MS, started_ms=DUE_MS + 5, executor="executor-1"
)
SECOND = replace(FIRST, attempt=2, started_ms=DUE_MS + 5_000, executor="executor-2")


def event(seq: int, kind: str, state: str, attempt: int, number: int) -> Event:
    return Event("task", 5, seq, kind, state, attempt, f"executor-{number}", 40 + number, DUE_MS)


CLAIM = event(1, "CLAIMED", "CLAIMED", 1, 1)
DONE = event(2, "SUCCEEDED", "SUCCEEDED", 1, 1)
TWICE = [
    CLAIM,
    event(2, "RETRY", "PENDING", 1, 1),
    event(3, "CLAIMED", "CLAIMED", 2, 2),
    event(4, "SUCCEEDED", "SUCCEEDED", 2, 2),
]
ROUND = Round(
    number=1,
    point="run-accepted",
    victim="executor-1",
    incarnation=41,
    away_s=0.0,
    delay_ms=3.0,
    began_ms=DUE_MS - 100,
    calm=True,
    shards={},
    shot={"killed_ms": KILLED_MS},
)


def broken(
    starts: list[Start], journal: list[Event], ack: Ack = ACK, round_: Round = ROUND
) -> set[Promise]:
    evidence = Evidence(acks=[ack], journals={"task": journal})
    if starts:
        evidence.starts["task"] = starts
    for start in starts:
        evidence.sunk["task", start.attempt] += 1
    return {violation.promise for violation in judge(told_by([round_], evidence))}


def test_what_went_well_and_what_has_its_cause_breaks_nothing() -> None:
    assert broken([FIRST], [CLAIM, DONE]) == set()
    assert broken([FIRST, SECOND], TWICE) == set()


@pytest.mark.parametrize(
    ("promise", "facts"),
    [
        pytest.param(Promise.DURABLE, {"starts": [], "journal": []}, id="gone"),
        pytest.param(Promise.LIVE, {"starts": [FIRST], "journal": [CLAIM]}, id="open"),
        pytest.param(
            Promise.NOT_EARLY,
            {"starts": [replace(FIRST, started_ms=DUE_MS - 2)], "journal": [CLAIM, DONE]},
            id="early",
        ),
        pytest.param(
            Promise.AT_MOST_ONCE,
            {"starts": [FIRST, SECOND], "journal": TWICE, "ack": ACK._replace(once=True)},
            id="at most once, twice",
        ),
        pytest.param(
            Promise.AT_LEAST_ONCE,
            {"starts": [FIRST, SECOND], "journal": TWICE, "round_": replace(ROUND, shot={})},
            id="nobody was killed",
        ),
        pytest.param(
            Promise.AT_LEAST_ONCE,
            {"starts": [FIRST, SECOND], "journal": TWICE, "round_": replace(ROUND, incarnation=9)},
            id="an earlier life was killed",
        ),
        pytest.param(
            Promise.TRUTH, {"starts": [], "journal": [CLAIM, DONE]}, id="nothing ever ran"
        ),
    ],
)
def test_the_judge_refuses_it_too(promise: Promise, facts: dict[str, Any]) -> None:
    assert promise in broken(**facts)
