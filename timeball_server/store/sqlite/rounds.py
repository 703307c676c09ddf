"""What one round of a lane does: group commit for writes, one by one for reads.

Owns the meaning of SQLite's errors: what was certainly not written, and what is unknown.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Final

from timeball.errors import Internal, OutcomeUnknown, StoreUnavailable, TimeballError

from timeball_server.store.sqlite.lane import Outcome, Work
from timeball_server.store.sqlite.statements import STATEMENTS

_FAILURES: Final = (TimeballError, sqlite3.Error, ValueError, OverflowError)
# A value that cannot be stored is our mistake: a repeat would fail in the same way.
_MISTAKES: Final = (
    sqlite3.IntegrityError,
    sqlite3.ProgrammingError,
    sqlite3.InterfaceError,
    sqlite3.DataError,
    ValueError,
    OverflowError,
)


def commit_round(connection: sqlite3.Connection, works: Sequence[Work]) -> list[Outcome]:
    """Run all work in one transaction.

    When one piece fails, nothing of the round stays and each piece runs in a transaction of its
    own, so that one bad call cannot fail its neighbours.
    """
    try:
        connection.execute(STATEMENTS["begin"])
    except sqlite3.Error as error:
        return [Outcome(error=_not_written(error)) for _ in works]
    try:
        values = [work(connection) for work in works]
    except _FAILURES as error:
        _roll_back(connection)
        if len(works) == 1:
            return [Outcome(error=_not_written(error))]
        return [outcome for work in works for outcome in commit_round(connection, [work])]
    return _commit(connection, values)


def read_round(connection: sqlite3.Connection, works: Sequence[Work]) -> list[Outcome]:
    """Run each piece of work for itself; every statement sees the latest commit."""
    return [_read(connection, work) for work in works]


def _read(connection: sqlite3.Connection, work: Work) -> Outcome:
    try:
        return Outcome(work(connection))
    except _FAILURES as error:
        return Outcome(error=_not_written(error))


def _commit(connection: sqlite3.Connection, values: Sequence[object]) -> list[Outcome]:
    try:
        connection.execute(STATEMENTS["commit"])
    except sqlite3.Error as error:
        _roll_back(connection)
        text = f"The database failed while it committed ({error}); the write may have happened."
        return [Outcome(error=OutcomeUnknown(text)) for _ in values]
    return [Outcome(value) for value in values]


def _roll_back(connection: sqlite3.Connection) -> None:
    # SQLite ends the transaction by itself on some errors, for example when the disk is full.
    if connection.in_transaction:
        connection.execute(STATEMENTS["rollback"])


def _not_written(error: Exception) -> TimeballError:
    if isinstance(error, TimeballError):
        return error
    if isinstance(error, _MISTAKES):
        return Internal(f"A value cannot be stored: {error}. Nothing was written. Report this.")
    return StoreUnavailable(f"The database refused: {error}. Nothing was written.")
