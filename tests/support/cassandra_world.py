"""The Cassandra store as the conformance suites see it: one keyspace, emptied before each test.

The keyspace is made once, kept for the next run on the same server and made anew when the schema
differs; it writes no commit log, so emptying a table takes milliseconds. Two runs at a time need
two servers.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar, Final

from timeball.errors import FailedPrecondition

from tests.support.store_worlds import Columns, with_columns
from timeball_server.core.journal import EventRow
from timeball_server.ports.store import Store
from timeball_server.runtime.clock import SystemClock
from timeball_server.store.cassandra.applying import Applier
from timeball_server.store.cassandra.config import CassandraConfig
from timeball_server.store.cassandra.driver import connect_once
from timeball_server.store.cassandra.migrations import Wishes
from timeball_server.store.cassandra.rows import MINUTE_US, event_values
from timeball_server.store.cassandra.statements import STATEMENTS, Level
from timeball_server.store.cassandra.store import CassandraStore

VARIABLE: Final = "TIMEBALL_TEST_CASSANDRA"
KEYSPACE: Final = "timeball_conformance"
PATIENT_MS: Final = 12_000
_DEFINE_TIMEOUT_S: Final = 60.0
_TARGET: Final = re.compile(r"(?:INSERT INTO|UPDATE|DELETE FROM) (\w+)")
WRITTEN: Final = {
    name: found[1] for name, each in STATEMENTS.items() if (found := _TARGET.match(each.cql))
}
"""The table that each writing statement touches."""


def config(keyspace: str, servers: str | None = None, **more: Any) -> CassandraConfig:
    """How to reach these servers, or the ones that TIMEBALL_TEST_CASSANDRA names.

    Patient by default: a busy machine is slow, and that is not what the tests are about.
    """
    text = os.environ[VARIABLE] if servers is None else servers
    places = [place.rpartition(":") for place in text.split(",")]
    return CassandraConfig(
        contact_points=tuple(host for host, _, _ in places),
        port=int(places[0][2]),
        keyspace=keyspace,
        **{"request_timeout_ms": PATIENT_MS, **more},
    )


class Keyspace:
    """A keyspace of the tests with the schema of this version."""

    def __init__(self, place: CassandraConfig, *, is_durable: bool, copies: int = 1) -> None:
        self.config = place
        self._copies = copies
        self.cluster, self.driver = connect_once(place, None)
        self._applier = Applier(self.cluster, self.driver, place.keyspace, "tests", lambda _: None)
        try:
            self._make(is_durable)
        except FailedPrecondition:  # another version's: nothing in it is worth keeping
            self.drop()
            self._make(is_durable)

    def _make(self, is_durable: bool) -> None:
        self.define(
            f"CREATE KEYSPACE IF NOT EXISTS {self.config.keyspace} WITH replication ="
            f" {{'class': 'NetworkTopologyStrategy', 'replication_factor': {self._copies}}}"
            f" AND durable_writes = {str(is_durable).lower()}"
        )
        self._applier.apply(Wishes(shard_count=64))
        self.empty({"layout"})

    def empty(self, tables: set[str]) -> None:
        """Forget all rows and all tombstones of these tables."""
        sent = [
            self.driver.execute_async(
                f"TRUNCATE {self.config.keyspace}.{table}",
                timeout=_DEFINE_TIMEOUT_S,
                execution_profile=Level.PLAIN.value,
            )
            for table in sorted(tables)
        ]
        for each in sent:
            each.result()

    def define(self, cql: str) -> None:
        """Change the schema."""
        self.driver.execute(cql, timeout=_DEFINE_TIMEOUT_S, execution_profile=Level.PLAIN.value)

    def drop(self) -> None:
        """Remove it with everything in it."""
        self.define(f"DROP KEYSPACE IF EXISTS {self.config.keyspace}")

    def close(self) -> None:
        """Disconnect."""
        self.cluster.shutdown()


class CassandraWorld:
    """An empty keyspace on a real server."""

    detects_other_content: ClassVar[bool] = False
    _written: ClassVar[list[Counter[str]]] = []

    def __init__(self, keyspace: Keyspace, _: Path) -> None:
        self._keyspace = keyspace
        used = {name for requests in self._written for name in requests}
        self._keyspace.empty({WRITTEN[name] for name in used & WRITTEN.keys()})
        self._written.clear()

    async def connect(self) -> Store:
        store = await CassandraStore.open(self._keyspace.config, SystemClock(), _silent)
        self._written.append(store.session.requests)
        return store

    async def write_newer(self, store: Store, row: EventRow, columns: Columns) -> None:
        assert isinstance(store, CassandraStore)
        values = with_columns(event_values(row), columns)
        await store.session.write("add_event", (*values, values[0] * MINUTE_US))


def _silent(_: str) -> None:
    """The servers answer already."""


@contextlib.contextmanager
def shared_keyspace(servers: str) -> Iterator[Keyspace]:
    """The suites' keyspace, empty at first."""
    keyspace = Keyspace(config(KEYSPACE, servers), is_durable=False)
    try:
        keyspace.empty(set(WRITTEN.values()))
        yield keyspace
    finally:
        keyspace.close()
