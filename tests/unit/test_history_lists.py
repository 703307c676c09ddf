"""The judge of lists: nothing is missing, nothing is there twice, and all is as it is when read."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from tests.support.checker.history import History, Line
from tests.support.checker.judge import judge
from tests.support.checker.records import (
    Call,
    End,
    Final,
    Kind,
    Listed,
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
TERMS = Terms(calm=True, lists=True, read_us=100 * S)


def ran(state: str = "SUCCEEDED", result: str | None = None) -> list[Line]:
    """A task that ran once and ended."""
    ok = state == "SUCCEEDED"
    seen = Seen(
        state=state,
        ended=True,
        cause="" if ok else "NON_RETRIABLE",
        place=(1, 3),
        tries=(Try(number=1, outcome="SUCCEEDED" if ok else "FAILED"),),
        result=result,
    )
    made = Op(
        client="clerk",
        call=Call.CREATE,
        task="t",
        request="r",
        inv_us=1,
        ret_us=2,
        kind=Kind.OK,
        wish=Wish(mode=Mode.AT_LEAST_ONCE, due_us=5 * S, payload="p"),
    )
    begun = Start(task="t", attempt=1, epoch=1, process="x", at_us=5 * S, payload="p")
    return [made, begun, End(task="t", attempt=1, process="x", at_us=6 * S, ok=ok), final(seen)]


def final(seen: Seen | None) -> Final:
    return Final(task="t", seen=seen)


def by(where: str, state: str = "SUCCEEDED", task: str = "t") -> Listed:
    return Listed(where=where, task=task, state=state, owner="clerk" if where == "owner" else "")


def broken(lines: Sequence[Line]) -> set[Promise]:
    return {each.promise for each in judge(History([TERMS, *lines]))}


def test_what_is_in_its_lists_once_breaks_nothing() -> None:
    assert broken([*ran(), by("owner"), by("state")]) == set()
    letter = [by(where, "FAILED") for where in ("owner", "state", "dead letters")]
    assert broken([*ran("FAILED"), *letter]) == set()


WRONG: dict[str, list[Line]] = {
    "in no list": ran(),
    "not by its owner": [*ran(), by("state")],
    "not by its state": [*ran(), by("owner")],
    "twice": [*ran(), by("owner"), by("owner"), by("state")],
    "in another state": [*ran(), by("owner"), by("state", "FAILED")],
    "no dead letter": [*ran("FAILED"), by("owner", "FAILED"), by("state", "FAILED")],
    "deleted and listed": [by("owner"), final(None)],
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_in_a_list_is_named(name: str) -> None:
    assert broken(WRONG[name]) == {Promise.LISTS}


@pytest.mark.parametrize(("result", "is_broken"), [("1", False), ("2", True), (None, False)])
def test_what_a_handler_gave_back_is_what_is_shown(result: str | None, is_broken: bool) -> None:
    lines = [*ran(result=result), by("owner"), by("state")]
    assert (Promise.PAYLOAD in broken(lines)) == is_broken
