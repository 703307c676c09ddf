"""What namespaces have set, as a scheduler node reads it: also from rows of a newer version."""

from __future__ import annotations

import asyncio

from scheduler_node.limits import LimitsReader
from timeball_server.core.engine import events
from timeball_server.ports.access import LimitRow
from timeball_server.runtime.clock import SystemClock
from timeball_server.store.memory import MemoryStore


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


def test_a_limit_of_a_newer_version_is_left_out_and_the_others_hold() -> None:
    async def story() -> list[events.Event]:
        store, posted = MemoryStore(), list[events.Event]()
        for each in (row("HANDLER"), row("MOONPHASE"), row("KEY", enabled=False)):
            await store.access.add(each)
        async with asyncio.timeout(10):
            await LimitsReader(store, SystemClock(), posted.append).first()
        return posted

    (told,) = asyncio.run(story())
    assert isinstance(told, events.LimitsSet)
    assert [(each.kind, each.pattern) for each in told.rules] == [("HANDLER", "card*")]
