"""What a campaign on real servers tells the judge of histories, from the same records as the trial.

The trial asks for a whole chain of records behind every second start; the judge of histories knows
nothing of journals and asks of everybody what it asks of a simulation.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from tests.support.chaos.campaign import Round
from tests.support.chaos.records import CLAIMED, FINAL, Ack, Event, Evidence, head_of
from tests.support.chaos.witness import CLOCK_GRAIN_MS
from tests.support.checker.history import History, Line
from tests.support.checker.records import Call, End, Fault, Kind, Mode, Op, Seen, Start, Terms, Wish
from tests.support.checker.records import Final as Last
from tests.support.start_logs import Start as Started

_SHOWN: Final = {"DEAD": "FAILED", "LOST": "FAILED"}
_ATTEMPTS: Final = 1_000
"""The load does not say how often its tasks may be tried; nothing here depends on it."""


def told_by(rounds: Sequence[Round], evidence: Evidence) -> History:
    """The records of some rounds, for the judge."""
    return History(_lines(rounds, evidence))


def _lines(rounds: Sequence[Round], evidence: Evidence) -> Iterator[Line]:
    # A start at its very millisecond may lie before it by less than the grain of the clock.
    yield Terms(calm=False, early_us=_us(CLOCK_GRAIN_MS))
    yield from (_creation(ack) for ack in evidence.acks)
    yield from _faults(rounds, evidence)
    for task, starts in evidence.starts.items():
        for started in starts:
            yield from _run(task, started, evidence)
    for task in {ack.task_id for ack in evidence.acks} | evidence.starts.keys():
        yield _last(task, evidence.journals.get(task, []))


def _creation(ack: Ack) -> Op:
    mode = Mode.AT_MOST_ONCE if ack.once else Mode.AT_LEAST_ONCE
    return Op(
        client=ack.via,
        call=Call.CREATE,
        inv_us=_us(ack.asked_ms),
        ret_us=_us(ack.acked_ms),
        kind=Kind.OK,
        task=ack.task_id,
        request=str(ack.number),
        wish=Wish(mode=mode, due_us=_us(ack.due_ms), max_attempts=_ATTEMPTS),
    )


def _faults(rounds: Sequence[Round], evidence: Evidence) -> Iterator[Fault]:
    for round_ in rounds:
        if round_.killed_ms is not None:
            scope = _life(round_.victim, round_.incarnation)
            yield _fault(f"kill {round_.point}", scope, round_.killed_ms)
    claims = {(x.executor, x.incarnation) for js in evidence.journals.values() for x in js}
    for loss in evidence.losses:
        for executor, incarnation in sorted(claims, key=str):
            if executor == loss.executor:
                yield _fault("session lost", _life(executor, incarnation), loss.at_ms)


def _fault(name: str, scope: str, at_ms: int) -> Fault:
    """Stamps of two processes that fall into one millisecond may lie either way."""
    at_us = _us(at_ms - CLOCK_GRAIN_MS)
    return Fault(name=name, scope=scope, at_us=at_us, until_us=at_us, gives_up=True)


def _run(task: str, started: Started, evidence: Evidence) -> Iterator[Line]:
    """A start, and its end: the sink's line says that the handler did what it is for."""
    claim = next(
        (
            x
            for x in evidence.journals.get(task, [])
            if x.kind in CLAIMED and (x.attempt, x.executor) == (started.attempt, started.executor)
        ),
        None,
    )
    process = _life(started.executor, claim.incarnation if claim else 0)
    at_us = _us(started.started_ms)
    yield Start(
        task=task, attempt=started.attempt, epoch=started.epoch, process=process, at_us=at_us
    )
    if evidence.sunk[task, started.attempt]:
        yield End(task=task, attempt=started.attempt, process=process, at_us=at_us, ok=True)


def _last(task: str, journal: Sequence[Event]) -> Last:
    head = head_of(journal)
    if head is None:
        return Last(task=task, seen=None, reason="there is no journal")
    seen = Seen(
        state=_SHOWN.get(head.state, head.state),
        ended=head.state in FINAL,
        cause="LOST" if head.state == "LOST" else "",
        place=(head.epoch, head.seq),
    )
    return Last(task=task, seen=seen)


def _life(name: str, incarnation: int) -> str:
    return f"{name}/{incarnation}"


def _us(at_ms: int) -> int:
    return at_ms * 1_000
