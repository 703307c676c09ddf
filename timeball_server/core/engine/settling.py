"""What a new owner makes of a schedule that it reads: runs looked for, torn ticks made whole.

Rules S3 (the TICK event of an earlier owner is the decision; its rows are written again), S4 (a
TICK that came after its run was fenced off is taken back), S5 (nothing else is decided before).
"""

from __future__ import annotations

from timeball_server.core.engine import launching, occurrences, placing
from timeball_server.core.engine.pinning import adopt
from timeball_server.core.engine.reading import Standing
from timeball_server.core.engine.state import (
    Engine,
    Loading,
    Mutation,
    ScheduleState,
    ShardState,
    TaskState,
)
from timeball_server.core.engine.writing import write_rows
from timeball_server.core.ids import TaskId
from timeball_server.core.journal import CLOSED, DueRow, EventRow, ScheduleDetail


def settle(engine: Engine, shard: ShardState, task: ScheduleState) -> None:
    """A schedule was read: look for what an earlier owner may have launched (rule S3)."""
    runs = [run for run, _ in occurrences.in_hand(task, but=shard.epoch)]
    launched = _launched_before_us(task, shard, task.head)
    if launched is not None:
        runs.append(launched)
    detail = task.detail
    if detail is not None and detail.seen_epoch != shard.epoch and task.state not in CLOSED:
        runs.extend(detail.open)
    if runs:
        occurrences.look_for(engine, shard, task, runs)
        _go_on_if_known(engine, shard, task)


def _launched_before_us(task: ScheduleState, shard: ShardState, head: EventRow) -> TaskId | None:
    """The run that an earlier owner's last event launched, if its rows may be lacking."""
    if head.epoch == shard.epoch or task.detail is None or not task.detail.launched:
        return None
    return occurrences.launch_of(task).run


def unsettled(shard: ShardState, hint: DueRow, head: EventRow) -> bool:
    """Whether a hint is of a schedule whose last event an earlier owner may have left half written.

    Its run must be looked for now, however far ahead the next tick is (rule S3).
    """
    detail = head.detail
    if head.epoch == shard.epoch or not isinstance(detail, ScheduleDetail):
        return False
    return detail.launched and hint.due_ms <= head.at_ms


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
    """Make an earlier owner's event whole; no further one comes before that (rules S3, S5)."""
    run = _launched_before_us(task, shard, task.head)
    standing = None if run is None else task.known.get(run)
    if run is None or standing is None:
        return
    task.loading = Loading.UNRESOLVED

    def whole(engine: Engine, mutation: Mutation) -> None:
        task.loading = Loading.PRESENT
        placing.free(engine, shard, task)

    if standing is Standing.ABSENT:
        launching.launch_again(engine, shard, task, whole)
        task.known[run] = Standing.EXISTS
    elif standing is Standing.EXISTS:
        rows = launching.verdict_again(shard, task)
        if rows:
            write_rows(engine, shard, task, rows, whole)
        else:
            task.loading = Loading.PRESENT
    else:
        _take_back(engine, shard, task)


def _take_back(engine: Engine, shard: ShardState, task: ScheduleState) -> None:
    detail, rows = launching.taken_back(engine, shard, task)

    def corrected(engine: Engine, mutation: Mutation) -> None:
        task.loading = Loading.PRESENT
        task.detail = detail
        adopt(engine, shard, task)

    write_rows(engine, shard, task, rows or (task.head,), corrected)
