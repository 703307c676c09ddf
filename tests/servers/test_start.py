"""Processes that cannot start: one line that says what is amiss, an exit code, and no secret."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from kazoo.security import make_digest_acl

from tests.support import dev_tasks
from tests.support.dev_server import ROOT
from tests.support.polls import until
from tests.support.servers import zookeeper_nodes
from tests.support.servers.addresses import free_ports
from tests.support.servers.cassandra_nodes import CassandraCluster
from tests.support.servers.fixtures import unique_name
from tests.support.servers.runs import LIMIT_S, ended
from tests.support.servers.zookeeper_nodes import ZooKeeperCluster

pytestmark = pytest.mark.timeout(600)
SHARDS = 4
SECRET = "open-sesame"
OK, INVALID, UNREACHABLE = 0, 2, 3
SOON_MS = 1_500


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A keyspace with a schema, and a root that nobody uses yet."""

    cassandra: str
    zookeeper: str
    keyspace: str
    root: str

    def settings(self, **others: object) -> list[str]:
        """Settings of a node here; `store__keyspace=...` replaces one."""
        chosen: dict[str, object] = {
            "store.kind": "cassandra",
            "store.addresses": self.cassandra,
            "store.keyspace": self.keyspace,
            "store.connect_deadline_ms": SOON_MS,
            "coordination.kind": "zookeeper",
            "coordination.addresses": self.zookeeper,
            "coordination.root": self.root,
            "coordination.connect_deadline_ms": SOON_MS,
            "node.name": "north-1",
        }
        chosen |= {name.replace("__", "."): value for name, value in others.items()}
        return [word for path, value in chosen.items() for word in ("--set", f"{path}={value}")]


@pytest.fixture(scope="module")
def keyspace(cassandra_node: CassandraCluster) -> Iterator[str]:
    name = unique_name("start", 30)
    place = ("--cassandra", cassandra_node.endpoints, "--keyspace", name)
    facts = ("--shards", str(SHARDS), "--replicas", "datacenter1=1")
    assert ended("timeball.cli", "schema", "apply", *place, *facts).code == OK
    yield name
    with cassandra_node.session(request_timeout_s=30) as admin:
        admin.execute(f"DROP KEYSPACE {name}")


@pytest.fixture
def place(
    cassandra_node: CassandraCluster, zookeeper_node: ZooKeeperCluster, keyspace: str
) -> Iterator[Place]:
    root = f"/{unique_name('start', 30)}"
    yield Place(
        cassandra=cassandra_node.endpoints,
        zookeeper=zookeeper_node.endpoints,
        keyspace=keyspace,
        root=root,
    )
    with zookeeper_node.session() as admin:
        admin.add_auth("digest", f"scheduler:{SECRET}")
        if admin.exists(root):
            admin.delete(root, recursive=True)


def nowhere() -> str:
    """An address at which nobody listens."""
    (port,) = free_ports(1, ("127.0.0.1",))
    return f"127.0.0.1:{port}"


@pytest.mark.parametrize(
    ("module", "setting", "server"),
    [
        ("scheduler_node", "store__addresses", "Cassandra"),
        ("coordinator", "coordination__addresses", "ZooKeeper"),
    ],
)
def test_who_is_not_there_is_named_waited_for_and_then_given_up(
    place: Place, module: str, setting: str, server: str
) -> None:
    address = nowhere()
    result = ended(module, *place.settings(**{setting: address}))
    assert result.code == UNREACHABLE, result.text
    waiting, end = result.lines
    assert waiting.startswith(f"{server} at {address} ")
    assert waiting.endswith("Trying for up to 1 s.")
    assert end.startswith(f"{module}: {server} at {address} ")


def test_an_executor_gives_up_too() -> None:
    address = nowhere()
    joining = ("--app", dev_tasks.__file__, "--zookeeper", address, "--connect-deadline-ms", "1000")
    result = ended("executor_node", *joining)
    assert result.code == UNREACHABLE, result.text
    assert result.lines[-1].startswith(f"Error: The cluster at {address} could not be joined")


def test_facts_of_another_cluster_are_refused_by_name(place: Place) -> None:
    wrong = place.settings(
        cluster__name="shop", cluster__shards=SHARDS + 1, cluster__replicas="datacenter1=3"
    )
    result = ended("scheduler_node", *wrong)
    (line,) = result.lines
    assert result.code == INVALID
    assert f"it has {SHARDS} shards, not {SHARDS + 1}" in line
    assert "not 'shop'" in line
    assert "copies datacenter1=1, not datacenter1=3" in line


def test_a_keyspace_without_a_schema_is_refused_with_the_command(place: Place) -> None:
    result = ended("coordinator", *place.settings(store__keyspace="never_made"))
    (line,) = result.lines
    assert result.code == INVALID
    assert "timeball schema apply" in line


def test_a_root_of_another_cluster_is_refused(
    place: Place, zookeeper_node: ZooKeeperCluster
) -> None:
    with zookeeper_node.session() as admin:
        admin.create(f"{place.root}/cluster", b"elsewhere/timeball", makepath=True)
    result = ended("scheduler_node", *place.settings())
    line = result.lines[-1]  # after those that tell of the session
    assert result.code == INVALID
    assert f"{place.zookeeper}{place.root} belongs to the cluster" in line
    assert "'elsewhere/timeball'" in line


def test_another_users_entries_are_refused_without_telling_the_secret(
    place: Place, zookeeper_node: ZooKeeperCluster
) -> None:
    owner = make_digest_acl("scheduler", SECRET, all=True)
    with zookeeper_node.session() as admin:
        admin.create(place.root, b"", acl=[owner])
    wrong = {"coordination__user": "scheduler", "coordination__password": "guessed-wrong"}
    node = ended("scheduler_node", *place.settings(**wrong))
    zookeeper = f"{place.zookeeper}{place.root}"
    credentials = ("--zookeeper-user", "scheduler", "--zookeeper-password", "guessed-wrong")
    joining = ("--app", dev_tasks.__file__, "--zookeeper", zookeeper, *credentials)
    executor = ended("executor_node", *joining)
    assert (node.code, executor.code) == (INVALID, 1)
    for result in (node, executor):
        assert f"ZooKeeper at {zookeeper} refuses the user 'scheduler'" in result.lines[-1]
        assert "guessed-wrong" not in result.text
        assert "Traceback" not in result.text


def test_the_user_of_the_entries_starts_and_stops_in_order(place: Place, tmp_path: Path) -> None:
    user = {"coordination__user": "scheduler", "coordination__password": SECRET}
    ready, log = tmp_path / "ready", tmp_path / "log"
    command: Sequence[str] = [
        *(sys.executable, "-m", "scheduler_node", *place.settings(**user)),
        *("--ready-file", str(ready)),
    ]
    with log.open("w") as output, subprocess.Popen(command, cwd=ROOT, stderr=output) as node:
        try:
            until(lambda: ready.exists() or node.poll() is not None, "ready", LIMIT_S)
            node.terminate()
            assert node.wait(LIMIT_S) == OK
        finally:
            node.kill()
    assert SECRET not in log.read_text()
    with zookeeper_nodes.session(place.zookeeper) as admin:
        admin.add_auth("digest", f"scheduler:{SECRET}")
        acls, _ = admin.get_acls(f"{place.root}/cluster")
    assert [each.id.scheme for each in acls] == ["digest"]
