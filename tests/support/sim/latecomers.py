"""A client that asks just while buckets are being removed, for what is in them or would be.

It looks into owners' memories for when that is, as no user could: a bucket is looked at for some
milliseconds a minute. What it asks for is recorded like anybody's, and so is each answer.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, Final

from tests.support.sim.clients import Client, Wanted, addressed
from tests.support.sim.world import World
from tests.support.virtual_loop import START_WALL_MS
from timeball_server.core.buckets import MINUTE_MS
from timeball_server.core.engine.state import ShardState
from timeball_server.core.ids import Minute, ShardId, TaskId, home_of
from timeball_server.core.minting import CreateTime, fresh_request_id

LOOK_S: Final = 0.02
ASKS_SHARE: Final = 0.25
"""Of looks that find a bucket that is being removed."""
MAKES_SHARE: Final = 0.2
"""Of these, so many make something there; it lives on with all its bucket."""
OUTLIVE: Final = 6
"""Tasks that end after their minute."""
SOONEST_MS: Final = 40_000


class Latecomer(Client):
    """Asks while there is a bar."""

    def __init__(self, world: World, name: str) -> None:
        super().__init__(world, name)
        self._late = random.Random(f"{world.seed} {name} is late")
        self._made: list[Wanted] = []

    async def come(self, until_us: int) -> None:
        """Look again and again, and ask now and then."""
        for _ in range(OUTLIVE):
            await self._make_one_that_stays()
        while self._world.loop.now_us < until_us:
            await self._pause(LOOK_S)
            for shard, minute in list(self._bars()):
                if self._late.random() < ASKS_SHARE:
                    self._later(self._ask(shard, minute))

    async def _make_one_that_stays(self) -> None:
        """A task whose home is this minute, and which ends in the next one: its bucket waits."""
        now_ms = START_WALL_MS + self._world.loop.now_us // 1_000
        soon_ms = now_ms + self._late.randint(1_000, SOONEST_MS)
        request_id = fresh_request_id(now_ms, self._late.randbytes(10))
        spec, wish = self.task(request_id.hex(), soon_ms, 0)
        wanted = addressed(spec, wish, request_id, CreateTime(run_ms=soon_ms), now_ms)
        if await self.create(wanted) is not None:
            later_ms = soon_ms + self._late.randint(MINUTE_MS // 2, MINUTE_MS)
            await self.reviser.move_to(wanted.task_id, later_ms)

    def _bars(self) -> Iterator[tuple[ShardId, Minute]]:
        """Shards that remove something now, and one of the minutes that are behind the bar."""
        for process in self._world.processes.values():
            shards: list[ShardState] = []
            if process.service is not None and process.alive:
                shards = list(process.service.shell.engine.shards.values())
            for shard in shards:
                if shard.removal is not None and shard.removal.below > shard.deleted_below:
                    last = shard.removal.below - 1
                    yield shard.shard, Minute(self._late.randint(shard.deleted_below, last))

    async def _ask(self, shard: ShardId, minute: Minute) -> None:
        """For one of the tasks there, or for another one."""
        known = [
            op.task_id
            for op in self._world.history.ops
            if op.is_creation
            and op.namespace == self.namespace
            and _is_in(TaskId(op.task_id), shard, minute)
        ]
        if not known or self._late.random() < MAKES_SHARE:
            await self._make(shard, minute)
            return
        asks: tuple[Callable[[str], Coroutine[Any, Any, object]], ...] = (
            self.get,
            self.cancel,
            self._wait_a_little,
            self._again,
        )
        await self._late.choice(asks)(self._late.choice(known))

    async def _wait_a_little(self, task_id: str) -> None:
        await self.wait(task_id, 2.0)

    async def _again(self, task_id: str) -> None:
        """A creation that its client has sent before."""
        made = [each for each in self._made if each.task_id == task_id]
        if made:
            await self.create(made[0], resend=True)
        else:
            await self.get(task_id)

    async def _make(self, shard: ShardId, minute: Minute) -> None:
        """A task by a request that was made in that minute, and is sent now."""
        wanted = self._old(minute)
        while home_of(wanted.task_id).shard != shard:
            wanted = self._old(minute)
        self._made.append(wanted)
        await self.create(wanted)

    def _old(self, minute: Minute) -> Wanted:
        made_ms = minute * MINUTE_MS + self._late.randrange(MINUTE_MS)
        request_id = fresh_request_id(made_ms, self._late.randbytes(10))
        spec, wish = self.task(request_id.hex(), None, 0)
        now_ms = START_WALL_MS + self._world.loop.now_us // 1_000
        return addressed(spec, wish, request_id, CreateTime(), now_ms)


def _is_in(task_id: TaskId, shard: ShardId, minute: Minute) -> bool:
    home = home_of(task_id)
    return (home.shard, home.minute) == (shard, minute)
