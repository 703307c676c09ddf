"""Carries out a plan on a keyspace, one person at a time. Blocks; runs beside no service.

A lock row that expires by itself keeps a second person out; it is renewed before every statement,
so that a lock that was lost stops the work. After each statement all nodes must agree on the
schema before the next one: two changes under way at once are how clusters come apart.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, Final

from cassandra import DriverException, RequestValidationException, protocol
from cassandra.cluster import NoHostAvailable
from cassandra.connection import ConnectionException
from timeball.errors import Aborted, FailedPrecondition, StoreUnavailable

from timeball_server.store.cassandra.conditions import CLUSTER
from timeball_server.store.cassandra.migrations import (
    Migration,
    Plan,
    Wishes,
    packaged_migrations,
    plan,
    read_facts,
)
from timeball_server.store.cassandra.statements import Level

LOCK_TTL_S: Final = 120
_CHANGE_TIMEOUT_S: Final = 60.0
_AGREEMENT_S: Final = 60.0
_TABLES: Final = {
    "schema_versions": "(cluster text, version int, name text, checksum text, applied_by text,"
    " applied_at_ms bigint, PRIMARY KEY ((cluster), version))",
    "schema_lock": "(name text PRIMARY KEY, owner text)",
}
# The driver tells some of the servers' errors in its own words and hands others on as messages.
_REFUSED: Final = (RequestValidationException, protocol.RequestValidationException)
_UNSURE: Final = (
    NoHostAvailable,
    DriverException,
    ConnectionException,
    protocol.ErrorMessage,
    OSError,
)

Say = Callable[[str], None]


class Applier:
    """Changes one keyspace; `owner` is a text that no other person's run has."""

    def __init__(self, cluster: Any, driver: Any, keyspace: str, owner: str, say: Say) -> None:
        self._cluster = cluster
        self._driver = driver
        self._keyspace = keyspace
        self._owner = owner
        self._say = say

    def plan(self, wishes: Wishes) -> Plan:
        """What `apply` would do now; changes nothing.

        Raises:
            FailedPrecondition: as `migrations.plan`.
            StoreUnavailable: the database could not be read.
        """
        with _told():
            return plan(read_facts(self._driver, self._keyspace), wishes, packaged_migrations())

    def apply(self, wishes: Wishes) -> None:
        """Bring the keyspace to this version's schema. Safe to repeat, also after a failure.

        Raises:
            FailedPrecondition: as `plan`, or the servers refuse a statement.
            Aborted: somebody else is applying a schema now.
            StoreUnavailable: a change was not confirmed; run it again.
        """
        wanted = self.plan(wishes)
        with _told():
            if wanted.keyspace is not None:
                self._say(wanted.lines[0])
                options = ", ".join(f"'{key}': '{text}'" for key, text in wanted.keyspace.items())
                self._change(
                    f"CREATE KEYSPACE IF NOT EXISTS {self._keyspace}"
                    f" WITH replication = {{{options}}}"
                )
            self._make_own_tables()
            with self._locked():
                self._apply(self.plan(wishes))

    def _apply(self, wanted: Plan) -> None:
        for line in wanted.lines:
            self._say(line)
        self._driver.set_keyspace(self._keyspace)
        for migration in wanted.migrations:
            for statement in migration.statements:
                self._renew()
                self._change(statement)
            self._record(migration)
        if wanted.shard_count is not None:
            self._condition(
                f"INSERT INTO {self._keyspace}.layout (cluster, from_minute, shard_count)"
                " VALUES (%s, 0, %s) IF NOT EXISTS",
                (CLUSTER, wanted.shard_count),
            )

    def _make_own_tables(self) -> None:
        """Before there is a lock: equal ids make two people's simultaneous tables one."""
        for name, columns in _TABLES.items():
            number = uuid.uuid5(uuid.NAMESPACE_DNS, f"{name}.{self._keyspace}.timeball")
            self._change(
                f"CREATE TABLE IF NOT EXISTS {self._keyspace}.{name} {columns} WITH ID = {number}"
            )

    def _record(self, migration: Migration) -> None:
        self._condition(
            f"INSERT INTO {self._keyspace}.schema_versions"
            " (cluster, version, name, checksum, applied_by, applied_at_ms)"
            " VALUES (%s, %s, %s, %s, %s, to_unix_timestamp(now())) IF NOT EXISTS",
            (CLUSTER, migration.version, migration.name, migration.checksum, self._owner),
        )

    @contextmanager
    def _locked(self) -> Iterator[None]:
        standing = self._condition(
            f"INSERT INTO {self._keyspace}.schema_lock (name, owner) VALUES (%s, %s)"
            f" IF NOT EXISTS USING TTL {LOCK_TTL_S}",
            (CLUSTER, self._owner),
        )
        if standing is not None and standing["owner"] != self._owner:
            raise Aborted(
                f"{standing['owner']} is applying a schema to {self._keyspace}. Wait until that "
                f"has ended; a lock that was left behind expires within {LOCK_TTL_S} s."
            )
        try:
            yield
        except BaseException:
            with suppress(*_UNSURE):  # what went wrong before says more; the lock expires
                self._unlock()
            raise
        self._unlock()

    def _unlock(self) -> None:
        self._condition(
            f"DELETE FROM {self._keyspace}.schema_lock WHERE name = %s IF owner = %s",
            (CLUSTER, self._owner),
        )

    def _renew(self) -> None:
        standing = self._condition(
            f"UPDATE {self._keyspace}.schema_lock USING TTL {LOCK_TTL_S} SET owner = %s"
            " WHERE name = %s IF owner = %s",
            (self._owner, CLUSTER, self._owner),
        )
        if standing is not None:
            raise Aborted(
                "The schema lock was lost: this run took too long, or somebody else took over. "
                "Look at `timeball schema plan` and apply again."
            )

    def _condition(self, text: str, values: tuple[object, ...]) -> dict[str, Any] | None:
        """None when it was applied, otherwise what stands there."""
        row: dict[str, Any] = self._driver.execute(
            text, values, execution_profile=Level.CONDITIONAL.value
        ).one()
        return None if row["[applied]"] else row

    def _change(self, text: str) -> None:
        """One change of the schema, and the agreement of all nodes on it."""
        self._driver.execute(text, timeout=_CHANGE_TIMEOUT_S, execution_profile=Level.PLAIN.value)
        control = self._cluster.control_connection
        if not control.wait_for_schema_agreement(wait_time=_AGREEMENT_S):
            raise StoreUnavailable(
                "The nodes do not agree on the schema. Look at `nodetool describecluster`, then "
                "apply again: it goes on where it stopped."
            )


@contextmanager
def _told() -> Iterator[None]:
    """Turn the driver's errors into ours."""
    try:
        yield
    except _REFUSED as error:
        raise FailedPrecondition(
            f"The servers refuse a statement of the schema: {error}. Nothing after it was done."
        ) from error
    except _UNSURE as error:
        text = " ".join(str(error).split())[:200]
        raise StoreUnavailable(
            f"The database did not confirm a change ({type(error).__name__}: {text}). Apply again: "
            "it goes on where it stopped."
        ) from error
