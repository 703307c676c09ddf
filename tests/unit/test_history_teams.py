"""The judge of executors that serve the same: each rule is seen broken by a history of its own."""

from __future__ import annotations

import pytest

from tests.support.checker.base import NEVER_US
from tests.support.checker.history import History, Line
from tests.support.checker.questions import Nature, Serving
from tests.support.checker.records import (
    Call,
    Claim,
    End,
    Final,
    Kind,
    Left,
    Mode,
    Op,
    Seen,
    Sent,
    Start,
    Terms,
    Wish,
)
from tests.support.checker.tasks import Life
from tests.support.checker.teams import teams

MS, S = 1_000, 1_000_000
CALM = Terms(calm=True, read_us=99 * S)
OWNER = Claim(shard=0, epoch=1, owner="n1")


def told(*lines: Line) -> list[str]:
    """What the judge says."""
    return [each.text for each in teams(History([CALM, OWNER, *lines]))]


def serves(name: str, slots: int = 2, until_s: float | None = None) -> Serving:
    until_us = NEVER_US if until_s is None else round(until_s * S)
    return Serving(
        process=name, node=name, handlers=("h",), slots=slots, from_us=0, until_us=until_us
    )


def made(task: str, due_s: float) -> list[Line]:
    due_us = round(due_s * S)
    wish = Wish(mode=Mode.AT_LEAST_ONCE, due_us=due_us, payload=task)
    op = Op(client="c", call=Call.CREATE, task=task, inv_us=0, ret_us=1, kind=Kind.OK, wish=wish)
    return [op, Nature(task=task, handler="h")]


def sent(task: str, at_s: float, where: str) -> Sent:
    return Sent(task=task, shard=0, epoch=1, owner="n1", at_us=round(at_s * S), executor=where)


def ran(
    task: str, at_s: float, where: str, for_ms: int = 100, attempt: int = 1, *, ok: bool = True
) -> list[Line]:
    known = {"task": task, "attempt": attempt, "process": where}
    at_us = round(at_s * S)
    start = Start(epoch=1, at_us=at_us, payload=task, **known)  # type: ignore[arg-type]
    return [start, End(at_us=at_us + for_ms * MS, ok=ok, **known)]  # type: ignore[arg-type]


def one(task: str, at_s: float, where: str, for_ms: int = 100) -> list[Line]:
    """A task that is due, sent and begun at once."""
    return [*made(task, at_s), sent(task, at_s, where), *ran(task, at_s, where, for_ms)]


def test_nobody_waits_while_there_is_room() -> None:
    lines = [serves("x"), *made("t", 2)]
    assert told(*lines, sent("t", 2.1, "x"), *ran("t", 2.1, "x")) == []
    assert told(*lines, sent("t", 2.2, "x"), *ran("t", 2.2, "x"))


def test_who_has_no_room_keeps_nobody() -> None:
    lines = [serves("x", slots=1), *one("first", 1, "x", 1_500), *made("t", 2)]
    assert told(*lines, sent("t", 2.51, "x"), *ran("t", 2.51, "x")) == []
    assert told(*lines, sent("t", 2.7, "x"), *ran("t", 2.7, "x"))


def test_what_is_handed_back_is_sent_elsewhere_at_once() -> None:
    lines = [serves("x", until_s=2), serves("y"), *made("t", 1.95), sent("t", 1.95, "x")]
    assert told(*lines, sent("t", 2.1, "y"), *ran("t", 2.1, "y")) == []
    assert told(*lines, sent("t", 2.2, "y"), *ran("t", 2.2, "y"))


def test_what_is_handed_back_costs_no_attempt() -> None:
    lines = [serves("x", until_s=2), serves("y"), *made("t", 1.95), sent("t", 1.95, "x")]
    (text,) = told(*lines, sent("t", 2.1, "y"), *ran("t", 2.1, "y", attempt=2))
    assert "after 0 that failed" in text
    failed = ran("t", 1.95, "x", for_ms=20, ok=False)
    assert told(*lines, *failed, sent("t", 2.1, "y"), *ran("t", 2.1, "y", attempt=2)) == []


def test_what_never_began_is_not_lost() -> None:
    seen = Seen(state="FAILED", ended=True, cause="LOST")
    lines = [serves("x"), *made("t", 2), Final(task="t", seen=seen)]
    assert told(*lines) == ["is lost, and never began"]
    assert told(*lines, sent("t", 2, "x"), *ran("t", 2, "x")) == []


def test_nobody_is_sent_anything_who_is_leaving() -> None:
    lines = [serves("x", until_s=2), *made("t", 2.05)]
    assert told(*lines, sent("t", 2.05, "x"), *ran("t", 2.05, "x")) == []
    assert told(*lines, sent("t", 2.2, "x"), *ran("t", 2.2, "x"))


def test_an_attempt_that_was_handed_back_may_begin_again() -> None:
    both = ran("t", 1, "x")[:1] + ran("t", 3, "y")
    starts = [each for each in both if isinstance(each, Start)]
    life = Life("t", CALM, {}, starts=starts)
    assert [each.text for each in life.judge()] == ["attempt 1 began twice, on x and y"]
    left = Left(task="t", attempt=1, process="x", at_us=2 * S, handed_back=True)
    life.handed_back[left.attempt, left.process] = left.at_us
    assert list(life.judge()) == []


def slow_team(*after_s: float, at_once: int = 1) -> list[Line]:
    """Ten slow ones and ten fast ones within two seconds, a crowd for the fast one at last."""
    lines: list[Line] = [serves("slow", slots=20), serves("fast", slots=4), serves("well", slots=4)]
    for number in range(10):
        lines += one(f"s{number}", 1 + number / 10, "slow", 2_000)
        lines += one(f"f{number}", 1 + number / 10, "fast", 50)
        lines += one(f"w{number}", 1 + number / 10, "well", 50)
    for number in range(4):
        lines += one(f"cf{number}", 18, "fast", 500)
        lines += one(f"cw{number}", 18, "well", 500)
    for number, at_s in enumerate(after_s):
        for each in range(at_once):
            lines += one(f"a{number} {each}", at_s, "slow", 2_000)
    return lines


@pytest.mark.parametrize(
    ("after_s", "at_once", "good"),
    [
        ((19.0,), 1, True),
        ((14.5, 19.0), 1, True),
        ((), 1, False),
        ((24.0,), 1, False),
        ((10.0, 19.0), 1, False),
        ((4.5, 19.0), 1, True),
        ((19.0,), 10, True),
        ((19.0,), 11, False),
        ((19.0, 24.0), 10, True),
    ],
)
def test_who_is_slow_is_left_out_and_comes_back_slowly(
    after_s: tuple[float, ...], at_once: int, good: bool
) -> None:
    """It is noticed at 3.9 s, when its tenth one ends."""
    assert (told(*slow_team(*after_s, at_once=at_once)) == []) is good


def test_a_weak_difference_makes_nobody_slow() -> None:
    lines: list[Line] = [serves("slow", slots=20), serves("fast", slots=20)]
    for number in range(30):
        lines += one(f"s{number}", 1 + number / 2, "slow", 900)
        lines += one(f"f{number}", 1 + number / 2, "fast", 100)
    assert told(*lines) == []


@pytest.mark.parametrize(("count", "good"), [(30, True), (60, False)])
def test_who_does_well_is_never_passed_over(count: int, good: bool) -> None:
    lines: list[Line] = [serves("x", slots=1), serves("y", slots=99), *one("t", 1, "x", 50)]
    for number in range(count):
        lines += one(f"y{number}", 1 + number / 5, "y", 50)
    assert (told(*lines) == []) is good
