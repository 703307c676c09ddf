"""Concurrency keys of drawn worlds and of worlds that have nothing else, and their limits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from timeball_server.core.limit_rules import LimitKind
from timeball_server.ports.access import LimitRow, limit_name
from timeball_server.store.memory import MemoryDatabase, MemoryStore

KEYS: Final[Mapping[str, int]] = {"one": 1, "two": 2, "three": 3}
"""How much of each may run at once. One is what holds without a rule."""
NAMESPACES: Final = ("shop", "bank")
"""Of clients, and of all that plan the first one."""


async def allow(database: MemoryDatabase, keys: Mapping[str, int]) -> None:
    """The limits of both namespaces; a key of one has no rule."""
    store = MemoryStore(database)
    for namespace in NAMESPACES:
        for key, most in keys.items():
            if most > 1:
                await store.access.add(_row(namespace, key, most))


def _row(namespace: str, key: str, most: int) -> LimitRow:
    return LimitRow(
        name=limit_name(namespace, LimitKind.KEY, key),
        namespace=namespace,
        kind=LimitKind.KEY.value,
        pattern=key,
        concurrency=most,
        starts=0,
        per_ms=0,
        burst=0,
        weight=1,
        enabled=True,
        reason="",
        actor="simulation",
        updated_ms=0,
    )
