"""The processes of a whole cluster on loopback, for `make cluster` and for tests.

One ZooKeeper and one Cassandra from jars, two coordinators, two scheduler nodes, three executors
of strength 1, 5 and 10; a test may bring its servers and ask for fewer. Ends only what it started.
A process that is started again gets the command line that it had; coordinators keep their port,
so that clients find them again.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).resolve().parents[1]
READY_WITHIN_S: Final = 120.0
STOP_WITHIN_S: Final = 30.0
_RANDOM: Final = random.SystemRandom()


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """How much of everything there is, and where it lives.

    Attributes:
        strengths: of the executors, one each.
        slots: of each executor.
        servers: `zookeeper` and `cassandra` to addresses of ones that run already; those that are
            missing are started.
        keyspace: in Cassandra.
        root: in ZooKeeper.
        settings: of scheduler nodes and coordinators, as `section.name=value`.
        steady: a Cassandra that is started here is sized for measurements, not for a quick start.
    """

    schedulers: int = 2
    coordinators: int = 2
    strengths: tuple[int, ...] = (1, 5, 10)
    slots: int = 100
    shards: int = 16
    servers: Mapping[str, str] = field(default_factory=dict)
    keyspace: str = "timeball"
    root: str = "/timeball"
    settings: tuple[str, ...] = ()
    steady: bool = False


@dataclass(frozen=True, slots=True)
class Places:
    """Files of one cluster."""

    folder: Path

    @property
    def logs(self) -> Path:
        """Where every process writes."""
        return self.folder / "logs"

    @property
    def facts(self) -> Path:
        """Addresses and process ids, written when everything serves."""
        return self.folder / "facts.json"

    @property
    def demo(self) -> Path:
        """Where the demo's handlers put their results."""
        return self.folder / "demo"

    @property
    def supervisor(self) -> Path:
        """Process id of the supervisor."""
        return self.folder / "supervisor.pid"

    def make(self) -> None:
        """Make the folders."""
        self.logs.mkdir(parents=True)
        self.demo.mkdir()


class LocalCluster:
    """Starts everything in order, kills and restarts by name, ends in reverse.

    Args:
        places: where files go; its folders exist.
        apps: files with the handlers that the executors serve.
        environment: variables for all processes, beside those of this one.
        shape: what there is, by default all that `make cluster` shows.
    """

    def __init__(
        self,
        places: Places,
        apps: Sequence[str],
        environment: Mapping[str, str] | None = None,
        shape: Shape | None = None,
    ) -> None:
        self.places = places
        self.shape = shape or Shape()
        self.addresses: dict[str, str] = {}
        self.pages: dict[str, dict[str, str]] = {}
        self._apps = apps
        self._environment = environment or {}
        self._smtp_port = free_port()
        self._commands: dict[str, list[str]] = {}
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._servers = dict(self.shape.servers)

    @contextlib.contextmanager
    def running(self) -> Iterator[LocalCluster]:
        """Everything serves inside the block and has ended after it."""
        from tests.support.servers.__main__ import running
        from tests.support.servers.cassandra_nodes import SMALL, STEADY

        tuning = STEADY if self.shape.steady else SMALL
        kinds: dict[str, tuple[str, dict[str, Any]]] = {
            "zookeeper": ("zk", {}),
            "cassandra": ("cs", {"tuning": tuning}),
        }
        with contextlib.ExitStack() as stack:
            for kind, (name, settings) in kinds.items():
                if kind in self._servers:
                    continue
                folder = self.places.folder / name
                server = stack.enter_context(running(kind, 1, folder, **settings))
                self._servers[kind] = server.endpoints
                print(f"{kind} serves at {server.endpoints}", flush=True)
            stack.callback(self._end_processes)
            self._apply_schema()
            self._start_all()
            self.write_facts()
            yield self

    @property
    def names(self) -> tuple[str, ...]:
        """All processes of ours, living or not."""
        return tuple(self._processes)

    def is_alive(self, name: str) -> bool:
        """Whether the process has not ended."""
        return self._processes[name].poll() is None

    def send(self, name: str, number: signal.Signals) -> None:
        """Send a signal to a living process."""
        self._processes[name].send_signal(number)

    def kill(self, name: str) -> None:
        """End it as a power cut does; harmless when it has ended."""
        if self.is_alive(name):
            self._processes[name].kill()
        self._processes[name].wait(STOP_WITHIN_S)

    def wait(self, name: str) -> int:
        """Its exit code, once it has ended.

        Raises:
            TimeoutExpired: it still lives after STOP_WITHIN_S.
        """
        return self._processes[name].wait(STOP_WITHIN_S)

    def restart(self, name: str) -> None:
        """Start an ended process with the command line that it had; returns when it is ready."""
        self._ready(name).unlink(missing_ok=True)
        self._start(name, self._commands[name])
        self._await_address(name)
        self.write_facts()

    def restart_ended(self) -> None:
        """Start every process that has ended."""
        for name in self.names:
            if not self.is_alive(name):
                self.restart(name)

    def log_of(self, name: str) -> str:
        """What the process wrote so far, in all its lives."""
        return (self.places.logs / f"{name}.log").read_text(errors="replace")

    def write_facts(self) -> None:
        """Tell other processes what runs and where."""
        processes = self._processes.items()
        facts: dict[str, Any] = {
            **self._servers,
            "addresses": self.addresses,
            "pages": self.pages,
            "demo": {"out": str(self.places.demo), "smtp_port": self._smtp_port},
            "pids": {name: process.pid for name, process in processes},
            "starts": [str(path) for path in sorted(self.places.folder.glob("*.starts.jsonl"))],
        }
        partial = self.places.facts.with_suffix(".partial")
        partial.write_text(json.dumps(facts, indent=2) + "\n")
        partial.replace(self.places.facts)

    def _apply_schema(self) -> None:
        command = [sys.executable, "-m", "timeball.cli", "schema", "apply"]
        place = ["--cassandra", self._servers["cassandra"], "--keyspace", self.shape.keyspace]
        place += ["--shards", str(self.shape.shards), "--replicas", "datacenter1=1"]
        subprocess.run([*command, *place], check=True, cwd=ROOT)

    def _start_all(self) -> None:
        for number in range(1, self.shape.schedulers + 1):
            name = f"scheduler-{number}"
            self._start_service("scheduler_node", name, self._metrics(name))
        for number in range(1, self.shape.coordinators + 1):
            name, listen = f"coordinator-{number}", f"127.0.0.1:{free_port()}"
            ports = [f"listen.port={free_port()}", f"http.listen={listen}", *self._metrics(name)]
            self.pages[name]["console"] = f"http://{listen}/console"
            self._start_service("coordinator", name, ports)
        for number, strength in enumerate(self.shape.strengths, start=1):
            self._start_executor(f"executor-{number}", strength)
        for name in self.names:
            self._await_address(name)

    def _metrics(self, name: str) -> list[str]:
        """The setting of a service's port for Prometheus, and a note of where it is."""
        port = free_port()
        self.pages[name] = {"metrics": f"http://127.0.0.1:{port}/metrics"}
        return [f"metrics.port={port}"]

    def _start_service(self, module: str, name: str, more: Sequence[str]) -> None:
        settings = (
            "store.kind=cassandra",
            f"store.addresses={self._servers['cassandra']}",
            f"store.keyspace={self.shape.keyspace}",
            "coordination.kind=zookeeper",
            f"coordination.addresses={self._servers['zookeeper']}",
            f"coordination.root={self.shape.root}",
            *more,
            *self.shape.settings,
        )
        shared = [word for setting in settings for word in ("--set", setting)]
        ready = ["--ready-file", str(self._ready(name)), "--set", f"node.name={name}"]
        self._start(name, [sys.executable, "-m", module, *shared, *ready])

    def _start_executor(self, name: str, strength: int) -> None:
        log = self.places.folder / f"{name}.starts.jsonl"
        options = ["--zookeeper", self._servers["zookeeper"] + self.shape.root, "--name", name]
        files = ["--start-log", str(log), "--app", ",".join(self._apps)]
        strong = ["--strength", str(strength), "--slots", str(self.shape.slots)]
        self._start(name, [sys.executable, "-m", "executor_node", *options, *strong, *files])

    def _start(self, name: str, command: Sequence[str]) -> None:
        """Start a process; an executor says nothing when it is ready, so it counts at once."""
        self._commands[name] = list(command)
        with (self.places.logs / f"{name}.log").open("ab") as log:
            self._processes[name] = subprocess.Popen(
                command,
                cwd=ROOT,
                env=self._variables(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                # Where the kernel shares CPUs between sessions (sched_autogroup), those of one
                # session get together what Cassandra gets alone; a service manager's are apart.
                start_new_session=True,
            )
        if name.startswith("executor"):
            self._ready(name).write_text("started\n")

    def _variables(self) -> dict[str, str]:
        """What the demo's handlers want to know, beside what everybody gets."""
        return {
            **os.environ,
            "TIMEBALL_DEMO_OUT": str(self.places.demo),
            "TIMEBALL_DEMO_SMTP_PORT": str(self._smtp_port),
            **self._environment,
        }

    def _ready(self, name: str) -> Path:
        return self.places.folder / f"{name}.ready"

    def _await_address(self, name: str) -> None:
        deadline = time.monotonic() + READY_WITHIN_S
        while time.monotonic() < deadline:
            if self._ready(name).exists():
                self.addresses[name] = self._ready(name).read_text().strip()
                print(f"{name} is ready: {self.addresses[name]}", flush=True)
                return
            if not self.is_alive(name):
                break
            time.sleep(0.05)
        raise SystemExit(f"{name} did not become ready:\n{self.log_of(name)[-4_000:]}")

    def _end_processes(self) -> None:
        for process in reversed(self._processes.values()):
            if process.poll() is None:
                process.send_signal(signal.SIGCONT)
                process.terminate()
        for process in reversed(self._processes.values()):
            try:
                process.wait(STOP_WITHIN_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def coordinators(addresses: Mapping[str, str]) -> str:
    """The address list of all coordinators, as clients take it."""
    return ",".join(a for name, a in sorted(addresses.items()) if name.startswith("coordinator"))


def free_port() -> int:
    """A port of loopback that nobody listens on right now.

    Below those that systems hand out by themselves: until it is used, and while its process is
    away, nobody who asks for just any port may get it.
    """
    while True:
        port = _RANDOM.randrange(10_000, 32_000)
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port
