"""A database that is there but cannot answer yet is waited for like one that is not there."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

import pytest
from cassandra import InvalidRequest, OperationTimedOut, ReadTimeout, Unauthorized, Unavailable
from cassandra.cluster import NoHostAvailable
from timeball.errors import FailedPrecondition, StoreUnavailable

from timeball_server.runtime.clock import SystemClock
from timeball_server.store.cassandra.config import CassandraConfig
from timeball_server.store.cassandra.driver import connect

CONFIG = CassandraConfig(contact_points=("database",), connect_deadline_ms=60_000)
ONE_OF_THREE = Unavailable("too few", consistency=6, required_replicas=2, alive_replicas=1)


class Instant(SystemClock):
    """Waits for nothing; each wait counts as so long."""

    def __init__(self) -> None:
        self._slept_ms = 0.0

    def now(self) -> Any:
        now = super().now()
        return now._replace(mono_ms=now.mono_ms + int(self._slept_ms))

    async def sleep_ms(self, duration_ms: float) -> None:
        self._slept_ms += duration_ms


@dataclass
class Driver:
    """A driver's instance, its session too."""

    ended: int = 0
    use_client_timestamp: bool = True

    def connect(self) -> Driver:
        return self

    def shutdown(self) -> None:
        self.ended += 1


@dataclass
class Database:
    """Fails at what is asked of it first, so often, and answers then."""

    errors: list[BaseException]
    said: list[str] = field(default_factory=list)
    made: list[Driver] = field(default_factory=list)

    def make(self, config: CassandraConfig) -> Driver:
        self.made.append(Driver())
        return self.made[-1]

    def prepare(self, cluster: Any, session: Any) -> None:
        if self.errors:
            raise self.errors.pop(0)

    def connect(self) -> Driver:
        cluster, _ = asyncio.run(
            connect(CONFIG, Instant(), self.said.append, None, self.prepare, self.make)
        )
        assert isinstance(cluster, Driver)
        return cluster


@pytest.mark.parametrize(
    "error",
    [
        OperationTimedOut({}, None),
        ReadTimeout("late"),
        ONE_OF_THREE,
        NoHostAvailable("none", {"database": ONE_OF_THREE}),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_database_that_cannot_answer_yet_is_waited_for(error: BaseException) -> None:
    database = Database([error] * 5)
    found = database.connect()
    assert [each.ended for each in database.made] == [1] * 5 + [0]
    assert found is database.made[-1]
    (line,) = database.said
    assert "database:9042" in line


def test_one_that_never_answers_is_named() -> None:
    database = Database([ONE_OF_THREE] * 1_000)
    with pytest.raises(StoreUnavailable, match="database:9042"):
        database.connect()
    assert {each.ended for each in database.made} == {1}
    assert 100 <= len(database.made) <= 121


@pytest.mark.parametrize("error", [InvalidRequest("no such table"), Unauthorized("no")])
def test_what_time_cannot_mend_is_told_at_once(error: BaseException) -> None:
    database = Database([error])
    with pytest.raises(FailedPrecondition):
        database.connect()
    assert [each.ended for each in database.made] == [1]
