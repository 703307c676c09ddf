"""A scheduler node's shell in virtual time, stepped by the test; in between it stands still."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Coroutine
from typing import Any, Final

from scheduler_node.shell import EngineShell
from tests.support.virtual_loop import VirtualClock, VirtualLoop
from timeball_server.coordination.local import LocalCoordinator
from timeball_server.core.buckets import minute_of
from timeball_server.core.commands import CreateTask
from timeball_server.core.engine import events
from timeball_server.core.engine.ready import ReadyQueue
from timeball_server.core.engine.state import Engine, EngineConfig
from timeball_server.core.ids import Epoch, Minute, NodeId, ShardId
from timeball_server.core.model import TaskSpec
from timeball_server.ports.store import OwnerRow, ShardRow, Store

SHARD: Final = ShardId(0)
EPOCH: Final = Epoch(7)
SESSION_MS: Final = 6_000


class ShellWorld:
    """The shell, its engine, and what it said of ownerships that ended."""

    def __init__(self, loop: VirtualLoop, store: Store) -> None:
        self.clock = VirtualClock(loop)
        self.ended: list[tuple[ShardId, Epoch]] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self.engine = Engine(NodeId("node"), 1, EngineConfig(), random.Random(1), ReadyQueue())
        self.shell = EngineShell(
            self.engine,
            store,
            self.clock,
            send=lambda incarnation, message: None,
            on_ownership_end=lambda shard, epoch, why: self.ended.append((shard, epoch)),
            publish=_nothing,
            spawn=self._spawn,
        )

    async def own(self) -> None:
        """Own the shard in a session that stays alive and proven."""
        session = await LocalCoordinator(100, self.clock).connect(SESSION_MS)
        await session.prove()
        self.shell.attach(session)
        now = Minute(minute_of(self.clock.now().wall_ms))
        self.shell.post(
            events.ShardAcquired(shard=SHARD, epoch=EPOCH, scan_from=now, deleted_below=Minute(0))
        )
        await self.steps(10)

    def create(self, in_ms: int) -> asyncio.Task[Any]:
        """Ask for a task; its outcomes come as the shell takes steps."""
        due_ms = self.clock.now().wall_ms + in_ms
        command = CreateTask(
            minute=minute_of(due_ms),
            shard=SHARD,
            unique=bytes(16),
            spec=TaskSpec(namespace="bank", owner="teller", handler="mail"),
            due_ms=due_ms,
            request_id="1",
            actor="user:teller",
        )
        return asyncio.ensure_future(self.shell.calls.execute([command]))

    async def steps(self, count: int) -> None:
        """Let the shell take so many steps, ten milliseconds apart."""
        for _ in range(count):
            self.shell.step()
            await self.clock.sleep_ms(10)

    def _spawn(self, name: str, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _nothing(row: ShardRow) -> OwnerRow:
    raise AssertionError("nothing is published here")
