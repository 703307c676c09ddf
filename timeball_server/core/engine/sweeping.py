"""Moving scan_from ahead, so that a take-over reads a bounded number of buckets (rule R18).

A bucket is read again when a session timeout has passed since its end: what only this sweep
finds was never acknowledged. Then the watermark moves by one conditional write for all buckets
that were swept.
"""

from __future__ import annotations

from typing import Final

from timeball_server.core.buckets import MINUTE_MS, end_ms, minute_of
from timeball_server.core.engine import holding, loading
from timeball_server.core.engine.effects import MoveScanFrom, SweepBucket
from timeball_server.core.engine.events import BucketSwept, ScanFromMoved
from timeball_server.core.engine.state import Engine, Phase, ShardState, TaskState
from timeball_server.core.engine.writing import begin, following_event, give_up
from timeball_server.core.ids import Minute
from timeball_server.core.journal import DueRow, EventKind, NoteDetail, State, head_of, hint_is_live

_MARGIN_MS: Final = 2_000
_ADOPT_WITHIN_MS: Final = MINUTE_MS


def issue(engine: Engine) -> None:
    """Begin a round of sweeps on every shard whose interval is over."""
    for shard in engine.shards.values():
        busy = shard.sweeping is not None or shard.moving_scan_from
        due = engine.mono_ms >= shard.next_sweep_mono_ms
        if shard.phase is Phase.SERVING and due and not busy:
            _next(engine, shard)


def _next(engine: Engine, shard: ShardState) -> None:
    """Sweep the next bucket that may be passed, or move the watermark to where we came."""
    minute = shard.swept_below
    ended = end_ms(minute) + engine.config.session_timeout_ms + _MARGIN_MS <= engine.now_ms
    if ended and _is_loaded(shard, minute) and not _held_back(shard, minute):
        shard.sweeping = minute
        holding.begin_sweep(shard, minute)
        engine.out.append(SweepBucket(shard.shard, shard.epoch, minute))
        return
    _rest(engine, shard, engine.config.sweep_every_ms)


def _rest(engine: Engine, shard: ShardState, pause_ms: int) -> None:
    """Go on after a pause; the watermark moves to where we came."""
    shard.next_sweep_mono_ms = engine.mono_ms + pause_ms
    if shard.swept_below > shard.scan_from:
        shard.moving_scan_from = True
        engine.out.append(
            MoveScanFrom(shard.shard, shard.epoch, shard.scan_from, shard.swept_below)
        )


def _is_loaded(shard: ShardState, minute: Minute) -> bool:
    """Whether all of this bucket was read; a clock that was put ahead has ended many at once."""
    asked = end_ms(minute) <= shard.issued_until_ms
    return asked and all(part.minute > minute for part in shard.slices.values())


def _held_back(shard: ShardState, minute: Minute) -> bool:
    """Whether a task in memory has its alarm in this bucket or an earlier one."""
    return any(task.alarm_minute <= minute for task in shard.tasks.values())


def swept(engine: Engine, event: BucketSwept) -> None:
    """Adopt or void what only the sweep found; after the last page go on with the next bucket."""
    shard = engine.holding(event.shard, event.epoch)
    if shard is None or shard.sweeping != event.minute:
        return
    live = [hint for hint in event.hints if _is_news(shard, hint, event)]
    late = {hint.task_id for hint in live} - shard.unreadable.keys()
    loading.take_hints(engine, shard, live, event.journals)
    for hint in event.foreign:
        holding.hint_alone(engine, shard, hint)
    for task_id in sorted(late & shard.tasks.keys()):
        engine.counters.late_found += 1
        _void_if_old(engine, shard, shard.tasks[task_id])
    if not event.last:
        return
    shard.sweeping = None
    shard.read_ended()
    if holding.end_sweep(shard, event.minute):
        _rest(engine, shard, holding.LOOK_AGAIN * engine.config.sweep_every_ms)
    elif _held_back(shard, event.minute):
        _rest(engine, shard, engine.config.sweep_every_ms)
    else:
        shard.swept_below = Minute(event.minute + 1)
        _next(engine, shard)


def _is_news(shard: ShardState, hint: DueRow, event: BucketSwept) -> bool:
    """A live hint of a task that is not in memory and was not while the sweep read.

    Of a task that cannot be read nobody knows which hint is the live one.
    """
    if hint.task_id in shard.tasks or hint.task_id in shard.touched:
        return False
    rows = event.journals.get(hint.task_id, ())
    return hint_is_live(hint, head_of(rows)) or holding.is_unreadable(rows)


def _void_if_old(engine: Engine, shard: ShardState, task: TaskState) -> None:
    """Never acknowledged and due long ago: it must not start out of the blue."""
    if task.state is not State.PENDING or not task.idle or task.head.epoch == shard.epoch:
        return
    if len(task.chain) > 1:
        return  # not the creation was found late but a change of it: the task may be acknowledged
    if task.due_ms >= engine.now_ms - _ADOPT_WITHIN_MS:
        return
    note = NoteDetail(text="found late by a sweep and never acknowledged")
    row = following_event(engine, shard, task, EventKind.VOID, actor=engine.node, detail=note)
    engine.counters.voided += 1
    begin(engine, shard, task, row)


def moved(engine: Engine, event: ScanFromMoved) -> None:
    """The watermark stands, or somebody else's epoch does (rule R4)."""
    shard = engine.shards.get(event.shard)
    if shard is None or shard.epoch != event.epoch:
        return
    shard.moving_scan_from = False
    if event.scan_from is None:
        give_up(engine, shard, "another owner has moved the shard's watermark")
        return
    shard.scan_from = event.scan_from
    shard.swept_below = max(shard.swept_below, shard.scan_from)
    keep = minute_of(engine.now_ms) - 1
    shard.parts = {minute: part for minute, part in shard.parts.items() if minute >= keep}
