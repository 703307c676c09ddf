"""The engine's one entrance: events in, effects out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Any, Final

from timeball_server.core.commands import ExplainTask
from timeball_server.core.engine import (
    commands,
    creating,
    dispatching,
    doubts,
    executors,
    leaving,
    loading,
    placing,
    put_back,
    removing,
    sweeping,
    watching,
    writing,
)
from timeball_server.core.engine import events as e
from timeball_server.core.engine.effects import Effect, Send
from timeball_server.core.engine.state import Engine
from timeball_server.core.messages import AckResults

_LONGEST_SLEEP_MS: Final = 1_000


def handle(
    engine: Engine, events: Iterable[e.Event], *, wall_ms: int, mono_ms: int
) -> list[Effect]:
    """Take events in, in order, and answer with what is to be done, in order.

    Args:
        wall_ms: the owner's wall clock; decides what is due.
        mono_ms: a clock that never steps; decides whether the lease holds.
    """
    if wall_ms - engine.now_ms > engine.config.session_timeout_ms:
        engine.resumed_ms = wall_ms  # we slept: what was due meanwhile is late, and not for work
    put_back.look(engine, wall_ms, mono_ms)
    engine.now_ms, engine.mono_ms = wall_ms, mono_ms
    happened = list(events)
    for event in happened:
        if isinstance(event, e.LeaseProven):
            engine.lease_until_mono_ms = event.until_mono_ms
    _end_without_lease(engine)
    questions: list[e.CommandArrived] = []
    for event in happened:
        if isinstance(event, e.CommandArrived) and isinstance(event.command, ExplainTask):
            questions.append(event)
        else:
            _HANDLERS[type(event)](engine, event)
    _end_without_lease(engine)
    loading.issue(engine)
    sweeping.issue(engine)
    removing.issue(engine)
    doubts.look(engine)
    dispatching.advance(engine)
    for question in questions:  # what became free in this step has been given away by now
        _command(engine, question)
    leaving.advance(engine)
    watching.tell(engine)
    for shard in list(engine.shards.values()):
        writing.settle_release(engine, shard)
    return _flush(engine)


def _end_without_lease(engine: Engine) -> None:
    """Before anything is begun or answered, and after it, the lease must hold (rule R3)."""
    if not engine.lease_holds:
        for shard in list(engine.shards.values()):
            writing.give_up(engine, shard, "the lease ended before it was proven again")


def _flush(engine: Engine) -> list[Effect]:
    """One message per executor for all that this step hands out."""
    executors.fence_new_shards(engine)
    engine.send_orders()
    for incarnation, runs in engine.acks.items():
        engine.out.append(Send(incarnation, AckResults(tuple(runs))))
    engine.acks.clear()
    effects, engine.out = engine.out, []
    return effects


def next_wake_ms(engine: Engine) -> int:
    """The wall-clock instant at which the engine wants a Tick, at most a second ahead."""
    latest = engine.now_ms + _LONGEST_SLEEP_MS
    if engine.suspended or not engine.lease_holds:
        return latest
    times = [latest]
    if engine.timeline:
        times.append(engine.timeline[0][0])
    if engine.spill_at_ms is not None:
        times.append(engine.spill_at_ms)
    issue_ms = loading.next_issue_ms(engine)
    look_ms = leaving.next_look_ms(engine)
    gates_ms = engine.gates.next_ms(engine)
    limit_ms = engine.ready.next_limit_ms()
    times += [each for each in (issue_ms, look_ms, gates_ms, limit_ms) if each is not None]
    return min(times)


def _lease_proven(engine: Engine, event: e.LeaseProven) -> None:
    """Taken in before everything else of its step."""


def _suspended(engine: Engine, event: e.Suspended) -> None:
    if event.suspended and not engine.suspended:
        engine.suspended_since_ms = engine.now_ms
    engine.suspended = event.suspended


def _releasing(engine: Engine, event: e.ShardReleasing) -> None:
    shard = engine.shards.get(event.shard)
    if shard is not None:
        leaving.ask(engine, shard)


def _lost(engine: Engine, event: e.ShardLost) -> None:
    shard = engine.shards.get(event.shard)
    if shard is not None:
        writing.drop_shard(engine, shard)


def _tick(engine: Engine, event: e.Tick) -> None:
    """Time alone is no news: what is due is found by every step."""


def _command(engine: Engine, event: e.CommandArrived) -> None:
    commands.arrive(engine, event.token, event.command)


def _watch_ended(engine: Engine, event: e.WatchEnded) -> None:
    watching.ended(engine, event.token, event.task_id)


def _written(engine: Engine, event: e.Written) -> None:
    for number in event.tokens:
        mutation = engine.inflight.get(number)
        if mutation is not None and not engine.lease_holds:
            return
        finished = writing.written(engine, number)
        if finished is not None:
            shard = engine.owned(finished.task)
            if shard is not None:
                placing.free(engine, shard, finished.task)


def _found(engine: Engine, event: e.TaskFound) -> None:
    shard = engine.holding(event.shard, event.epoch)
    if shard is not None:
        creating.found(engine, shard, event.unique, event.rows)


def _limits_set(engine: Engine, event: e.LimitsSet) -> None:
    engine.gates.set_rules(event.rules, event.shard_count, engine.mono_ms)
    engine.ready.shares.weight = engine.gates.table.weight


def _executors_seen(engine: Engine, event: e.ExecutorsSeen) -> None:
    executors.seen(engine, event.executors)


def _stream_up(engine: Engine, event: e.StreamUp) -> None:
    executors.stream_up(engine, event.incarnation)


def _stream_down(engine: Engine, event: e.StreamDown) -> None:
    executors.stream_down(engine, event.incarnation)


def _said(engine: Engine, event: e.ExecutorSaid) -> None:
    executors.said(engine, event.incarnation, event.message)


_HANDLERS: Final[Mapping[type, Callable[[Engine, Any], None]]] = MappingProxyType(
    {
        e.ShardAcquired: loading.acquired,
        e.ShardReleasing: _releasing,
        e.ShardLost: _lost,
        e.LeaseProven: _lease_proven,
        e.Suspended: _suspended,
        e.Tick: _tick,
        e.CommandArrived: _command,
        e.WatchEnded: _watch_ended,
        e.Written: _written,
        e.TasksRead: loading.tasks_read,
        e.TaskFound: _found,
        e.SliceLoaded: loading.loaded,
        e.BucketSwept: sweeping.swept,
        e.ScanFromMoved: sweeping.moved,
        e.BucketRead: removing.read,
        e.DeletedBelowMoved: removing.moved,
        e.BucketsRemoved: removing.removed,
        e.LimitsSet: _limits_set,
        e.ExecutorsSeen: _executors_seen,
        e.StreamUp: _stream_up,
        e.StreamDown: _stream_down,
        e.ExecutorSaid: _said,
    }
)
