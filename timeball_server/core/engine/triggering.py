"""Launching a run by hand: beside the calendar, with an id that follows from the request.

Rules R8 (a repetition looks for the run), S1 (it lives in the schedule's shard), S2 (it is handed
out when the schedule's event and its own first one are durable).
"""

from __future__ import annotations

from dataclasses import replace

from timeball_server.core.commands import (
    Rejected,
    RejectionReason,
    ScheduleDone,
    TriggerSchedule,
)
from timeball_server.core.engine import creating, launching, occurrences, schedules, ticking
from timeball_server.core.engine.pinning import answer
from timeball_server.core.engine.reading import Standing
from timeball_server.core.engine.state import (
    Engine,
    Mutation,
    ScheduleState,
    ShardState,
)
from timeball_server.core.engine.writing import reply
from timeball_server.core.ids import Bucket, IdParts, TaskId, encode_id
from timeball_server.core.journal import EventKind, State


def trigger(
    engine: Engine, shard: ShardState, task: ScheduleState, token: int, command: TriggerSchedule
) -> None:
    """Launch the run that the request names, unless it is there, or the schedule has ended."""
    if shard.has_expired(command.minute):
        message = "the run's bucket was removed after its retention"
        answer(engine, shard, task, token, command, Rejected(RejectionReason.EXPIRED, message))
        return
    run = encode_id(IdParts(Bucket(command.minute, task.shard), command.unique))
    standing = _standing(engine, shard, task, run, command)
    if standing is Standing.UNKNOWN:
        task.waiting.insert(0, (token, replace(command, resend=True)))
        occurrences.look_for(engine, shard, task, (run,))
    elif standing is Standing.ABSENT and task.state is State.ENDED:
        answer(engine, shard, task, token, command, schedules.has_ended())
    elif standing is Standing.ABSENT:
        _launch(engine, shard, task, token, command, run)
    else:
        # Whoever looked has forgotten it: a first send may still be on its way, and reads nothing.
        creating.remember(engine, shard, command.unique, run)
        answer(engine, shard, task, token, command, _again(task, run, standing))


def _standing(
    engine: Engine, shard: ShardState, task: ScheduleState, run: TaskId, command: TriggerSchedule
) -> Standing:
    """What stands in the run's place; a first send reads nothing (rule R8)."""
    if run in task.known:
        return occurrences.standing(shard, task, run)
    if command.resend or creating.may_be_late(engine, shard, command):
        return Standing.UNKNOWN
    return occurrences.standing(shard, task, run)


def _again(task: ScheduleState, run: TaskId, standing: Standing) -> ScheduleDone | Rejected:
    if standing is Standing.EXISTS:
        return ScheduleDone(replace(schedules.view_of(task), run=run), fresh=False)
    message = "the run was cancelled before it was launched"
    return Rejected(RejectionReason.VOIDED, message)


def _launch(
    engine: Engine,
    shard: ShardState,
    task: ScheduleState,
    token: int,
    command: TriggerSchedule,
    run: TaskId,
) -> None:
    now_ms = engine.now_ms
    detail = launching.with_run(shard, task, run, now_ms, now_ms)
    launch = launching.started(engine, shard, task, detail)
    creating.remember(engine, shard, command.unique, run)

    def done(engine: Engine, mutation: Mutation) -> None:
        view = replace(schedules.view_of(task), run=run)
        reply(engine, mutation.token, ScheduleDone(view))

    ticking.append(
        engine,
        shard,
        task,
        launch,
        kind=EventKind.TRIGGERED,
        actor=command.actor,
        request_id=command.request_id,
        token=token,
        then=done,
        soon=True,
    )
