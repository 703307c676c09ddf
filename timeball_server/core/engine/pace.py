"""How busy an owner is: how many orders it hands out in a second. Decides nothing about it."""

from __future__ import annotations

_SECOND_MS = 1_000


class Pace:
    """Counts orders by seconds of the clock that never steps."""

    __slots__ = ("_count", "_last", "_since_ms")

    def __init__(self) -> None:
        self._since_ms = 0
        self._count = 0
        self._last = 0

    def note(self, mono_ms: int) -> None:
        """An order was handed out."""
        self._turn(mono_ms)
        self._count += 1

    def per_s(self, mono_ms: int) -> int:
        """Orders of the last full second, or of the one that is not over if those are more."""
        self._turn(mono_ms)
        return max(self._last, self._count)

    def _turn(self, mono_ms: int) -> None:
        seconds = (mono_ms - self._since_ms) // _SECOND_MS
        if seconds > 0:
            self._last = self._count if seconds == 1 else 0
            self._count = 0
            self._since_ms += seconds * _SECOND_MS
