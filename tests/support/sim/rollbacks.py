"""A rollback: of some tasks something was written that no node of now can read; mended later.

It is written while they lie in the store, and their shards are taken by another owner then, by a
wish of operators. What is asked of them meanwhile is refused, and they are left as they are.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from typing import Final

from msgspec.structs import replace

from coordinator.api import TaskApi
from tests.support.checker.questions import ForeignRow
from tests.support.checker.records import Call
from tests.support.foreign_rows import foreign
from tests.support.sim.askers import Asker
from tests.support.sim.clients import Client, Wanted
from tests.support.sim.held_tasks import Maker
from tests.support.sim.keys import NAMESPACES
from tests.support.sim.world import LAYOUT, World
from tests.support.virtual_loop import START_WALL_MS
from timeball_server.core.buckets import MINUTE_MS
from timeball_server.core.ids import NodeId, TaskId
from timeball_server.core.journal import EventRow
from timeball_server.core.model import TaskView

MOVES_S: Final = 4.0
"""By then a shard that was wished elsewhere is there, where nothing is broken."""
SWEPT_S: Final = 12.0
"""So long after its end a bucket has been read once more."""
LOOKED_AT_S: Final = 20.0
"""By then an owner has looked once more for what it could not read."""


class Rollback:
    """One batch of tasks, held back and mended."""

    def __init__(self, world: World, name: str) -> None:
        self._world = world
        self._rng = random.Random(f"{world.seed} {name} rollback")
        self._client = Client(world, name)
        self._asker = Asker(world, name)
        self._stood: dict[str, EventRow] = {}
        self._moved: list[str] = []
        self._maker = Maker(world, self._client, self._rng)

    async def plan(self, count: int) -> None:
        """All of it; half of them are due while nobody can read them."""
        if not count:
            return
        await self._move_to("scheduler-1")
        wanted = [self._maker.wanted(due_s=10.0 + 5.0 * each / count) for each in range(count)]
        await asyncio.gather(*(self._client.create(each) for each in wanted))
        far = self._maker.wanted(due_s=90.0)
        await self._client.create(far)
        everything = [*wanted, far]
        for each in (*wanted[::2], far):
            await self._move(each)
        self._write(everything)
        await self._move_to("scheduler-2")
        self._note(everything, read_us=self._world.loop.now_us)
        await self._ask_about(everything, seconds=12.0)
        await asyncio.gather(*map(self._try, everything))
        half = len(wanted) // 2
        self._mend([*wanted[half:], far])
        await self._move_to("scheduler-1")
        await self._ask_about(everything, seconds=1.0)
        await self._asker.pause(self._until_swept_s())
        self._mend(wanted[:half])
        await self._asker.pause(LOOKED_AT_S)  # the same owner finds that it can read them now
        await self._ask_about(everything, seconds=1.0)

    async def _move(self, wanted: Wanted) -> None:
        """Of what was changed before, its first event says whose it is: strangers learn nothing."""
        await self._client.reviser.move_to(wanted.task_id, (wanted.due_ms or 0) + 1)
        self._moved.append(str(wanted.task_id))

    def _until_swept_s(self) -> float:
        """Until the bucket of this minute has been read once more."""
        now_ms = START_WALL_MS + self._world.loop.now_us // 1_000
        return (MINUTE_MS - now_ms % MINUTE_MS) / 1_000 + SWEPT_S

    async def _move_to(self, node: str) -> None:
        for shard in LAYOUT.all_shards():
            self._world.history.plan("move", f"shard {shard} to {node}")
            self._world.coordination.wish(shard, NodeId(node))
        await self._asker.pause(MOVES_S)

    def _write(self, wanted: Sequence[Wanted]) -> None:
        """The newest event of each becomes one of a newer version."""
        journal, history = self._world.database.journal, self._world.history
        for each in wanted:
            head = journal.head(TaskId(each.task_id))
            if head is None:
                continue
            self._stood[each.task_id] = head
            journal.add(foreign(head))
            now_us = self._world.loop.now_us
            history.foreign_rows[each.task_id] = ForeignRow(task=each.task_id, written_us=now_us)
            history.trace("store", f"{each.task_id} cannot be read")

    def _note(self, wanted: Sequence[Wanted], **known: int) -> None:
        rows = self._world.history.foreign_rows
        for each in wanted:
            rows[each.task_id] = replace(rows[each.task_id], **known)

    def _mend(self, wanted: Sequence[Wanted]) -> None:
        for each in wanted:
            self._world.database.journal.add(self._stood[each.task_id])
            self._world.history.trace("store", f"{each.task_id} can be read")
        now_us = self._world.loop.now_us
        self._note(wanted, mended_us=now_us, goes_on_us=now_us + round((LOOKED_AT_S - 1) * 1e6))

    async def _try(self, wanted: Wanted) -> None:
        """Look at it, cancel it, and send its creation again: all in vain."""

        async def look(api: TaskApi, resend: bool) -> TaskView:
            return (await api.get(self._client.caller, TaskId(wanted.task_id), 8_000)).task

        client = self._client
        await client.insist(client.begin(Call.GET, wanted.task_id), look, tries=1)
        await client.cancel(wanted.task_id, tries=1)
        await client.create(wanted, resend=True, tries=1)

    async def _ask_about(self, wanted: Sequence[Wanted], seconds: float) -> None:
        """Ask why they do not run."""
        await asyncio.gather(*(self._ask(each, seconds) for each in wanted))

    async def _ask(self, wanted: Wanted, seconds: float) -> None:
        await self._asker.pause(self._rng.uniform(0, seconds))
        await self._asker.ask(wanted.task_id, self._client.namespace)
        if wanted.task_id in self._moved:
            (stranger,) = (each for each in NAMESPACES if each != self._client.namespace)
            await self._asker.ask(wanted.task_id, stranger, foreign=True)
