"""Reads the audit log page by page, newest first, with bounded work for each page."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, NamedTuple

from timeball.errors import refused

from coordinator.paging import seal_words, unseal_words
from coordinator.walk import DAY_MS, DEFAULT_RANGE_MS, MAX_DAYS, MAX_ROWS, page_items
from timeball_server.ports.access import AccessStore, AuditRow
from timeball_server.ports.clock import Clock

LEAST_COST_ROWS: Final = 25
"""A read costs as much as this many rows, so that small pages with a filter end too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditQuery:
    """What is asked for; `namespace` empty = what concerns the whole cluster."""

    namespace: str
    actor: str = ""
    action: str = ""
    from_ms: int | None = None
    to_ms: int | None = None

    def words(self) -> list[object]:
        """What a page token is bound to."""
        return ["audit", self.namespace, self.actor, self.action, self.from_ms, self.to_ms]


class AuditPage(NamedTuple):
    """Rows, newest first, and the token of the next page, empty at the end."""

    rows: list[AuditRow]
    next_token: str


class _Place(NamedTuple):
    """Where a page begins; the range is pinned by the first one."""

    from_ms: int
    to_ms: int
    day: int
    cursor: str | None = None


class AuditLog:
    """Reads. `token_key` seals page tokens."""

    def __init__(self, access: AccessStore, clock: Clock, token_key: bytes) -> None:
        self._access = access
        self._clock = clock
        self._key = token_key

    async def page(self, query: AuditQuery, page_size: int, page_token: str) -> AuditPage:
        """One page; it may be short, or empty, and still have a next one.

        Raises:
            InvalidRequest: the token is not for this query, or the time range is empty.
        """
        place: _Place | None = self._first(query)
        if page_token:
            place = _Place(*unseal_words(page_token, query.words(), self._key))
        wanted = page_items(page_size)
        rows: list[AuditRow] = []
        rows_left, days_left = MAX_ROWS, MAX_DAYS
        while place is not None and len(rows) < wanted and rows_left > 0 and days_left > 0:
            room = wanted - len(rows)
            page = await self._access.list_audit(query.namespace, place.day, place.cursor, room)
            rows += [row for row in page.rows if _matches(row, query, place)]
            rows_left -= max(LEAST_COST_ROWS, len(page.rows))
            days_left -= page.cursor is None
            place = _next(place, page.cursor)
        token = "" if place is None else seal_words(list(place), query.words(), self._key)
        return AuditPage(rows, token)

    def _first(self, query: AuditQuery) -> _Place:
        now_ms = self._clock.now().wall_ms
        to_ms = now_ms + 1 if query.to_ms is None else min(query.to_ms, now_ms + DAY_MS)
        from_ms = to_ms - DEFAULT_RANGE_MS if query.from_ms is None else query.from_ms
        if from_ms >= to_ms:
            sentence = "must be earlier than noted_to, and not in the future"
            raise refused("noted_from", sentence)
        return _Place(max(0, from_ms), to_ms, (to_ms - 1) // DAY_MS)


def _matches(row: AuditRow, query: AuditQuery, place: _Place) -> bool:
    return (
        place.from_ms <= row.at_ms < place.to_ms
        and query.actor in ("", row.actor)
        and query.action in ("", row.action)
    )


def _next(place: _Place, cursor: str | None) -> _Place | None:
    """Where to go on: in the same day, the day before, or nowhere."""
    if cursor is not None:
        return place._replace(cursor=cursor)
    if place.day <= place.from_ms // DAY_MS:
        return None
    return place._replace(day=place.day - 1, cursor=None)
