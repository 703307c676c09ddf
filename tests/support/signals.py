"""Signals that a test listens to."""

import asyncio
from collections import defaultdict


class RecordedSignals:
    """Keeps every moment and wakes who waits for it."""

    def __init__(self) -> None:
        self.facts: dict[str, list[object]] = defaultdict(list)
        self._changed = asyncio.Event()

    def emit(self, name: str, fact: object = None) -> None:
        self.facts[name].append(fact)
        self._changed.set()

    async def wait(self, name: str, count: int = 1) -> object:
        """The fact of the count-th moment of this name; at once if it is past."""
        while len(self.facts[name]) < count:
            self._changed.clear()
            await self._changed.wait()
        return self.facts[name][count - 1]
