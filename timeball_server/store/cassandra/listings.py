"""Listings of the Cassandra store: newest first, cut into pages, hints for people.

A listing's key is ordered by instant downwards and by task upwards, so a page that begins in the
middle of an instant takes two queries: the rest of the instant, and what lies before it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from heapq import merge
from typing import Final

from timeball_server.core.journal import DeadLetterRow, OwnerListRow, StateListRow
from timeball_server.ports.store import ListPage
from timeball_server.store.cassandra.rows import Values
from timeball_server.store.cassandra.session import Session
from timeball_server.store.keys import STATE_SLICES, Cursor, take_page
from timeball_server.store.records import (
    RowT,
    by_owner_from,
    by_state_from,
    dead_letter_from,
)

START: Final[Cursor] = (2**63 - 1, "")
"""The place before the newest row."""


async def by_owner(
    session: Session, partition: Values, after: Cursor, limit: int
) -> ListPage[OwnerListRow]:
    """A user's tasks of a day; the partition is (namespace, owner, day)."""
    rows = await _rows(session, "by_owner", partition, after, limit, by_owner_from)
    return take_page(rows, lambda row: (row.created_ms, row.task_id), limit)


async def by_state(
    session: Session, partition: Values, after: Cursor, limit: int
) -> ListPage[StateListRow]:
    """Tasks that entered a state; the partition is (namespace, state, day), in all its slices."""
    slices = await asyncio.gather(
        *(
            _rows(session, "by_state", (*partition, number), after, limit, by_state_from)
            for number in range(STATE_SLICES)
        )
    )
    rows = merge(*slices, key=lambda row: (-row.at_ms, row.task_id, -row.epoch))
    return take_page(rows, lambda row: (row.at_ms, row.task_id), limit)


async def dead_letters(
    session: Session, partition: Values, after: Cursor, limit: int
) -> ListPage[DeadLetterRow]:
    """What people must look at; the partition is (namespace, day)."""
    rows = await _rows(session, "dead_letters", partition, after, limit, dead_letter_from)
    return take_page(rows, lambda row: (row.at_ms, row.task_id), limit)


async def _rows(
    session: Session,
    name: str,
    partition: Values,
    after: Cursor,
    limit: int,
    from_values: Callable[[Values], RowT],
) -> Iterable[RowT]:
    """One row more than the page holds tells whether there is another page."""
    at_ms, task_id = after
    wanted = limit + 1
    found: list[Values] = []
    if after != START:
        found += await session.read(f"{name}_at", (*partition, at_ms, task_id, wanted))
    if len(found) < wanted:
        place = (*partition, at_ms, wanted - len(found))
        found += await session.read(f"{name}_before", place)
    return map(from_values, found)
