"""How many runs of each handler an executor has, for handlers that may have fewer than its slots.

Owns the counting. A run takes a place from its acceptance until its handler has really returned.
Handlers without a cap are not counted at all.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

from timeball_server.core.messages import RunOrder


class HandlerPlaces:
    """Places of capped handlers.

    Args:
        caps: most runs at once, by handler, each at least 1.
        held: handlers that a former incarnation still has running.
    """

    def __init__(self, caps: Mapping[str, int], held: Mapping[str, int]) -> None:
        self._caps = dict(caps)
        self._running = {handler: held.get(handler, 0) for handler in caps}
        self._queued = dict.fromkeys(caps, 0)

    def admits(self, handler: str) -> bool:
        """Whether one more may be accepted: up to the cap and, to lose no time, a quarter more."""
        cap = self._caps.get(handler)
        if cap is None:
            return True
        return self._running[handler] + self._queued[handler] < cap + max(1, cap // 4)

    def full(self) -> tuple[str, ...]:
        """Handlers whose places are all taken, in order of name."""
        return tuple(
            sorted(h for h, cap in self._caps.items() if self._running[h] + self._queued[h] >= cap)
        )

    def within_caps(self, orders: Iterable[RunOrder]) -> list[RunOrder]:
        """Those of these runs that may begin together now; earlier ones come first."""
        if not self._caps:
            return list(orders)
        begun: Counter[str] = Counter()
        chosen: list[RunOrder] = []
        for order in orders:
            cap = self._caps.get(order.handler)
            if cap is None or self._running[order.handler] + begun[order.handler] < cap:
                begun[order.handler] += 1
                chosen.append(order)
        return chosen

    def queued(self, handler: str) -> None:
        """A run was accepted and waits."""
        if handler in self._queued:
            self._queued[handler] += 1

    def unqueued(self, handler: str) -> None:
        """A waiting run was withdrawn."""
        if handler in self._queued:
            self._queued[handler] -= 1

    def started(self, handler: str) -> None:
        """A waiting run has begun."""
        if handler in self._running:
            self._queued[handler] -= 1
            self._running[handler] += 1

    def ended(self, handler: str) -> None:
        """A handler has really returned."""
        if handler in self._running:
            self._running[handler] -= 1
