"""What is written for a run that a schedule launches, or for times that it passes over.

A tick never launches another nominal time than one that the schedule's durable head names: the one
in hand, or the first that waits. So whoever takes over knows the only ids under which an earlier
owner may have written an occurrence (rules S3, S4): times that were missed are passed over by a
tick of their own, and the next one is in hand after it. Nothing is handed out before the whole
batch of the event that launches is durable (rule S2).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Final

from timeball_server.core.engine import creating, dispatching, occurrences, overlapping
from timeball_server.core.engine.state import (
    Engine,
    ExecutorState,
    Loading,
    Mutation,
    ScheduleState,
    ShardState,
    TaskState,
)
from timeball_server.core.engine.verdicts import Decision, Move, Verdict
from timeball_server.core.engine.writing import (
    Then,
    alarm_minute,
    due_row,
    listing,
    write_rows,
)
from timeball_server.core.ids import TaskId
from timeball_server.core.journal import (
    EventRow,
    LedgerRow,
    Row,
    ScheduleDetail,
)
from timeball_server.core.model import ScheduleSpec
from timeball_server.core.schedules import spread
from timeball_server.core.schedules.calendars import next_nominal_ms

_RECENT: Final = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """What was decided: rows beside the schedule's event, and what follows when all are durable.

    `ahead` are verdicts that must be durable before the event: nothing else tells a new owner
    what was passed over.
    """

    detail: ScheduleDetail
    rows: tuple[Row, ...]
    then: Then
    executor: ExecutorState | None = None
    ahead: tuple[Row, ...] = ()


def only(detail: ScheduleDetail) -> Launch:
    """The schedule's event alone: nothing is launched with it."""
    return Launch(detail=detail, rows=(), then=_nothing)


def _nothing(engine: Engine, mutation: Mutation) -> None:
    """Nothing was written under an occurrence's id."""


def detail_of(task: ScheduleState) -> ScheduleDetail:
    """What the head of a schedule says."""
    if task.detail is None:
        raise AssertionError("a schedule's head tells everything")
    return task.detail


def next_ms_of(task: ScheduleState, spec: ScheduleSpec, after_ms: int) -> int | None:
    """The calendar's next nominal time; the hint ahead of a tick asks for it, and so does the tick.

    Raises:
        SpecProblem: the calendar cannot be evaluated any more.
    """
    known = task.foreseen
    if known is not None and known[0] is spec and known[1] == after_ms:
        return known[2]
    next_ms = next_nominal_ms(spec.when, after_ms)
    task.foreseen = (spec, after_ms, next_ms)
    return next_ms


def following_ms(
    engine: Engine,
    task: ScheduleState,
    spec: ScheduleSpec,
    after_ms: int,
    *,
    taken: int,
    launched: bool,
) -> int | None:
    """The next nominal time, strictly later; None = there is none, or it is not known yet.

    Args:
        taken: nominal times that were launched, or wait for it.
        launched: whether a run was launched just now; a delay after it is not known yet.
    """
    if spec.max_runs and taken >= spec.max_runs:
        return None
    if spec.delay_ms is None:
        return next_ms_of(task, spec, after_ms)
    if launched:
        return None
    next_ms = max(engine.now_ms + spec.delay_ms, after_ms + 1, spec.when.start_ms or 0)
    end_ms = spec.when.end_ms
    return next_ms if end_ms is None or next_ms <= end_ms else None


def named_until_ms(engine: Engine, detail: ScheduleDetail) -> int:
    """The instant after which another version may name times: now, most often.

    Where a clock was put back, what was decided or waits, and the beginning of the version before,
    lie after now: a version is never older than the one that it replaces.
    """
    waiting_ms = (at_ms for at_ms, _ in detail.buffered)
    return max(engine.now_ms, detail.version_after_ms, detail.nominal_ms or 0, *waiting_ms)


def _advanced(
    engine: Engine,
    shard: ShardState,
    task: ScheduleState,
    at_ms: int,
    last_ms: int,
    *,
    launched: bool,
) -> dict[str, Any]:
    """What the head says anew once nominal times from one to another have their verdicts.

    They are those in hand, or the first one that waits. One copy of a head is made, not several.
    """
    detail = detail_of(task)
    waiting = detail.buffered
    waited = bool(waiting) and waiting[0][0] == at_ms
    decided_ms = max(detail.nominal_ms or 0, last_ms)
    runs = detail.runs + launched
    changes: dict[str, Any] = {
        "nominal_ms": decided_ms,
        "seen_epoch": shard.epoch,
        "launched": launched,
        "runs": runs,
    }
    if waited:
        waiting = changes["buffered"] = waiting[1:]
    if waited and detail.next_ms is not None:
        return changes
    taken = runs + len(waiting)
    # What still waits has been in hand: it is not named once more.
    after_ms = max([decided_ms, *(each_ms for each_ms, _ in waiting)])
    next_ms = following_ms(engine, task, detail.spec, after_ms, taken=taken, launched=launched)
    return {**changes, "next_ms": next_ms, "hand_epoch": shard.epoch}


def quiet(detail: ScheduleDetail) -> ScheduleDetail:
    """The same for an event that launches nothing."""
    return replace(detail, launched=False, run=None)


def launched(
    engine: Engine, shard: ShardState, task: ScheduleState, nominal_ms: int, decision: Decision
) -> Launch:
    """Launch a nominal time: its occurrence and its verdict go with the event."""
    run = occurrences.occurrence_id(task, nominal_ms)
    detail = detail_of(task)
    due_ms = spread.due_ms(detail.spec.when, task.task_id, nominal_ms)
    words = run_words(shard, task, run, nominal_ms, due_ms)
    changes = _advanced(engine, shard, task, nominal_ms, nominal_ms, launched=True)
    verdict = verdict_row(engine, shard, task, nominal_ms, decision, run)
    detail = replace(detail, **{**words, **changes, **_lateness_words(verdict)})
    return started(engine, shard, task, detail, (verdict,))


def run_words(
    shard: ShardState, task: ScheduleState, run: TaskId, nominal_ms: int, due_ms: int
) -> dict[str, Any]:
    """What the head says of a run that its event launches."""
    detail = detail_of(task)
    return {
        "run": run,
        "run_due_ms": due_ms,
        "run_nominal_ms": nominal_ms,
        "run_down_ms": 0,
        "run_overlap_ms": 0,
        "recent": (run, *(known for known in detail.recent if known != run))[:_RECENT],
        "open": overlapping.with_run(shard, task, detail, run),
    }


def _lateness_words(verdict: LedgerRow) -> dict[str, Any]:
    """What the head must say for the verdict to be written again by whoever takes over."""
    return {"run_down_ms": verdict.down_ms, "run_overlap_ms": verdict.overlap_ms}


def with_run(
    shard: ShardState, task: ScheduleState, run: TaskId, nominal_ms: int, due_ms: int
) -> ScheduleDetail:
    """The head's words for a run that is launched beside the calendar."""
    words = run_words(shard, task, run, nominal_ms, due_ms)
    return replace(detail_of(task), **words, launched=True, seen_epoch=shard.epoch)


def started(
    engine: Engine,
    shard: ShardState,
    task: ScheduleState,
    detail: ScheduleDetail,
    verdicts: tuple[Row, ...] = (),
) -> Launch:
    """The occurrence that an event launches, born claimed if it is due and somebody has room."""
    occurrence = _new_occurrence(engine, shard, task, detail)
    due_ms = detail.run_due_ms
    executor = None
    if due_ms <= engine.now_ms:
        executor = dispatching.choose_now(engine, occurrence, due_ms)
    row, rows = _occurrence_rows(engine, shard, occurrence, due_ms, executor)
    return Launch(
        detail=detail,
        rows=(*rows, *verdicts),
        then=_landing(shard, occurrence, row),
        executor=executor,
    )


def recorded(
    engine: Engine, shard: ShardState, task: ScheduleState, nominal_ms: int, decision: Decision
) -> Launch:
    """An earlier owner wrote the occurrence but not its TICK: the verdict is LAUNCHED (S3)."""
    run = occurrences.occurrence_id(task, nominal_ms)
    detail = detail_of(task)
    words = run_words(shard, task, run, nominal_ms, nominal_ms)
    changes = _advanced(engine, shard, task, nominal_ms, nominal_ms, launched=True)
    verdict = verdict_row(engine, shard, task, nominal_ms, decision, run)
    detail = replace(detail, **{**words, **changes, **_lateness_words(verdict)})
    return replace(only(detail), rows=(verdict,))


def passed(
    engine: Engine, shard: ShardState, task: ScheduleState, at_ms: int, decision: Decision
) -> Launch:
    """Nothing is launched: the verdict is durable before the event that goes on."""
    changes = _advanced(engine, shard, task, at_ms, decision.last_ms, launched=False)
    detail = replace(detail_of(task), **changes, run=None)
    row = verdict_row(engine, shard, task, at_ms, decision)
    return replace(only(detail), ahead=(row,))


def buffered(engine: Engine, shard: ShardState, task: ScheduleState) -> Launch:
    """The time in hand waits for the runs to end; its verdict comes then.

    Who may have launched it already is still to be asked of the epoch in which it came in hand.
    """
    detail = quiet(detail_of(task))
    at_ms, epoch = occurrences.hand_ms(task) or 0, occurrences.hand_epoch(task)
    detail = replace(detail, buffered=(*detail.buffered, (at_ms, epoch)), seen_epoch=shard.epoch)
    taken = detail.runs + len(detail.buffered)
    next_ms = following_ms(engine, task, detail.spec, at_ms, taken=taken, launched=False)
    detail = replace(detail, next_ms=next_ms, hand_epoch=shard.epoch)
    return only(detail)


def _landing(shard: ShardState, occurrence: TaskState, row: EventRow) -> Then:
    """What follows when the whole batch is durable: the occurrence may be handed out."""

    def then(engine: Engine, mutation: Mutation) -> None:
        occurrences.landed(engine, shard, occurrence, row, mutation.reserved)

    return then


def launch_again(engine: Engine, shard: ShardState, task: ScheduleState, whole: Then) -> None:
    """The event of an earlier owner stands, its occurrence does not: write it again (rule S3).

    Args:
        whole: what follows when all rows of the event are durable.
    """
    detail = occurrences.launch_of(task)
    occurrence = _new_occurrence(engine, shard, task, detail)
    row, rows = _occurrence_rows(engine, shard, occurrence, detail.run_due_ms, None)

    def then(engine: Engine, mutation: Mutation) -> None:
        occurrences.landed(engine, shard, occurrence, row, None)
        whole(engine, mutation)

    write_rows(engine, shard, occurrence, (*rows, *verdict_again(shard, task)), then)


def verdict_again(shard: ShardState, task: ScheduleState) -> tuple[Row, ...]:
    """What the TICK of an earlier owner says of its run (rule S3); none for a run by hand."""
    detail = occurrences.launch_of(task)
    nominal_ms = detail.run_nominal_ms
    if detail.run != occurrences.occurrence_id(task, nominal_ms):
        return ()
    row = LedgerRow(
        schedule_id=task.task_id,
        nominal_ms=nominal_ms,
        epoch=shard.epoch,
        verdict=Verdict.LAUNCHED.value,
        task_id=detail.run,
        cause="fail-over",
        lateness_ms=max(0, task.head.at_ms - nominal_ms),
        version=version_of(detail, nominal_ms),
        down_ms=detail.run_down_ms,
        overlap_ms=detail.run_overlap_ms,
    )
    return (row,)


def taken_back(
    engine: Engine, shard: ShardState, task: ScheduleState
) -> tuple[ScheduleDetail, tuple[Row, ...]]:
    """The event of an earlier owner came late: its run had been fenced off by then (rule S4)."""
    detail = occurrences.launch_of(task)
    nominal_ms, run = detail.run_nominal_ms, detail.run
    ledgered = run == occurrences.occurrence_id(task, nominal_ms)
    corrected = replace(
        quiet(detail),
        runs=detail.runs - ledgered,
        recent=tuple(known for known in detail.recent if known != run),
        open=tuple(known for known in detail.open if known != run),
    )
    decision = Decision(move=Move.PASS, verdict=Verdict.CANCELLED, cause="fail-over")
    row = verdict_row(engine, shard, task, nominal_ms, decision)
    return corrected, (row,) if ledgered else ()


def _new_occurrence(
    engine: Engine, shard: ShardState, task: ScheduleState, detail: ScheduleDetail
) -> TaskState:
    run = detail.run
    if run is None:
        raise AssertionError("an event that launches names its run")
    occurrence = shard.tasks.get(run) or TaskState(run, shard.shard)
    occurrence.loading = Loading.PRESENT  # whoever asked for the id before is answered in its turn
    occurrence.spec = replace(
        detail.spec.task, schedule_id=task.task_id, nominal_ms=detail.run_nominal_ms
    )
    occurrence.effective_priority = occurrence.spec.priority
    shard.tasks[occurrence.task_id] = occurrence
    engine.counters.created += 1
    return occurrence


def _occurrence_rows(
    engine: Engine,
    shard: ShardState,
    occurrence: TaskState,
    due_ms: int,
    executor: ExecutorState | None,
) -> tuple[EventRow, tuple[Row, ...]]:
    row = creating.first_event(
        engine, shard, occurrence, due_ms, executor, actor=engine.node, request_id=""
    )
    occurrence.pending = row
    minute = alarm_minute(engine, shard, occurrence, due_ms)
    occurrence.alarm_minute = minute
    return row, (due_row(shard, occurrence, row, minute), row, listing(row, occurrence.spec))


def absent_until_ms(engine: Engine, shard: ShardState) -> int:
    """Nominal times before this passed while nobody was there to launch them.

    An instant that lies ahead of us was seen by a clock that has been put back since.
    """
    acquired_ms = shard.acquired_ms if shard.acquired_ms <= engine.now_ms else 0
    return engine.resumed_ms if acquired_ms < engine.resumed_ms <= engine.now_ms else acquired_ms


def version_of(detail: ScheduleDetail, nominal_ms: int) -> int:
    """The version that named a nominal time: one that waited may be of one before."""
    for version, after_ms in ((detail.version, detail.version_after_ms), *detail.elder):
        if nominal_ms > after_ms:
            return version
    return max(1, detail.version - 1)  # an edit by a release that did not note who named what waits


def elder_versions(detail: ScheduleDetail) -> tuple[tuple[int, int], ...]:
    """The versions, this one included, that named what waits, for the one that replaces it."""
    named = {version_of(detail, at_ms) for at_ms, _ in detail.buffered}
    versions = ((detail.version, detail.version_after_ms), *detail.elder)
    return tuple(each for each in versions if each[0] in named)


def verdict_row(
    engine: Engine,
    shard: ShardState,
    task: ScheduleState,
    nominal_ms: int,
    decision: Decision,
    run: TaskId | None = None,
) -> LedgerRow:
    """One row of the ledger. Its lateness is split: nobody there, an earlier run, the rest."""
    detail = detail_of(task)
    late_ms = max(0, engine.now_ms - nominal_ms)
    down_ms = min(late_ms, max(0, absent_until_ms(engine, shard) - nominal_ms))
    waited = any(waiting == nominal_ms for waiting, _ in detail.buffered)
    single = decision.times == 1
    return LedgerRow(
        schedule_id=task.task_id,
        nominal_ms=nominal_ms,
        epoch=shard.epoch,
        verdict=decision.verdict.value,
        task_id=run,
        cause=decision.cause,
        lateness_ms=late_ms,
        last_nominal_ms=None if single else decision.last_ms,
        times=None if single else decision.times,
        version=version_of(detail, nominal_ms),
        down_ms=down_ms,
        overlap_ms=late_ms - down_ms if waited else 0,
    )
