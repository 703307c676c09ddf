"""The tasks that a schedule's nominal times name: their ids, whether they exist, their fences.

Rules S1 (the id follows from schedule and nominal time), S3 (an occurrence of the nominal time
in hand is looked for before anything is decided), S4 (what is not launched is voided if an
earlier owner may have written it). Decides no verdict.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from functools import lru_cache

from timeball_server.core.buckets import minute_of
from timeball_server.core.engine import commands, creating, dispatching, placing
from timeball_server.core.engine.firsts import void_row
from timeball_server.core.engine.reading import Standing
from timeball_server.core.engine.state import (
    Engine,
    ExecutorState,
    Loading,
    Mutation,
    ScheduleState,
    ShardState,
    TaskState,
)
from timeball_server.core.engine.writing import Then, write_rows
from timeball_server.core.ids import (
    Bucket,
    Epoch,
    IdParts,
    ShardId,
    TaskId,
    decode_id,
    encode_id,
    home_of,
    unique_of_backfill,
    unique_of_occurrence,
)
from timeball_server.core.journal import CLOSED, NO_EPOCH, EventRow, ScheduleDetail, State
from timeball_server.core.model import Backfill
from timeball_server.core.schedule_view import hand_ms as hand_of


def occurrence_id(task: ScheduleState, nominal_ms: int) -> TaskId:
    """The id of a schedule's run at a nominal time, in the schedule's own shard."""
    unique = unique_of_occurrence(task.task_id, nominal_ms)
    return _run_id(task.shard, nominal_ms, unique)


@lru_cache(maxsize=16_384)
def _run_id(shard: ShardId, nominal_ms: int, unique: bytes) -> TaskId:
    """Remembered: one run's id is asked for several times within a tick."""
    return encode_id(IdParts(Bucket(minute_of(nominal_ms), shard), unique))


def backfill_run_id(task: ScheduleState, backfill: Backfill, nominal_ms: int) -> TaskId:
    """The id of the run that a backfill launches for a nominal time."""
    home = Bucket(minute_of(backfill.created_ms), task.shard)
    unique = unique_of_backfill(task.task_id, backfill.backfill_id, nominal_ms)
    return encode_id(IdParts(home, unique))


def hand_ms(task: ScheduleState) -> int | None:
    """The nominal time in hand; None = there is none, or it is not known yet."""
    return hand_of(task.head)


def hand_epoch(task: ScheduleState) -> Epoch:
    """The epoch in which it came in hand: that of an owner who may have launched it."""
    detail, alarm = task.detail, task.head.alarm
    if detail is not None and detail.hand_epoch != NO_EPOCH:
        return detail.hand_epoch
    return NO_EPOCH if alarm is None else alarm.epoch


def in_hand(task: ScheduleState, *, but: Epoch | None = None) -> tuple[tuple[TaskId, Epoch], ...]:
    """Every run that the next event may launch, and the epoch in which it came in hand.

    Args:
        but: leave out what came in hand in this epoch; an id costs some time.
    """
    detail, nominal_ms = task.detail, hand_ms(task)
    if detail is None or task.state in CLOSED:
        return ()
    runs = [(occurrence_id(task, at_ms), epoch) for at_ms, epoch in detail.buffered if epoch != but]
    if nominal_ms is not None and hand_epoch(task) != but:
        runs.append((occurrence_id(task, nominal_ms), hand_epoch(task)))
    for backfill in detail.backfills:
        if backfill.next_ms is not None and backfill.hand_epoch != but:
            run = backfill_run_id(task, backfill, backfill.next_ms)
            runs.append((run, Epoch(backfill.hand_epoch)))
    return tuple(runs)


def launch_of(task: ScheduleState) -> ScheduleDetail:
    """What the head launches, all in its words, whatever version of us wrote it."""
    detail = task.detail
    if detail is None:
        raise AssertionError("a schedule's head tells everything")
    if detail.run is not None or not detail.launched or detail.nominal_ms is None:
        return detail
    nominal_ms = detail.nominal_ms
    run = occurrence_id(task, nominal_ms)
    return replace(detail, run=run, run_due_ms=nominal_ms, run_nominal_ms=nominal_ms)


def standing(shard: ShardState, task: ScheduleState, run: TaskId) -> Standing:
    """What stands under the id of a run in hand; UNKNOWN = it must be looked for.

    Usually nobody but the tick writes there. An earlier owner may have, and so does whoever
    cancels the id before its time: both leave a trace in memory (rules S3, R8).
    """
    present = shard.tasks.get(run)
    if present is not None:
        return _standing_of(shard, present)
    if shard.has_expired(home_of(run).minute):
        return Standing.FENCED  # nothing that is written there can ever run (rule R21)
    unique = decode_id(run).unique
    if shard.voided.get(unique) == run:
        return Standing.FENCED
    if unique in shard.recent:
        return Standing.UNKNOWN
    unseen = Standing.UNKNOWN if creating.forgets_voids(shard) else Standing.ABSENT
    return task.known.get(run, unseen)


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
    """Read occurrences; the schedule is held until all of them are known, which may be at once.

    What is known of others in hand stays: a fence that was written is written once.
    """
    kept = {run for run, _ in in_hand(task)}
    task.known = {run: found for run, found in task.known.items() if run in kept}
    task.asked = set(runs)
    task.loading = Loading.UNRESOLVED
    for run in sorted(task.asked):
        if shard.has_expired(home_of(run).minute):
            _learn_expired(task, run)
            continue
        shard.recent.pop(decode_id(run).unique, None)
        present = shard.tasks.get(run)
        if present is not None and present.loading is not Loading.READING:
            learn(shard, task, present)
            continue
        shard.asking.setdefault(run, []).append(task)
        if present is None:
            commands.read_into_memory(engine, shard, run)
    if not task.asked:
        task.loading = Loading.PRESENT
        let_go(engine, shard, task)


def _learn_expired(task: ScheduleState, run: TaskId) -> None:
    """A run whose bucket was removed had ended: nothing else lets a bucket go (rule R19)."""
    task.asked.discard(run)
    task.ended.add(run)
    task.known[run] = Standing.EXISTS


def learn(shard: ShardState, task: ScheduleState, occurrence: TaskState) -> None:
    """One of the occurrences that a schedule looked for is known now.

    Where nothing stands, nothing may be written before the schedule goes on.
    """
    task.asked.discard(occurrence.task_id)
    if occurrence.state in CLOSED:
        task.ended.add(occurrence.task_id)
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


def needs_fence(shard: ShardState, epoch: Epoch, standing: Standing) -> bool:
    """Whether a row that an earlier owner sent may still come to life in the place of a run.

    A void of an older epoch is no fence: the row that is late may be of an epoch between.

    Args:
        epoch: that in which the run came in hand.
    """
    return epoch != shard.epoch and standing in (Standing.ABSENT, Standing.VOID)


def fence(engine: Engine, shard: ShardState, task: ScheduleState, run: TaskId, then: Then) -> None:
    """Write VOID in our epoch in the place of a run in hand (rule S4).

    The run is held in memory until then, so that nobody writes another first event beside it.
    """
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
