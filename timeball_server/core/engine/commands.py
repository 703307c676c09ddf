"""Answering callers: create, cancel, read and follow a task.

Rules R8 (repetitions and unknown ids), R14 (cancelling what was sent), R17 (only events of the
own epoch are shown), R21 (below the watermark), R24 (the owner's now).
"""

from __future__ import annotations

from timeball_server.core.commands import (
    CancelTask,
    CreateSchedule,
    CreateTask,
    Done,
    EndSchedule,
    Outcome,
    Rejected,
    RejectionReason,
    WatchTask,
)
from timeball_server.core.engine import creating, placing, schedules, watching
from timeball_server.core.engine.effects import ReadTasks, Reply
from timeball_server.core.engine.firsts import void_row
from timeball_server.core.engine.pinning import pinned
from timeball_server.core.engine.state import (
    AnyCommand,
    Engine,
    Fate,
    Loading,
    Mutation,
    Phase,
    ScheduleCommand,
    ScheduleState,
    ShardState,
    TaskCommand,
    TaskState,
    memory_for,
)
from timeball_server.core.engine.writing import (
    begin,
    following_event,
    not_owned,
    reply,
    unknown,
)
from timeball_server.core.ids import SCHEDULES_MINUTE, Bucket, InvalidId, TaskId, decode_id
from timeball_server.core.journal import (
    EventKind,
    History,
    NoteDetail,
    State,
)
from timeball_server.core.messages import CancelRun, Revoke, RevokeAnswer, RevokeReply
from timeball_server.core.model import TaskView
from timeball_server.core.view import task_view

_HIDDEN = frozenset({State.ABSENT, State.VOID, State.DELETED})


def arrive(engine: Engine, token: int, command: AnyCommand) -> None:
    """Take a command in: wrong node, expired id, or to its task, which may have to be read."""
    home = _home(command)
    shard = engine.shards.get(home.shard) if home is not None else None
    if home is None or shard is None or shard.phase is Phase.RELEASING:
        engine.out.append(Reply(token, not_owned(home.shard if home else -1)))
    elif SCHEDULES_MINUTE < home.minute < shard.deleted_below:
        message = "the task's bucket was removed after its retention"
        reply(engine, token, Rejected(RejectionReason.EXPIRED, message))
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
    if task is None:
        task = read_into_memory(engine, shard, command.task_id)
        creating.remember(engine, shard, decode_id(command.task_id).unique, command.task_id)
    task.waiting.append((token, command))
    placing.free(engine, shard, task)


def read_into_memory(engine: Engine, shard: ShardState, task_id: TaskId) -> TaskState:
    """A placeholder that loads respect, and the read that fills it (rule R9)."""
    task = memory_for(task_id, shard.shard)
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
    elif isinstance(command, CancelTask):
        _cancel(engine, shard, task, token, command)
    elif task.state is State.ABSENT:
        reply(engine, token, not_found())
    elif isinstance(command, WatchTask):
        watching.follow(engine, shard, task, token, command)
    elif pinned(engine, shard, task, token, command):
        hidden = task.state in _HIDDEN
        reply(engine, token, not_found() if hidden else Done(view_of(task), fresh=False))


def _cancel(
    engine: Engine, shard: ShardState, task: TaskState, token: int, command: CancelTask
) -> None:
    if task.state is State.ABSENT:
        void_unknown(engine, shard, task, token, command)
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
    if task.state in _HIDDEN:
        return not_found()
    return Rejected(
        RejectionReason.TOO_LATE, "the task had already ended; nothing was changed", view_of(task)
    )


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
    if shard is not None:  # whoever writes a first event there must look again
        creating.remember(engine, shard, decode_id(task.task_id).unique, task.task_id)
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
    """The run was sent: only its executor can say whether it began (rule R14)."""
    executor = engine.executors.get(task.head.incarnation)
    if executor is None or not executor.stream_open:
        why = f"attempt {task.head.attempt} was sent to {task.head.executor}, which cannot be asked"
        reply(engine, token, unknown(why))
        return
    run = task.run_id
    if run is None:
        raise AssertionError("a claimed task has a run")
    incarnation = executor.facts.incarnation
    if task.started_ms is not None:
        fence = command.terminate
        engine.send(incarnation, CancelRun(run, shard.shard, shard.epoch, terminate=fence))
        if fence:
            placing.unsend(engine, task)
            _write_cancelled(engine, shard, task, token, command)
        else:
            reply(engine, token, _too_late(task))
        return
    task.revokes.append((token, command))
    if len(task.revokes) == 1:
        engine.send(incarnation, Revoke(run, shard.shard, shard.epoch))


def revoke_answered(engine: Engine, shard: ShardState, task: TaskState, said: RevokeReply) -> None:
    """The executor answered a REVOKE: not begun = cancelled, begun = too late."""
    if said.answer is RevokeAnswer.FINISHED:
        revokes_too_late(engine, task, said.started_ms)
        return
    asked, task.revokes = task.revokes, []
    if said.answer is RevokeAnswer.RUNNING:
        task.started_ms = said.started_ms or task.started_ms or engine.now_ms
    elif asked:
        placing.unsend(engine, task)
    else:
        task.results.append((task.head.incarnation, (said.run, Fate.UNSEEN)))
    task.waiting[:0] = asked
    placing.free(engine, shard, task)


def revokes_too_late(engine: Engine, task: TaskState, started_ms: int | None) -> None:
    """The run has ended before it could be revoked."""
    asked, task.revokes = task.revokes, []
    if asked:
        task.started_ms = started_ms or task.started_ms
    for token, _ in asked:
        reply(engine, token, _too_late(task))


def revokes_unanswered(engine: Engine, task: TaskState) -> None:
    """The stream broke before the executor answered: the cancellation is unknown, not written."""
    asked, task.revokes = task.revokes, []
    for token, _ in asked:
        why = f"{task.head.executor} did not say whether attempt {task.head.attempt} had begun"
        reply(engine, token, unknown(why))


def view_of(task: TaskState, *, with_journal: bool = True) -> TaskView:
    """The task as people see it, with what only the owner knows."""
    history = History(tuple(task.chain), task.not_accepted)
    return task_view(history, task.started_ms, with_journal=with_journal)


def _too_late(task: TaskState) -> Rejected:
    started = "" if task.started_ms is None else f" at {task.started_ms} ms"
    message = f"attempt {task.head.attempt} has started{started}; nothing was changed"
    return Rejected(RejectionReason.TOO_LATE, message, view_of(task))


def not_found() -> Rejected:
    """There is no such thing for this caller."""
    return Rejected(RejectionReason.NOT_FOUND, "there is no such task in this namespace")
