"""The runs of a schedule that have not ended: which they are, and telling the schedule of an end.

A schedule remembers the runs in hand only if its rule asks for them. An owner that has looked at
all of them once knows without reading: a run is in its memory, or `parked` because its next
attempt is far ahead, or over. A new owner reads them with the schedule (`settling`).
"""

from __future__ import annotations

from typing import Final

from timeball_server.core.commands import CancelTask
from timeball_server.core.engine import commands
from timeball_server.core.engine.state import Engine, ScheduleState, ShardState, TaskState
from timeball_server.core.ids import TaskId
from timeball_server.core.journal import CLOSED, ScheduleDetail
from timeball_server.core.model import OverlapPolicy, ScheduleSpec

MOST_REMEMBERED: Final = 200
"""Runs in hand that a schedule remembers, those launched by hand included; the oldest go."""


def counts_runs(spec: ScheduleSpec) -> bool:
    """Whether the schedule's rule asks how many runs have not ended."""
    rule = spec.overlap
    free = rule.policy is OverlapPolicy.ALLOW and not rule.limit
    return spec.delay_ms is not None or not free


def open_runs(shard: ShardState, task: ScheduleState) -> tuple[TaskId, ...]:
    """Runs that have not ended, as far as this owner has looked."""
    detail = task.detail
    if detail is None or not counts_runs(detail.spec):
        return ()
    return tuple(run for run in detail.open if run not in task.ended and _is_open(shard, run))


def _is_open(shard: ShardState, run: TaskId) -> bool:
    present = shard.tasks.get(run)
    if present is None:
        return run in shard.parked
    return not present.chain or present.state not in CLOSED


def with_run(
    shard: ShardState, task: ScheduleState, detail: ScheduleDetail, run: TaskId
) -> tuple[TaskId, ...]:
    """The runs to remember once another one is launched."""
    if not counts_runs(detail.spec):
        return ()
    return (*(known for known in open_runs(shard, task) if known != run), run)[-MOST_REMEMBERED:]


def waits_for_runs(task: ScheduleState) -> bool:
    """Whether the end of a run is what the schedule waits for; then it stays in memory."""
    detail = task.detail
    if detail is None or task.state in CLOSED:
        return False
    unplanned = detail.spec.delay_ms is not None and detail.next_ms is None
    return bool(detail.buffered) or (unplanned and bool(detail.open))


def left_memory(engine: Engine, shard: ShardState, task: TaskState) -> None:
    """A run is over, or leaves memory for a while: note it, and wake a schedule that waits."""
    schedule_id = task.spec.schedule_id
    if schedule_id is None or not task.chain:
        return
    if task.state not in CLOSED:
        shard.parked.add(task.task_id)
        return
    shard.parked.discard(task.task_id)
    schedule = shard.tasks.get(schedule_id)
    if isinstance(schedule, ScheduleState) and waits_for_runs(schedule):
        engine.at(schedule, engine.now_ms)


def asks_them_to_end(task: ScheduleState) -> bool:
    """Whether a time waits for runs that were asked to end: the asking may have been lost."""
    detail = task.detail
    if detail is None or not detail.buffered or detail.paused is not None:
        return False
    return detail.spec.overlap.policy is OverlapPolicy.CANCEL_OTHER


def stop_runs(engine: Engine, shard: ShardState, task: ScheduleState, *, terminate: bool) -> None:
    """Ask the runs in hand to end, or fence them off; nobody waits for the answers."""
    for run in open_runs(shard, task):
        command = CancelTask(
            task_id=run,
            namespace=task.spec.namespace,
            request_id="",
            actor=engine.node,
            reason="its schedule has reached the next nominal time",
            terminate=terminate,
        )
        commands.arrive(engine, -engine.number(), command)
