"""Removing buckets whose tasks have all ended, once their retention is over (rules R19, R20).

A round looks at a few buckets from `deleted_below` on. The bar is in memory: while it is up, what
callers ask of ids below it waits, so nothing new begins there. Every bucket is read; then the
watermark moves by one conditional write, and only then are the buckets removed. Where anything is
in use, open, or not old enough, the round ends before it and the bar is lifted. One shard of a node
has a round at a time: live work goes first.

A round that an earlier owner did not finish leaves buckets right below the watermark, never more
than one round's: each epoch removes those once more before it begins.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from timeball_server.core.buckets import minute_of
from timeball_server.core.commands import Rejected, RejectionReason
from timeball_server.core.engine import commands
from timeball_server.core.engine.effects import MoveDeletedBelow, ReadForRemoval, RemoveBuckets
from timeball_server.core.engine.events import BucketRead, BucketsRemoved, DeletedBelowMoved
from timeball_server.core.engine.removal import Removal, RemovalStage
from timeball_server.core.engine.state import (
    AnyCommand,
    Engine,
    Phase,
    ScheduleState,
    ShardState,
)
from timeball_server.core.engine.writing import give_up, reply
from timeball_server.core.ids import SCHEDULES_MINUTE, Minute
from timeball_server.core.model import BackfillState
from timeball_server.core.retention import may_go, oldest_kept

MOST_AT_ONCE: Final = 10
"""Buckets that a round removes at most. Never lower it: an earlier owner's round may be larger."""
SOONER: Final = 5
"""A round that found its fill is followed so much sooner: work of a long stop is caught up."""
LOOK_EVERY_MS: Final = 500
"""Rounds of a node begin at most so often."""
MOST_BARRED: Final = 1_000
"""Commands that may wait behind a bar; more are refused, to be repeated."""


def issue(engine: Engine) -> None:
    """Begin a round on one shard whose interval is over, unless one is under way."""
    if engine.mono_ms < engine.next_removal_mono_ms:
        return
    engine.next_removal_mono_ms = engine.mono_ms + LOOK_EVERY_MS
    if any(shard.removal is not None for shard in engine.shards.values()):
        return
    for shard in engine.shards.values():
        due = engine.mono_ms >= shard.next_removal_mono_ms
        calm = shard.phase is Phase.SERVING and shard.leave_at_mono_ms is None
        if due and calm and shard.deleted_below > SCHEDULES_MINUTE:
            _begin(engine, shard)
            return


def _begin(engine: Engine, shard: ShardState) -> None:
    """Finish what an earlier owner may have left; then raise the bar and read the first bucket."""
    first = shard.deleted_below
    if not shard.removals_finished:
        shard.removal = Removal(below=first, stage=RemovalStage.REMOVING)
        begin = Minute(max(1, first - MOST_AT_ONCE))
        engine.out.append(RemoveBuckets(shard.shard, shard.epoch, begin, first))
        return
    kept = oldest_kept(engine.now_ms, engine.config.retention_ms)
    below = Minute(min(first + MOST_AT_ONCE, kept, shard.scan_from, _lowest_in_use(engine, shard)))
    if below <= first:
        _rest(engine, shard)
        return
    shard.removal = Removal(below=below, stage=RemovalStage.READING, reading=first)
    engine.out.append(ReadForRemoval(shard.shard, shard.epoch, first))


def _lowest_in_use(engine: Engine, shard: ShardState) -> Minute:
    """The lowest home of anything in memory, looked for, or on its way to the store."""
    return min(_homes_in_use(engine, shard), default=shard.scan_from)


def _homes_in_use(engine: Engine, shard: ShardState) -> Iterator[Minute]:
    for task in shard.tasks.values():
        if task.home.minute > SCHEDULES_MINUTE:
            yield task.home.minute
        if isinstance(task, ScheduleState) and task.detail is not None:
            for backfill in task.detail.backfills:
                if backfill.state is BackfillState.RUNNING:
                    yield minute_of(backfill.created_ms)
    for waiting in shard.finding.values():
        for _, command in waiting:
            yield command.minute
    for mutation in engine.inflight.values():
        if mutation.task.shard == shard.shard and mutation.task.home.minute > SCHEDULES_MINUTE:
            yield mutation.task.home.minute


def read(engine: Engine, event: BucketRead) -> None:
    """A bucket was read to its end: go on with the next one, or settle the round."""
    shard = engine.holding(event.shard, event.epoch)
    removal = None if shard is None else shard.removal
    if shard is None or removal is None or removal.reading != event.minute:
        return
    in_use = _lowest_in_use(engine, shard)
    fits = event.minute < in_use and may_go(
        event.contents, engine.now_ms, engine.config.retention_ms
    )
    following = Minute(event.minute + 1)
    if fits and following < removal.below:
        removal.reading = following
        engine.out.append(ReadForRemoval(shard.shard, shard.epoch, following))
        return
    _settle(engine, shard, removal, Minute(min(following if fits else event.minute, in_use)))


def _settle(engine: Engine, shard: ShardState, removal: Removal, below: Minute) -> None:
    """Nothing more can be removed in this round: move the watermark, or lift the bar."""
    if below <= shard.deleted_below:
        _lift(engine, shard)
        _rest(engine, shard)
        return
    removal.below, removal.reading, removal.stage = below, None, RemovalStage.MOVING
    engine.out.append(MoveDeletedBelow(shard.shard, shard.epoch, shard.deleted_below, below))
    _let_in(engine, shard)


def moved(engine: Engine, event: DeletedBelowMoved) -> None:
    """The watermark stands, or somebody else's epoch does (rule R4)."""
    shard = engine.shards.get(event.shard)
    if shard is None or shard.epoch != event.epoch or shard.removal is None:
        return
    if event.deleted_below is None:
        give_up(engine, shard, "another owner has moved the shard's deleted_below")
        return
    first, shard.deleted_below = shard.deleted_below, event.deleted_below
    shard.removal.stage = RemovalStage.REMOVING
    engine.out.append(RemoveBuckets(shard.shard, shard.epoch, first, event.deleted_below))
    _let_in(engine, shard)


def removed(engine: Engine, event: BucketsRemoved) -> None:
    """The buckets are gone: the round is over."""
    shard = engine.shards.get(event.shard)
    if shard is None or shard.epoch != event.epoch or shard.removal is None:
        return
    if shard.removals_finished:
        engine.counters.buckets_removed += event.below - event.first
    shard.removals_finished = True
    full = event.below - event.first == MOST_AT_ONCE
    shard.removal = None
    _rest(engine, shard, sooner=full)


def _rest(engine: Engine, shard: ShardState, *, sooner: bool = False) -> None:
    pause_ms = engine.config.removal_every_ms // (SOONER if sooner else 1)
    shard.next_removal_mono_ms = engine.mono_ms + pause_ms


def _lift(engine: Engine, shard: ShardState) -> None:
    shard.removal = None
    _let_in(engine, shard)


def is_barred(shard: ShardState, minute: Minute) -> bool:
    """Whether nothing new may begin on ids with this home now."""
    removal = shard.removal
    if removal is None or removal.stage is RemovalStage.REMOVING:
        return False
    return SCHEDULES_MINUTE < minute < removal.below


def hold(engine: Engine, shard: ShardState, token: int, command: AnyCommand) -> None:
    """Let a command wait until the bar is lifted or its id has expired."""
    if len(shard.barred) >= MOST_BARRED:
        message = "the task's bucket may be removed just now; repeat the call"
        reply(engine, token, Rejected(RejectionReason.OVERLOADED, message))
    else:
        shard.barred.append((token, command))


def _let_in(engine: Engine, shard: ShardState) -> None:
    """Whoever waited behind the bar arrives again; who is still behind it waits on."""
    barred, shard.barred = shard.barred, []
    for token, command in barred:
        commands.arrive(engine, token, command)
