"""Listings of the SQLite store: one query per partition, merged newest first, cut into pages."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from heapq import merge
from typing import Final

from timeball_server.core.journal import DeadLetterRow, OwnerListRow, StateListRow
from timeball_server.ports.store import ListPage
from timeball_server.store.keys import STATE_SLICES, Cursor, take_page
from timeball_server.store.records import (
    RowT,
    Values,
    by_owner_from,
    by_state_from,
    dead_letter_from,
)
from timeball_server.store.sqlite.statements import STATEMENTS

START: Final[Cursor] = (2**63 - 1, "")
"""The place before the newest row."""


def by_owner(
    connection: sqlite3.Connection, partition: Values, after: Cursor, limit: int
) -> ListPage[OwnerListRow]:
    """A user's tasks of a day; the partition is (namespace, owner, day)."""
    rows = _rows(connection, "by_owner", partition, after, by_owner_from)
    return take_page(rows, lambda row: (row.created_ms, row.task_id), limit)


def by_state(
    connection: sqlite3.Connection, partition: Values, after: Cursor, limit: int
) -> ListPage[StateListRow]:
    """Tasks that entered a state; the partition is (namespace, state, day), in all its slices."""
    slices = [
        _rows(connection, "by_state", (*partition, number), after, by_state_from)
        for number in range(STATE_SLICES)
    ]
    rows = merge(*slices, key=lambda row: (-row.at_ms, row.task_id, -row.epoch))
    return take_page(rows, lambda row: (row.at_ms, row.task_id), limit)


def dead_letters(
    connection: sqlite3.Connection, partition: Values, after: Cursor, limit: int
) -> ListPage[DeadLetterRow]:
    """What people must look at; the partition is (namespace, day)."""
    rows = _rows(connection, "dead_letters", partition, after, dead_letter_from)
    return take_page(rows, lambda row: (row.at_ms, row.task_id), limit)


def _rows(
    connection: sqlite3.Connection,
    name: str,
    partition: Values,
    after: Cursor,
    from_values: Callable[[Values], RowT],
) -> Iterator[RowT]:
    at_ms, task_id = after
    place = (*partition, at_ms, at_ms, task_id)
    return map(from_values, connection.execute(STATEMENTS[name], place))
