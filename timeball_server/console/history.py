"""The last ten minutes as scheduler nodes tell them, second by second, put together.

Every row has a revision, so a viewer that was away is sent what changed and nothing else. What a
node told stays when the node is gone. Times are the nodes' own; nothing is decided by them.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from math import ceil
from typing import Final

from timeball_server.core.ids import NodeId
from timeball_server.ports.owners import LATENESS_BOUNDS_MS, NodeFigures, SecondFigures

SECONDS: Final = 600
"""How far it goes back."""
SKEW_S: Final = 5
"""A node whose clock is further behind the first one than this holds nobody up."""
SILENCE_S: Final = 10
"""When no node tells anything any more, time goes on here so much later."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lateness:
    """Of some starts, in milliseconds; p50 and p99 rounded up to a bound, None without starts."""

    starts: int = 0
    p50_ms: int | None = None
    p99_ms: int | None = None
    max_ms: int | None = None


@dataclass(slots=True)
class _Second:
    revision: int
    by_node: dict[NodeId, SecondFigures]


class History:
    """What was told, by second.

    `since_s` and `until_s` bound what is known; the last minute ends at `end_s`, known or not.
    """

    def __init__(self) -> None:
        self.revision = 0
        self.since_s = 0
        self.until_s = 0
        self.end_s = 0
        self._seconds: dict[int, _Second] = {}
        self._until: dict[NodeId, int] = {}

    def from_s(self, node: NodeId) -> int:
        """The first second that this node has not told."""
        return self._until.get(node, 0)

    def absorb(self, nodes: Mapping[NodeId, NodeFigures], at_s: int) -> None:
        """Take in what the nodes of one look told, at this second of our own clock."""
        if nodes:
            self._take(nodes)
        if self.until_s:
            self.end_s = max(self.until_s, at_s - SILENCE_S)

    def _take(self, nodes: Mapping[NodeId, NodeFigures]) -> None:
        self.revision += 1
        for node, figures in nodes.items():
            self._until[node] = figures.until_s
            for row in figures.seconds:
                second = self._seconds.setdefault(row.second, _Second(0, {}))
                second.by_node[node] = row
                second.revision = self.revision
        newest = max(figures.until_s for figures in nodes.values())
        oldest = min(figures.since_s for figures in nodes.values())
        self.until_s = max(newest - SKEW_S, min(each.until_s for each in nodes.values()))
        self.since_s = max(newest - SECONDS, min(self.since_s or oldest, oldest))
        self._forget()

    def rows_after(self, revision: int) -> list[list[int | None]]:
        """Seconds that changed since, each as second, created, starts, failed, p50, p99, max."""
        changed = (each for each in self._seconds.items() if each[1].revision > revision)
        return [_row(second, kept.by_node.values()) for second, kept in sorted(changed)]

    def lateness(self, last_s: int) -> Lateness:
        """Of all starts in so many last seconds."""
        return _lateness(self._last(last_s))

    def created(self, last_s: int) -> int:
        """Tasks that were created in so many last seconds."""
        return sum(row.created for row in self._last(last_s))

    def failed(self, last_s: int) -> int:
        """Tasks that failed for good in so many last seconds."""
        return sum(row.failed for row in self._last(last_s))

    def _last(self, last_s: int) -> list[SecondFigures]:
        first = self.end_s - last_s
        kept = (each for second, each in self._seconds.items() if second >= first)
        return [row for second in kept for row in second.by_node.values()]

    def _forget(self) -> None:
        for second in [each for each in self._seconds if each < self.since_s]:
            del self._seconds[second]


def _row(second: int, rows: Iterable[SecondFigures]) -> list[int | None]:
    kept = list(rows)
    late = _lateness(kept)
    created, failed = sum(row.created for row in kept), sum(row.failed for row in kept)
    return [second, created, late.starts, failed, late.p50_ms, late.p99_ms, late.max_ms]


def _lateness(rows: Sequence[SecondFigures]) -> Lateness:
    counts = [sum(places) for places in zip(*(row.late_counts for row in rows), strict=True)]
    if not sum(counts):
        return Lateness()
    max_ms = max(row.late_max_ms for row in rows)
    return Lateness(
        starts=sum(counts),
        p50_ms=min(max_ms, _quantile_ms(counts, 0.5)),
        p99_ms=min(max_ms, _quantile_ms(counts, 0.99)),
        max_ms=max_ms,
    )


def _quantile_ms(counts: Sequence[int], share: float) -> int:
    """The bound that this share does not exceed; what lies above the last one counts as it."""
    position = bisect_left(list(accumulate(counts)), ceil(share * sum(counts)))
    return LATENESS_BOUNDS_MS[min(position, len(LATENESS_BOUNDS_MS) - 1)]
