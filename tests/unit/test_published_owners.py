"""What readers are told of an ownership never goes back, whatever becomes of the owner's clock."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace

from scheduler_node.taking import Place, Taker
from timeball_server.coordination.local import LocalCoordinator
from timeball_server.core.ids import Epoch, Minute, NodeId, ShardId
from timeball_server.ports.clock import Now
from timeball_server.ports.store import ShardRow
from timeball_server.runtime.clock import SystemClock
from timeball_server.store.memory import MemoryStore

HOUR_MS = 3_600_000
NOW_MS = 1_800_000_000_000
ROW = ShardRow(
    shard=ShardId(3), epoch=Epoch(7), scan_from=Minute(30_000_000), deleted_below=Minute(100)
)


@dataclass
class SetClock(SystemClock):
    """A clock whose wall time is set by hand."""

    wall_ms: int = NOW_MS

    def now(self) -> Now:
        return Now(self.wall_ms, super().now().mono_ms)


async def _nobody() -> None:
    raise AssertionError("nobody is looked at here")


def test_a_watermark_reaches_readers_although_the_clock_was_set_back() -> None:
    async def story() -> None:
        clock, store = SetClock(), MemoryStore()
        service = LocalCoordinator(1, clock)
        taker = Taker(
            Place(node=NodeId("west"), address="west:1"),
            await service.connect(60_000),
            store,
            clock,
            look_at_executors=_nobody,
            is_wished=lambda shard: True,
        )
        await store.write_owner(taker.owner_row(ROW))
        for number, leap_ms in enumerate((-HOUR_MS, 0, +1, -HOUR_MS, +3 * HOUR_MS), 101):
            clock.wall_ms += leap_ms
            row = replace(ROW, deleted_below=Minute(number))
            await store.write_owner(taker.owner_row(row))
            seen = (await store.read_owners([ROW.shard]))[ROW.shard]
            assert seen.deleted_below == number, f"after {leap_ms} ms"
        assert seen.at_ms == clock.wall_ms
        await service.close()

    asyncio.run(story())
