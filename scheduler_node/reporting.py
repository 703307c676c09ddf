"""What operators ask of this node: how its shards fare, and to take no more of them.

Reads the engine's memory in small pieces, so that a long look at many tasks holds up no start.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from itertools import islice
from typing import Final

from scheduler_node.measuring import quantile_ms
from scheduler_node.shell import EngineShell
from timeball_server.core.engine.state import ShardState, TaskState
from timeball_server.core.journal import State
from timeball_server.ports.clock import Clock
from timeball_server.ports.owners import OwnerInspector, ShardFigures

PIECE: Final = 1_000
"""Tasks looked at in one turn of the loop: well under a millisecond."""


class Inspector(OwnerInspector):
    """Answers operators.

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

    async def drain(self) -> None:
        """See the port."""
        await self._take_no_more()

    async def _figures(self, shard: ShardState) -> ShardFigures:
        now_ms = self._clock.now().wall_ms
        waiting, due_now = 0, 0
        tasks = iter(list(shard.tasks.values()))
        while piece := list(islice(tasks, PIECE)):
            dues = list(_waiting_dues(piece))
            waiting += len(dues)
            due_now += sum(1 for due_ms in dues if due_ms <= now_ms)
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
        )


def _waiting_dues(tasks: Iterable[TaskState]) -> Iterable[int]:
    """Due times of those that no executor has been chosen for."""
    return (task.due_ms for task in tasks if task.state is State.PENDING)
