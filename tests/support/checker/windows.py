"""Windows of time and what fell into them: earliest deadline first.

For windows and starts on one line, giving each start to the open window that closes first leaves
as few windows empty as any assignment can; a greedy walk in order of opening does not.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Window:
    """A time in which something must, or may, begin. Both ends are included."""

    opens_us: int
    closes_us: int
    name: str = ""


@dataclass(frozen=True, slots=True)
class Matching:
    """Windows that stayed empty and starts that fell into none."""

    empty: tuple[Window, ...]
    extra: tuple[int, ...]


def match(windows: Iterable[Window], starts_us: Iterable[int]) -> Matching:
    """Give each start to at most one window and each window at most one start."""
    waiting = sorted(windows, key=lambda window: window.opens_us)
    position = 0
    open_: list[tuple[int, int, Window]] = []
    empty: list[Window] = []
    extra: list[int] = []
    for start_us in sorted(starts_us):
        while position < len(waiting) and waiting[position].opens_us <= start_us:
            window = waiting[position]
            heapq.heappush(open_, (window.closes_us, position, window))
            position += 1
        while open_ and open_[0][0] < start_us:
            empty.append(heapq.heappop(open_)[2])
        if open_:
            heapq.heappop(open_)
        else:
            extra.append(start_us)
    empty += [window for _, _, window in open_]
    return Matching((*empty, *waiting[position:]), tuple(extra))
