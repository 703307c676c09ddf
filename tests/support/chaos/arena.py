"""Where faults are played: a cluster whose servers and wires can be broken.

ZooKeeper and Cassandra are ours, one or three of each, so that they can be killed and frozen. Every
scheduler node and coordinator reaches ZooKeeper, every scheduler node a single Cassandra, and
everybody an executor through wires that can be cut, each direction by itself. Or each of our
processes has a network of its own, and the kernel parts it from all others (rooms.py).
"""

from __future__ import annotations

import contextlib
import os
import secrets
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, cast

from timeball.cli.key import PEPPER_VARIABLE

from tests.support.chaos import clocked
from tests.support.chaos.helpers import Helper
from tests.support.chaos.rooms import ARENA, Room, furnish_arena
from tests.support.chaos.wired import (
    COORDINATORS,
    EXECUTORS,
    HERE,
    SCHEDULERS,
    SINK,
    WiredCluster,
)
from tests.support.servers.__main__ import running
from tests.support.servers.cassandra_nodes import CassandraCluster
from tests.support.servers.zookeeper_nodes import ZooKeeperCluster
from tools.local_cluster import ROOT, LocalCluster, Places, Shape, coordinators, free_port


@dataclass(frozen=True, slots=True, kw_only=True)
class Needs:
    """How many of each server, 1 or 3; and whether nodes are in rooms, then there are no wires."""

    zookeepers: int = 1
    cassandras: int = 1
    rooms: bool = False


class ArenaCluster(WiredCluster):
    """Wires to every server of ZooKeeper, and copies in every Cassandra."""

    def __init__(
        self,
        places: Places,
        shape: Shape,
        needs: Needs,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        variables = {clocked.FOLDER_VARIABLE: str(places.folder), **(environment or {})}
        super().__init__(places, shape, variables)
        self._needs = needs
        self.api_key: str | None = None
        self.wires: dict[str, list[str]] = {}
        for name in SCHEDULERS:
            self.set_clock(name, 0)

    def set_clock(self, name: str, ahead_ms: int) -> None:
        """Set a scheduler node's wall clock so far ahead, or back; 0 is right again."""
        clocked.set_clock(self.places.folder, name, ahead_ms)

    def _apply_schema(self) -> None:
        command = [sys.executable, "-m", "timeball.cli", "schema", "apply"]
        place = ["--cassandra", self.cassandra, "--keyspace", self.shape.keyspace]
        copies = f"datacenter1={self._needs.cassandras}"
        place += ["--shards", str(self.shape.shards), "--replicas", copies]
        subprocess.run([*command, *place], check=True, cwd=ROOT)

    def _start_all(self) -> None:
        self._board = Helper("tests.support.chaos.wires", [], self.places.folder / "wires.jsonl")
        for name in (*SCHEDULERS, *COORDINATORS):
            zookeeper = self._wired(f"zookeeper of {name}", self.zookeeper)
            self._options[name] = ["--set", f"coordination.addresses={zookeeper}"]
        for name in SCHEDULERS if self._needs.cassandras == 1 else ():
            # Of three the driver learns the addresses from the servers and goes past any wire.
            store = self._wired(f"store of {name}", self.cassandra)
            self._options[name] += ["--set", f"store.addresses={store}"]
        for name in EXECUTORS:
            listen = f"{HERE}:{free_port()}"
            self._options[name] = ["--listen", listen, "--advertise", self._wired(name, listen)]
        # What a wired cluster would open itself is open: go on where it would.
        LocalCluster._start_all(self)

    def _start(self, name: str, command: Sequence[str]) -> None:
        """Scheduler nodes have a clock that can be set."""
        if name in SCHEDULERS:
            ours = {"scheduler_node": clocked.__name__}
            command = [ours.get(word, word) for word in command]
        super()._start(name, command)

    def _wired(self, name: str, targets: str) -> str:
        """Wires to each of the targets; the addresses to use instead of them."""
        opened = []
        for number, target in enumerate(targets.split(","), start=1):
            wire = f"{name}, {number}"
            opened.append(self._wire(wire, "deaf", target))
            self.wires.setdefault(name, []).append(wire)
        return ",".join(opened)


class RoomyCluster(ArenaCluster):
    """Each process of ours in a room of its own, with nothing but the kernel between them.

    What is not on loopback asks who calls: there is a pepper, and one key.
    """

    def __init__(self, places: Places, shape: Shape, needs: Needs) -> None:
        self._secrets = {PEPPER_VARIABLE: secrets.token_hex()}
        super().__init__(places, shape, needs, self._secrets)
        self.rooms: dict[str, Room] = {}

    def mend(self) -> None:
        """Join again whoever is parted."""
        for room in self.rooms.values():
            room.rejoin()

    def _start_all(self) -> None:
        keys = self._first_key()
        for number, name in enumerate((*SCHEDULERS, *COORDINATORS, *EXECUTORS), start=1):
            room = self.rooms[name] = Room(number, self.places.folder)
            listen = ["--set", f"listen.host={room.address}"]
            if name in EXECUTORS:
                listen = ["--listen", f"{room.address}:{free_port()}"]
            if name in COORDINATORS:
                listen += ["--set", f"access.keys_file={keys}"]
            self._options[name] = listen
        LocalCluster._start_all(self)

    def _first_key(self) -> Path:
        """Make it; the file for coordinators."""
        command = [sys.executable, "-m", "timeball.cli", "key", "first", "chaos", "--role", "admin"]
        variables = {**os.environ, **self._secrets}
        made = subprocess.run(
            command, check=True, cwd=ROOT, env=variables, capture_output=True, text=True
        )
        self.api_key, keys = made.stderr.strip(), self.places.folder / "keys.toml"
        keys.write_text(made.stdout)
        return keys

    def _start(self, name: str, command: Sequence[str]) -> None:
        """A restart has the same command line, room included."""
        entering = () if name in self._commands else self.rooms[name].entering
        super()._start(name, [*entering, *command])

    def _end_processes(self) -> None:
        super()._end_processes()
        for room in self.rooms.values():
            room.end()


@dataclass(frozen=True, slots=True, kw_only=True)
class Arena:
    """A running cluster, its servers, and where its witnesses lie."""

    cluster: ArenaCluster
    zookeeper: ZooKeeperCluster
    cassandra: CassandraCluster
    sink: Path

    @property
    def address(self) -> str:
        """Of both coordinators."""
        return coordinators(self.cluster.addresses)

    def heal(self) -> None:
        """Whatever a fault left broken serves again."""
        for name in SCHEDULERS:
            self.cluster.set_clock(name, 0)
        self.cluster.mend()
        self.zookeeper.heal()
        self.cassandra.heal()
        self.cluster.restart_ended()


NEEDS_LITTLE: Final = Needs()


@contextlib.contextmanager
def arena(folder: Path, needs: Needs = NEEDS_LITTLE) -> Iterator[Arena]:
    """A cluster that ends with the block."""
    places = Places(folder)
    places.make()
    on: dict[str, Any] = {}
    if needs.rooms:
        furnish_arena()
        on = {"on": (ARENA,)}
    with contextlib.ExitStack() as stack:
        zookeeper = stack.enter_context(running("zookeeper", needs.zookeepers, folder / "zk", **on))
        cassandra = stack.enter_context(running("cassandra", needs.cassandras, folder / "cs", **on))
        servers = {"zookeeper": zookeeper.endpoints, "cassandra": cassandra.endpoints}
        kind = RoomyCluster if needs.rooms else ArenaCluster
        cluster = kind(places, Shape(servers=servers), needs)
        stack.enter_context(cluster.running())
        yield Arena(
            cluster=cluster,
            zookeeper=cast("ZooKeeperCluster", zookeeper),
            cassandra=cast("CassandraCluster", cassandra),
            sink=folder / SINK,
        )
