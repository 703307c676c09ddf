""" "Removed after its retention" is right at its time, and wrong at any other."""

from __future__ import annotations

import pytest

from tests.support.checker.history import History, Line
from tests.support.checker.judge import judge
from tests.support.checker.records import (
    Call,
    End,
    Final,
    Kind,
    Mode,
    Op,
    Seen,
    Start,
    Terms,
    Try,
    Wish,
)
from tests.support.checker.verdicts import Promise

S = 1_000_000
KEPT = Terms(calm=True, kept_us=60 * S, read_us=500 * S)
FOR_EVER = Terms(calm=True, read_us=500 * S)
DONE = Seen(
    state="SUCCEEDED", ended=True, place=(1, 4), tries=(Try(number=1, outcome="SUCCEEDED"),)
)
OPEN = Seen(state="SCHEDULED", ended=False, place=(1, 1))
WISH = Wish(mode=Mode.AT_MOST_ONCE, due_us=5 * S, payload="p")
LIFE: tuple[Line, ...] = (
    Op(client="clerk", call=Call.CREATE, inv_us=1, ret_us=9, kind=Kind.OK, task="t", wish=WISH,
       seen=OPEN),
    Start(task="t", attempt=1, epoch=1, process="x", at_us=5 * S, payload="p"),
    End(task="t", attempt=1, process="x", at_us=20 * S, ok=True),
    Final(task="t", seen=None, reason="TASK_EXPIRED"),
)  # fmt: skip


def told(at_us: int) -> Op:
    return Op(
        client="reader", call=Call.GET, inv_us=at_us - 1, ret_us=at_us, kind=Kind.FAIL, task="t",
        reason="TASK_EXPIRED",
    )  # fmt: skip


def shown(at_us: int) -> Op:
    return Op(
        client="reader", call=Call.GET, inv_us=at_us, ret_us=at_us + 1, kind=Kind.OK, task="t",
        seen=DONE,
    )  # fmt: skip


def promises(terms: Terms, *lines: Line) -> set[Promise]:
    return {each.promise for each in judge(History([terms, *LIFE, *lines]))}


def test_a_task_may_have_expired_when_its_retention_is_over() -> None:
    assert promises(KEPT) == set()
    assert promises(KEPT, shown(79 * S), told(81 * S)) == set()


@pytest.mark.parametrize("at_us", [10 * S, 79 * S])
def test_a_task_has_not_expired_before(at_us: int) -> None:
    assert promises(KEPT, told(at_us)) == {Promise.DURABLE}


def test_a_task_that_was_said_to_have_expired_is_not_shown_again() -> None:
    assert promises(KEPT, told(81 * S), shown(90 * S)) == {Promise.DURABLE}


def test_where_everything_is_kept_nothing_expires() -> None:
    assert promises(FOR_EVER) == {Promise.DURABLE}
