"""The judge of timeouts and of retries: each rule is seen broken by a history of its own."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from msgspec.structs import replace

from tests.support.checker.bounds import Backoff, Bounds
from tests.support.checker.history import History, Line
from tests.support.checker.judge import judge
from tests.support.checker.records import (
    Call,
    Claim,
    End,
    Fault,
    Final,
    Kind,
    Left,
    Mode,
    Op,
    Seen,
    Start,
    Terms,
    Try,
    Wish,
)
from tests.support.checker.retrying import retries
from tests.support.checker.timeouts import timeouts
from tests.support.checker.verdicts import Promise

S = 1_000_000
MADE_US, DUE_US = 1, 10 * S
CALM = Terms(calm=True, late_us=200_000, read_us=99 * S)
ROUGH = Terms(calm=False, early_us=100_000, healed_us=50 * S, recover_us=30 * S, read_us=99 * S)
BACKOFF = Backoff(first_us=S, factor=2.0, most_us=3 * S)


def made(
    bounds: Bounds | None = None, backoff: Backoff = BACKOFF, most: int = 4, **facts: Mode
) -> Op:
    wish = Wish(
        mode=facts.get("mode", Mode.AT_LEAST_ONCE),
        due_us=DUE_US,
        max_attempts=most,
        payload="p",
        bounds=bounds or Bounds(),
        backoff=backoff,
    )
    return Op(
        client="c",
        call=Call.CREATE,
        task="t",
        request="r",
        inv_us=MADE_US,
        ret_us=MADE_US + 1,
        kind=Kind.OK,
        wish=wish,
        seen=Seen(state="SCHEDULED", ended=False, place=(1, 1)),
    )


def ran(
    attempt: int,
    from_us: int,
    to_us: int,
    ok: bool = False,
    left: bool = False,
    final: bool = False,
    wait_us: int | None = None,
) -> list[Line]:
    known = {"task": "t", "attempt": attempt, "process": "x"}
    start = Start(epoch=1, at_us=from_us, payload="p", **known)  # type: ignore[arg-type]
    end = End(at_us=to_us, ok=ok, final=final, wait_us=wait_us, **known)  # type: ignore[arg-type]
    gone = [Left(at_us=to_us, **known)] if left else []  # type: ignore[arg-type]
    return [start, end, *gone]


def last(
    state: str = "FAILED",
    cause: str = "",
    kinds: Sequence[str] = (),
    at_us: int | None = None,
    priorities: Sequence[int] = (),
) -> Final:
    tries = tuple(
        Try(
            number=number,
            outcome="FAILED" if kind else "SUCCEEDED",
            kind=kind,
            late_us=0,
            priority=priorities[number - 1] if priorities else None,
        )
        for number, kind in enumerate(kinds, 1)
    )
    place = (1, 9)
    seen = Seen(state=state, ended=True, cause=cause, place=place, tries=tries, changed_us=at_us)
    return Final(task="t", seen=seen)


RUN = Bounds(run_us=2 * S)
CUT = [made(RUN), *ran(1, DUE_US, 12 * S, left=True), *ran(2, 13 * S, 14 * S, ok=True)]
WELL = last("SUCCEEDED", kinds=("TIMEOUT", ""))
SILENT = made(Bounds(silent_us=2 * S))
UNSERVED = Bounds(start_us=2 * S, close_us=5 * S)
CLOSED = made(Bounds(close_us=4 * S), most=9)
OUT = [made(most=2), *ran(1, DUE_US, 11 * S), *ran(2, 12 * S, 13 * S)]
EXHAUSTED = last(cause="EXHAUSTED", kinds=("E", "E"), priorities=(4, 5))


def moved(epoch: int) -> Claim:
    return Claim(shard=0, epoch=epoch, owner=f"n{epoch}")


RIGHT: dict[str, list[Line]] = {
    "cut at its limit": [*CUT, WELL],
    "as long as it may": [made(RUN), *ran(1, DUE_US, 12 * S, ok=True), last("SUCCEEDED")],
    "silent": [
        SILENT,
        *ran(1, DUE_US, 12 * S, left=True),
        *ran(2, 13 * S, 14 * S, ok=True),
        last("SUCCEEDED", kinds=("HEARTBEAT_TIMEOUT", "")),
    ],
    "silent, and heard by two owners": [
        moved(1),
        moved(2),
        SILENT,
        *ran(1, DUE_US, 14 * S, left=True),
        *ran(2, 15 * S, 16 * S, ok=True),
        last("SUCCEEDED", kinds=("HEARTBEAT_TIMEOUT", "")),
    ],
    "nobody served it": [made(UNSERVED), last(cause="EXPIRED", at_us=12 * S + 900_000)],
    "closed": [
        CLOSED,
        *ran(1, DUE_US, 11 * S),
        *ran(2, 12 * S, 14 * S, left=True),
        last(cause="EXPIRED", kinds=("E", "TIMEOUT"), at_us=14 * S),
    ],
    "out of attempts": [*OUT, EXHAUSTED],
    "once": [
        made(mode=Mode.AT_MOST_ONCE),
        *ran(1, DUE_US, 11 * S),
        last(cause="EXHAUSTED", kinds=("E",)),
    ],
    "the delay that it names": [
        made(),
        *ran(1, DUE_US, 11 * S, wait_us=7 * S),
        *ran(2, 18 * S, 19 * S, ok=True),
        last("SUCCEEDED", kinds=("E", "")),
    ],
    "never longer than this": [
        made(backoff=replace(BACKOFF, factor=9.0)),
        *ran(1, DUE_US, 11 * S),
        *ran(2, 12 * S, 13 * S),
        *ran(3, 16 * S, 17 * S, ok=True),
        last("SUCCEEDED", kinds=("E", "E", "")),
    ],
    "drawn": [
        made(backoff=replace(BACKOFF, jitter=0.5)),
        *ran(1, DUE_US, 11 * S),
        *ran(2, 11 * S + 500_000, 13 * S, ok=True),
        last("SUCCEEDED", kinds=("E", "")),
    ],
    "never again": [
        made(),
        *ran(1, DUE_US, 11 * S, final=True),
        last(cause="NON_RETRIABLE", kinds=("FATAL",)),
    ],
    "too old": [
        made(backoff=replace(BACKOFF, age_us=11 * S + 500_000)),
        *ran(1, DUE_US, 11 * S),
        last(cause="EXHAUSTED", kinds=("E",)),
    ],
}
WRONG: dict[str, tuple[Promise, list[Line]]] = {
    "cut short": (
        Promise.TIMEOUTS,
        [made(RUN), *ran(1, DUE_US, 11 * S, left=True), *ran(2, 12 * S, 13 * S, ok=True), WELL],
    ),
    "ran on": (
        Promise.TIMEOUTS,
        [made(RUN), *ran(1, DUE_US, 13 * S, left=True), *ran(2, 14 * S, 15 * S, ok=True), WELL],
    ),
    "told as something else": (Promise.TIMEOUTS, [*CUT, last("SUCCEEDED", kinds=("E", ""))]),
    "told of and not cut": (
        Promise.TIMEOUTS,
        [
            made(RUN),
            *ran(1, DUE_US, 11 * S),
            *ran(2, 12 * S, 13 * S, ok=True),
            last("SUCCEEDED", kinds=("TIMEOUT", "")),
        ],
    ),
    "silent for too long": (
        Promise.TIMEOUTS,
        [
            SILENT,
            *ran(1, DUE_US, 14 * S, left=True),
            *ran(2, 15 * S, 16 * S, ok=True),
            last("SUCCEEDED", kinds=("HEARTBEAT_TIMEOUT", "")),
        ],
    ),
    "began late": (
        Promise.TIMEOUTS,
        [made(UNSERVED), *ran(1, 13 * S, 14 * S, ok=True), last("SUCCEEDED")],
    ),
    "expired early": (Promise.TIMEOUTS, [made(UNSERVED), last(cause="EXPIRED", at_us=11 * S)]),
    "expired late": (Promise.TIMEOUTS, [made(UNSERVED), last(cause="EXPIRED", at_us=14 * S)]),
    "expired without a bound": (Promise.TIMEOUTS, [made(), last(cause="EXPIRED", at_us=14 * S)]),
    "never began, and is something else": (
        Promise.TIMEOUTS,
        [made(UNSERVED), last(cause="NON_RETRIABLE")],
    ),
    "expired, and shows what ran": (
        Promise.TIMEOUTS,
        [made(UNSERVED), last(cause="EXPIRED", kinds=("E",), at_us=12 * S)],
    ),
    "began after its end": (
        Promise.TIMEOUTS,
        [CLOSED, *ran(1, DUE_US, 11 * S), *ran(2, 15 * S, 16 * S, ok=True), last("SUCCEEDED")],
    ),
    "over too late": (
        Promise.TIMEOUTS,
        [CLOSED, *ran(1, DUE_US, 11 * S, ok=True), last("SUCCEEDED", at_us=16 * S)],
    ),
    "before its delay": (
        Promise.RETRIES,
        [made(), *ran(1, DUE_US, 11 * S), *ran(2, 11 * S + 500_000, 13 * S, ok=True)],
    ),
    "after its delay": (
        Promise.RETRIES,
        [made(), *ran(1, DUE_US, 11 * S), *ran(2, 13 * S, 14 * S, ok=True)],
    ),
    "before the delay that it names": (
        Promise.RETRIES,
        [made(), *ran(1, DUE_US, 11 * S, wait_us=7 * S), *ran(2, 12 * S, 13 * S, ok=True)],
    ),
    "too many": (Promise.RETRIES, [*OUT, *ran(3, 15 * S, 16 * S), EXHAUSTED]),
    "too few": (
        Promise.RETRIES,
        [made(most=2), *ran(1, DUE_US, 11 * S), last(cause="EXHAUSTED", kinds=("E",))],
    ),
    "again though never": (
        Promise.RETRIES,
        [made(), *ran(1, DUE_US, 11 * S, final=True), *ran(2, 12 * S, 13 * S, ok=True)],
    ),
    "again though once": (
        Promise.RETRIES,
        [made(mode=Mode.AT_MOST_ONCE), *ran(1, DUE_US, 11 * S), *ran(2, 12 * S, 13 * S, ok=True)],
    ),
    "again though too old": (
        Promise.RETRIES,
        [
            made(backoff=replace(BACKOFF, age_us=11 * S)),
            *ran(1, DUE_US, 11 * S),
            *ran(2, 12 * S, 13 * S, ok=True),
        ],
    ),
    "again though closed": (
        Promise.RETRIES,
        [
            made(Bounds(close_us=1_500_000)),
            *ran(1, DUE_US, 11 * S),
            *ran(2, 12 * S, 13 * S, ok=True),
        ],
    ),
    "for the wrong cause": (
        Promise.RETRIES,
        [*OUT, last(cause="NON_RETRIABLE", kinds=("E", "E"))],
    ),
    "not raised": (
        Promise.RETRIES,
        [*OUT, last(cause="EXHAUSTED", kinds=("E", "E"), priorities=(4, 4))],
    ),
}


@pytest.mark.parametrize("name", RIGHT)
def test_right_times_are_found_right(name: str) -> None:
    history = History([CALM, *RIGHT[name]])
    assert not [str(each) for each in judge(history)]


@pytest.mark.parametrize("name", WRONG)
def test_wrong_times_are_found_wrong(name: str) -> None:
    promise, lines = WRONG[name]
    history = History([CALM, *lines])
    assert promise in {each.promise for each in (*timeouts(history), *retries(history))}


def test_where_clocks_are_wrong_only_what_is_earlier_than_that_is_early() -> None:
    early = [made(), *ran(1, DUE_US, 11 * S), *ran(2, 12 * S - 190_000, 13 * S, ok=True)]
    assert not list(retries(History([ROUGH, *early])))
    earlier = [made(), *ran(1, DUE_US, 11 * S), *ran(2, 12 * S - 210_000, 13 * S, ok=True)]
    assert list(retries(History([ROUGH, *earlier])))


def test_who_was_struck_may_have_been_given_up() -> None:
    struck = Fault(name="crash", scope="x", at_us=S, until_us=S, gives_up=True)
    for lines in (WRONG["cut short"][1], WRONG["before its delay"][1]):
        history = History([ROUGH, struck, *lines])
        assert not [*timeouts(history), *retries(history)]


def test_who_is_silent_is_given_up_though_clocks_were_put_back() -> None:
    step = Fault(name="clock step", scope="n", at_us=S, until_us=S)
    for over_us, wrong in ((15 * S, False), (16 * S, True)):
        history = History([ROUGH, step, SILENT, *ran(1, DUE_US, over_us, left=True)])
        assert bool(list(timeouts(history))) is wrong
