"""Real ZooKeeper for the tests: one server, or an ensemble of three.

Owns how a server is configured, started and asked. Holds no session open: tests open their own.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from pathlib import Path

from kazoo.client import KazooClient

from tests.support.servers.addresses import (
    HERE,
    Address,
    free_ports,
    hosts,
    parse,
    write_from_template,
)
from tests.support.servers.nodes import ServerCluster, ServerNode
from tests.support.servers.process import ServerProcess
from tools import jars

HEAP_MB = 96
ANSWER_TIMEOUT_S = 2.0
CONNECT_TIMEOUT_S = 20.0
SESSION_TIMEOUT_S = 10.0


@contextlib.contextmanager
def session(endpoints: str, *, timeout_s: float = SESSION_TIMEOUT_S) -> Iterator[KazooClient]:
    """A client with a session; `endpoints` may end with a chroot."""
    client = KazooClient(hosts=endpoints, timeout=timeout_s)
    try:
        client.start(timeout=CONNECT_TIMEOUT_S)
        yield client
    finally:
        client.stop()
        client.close()


class ZooKeeperNode(ServerNode):
    """One ZooKeeper server."""

    def answers(self) -> bool:
        """Whether it serves sessions: one that has no ensemble is up and does not."""
        return self.mode() != ""

    def mode(self) -> str:
        """`standalone`, `leader` or `follower`; empty when it does not serve."""
        lines = (line.partition(": ") for line in self.told("srvr").splitlines())
        return next((value for key, _, value in lines if key == "Mode"), "")

    def told(self, word: str) -> str:
        """The answer to a four-letter word; empty when there is none."""
        where = (self.address.host, self.address.port)
        with (
            contextlib.suppress(OSError),
            socket.create_connection(where, ANSWER_TIMEOUT_S) as asked,
        ):
            asked.sendall(word.encode())
            return b"".join(iter(lambda: asked.recv(4096), b"")).decode(errors="replace")
        return ""


class ZooKeeperCluster(ServerCluster[ZooKeeperNode]):
    """One server, or an ensemble."""

    def is_whole(self) -> bool:
        """Whether every server serves, under at most one leader."""
        modes = [node.mode() for node in self.nodes]
        return "" not in modes and (len(modes) == 1 or modes.count("leader") == 1)

    def leader(self) -> ZooKeeperNode:
        """The server that leads now; the only one when it is alone."""
        return next(node for node in self.nodes if node.mode() in {"leader", "standalone"})

    @contextlib.contextmanager
    def session(self, *, timeout_s: float = SESSION_TIMEOUT_S) -> Iterator[KazooClient]:
        """A client with a session at any of the servers."""
        with session(self.endpoints, timeout_s=timeout_s) as client:
            yield client

    @contextlib.contextmanager
    def chroot(self, name: str) -> Iterator[str]:
        """A new and empty chroot: endpoints to connect to; removed with its content afterwards."""
        with self.session() as admin:
            admin.create(f"/{name}")
        try:
            yield f"{self.endpoints}/{name}"
        finally:
            with self.session() as admin:
                admin.delete(f"/{name}", recursive=True)


def existing(text: str) -> ZooKeeperCluster:
    """Servers that run already, written `host:port,...`."""
    nodes = tuple(ZooKeeperNode(address=address) for address in parse(text))
    return ZooKeeperCluster(nodes=nodes)


def prepared(
    count: int, *, name: str, folder: Path, logs: Path, on: tuple[str, ...] = ()
) -> ZooKeeperCluster:
    """An ensemble of `count` servers with everything written and nothing started.

    `on` are their addresses, those of loopback by default.

    Raises:
        JarsError: Java 17 or the jars are missing.
    """
    program, libraries, on = jars.java(), jars.fetch("zookeeper"), on or hosts(count)
    client_port, quorum_port, election_port = free_ports(3, on)
    ensemble = [
        f"server.{number}={host}:{quorum_port}:{election_port}"
        for number, host in enumerate(on, start=1)
    ]
    nodes = []
    for number, host in enumerate(on, start=1):
        home = folder / f"server{number}"
        (home / "data").mkdir(parents=True)
        (home / "data" / "myid").write_text(f"{number}\n")
        facts: dict[str, object] = {
            "data": home / "data",
            "host": host,
            "client_port": client_port,
            "members": "\n".join(ensemble if count > 1 else []),
        }
        write_from_template("zookeeper.cfg", home / "zookeeper.cfg", facts)
        process = ServerProcess(
            name=f"{name}-{number}",
            command=command(program, libraries, home),
            log=logs / f"{name}-{number}.log",
        )
        nodes.append(ZooKeeperNode(address=Address(host=host, port=client_port), process=process))
    return ZooKeeperCluster(nodes=tuple(nodes), folder=folder)


def command(program: Path, libraries: Path, home: Path) -> list[str]:
    """The command line of a server whose settings and data are in `home`."""
    return [
        str(program),
        f"-Xmx{HEAP_MB}m",
        *("-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:+ExitOnOutOfMemoryError"),
        *("-XX:-UsePerfData", f"-Djava.io.tmpdir={home}", "-Djava.net.preferIPv4Stack=true"),
        f"-Dlogback.configurationFile={HERE / 'logback.xml'}",
        "-Dzookeeper.jmx.log4j.disable=true",
        *("-cp", str(libraries / "*")),
        "org.apache.zookeeper.server.quorum.QuorumPeerMain",
        str(home / "zookeeper.cfg"),
    ]
