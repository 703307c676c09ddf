"""What namespaces have set, read again and again, so that a change holds within seconds.

Tells the engine only what is new. A read that fails changes nothing: what was read last holds.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import structlog
from timeball.errors import TimeballError

from timeball_server.core.engine import events
from timeball_server.core.limit_rules import LimitKind, LimitRule
from timeball_server.ports.access import CLUSTER, AccessStore, LimitRow, each_row, rule_of
from timeball_server.ports.clock import Clock
from timeball_server.ports.store import Store

log = structlog.stdlib.get_logger("scheduler_node")
READ_EVERY_MS: Final = 2_000
_KINDS: Final = frozenset(LimitKind)


class LimitsReader:
    """Keeps one engine up to date."""

    def __init__(self, store: Store, clock: Clock, post: Callable[[events.Event], None]) -> None:
        self._store = store
        self._clock = clock
        self._post = post
        self._told: events.LimitsSet | None = None

    async def first(self) -> None:
        """Read until it succeeds once: without it the rates of handlers would not be kept.

        Nor would they without a layout: an owner's part of a rate follows from how many shards
        there are.
        """
        while not await self._read():
            await self._clock.sleep_ms(READ_EVERY_MS)

    async def run(self) -> None:
        """Read again for ever."""
        while True:
            await self._clock.sleep_ms(READ_EVERY_MS)
            await self._read()

    async def _read(self) -> bool:
        try:
            layout = await self._store.read_layout()
            rules = await read_rules(self._store.access)
        except TimeballError as error:
            log.warning("limits cannot be read now; those read last hold", error=str(error))
            return False
        if layout is None:
            log.warning("the cluster has no layout; limits cannot be shared among shards without")
            return False
        news = events.LimitsSet(rules, len(layout.all_shards()))
        if news != self._told:
            self._told = news
            self._post(news)
        return True


async def read_rules(access: AccessStore) -> tuple[LimitRule, ...]:
    """All rules that hold; of a kind that only a newer version knows none does here."""
    rows = each_row(access, LimitRow, CLUSTER)
    return tuple([rule_of(row) async for row in rows if row.enabled and row.kind in _KINDS])
