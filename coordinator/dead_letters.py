"""Lists tasks that failed for good, newest first, day by day.

The rows are hints written by owners, also by those that lost: every task is read by its journal
before it is shown. One call reads a bounded number of days and rows; a page may therefore be
short, or empty, and still have a next one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final, NamedTuple

from timeball.errors import InvalidRequest, Violation

from coordinator.listing import DAY_MS, DEFAULT_PAGE_ITEMS, MAX_DAYS, MAX_ROWS, ROWS_PER_READ
from coordinator.paging import ListQuery, Place, seal, unseal
from coordinator.reader import journal_view
from timeball_server.core.journal import DeadLetterRow
from timeball_server.core.limits import MAX_PAGE_ITEMS
from timeball_server.core.model import PublicState, TaskView
from timeball_server.ports.clock import Clock
from timeball_server.ports.store import Store

DEFAULT_RANGE_MS: Final = 7 * DAY_MS
_MARK: Final = "/dead letters"
"""No user can be called this, so tokens of other listings are refused here."""


class Letter(NamedTuple):
    """A dead letter: the row that says so, and the task behind it."""

    row: DeadLetterRow
    task: TaskView


class LettersPage(NamedTuple):
    """Letters, newest first, and the token of the next page, empty at the end."""

    letters: list[Letter]
    next_token: str


class DeadLetters:
    """Lists dead letters. `token_key` seals page tokens."""

    def __init__(self, store: Store, clock: Clock, token_key: bytes) -> None:
        self._store = store
        self._clock = clock
        self._key = token_key

    async def page(
        self,
        namespace: str,
        *,
        from_ms: int | None = None,
        to_ms: int | None = None,
        page_size: int = 0,
        page_token: str = "",
    ) -> LettersPage:
        """One page of what failed from inclusive `from_ms` to exclusive `to_ms`.

        Raises:
            InvalidRequest: the token is not for this query, or the time range is empty.
        """
        query = ListQuery(
            namespace=namespace, owner=_MARK, created_from_ms=from_ms, created_to_ms=to_ms
        )
        place: Place | None = (
            unseal(page_token, query, self._key) if page_token else self._first(from_ms, to_ms)
        )
        wanted = min(page_size or DEFAULT_PAGE_ITEMS, MAX_PAGE_ITEMS)
        found: dict[str, Letter] = {}
        rows_left, days_left = MAX_ROWS, MAX_DAYS
        while place is not None and len(found) < wanted and rows_left > 0 and days_left > 0:
            limit = min(ROWS_PER_READ, wanted - len(found), rows_left)
            batch = await self._store.list_dead_letters(namespace, place.day, place.cursor, limit)
            for letter in await self._verified(batch.rows, place, namespace):
                found.setdefault(letter.row.task_id, letter)
            rows_left -= max(1, len(batch.rows))
            days_left -= batch.cursor is None
            place = _next(place, batch.cursor)
        token = "" if place is None else seal(place, query, self._key)
        return LettersPage(list(found.values()), token)

    def _first(self, from_ms: int | None, to_ms: int | None) -> Place:
        """Where the first page begins; the range is pinned for all that follow."""
        now_ms = self._clock.now().wall_ms
        end_ms = min(now_ms + DAY_MS, now_ms + 1 if to_ms is None else to_ms)
        start_ms = max(0, end_ms - DEFAULT_RANGE_MS if from_ms is None else from_ms)
        if start_ms >= end_ms:
            sentence = "must be earlier than failed_to, and not in the future"
            violation = Violation("failed_from", sentence)
            raise InvalidRequest(f"failed_from: {sentence}", violations=[violation])
        return Place(from_ms=start_ms, to_ms=end_ms, day=(end_ms - 1) // DAY_MS)

    async def _verified(
        self, rows: Sequence[DeadLetterRow], place: Place, namespace: str
    ) -> list[Letter]:
        """Those rows of the range that tell the truth about their task."""
        rows = [row for row in rows if place.from_ms <= row.at_ms < place.to_ms]
        journals = await self._store.read_journals([row.task_id for row in rows])
        letters = []
        for row in rows:
            view = journal_view(journals.get(row.task_id, ()), namespace)
            if view is not None and _is_hint_of(row, view):
                letters.append(Letter(row, view))
        return letters


def _is_hint_of(row: DeadLetterRow, view: TaskView) -> bool:
    """Whether the row tells of the end that was accepted, not of one that lost."""
    return view.state is PublicState.FAILED and view.updated_ms == row.at_ms


def _next(place: Place, cursor: str | None) -> Place | None:
    """Where to go on: in the same day, the day before, or nowhere."""
    if cursor is not None:
        return replace(place, cursor=cursor)
    if place.day <= place.from_ms // DAY_MS:
        return None
    return replace(place, day=place.day - 1, cursor=None)
