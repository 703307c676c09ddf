"""Brings a database file to the schema of this version: numbered files, applied once, in order.

PRAGMA user_version says how far a file is; `schema_versions` keeps each file's checksum. An
applied file never changes: a schema is corrected by a further file.
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files

from timeball.errors import FailedPrecondition

_TABLE = """CREATE TABLE IF NOT EXISTS schema_versions (
    version INTEGER PRIMARY KEY, name TEXT NOT NULL, checksum TEXT NOT NULL,
    applied_at TEXT NOT NULL DEFAULT CURRENT_TIMESTAMP) STRICT"""


@dataclass(frozen=True, slots=True)
class Migration:
    """One numbered file."""

    version: int
    name: str
    text: str

    @property
    def checksum(self) -> str:
        """Tells whether the file is the one that was applied."""
        return hashlib.sha256(self.text.encode()).hexdigest()


def packaged_migrations() -> list[Migration]:
    """The files that this version brings along, in order."""
    folder = files("timeball_server.store.sqlite") / "schema"
    names = sorted(entry.name for entry in folder.iterdir() if entry.name.endswith(".sql"))
    return [Migration(int(name[:4]), name, (folder / name).read_text("utf-8")) for name in names]


def migrate(connection: sqlite3.Connection, migrations: Sequence[Migration]) -> int:
    """Apply what is missing; returns how many files were applied.

    Each file is one transaction: a crash leaves the schema before or after it.

    Raises:
        FailedPrecondition: the file is newer than this version, or an applied file was changed.
    """
    connection.execute(_TABLE)
    version: int = connection.execute("PRAGMA user_version").fetchone()[0]
    _check_newest(version, migrations)
    _check_unchanged(connection, migrations)
    missing = [migration for migration in migrations if migration.version > version]
    for migration in missing:
        _apply(connection, migration)
    return len(missing)


def _check_newest(version: int, migrations: Sequence[Migration]) -> None:
    newest = max((migration.version for migration in migrations), default=0)
    if version > newest:
        raise FailedPrecondition(
            f"The database file has schema version {version}, this program knows up to {newest}. "
            "Install the newer program, or start with another data directory."
        )


def _check_unchanged(connection: sqlite3.Connection, migrations: Sequence[Migration]) -> None:
    known = {migration.version: migration for migration in migrations}
    applied = connection.execute("SELECT version, checksum FROM schema_versions").fetchall()
    for version, checksum in applied:
        if version not in known or known[version].checksum != checksum:
            raise FailedPrecondition(
                f"Schema file {version} was changed after it was applied to this database. "
                "Restore the file as it was released; corrections belong into a new file."
            )


def _apply(connection: sqlite3.Connection, migration: Migration) -> None:
    record = (
        "INSERT INTO schema_versions (version, name, checksum) VALUES "
        f"({migration.version}, '{migration.name}', '{migration.checksum}');"
    )
    step = f"PRAGMA user_version = {migration.version:d};"
    try:
        connection.executescript(f"BEGIN IMMEDIATE;\n{migration.text}\n{record}\n{step}\nCOMMIT;")
    except sqlite3.Error:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
