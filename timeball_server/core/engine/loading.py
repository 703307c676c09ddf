"""Bringing due work into memory: buckets in slices, two slices ahead of now.

A take-over begins with the slices around now, because what is due now cannot wait; then come the
slices ahead, then what lies behind, newest first. It is served all the while: a task that is not
in memory yet is read for whoever asks. Nothing is swept before all is read (rule R18).

Rules R6 (a hint is live only if the head names it), R9 (what is touched while a read is under
way is read again), R18 (take-over reads from scan_from).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from timeball_server.core.buckets import SLICE_MS, end_ms, minute_of, start_ms
from timeball_server.core.engine import commands, explaining, holding, placing, settling
from timeball_server.core.engine.effects import LoadSlice
from timeball_server.core.engine.events import ShardAcquired, SliceLoaded, TasksRead
from timeball_server.core.engine.reading import Slice
from timeball_server.core.engine.state import (
    Engine,
    Loading,
    Phase,
    ShardState,
)
from timeball_server.core.engine.writing import drop_shard
from timeball_server.core.ids import Minute, TaskId, home_of
from timeball_server.core.journal import CLOSED, DueRow, EventRow, fold

SLICES_AHEAD: Final = 2
_PARALLEL_SLICES: Final = 8
_PARALLEL_BEHIND: Final = 2
"""Slices of the past that are read at a time, so that they hold up nothing that is urgent."""
_URGENT_BEFORE_MS: Final = 2_000
_URGENT_AFTER_MS: Final = 2_000
"""What is due this close to now is read before everything else."""
_EVER: Final = 2**62


def acquired(engine: Engine, event: ShardAcquired) -> None:
    """Begin a take-over: fence the executors, read everything from scan_from on."""
    old = engine.shards.get(event.shard)
    if old is not None:
        drop_shard(engine, old)
    first_ms = start_ms(event.scan_from)
    around_now_ms = engine.now_ms - _URGENT_BEFORE_MS
    around_now_ms = max(first_ms, around_now_ms - around_now_ms % SLICE_MS)
    shard = ShardState(
        shard=event.shard,
        epoch=event.epoch,
        scan_from=event.scan_from,
        deleted_below=event.deleted_below,
        acquired_ms=engine.now_ms,
        issued_until_ms=around_now_ms,
        unread_from_ms=first_ms,
        unread_until_ms=around_now_ms,
        swept_below=event.scan_from,
        next_sweep_mono_ms=engine.mono_ms + engine.config.sweep_every_ms,
        next_removal_mono_ms=engine.mono_ms + engine.config.removal_every_ms,
    )
    engine.shards[event.shard] = shard
    engine.gates.acquired(event.shard, engine.mono_ms)
    engine.fences.append(event.shard)


def issue(engine: Engine) -> None:
    """Ask for the slices that memory should hold by now."""
    until_ms = engine.now_ms + SLICES_AHEAD * SLICE_MS
    for shard in list(engine.shards.values()):
        has_all = shard.phase is Phase.SERVING and shard.issued_until_ms > until_ms
        if has_all or shard.phase is Phase.RELEASING:
            continue
        _issue_ahead(engine, shard, _ahead_ms(shard))
        if shard.phase is Phase.LOADING and not shard.slices:
            _go_on_loading(engine, shard)


def _go_on_loading(engine: Engine, shard: ShardState) -> None:
    """The next part of a take-over: the slices ahead, what lies behind, or nothing is left."""
    _issue_ahead(engine, shard, SLICES_AHEAD * SLICE_MS)
    if not shard.slices:
        for _ in range(_PARALLEL_BEHIND):
            _issue_behind(engine, shard)
    if not shard.slices:
        shard.phase = Phase.SERVING


def _ahead_ms(shard: ShardState) -> int:
    """How far ahead to read now: in a take-over only what is urgent, while reads are under way."""
    return _URGENT_AFTER_MS if shard.phase is Phase.LOADING else SLICES_AHEAD * SLICE_MS


def _issue_ahead(engine: Engine, shard: ShardState, ahead_ms: int) -> None:
    """Ask for what lies less than this ahead, and for the first bucket wherever that lies.

    A clock that was ahead may have moved scan_from past now; what was stored since lies there.
    """
    until_ms = max(engine.now_ms + ahead_ms, start_ms(shard.scan_from))
    while len(shard.slices) < _PARALLEL_SLICES and shard.issued_until_ms <= until_ms:
        _issue_next(engine, shard)


def next_issue_ms(engine: Engine) -> int | None:
    """When the next slice should be asked for."""
    times = [
        shard.issued_until_ms - _ahead_ms(shard)
        for shard in engine.shards.values()
        if shard.phase is not Phase.RELEASING and len(shard.slices) < _PARALLEL_SLICES
    ]
    return min(times, default=None)


def _issue_next(engine: Engine, shard: ShardState) -> None:
    """The next slice: the rest of a minute if it has passed, ten seconds of it otherwise."""
    begin_ms = shard.issued_until_ms
    minute = minute_of(begin_ms)
    passed = end_ms(minute) <= engine.now_ms
    until_ms = end_ms(minute) if passed else min(begin_ms + SLICE_MS, end_ms(minute))
    shard.issued_until_ms = until_ms
    _load(engine, shard, minute, begin_ms, until_ms)


def _issue_behind(engine: Engine, shard: ShardState) -> None:
    """The newest minute, or what is left of it, that this take-over has not read yet."""
    if shard.has_unread:
        until_ms = shard.unread_until_ms
        minute = minute_of(until_ms - 1)
        shard.unread_until_ms = start_ms(minute)
        _load(engine, shard, minute, start_ms(minute), until_ms)


def _load(engine: Engine, shard: ShardState, minute: Minute, begin_ms: int, until_ms: int) -> None:
    """Ask for a part of a minute.

    The first slice of a bucket also holds hints that were due before the minute, the last one
    those due after it: overdue work may lie in a later bucket (rule R22).
    """
    first = begin_ms == start_ms(minute)
    last = until_ms == end_ms(minute)
    part = Slice(
        number=engine.number(),
        minute=minute,
        from_ms=0 if first else begin_ms,
        to_ms=_EVER if last else until_ms,
    )
    shard.slices[part.number] = part
    engine.out.append(
        LoadSlice(
            shard=shard.shard,
            epoch=shard.epoch,
            number=part.number,
            minute=minute,
            from_ms=part.from_ms,
            to_ms=part.to_ms,
        )
    )


def loaded(engine: Engine, event: SliceLoaded) -> None:
    """Take a page of a slice in; the end of a step asks for what comes after the last one."""
    shard = engine.holding(event.shard, event.epoch)
    if shard is None or event.number not in shard.slices:
        return
    take_hints(engine, shard, event.hints, event.journals)
    for hint in event.foreign:
        holding.hint_alone(engine, shard, hint)
    if not event.last:
        return
    del shard.slices[event.number]
    shard.read_ended()


def take_hints(
    engine: Engine,
    shard: ShardState,
    hints: Sequence[DueRow],
    journals: Mapping[TaskId, Sequence[EventRow]],
) -> int:
    """Put the tasks behind hints into memory unless they are there or were touched since.

    Returns how many entered.
    """
    entered = 0
    for hint in hints:
        task_id = hint.task_id
        if task_id in shard.tasks or shard.has_expired(home_of(task_id).minute):
            continue
        if task_id in shard.touched:
            commands.read_into_memory(engine, shard, task_id)
            continue
        entered += _enter(engine, shard, hint, journals.get(task_id, ()))
    return entered


def _enter(engine: Engine, shard: ShardState, hint: DueRow, rows: Sequence[EventRow]) -> bool:
    """A live task enters by its journal; a dead hint of a live task may still lead to it (R6)."""
    history = fold(rows)
    if history is None:
        return False
    head = history.head
    if holding.behind(engine, shard, hint, history):
        return False
    if not _follows(engine, shard, head) and not settling.unsettled(shard, hint, head):
        return False
    task = placing.memory_for(hint.task_id, shard.shard)
    shard.tasks[hint.task_id] = task
    task.alarm_minute = hint.minute
    placing.fill(engine, shard, task, rows)
    placing.free(engine, shard, task)
    return True


def _follows(engine: Engine, shard: ShardState, head: EventRow) -> bool:
    """Whether memory follows a task with this head: it is live and due within the horizon."""
    if head.state in CLOSED or head.alarm is None:
        return False
    return shard.follows(head.alarm.due_ms, engine.now_ms)


def tasks_read(engine: Engine, event: TasksRead) -> None:
    """Fill the placeholders of tasks that were read one by one."""
    shard = engine.holding(event.shard, event.epoch)
    if shard is None:
        return
    for task_id in event.task_ids:
        task = shard.tasks.get(task_id)
        if task is not None and task.loading is Loading.READING:
            if not placing.fill(engine, shard, task, event.journals.get(task_id, ())):
                holding.with_run(engine, shard, task)
                holding.refuse(engine, task)
                continue
            settling.occurrence_read(engine, shard, task)
            explaining.answer_waiting(engine, shard, task)
            placing.free(engine, shard, task)
