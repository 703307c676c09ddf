"""The judge of changes: which version may start after which answer, and what stays hidden."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from tests.support.checker.history import History, Line
from tests.support.checker.judge import judge
from tests.support.checker.records import (
    Call,
    End,
    Fault,
    Final,
    Kind,
    Mode,
    Op,
    Seen,
    Start,
    Terms,
    Wish,
)
from tests.support.checker.sometimes import shown
from tests.support.checker.verdicts import Promise

S = 1_000_000
DONE = Seen(state="SUCCEEDED", ended=True, place=(1, 9))
OPEN = Seen(state="SCHEDULED", ended=False, place=(1, 1))
ENDED = Seen(state="TERMINATED", ended=True, place=(1, 3))
TERMS = Terms(calm=False, healed_us=20 * S, recover_us=30 * S, read_us=100 * S, forget_us=5 * S)
CALM = Terms(calm=True, read_us=100 * S, forget_us=5 * S)
WISH = Wish(mode=Mode.AT_LEAST_ONCE, due_us=5 * S, max_attempts=3, payload="p")


def op(call: Call, inv_us: int, seen: Seen | None = OPEN, **facts: Any) -> Op:
    """An operation that was answered at once."""
    known: dict[str, object] = {
        "client": "clerk",
        "task": "t",
        "ret_us": inv_us + 1,
        "kind": Kind.OK,
        "request": "r",
        "seen": seen,
    }
    return msgspec.convert({"is": "op", "call": call, "inv_us": inv_us, **known, **facts}, Op)


def refused(call: Call, inv_us: int, reason: str, **facts: Any) -> Op:
    """An operation that did not hold."""
    return op(call, inv_us, None, kind=Kind.FAIL, reason=reason, **facts)


def unknown(call: Call, inv_us: int, **facts: Any) -> Op:
    """An operation of which nobody knows."""
    return op(call, inv_us, None, kind=Kind.INFO, ret_us=2**62, **facts)


def update(inv_us: int, version: str, **facts: Any) -> Op:
    """An update that holds."""
    return op(Call.UPDATE, inv_us, version=version, **facts)


def move(inv_us: int, due_us: int, **facts: Any) -> Op:
    """A move that holds."""
    return op(Call.RESCHEDULE, inv_us, due_us=due_us, **facts)


def start(at_us: int, version: str = "", attempt: int = 1) -> Start:
    """A handler begins."""
    facts = {"task": "t", "epoch": 1, "payload": "p", "process": "x", "version": version}
    return msgspec.convert({"is": "start", "attempt": attempt, "at_us": at_us, **facts}, Start)


CREATE = op(Call.CREATE, 1, wish=WISH)
END = End(task="t", attempt=1, process="x", at_us=9 * S, ok=True)
FINAL = Final(task="t", seen=DONE)
GONE = Final(task="t", seen=None, reason="TASK_NOT_FOUND")
DELETE = op(Call.DELETE, 10 * S, DONE)


def broken(lines: list[Line], terms: Terms = TERMS) -> set[Promise]:
    """Promises that are broken."""
    return {violation.promise for violation in judge(History([*lines, terms]))}


RIGHT: dict[str, list[Line]] = {
    "the version that was acknowledged": [update(2, "a"), start(5 * S, "a")],
    "the old version before the acknowledgement": [
        update(5 * S - 1, "a", ret_us=5 * S + 9), start(5 * S)
    ],
    "the later of two": [update(2, "a"), update(9, "b"), start(5 * S, "b")],
    "either of two at the same time": [
        update(2, "a", ret_us=99), update(9, "b", ret_us=50), start(5 * S, "a")
    ],
    "one that nobody knows of": [unknown(Call.UPDATE, 2, version="a"), start(5 * S, "a")],
    "one that nobody knew of and that came later": [
        unknown(Call.UPDATE, 2, version="a"), update(9, "b"), start(5 * S, "a")
    ],
    "an attempt in doubt": [
        update(2, "a", seen=msgspec.structs.replace(OPEN, doubts=(1,))), start(5 * S)
    ],
    "moved closer": [move(2, 2 * S), start(2 * S)],
    "moved away": [move(2, 8 * S), start(8 * S)],
    "moved at the last moment, or not": [unknown(Call.RESCHEDULE, 2, due_us=8 * S), start(5 * S)],
    "moved to now": [op(Call.RESCHEDULE, 2 * S, delay_us=10), start(2 * S + 10)],
    "started late because it was moved": [
        move(30 * S, 70 * S), start(71 * S), msgspec.structs.replace(END, at_us=72 * S)
    ],
}  # fmt: skip


@pytest.mark.parametrize("name", RIGHT)
def test_what_is_right_is_left_alone(name: str) -> None:
    assert broken([CREATE, *RIGHT[name], END, FINAL]) == set()


WRONG: dict[str, tuple[Promise, list[Line]]] = {
    "the old version after the acknowledgement": (
        Promise.REVISION, [update(2, "a"), start(5 * S)],
    ),
    "a version between": (
        Promise.REVISION, [update(2, "a"), update(9, "b"), start(5 * S, "a")],
    ),
    "a version before it was asked for": (
        Promise.REVISION, [start(5 * S, "a"), update(6 * S, "a")],
    ),
    "a version that nobody asked for": (Promise.REVISION, [start(5 * S, "b")]),
    "the second attempt of another version": (
        Promise.REVISION,
        [start(5 * S), End(task="t", attempt=1, process="x", at_us=6 * S, ok=False),
         update(7 * S, "a"), start(8 * S, "", 2)],
    ),
    "two changes of one revision": (
        Promise.REVISION, [update(2, "a", etag=1), move(9, 6 * S, etag=1), start(6 * S, "a")],
    ),
    "at the old time after it was moved away": (
        Promise.NOT_EARLY, [move(2, 8 * S), start(5 * S)],
    ),
    "at the time between": (
        Promise.NOT_EARLY, [move(2, 3 * S), move(9, 8 * S), start(3 * S)],
    ),
    "long after it was moved closer": (Promise.LIVE, [move(2, 2 * S), start(71 * S)]),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_named(name: str) -> None:
    promise, lines = WRONG[name]
    assert promise in broken([CREATE, *lines, END, FINAL])


def test_a_refused_version_runs_only_where_a_refusal_is_not_certain() -> None:
    lines: list[Line] = [CREATE]
    lines += [refused(Call.UPDATE, 2, "TOO_LATE", version="a"), start(5 * S, "a"), END]
    assert broken([*lines, FINAL]) == set()
    assert broken([*lines, FINAL], CALM) == {Promise.REVISION}


RUN: list[Line] = [CREATE, start(5 * S), END]


def test_a_deleted_task_is_gone() -> None:
    late = refused(Call.GET, 50 * S, "TASK_NOT_FOUND")
    assert broken([*RUN, DELETE, late, GONE]) == set()
    assert Promise.TRUTH in broken([*RUN, DELETE, FINAL])
    assert broken([*RUN, unknown(Call.DELETE, 10 * S), GONE]) == set()
    assert broken([*RUN, unknown(Call.DELETE, 10 * S), FINAL]) == set()


def test_an_attempt_in_doubt_may_begin_after_the_deletion_that_named_it() -> None:
    doubtful = msgspec.structs.replace(DONE, doubts=(2,))
    none = refused(Call.CANCEL, 12 * S, "TASK_NOT_FOUND")
    crash = Fault(name="crash", scope="x", at_us=1, until_us=1, gives_up=True)
    lines: list[Line] = [*RUN, crash, none, start(13 * S, "", 2), GONE]
    assert broken([*lines, op(Call.DELETE, 10 * S, doubtful)]) == set()
    assert broken([*lines, DELETE]) == {Promise.CANCEL}


def test_a_task_that_nobody_deleted_is_there() -> None:
    not_ended = refused(Call.DELETE, 2, "FAILED_PRECONDITION")
    assert broken([*RUN, not_ended, FINAL]) == set()
    assert Promise.DURABLE in broken([*RUN, not_ended, GONE])
    seen, late = op(Call.GET, 10 * S, DONE), refused(Call.DELETE, 50 * S, "FAILED_PRECONDITION")
    assert Promise.LINEAR in broken([*RUN, seen, late, FINAL])


def test_a_deleted_task_is_shown_for_a_while_by_whoever_knew_it() -> None:
    soon, late = op(Call.GET, 14 * S, DONE), op(Call.GET, 16 * S, DONE)
    assert broken([*RUN, DELETE, soon, GONE]) == set()
    assert Promise.LINEAR in broken([*RUN, DELETE, late, GONE])


def test_changes_after_the_end_and_of_other_revisions_are_refused() -> None:
    too_late = refused(Call.UPDATE, 10 * S, "TOO_LATE", version="b")
    stale = refused(Call.RESCHEDULE, 3, "STALE_ETAG")
    assert broken([*RUN, too_late, stale, FINAL], CALM) == set()
    assert Promise.LINEAR in broken([*RUN, op(Call.UPDATE, 10 * S, DONE, version="b"),
                                     op(Call.GET, 9 * S, DONE), FINAL])  # fmt: skip
    unborn = refused(Call.UPDATE, 2 * S, "TASK_NOT_FOUND")
    assert Promise.LINEAR in broken([*RUN, unborn, FINAL])


def test_a_termination_ends_it_like_a_cancel() -> None:
    stop = op(Call.TERMINATE, 6 * S, ENDED)
    ended = Final(task="t", seen=ENDED)
    assert broken([CREATE, start(5 * S), stop, END, ended]) == set()
    assert Promise.CANCEL in broken([CREATE, stop, start(7 * S), END, ended])
    assert Promise.TRUTH in broken([CREATE, start(5 * S), END, ended])


def test_situations_of_changes_are_counted() -> None:
    found = shown(History([CREATE, update(2, "a"), start(5 * S, "a"), DELETE, GONE, TERMS]))
    assert found["an update won against the start"] == 1
    assert found["a deleted task stayed hidden"] == 1
