"""Schedules: creating, reading and ending them, all in one shard with the tasks they launch.

Rules S1 (a schedule and its occurrences share a shard), S6 (an end is an event of the one writer).
What users change of a living schedule is in `changing`, its ticks in `ticking`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import assert_never

from timeball_server.core.buckets import minute_of
from timeball_server.core.commands import (
    BackfillSchedule,
    ChangeSchedule,
    CreateSchedule,
    EndSchedule,
    PauseSchedule,
    ReadSchedule,
    Rejected,
    RejectionReason,
    ResumeSchedule,
    ScheduleDone,
    StopBackfill,
    TriggerSchedule,
    UpdateSchedule,
)
from timeball_server.core.engine import (
    backfilling,
    changing,
    commands,
    creating,
    launching,
    placing,
    repeating,
    ticking,
    triggering,
)
from timeball_server.core.engine.firsts import first_row
from timeball_server.core.engine.pinning import answer, pinned, refuse
from timeball_server.core.engine.state import (
    AnyCommand,
    Engine,
    Mutation,
    ScheduleCommand,
    ScheduleState,
    ShardState,
    TaskCommand,
    TaskState,
)
from timeball_server.core.engine.writing import begin, due_row, reply, scan_floor
from timeball_server.core.ids import (
    KIND_SCHEDULE,
    Bucket,
    IdParts,
    encode_id,
)
from timeball_server.core.journal import (
    LISTED_SCHEDULE,
    NO_EPOCH,
    DueRow,
    EventKind,
    EventRow,
    ScheduleDetail,
    State,
    StateListRow,
    VersionRow,
)
from timeball_server.core.model import ScheduleView
from timeball_server.core.schedule_view import schedule_view
from timeball_server.core.schedules.problems import SpecProblem


def arrive(engine: Engine, shard: ShardState, token: int, command: CreateSchedule) -> None:
    """A creation: fresh, or one that may have been sent before, or of a name that may be taken."""
    home = Bucket(command.minute, command.shard, command.part)
    schedule_id = encode_id(IdParts(home, command.unique, KIND_SCHEDULE))
    task = shard.tasks.get(schedule_id)
    known = command.unique in shard.recent or command.unique in shard.voided
    repeated = command.resend or known or bool(command.spec.name)
    if task is None and not repeated and not creating.may_be_late(engine, shard, command):
        task = ScheduleState(schedule_id, shard.shard)
        shard.tasks[schedule_id] = task
    elif task is None:
        task = commands.read_into_memory(engine, shard, schedule_id)
    creating.remember(engine, shard, command.unique, schedule_id)
    task.waiting.append((token, command))
    placing.free(engine, shard, task)


def answer_again(
    engine: Engine, shard: ShardState, task: TaskState, token: int, command: CreateSchedule
) -> None:
    """Create the schedule, or answer as the first time if it exists."""
    if not isinstance(task, ScheduleState):
        raise AssertionError("a schedule's id names a schedule")
    detail = task.detail
    known = detail is not None and command.request_id in detail.requests
    free_again = bool(command.spec.name) and task.state in (State.VOID, State.ENDED) and not known
    if _told_before(engine, shard, task, token, command):
        return
    if task.state is State.ABSENT or free_again:
        create(engine, shard, task, token, command)
    elif not pinned(engine, shard, task, token, command):
        return
    elif detail is None:
        message = "the schedule was ended before this creation arrived"
        refuse(engine, shard, task, token, command, Rejected(RejectionReason.VOIDED, message))
    elif command.spec.name and not known:
        message = f"there is a schedule {command.spec.name} already; update it, or choose a name"
        refuse(engine, shard, task, token, command, Rejected(RejectionReason.VOIDED, message))
    elif detail.spec != command.spec and not (known and detail.version > 1):
        message = "this request_id was used before for a different schedule"
        rejected = Rejected(RejectionReason.REQUEST_ID_REUSED, message)
        refuse(engine, shard, task, token, command, rejected)
    else:
        reply(engine, token, ScheduleDone(view_of(task), fresh=False))


def create(
    engine: Engine,
    shard: ShardState,
    task: ScheduleState,
    token: int,
    command: CreateSchedule | UpdateSchedule,
) -> None:
    """Write the first event, or the first one after an end; the version's row goes before it."""
    try:
        detail = _new_detail(engine, shard, task, command)
        message = "the schedule would never fire: it has no nominal time after now"
    except SpecProblem as problem:
        detail, message = None, str(problem)
    if detail is None:
        rejected = Rejected(RejectionReason.HORIZON, message)
        refuse(engine, shard, task, token, command, rejected)
        return
    task.spec = command.spec.task
    ahead = (version_row(shard, task, detail, command.actor), _listing(task, detail))

    def go_on() -> None:
        _append_first(engine, shard, task, token, command, detail)

    ticking.after(engine, shard, task, ahead, go_on, token)


def _new_detail(
    engine: Engine,
    shard: ShardState,
    task: ScheduleState,
    command: CreateSchedule | UpdateSchedule,
) -> ScheduleDetail | None:
    """What the first event says; None = it would never fire.

    A name's versions go on counting, and requests of before are known: copies may still arrive.
    """
    now_ms, before = engine.now_ms, task.detail
    known = () if before is None else before.requests
    last_ms = now_ms if before is None else launching.named_until_ms(engine, before)
    detail = ScheduleDetail(
        spec=command.spec,
        hand_epoch=shard.epoch,
        seen_epoch=shard.epoch,
        version=1 if before is None else before.version + 1,
        version_after_ms=last_ms,
        updated_ms=now_ms,
        requests=(command.request_id, *known)[: changing.MOST_REQUESTS],
    )
    next_ms = launching.following_ms(engine, task, detail.spec, last_ms, taken=0, launched=False)
    return None if next_ms is None else replace(detail, next_ms=next_ms)


def _append_first(
    engine: Engine,
    shard: ShardState,
    task: ScheduleState,
    token: int,
    command: CreateSchedule | UpdateSchedule,
    detail: ScheduleDetail,
) -> None:
    if task.chain:
        kind = EventKind.SCHEDULE_CREATED
        append_asked(engine, shard, task, token, command, detail, kind)
        return
    row = first_row(
        engine,
        shard,
        task.task_id,
        EventKind.SCHEDULE_CREATED,
        due_ms=ticking.alarm_ms(engine, detail),
        priority=command.spec.task.priority,
        actor=command.actor,
        request_id=command.request_id,
        detail=detail,
    )
    begin(engine, shard, task, row, hint=_first_hint(shard, task, row), token=token, then=_shown)


def _first_hint(shard: ShardState, task: ScheduleState, row: EventRow) -> DueRow:
    if row.alarm is None:
        raise AssertionError("a new schedule has an alarm")
    return due_row(shard, task, row, max(minute_of(row.alarm.due_ms), scan_floor(shard)))


def version_row(
    shard: ShardState, task: ScheduleState, detail: ScheduleDetail, actor: str
) -> VersionRow:
    """What a version says, for whoever computes again what should have happened."""
    return VersionRow(
        schedule_id=task.task_id,
        version=detail.version,
        epoch=shard.epoch,
        after_ms=detail.version_after_ms,
        actor=actor,
        detail=ScheduleDetail(spec=detail.spec),
    )


def _listing(task: ScheduleState, detail: ScheduleDetail) -> StateListRow:
    """The schedule's line in its namespace: the same whoever writes it."""
    return StateListRow(
        namespace=detail.spec.task.namespace,
        state=LISTED_SCHEDULE,
        at_ms=0,
        task_id=task.task_id,
        epoch=NO_EPOCH,
    )


def append_asked(
    engine: Engine,
    shard: ShardState,
    task: ScheduleState,
    token: int,
    command: CreateSchedule | ChangeSchedule | EndSchedule,
    detail: ScheduleDetail,
    kind: EventKind,
) -> None:
    """Append the event that a caller asked for; it launches nothing."""
    ticking.append(
        engine,
        shard,
        task,
        launching.only(detail),
        kind=kind,
        actor=command.actor,
        request_id=command.request_id,
        token=token,
        then=_shown,
    )


def _shown(engine: Engine, mutation: Mutation) -> None:
    """The event is durable: the caller sees the schedule."""
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
    """Carry out a command on a schedule that nothing holds.

    The coordinator has checked what callers wish; zone data may differ from node to node for all
    that, so what cannot be evaluated here is refused.
    """
    if _told_before(engine, shard, task, token, command):
        return
    try:
        _decide(engine, shard, task, token, command)
    except SpecProblem as problem:
        rejected = Rejected(RejectionReason.HORIZON, str(problem))
        refuse(engine, shard, task, token, command, rejected)


def _told_before(
    engine: Engine,
    shard: ShardState,
    task: ScheduleState,
    token: int,
    command: AnyCommand,
) -> bool:
    """Tell a request that left no event once more what it was told; False = nothing is known."""
    if not isinstance(command, CreateSchedule | EndSchedule | ChangeSchedule):
        return False
    key = (task.task_id, command.request_id)
    if key not in shard.told:
        return False
    outcome = shard.told[key] or _answer(task, ReadSchedule(task_id=key[0], namespace=""))
    if task.chain:
        answer(engine, shard, task, token, command, outcome)
    else:
        reply(engine, token, outcome)
    return True


def _decide(
    engine: Engine,
    shard: ShardState,
    task: ScheduleState,
    token: int,
    command: TaskCommand | ScheduleCommand,
) -> None:
    active = task.state is State.ACTIVE
    if isinstance(command, UpdateSchedule) and command.allow_missing and not active:
        _update_missing(engine, shard, task, token, command)
    elif task.state is State.ABSENT and isinstance(command, EndSchedule):
        repeating.note(shard, task.task_id, command, commands.not_found())
        commands.void_unknown(engine, shard, task, token, command)
    elif task.state is State.ABSENT:
        refuse(engine, shard, task, token, command, commands.not_found())
    elif active and isinstance(command, EndSchedule | ChangeSchedule):
        _change(engine, shard, task, token, command)
    elif task.state is State.ENDED and isinstance(command, TriggerSchedule):
        triggering.trigger(engine, shard, task, token, command)
    else:
        answer(engine, shard, task, token, command, _answer(task, command))


def _answer(task: ScheduleState, command: TaskCommand | ScheduleCommand) -> ScheduleDone | Rejected:
    """What is said of a schedule that is only looked at, or that has ended."""
    if task.state is State.VOID or isinstance(command, TaskCommand):
        return commands.not_found()
    if isinstance(command, ReadSchedule | EndSchedule):
        return ScheduleDone(view_of(task), fresh=False)
    if task.detail is not None and command.request_id in task.detail.requests:
        return ScheduleDone(view_of(task), fresh=False)
    return has_ended()


def has_ended() -> Rejected:
    """The refusal of whatever would change a schedule that has ended."""
    return Rejected(RejectionReason.PRECONDITION, "the schedule has ended; nothing was changed")


def _update_missing(
    engine: Engine,
    shard: ShardState,
    task: ScheduleState,
    token: int,
    command: UpdateSchedule,
) -> None:
    """An update of what is not there creates it; one that ended is there, unless it is named."""
    detail = task.detail
    if detail is not None and command.request_id in detail.requests:
        answer(engine, shard, task, token, command, ScheduleDone(view_of(task), fresh=False))
    else:
        create(engine, shard, task, token, command)


def view_of(task: ScheduleState) -> ScheduleView:
    """The schedule as people see it, with what only its owner knows: which runs have ended."""
    detail = task.detail
    view = None if detail is None else schedule_view(replace(task.head, detail=detail))
    if view is None:
        raise AssertionError("a schedule's head tells everything")
    return replace(view, open=tuple(run for run in view.open if run not in task.ended))


def _change(
    engine: Engine,
    shard: ShardState,
    task: ScheduleState,
    token: int,
    command: EndSchedule | ChangeSchedule,
) -> None:
    """What is done with a schedule that lives."""
    match command:
        case EndSchedule():
            changing.end(engine, shard, task, token, command)
        case UpdateSchedule():
            changing.update(engine, shard, task, token, command)
        case PauseSchedule():
            changing.pause(engine, shard, task, token, command)
        case ResumeSchedule():
            changing.resume(engine, shard, task, token, command)
        case TriggerSchedule():
            triggering.trigger(engine, shard, task, token, command)
        case BackfillSchedule():
            backfilling.begin(engine, shard, task, token, command)
        case StopBackfill():
            backfilling.stop(engine, shard, task, token, command)
        case _:
            assert_never(command)
