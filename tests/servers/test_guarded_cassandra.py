"""A Cassandra that asks for a password and speaks TLS alone, with a certificate made here."""

from __future__ import annotations

import ssl
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from cassandra.query import SimpleStatement

from tests.support.polls import until
from tests.support.servers import cassandra_nodes
from tests.support.servers.cassandra_nodes import Access, CassandraCluster
from tests.support.servers.fixtures import logs, run_name
from tests.support.servers.runs import Ended, ended
from tools import jars

pytestmark = pytest.mark.timeout(600)
USER, SECRET, STORE_SECRET = "timeball_node", "open-sesame", "of-the-file"
GUARD = """
authenticator: PasswordAuthenticator
authorizer: CassandraAuthorizer
role_manager: CassandraRoleManager
client_encryption_options:
  enabled: true
  optional: false
  keystore: {keystore}
  keystore_password: {secret}
  store_type: PKCS12
"""


def certificate(folder: Path, name: str) -> tuple[Path, Path]:
    """A key store with a certificate for 127.0.0.1 that signs itself, and it alone as PEM."""
    keytool = jars.java().resolve().with_name("keytool")
    store, pem = folder / f"{name}.p12", folder / f"{name}.pem"
    common = ["-keystore", str(store), "-storetype", "PKCS12", "-storepass", STORE_SECRET]
    made = ["-genkeypair", "-alias", "node", "-keyalg", "EC", "-dname", f"CN={name}"]
    made += ["-ext", "san=ip:127.0.0.1", "-ext", "bc=ca:true", "-validity", "2"]
    told = ["-exportcert", "-rfc", "-alias", "node", "-file", str(pem)]
    for words in (made, told):
        subprocess.run([str(keytool), *words, *common], check=True, capture_output=True)
    return store, pem


@dataclass(frozen=True, slots=True)
class Guarded:
    """The node, and the file that a client needs to trust it."""

    cluster: CassandraCluster
    ca: Path

    @property
    def endpoints(self) -> str:
        return self.cluster.endpoints


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    folder = tmp_path_factory.mktemp("guarded")
    keystore, ca = certificate(folder, "node")
    access = Access(
        username="cassandra",
        password="cassandra",
        ssl_context=ssl.create_default_context(cafile=str(ca)),
    )
    cluster = cassandra_nodes.prepared(
        1,
        name=run_name("guarded"),
        folder=folder / "data",
        logs=logs(),
        guard=GUARD.format(keystore=keystore, secret=STORE_SECRET),
        access=access,
    )
    try:
        cluster.start()
        with cluster.session(request_timeout_s=30) as admin:
            made = f"CREATE ROLE {USER} WITH PASSWORD = '{SECRET}' AND LOGIN = true"
            admin.execute(SimpleStatement(made))
        yield Guarded(cluster, ca)
    finally:
        cluster.close()


def schema(guarded: Guarded, verb: str, *words: str, ca: Path | None = None) -> Ended:
    """`timeball schema` as the superuser."""
    place = ["--cassandra", guarded.endpoints, "--tls-ca", str(ca or guarded.ca), "--wait", "1"]
    role = ["--username", "cassandra", "--password", "cassandra"]
    return ended("timeball.cli", "schema", verb, *place, *role, *words)


def node(guarded: Guarded, **others: object) -> Ended:
    """A scheduler node that will find no ZooKeeper, once the database has let it in."""
    settings = {
        "store.kind": "cassandra",
        "store.addresses": guarded.endpoints,
        "store.connect_deadline_ms": 1_000,
        "store.username": USER,
        "store.password": SECRET,
        "store.tls_ca": guarded.ca,
        "coordination.kind": "zookeeper",
        "coordination.addresses": "127.0.0.1:1",
        "coordination.connect_deadline_ms": 0,
        "node.name": "north-1",
    }
    settings |= {name.replace("__", "."): value for name, value in others.items()}
    words = [word for path, value in settings.items() for word in ("--set", f"{path}={value}")]
    return ended("scheduler_node", *words)


def test_with_password_and_certificate_everything_works(guarded: Guarded) -> None:
    facts = ("--shards", "4", "--replicas", "datacenter1=1")
    applied = schema(guarded, "apply", *facts)
    assert applied.code == 0, applied.text
    # The role may log in and nothing else yet.
    refused = node(guarded)
    assert refused.code == 2, refused.text
    assert f"lets '{USER}' in, but not read the keyspace timeball" in refused.lines[-1]
    with guarded.cluster.session() as admin:
        for right in ("SELECT", "MODIFY"):
            admin.execute(f"GRANT {right} ON KEYSPACE timeball TO {USER}")

    def let_in() -> bool:
        return "ZooKeeper at 127.0.0.1:1 does not answer" in node(guarded).lines[-1]

    until(let_in, "the rights are known", 60)
    with guarded.cluster.session() as admin:
        (row,) = admin.execute("SELECT ssl_enabled FROM system_views.clients LIMIT 1")
    assert row.ssl_enabled


def test_a_wrong_password_is_one_line_without_it(guarded: Guarded) -> None:
    result = node(guarded, store__password="guessed-wrong")
    (line,) = result.lines
    assert result.code == 2
    assert line.startswith(f"scheduler_node: Cassandra at {guarded.endpoints} refuses the user")
    assert repr(USER) in line
    assert "guessed-wrong" not in line


def test_no_credentials_are_wrong_ones(guarded: Guarded) -> None:
    result = node(guarded, store__username="", store__password="")
    assert result.code == 2, result.text
    assert "'nobody'" in result.lines[-1]


def test_a_certificate_that_nobody_trusts_is_not_talked_to(
    guarded: Guarded, tmp_path: Path
) -> None:
    _, other = certificate(tmp_path, "stranger")
    results = (node(guarded, store__tls_ca=other), schema(guarded, "plan", ca=other))
    assert [each.code for each in results] == [3, 3], results
    for each in results:
        assert f"Cassandra at {guarded.endpoints} cannot be reached" in each.lines[-1]
        assert "CERTIFICATE_VERIFY_FAILED" in each.lines[-1]


def test_a_file_that_is_no_certificate_is_named(guarded: Guarded, tmp_path: Path) -> None:
    wrong = tmp_path / "absent.pem"
    result = node(guarded, store__tls_ca=wrong)
    assert result.code == 2
    assert str(wrong) in result.lines[-1]
