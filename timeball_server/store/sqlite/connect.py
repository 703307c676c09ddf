"""Opens the database file: one process at a time, write-ahead log, durable commits.

synchronous is FULL: on a common disk a commit costs a fraction of a millisecond more than
NORMAL, which would lose acknowledged tasks when the machine loses power.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final

from timeball.errors import FailedPrecondition

from timeball_server.store.sqlite.migrations import migrate, packaged_migrations

MIN_SQLITE: Final = (3, 37, 0)
_PRAGMAS: Final = (
    "PRAGMA journal_mode = WAL",
    "PRAGMA synchronous = FULL",
    "PRAGMA cache_size = -8000",
    "PRAGMA journal_size_limit = 67108864",
    "PRAGMA trusted_schema = OFF",
)


@contextmanager
def writer(path: Path, busy_timeout_ms: int) -> Iterator[sqlite3.Connection]:
    """The only writing connection; brings the schema up to date first.

    Raises:
        FailedPrecondition: another process has the file open, the schema does not fit, or this
            Python's SQLite is too old.
    """
    if sqlite3.sqlite_version_info < MIN_SQLITE:
        raise FailedPrecondition(
            f"This Python brings SQLite {sqlite3.sqlite_version}; Timeball needs 3.37 or newer. "
            "Use a Python that was built with a newer one."
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    with _exclusive(path), closing(_connect(path, busy_timeout_ms)) as connection:
        for pragma in _PRAGMAS:
            connection.execute(pragma)
        migrate(connection, packaged_migrations())
        yield connection


@contextmanager
def reader(path: Path, busy_timeout_ms: int) -> Iterator[sqlite3.Connection]:
    """A connection that cannot write; it never waits for the writer."""
    with closing(_connect(path, busy_timeout_ms)) as connection:
        connection.execute("PRAGMA query_only = ON")
        connection.execute("PRAGMA cache_size = -8000")
        yield connection


def _connect(path: Path, busy_timeout_ms: int) -> sqlite3.Connection:
    # isolation_level None: transactions begin and end where the code says so.
    return sqlite3.connect(path, timeout=busy_timeout_ms / 1000, isolation_level=None)


@contextmanager
def _exclusive(path: Path) -> Iterator[None]:
    """Hold the file for this process.

    Two processes would seed their own coordination from one file and give out equal epochs.
    The files are readable by their owner alone: they hold payloads.
    """
    os.close(os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600))
    lock = os.open(f"{path}.lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError as error:
        raise FailedPrecondition(
            f"Another process is using {path}. Stop it, or start with another data directory."
        ) from error
    finally:
        os.close(lock)
