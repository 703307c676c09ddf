"""What namespaces have set, as a scheduler node reads it: also from rows of a newer version."""

from __future__ import annotations

import asyncio

from scheduler_node.limits import READ_EVERY_MS, LimitsReader
from tests.support.virtual_loop import VirtualClock, VirtualLoop, run_virtual
from timeball_server.core.buckets import Layout, LayoutRow
from timeball_server.core.engine import events
from timeball_server.core.ids import Minute
from timeball_server.ports.access import LimitRow
from timeball_server.runtime.clock import SystemClock
from timeball_server.store.memory import MemoryDatabase, MemoryStore


def row(kind: str, *, enabled: bool = True) -> LimitRow:
    return LimitRow(
        name=f"shop/{kind}/card*",
        namespace="shop",
        kind=kind,
        pattern="card*",
        concurrency=0,
        starts=5,
        per_ms=1_000,
        burst=1,
        weight=1,
        enabled=enabled,
        reason="",
        actor="boss",
        updated_ms=1,
    )


LAYOUT = Layout((LayoutRow(from_minute=Minute(0), shard_count=16),))


def test_without_a_layout_nothing_is_told_until_there_is_one() -> None:
    """An owner's part of a rate follows from it: one shard of one would be all of the rate."""

    async def story(loop: VirtualLoop) -> None:
        store, posted = MemoryStore(), list[events.Event]()
        clock = VirtualClock(loop)
        reader = LimitsReader(store, clock, posted.append)
        first = loop.create_task(reader.first())
        await clock.sleep_ms(2 * READ_EVERY_MS)
        assert not first.done()
        for each in LAYOUT.rows:
            await store.add_layout(each)
        await first
        assert posted == [events.LimitsSet((), 16)]

    run_virtual(story)


def test_a_limit_of_a_newer_version_is_left_out_and_the_others_hold() -> None:
    async def story() -> list[events.Event]:
        store, posted = MemoryStore(MemoryDatabase(LAYOUT)), list[events.Event]()
        for each in (row("HANDLER"), row("MOONPHASE"), row("KEY", enabled=False)):
            await store.access.add(each)
        async with asyncio.timeout(10):
            await LimitsReader(store, SystemClock(), posted.append).first()
        return posted

    (told,) = asyncio.run(story())
    assert isinstance(told, events.LimitsSet)
    assert [(each.kind, each.pattern) for each in told.rules] == [("HANDLER", "card*")]
