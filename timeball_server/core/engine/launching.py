"""What a tick decides: launch the nominal time in hand, or pass over it, as rows.

A tick never launches another nominal time than the one in hand, the one that the schedule's
durable alarm names. So whoever takes over knows the only id under which an earlier owner may have
written an occurrence (rules S3, S4): times that were missed are passed over by a tick of their
own, and the latest one is in hand after it. Nothing is handed out before the whole batch of the
tick is durable (rule S2).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from timeball_server.core.engine import creating, dispatching, occurrences
from timeball_server.core.engine.state import (
    Engine,
    ExecutorState,
    Loading,
    Mutation,
    ScheduleState,
    ShardState,
    Standing,
    TaskState,
)
from timeball_server.core.engine.writing import (
    Then,
    alarm_minute,
    due_row,
    listing,
    write_rows,
)
from timeball_server.core.ids import TaskId
from timeball_server.core.intervals import count_between, latest_nominal_ms
from timeball_server.core.journal import (
    EventRow,
    LedgerRow,
    Row,
    ScheduleDetail,
)

CATCH_UP_WINDOW_MS: Final = 600_000
"""After an outage the latest missed nominal time still runs if it is not older than this."""
_RECENT: Final = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """What was decided: rows beside the schedule's event, and what follows when all are durable.

    `last_ms` is the last nominal time that has its verdict now. `ahead` are verdicts that must be
    durable before the event: nothing else tells a new owner what was passed over.
    """

    detail: ScheduleDetail
    last_ms: int
    rows: tuple[Row, ...]
    then: Then
    executor: ExecutorState | None = None
    ahead: tuple[Row, ...] = ()


def plan(
    engine: Engine, shard: ShardState, task: ScheduleState, standing: Standing
) -> Launch | None:
    """Decide the nominal time in hand, and those that were missed with it.

    Args:
        standing: what stands under the id that the nominal time in hand names.

    Returns:
        None if nothing is to be launched and a fence must be durable before that is decided.
    """
    detail = detail_of(task)
    first_ms = task.due_ms
    if standing is Standing.EXISTS:
        return _already_launched(engine, shard, task, detail)
    last_ms = latest_nominal_ms(detail.spec, first_ms, engine.now_ms)
    in_window = engine.now_ms - last_ms <= CATCH_UP_WINDOW_MS
    in_turn = last_ms == first_ms or _has_caught_up(engine, shard, task, detail)
    if in_window and in_turn and standing is Standing.ABSENT:
        return _launch(engine, shard, task, detail)
    if occurrences.needs_fence(shard, task, standing):
        return None
    before_ms = last_ms - detail.spec.every_ms
    if not in_window:
        coalesced = _passed(engine, shard, task, "COALESCED", "down", before_ms)
        missed = _verdict(engine, shard, task, last_ms, "MISSED_WINDOW", "down")
        return _declined(task, last_ms, (*coalesced, missed))
    if not in_turn:
        coalesced = _passed(engine, shard, task, "COALESCED", "down", before_ms)
        return _declined(task, before_ms, coalesced)
    cancelled = _verdict(engine, shard, task, first_ms, "CANCELLED", "voided before its time")
    return _declined(task, first_ms, (cancelled,))


def plan_end(
    engine: Engine, shard: ShardState, task: ScheduleState, standing: Standing
) -> Launch | None:
    """Verdicts that an end leaves: what is due and was not launched is cancelled (rule S6).

    Returns:
        None if a fence must be durable first, as in `plan`.
    """
    if occurrences.needs_fence(shard, task, standing):
        return None
    detail, from_ms = detail_of(task), task.due_ms
    rows: tuple[Row, ...] = ()
    if standing is Standing.EXISTS:
        launched = _already_launched(engine, shard, task, detail)
        detail, rows = launched.detail, launched.rows
        from_ms += detail.spec.every_ms
    last_ms = latest_nominal_ms(detail.spec, from_ms, engine.now_ms)
    if from_ms <= min(engine.now_ms, detail.spec.end_ms or from_ms):
        rows += _passed(engine, shard, task, "CANCELLED", "ended", last_ms, from_ms)
        detail = replace(detail, nominal_ms=last_ms, launched=False)
    return Launch(detail=detail, last_ms=last_ms, rows=(), then=_nothing, ahead=rows)


def detail_of(task: ScheduleState) -> ScheduleDetail:
    """What the head of a schedule says."""
    if task.detail is None:
        raise AssertionError("a schedule's head tells everything")
    return task.detail


def _has_caught_up(
    engine: Engine, shard: ShardState, task: ScheduleState, detail: ScheduleDetail
) -> bool:
    """Whether we have passed over missed times just now.

    Then the time in hand runs even if it is not the latest any more: a store slower than the
    interval must not keep a schedule from ever running.
    """
    alarm = task.head.alarm
    ours = alarm is not None and alarm.epoch == shard.epoch
    passed = detail.nominal_ms is not None and not detail.launched
    return ours and passed and engine.now_ms - task.due_ms <= CATCH_UP_WINDOW_MS


def _launch(
    engine: Engine, shard: ShardState, task: ScheduleState, detail: ScheduleDetail
) -> Launch:
    nominal_ms = task.due_ms
    occurrence = _new_occurrence(engine, shard, task, detail, nominal_ms)
    executor = dispatching.choose_now(engine, occurrence, nominal_ms)
    row, rows = _occurrence_rows(engine, shard, occurrence, nominal_ms, executor)
    run = occurrence.task_id
    verdict = _verdict(engine, shard, task, nominal_ms, "LAUNCHED", "", run)
    return Launch(
        detail=_with_run(detail, nominal_ms, run),
        last_ms=nominal_ms,
        rows=(*rows, verdict),
        then=_landing(shard, occurrence, row),
        executor=executor,
    )


def _with_run(detail: ScheduleDetail, nominal_ms: int, run: TaskId) -> ScheduleDetail:
    return replace(
        detail,
        nominal_ms=nominal_ms,
        launched=True,
        runs=detail.runs + 1,
        recent=(run, *detail.recent)[:_RECENT],
    )


def _already_launched(
    engine: Engine, shard: ShardState, task: ScheduleState, detail: ScheduleDetail
) -> Launch:
    """An earlier owner wrote the occurrence but not its TICK: the verdict is LAUNCHED (S3)."""
    nominal_ms = task.due_ms
    run = occurrences.occurrence_id(task, nominal_ms)
    verdict = _verdict(engine, shard, task, nominal_ms, "LAUNCHED", "fail-over", run)
    return Launch(
        detail=_with_run(detail, nominal_ms, run),
        last_ms=nominal_ms,
        rows=(verdict,),
        then=_nothing,
    )


def _declined(task: ScheduleState, last_ms: int, verdicts: tuple[Row, ...]) -> Launch:
    detail = replace(detail_of(task), nominal_ms=last_ms, launched=False)
    return Launch(detail=detail, last_ms=last_ms, rows=(), then=_nothing, ahead=verdicts)


def _nothing(engine: Engine, mutation: Mutation) -> None:
    """Nothing was written under an occurrence's id."""


def _landing(shard: ShardState, occurrence: TaskState, row: EventRow) -> Then:
    """What follows when the whole batch is durable: the occurrence may be handed out."""

    def then(engine: Engine, mutation: Mutation) -> None:
        occurrences.landed(engine, shard, occurrence, row, mutation.reserved)

    return then


def launch_again(
    engine: Engine, shard: ShardState, task: ScheduleState, nominal_ms: int, whole: Then
) -> None:
    """The TICK of an earlier owner stands, its occurrence does not: write it again (rule S3).

    Args:
        whole: what follows when all rows of the TICK are durable.
    """
    occurrence = _new_occurrence(engine, shard, task, detail_of(task), nominal_ms)
    row, rows = _occurrence_rows(engine, shard, occurrence, nominal_ms, None)
    verdict = _verdict(engine, shard, task, nominal_ms, "LAUNCHED", "fail-over", row.task_id)

    def then(engine: Engine, mutation: Mutation) -> None:
        occurrences.landed(engine, shard, occurrence, row, None)
        whole(engine, mutation)

    write_rows(engine, shard, occurrence, (*rows, verdict), then)


def verdict_again(shard: ShardState, task: ScheduleState, nominal_ms: int) -> LedgerRow:
    """What the TICK of an earlier owner says of its run, which is there (rule S3)."""
    return LedgerRow(
        schedule_id=task.task_id,
        nominal_ms=nominal_ms,
        epoch=shard.epoch,
        verdict="LAUNCHED",
        task_id=occurrences.occurrence_id(task, nominal_ms),
        cause="fail-over",
        lateness_ms=max(0, task.head.at_ms - nominal_ms),
    )


def taken_back(
    engine: Engine, shard: ShardState, task: ScheduleState, nominal_ms: int
) -> tuple[ScheduleDetail, LedgerRow]:
    """The TICK of an earlier owner came late: its run had been fenced off by then (rule S4)."""
    detail = detail_of(task)
    run = occurrences.occurrence_id(task, nominal_ms)
    corrected = replace(
        detail,
        launched=False,
        runs=detail.runs - 1,
        recent=tuple(known for known in detail.recent if known != run),
    )
    return corrected, _verdict(engine, shard, task, nominal_ms, "CANCELLED", "fail-over")


def _new_occurrence(
    engine: Engine,
    shard: ShardState,
    task: ScheduleState,
    detail: ScheduleDetail,
    nominal_ms: int,
) -> TaskState:
    run = occurrences.occurrence_id(task, nominal_ms)
    occurrence = shard.tasks.get(run) or TaskState(run, shard.shard)
    occurrence.loading = Loading.PRESENT  # whoever asked for the id before is answered in its turn
    occurrence.spec = replace(detail.spec.task, schedule_id=task.task_id, nominal_ms=nominal_ms)
    occurrence.effective_priority = occurrence.spec.priority
    shard.tasks[occurrence.task_id] = occurrence
    engine.counters.created += 1
    return occurrence


def _occurrence_rows(
    engine: Engine,
    shard: ShardState,
    occurrence: TaskState,
    nominal_ms: int,
    executor: ExecutorState | None,
) -> tuple[EventRow, tuple[Row, ...]]:
    row = creating.first_event(
        engine, shard, occurrence, nominal_ms, executor, actor=engine.node, request_id=""
    )
    occurrence.pending = row
    minute = alarm_minute(engine, shard, occurrence, nominal_ms)
    occurrence.alarm_minute = minute
    return row, (due_row(shard, occurrence, row, minute), row, listing(row, occurrence.spec))


def _passed(
    engine: Engine,
    shard: ShardState,
    task: ScheduleState,
    verdict: str,
    cause: str,
    last_ms: int,
    first_ms: int | None = None,
) -> tuple[Row, ...]:
    """One row on all nominal times from the one in hand, or a given one, to the last."""
    first_ms = task.due_ms if first_ms is None else first_ms
    if last_ms < first_ms:
        return ()
    row = _verdict(engine, shard, task, first_ms, verdict, cause)
    times = count_between(detail_of(task).spec, first_ms, last_ms)
    return (replace(row, last_nominal_ms=last_ms, times=times),)


def _verdict(
    engine: Engine,
    shard: ShardState,
    task: ScheduleState,
    nominal_ms: int,
    verdict: str,
    cause: str,
    run: TaskId | None = None,
) -> LedgerRow:
    return LedgerRow(
        schedule_id=task.task_id,
        nominal_ms=nominal_ms,
        epoch=shard.epoch,
        verdict=verdict,
        task_id=run,
        cause=cause,
        lateness_ms=max(0, engine.now_ms - nominal_ms),
    )
