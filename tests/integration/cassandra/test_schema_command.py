"""`timeball schema` against a real server, as a person uses it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from click.testing import CliRunner, Result
from timeball.cli.failures import exit_code
from timeball.errors import Aborted, FailedPrecondition, TimeballError

from tests.support.cassandra_world import config
from tests.support.servers.addresses import free_ports
from tests.support.servers.cassandra_nodes import CassandraCluster
from tests.support.servers.fixtures import unique_name
from timeball_server.cli.schema import command
from timeball_server.core.ids import Minute
from timeball_server.runtime.clock import SystemClock
from timeball_server.store.cassandra.applying import Applier
from timeball_server.store.cassandra.config import CassandraConfig
from timeball_server.store.cassandra.driver import connect_once
from timeball_server.store.cassandra.migrations import Wishes, packaged_migrations
from timeball_server.store.cassandra.store import CassandraStore

NEW = ("--replicas", "datacenter1=1", "--shards", "16")


@pytest.fixture(scope="module")
def place(cassandra_own: CassandraCluster) -> Iterator[CassandraConfig]:
    """A keyspace that is not there yet."""
    found = config(unique_name("schema", 30), cassandra_own.endpoints)
    yield found
    with cassandra_own.session(request_timeout_s=30) as admin:
        admin.execute(f"DROP KEYSPACE IF EXISTS {found.keyspace}")


def run(place: CassandraConfig, *words: str) -> Result:
    """One command."""
    where = (*("--cassandra", place.address), *("--keyspace", place.keyspace))
    return CliRunner().invoke(command, [words[0], *where, *words[1:]])


def refusal(result: Result) -> tuple[int, str]:
    """The exit code and the sentence that the command line makes of an error."""
    assert isinstance(result.exception, TimeballError)
    return exit_code(result.exception), result.exception.message


def open_and_close(place: CassandraConfig) -> int:
    """Open a store as a node does; its number of shards."""

    async def main() -> int:
        store = await CassandraStore.open(place, SystemClock(), print)
        layout = await store.read_layout()
        await store.close()
        assert layout is not None
        return layout.shard_count(Minute(0))

    return asyncio.run(main())


def edit(place: CassandraConfig, text: str) -> None:
    """What no person should do."""
    cluster, driver = connect_once(place, place.keyspace)
    driver.execute(text, execution_profile="conditional")
    cluster.shutdown()


def test_a_cluster_is_made_once_and_repeating_is_harmless(place: CassandraConfig) -> None:
    assert "how many copies" in refusal(run(place, "plan"))[1]
    planned = run(place, "plan", *NEW)
    files = packaged_migrations()
    assert planned.output.splitlines() == [
        "create the keyspace, copies by data center: {'datacenter1': '1'}",
        *(f"apply {each.name}: {len(each.statements)} statements" for each in files),
        "fix the number of shards: 16",
    ]
    with pytest.raises(FailedPrecondition, match="no keyspace"):
        open_and_close(place)
    assert run(place, "apply", *NEW).exit_code == 0
    assert open_and_close(place) == 16
    for words in (("plan",), ("apply",), ("apply", *NEW)):
        again = run(place, *words)
        assert (again.exit_code, "up to date" in again.output) == (0, True)
    code, sentence = refusal(run(place, "apply", "--shards", "32"))
    assert (code, "16 shards" in sentence) == (5, True)
    assert refusal(run(place, "apply", "--replicas", "datacenter1=3"))[0] == 5


def test_a_newer_or_a_changed_schema_is_refused_by_person_and_node(place: CassandraConfig) -> None:
    assert run(place, "apply", *NEW).exit_code == 0
    versions = "schema_versions (cluster, version, name, checksum) VALUES ('default'"
    edit(place, f"INSERT INTO {versions}, 9, '0009_future.cql', 'x') IF NOT EXISTS")
    newest = packaged_migrations()[-1].version
    assert f"knows up to {newest}" in refusal(run(place, "apply"))[1]
    with pytest.raises(FailedPrecondition, match="Install the newer program"):
        open_and_close(place)
    key = "WHERE cluster = 'default' AND version"
    edit(place, f"DELETE FROM schema_versions {key} = 9 IF EXISTS")
    edit(place, f"UPDATE schema_versions SET name = 'kept' {key} = 1 IF EXISTS")
    assert open_and_close(place) == 16
    edit(place, f"DELETE FROM schema_versions {key} = 1 IF EXISTS")
    with pytest.raises(FailedPrecondition, match="lacks 0001_initial"):
        open_and_close(place)
    # Half-way is where a crash leaves it: applying again goes on.
    assert run(place, "apply").exit_code == 0
    assert open_and_close(place) == 16
    edit(place, f"UPDATE schema_versions SET checksum = 'x' {key} = 1 IF EXISTS")
    with pytest.raises(FailedPrecondition, match="was changed after"):
        open_and_close(place)
    edit(place, f"DELETE FROM schema_versions {key} = 1 IF EXISTS")


def test_of_two_persons_one_waits(place: CassandraConfig) -> None:
    assert run(place, "apply", *NEW).exit_code == 0
    edit(place, "DELETE FROM schema_versions WHERE cluster = 'default' AND version = 1 IF EXISTS")

    def one(person: str) -> str:
        cluster, driver = connect_once(place, None)
        try:
            Applier(cluster, driver, place.keyspace, person, print).apply(Wishes())
        except Aborted as error:
            return error.message
        finally:
            cluster.shutdown()
        return "applied"

    with ThreadPoolExecutor(3) as pool:
        answers = list(pool.map(one, ["first", "second", "third"]))
    assert "applied" in answers
    assert all(answer == "applied" or "is applying a schema" in answer for answer in answers)
    assert open_and_close(place) == 16


def test_an_unreachable_database_is_one_line_and_exit_3(place: CassandraConfig) -> None:
    (port,) = free_ports(1, ("127.0.0.1",))
    words = ["plan", "--cassandra", f"127.0.0.1:{port}", "--wait", "0"]
    result = CliRunner().invoke(command, words)
    assert result.exit_code == 3
    assert result.output.startswith(f"error: Cassandra at 127.0.0.1:{port} cannot be reached")
    assert len(result.output.splitlines()) == 1


@pytest.mark.parametrize(
    "words",
    [
        ("--cassandra", "a:1,b:2"),
        ("--cassandra", "a:b:c"),
        ("--replicas", "dc"),
        ("--replicas", "dc=0"),
        ("--shards", "0"),
    ],
    ids=" ".join,
)
def test_what_cannot_be_meant_is_refused(words: tuple[str, ...]) -> None:
    assert CliRunner().invoke(command, ["plan", *words]).exit_code == 2
