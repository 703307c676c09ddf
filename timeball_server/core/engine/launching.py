"""What a tick launches: the occurrence's first event and the ledger's verdicts, as rows.

An occurrence's id follows from schedule and nominal time, so a fail-over cannot mint a second
one. Nothing is handed out before the whole batch of the tick is durable (rule S2).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

from timeball_server.core.buckets import minute_of
from timeball_server.core.engine import creating, dispatching, placing
from timeball_server.core.engine.firsts import void_row
from timeball_server.core.engine.state import (
    Engine,
    ExecutorState,
    Loading,
    Mutation,
    ScheduleState,
    ShardState,
    TaskState,
)
from timeball_server.core.engine.writing import alarm_minute, due_row, listing, write_rows
from timeball_server.core.ids import (
    Bucket,
    IdParts,
    TaskId,
    encode_id,
    unique_of_occurrence,
)
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
Then = Callable[[Engine, Mutation], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """What a tick decided: rows beside the TICK event, and what follows when all are durable."""

    detail: ScheduleDetail
    last_ms: int
    rows: tuple[Row, ...]
    then: Then
    executor: ExecutorState | None


def occurrence_id(task: ScheduleState, nominal_ms: int) -> TaskId:
    """The id of a schedule's run at a nominal time, in the schedule's own shard."""
    home = Bucket(minute_of(nominal_ms), task.shard)
    return encode_id(IdParts(home, unique_of_occurrence(task.task_id, nominal_ms)))


def plan(engine: Engine, shard: ShardState, task: ScheduleState) -> Launch:
    """Decide the nominal time in hand: launch it, or the latest one if several were missed."""
    detail = task.detail
    if detail is None:
        raise AssertionError("a schedule's head tells everything")
    first_ms = task.due_ms
    if occurrence_id(task, first_ms) in task.existing:
        return _already_launched(engine, shard, task, detail, first_ms)
    last_ms = latest_nominal_ms(detail.spec, first_ms, engine.now_ms)
    skipped = _skipped_rows(engine, shard, task, detail, first_ms, last_ms)
    if engine.now_ms - last_ms > CATCH_UP_WINDOW_MS:
        missed = _verdict(engine, shard, task, last_ms, "MISSED_WINDOW", "down")
        decided = replace(detail, nominal_ms=last_ms, launched=False)
        rows: tuple[Row, ...] = (*skipped, missed)
        return Launch(detail=decided, last_ms=last_ms, rows=rows, then=_nothing, executor=None)
    return _launch(engine, shard, task, detail, last_ms, skipped)


def _launch(
    engine: Engine,
    shard: ShardState,
    task: ScheduleState,
    detail: ScheduleDetail,
    nominal_ms: int,
    skipped: tuple[Row, ...],
) -> Launch:
    occurrence = _new_occurrence(engine, shard, task, detail, nominal_ms)
    executor = dispatching.choose_now(engine, occurrence, nominal_ms)
    row, rows = _occurrence_rows(engine, shard, occurrence, nominal_ms, executor)
    verdict = _verdict(engine, shard, task, nominal_ms, "LAUNCHED", "", occurrence.task_id)

    def then(engine: Engine, mutation: Mutation) -> None:
        _launched(engine, shard, occurrence, row, mutation)

    decided = replace(
        detail,
        nominal_ms=nominal_ms,
        launched=True,
        runs=detail.runs + 1,
        recent=(occurrence.task_id, *detail.recent)[:_RECENT],
    )
    return Launch(
        detail=decided,
        last_ms=nominal_ms,
        rows=(*skipped, *rows, verdict),
        then=then,
        executor=executor,
    )


def _already_launched(
    engine: Engine,
    shard: ShardState,
    task: ScheduleState,
    detail: ScheduleDetail,
    nominal_ms: int,
) -> Launch:
    """An earlier owner wrote the occurrence but not its TICK: the verdict is LAUNCHED (S3)."""
    run = occurrence_id(task, nominal_ms)
    decided = replace(
        detail,
        nominal_ms=nominal_ms,
        launched=True,
        runs=detail.runs + 1,
        recent=(run, *detail.recent)[:_RECENT],
    )
    verdict = _verdict(engine, shard, task, nominal_ms, "LAUNCHED", "fail-over", run)
    return Launch(detail=decided, last_ms=nominal_ms, rows=(verdict,), then=_nothing, executor=None)


def _nothing(engine: Engine, mutation: Mutation) -> None:
    """Nothing is launched."""


def launch_again(engine: Engine, shard: ShardState, task: ScheduleState, nominal_ms: int) -> None:
    """The TICK of an earlier owner stands, its occurrence does not: write it again (rule S3)."""
    detail = task.detail
    if detail is None:
        raise AssertionError("a schedule's head tells everything")
    occurrence = _new_occurrence(engine, shard, task, detail, nominal_ms)
    row, rows = _occurrence_rows(engine, shard, occurrence, nominal_ms, None)
    verdict = _verdict(engine, shard, task, nominal_ms, "LAUNCHED", "fail-over", row.task_id)

    def then(engine: Engine, mutation: Mutation) -> None:
        _launched(engine, shard, occurrence, row, mutation)

    write_rows(engine, shard, occurrence, (*rows, verdict), then)


def _new_occurrence(
    engine: Engine,
    shard: ShardState,
    task: ScheduleState,
    detail: ScheduleDetail,
    nominal_ms: int,
) -> TaskState:
    run = occurrence_id(task, nominal_ms)
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


def _launched(
    engine: Engine, shard: ShardState, occurrence: TaskState, row: EventRow, mutation: Mutation
) -> None:
    """The whole batch is durable: the occurrence may be handed out."""
    occurrence.append(row)
    occurrence.pending = None
    shard.touch(occurrence.task_id)
    if mutation.reserved is not None:
        dispatching.hand_out(engine, occurrence, mutation.reserved)
    placing.free(engine, shard, occurrence)


def _skipped_rows(
    engine: Engine,
    shard: ShardState,
    task: ScheduleState,
    detail: ScheduleDetail,
    first_ms: int,
    last_ms: int,
) -> tuple[Row, ...]:
    """Verdicts on nominal times that were missed before the latest one (catch-up ONE)."""
    if last_ms == first_ms:
        return ()
    before_ms = last_ms - detail.spec.every_ms
    row = replace(
        _verdict(engine, shard, task, first_ms, "COALESCED", "down"),
        last_nominal_ms=before_ms,
        times=count_between(detail.spec, first_ms, before_ms),
    )
    if task.head.epoch == shard.epoch:
        return (row,)
    void = void_row(
        engine,
        shard,
        occurrence_id(task, first_ms),
        actor=engine.node,
        request_id="",
        why="coalesced with a later nominal time after an outage",
    )
    return (row, void)


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
