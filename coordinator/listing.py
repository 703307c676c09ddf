"""Lists of one user's tasks, newest first, day by day.

List rows are hints: every task is read by its journal before it is shown, and those whose
attempt may have begun are asked of their owners. One call reads a bounded number of days and
rows; a page may therefore be short, or empty, and still have a next one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from timeball.errors import InvalidRequest, TimeballError, Violation

from coordinator.deadline import Deadline
from coordinator.outcomes import view_or_error
from coordinator.owner_calls import OwnerCalls
from coordinator.paging import ListQuery, Place, seal, unseal
from coordinator.reader import journal_view
from timeball_server.core.commands import ReadTask
from timeball_server.core.journal import OwnerListRow
from timeball_server.core.limits import MAX_PAGE_ITEMS
from timeball_server.core.model import TaskView
from timeball_server.ports.clock import Clock
from timeball_server.ports.store import Store

DEFAULT_PAGE_ITEMS: Final = 100
DAY_MS: Final = 86_400_000
DEFAULT_RANGE_MS: Final = 7 * DAY_MS
FEWEST_ROWS: Final = 20
ROWS_PER_READ: Final = 200
"""One read takes as many list rows as the page has room for, within these bounds."""
MAX_ROWS: Final = 5_000
"""List rows that one call looks at."""
MAX_DAYS: Final = 40
"""Days that one call looks at."""
OWNER_PATIENCE_MS: Final = 500
"""Owners that do not answer in this time leave their tasks as the journal has them."""


@dataclass(frozen=True, slots=True)
class Page:
    """Tasks, newest first, and the token of the next page, empty at the end."""

    tasks: tuple[TaskView, ...]
    next_token: str


@dataclass(slots=True)
class _Walk:
    """A walk over list rows: where it stands, what it found, and what it may still read."""

    place: Place | None
    wanted: int
    found: list[TaskView] = field(default_factory=list)
    rows_left: int = MAX_ROWS
    days_left: int = MAX_DAYS

    def goes_on(self) -> bool:
        """Whether there is a place to go on from, room on the page, and work left to spend."""
        work_left = self.rows_left > 0 and self.days_left > 0
        return self.place is not None and self.room() > 0 and work_left

    def room(self) -> int:
        """How many more tasks the page takes."""
        return self.wanted - len(self.found)


class Lister:
    """Lists tasks. `token_key` seals page tokens; coordinators of one cluster share it."""

    def __init__(self, store: Store, calls: OwnerCalls, clock: Clock, token_key: bytes) -> None:
        self._store = store
        self._calls = calls
        self._clock = clock
        self._key = token_key

    async def page(
        self, query: ListQuery, page_size: int, page_token: str, deadline: Deadline
    ) -> Page:
        """One page.

        Raises:
            InvalidRequest: the token is not for this query, or the time range is empty.
        """
        place = unseal(page_token, query, self._key) if page_token else self._first(query)
        walk = _Walk(place=place, wanted=min(page_size or DEFAULT_PAGE_ITEMS, MAX_PAGE_ITEMS))
        while walk.goes_on():
            await self._step(walk, query, deadline)
        token = "" if walk.place is None else seal(walk.place, query, self._key)
        return Page(tuple(walk.found), token)

    def _first(self, query: ListQuery) -> Place:
        """Where the first page begins; the range is pinned for all that follow."""
        now_ms = self._clock.now().wall_ms
        to_ms = now_ms + 1 if query.created_to_ms is None else query.created_to_ms
        from_ms = query.created_from_ms
        if from_ms is None:
            from_ms = min(now_ms, to_ms) - DEFAULT_RANGE_MS
        if from_ms >= to_ms:
            sentence = "must be earlier than created_to"
            violation = Violation("created_from", sentence)
            raise InvalidRequest(f"created_from: {sentence}", violations=[violation])
        to_ms = min(to_ms, now_ms + DAY_MS)
        return Place(from_ms=max(from_ms, 0), to_ms=to_ms, day=(to_ms - 1) // DAY_MS)

    async def _step(self, walk: _Walk, query: ListQuery, deadline: Deadline) -> None:
        """Read one batch of list rows, take what fits, and move on."""
        place = walk.place
        if place is None or place.day < place.from_ms // DAY_MS:
            walk.place = None
            return
        limit = min(ROWS_PER_READ, walk.rows_left, max(walk.room(), FEWEST_ROWS))
        batch = await self._store.list_by_owner(
            query.namespace, query.owner, place.day, place.cursor, limit
        )
        walk.rows_left -= max(1, len(batch.rows))
        rows = _fresh_rows(batch.rows, place)
        views = await self._matching(rows, query, deadline)
        room = walk.room()
        walk.found += views[:room]
        if len(views) > room:
            walk.place = _after(place, views[room - 1])
        elif batch.cursor is not None:
            walk.place = replace(_after_row(place, rows), cursor=batch.cursor)
        else:
            walk.days_left -= 1
            walk.place = Place(from_ms=place.from_ms, to_ms=place.to_ms, day=place.day - 1)

    async def _matching(
        self, rows: Sequence[OwnerListRow], query: ListQuery, deadline: Deadline
    ) -> list[TaskView]:
        """The tasks behind these rows that answer the query, as they are now."""
        journals = await self._store.read_journals([row.task_id for row in rows])
        views = []
        for row in rows:
            view = journal_view(journals.get(row.task_id, ()), query.namespace)
            if view is not None and _is_hint_of(row, view):
                views.append(view)
        if query.handler:
            views = [view for view in views if view.spec.handler == query.handler]
        views = await self._with_memory(views, deadline)
        return [view for view in views if not query.states or view.state in query.states]

    async def _with_memory(self, views: Sequence[TaskView], deadline: Deadline) -> list[TaskView]:
        """Replace tasks in hand by what their owners know; the journal cannot say RUNNING."""
        in_hand = [view for view in views if _in_hand(view)]
        if not in_hand:
            return list(views)
        reads = [ReadTask(task_id=view.task_id, namespace=view.spec.namespace) for view in in_hand]
        answers = await self._calls.execute(reads, deadline.within(OWNER_PATIENCE_MS))
        known = {}
        for view, answer in zip(in_hand, answers, strict=True):
            result = view_or_error(answer)
            known[view.task_id] = view if isinstance(result, TimeballError) else result
        return [known.get(view.task_id, view) for view in views]


def _is_hint_of(row: OwnerListRow, view: TaskView) -> bool:
    """Whether the row tells of the creation that was accepted, not of one that lost."""
    return (row.owner, row.created_ms) == (view.spec.owner, view.created_ms)


def _in_hand(view: TaskView) -> bool:
    """Whether an attempt is claimed, so that it may have begun."""
    return not view.terminal and bool(view.attempts) and view.attempts[-1].outcome == "CLAIMED"


def _fresh_rows(rows: Sequence[OwnerListRow], place: Place) -> list[OwnerListRow]:
    """Rows in the range and after the place, each task once."""
    fresh: dict[str, OwnerListRow] = {}
    for row in rows:
        if place.from_ms <= row.created_ms < place.to_ms and _is_after(row, place):
            fresh.setdefault(row.task_id, row)
    return list(fresh.values())


def _is_after(row: OwnerListRow, place: Place) -> bool:
    """Whether the row comes after what was given out: older, or as old with a greater id."""
    if place.after_ms is None or place.after_id is None:
        return True
    return (-row.created_ms, row.task_id) > (-place.after_ms, place.after_id)


def _after(place: Place, view: TaskView) -> Place:
    """The place behind a task that was given out."""
    return replace(place, after_ms=view.created_ms, after_id=view.task_id)


def _after_row(place: Place, rows: Sequence[OwnerListRow]) -> Place:
    """The place behind the last row that was looked at."""
    if not rows:
        return place
    return replace(place, after_ms=rows[-1].created_ms, after_id=rows[-1].task_id)
