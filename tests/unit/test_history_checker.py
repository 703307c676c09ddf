"""The judge of histories can say no, for each promise by its own name; and yes to what is right."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import pytest

from tests.support.checker.calendars import Forecast
from tests.support.checker.history import History, Line, read_lines, written
from tests.support.checker.judge import judge
from tests.support.checker.made_up import RECORDS_PER_TASK, made_up
from tests.support.checker.records import (
    Call,
    Claim,
    End,
    Fault,
    Final,
    Followed,
    Kind,
    Mode,
    Op,
    Problem,
    Residue,
    Rhythm,
    Seen,
    Sent,
    Spent,
    Start,
    Terms,
    Try,
    Verdict,
    Wish,
)
from tests.support.checker.sometimes import SITUATIONS, shown
from tests.support.checker.vacuity import Least, vacuous
from tests.support.checker.verdicts import Promise

S = 1_000_000
DONE = Seen(
    state="SUCCEEDED", ended=True, place=(1, 4), tries=(Try(number=1, outcome="SUCCEEDED"),)
)
OPEN = Seen(state="SCHEDULED", ended=False, place=(1, 1))
CANCELLED = Seen(state="CANCELLED", ended=True, place=(1, 2))
WISH = Wish(mode=Mode.AT_LEAST_ONCE, due_us=5 * S, max_attempts=3, payload="p")
KEYED = msgspec.structs.replace(WISH, key="k", most=1)
ONCE = Wish(mode=Mode.AT_MOST_ONCE, due_us=5 * S, payload="p")
RHYTHM = Rhythm(every_us=10 * S)


def op(call: Call, inv_us: int, seen: Seen | None = None, **facts: object) -> Op:
    known: dict[str, object] = {
        "client": "clerk",
        "task": "t",
        "ret_us": inv_us + 1,
        "kind": Kind.OK,
        "request": "r",
        "seen": seen,
    }
    return msgspec.convert({"is": "op", "call": call, "inv_us": inv_us, **known, **facts}, Op)


def create(inv_us: int = 1, wish: Wish = WISH, **facts: object) -> Op:
    return op(Call.CREATE, inv_us, facts.pop("seen", OPEN), wish=wish, **facts)  # type: ignore[arg-type]


def start(at_us: int, attempt: int = 1, process: str = "x", **facts: object) -> Start:
    known: dict[str, object] = {"task": "t", "epoch": 1, "payload": "p", **facts}
    record = {"is": "start", "attempt": attempt, "process": process, "at_us": at_us, **known}
    return msgspec.convert(record, Start)


def end(at_us: int, ok: bool = True, attempt: int = 1, process: str = "x") -> End:
    return End(task="t", attempt=attempt, process=process, at_us=at_us, ok=ok)


def final(seen: Seen | None = DONE) -> Final:
    return Final(task="t", seen=seen, reason="" if seen else "TASK_NOT_FOUND")


TERMS = Terms(calm=False, healed_us=20 * S, recover_us=30 * S, read_us=100 * S)
CALM = Terms(calm=True, late_us=S, read_us=100 * S)
GOOD: tuple[Line, ...] = (create(), start(5 * S), end(6 * S), final())
RETRIED: tuple[Line, ...] = (
    create(),
    start(5 * S),
    end(6 * S, ok=False),
    start(7 * S, 2),
    end(8 * S, attempt=2),
    final(),
)
PLAN = "schedule p"
REFUSED = Forecast(client="c", inv_us=S, now_ms=0, text="@daily", kind="fail")
MADE = op(
    Call.CREATE_SCHEDULE,
    1,
    task="s",
    request="s",
    rhythm=RHYTHM,
    wish=Wish(mode=Mode.AT_LEAST_ONCE, max_attempts=3, payload=PLAN),
)
ENDED = op(Call.END_SCHEDULE, 25 * S, task="s")


def run(nominal_us: int, task: str, at_us: int, for_us: int = 1) -> tuple[Line, ...]:
    """A launched nominal time, and its run that went well."""
    return (
        Verdict(schedule="s", nominal_us=nominal_us, verdict="LAUNCHED", task=task),
        start(at_us, task=task, payload=PLAN),
        End(task=task, attempt=1, process="x", at_us=at_us + for_us, ok=True),
        Final(task=task, seen=DONE),
    )


PLANNED: tuple[Line, ...] = (
    MADE,
    *run(10 * S, "s1", 10 * S),
    *run(20 * S, "s2", 20 * S + 1),
    ENDED,
)


ALONE = msgspec.structs.replace(MADE, rhythm=Rhythm(every_us=10 * S, alone=True))
SKIPPED = Verdict(schedule="s", nominal_us=20 * S, verdict="SKIPPED_OVERLAP")
SKIPS: tuple[Line, ...] = (ALONE, *run(10 * S, "s1", 10 * S, 12 * S), SKIPPED, ENDED)
"""The second time is passed over, because the first run has not ended."""
AUTUMN: tuple[Line, ...] = (
    msgspec.structs.replace(
        MADE,
        rhythm=Rhythm(
            every_us=10 * S,
            max_runs=1,
            hour=2,
            zone="Europe/Berlin",
            fold="FIRST",
            zero_ms=1_761_436_800_000,
        ),
    ),
    *run(10 * S, "s1", 10 * S),
)
"""Time 0 is 2025-10-26T02:00 in summer time; an hour later it is 02:00 once more."""
AUTUMN_ENDED = op(Call.END_SCHEDULE, 4_000 * S, task="s")


def broken(lines: Sequence[Line], terms: Terms = TERMS) -> set[Promise]:
    return {violation.promise for violation in judge(History([*lines, terms]))}


def without(lines: Sequence[Line], *gone: type) -> list[Line]:
    return [line for line in lines if not isinstance(line, gone)]


@pytest.mark.parametrize(
    "lines", [GOOD, RETRIED, PLANNED, SKIPS, (*AUTUMN, AUTUMN_ENDED), (*GOOD, *PLANNED)]
)
@pytest.mark.parametrize("terms", [TERMS, CALM])
def test_what_is_right_breaks_nothing(lines: Sequence[Line], terms: Terms) -> None:
    assert broken(lines, terms) == set()


WRONG: dict[str, tuple[Promise, Sequence[Line], Terms]] = {
    "gone": (Promise.DURABLE, [*without(GOOD, Final), final(None)], TERMS),
    "never read": (Promise.DURABLE, without(GOOD, Final), TERMS),
    "refused and ran": (
        Promise.DURABLE,
        [create(kind="fail", seen=None), start(5 * S), end(6 * S)],
        TERMS,
    ),
    "refused and there": (
        Promise.DURABLE,
        [create(kind="fail", seen=None), final(CANCELLED)],
        TERMS,
    ),
    "nobody asked": (Promise.DURABLE, [*GOOD, start(5 * S, task="u", payload="q")], TERMS),
    "early": (Promise.NOT_EARLY, [create(), start(5 * S - 1), end(6 * S), final()], TERMS),
    "early by a delay": (
        Promise.NOT_EARLY,
        [
            create(wish=Wish(mode=Mode.AT_LEAST_ONCE, delay_us=S, payload="p")),
            start(S - 1_000),
            end(2 * S),
            final(),
        ],
        TERMS,
    ),
    "after the cancel": (
        Promise.CANCEL,
        [create(), op(Call.CANCEL, 2, CANCELLED), start(5 * S), final(CANCELLED)],
        TERMS,
    ),
    "after no such task": (
        Promise.CANCEL,
        [
            create(kind="info", ret_us=2**62, seen=None),
            op(Call.CANCEL, 2, kind="fail", reason="TASK_NOT_FOUND"),
            start(5 * S),
        ],
        TERMS,
    ),
    "at most once, twice": (
        Promise.AT_MOST_ONCE,
        [
            create(wish=ONCE),
            start(5 * S),
            end(6 * S, ok=False),
            start(7 * S, 2),
            end(8 * S, attempt=2),
            final(),
        ],
        TERMS,
    ),
    "one attempt twice": (
        Promise.AT_LEAST_ONCE,
        [*GOOD, start(7 * S, process="y")],
        TERMS,
    ),
    "again without a cause": (Promise.AT_LEAST_ONCE, [*GOOD, start(7 * S, 2)], TERMS),
    "given up too soon": (
        Promise.AT_LEAST_ONCE,
        [
            create(),
            start(5 * S),
            end(6 * S, ok=False),
            final(
                Seen(
                    state="FAILED",
                    ended=True,
                    cause="EXHAUSTED",
                    tries=(Try(number=1, outcome="FAILED"),),
                )
            ),
        ],
        TERMS,
    ),
    "a cancelled task opens again": (
        Promise.LINEAR,
        [
            create(),
            op(Call.CANCEL, 2, CANCELLED),
            op(Call.GET, 5, OPEN),
            final(CANCELLED),
        ],
        TERMS,
    ),
    "ended before anything ran": (
        Promise.LINEAR,
        [create(), op(Call.GET, 5, DONE), *GOOD[1:]],
        TERMS,
    ),
    "two owners": (
        Promise.ONE_OWNER,
        [Claim(shard=1, epoch=7, owner="a"), Claim(shard=1, epoch=7, owner="b")],
        TERMS,
    ),
    "an order of nobody's epoch": (
        Promise.ONE_OWNER,
        [
            Claim(shard=1, epoch=7, owner="a"),
            Sent(task="t", shard=1, epoch=7, owner="b"),
        ],
        TERMS,
    ),
    "back to a lower epoch": (
        Promise.ONE_OWNER,
        [
            Claim(shard=1, epoch=7, owner="a"),
            Claim(shard=1, epoch=8, owner="b"),
            Sent(task="t", shard=1, epoch=8, owner="b"),
            Sent(task="t", shard=1, epoch=7, owner="a"),
            create(),
            start(5 * S, epoch=8),
            start(6 * S, 2, epoch=7),
        ],
        TERMS,
    ),
    "another payload": (
        Promise.PAYLOAD,
        [create(), start(5 * S, payload="other"), end(6 * S), final()],
        TERMS,
    ),
    "still open": (Promise.LIVE, [create(), start(5 * S), final(OPEN)], TERMS),
    "in doubt and open": (
        Promise.LIVE,
        [create(kind="info", ret_us=2**62, seen=None), final(OPEN)],
        TERMS,
    ),
    "long after the last fault": (
        Promise.LIVE,
        [create(), start(60 * S), end(61 * S), final()],
        TERMS,
    ),
    "late without a fault": (
        Promise.PUNCTUAL,
        [
            *GOOD[:-1],
            final(
                Seen(
                    state="SUCCEEDED",
                    ended=True,
                    tries=(Try(number=1, outcome="SUCCEEDED", late_us=2 * S),),
                )
            ),
        ],
        CALM,
    ),
    "success that nobody saw": (Promise.TRUTH, [create(), start(5 * S), final()], TERMS),
    "failure that nobody saw": (
        Promise.TRUTH,
        [
            create(),
            start(5 * S),
            end(6 * S),
            final(Seen(state="FAILED", ended=True, cause="NON_RETRIABLE")),
        ],
        TERMS,
    ),
    "cancelled by nobody": (Promise.TRUTH, [create(), final(CANCELLED)], TERMS),
    "an older event": (
        Promise.TRUTH,
        [
            create(),
            op(Call.GET, 5, Seen(state="RUNNING", ended=False, place=(1, 3))),
            op(Call.GET, 9, Seen(state="SCHEDULED", ended=False, place=(1, 2))),
            *GOOD[1:],
        ],
        TERMS,
    ),
    "one request, two tasks": (Promise.TRUTH, [*GOOD, create(3, task="u")], TERMS),
    "a watch without an end": (Promise.TRUTH, [*GOOD, Followed(task="t", told=False)], TERMS),
    "something is left": (Promise.HYGIENE, [Residue(what="a session")], TERMS),
    "something broke": (Promise.SANITY, [Problem(who="node", what="fell over")], TERMS),
    "no verdict": (Promise.LIVE, [MADE, *run(10 * S, "s1", 10 * S), ENDED], TERMS),
    "a verdict on no nominal time": (
        Promise.SCHEDULE,
        [*PLANNED, Verdict(schedule="s", nominal_us=11 * S, verdict="COALESCED")],
        TERMS,
    ),
    "a verdict after the end": (
        Promise.SCHEDULE,
        [*PLANNED, *run(30 * S, "s3", 30 * S)],
        TERMS,
    ),
    "two verdicts on one time": (
        Promise.SCHEDULE,
        [*PLANNED, Verdict(schedule="s", nominal_us=10 * S, verdict="COALESCED")],
        TERMS,
    ),
    "passed over without a fault": (
        Promise.SCHEDULE,
        [
            MADE,
            Verdict(schedule="s", nominal_us=10 * S, verdict="COALESCED"),
            *run(20 * S, "s2", 20 * S),
            ENDED,
        ],
        CALM,
    ),
    "more runs than wanted": (
        Promise.SCHEDULE,
        [msgspec.structs.replace(MADE, rhythm=Rhythm(every_us=10 * S, max_runs=1)), *PLANNED[1:]],
        TERMS,
    ),
    "a run under a name of its own": (
        Promise.SCHEDULE,
        [*PLANNED, start(10 * S + 5, task="stray", payload=PLAN)],
        TERMS,
    ),
    "launched and gone": (
        Promise.DURABLE,
        [*without(PLANNED, Final), Final(task="s1", seen=DONE)],
        TERMS,
    ),
    "a version that nobody asked for": (
        Promise.REVISION,
        [create(), start(5 * S, version="other"), end(6 * S), final()],
        TERMS,
    ),
    "two runs at once": (
        Promise.NO_OVERLAP,
        [ALONE, *run(10 * S, "s1", 10 * S, 15 * S), *run(20 * S, "s2", 20 * S)],
        TERMS,
    ),
    "passed over with no run in hand": (
        Promise.SCHEDULE,
        [ALONE, *run(10 * S, "s1", 10 * S), SKIPPED, ENDED],
        CALM,
    ),
    "shown to another namespace": (
        Promise.ISOLATION,
        [*GOOD, op(Call.GET, 7 * S, DONE, foreign=True)],
        TERMS,
    ),
    "cancelled by another namespace": (
        Promise.ISOLATION,
        [*GOOD, op(Call.CANCEL, 7 * S, kind=Kind.FAIL, reason="TOO_LATE", foreign=True)],
        TERMS,
    ),
    "the second pass of an autumn hour": (
        Promise.SCHEDULE,
        [*AUTUMN, *run(3_600 * S + 10 * S, "s2", 3_610 * S), AUTUMN_ENDED],
        TERMS,
    ),
    "launched and early": (
        Promise.NOT_EARLY,
        [MADE, *run(10 * S, "s1", 10 * S), *run(20 * S, "s2", 20 * S - 9), ENDED],
        TERMS,
    ),
    "an order for nothing": (
        Promise.THRIFT,
        [*GOOD, Spent(what="Dispatch", times=2)],
        msgspec.structs.replace(TERMS, calm=True, still=True),
    ),
    "a calendar was refused that is right": (Promise.FORECAST, [REFUSED], TERMS),
    "again while it runs": (
        Promise.KEYS,
        [create(wish=KEYED), start(5 * S), start(6 * S, 2, "y"), end(7 * S), final()],
        TERMS,
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_named(name: str) -> None:
    promise, lines, terms = WRONG[name]
    assert promise in broken(lines, terms)


def test_every_promise_has_been_broken_once() -> None:
    elsewhere = {
        *(Promise.LIMITS, Promise.TIMEOUTS, Promise.RETRIES),  # test_history_{limits,times}
        *(Promise.EXPLAINED, Promise.HELD_BACK),  # test_explanation_judge
        *(Promise.PROGRESS, Promise.TEAMS),  # test_history_{progress,teams}
        *(Promise.LISTS, Promise.DEALINGS),  # test_history_{lists,dealings}
    }
    assert {promise for promise, _, _ in WRONG.values()} == set(Promise) - elsewhere


def test_a_doubt_that_was_named_and_a_struck_executor_excuse() -> None:
    doubtful = msgspec.structs.replace(CANCELLED, doubts=(1,))
    cancelled: list[Line] = [create(), op(Call.CANCEL, 2, doubtful), start(5 * S), final(doubtful)]
    assert broken(cancelled) == set()
    struck = Fault(name="crash", scope="x", at_us=5 * S, until_us=5 * S, gives_up=True)
    again: list[Line] = [struck, start(5 * S), start(7 * S, 2, "y"), end(8 * S, True, 2, "y")]
    assert broken([create(), *again, final()]) == set()


@pytest.mark.parametrize(("names", "expected"), [("xy", {Promise.AT_LEAST_ONCE}), ("xyz", set())])
def test_a_task_is_given_up_for_three_executors(names: str, expected: set[Promise]) -> None:
    crashes = [Fault(name="crash", scope=x, at_us=S, until_us=S, gives_up=True) for x in names]
    starts = [start((5 + number) * S, 1 + number, name) for number, name in enumerate(names)]
    tries = tuple(Try(number=1 + number, outcome="LOST") for number in range(len(names)))
    given_up = Seen(state="FAILED", ended=True, cause="QUARANTINED", tries=tries)
    assert broken([create(), *crashes, *starts, final(given_up)]) == expected


def test_a_schedule_that_has_had_its_runs_needs_no_further_verdict() -> None:
    made = msgspec.structs.replace(MADE, rhythm=Rhythm(every_us=10 * S, max_runs=1))
    assert broken([made, *run(10 * S, "s1", 10 * S), ENDED]) == set()


def test_a_history_survives_being_written_down() -> None:
    lines = [*GOOD, *PLANNED, TERMS]
    assert list(read_lines(written(lines))) == lines


def test_a_run_with_too_little_in_it_is_vacuous() -> None:
    least = Least(tasks=1, faults=2, classes=2)
    faults = [Fault(name=n, scope="x", at_us=1, until_us=1) for n in ("crash", "freeze")]
    assert vacuous(History([TERMS]), least)
    assert vacuous(History([*GOOD, *faults[:1], TERMS]), least)
    assert vacuous(History([*GOOD, faults[0], faults[0], TERMS]), least)
    assert not vacuous(History([*GOOD, *faults, TERMS]), least)
    assert not vacuous(History([*GOOD, CALM]), least)


def test_situations_are_named_from_the_list() -> None:
    assert set(shown(History([*GOOD, *PLANNED, TERMS]))) <= set(SITUATIONS)


def test_many_records_are_judged_in_one_go() -> None:
    tasks = 2_000
    history = History(made_up(tasks))
    assert history.count >= tasks * RECORDS_PER_TASK
    assert judge(history) == []
