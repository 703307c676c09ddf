"""Tasks and schedules of which something was written that this version cannot read.

A newer version wrote it, before a rollback or while an upgrade is under way; or its head stands on
rows that are not there. Such a task is held back: nothing of it is started, written, acknowledged,
removed or told but that it is held back, and the watermark does not pass its hint (rule R18), so
that a node that can read it finds it whole. All other tasks of the shard go on. Its bucket is swept
again from time to time: if it can be read then, it goes on here. Must never take such a task for
one that is not there. ADR 18 has the reasons.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from timeball_server.core.commands import (
    CreateSchedule,
    CreateTask,
    Explained,
    ExplainTask,
    Rejected,
    RejectionReason,
)
from timeball_server.core.engine import commands, placing
from timeball_server.core.engine.effects import HeldBack
from timeball_server.core.engine.reading import Held
from timeball_server.core.engine.state import AnyCommand, Engine, Loading, ShardState, TaskState
from timeball_server.core.engine.writing import reply
from timeball_server.core.explanation import BlockingCause, Explanation, Reason
from timeball_server.core.ids import TaskId
from timeball_server.core.journal import (
    CLOSED,
    DueRow,
    EventRow,
    History,
    NoteDetail,
    fold,
    unreadable_event,
)
from timeball_server.core.view import known_spec

LOOK_AGAIN: Final = 10
"""So many times the interval of sweeps passes before a bucket is swept again for such tasks."""
MOST_TOLD: Final = 20
"""Tasks of a shard that are told of one by one; the gauge counts all of them."""
_REMEDY: Final = (
    "it is held back and nothing was changed; upgrade the scheduler nodes to the version that "
    "wrote it, or restore what was lost, and it goes on by itself"
)


def is_unreadable(rows: Sequence[EventRow]) -> bool:
    """Whether a journal must be held back.

    What has ended holds nothing, whatever came before: its head alone says so (rule R5).
    """
    history = fold(rows)
    return history is not None and _unknown(history) is not None


def _unknown(history: History) -> EventRow | None:
    return None if history.head.state in CLOSED else unreadable_event(history)


def behind(engine: Engine, shard: ShardState, hint: DueRow, history: History) -> bool:
    """Whether the task behind a hint must be held back; then it is, with the hint's bucket."""
    row = _unknown(history)
    if row is None:
        return False
    _hold(engine, shard, hint.task_id, _held(row, history, hint.minute))
    return True


def hint_alone(engine: Engine, shard: ShardState, hint: DueRow) -> None:
    """Hold back what a hint names by an id of a kind that this version does not know."""
    held = Held(minute=hint.minute, namespace=None, event="its id", since_ms=None)
    _hold(engine, shard, hint.task_id, held)


def instead(
    engine: Engine, shard: ShardState, task: TaskState, history: History, row: EventRow
) -> None:
    """Let go of a task whose journal was read in vain; `refuse` answers who waits for it."""
    task.loading = Loading.UNREADABLE
    task.chain = [row]
    task.spec = known_spec(history) or task.spec
    minute = 0 if history.head.state in CLOSED else task.alarm_minute
    _let_go(engine, shard, task, _held(row, history, minute))


def with_run(engine: Engine, shard: ShardState, run: TaskState) -> None:
    """Schedules that look for a run which cannot be read can decide nothing either (rule S3)."""
    for schedule in shard.asking.pop(run.task_id, []):
        if engine.owned(schedule) is shard:
            held = _held(run.head, None, schedule.alarm_minute)
            held.namespace = schedule.spec.namespace
            held.event = f"its run {run.task_id}, {held.event}"
            schedule.loading = Loading.UNREADABLE
            schedule.chain = [run.head]
            _let_go(engine, shard, schedule, held)
            refuse(engine, schedule)


def _let_go(engine: Engine, shard: ShardState, task: TaskState, held: Held) -> None:
    if shard.tasks.get(task.task_id) is task:
        placing.forget(shard, task)
    if held.minute:  # a hint led to it; else the sweep of its hint's bucket will find it
        _hold(engine, shard, task.task_id, held)


def _hold(engine: Engine, shard: ShardState, task_id: TaskId, held: Held) -> None:
    known = shard.unreadable.get(task_id)
    if known is not None:
        held.minute = min(held.minute, known.minute)
    elif len(shard.unreadable) < MOST_TOLD:
        engine.out.append(HeldBack(shard.shard, shard.epoch, task_id, held.event))
    shard.unreadable[task_id] = held


def _held(row: EventRow, history: History | None, minute: int) -> Held:
    seen = row.detail.text if isinstance(row.detail, NoteDetail) else "nothing of it"
    spec = None if history is None else known_spec(history)
    return Held(
        minute=minute,
        namespace=None if spec is None else spec.namespace,
        event=f"event {row.seq} of epoch {row.epoch} ({seen})",
        since_ms=row.at_ms or None,
    )


def refuse(engine: Engine, task: TaskState) -> None:
    """Answer all who wait for a task that was let go of."""
    waiting, task.waiting = task.waiting, []
    for token, command in waiting:
        if task.foreign_to(_namespace(command)):
            reply(engine, token, commands.not_found())
        else:
            _tell(engine, task.task_id, _held(task.head, None, 0), token, command)


def answer(engine: Engine, task_id: TaskId, held: Held, token: int, command: AnyCommand) -> None:
    """Answer at once who asks for a task that is held back."""
    if held.namespace not in (None, _namespace(command)):
        reply(engine, token, commands.not_found())
    else:
        _tell(engine, task_id, held, token, command)


def _namespace(command: AnyCommand) -> str:
    if isinstance(command, CreateTask):
        return command.spec.namespace
    return command.spec.task.namespace if isinstance(command, CreateSchedule) else command.namespace


def _tell(engine: Engine, task_id: TaskId, held: Held, token: int, command: AnyCommand) -> None:
    if isinstance(command, ExplainTask):
        reasons = (_reason(engine, held),)
        told = Explanation(task_id=task_id, at_ms=engine.now_ms, reasons=reasons)
        reply(engine, token, Explained(told))
    else:
        message = f"{engine.node} cannot read {held.event}: {_REMEDY}"
        reply(engine, token, Rejected(RejectionReason.NEWER_VERSION, message))


def _reason(engine: Engine, held: Held) -> Reason:
    return Reason(
        cause=BlockingCause.NEWER_VERSION_NEEDED,
        sentence=(
            f"the version of {engine.node} cannot read {held.event}; a newer one wrote it, or rows "
            "were lost"
        ),
        since_ms=held.since_ms,
        next_check="a node of the version that wrote it owns the shard, or the rows are restored",
        details=(("node", engine.node),),
    )


# Sweeps -----------------------------------------------------------------------------------------


def begin_sweep(shard: ShardState, minute: int) -> None:
    """A bucket is about to be read once more: who is held back for it must be found again."""
    for held in shard.unreadable.values():
        held.confirmed = held.confirmed and held.minute != minute


def end_sweep(shard: ShardState, minute: int) -> bool:
    """Forget who was not found again; whether anybody is held back for this bucket or before."""
    held = shard.unreadable
    shard.unreadable = {task_id: each for task_id, each in held.items() if each.confirmed}
    return any(each.minute <= minute for each in shard.unreadable.values())
