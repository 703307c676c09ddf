"""What a new owner makes of a schedule that it reads: runs looked for, torn ticks made whole.

Rules S3 (the TICK event of an earlier owner is the decision; its rows are written again), S4 (a
TICK that came after its run was fenced off is taken back), S5 (nothing else is decided before).
"""

from __future__ import annotations

from timeball_server.core.engine import launching, occurrences, placing
from timeball_server.core.engine.pinning import adopt
from timeball_server.core.engine.state import (
    Engine,
    Loading,
    Mutation,
    ScheduleState,
    ShardState,
    Standing,
    TaskState,
)
from timeball_server.core.engine.writing import write_rows
from timeball_server.core.ids import TaskId
from timeball_server.core.journal import DueRow, EventRow, ScheduleDetail


def settle(engine: Engine, shard: ShardState, task: ScheduleState) -> None:
    """A schedule was read: look for what an earlier owner may have launched (rule S3)."""
    head = task.head
    runs: list[TaskId] = []
    if head.alarm is not None and head.alarm.epoch != shard.epoch:
        runs.append(occurrences.occurrence_id(task, head.alarm.due_ms))
    launched_ms = _launched_before_us(shard, head)
    if launched_ms is not None:
        runs.append(occurrences.occurrence_id(task, launched_ms))
    if runs:
        occurrences.look_for(engine, shard, task, runs)
        _go_on_if_known(engine, shard, task)


def _launched_before_us(shard: ShardState, head: EventRow) -> int | None:
    """The nominal time that an earlier owner's last TICK launched, if its rows may be lacking."""
    detail = head.detail
    if head.epoch == shard.epoch or not isinstance(detail, ScheduleDetail):
        return None
    return detail.nominal_ms if detail.launched else None


def unsettled(shard: ShardState, hint: DueRow, head: EventRow) -> bool:
    """Whether a hint is of the TICK that an earlier owner may have left half written (rule S3).

    Its occurrence must be looked for now, however far ahead the next tick is.
    """
    return hint.due_ms == _launched_before_us(shard, head)


def occurrence_read(engine: Engine, shard: ShardState, occurrence: TaskState) -> None:
    """A task was read from the store: schedules that look for it can go on."""
    for task in shard.asking.pop(occurrence.task_id, []):
        if engine.owned(task) is shard:
            occurrences.learn(shard, task, occurrence)
            _go_on_if_known(engine, shard, task)
            placing.free(engine, shard, task)


def _go_on_if_known(engine: Engine, shard: ShardState, task: ScheduleState) -> None:
    if task.asked:
        return
    task.loading = Loading.PRESENT
    _complete(engine, shard, task)
    occurrences.let_go(engine, shard, task)


def _complete(engine: Engine, shard: ShardState, task: ScheduleState) -> None:
    """Make an earlier owner's TICK whole; no further event comes before that (rules S3, S5)."""
    nominal_ms = _launched_before_us(shard, task.head)
    if nominal_ms is None:
        return
    run = occurrences.occurrence_id(task, nominal_ms)
    standing = task.known.get(run)
    if standing is None:
        return
    task.loading = Loading.UNRESOLVED

    def whole(engine: Engine, mutation: Mutation) -> None:
        task.loading = Loading.PRESENT
        placing.free(engine, shard, task)

    if standing is Standing.ABSENT:
        launching.launch_again(engine, shard, task, nominal_ms, whole)
        task.known[run] = Standing.EXISTS
    elif standing is Standing.EXISTS:
        row = launching.verdict_again(shard, task, nominal_ms)
        write_rows(engine, shard, task, (row,), whole)
    else:
        _take_back(engine, shard, task, nominal_ms)


def _take_back(engine: Engine, shard: ShardState, task: ScheduleState, nominal_ms: int) -> None:
    detail, row = launching.taken_back(engine, shard, task, nominal_ms)

    def corrected(engine: Engine, mutation: Mutation) -> None:
        task.loading = Loading.PRESENT
        task.detail = detail
        adopt(engine, shard, task)

    write_rows(engine, shard, task, (row,), corrected)
