"""Answering callers: create, cancel, read and follow a task; `revising` changes one.

Rules R8 (repetitions and unknown ids), R14 (cancelling what was sent), R17 (only events of the
own epoch are shown), R21 (below the watermark), R24 (the owner's now).
"""

from __future__ import annotations

from typing import Final

from timeball_server.core.commands import (
    CancelScope,
    CancelTask,
    CreateSchedule,
    CreateTask,
    DeleteTask,
    Done,
    EndSchedule,
    ExplainTask,
    Outcome,
    Rejected,
    RejectionReason,
    RescheduleTask,
    UpdateTask,
    WatchTask,
)
from timeball_server.core.engine import (
    creating,
    explaining,
    holding,
    placing,
    removing,
    revising,
    revoking,
    schedules,
    watching,
)
from timeball_server.core.engine.effects import ReadTasks, Reply
from timeball_server.core.engine.firsts import void_row
from timeball_server.core.engine.pinning import pinned
from timeball_server.core.engine.state import (
    AnyCommand,
    Engine,
    Loading,
    Mutation,
    Phase,
    ScheduleCommand,
    ScheduleState,
    ShardState,
    TaskCommand,
    TaskState,
)
from timeball_server.core.engine.writing import (
    begin,
    following_event,
    not_owned,
    reply,
)
from timeball_server.core.ids import SCHEDULES_MINUTE, Bucket, InvalidId, TaskId, decode_id
from timeball_server.core.journal import (
    EventKind,
    History,
    NoteDetail,
    State,
)
from timeball_server.core.journal_text import instant_text
from timeball_server.core.messages import CancelRun
from timeball_server.core.model import TaskView
from timeball_server.core.view import task_view

HIDDEN: Final = frozenset({State.ABSENT, State.VOID, State.DELETED})
"""States in which there is nothing for callers to see."""


def arrive(engine: Engine, token: int, command: AnyCommand) -> None:
    """Take a command in: wrong node, expired id, or to its task, which may have to be read."""
    home = _home(command)
    shard = engine.shards.get(home.shard) if home is not None else None
    if home is None or shard is None or shard.phase is Phase.RELEASING:
        engine.out.append(Reply(token, not_owned(home.shard if home else -1)))
    elif SCHEDULES_MINUTE < home.minute < shard.deleted_below:
        message = "the task's bucket was removed after its retention"
        reply(engine, token, Rejected(RejectionReason.EXPIRED, message))
    elif removing.is_barred(shard, home.minute):
        removing.hold(engine, shard, token, command)
    elif isinstance(command, CreateTask):
        creating.arrive(engine, shard, token, command)
    elif isinstance(command, CreateSchedule):
        schedules.arrive(engine, shard, token, command)
    else:
        _to_task(engine, shard, token, command)


def _home(command: AnyCommand) -> Bucket | None:
    if isinstance(command, CreateTask | CreateSchedule):
        return Bucket(command.minute, command.shard)  # whatever the part
    try:
        return decode_id(command.task_id).home
    except InvalidId:
        return None


def _to_task(
    engine: Engine, shard: ShardState, token: int, command: TaskCommand | ScheduleCommand
) -> None:
    task = shard.tasks.get(command.task_id)
    if task is None and isinstance(command, CancelTask) and command.scope is CancelScope.UNKNOWN:
        # An address names no part: a creation that is on its way may have opened another one.
        known = shard.recent.get(decode_id(command.task_id).unique)
        task = None if known is None else shard.tasks.get(known)
    held = shard.unreadable.get(command.task_id) if task is None else None
    if held is not None:
        holding.answer(engine, command.task_id, held, token, command)
        return
    if task is None:
        task = read_into_memory(engine, shard, command.task_id)
        creating.remember(engine, shard, decode_id(command.task_id).unique, command.task_id)
    if isinstance(command, ExplainTask) and explaining.can_tell(task):
        decide(engine, shard, task, token, command)
        return
    task.waiting.append((token, command))
    placing.free(engine, shard, task)


def read_into_memory(engine: Engine, shard: ShardState, task_id: TaskId) -> TaskState:
    """A placeholder that loads respect, and the read that fills it (rule R9)."""
    task = placing.memory_for(task_id, shard.shard)
    task.loading = Loading.READING
    shard.tasks[task_id] = task
    engine.out.append(ReadTasks(shard.shard, shard.epoch, (task_id,)))
    return task


def decide(
    engine: Engine,
    shard: ShardState,
    task: TaskState,
    token: int,
    command: TaskCommand | ScheduleCommand,
) -> None:
    """Carry out a command on a task or schedule that nothing holds."""
    if task.foreign_to(command.namespace):
        reply(engine, token, not_found())
    elif isinstance(task, ScheduleState):
        schedules.decide(engine, shard, task, token, command)
    elif not isinstance(command, TaskCommand):
        reply(engine, token, not_found())
    elif isinstance(command, ExplainTask):
        explaining.answer(engine, shard, task, token, command)
    else:
        _decide_task(engine, shard, task, token, command)


def _decide_task(
    engine: Engine, shard: ShardState, task: TaskState, token: int, command: TaskCommand
) -> None:
    if isinstance(command, CancelTask):
        _cancel(engine, shard, task, token, command)
    elif isinstance(command, UpdateTask | RescheduleTask):
        revising.revise(engine, shard, task, token, command)
    elif isinstance(command, DeleteTask):
        revising.delete(engine, shard, task, token, command)
    elif task.state is State.ABSENT:
        reply(engine, token, not_found())
    elif isinstance(command, WatchTask):
        watching.follow(engine, shard, task, token, command)
    elif pinned(engine, shard, task, token, command):
        reply(engine, token, shown(task))


def shown(task: TaskState) -> Outcome:
    """The task for who may see it, if there is anything to see."""
    return not_found() if task.state in HIDDEN else Done(view_of(task), fresh=False)


def _cancel(
    engine: Engine, shard: ShardState, task: TaskState, token: int, command: CancelTask
) -> None:
    if task.state is State.ABSENT:
        void_unknown(engine, shard, task, token, command)
    elif command.scope is CancelScope.UNKNOWN:
        if pinned(engine, shard, task, token, command):
            reply(engine, token, shown(task))
    elif task.state is State.PENDING or (task.state is State.CLAIMED and not task.sent):
        _write_cancelled(engine, shard, task, token, command)
    elif not pinned(engine, shard, task, token, command):
        return
    elif task.state is State.CLAIMED:
        _cancel_sent(engine, shard, task, token, command)
    else:
        reply(engine, token, _cancel_after_end(task))


def _cancel_after_end(task: TaskState) -> Outcome:
    if task.state in (State.CANCELLED, State.TERMINATED):
        return Done(view_of(task), fresh=False)
    if task.state in HIDDEN:
        return not_found()
    return has_ended(task)


def void_unknown(
    engine: Engine,
    shard: ShardState,
    task: TaskState,
    token: int,
    command: CancelTask | EndSchedule,
) -> None:
    """Nobody knows the id: a creation that is still under way must never win (rule R8)."""
    row = void_row(
        engine,
        shard,
        task.task_id,
        actor=command.actor,
        request_id=command.request_id,
        why="cancelled before it was created",
    )
    begin(engine, shard, task, row, token=token, then=_voided)


def _voided(engine: Engine, mutation: Mutation) -> None:
    task = mutation.task
    shard = engine.owned(task)
    if shard is not None:  # whoever would write a first event there must know
        creating.remember_void(shard, task.task_id)
    reply(engine, mutation.token, not_found())


def _write_cancelled(
    engine: Engine, shard: ShardState, task: TaskState, token: int, command: CancelTask
) -> None:
    kind = EventKind.TERMINATED if command.terminate else EventKind.CANCELLED
    row = following_event(
        engine,
        shard,
        task,
        kind,
        actor=command.actor,
        request_id=command.request_id,
        detail=NoteDetail(text=command.reason),
    )
    begin(engine, shard, task, row, token=token, then=_cancelled)


def _cancelled(engine: Engine, mutation: Mutation) -> None:
    engine.counters.cancelled += 1
    reply(engine, mutation.token, Done(view_of(mutation.task)))


def _cancel_sent(
    engine: Engine, shard: ShardState, task: TaskState, token: int, command: CancelTask
) -> None:
    """The run was sent: if it runs its handler is told, else its executor is asked (R14)."""
    run = task.run_id
    if run is None or task.started_ms is None or engine.reached(task) is None:
        revoking.ask(engine, shard, task, token, command)
        return
    if command.scope is CancelScope.WAITING:
        reply(engine, token, revoking.too_late(task))
        return
    fence = command.terminate
    order = CancelRun(run, shard.shard, shard.epoch, terminate=fence)
    engine.send(task.head.incarnation, order)
    if fence:
        placing.unsend(engine, task, over=False)
        revoking.go_on(task)  # nobody hears the executor's answer to them any more
        _write_cancelled(engine, shard, task, token, command)
    else:
        reply(engine, token, revoking.too_late(task))


def view_of(task: TaskState, *, with_journal: bool = True) -> TaskView:
    """The task as people see it, with what only the owner knows."""
    history = History(tuple(task.chain), task.not_accepted)
    heard = None if task.pulse is None else task.pulse.progress
    return task_view(history, task.started_ms, with_journal=with_journal, progress=heard)


def has_ended(task: TaskState) -> Rejected:
    """The work is over: nothing about it can be changed any more."""
    view = view_of(task)
    last = view.attempts[-1] if view.attempts else None
    story = ""
    if last is not None and last.started_ms is not None:
        story = f"attempt {last.number} started at {instant_text(last.started_ms)}, and "
    message = f"{story}the task has ended as {view.state}; nothing was changed"
    return Rejected(RejectionReason.TOO_LATE, message, view)


def not_found() -> Rejected:
    """There is no such thing for this caller."""
    return Rejected(RejectionReason.NOT_FOUND, "there is no such task in this namespace")
