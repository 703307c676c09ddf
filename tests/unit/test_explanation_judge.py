"""The judge of explanations can say no, rule by rule; and yes to what is right."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from tests.support.checker.history import History, Line
from tests.support.checker.judge import judge
from tests.support.checker.questions import Asked, Because, ForeignRow, Nature, Serving
from tests.support.checker.records import (
    Call,
    Claim,
    End,
    Fault,
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
from tests.support.checker.verdicts import Promise

S = 1_000_000
MS = 1_000
STILL = Terms(calm=True, still=True, late_us=S, read_us=100 * S)
BROKEN = Terms(calm=False, healed_us=50 * S, recover_us=30 * S, read_us=100 * S)
TASK = "t"
WISH = Wish(mode=Mode.AT_LEAST_ONCE, due_us=10 * S, max_attempts=3, payload="p")
KEYED = replace(WISH, key="shop/one", most=1)
NATURE = Nature(task=TASK, handler="work", backoff_us=2 * S)
ONE = Serving(process="x#1", node="x", handlers=("work",), slots=1, from_us=0)
OTHER = replace(ONE, process="y#1", node="y", labels=(("zone", "north"),))
DONE = Seen(
    state="SUCCEEDED",
    ended=True,
    place=(1, 4),
    tries=(Try(number=1, outcome="FAILED"), Try(number=2, outcome="SUCCEEDED")),
)
LIFE: tuple[Line, ...] = (
    Op(
        client="clerk",
        call=Call.CREATE,
        inv_us=S,
        ret_us=S + 5 * MS,
        kind=Kind.OK,
        task=TASK,
        request="r",
        wish=WISH,
        seen=Seen(state="SCHEDULED", ended=False, place=(1, 1)),
    ),
    NATURE,
    Claim(shard=0, epoch=1, owner="s#1"),
    Sent(task=TASK, shard=0, epoch=1, owner="s#1", at_us=10 * S, executor="x#1"),
    Start(task=TASK, attempt=1, epoch=1, process="x#1", at_us=10 * S + 3 * MS, payload="p"),
    End(task=TASK, attempt=1, process="x#1", at_us=11 * S, ok=False),
    Sent(task=TASK, shard=0, epoch=1, owner="s#1", at_us=13 * S + 50 * MS, executor="x#1"),
    Start(task=TASK, attempt=2, epoch=1, process="x#1", at_us=13 * S + 53 * MS, payload="p"),
    End(task=TASK, attempt=2, process="x#1", at_us=14 * S, ok=True),
    Final(task=TASK, seen=DONE),
)
"""Due at 10 s, failed at 11 s, begun again at 13 s, ended at 14 s."""
WAITS: tuple[Line, ...] = (LIFE[0], replace(NATURE, handler="other"), LIFE[2])
"""Due at 10 s, and never begun."""


def asked(at_us: int, *because: Because, **facts: object) -> Asked:
    known: dict[str, object] = {"ret_us": at_us + 5 * MS, "because": because, **facts}
    return Asked(client="asker", task=TASK, inv_us=at_us, **known)  # type: ignore[arg-type]


def because(
    cause: str, since_us: int | None = None, next_us: int | None = None, **details: str
) -> Because:
    told = tuple(details.items())
    return Because(cause=cause, since_us=since_us, next_us=next_us, details=told)


def broken(terms: Terms, *lines: Line) -> list[str]:
    """What the judge says of explanations and of what was held back."""
    own = (Promise.EXPLAINED, Promise.HELD_BACK)
    return [each.text for each in judge(History([terms, *lines])) if each.promise in own]


NOT_DUE = because("NOT_DUE", S + MS, 10 * S, handler="work")
RUNNING = because("RUNNING", 10 * S + 3 * MS, attempt="1", executor="x")
BACKOFF = because("BACKOFF", 11 * S, 13 * S, attempt="1", handler="work", error="Broken")
ENDED = because("ENDED", 14 * S, state="SUCCEEDED", attempt="2")
RIGHT = [(5 * S, NOT_DUE), (10 * S + S // 2, RUNNING), (12 * S, BACKOFF), (15 * S, ENDED)]
NO_HANDLER = because("NO_HANDLER", 10 * S, handler="other")


@pytest.mark.parametrize(("at_us", "told"), RIGHT)
@pytest.mark.parametrize("terms", [STILL, BROKEN])
def test_what_is_so_is_accepted(at_us: int, told: Because, terms: Terms) -> None:
    assert broken(terms, *LIFE, ONE, asked(at_us, told)) == []


@pytest.mark.parametrize(("at_us", "_"), RIGHT)
@pytest.mark.parametrize("told", [told for _, told in RIGHT])
def test_where_nothing_is_broken_one_cause_is_true(at_us: int, _: Because, told: Because) -> None:
    right = (at_us, told) in RIGHT
    assert bool(broken(STILL, *LIFE, ONE, asked(at_us, told))) is not right


@pytest.mark.parametrize(
    ("at_us", "told"),
    [
        pytest.param(5 * S, replace(NOT_DUE, next_us=11 * S), id="another due time"),
        pytest.param(5 * S, replace(NOT_DUE, since_us=0), id="due before it was asked for"),
        pytest.param(11 * S, NOT_DUE, id="not due afterwards"),
        pytest.param(9 * S, RUNNING, id="runs before it began"),
        pytest.param(11 * S, replace(RUNNING, since_us=10 * S), id="another start"),
        pytest.param(11 * S, because("RUNNING", 10 * S + 3 * MS, attempt="1", executor="y"),
                     id="runs somewhere else"),
        pytest.param(10 * S + S // 2, BACKOFF, id="backoff before a failure"),
        pytest.param(12 * S, replace(BACKOFF, next_us=14 * S), id="begins before its backoff"),
        pytest.param(13 * S, ENDED, id="ended before its end"),
        pytest.param(15 * S, because("ENDED", 14 * S, state="FAILED"), id="another end"),
        pytest.param(15 * S, because("ENDED", 14 * S, state="CANCELLED"), id="nobody cancelled"),
        pytest.param(5 * S, because("NONSENSE"), id="no cause"),
        pytest.param(5 * S, because("NEWER_VERSION_NEEDED", S), id="everything can be read"),
        pytest.param(5 * S, because("KEY_LIMIT", key="one"), id="no key"),
    ],
)  # fmt: skip
def test_no_fault_excuses_what_cannot_be(at_us: int, told: Because) -> None:
    assert broken(BROKEN, *LIFE, ONE, asked(at_us, told))


def test_causes_come_in_the_order_in_which_they_hold() -> None:
    both = (NOT_DUE, because("NO_HANDLER", handler="work"))
    assert broken(BROKEN, *LIFE, asked(5 * S, *both)) == []
    assert broken(BROKEN, *LIFE, asked(5 * S, *reversed(both)))


def test_strangers_are_told_nothing_and_others_are_answered() -> None:
    gone = asked(5 * S, reason="TASK_NOT_FOUND")
    assert broken(BROKEN, *LIFE, replace(gone, foreign=True)) == []
    assert broken(BROKEN, *LIFE, asked(5 * S, NOT_DUE, foreign=True))
    assert broken(BROKEN, *LIFE, gone)
    assert broken(BROKEN, *LIFE, replace(gone, reason="UNAVAILABLE")) == []
    assert broken(STILL, *LIFE, ONE, replace(gone, reason="UNAVAILABLE"))


def test_who_was_told_of_the_end_is_told_of_it_again() -> None:
    read = Op(client="clerk", call=Call.GET, task=TASK, inv_us=20 * S, ret_us=21 * S,
              kind=Kind.OK, seen=DONE)  # fmt: skip
    again = replace(
        RUNNING, since_us=13 * S + 53 * MS, details=(("attempt", "2"), ("executor", "x"))
    )
    assert broken(BROKEN, *LIFE, ONE, asked(20 * S, again)) == []
    assert broken(BROKEN, *LIFE, ONE, read, asked(22 * S, again))
    assert broken(BROKEN, *LIFE, ONE, read, asked(22 * S, because("OWNER_SILENT"))) == []


def test_what_only_faults_bring_about_is_not_told_without() -> None:
    silent = asked(5 * S, because("OWNER_SILENT"), NOT_DUE)
    assert broken(BROKEN, *LIFE, ONE, silent) == []
    assert broken(STILL, *LIFE, ONE, silent)


def test_nobody_has_its_handler_or_somebody_has() -> None:
    waits = asked(12 * S, NO_HANDLER)
    full = asked(12 * S, because("EXECUTORS_FULL", 10 * S, executors="x", slots="1"))
    has = replace(ONE, handlers=("other",))
    assert broken(STILL, *WAITS, waits) == []
    assert broken(STILL, *WAITS, full)
    assert broken(STILL, *WAITS, has, waits)
    assert broken(STILL, *WAITS, asked(12 * S, replace(NO_HANDLER, since_us=11 * S)))


def test_labels_that_nobody_carries_are_named() -> None:
    labels = (("zone", "mars"),)
    waits: tuple[Line, ...] = (LIFE[0], replace(NATURE, labels=labels))
    told = because("NO_LABEL", 10 * S, label="zone=mars", serving="2")
    assert broken(STILL, *waits, ONE, OTHER, asked(12 * S, told)) == []
    assert broken(STILL, *waits, ONE, asked(12 * S, told))
    assert broken(STILL, *waits, ONE, replace(OTHER, labels=labels), asked(12 * S, told))
    north = replace(NATURE, labels=(("zone", "north"),))
    assert broken(STILL, LIFE[0], north, ONE, OTHER, asked(12 * S, told))


def work(until_us: int) -> tuple[Line, ...]:
    """Another task of that key at work on x."""
    made = replace(LIFE[0], task="u", wish=replace(KEYED, payload="q"), request="q")
    started = replace(LIFE[4], task="u", payload="q", at_us=9 * S)
    return (made, started, replace(LIFE[8], task="u", attempt=1, at_us=until_us))


def test_executors_are_full_while_all_slots_are_taken() -> None:
    waits: tuple[Line, ...] = (LIFE[0], NATURE, ONE)
    told = because("EXECUTORS_FULL", 10 * S, executors="x", slots="1")
    assert broken(STILL, *waits, *work(30 * S), asked(12 * S, told)) == []
    assert broken(STILL, *waits, *work(11 * S), asked(12 * S, told))
    assert broken(STILL, *waits, *work(30 * S), asked(12 * S, because("STARTING", 10 * S)))
    two = replace(told, details=(("executors", "x"), ("slots", "2")))
    assert broken(STILL, *waits, *work(30 * S), asked(12 * S, two))


def test_a_key_is_full_while_as_many_as_may_are_at_work() -> None:
    waits: tuple[Line, ...] = (replace(LIFE[0], wish=KEYED), NATURE, replace(ONE, slots=3))
    told = because("KEY_LIMIT", 10 * S, key="one", concurrency="1", running="1", executors="x")
    assert broken(STILL, *waits, *work(30 * S), asked(12 * S, told)) == []
    assert broken(STILL, *waits, *work(11 * S), asked(12 * S, told))
    assert broken(STILL, *waits, *work(30 * S), asked(12 * S, because("STARTING", 10 * S)))
    wrong = because("KEY_LIMIT", 10 * S, key="one", concurrency="2", running="2", executors="x")
    assert broken(BROKEN, *waits, *work(30 * S), asked(12 * S, wrong))


def test_a_paced_key_lets_one_go_after_the_other() -> None:
    paced = replace(NATURE, pace_us=5 * S)
    most = replace(KEYED, most=3)
    waits: tuple[Line, ...] = (replace(LIFE[0], wish=most), paced, replace(ONE, slots=3))
    told = because("RATE_LIMIT", 10 * S, 14 * S)
    assert broken(STILL, *waits, *work(11 * S), asked(12 * S, told)) == []
    assert broken(STILL, *waits, *work(11 * S), asked(12 * S, because("STARTING", 12 * S)))
    assert broken(STILL, *waits, *work(11 * S), asked(12 * S, replace(told, next_us=11 * S)))
    assert broken(STILL, *waits, *work(11 * S), asked(19 * S, replace(told, next_us=20 * S)))


def test_what_passes_within_milliseconds_is_not_told_for_seconds() -> None:
    sent = because("DISPATCHED", 10 * S, attempt="1", executor="x")
    late = (LIFE[0], NATURE, ONE, *LIFE[2:4], replace(LIFE[4], at_us=20 * S))
    assert broken(STILL, *LIFE, ONE, asked(10 * S, sent)) == []
    assert broken(STILL, *late, asked(12 * S, sent))
    early = replace(sent, since_us=10 * S - 5 * MS)
    assert broken(STILL, *LIFE, ONE, asked(10 * S, early))
    begins = because("STARTING", 11 * S + 2 * MS)
    assert broken(STILL, *LIFE, ONE, asked(11 * S + 4 * MS, begins))


def test_no_executor_is_sent_more_than_it_takes() -> None:
    second = tuple(
        replace(line, task="u") for line in (replace(LIFE[3], at_us=10 * S + 9 * MS), NATURE)
    )
    assert broken(STILL, *LIFE, replace(ONE, slots=2), *second) == []
    assert broken(STILL, *LIFE, ONE, *second)
    assert broken(STILL, *LIFE, replace(ONE, slots=2, caps=(("work", 1),)), *second)


def attempts(process: str, ok: bool, count: int) -> list[Line]:
    """First attempts that were sent there, one in every 100 ms."""
    found: list[Line] = []
    for number in range(count):
        task, at_us = f"{process} {number}", 10 * S + number * S // 10
        facts = {"task": task, "at_us": at_us}
        found.append(Nature(task=task, handler="work"))
        found.append(replace(LIFE[3], executor=process, **facts))
        found.append(replace(LIFE[4], process=process, payload="", **facts))
        found.append(End(task=task, attempt=1, process=process, at_us=at_us + MS, ok=ok))
    return found


def test_who_fails_at_everything_is_given_nothing_for_a_while() -> None:
    well = attempts("y#1", True, 40)
    assert broken(STILL, ONE, OTHER, *well, *attempts("x#1", False, 20)) == []
    assert broken(STILL, ONE, OTHER, *well, *attempts("x#1", False, 40))
    assert broken(STILL, ONE, OTHER, *attempts("y#1", False, 40), *attempts("x#1", False, 40)) == []


DARK: dict[str, tuple[Because, ...]] = {
    "no owner": (because("SHARD_NOT_OWNED", 3 * S), NOT_DUE),
    "silent owners": (because("OWNER_SILENT", node="s"), NOT_DUE),
    "owners out of sight": (NOT_DUE,),
    "store down": (NOT_DUE,),
    "executors out of reach": (NOT_DUE, because("EXECUTORS_UNREACHABLE")),
}


@pytest.mark.parametrize("name", DARK)
def test_in_a_blackout_it_is_what_is_told(name: str) -> None:
    """From 0.3 s to 9.9 s; the question is at 9 s."""
    fault = Fault(name=name, scope="cluster", at_us=S + 100 * MS, until_us=10 * S)
    life = [replace(line, inv_us=MS, ret_us=5 * MS) if isinstance(line, Op) else line
            for line in LIFE]  # fmt: skip
    told = [replace(each, since_us=S) if each is NOT_DUE else each for each in DARK[name]]
    assert broken(BROKEN, *life, ONE, fault, asked(9 * S + S // 2, *told)) == []
    wrong = (*told[1:], because("EXECUTORS_FULL")) if len(told) > 1 else (because("BACKOFF"),)
    assert broken(BROKEN, *life, ONE, fault, asked(9 * S + S // 2, *wrong))


@pytest.mark.parametrize(
    ("name", "cause"),
    [
        ("owners out of sight", "OWNER_SUSPENDED"),
        ("store down", "STORE_UNAVAILABLE"),
        ("executors out of reach", "EXECUTORS_UNREACHABLE"),
    ],
)
def test_what_is_overdue_in_a_blackout_waits_for_its_end(name: str, cause: str) -> None:
    fault = Fault(name=name, scope="cluster", at_us=8 * S, until_us=20 * S)
    waits = LIFE[:3]
    assert broken(BROKEN, *waits, ONE, fault, asked(15 * S, because(cause, 9 * S))) == []
    assert broken(BROKEN, *waits, ONE, fault, asked(15 * S, because("EXECUTORS_FULL", 9 * S)))


ROW = ForeignRow(task=TASK, written_us=2 * S, read_us=4 * S, mended_us=9 * S, goes_on_us=11 * S)
HELD = because("NEWER_VERSION_NEEDED", S, node="s")


def test_what_nobody_can_read_is_held_back_and_goes_on_when_it_is_mended() -> None:
    refused = Op(client="clerk", call=Call.GET, task=TASK, inv_us=5 * S, ret_us=6 * S,
                 kind=Kind.FAIL, reason="NEWER_VERSION_NEEDED")  # fmt: skip
    good = (*LIFE, ONE, ROW, refused, asked(5 * S, HELD))
    assert broken(replace(STILL, still=False), *good) == []
    for wrong in (
        asked(5 * S, NOT_DUE),
        asked(5 * S, HELD, NOT_DUE),
        asked(5 * S, replace(HELD, since_us=3 * S)),
        asked(5 * S, replace(HELD, details=(("node", "nobody"),))),
        asked(12 * S, HELD),
        replace(refused, kind=Kind.OK, reason=""),
        replace(refused, reason="TASK_NOT_FOUND"),
        Start(task=TASK, attempt=3, epoch=1, process="x#1", at_us=5 * S, payload="p"),
    ):
        assert broken(replace(STILL, still=False), *good, wrong), wrong
    late = replace(ROW, mended_us=6 * S, goes_on_us=7 * S)
    never = tuple(line for line in LIFE if not isinstance(line, Start))
    assert broken(replace(STILL, still=False), *never, ONE, late)
