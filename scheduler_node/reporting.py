"""What operators ask of this node: how its shards fare, and to take no more of them.

Reads the engine's memory in small pieces, so that a long look at many tasks holds up no start.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from itertools import islice
from typing import Final

from scheduler_node.measuring import quantile_ms
from scheduler_node.shell import EngineShell
from timeball_server.core.engine.state import Engine, ExecutorState, ShardState
from timeball_server.core.journal import State
from timeball_server.ports.clock import Clock
from timeball_server.ports.owners import (
    ExecutorFigures,
    NodeFigures,
    OwnerInspector,
    OwnerObserver,
    ShardFigures,
)

PIECE: Final = 1_000
"""Tasks looked at in one turn of the loop: well under a millisecond."""


class Inspector(OwnerInspector, OwnerObserver):
    """Answers operators and consoles.

    Args:
        take_no_more: tells the leader that this node is given no more shards.
    """

    def __init__(
        self, shell: EngineShell, clock: Clock, take_no_more: Callable[[], Awaitable[None]]
    ) -> None:
        self._shell = shell
        self._clock = clock
        self._take_no_more = take_no_more

    async def report(self) -> Sequence[ShardFigures]:
        """Every shard in memory. Not one moment: tasks go on while they are counted."""
        shards = self._shell.engine.shards
        self._shell.measures.keep(shards)
        return [await self._figures(shard) for shard in list(shards.values())]

    async def observe(self, from_s: int) -> NodeFigures:
        """See the port."""
        engine, seconds = self._shell.engine, self._shell.measures.seconds
        shards = tuple(await self.report())
        now = self._clock.now()
        seconds.turn(now.wall_ms, engine.counters)
        return NodeFigures(
            shards=shards,
            executors=tuple(_executor(each, now.wall_ms) for each in engine.executors.values()),
            seconds=seconds.recall(from_s),
            since_s=seconds.since_s,
            until_s=seconds.until_s,
            lease_left_ms=max(0, engine.lease_until_mono_ms - now.mono_ms),
        )

    async def drain(self) -> None:
        """See the port."""
        await self._take_no_more()

    async def _figures(self, shard: ShardState) -> ShardFigures:
        now_ms = self._clock.now().wall_ms
        waiting, due_now, unserved, oldest_due_ms = 0, 0, 0, now_ms + 1
        tasks = iter(list(shard.tasks.values()))
        served = _served(self._shell.engine)
        while piece := list(islice(tasks, PIECE)):
            pending = [task for task in piece if task.state is State.PENDING]
            due = [task for task in pending if task.due_ms <= now_ms]
            waiting += len(pending)
            due_now += len(due)
            unserved += sum(1 for task in due if task.spec.handler not in served)
            oldest_due_ms = min([oldest_due_ms, *(task.due_ms for task in due)])
            await asyncio.sleep(0)  # noqa: TID251 - a yield to the engine, not a wait
        counts = self._shell.measures.last_minute(shard.shard, now_ms)
        return ShardFigures(
            shard=shard.shard,
            epoch=shard.epoch,
            tasks=len(shard.tasks),
            waiting=waiting,
            due_now=due_now,
            starts=sum(counts),
            late_p50_ms=quantile_ms(counts, 0.5),
            late_p99_ms=quantile_ms(counts, 0.99),
            oldest_due_ms=oldest_due_ms if due_now else None,
            unserved=unserved,
            acquired_ms=shard.acquired_ms,
            phase=shard.phase.value,
        )


def _served(engine: Engine) -> frozenset[str]:
    """Handlers that some executor serves."""
    return frozenset().union(*(each.handlers for each in engine.executors.values()))


def _executor(executor: ExecutorState, now_ms: int) -> ExecutorFigures:
    health = executor.health
    out = health.left_out_until_ms is not None
    told = out or health.room is not None
    return ExecutorFigures(
        incarnation=executor.facts.incarnation,
        runs=len(executor.runs),
        stream_open=executor.stream_open,
        ready=executor.ready,
        left_out_ms=max(1, (health.left_out_until_ms or 0) - now_ms) if out else 0,
        left_out_reason=health.reason if told else "",
    )
