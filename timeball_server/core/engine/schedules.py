"""Schedules: their ticks and the tasks they launch, all in one shard.

Rules S1 (a schedule and its occurrences share a shard), S2 (the next hint is durable before the
instant, the tick is one batch), S3 (the TICK event is the decision; a take-over looks at the
occurrence before it decides anew), S4 (what is not launched after a take-over is voided), S5
(next is strictly later), S6 (an end is an event of the one writer).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Final

from timeball_server.core.buckets import minute_of
from timeball_server.core.commands import (
    CreateSchedule,
    EndSchedule,
    ReadSchedule,
    Rejected,
    RejectionReason,
    ScheduleDone,
)
from timeball_server.core.engine import commands, creating, launching, occurrences, placing
from timeball_server.core.engine.firsts import first_row
from timeball_server.core.engine.pinning import pinned
from timeball_server.core.engine.state import (
    Engine,
    Loading,
    Mutation,
    ScheduleCommand,
    ScheduleState,
    ShardState,
    Standing,
    TaskCommand,
    TaskState,
)
from timeball_server.core.engine.writing import (
    begin,
    due_row,
    following_event,
    reply,
    scan_floor,
    write_rows,
)
from timeball_server.core.ids import (
    KIND_SCHEDULE,
    Bucket,
    IdParts,
    encode_id,
)
from timeball_server.core.intervals import next_nominal_ms
from timeball_server.core.journal import (
    Alarm,
    DueRow,
    EventKind,
    EventRow,
    Row,
    ScheduleDetail,
    State,
)
from timeball_server.core.model import ScheduleView

_PRIORITY_OF_HINTS: Final = 9


def arrive(engine: Engine, shard: ShardState, token: int, command: CreateSchedule) -> None:
    """A creation: fresh, or one that may have been sent before."""
    home = Bucket(command.minute, command.shard)
    schedule_id = encode_id(IdParts(home, command.unique, KIND_SCHEDULE))
    task = shard.tasks.get(schedule_id)
    repeated = command.resend or command.unique in shard.recent
    if task is None and not repeated and not creating.may_be_late(engine, shard, command):
        creating.remember(engine, shard, command.unique, schedule_id)
        task = ScheduleState(schedule_id, shard.shard)
        shard.tasks[schedule_id] = task
    elif task is None:
        task = commands.read_into_memory(engine, shard, schedule_id)
    task.waiting.append((token, command))
    placing.free(engine, shard, task)


def answer_again(
    engine: Engine, shard: ShardState, task: TaskState, token: int, command: CreateSchedule
) -> None:
    """Create the schedule, or answer as the first time if it exists."""
    if not isinstance(task, ScheduleState):
        raise AssertionError("a schedule's id names a schedule")
    detail = task.detail
    if task.state is State.ABSENT:
        _create(engine, shard, task, token, command)
    elif not pinned(engine, shard, task, token, command):
        return
    elif detail is None:
        message = "the schedule was ended before this creation arrived"
        reply(engine, token, Rejected(RejectionReason.VOIDED, message))
    elif detail.spec != command.spec:
        message = "this request_id was used before for a different schedule"
        reply(engine, token, Rejected(RejectionReason.REQUEST_ID_REUSED, message))
    else:
        reply(engine, token, ScheduleDone(view_of(task), fresh=False))


def _create(
    engine: Engine, shard: ShardState, task: ScheduleState, token: int, command: CreateSchedule
) -> None:
    first_ms = next_nominal_ms(command.spec, engine.now_ms)
    if first_ms is None:
        message = "the schedule would never fire: its end lies before its first nominal time"
        reply(engine, token, Rejected(RejectionReason.HORIZON, message))
        return
    task.spec = command.spec.task
    row = _first_event(engine, shard, task, command, first_ms)
    begin(engine, shard, task, row, hint=_hint(shard, task, row), token=token, then=_shown)


def _first_event(
    engine: Engine, shard: ShardState, task: ScheduleState, command: CreateSchedule, first_ms: int
) -> EventRow:
    return first_row(
        engine,
        shard,
        task.task_id,
        EventKind.SCHEDULE_CREATED,
        due_ms=first_ms,
        priority=command.spec.task.priority,
        actor=command.actor,
        request_id=command.request_id,
        detail=ScheduleDetail(spec=command.spec),
    )


def _shown(engine: Engine, mutation: Mutation) -> None:
    task = mutation.task
    if isinstance(task, ScheduleState):
        reply(engine, mutation.token, ScheduleDone(view_of(task)))


def decide(
    engine: Engine,
    shard: ShardState,
    task: ScheduleState,
    token: int,
    command: TaskCommand | ScheduleCommand,
) -> None:
    """Carry out a command on a schedule that nothing holds."""
    if not isinstance(command, ReadSchedule | EndSchedule):
        reply(engine, token, commands.not_found())
    elif task.state is State.ABSENT and isinstance(command, EndSchedule):
        commands.void_unknown(engine, shard, task, token, command)
    elif task.state is State.ABSENT:
        reply(engine, token, commands.not_found())
    elif task.state is State.ACTIVE and isinstance(command, EndSchedule):
        _end(engine, shard, task, token, command)
    elif pinned(engine, shard, task, token, command):
        hidden = task.state is State.VOID
        shown = commands.not_found() if hidden else ScheduleDone(view_of(task), fresh=False)
        reply(engine, token, shown)


def _end(
    engine: Engine, shard: ShardState, task: ScheduleState, token: int, command: EndSchedule
) -> None:
    """Nothing is launched after the answer, and what is due by now gets its verdict (rule S6)."""
    standing = _standing(engine, shard, task)
    if standing is Standing.UNKNOWN:
        task.waiting.insert(0, (token, command))
        return
    launch = launching.plan_end(engine, shard, task, standing)
    if launch is None:
        task.waiting.insert(0, (token, command))
        _fence_first(engine, shard, task)
        return
    detail = launch.detail

    def append() -> None:
        row = _event(engine, shard, task, EventKind.SCHEDULE_ENDED, detail, command)
        begin(engine, shard, task, row, token=token, then=_shown)

    _after(engine, shard, task, launch.ahead, append, token)


def _event(
    engine: Engine,
    shard: ShardState,
    task: ScheduleState,
    kind: EventKind,
    detail: ScheduleDetail | None,
    command: EndSchedule | None = None,
    due_ms: int | None = None,
) -> EventRow:
    return following_event(
        engine,
        shard,
        task,
        kind,
        actor=command.actor if command else engine.node,
        request_id=command.request_id if command else "",
        due_ms=due_ms,
        detail=detail,
    )


def _hint(shard: ShardState, task: ScheduleState, row: EventRow) -> DueRow | None:
    """The hint of the next tick, in the bucket of its time: that is where scans look for it."""
    if row.alarm is None:
        return None
    return due_row(shard, task, row, max(minute_of(row.alarm.due_ms), scan_floor(shard)))


def act(engine: Engine, shard: ShardState, task: ScheduleState) -> None:
    """A schedule's time has come: hint ahead in the last second, decide at the instant."""
    if task.due_ms <= engine.now_ms:
        _tick(engine, shard, task)
        return
    engine.at(task, task.due_ms)
    detail = task.detail
    following_ms = None if detail is None else next_nominal_ms(detail.spec, task.due_ms)
    alarm = Alarm(following_ms or 0, task.head.seq + 1, shard.epoch)
    if following_ms is None or task.hinted == alarm:
        return

    def hinted(engine: Engine, mutation: Mutation) -> None:
        task.hinted = alarm

    hint = DueRow(
        minute=max(minute_of(following_ms), scan_floor(shard)),
        part=0,
        due_ms=following_ms,
        task_id=task.task_id,
        seq=alarm.seq,
        epoch=alarm.epoch,
        handler=task.spec.handler,
        priority=_PRIORITY_OF_HINTS,
    )
    write_rows(engine, shard, task, (hint,), hinted)


def _standing(engine: Engine, shard: ShardState, task: ScheduleState) -> Standing:
    """What stands in the place of the run in hand; UNKNOWN = the schedule is held to look."""
    standing = occurrences.standing(shard, task)
    if standing is Standing.UNKNOWN:
        run = occurrences.occurrence_id(task, task.due_ms)
        occurrences.look_for(engine, shard, task, (run,))
    return standing


def _fence_first(engine: Engine, shard: ShardState, task: ScheduleState) -> None:
    """Nothing is decided before the fence is durable; then all is looked at again (rule S4)."""
    run = occurrences.occurrence_id(task, task.due_ms)
    task.loading = Loading.UNRESOLVED

    def fenced(engine: Engine, mutation: Mutation) -> None:
        task.known[run] = Standing.FENCED
        task.loading = Loading.PRESENT
        placing.free(engine, shard, task)

    occurrences.fence(engine, shard, task, fenced)


def _tick(engine: Engine, shard: ShardState, task: ScheduleState) -> None:
    """Decide the nominal time in hand, and those that were missed with it (rules S2, S4, S5)."""
    standing = _standing(engine, shard, task)
    if standing is Standing.UNKNOWN:
        return
    launch = launching.plan(engine, shard, task, standing)
    if launch is None:
        _fence_first(engine, shard, task)
        return
    engine.counters.ticks += 1
    _after(engine, shard, task, launch.ahead, lambda: _append_tick(engine, shard, task, launch))


def _after(
    engine: Engine,
    shard: ShardState,
    task: ScheduleState,
    ahead: tuple[Row, ...],
    append: Callable[[], None],
    token: int | None = None,
) -> None:
    """Append an event once the rows ahead of it are durable; the schedule is held until then."""
    if not ahead:
        append()
        return
    task.loading = Loading.UNRESOLVED

    def durable(engine: Engine, mutation: Mutation) -> None:
        task.loading = Loading.PRESENT
        append()

    write_rows(engine, shard, task, ahead, durable, token=token)


def _append_tick(
    engine: Engine, shard: ShardState, task: ScheduleState, launch: launching.Launch
) -> None:
    detail = launch.detail
    spec = detail.spec
    following_ms = next_nominal_ms(spec, launch.last_ms)
    last = following_ms is None or (spec.max_runs > 0 and detail.runs >= spec.max_runs)
    kind = EventKind.LAST_TICK if last else EventKind.TICK
    row = _event(engine, shard, task, kind, detail, due_ms=None if last else following_ms)
    hint = _hint(shard, task, row)
    if hint is not None:
        hint = replace(hint, priority=_PRIORITY_OF_HINTS, part=0)
    minute = task.alarm_minute if hint is None else hint.minute
    if row.alarm is not None and row.alarm == task.hinted:
        hint = None

    def decided(engine: Engine, mutation: Mutation) -> None:
        task.alarm_minute = minute
        launch.then(engine, mutation)

    begin(
        engine,
        shard,
        task,
        row,
        hint=hint,
        then=decided,
        reserved=launch.executor,
        also=launch.rows,
    )


def view_of(task: ScheduleState) -> ScheduleView:
    """The schedule as people see it."""
    detail, head = task.detail, task.head
    if detail is None:
        raise AssertionError("a schedule's head tells everything")
    return ScheduleView(
        schedule_id=task.task_id,
        spec=detail.spec,
        next_ms=head.alarm.due_ms if head.alarm else None,
        runs=detail.runs,
        created_ms=head.created_ms,
        revision=head.revision,
        ended=head.state is State.ENDED,
        recent=detail.recent,
    )
