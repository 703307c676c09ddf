"""Who may create now: as much is sent to an owner as it can take in, and the rest is refused.

A refusal costs next to nothing and says when to come back; a creation that waits behind too many
others costs its owner as much as any, and is late when it is done. Bulk work waits a little
instead, because its sender feels that and slows down. Must never touch anything but creations.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Final

from coordinator.deadline import Deadline
from timeball_server.core.commands import Rejected, RejectionReason
from timeball_server.core.overload import LearnedLimit
from timeball_server.ports.clock import Clock
from timeball_server.ports.metrics import Family, counter, gauge

BULK_PATIENCE_MS: Final = 5_000
"""How long what comes in bulk waits for room; meanwhile its sender is read no further."""
REFUSED: Final = Rejected(
    RejectionReason.OVERLOADED,
    "the owner of the task's shard has as much to do as it can; nothing was created, so repeat "
    "the call after the time that this answer names",
)
"""What of a creation becomes that was not let in."""


class Admission:
    """The limits of all owners, by address; those of owners that are gone cost some bytes each."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._limits: dict[str, LearnedLimit] = {}
        self._room = asyncio.Event()
        self._waiting = 0
        self._refused = 0

    def let_in(self, address: str, items: int, *, bulk: bool) -> int:
        """How many of so many creations may be sent now; `done` must follow for them."""
        return self._limit(address).let_in(items, bulk=bulk)

    async def wait_in(self, address: str, items: int, patience: Deadline, *, bulk: bool) -> int:
        """The same as soon as it is one or more; none if the patience ends before."""
        while not (count := self.let_in(address, items, bulk=bulk)):
            if patience.passed() or not await self._room_within(patience.left_ms()):
                break
        return count

    def done(self, address: str, items: int, took_ms: int) -> None:
        """Those are answered, or given up, after so long."""
        self._limit(address).done(items, took_ms, self._clock.now().mono_ms)
        if self._waiting:
            self._room.set()
            self._room = asyncio.Event()

    def refuse(self, items: int) -> None:
        """Count those that were not let in."""
        self._refused += items

    def allowed(self, address: str) -> int:
        """How many creations may be under way at this owner."""
        return round(self._limit(address).limit)

    def metrics(self) -> Iterator[Family]:
        """What is allowed, under way and refused, over all owners."""
        limits = self._limits.values()
        text = "Creations that may be under way at the owners, as learned from their answers."
        yield gauge("timeball_creations_allowed", text, sum(each.limit for each in limits))
        under_way = sum(each.under_way for each in limits)
        yield gauge("timeball_creations_under_way", "Creations sent and not answered.", under_way)
        text = "Creations refused for overload."
        yield counter("timeball_creations_refused", text, self._refused)

    def _limit(self, address: str) -> LearnedLimit:
        found = self._limits.get(address)
        if found is None:
            found = self._limits[address] = LearnedLimit(self._clock.now().mono_ms)
        return found

    async def _room_within(self, left_ms: int) -> bool:
        """Whether something was answered before the time was over."""
        self._waiting += 1
        try:
            async with asyncio.timeout(left_ms / 1_000):
                await self._room.wait()
        except TimeoutError:
            return False
        finally:
            self._waiting -= 1
        return True
