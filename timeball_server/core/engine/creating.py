"""Creating tasks: the first event and its hint in one mutation, and repetitions recognised.

Rules R8 (a first send needs no read, every repetition costs one), R9 (an acknowledged task whose
slice was already read enters memory at once), R22 (homes below scan_from), R24 (the owner's now).
"""

from __future__ import annotations

from collections.abc import Sequence

from timeball_server.core.commands import (
    CreateSchedule,
    CreateTask,
    Done,
    Rejected,
    RejectionReason,
    TriggerSchedule,
)
from timeball_server.core.engine import commands, dispatching, placing
from timeball_server.core.engine.effects import FindTask
from timeball_server.core.engine.firsts import first_row
from timeball_server.core.engine.pinning import pinned
from timeball_server.core.engine.state import Engine, ExecutorState, Mutation, ShardState, TaskState
from timeball_server.core.engine.writing import (
    alarm_minute,
    begin,
    due_row,
    reply,
)
from timeball_server.core.ids import (
    Bucket,
    IdParts,
    TaskId,
    decode_id,
    encode_id,
    request_time_ms,
)
from timeball_server.core.journal import (
    EventKind,
    EventRow,
    SpecDetail,
    State,
)

_ROW_BYTES = 400
_HOT = 1_000
"""Rows from which on it is worth while to go on counting."""
_MOST_VOIDED = 20_000
_REMEMBERED_MS = 70_000
"""So far back the memory of recent creations goes, up to 140 of them a second in a shard."""


def arrive(engine: Engine, shard: ShardState, token: int, command: CreateTask) -> None:
    """A creation: fresh, or one that may have been sent before."""
    known = shard.recent.get(command.unique) or shard.voided.get(command.unique)
    task = shard.tasks.get(known) if known is not None else None
    if task is not None:
        task.waiting.append((token, command))
        placing.free(engine, shard, task)
    elif command.unique in shard.finding:
        shard.finding[command.unique].append((token, command))
    elif command.resend or known is not None or may_be_late(engine, shard, command):
        shard.finding[command.unique] = [(token, command)]
        home = Bucket(command.minute, command.shard)
        engine.out.append(FindTask(shard.shard, shard.epoch, home, command.unique))
    else:
        _create(engine, shard, token, command)


def may_be_late(
    engine: Engine, shard: ShardState, command: CreateTask | CreateSchedule | TriggerSchedule
) -> bool:
    """Whether this first send may have been overtaken by its repetition in an earlier epoch (R8).

    It may have waited in a network or a frozen coordinator while its caller repeated it, marked,
    and an earlier owner carried that out. Or its caller uses a key of long ago again. Only what was
    made after our epoch began, and not long ago, is surely fresh; its own time stamp says when that
    was, by a clock that may be ahead of ours. A request without a stamp may be of any age.
    """
    made_ms = request_time_ms(command.unique)
    since_ms = max(shard.acquired_ms, engine.now_ms - _REMEMBERED_MS)
    return made_ms is None or made_ms < since_ms + engine.config.trusted_skew_ms


def found(engine: Engine, shard: ShardState, unique: bytes, rows: Sequence[EventRow]) -> None:
    """What the store knows of a repeated creation: nothing, or the task itself."""
    waiting = shard.finding.pop(unique, [])
    task = _found_task(engine, shard, unique, rows) if waiting else None
    shard.read_ended()
    if task is not None:
        task.waiting += waiting
        placing.free(engine, shard, task)
    elif waiting:
        _create(engine, shard, *waiting[0])
        for later in waiting[1:]:
            arrive(engine, shard, *later)


def _found_task(
    engine: Engine, shard: ShardState, unique: bytes, rows: Sequence[EventRow]
) -> TaskState | None:
    """The task in memory, read again if it was touched since the search began (rule R9)."""
    task_id = rows[0].task_id if rows else shard.recent.get(unique)
    if task_id is None:
        return None
    remember(engine, shard, unique, task_id)
    task = shard.tasks.get(task_id)
    if task is None and task_id in shard.touched:
        task = commands.read_into_memory(engine, shard, task_id)
    elif task is None and rows:
        task = TaskState(task_id, shard.shard)
        shard.tasks[task_id] = task
        placing.fill(engine, shard, task, rows)
    return task


def answer_again(
    engine: Engine, shard: ShardState, task: TaskState, token: int, command: CreateTask
) -> None:
    """A creation whose task exists: confirmed in our epoch, then the same answer (R8, R17)."""
    if task.state is State.ABSENT:
        _create(engine, shard, token, command, task)
    elif not pinned(engine, shard, task, token, command):
        return
    elif task.state in (State.VOID, State.DELETED):
        message = "the task was cancelled before this creation arrived, or deleted since"
        reply(engine, token, Rejected(RejectionReason.VOIDED, message))
    elif not _same_request(task, command):
        message = "this request_id was used before for a different task"
        reply(engine, token, Rejected(RejectionReason.REQUEST_ID_REUSED, message))
    else:
        reply(engine, token, Done(commands.view_of(task, with_journal=False), fresh=False))


def _same_request(task: TaskState, command: CreateTask) -> bool:
    first = task.chain[0]
    created = first.detail.spec if isinstance(first.detail, SpecDetail) else None
    same_due = command.due_ms is None or first.alarm is None or first.alarm.due_ms == command.due_ms
    return created == command.spec and same_due


def _create(
    engine: Engine,
    shard: ShardState,
    token: int,
    command: CreateTask,
    task: TaskState | None = None,
) -> None:
    """Write the first event; `task` is the placeholder of an id that was asked for before."""
    now_ms = engine.now_ms
    due_ms = now_ms + command.delay_ms if command.due_ms is None else command.due_ms
    if max(due_ms, command.minute * 60_000) > now_ms + engine.config.horizon_ms:
        message = "the due time lies too far ahead; the horizon is five years"
        reply(engine, token, Rejected(RejectionReason.HORIZON, message))
        return
    task = task or _new_task(engine, shard, command)
    task.spec = command.spec
    task.effective_priority = command.spec.priority
    executor = None
    if due_ms <= now_ms and not engine.suspended:
        executor = dispatching.choose_now(engine, task, due_ms)
    row = first_event(
        engine,
        shard,
        task,
        due_ms,
        executor,
        actor=command.actor,
        request_id=command.request_id,
    )
    hint = due_row(shard, task, row, alarm_minute(engine, shard, task, due_ms))
    engine.counters.created += 1
    begin(engine, shard, task, row, hint=hint, token=token, then=_created, reserved=executor)


def _new_task(engine: Engine, shard: ShardState, command: CreateTask) -> TaskState:
    size = _ROW_BYTES + len(command.spec.payload.data)
    part = _part_for(engine, shard, command.minute, size)
    home = Bucket(command.minute, command.shard, part)
    task_id = encode_id(IdParts(home, command.unique))
    task = TaskState(task_id, shard.shard)
    shard.tasks[task_id] = task
    remember(engine, shard, command.unique, task_id)
    return task


def _part_for(engine: Engine, shard: ShardState, minute: int, size_bytes: int) -> int:
    """The open part of a bucket; the next one when it is full, so parts follow without gaps."""
    counts = shard.parts.setdefault(minute, [0, 0, 0])
    if len(shard.parts) > engine.config.counted_minutes:
        _forget_counts(engine, shard, minute)
    if counts[1] >= engine.config.part_rows or counts[2] + size_bytes > engine.config.part_bytes:
        counts[:] = [counts[0] + (counts[1] > 0), 0, 0]
    counts[1] += 1
    counts[2] += size_bytes
    return counts[0]


def _forget_counts(engine: Engine, shard: ShardState, minute: int) -> None:
    """Memory does not grow with the minutes that tasks are stored for.

    Buckets that hold little are forgotten, and counted from the first part on again.
    """
    hot = {each: counts for each, counts in shard.parts.items() if counts[0] or counts[1] > _HOT}
    kept = dict(list(hot.items())[-engine.config.counted_minutes // 2 :])
    shard.parts = {**kept, minute: shard.parts[minute]}


def remember(engine: Engine, shard: ShardState, unique: bytes, task_id: TaskId) -> None:
    """The next creation of this unique number is not a fresh one, whatever its sender thinks."""
    shard.recent[unique] = task_id
    if len(shard.recent) > engine.config.recent_creations:
        del shard.recent[next(iter(shard.recent))]


def remember_void(shard: ShardState, task_id: TaskId) -> None:
    """Nothing may ever be created here: known for long, however much is created meanwhile."""
    shard.voided[decode_id(task_id).unique] = task_id
    if len(shard.voided) > _MOST_VOIDED:
        del shard.voided[next(iter(shard.voided))]


def forgets_voids(shard: ShardState) -> bool:
    """Whether there were so many voids that one may be forgotten: then runs are looked for."""
    return len(shard.voided) >= _MOST_VOIDED


def first_event(
    engine: Engine,
    shard: ShardState,
    task: TaskState,
    due_ms: int,
    executor: ExecutorState | None,
    *,
    actor: str,
    request_id: str,
) -> EventRow:
    """CREATED, or BORN_CLAIMED for an executor that can start it at once."""
    kind = EventKind.CREATED if executor is None else EventKind.BORN_CLAIMED
    return first_row(
        engine,
        shard,
        task.task_id,
        kind,
        due_ms=due_ms,
        priority=task.spec.priority,
        actor=actor,
        request_id=request_id,
        detail=SpecDetail(spec=task.spec),
        executor=None if executor is None else executor.facts,
    )


def _created(engine: Engine, mutation: Mutation) -> None:
    task = mutation.task
    reply(engine, mutation.token, Done(commands.view_of(task, with_journal=False)))
    if mutation.reserved is not None:
        dispatching.hand_out(engine, task, mutation.reserved)
