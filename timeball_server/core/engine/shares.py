"""Whose turn it is among namespaces whose work is equally urgent: by weight, and never saved up.

Start-time fair queueing. Each start moves its namespace's turn ahead by a step that is the shorter
the greater its weight; whoever comes back after a pause begins where the others are.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

STEP: Final = 1 << 20
"""What one start costs a namespace of weight 1; weights go up to 1,000."""
_TIDY_LEAST: Final = 1_024


class Shares:
    """Turns of namespaces. `weight` says how large a namespace's share is, 1 or more."""

    def __init__(self) -> None:
        self.weight: Callable[[str], int] = _alike
        self._now = 0
        self._next: dict[str, int] = {}

    def turn(self, namespace: str) -> int:
        """The namespace's turn; the least goes first. It changes with its own starts alone."""
        return self._next.get(namespace, 0)

    def started(self, namespace: str) -> None:
        """A task of the namespace was started."""
        self._now = max(self._now, self.turn(namespace))
        self._next[namespace] = self._now + STEP // self.weight(namespace)
        if len(self._next) > _TIDY_LEAST:
            self._next = {name: turn for name, turn in self._next.items() if turn > self._now}


def _alike(namespace: str) -> int:
    """Nothing is set: all have the same share."""
    return 1
