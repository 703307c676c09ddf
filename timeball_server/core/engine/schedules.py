"""Schedules: their ticks and the tasks they launch, all in one shard.

Rules S1 (a schedule and its occurrences share a shard), S2 (the next hint is durable before the
instant, the tick is one batch), S3 (the TICK event is the decision; a take-over looks at the
occurrence before it decides anew), S4 (what is not launched after a take-over is voided), S5
(next is strictly later), S6 (an end is an event of the one writer).
"""

from __future__ import annotations

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
from timeball_server.core.engine import commands, launching, placing
from timeball_server.core.engine.firsts import first_row
from timeball_server.core.engine.pinning import pinned
from timeball_server.core.engine.state import (
    Engine,
    Loading,
    Mutation,
    ScheduleCommand,
    ScheduleState,
    ShardState,
    TaskCommand,
    TaskState,
)
from timeball_server.core.engine.writing import (
    alarm_minute,
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
    if task is None and not command.resend and command.unique not in shard.recent:
        shard.recent[command.unique] = schedule_id
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
    elif detail is None or detail.spec != command.spec:
        message = "this request_id was used before for a different schedule"
        reply(engine, token, Rejected(RejectionReason.REQUEST_ID_REUSED, message))
    elif pinned(engine, shard, task, token, command):
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
    begin(engine, shard, task, row, hint=_hint(engine, shard, task, row), token=token, then=_shown)


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
        task.settled = True
        reply(engine, mutation.token, ScheduleDone(view_of(task)))


def decide(
    engine: Engine,
    shard: ShardState,
    task: ScheduleState,
    token: int,
    command: TaskCommand | ScheduleCommand,
) -> None:
    """Carry out a command on a schedule that nothing holds."""
    known = task.state in (State.ACTIVE, State.ENDED)
    if not known or not isinstance(command, ReadSchedule | EndSchedule):
        reply(engine, token, commands.not_found())
    elif isinstance(command, EndSchedule) and task.state is State.ACTIVE:
        row = _event(engine, shard, task, EventKind.SCHEDULE_ENDED, task.detail, command)
        begin(engine, shard, task, row, token=token, then=_shown)
    elif pinned(engine, shard, task, token, command):
        reply(engine, token, ScheduleDone(view_of(task), fresh=False))


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


def _hint(engine: Engine, shard: ShardState, task: ScheduleState, row: EventRow) -> DueRow | None:
    if row.alarm is None:
        return None
    minute = alarm_minute(engine, shard, task, row.alarm.due_ms)
    return due_row(shard, task, row, minute)


def settle(engine: Engine, shard: ShardState, task: ScheduleState) -> None:
    """A schedule of an earlier owner: see which occurrences it had written (rule S3)."""
    detail = task.detail
    if task.settled or detail is None or task.state is not State.ACTIVE:
        task.settled = True
        return
    task.asked = {launching.occurrence_id(task, task.due_ms)}
    if detail.launched and detail.nominal_ms is not None:
        task.asked.add(launching.occurrence_id(task, detail.nominal_ms))
    task.loading = Loading.UNRESOLVED
    for occurrence_id in sorted(task.asked):
        present = shard.tasks.get(occurrence_id)
        if present is not None and present.loading is not Loading.READING:
            _known(task, present)
            continue
        shard.asking.setdefault(occurrence_id, []).append(task)
        if present is None:
            commands.read_into_memory(engine, shard, occurrence_id)
    _settled_if_known(engine, shard, task)


def occurrence_read(engine: Engine, shard: ShardState, occurrence: TaskState) -> None:
    """A task was read from the store: schedules that asked whether it exists can go on."""
    for task in shard.asking.pop(occurrence.task_id, []):
        if engine.owned(task) is shard:
            _known(task, occurrence)
            _settled_if_known(engine, shard, task)
            placing.free(engine, shard, task)


def _known(task: ScheduleState, occurrence: TaskState) -> None:
    task.asked.discard(occurrence.task_id)
    if occurrence.state is not State.ABSENT or occurrence.pending is not None:
        task.existing.add(occurrence.task_id)


def _settled_if_known(engine: Engine, shard: ShardState, task: ScheduleState) -> None:
    if task.asked:
        return
    task.loading = Loading.PRESENT
    task.settled = True
    detail = task.detail
    if detail is None or not detail.launched or detail.nominal_ms is None:
        return
    if launching.occurrence_id(task, detail.nominal_ms) not in task.existing:
        launching.launch_again(engine, shard, task, detail.nominal_ms)


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


def _tick(engine: Engine, shard: ShardState, task: ScheduleState) -> None:
    """Decide the nominal time in hand, and those that were missed with it (rules S2, S4, S5)."""
    launch = launching.plan(engine, shard, task)
    detail = launch.detail
    spec = detail.spec
    following_ms = next_nominal_ms(spec, launch.last_ms)
    last = following_ms is None or (spec.max_runs > 0 and detail.runs >= spec.max_runs)
    kind = EventKind.LAST_TICK if last else EventKind.TICK
    row = _event(engine, shard, task, kind, detail, due_ms=None if last else following_ms)
    hint = _hint(engine, shard, task, row)
    if hint is not None:
        hint = replace(hint, priority=_PRIORITY_OF_HINTS, part=0)
    if row.alarm is not None and row.alarm == task.hinted:
        hint = None
    engine.counters.ticks += 1
    begin(
        engine,
        shard,
        task,
        row,
        hint=hint,
        then=launch.then,
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
