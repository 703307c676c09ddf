"""The tasks that a schedule's nominal times name: their ids, whether they exist, their fences.

Rules S1 (the id follows from schedule and nominal time), S3 (an occurrence of the nominal time
in hand is looked for before anything is decided), S4 (what is not launched is voided if an
earlier owner may have written it). Decides no verdict.
"""

from __future__ import annotations

from collections.abc import Iterable

from timeball_server.core.buckets import minute_of
from timeball_server.core.engine import commands, dispatching, placing
from timeball_server.core.engine.firsts import void_row
from timeball_server.core.engine.state import (
    Engine,
    ExecutorState,
    Loading,
    Mutation,
    ScheduleState,
    ShardState,
    Standing,
    TaskState,
)
from timeball_server.core.engine.writing import Then, write_rows
from timeball_server.core.ids import (
    Bucket,
    IdParts,
    TaskId,
    decode_id,
    encode_id,
    unique_of_occurrence,
)
from timeball_server.core.journal import EventRow, State


def occurrence_id(task: ScheduleState, nominal_ms: int) -> TaskId:
    """The id of a schedule's run at a nominal time, in the schedule's own shard."""
    home = Bucket(minute_of(nominal_ms), task.shard)
    return encode_id(IdParts(home, unique_of_occurrence(task.task_id, nominal_ms)))


def standing(shard: ShardState, task: ScheduleState) -> Standing:
    """What stands under the id of the nominal time in hand; UNKNOWN = it must be looked for.

    Usually nobody but the tick writes there. An earlier owner may have, and so does whoever
    cancels the id before its time: both leave a trace in memory (rules S3, R8).
    """
    run = occurrence_id(task, task.due_ms)
    present = shard.tasks.get(run)
    if present is not None:
        return _standing_of(shard, present)
    if decode_id(run).unique in shard.recent:
        return Standing.UNKNOWN
    return task.known.get(run, Standing.ABSENT)


def _standing_of(shard: ShardState, occurrence: TaskState) -> Standing:
    if occurrence.loading is Loading.READING:
        return Standing.UNKNOWN
    row = occurrence.head if occurrence.chain else occurrence.pending
    if row is None:
        return Standing.ABSENT
    if row.state is not State.VOID:
        return Standing.EXISTS
    durable = row is not occurrence.pending
    return Standing.FENCED if durable and row.epoch == shard.epoch else Standing.VOID


def look_for(
    engine: Engine, shard: ShardState, task: ScheduleState, runs: Iterable[TaskId]
) -> None:
    """Read occurrences; the schedule is held until all of them are known."""
    task.known = {}
    task.asked = set(runs)
    task.loading = Loading.UNRESOLVED
    for run in sorted(task.asked):
        shard.recent.pop(decode_id(run).unique, None)
        present = shard.tasks.get(run)
        if present is not None and present.loading is not Loading.READING:
            learn(shard, task, present)
            continue
        shard.asking.setdefault(run, []).append(task)
        if present is None:
            commands.read_into_memory(engine, shard, run)


def learn(shard: ShardState, task: ScheduleState, occurrence: TaskState) -> None:
    """One of the occurrences that a schedule looked for is known now.

    Where nothing stands, nothing may be written before the schedule goes on.
    """
    task.asked.discard(occurrence.task_id)
    standing = task.known[occurrence.task_id] = _standing_of(shard, occurrence)
    if standing is Standing.ABSENT:
        occurrence.loading = Loading.UNRESOLVED


def let_go(engine: Engine, shard: ShardState, task: ScheduleState) -> None:
    """The schedule has looked: whoever asks for one of its runs is answered in turn."""
    for run in list(task.known):
        occurrence = shard.tasks.get(run)
        if occurrence is None or occurrence.chain:
            continue
        if occurrence.loading is Loading.UNRESOLVED:
            occurrence.loading = Loading.PRESENT
            placing.free(engine, shard, occurrence)


def needs_fence(shard: ShardState, task: ScheduleState, standing: Standing) -> bool:
    """Whether a row that an earlier owner sent may still come to life in the place of the run.

    A void of an older epoch is no fence: the row that is late may be of an epoch between.
    """
    alarm = task.head.alarm
    foreign = alarm is not None and alarm.epoch != shard.epoch
    return foreign and standing in (Standing.ABSENT, Standing.VOID)


def fence(engine: Engine, shard: ShardState, task: ScheduleState, then: Then) -> None:
    """Write VOID in our epoch in the place of the run in hand (rule S4).

    The run is held in memory until then, so that nobody writes another first event beside it.
    """
    run = occurrence_id(task, task.due_ms)
    occurrence = shard.tasks.setdefault(run, TaskState(run, shard.shard))
    if occurrence.pending is not None:  # somebody voids it already: the same row once more
        write_rows(engine, shard, task, (occurrence.pending,), then)
        return
    why = "passed over after an earlier owner may have launched it"
    row = void_row(engine, shard, run, actor=engine.node, request_id="", why=why)
    occurrence.pending = row
    occurrence.alarm_minute = task.alarm_minute

    def fenced(engine: Engine, mutation: Mutation) -> None:
        landed(engine, shard, occurrence, row, None)
        then(engine, mutation)

    write_rows(engine, shard, occurrence, (row,), fenced)


def landed(
    engine: Engine,
    shard: ShardState,
    occurrence: TaskState,
    row: EventRow,
    reserved: ExecutorState | None,
) -> None:
    """The first event of an occurrence is durable, with all that was written beside it."""
    occurrence.append(row)
    occurrence.pending = None
    shard.touch(occurrence.task_id)
    if reserved is not None:
        dispatching.hand_out(engine, occurrence, reserved)
    placing.free(engine, shard, occurrence)
