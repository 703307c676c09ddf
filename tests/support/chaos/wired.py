"""A local cluster with wires: each scheduler node reaches its store, each coordinator ZooKeeper
and everybody an executor through a process that can listen, swallow and kill.

Nothing of the product knows: the addresses are those of its settings.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from tests.support.chaos import tasks
from tests.support.chaos.helpers import Helper
from tests.support.polls import until
from tools.local_cluster import LocalCluster, Places, Shape, free_port

HERE: Final = "127.0.0.1"
SINK: Final = "sink.txt"
EXECUTORS: Final = ("executor-1", "executor-2", "executor-3")
SCHEDULERS: Final = ("scheduler-1", "scheduler-2")
COORDINATORS: Final = ("coordinator-1", "coordinator-2")


class WiredCluster(LocalCluster):
    """Also takes aims."""

    def __init__(
        self,
        places: Places,
        shape: Shape | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        variables = {tasks.SINK_VARIABLE: str(places.folder / SINK), **(environment or {})}
        super().__init__(places, [str(Path(tasks.__file__))], variables, shape)
        self._options: dict[str, list[str]] = {}
        self._board: Helper | None = None

    @property
    def cassandra(self) -> str:
        """host:port of the store itself."""
        return self._servers["cassandra"]

    @property
    def zookeeper(self) -> str:
        """host:port of ZooKeeper itself."""
        return self._servers["zookeeper"]

    def pid(self, name: str) -> int:
        """Process id of now."""
        return self._processes[name].pid

    def is_dead(self, name: str) -> bool:
        """Whether the process has ended."""
        return not self.is_alive(name)

    def aim(self, **facts: Any) -> None:
        """Wait for a point; see `taps.Aim`."""
        self._tell({"aim": facts})

    def disarm(self) -> None:
        """Wait no more."""
        self._tell({"disarm": True})

    def shots(self) -> list[dict[str, Any]]:
        """What came true since the last look."""
        assert self._board is not None, "the cluster has not been started"
        return [facts for facts in self._board.facts() if "killed_ms" in facts]

    def cut(self, wires: Sequence[str], ways: Sequence[str]) -> None:
        """Let nothing through on these wires, in these ways, until `mend`."""
        self._tell({"cut": wires, "ways": ways})

    def mend(self) -> None:
        """Deliver what was said meanwhile and go on."""
        self._tell({"mend": True})

    def wires_cpu_s(self) -> float:
        """What listening has cost so far."""
        board = self._board
        assert board is not None, "the cluster has not been started"
        self._tell({"usage": True})

        def look() -> float | None:
            return next((float(x["usage_s"]) for x in board.facts() if "usage_s" in x), None)

        return until(look, "the wires tell what they used")

    def _tell(self, command: Mapping[str, Any]) -> None:
        assert self._board is not None, "the cluster has not been started"
        self._board.tell(json.dumps(command))

    def _start_all(self) -> None:
        self._board = Helper("tests.support.chaos.wires", [], self.places.folder / "wires.jsonl")
        for name in SCHEDULERS:
            store = self._wire(f"store of {name}", "cassandra", self.cassandra)
            self._options[name] = ["--set", f"store.addresses={store}"]
        for name in COORDINATORS:
            zookeeper = self._wire(f"zookeeper of {name}", "zookeeper", self.zookeeper)
            self._options[name] = ["--set", f"coordination.addresses={zookeeper}"]
        for name in EXECUTORS:
            listen = f"{HERE}:{free_port()}"
            wire = self._wire(name, "executor", listen)
            self._options[name] = ["--listen", listen, "--advertise", wire]
        super()._start_all()

    def _wire(self, name: str, kind: str, target: str) -> str:
        """Open a wire; the address to use instead of the target."""
        board = self._board
        assert board is not None, "wires need their process"
        self._tell({"wire": name, "kind": kind, "listen": f"{HERE}:0", "target": target})

        def look() -> str | None:
            said = [facts["listens"] for facts in board.facts() if facts.get("wire") == name]
            return said[0] if said else None

        return until(look, f"the wire {name} is open")

    def _start(self, name: str, command: Sequence[str]) -> None:
        """A restart has the same command line, wires included."""
        more = [] if name in self._commands else self._options.get(name, [])
        super()._start(name, [*command, *more])

    def _end_processes(self) -> None:
        super()._end_processes()
        if self._board is not None:
            self._board.end()


@contextlib.contextmanager
def wired_cluster(folder: Path) -> Iterator[WiredCluster]:
    """A cluster that ends with the block."""
    places = Places(folder)
    places.make()
    cluster = WiredCluster(places)
    with cluster.running():
        yield cluster
