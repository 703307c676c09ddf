"""The judge of what work costs, and of how late is late where nothing is broken."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from tests.support.checker.costs import BOUNDS
from tests.support.checker.history import History, Line
from tests.support.checker.judge import judge
from tests.support.checker.records import (
    Call,
    Claim,
    End,
    Final,
    Kind,
    Mode,
    Op,
    Rhythm,
    Seen,
    Spent,
    Start,
    Terms,
    Try,
    Verdict,
    Wish,
)
from tests.support.checker.verdicts import Promise

S = 1_000_000
STILL = Terms(calm=True, still=True, late_us=200_000, recover_us=30 * S, read_us=100 * S)
MOVED = Terms(calm=True, late_us=200_000, recover_us=30 * S, read_us=100 * S)
TERMS = Terms(calm=False, read_us=100 * S)
WISH = Wish(mode=Mode.AT_LEAST_ONCE, due_us=5 * S, payload="p")
OPEN = Seen(state="SCHEDULED", ended=False, place=(1, 1))


def ran(at_us: int, told_us: int | None = None) -> list[Line]:
    """A task that is due at five seconds, and ran once."""
    late_us = at_us - 5 * S if told_us is None else told_us
    tries = (Try(number=1, outcome="SUCCEEDED", late_us=late_us),)
    done = Seen(state="SUCCEEDED", ended=True, place=(1, 3), tries=tries)
    made = Op(
        client="clerk",
        call=Call.CREATE,
        task="t",
        request="r",
        inv_us=1,
        ret_us=2,
        kind=Kind.OK,
        wish=WISH,
        seen=OPEN,
    )
    begun = Start(task="t", attempt=1, epoch=1, process="x", at_us=at_us, payload="p")
    over = End(task="t", attempt=1, process="x", at_us=at_us + 1, ok=True)
    return [made, begun, over, Final(task="t", seen=done)]


def broken(lines: Sequence[Line], terms: Terms = STILL) -> set[Promise]:
    return {each.promise for each in judge(History([terms, *lines]))}


def test_what_is_in_time_and_costs_what_it_must_breaks_nothing() -> None:
    spent = [Spent(what="Dispatch", times=1), Spent(what="append", times=2)]
    assert broken([*ran(5 * S + 5_000), *spent]) == set()


@pytest.mark.parametrize("what", BOUNDS)
def test_what_is_done_too_often_is_named(what: str) -> None:
    often = [Spent(what=what, times=1_000)]
    assert broken([*ran(5 * S), *often]) == {Promise.THRIFT}
    assert broken([*ran(5 * S), *often], MOVED) == set()


def test_one_order_too_many_is_too_many() -> None:
    assert broken([*ran(5 * S), Spent(what="Dispatch", times=2)]) == {Promise.THRIFT}


def test_where_nothing_moves_nobody_is_late() -> None:
    assert broken(ran(5 * S + 30_000)) == {Promise.PUNCTUAL}
    assert broken(ran(5 * S + 30_000), MOVED) == set()


@pytest.mark.parametrize("told_us", [-11_000, 40_000])
def test_the_lateness_that_is_told_is_the_one_that_was(told_us: int) -> None:
    assert Promise.TRUTH in broken(ran(5 * S + 5_000, told_us))
    assert Promise.TRUTH not in broken(ran(5 * S + 5_000, told_us), MOVED)


@pytest.mark.parametrize(("terms", "is_broken"), [(STILL, True), (MOVED, True), (TERMS, False)])
def test_where_nothing_is_broken_nobody_asks_twice(terms: Terms, is_broken: bool) -> None:
    look = Op(client="clerk", call=Call.GET, task="t", inv_us=S, ret_us=2 * S, requests=2)
    assert (Promise.LIVE in broken([*ran(5 * S), look], terms)) == is_broken


@pytest.mark.parametrize(("answer_us", "is_broken"), [(S, True), (3 * S, False), (None, False)])
def test_who_keeps_somebody_waiting_has_an_excuse_or_is_named(
    answer_us: int | None, is_broken: bool
) -> None:
    terms = Terms(calm=False, answer_us=answer_us, read_us=100 * S)
    look = Op(
        client="clerk",
        call=Call.GET,
        task="t",
        inv_us=S,
        ret_us=4 * S,
        kind=Kind.FAIL,
        reason="UNAVAILABLE",
        stalls=((S, 2 * S),),
    )
    assert (Promise.LIVE in broken([*ran(5 * S), look], terms)) == is_broken


@pytest.mark.parametrize(("told_us", "is_broken"), [(400_000, True), (None, False)])
def test_a_run_that_is_late_was_held_up_by_others_or_is_named(
    told_us: int | None, is_broken: bool
) -> None:
    """Of what had to wait for a place that others had taken nobody says how late it was."""
    plan = Wish(mode=Mode.AT_LEAST_ONCE, payload="schedule p")
    made = Op(
        client="clerk",
        call=Call.CREATE_SCHEDULE,
        task="s",
        request="s",
        inv_us=1,
        ret_us=2,
        kind=Kind.OK,
        wish=plan,
        rhythm=Rhythm(every_us=10 * S),
    )
    at_us = 10 * S + 400_000
    tries = (Try(number=1, outcome="SUCCEEDED", late_us=told_us),)
    done = Seen(state="SUCCEEDED", ended=True, place=(1, 3), tries=tries)
    over = Op(client="clerk", call=Call.END_SCHEDULE, task="s", inv_us=15 * S, ret_us=16 * S)
    lines: list[Line] = [
        made,
        Verdict(schedule="s", nominal_us=10 * S, verdict="LAUNCHED", task="s1"),
        Start(task="s1", attempt=1, epoch=1, process="x", at_us=at_us, payload="schedule p"),
        End(task="s1", attempt=1, process="x", at_us=at_us + 1, ok=True),
        Final(task="s1", seen=done),
        over,
    ]
    assert (Promise.SCHEDULE in broken(lines, MOVED)) == is_broken


@pytest.mark.parametrize(
    ("owners", "is_broken"), [("aabb", False), ("aaab", True), ("abab", False)]
)
def test_of_two_owners_each_has_half_of_the_shards(owners: str, is_broken: bool) -> None:
    first = [Claim(shard=shard, epoch=shard, owner="a#1") for shard in range(4)]
    last = [Claim(shard=n, epoch=10 + n, owner=f"{each}#2") for n, each in enumerate(owners)]
    terms = Terms(calm=True, unbound=True, read_us=100 * S)
    assert (Promise.THRIFT in broken([*first, *last], terms)) == is_broken
    assert broken([*first, *last], Terms(calm=True, read_us=100 * S)) == set()
