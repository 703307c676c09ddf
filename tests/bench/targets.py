"""What is measured: `timeball dev` with an executor beside it, or a whole cluster.

A target starts its processes as a user starts them and ends only what it started.
"""

from __future__ import annotations

import contextlib
import io
import signal
import subprocess
import sys
import time
import urllib.request
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Final

import psutil
import timeball

from tests.bench.judging import Result
from tests.bench.meter import MIB, Odometer, Watched, loopback
from tests.bench.product import ROOT, Product
from tests.support.chaos.faults import whole
from tests.support.start_logs import logs_in
from tools.local_cluster import LocalCluster, Places, Shape, coordinators, free_port

APPS: Final = Path(__file__).resolve().parent / "apps.py"
READY_WITHIN_S: Final = 30.0
STOP_WITHIN_S: Final = 20.0
SLOTS: Final = 200
WARM_S: Final = 40
"""In which a fresh Cassandra compiles most of what it will run."""
HERE: Final = "127.0.0.1"
COUNTS: Final = {
    "timeball_commit_batches_total": "writes per task",
    "timeball_commit_rows_total": "rows per task",
}
JAVA: Final = {"QuorumPeerMain": "zookeeper", "CassandraDaemon": "cassandra"}


class Target(ABC):
    """A running service. `doors` are where streams of creations go, `address` is for clients."""

    address: str
    doors: Sequence[str]
    odometer: Odometer

    @abstractmethod
    def watched(self) -> list[Watched]:
        """Its processes."""

    @property
    @abstractmethod
    def start_logs(self) -> list[Path]:
        """What each executor says that it started."""

    @abstractmethod
    def metrics(self) -> list[str]:
        """The pages of counters of everybody who owns shards."""

    @abstractmethod
    async def serves(self, client: timeball.AsyncClient) -> None:
        """Return when everybody is there."""

    @abstractmethod
    def kill_owner(self) -> None:
        """End somebody who owns shards, as a power cut does."""

    @abstractmethod
    def restart_owner(self) -> None:
        """Start it again."""

    def counted(self) -> dict[str, float]:
        """Sums so far of what the owners have counted, and of what went over loopback."""
        sums = {**dict.fromkeys(COUNTS.values(), 0.0), **loopback()}
        for page in self.metrics():
            for metric, value in scrape(page).items():
                if metric in COUNTS:
                    sums[COUNTS[metric]] += self.odometer.read(f"{page} {metric}", value)
        return sums


def scrape(address: str) -> dict[str, float]:
    """The page for Prometheus; empty when nobody answers, as after a kill."""
    try:
        with urllib.request.urlopen(address, timeout=5) as page:
            lines = page.read().decode().splitlines()
    except OSError:
        return {}
    pairs = (line.rsplit(" ", 1) for line in lines if line and not line.startswith("#"))
    return {name: float(value) for name, value in pairs}


class Process:
    """A `timeball` command in a process of its own."""

    def __init__(self, product: Product, arguments: Sequence[str], log: Path) -> None:
        self._log = log
        self._command = product.command(*arguments)
        self._product = product
        self.started_ns = 0
        self._popen = self._start()

    @property
    def pid(self) -> int:
        return self._popen.pid

    @property
    def alive(self) -> bool:
        return self._popen.poll() is None

    def output(self) -> str:
        return self._log.read_text(errors="replace")

    def kill(self) -> None:
        self._popen.kill()
        self._popen.wait()

    def restart(self) -> None:
        self._popen = self._start()

    def stop(self) -> int:
        """Stop it politely, by force when it does not listen; its exit code."""
        if self.alive:
            self._popen.send_signal(signal.SIGTERM)
        try:
            return self._popen.wait(STOP_WITHIN_S)
        except subprocess.TimeoutExpired:
            self._popen.kill()
            return self._popen.wait()

    def _start(self) -> subprocess.Popen[bytes]:
        self.started_ns = time.time_ns()
        with self._log.open("ab") as output:
            return subprocess.Popen(
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=self._product.folder,
                env=self._product.environment(),
            )


def _pid(process: Process) -> int:
    return process.pid


class DevTarget(Target):
    """`timeball dev` on an SQLite file, and one executor in a process of its own."""

    def __init__(self, folder: Path, product: Product, options: Sequence[str]) -> None:
        self._ready = folder / "ready"
        self._starts = folder / "starts.jsonl"
        self.address = f"{HERE}:{free_port()}"
        self.doors = [self.address]
        self.odometer = Odometer()
        self._page = f"{HERE}:{free_port()}"
        arguments = ["dev", "--listen", self.address, "--http", f"{HERE}:{free_port()}"]
        arguments += ["--data", str(folder / "dev.db"), "--ready-file", str(self._ready)]
        arguments += ["--metrics", self._page, *options]
        self.server = Process(product, arguments, folder / "dev.log")
        self.await_ready()
        self.ready_ms = (self._ready.stat().st_mtime_ns - self.server.started_ns) / 1e6
        self._folder, self._product = folder, product
        self._executors: list[Process] = []

    def await_ready(self) -> None:
        """Return when it says that it is ready."""
        deadline_s = time.monotonic() + READY_WITHIN_S
        while time.monotonic() < deadline_s and self.server.alive:
            if self._ready.exists():
                return
            time.sleep(0.005)
        self.server.stop()
        raise SystemExit(f"timeball dev did not become ready:\n{self.server.output()}")

    def watched(self) -> list[Watched]:
        return [
            Watched("timeball dev", lambda: self.server.pid),
            *(Watched("timeball executor", partial(_pid, each)) for each in self._executors),
        ]

    @property
    def start_logs(self) -> list[Path]:
        return [self._starts]

    def metrics(self) -> list[str]:
        return [f"http://{self._page}/metrics"]

    async def serves(self, client: timeball.AsyncClient) -> None:
        """Start the executor; it has joined when a first task has a result."""
        arguments = ["executor", "--app", str(APPS), "--server", self.address]
        arguments += ["--slots", str(SLOTS), "--name", "bench-executor"]
        arguments += ["--start-log", str(self._starts)]
        log = self._folder / "executor.log"
        self._executors.append(Process(self._product, arguments, log))
        handle = await client.submit("bench.work", {"number": 0})
        await handle.result(timeout="20s")

    def processes(self) -> list[Process]:
        """All of them, in the order in which they end."""
        return [*self._executors, self.server]

    def kill_owner(self) -> None:
        self._ready.unlink()
        self.server.kill()

    def restart_owner(self) -> None:
        self.server.restart()
        self.await_ready()


@contextlib.contextmanager
def dev(
    folder: Path, product: Product, options: Sequence[str], result: Result
) -> Iterator[DevTarget]:
    """Dev mode inside the block; an end that is not in order is a fault."""
    target = DevTarget(folder, product, options)
    try:
        started = Watched("timeball dev", lambda: target.server.pid).usage()
        result.figures["ready ms"] = target.ready_ms
        result.figures["CPU until ready ms"] = started.cpu_s * 1e3
        result.figures["RSS after start MiB"] = started.rss_bytes / MIB
        yield target
    finally:
        for process in target.processes():
            if (code := process.stop()) != 0:
                result.fault("bad exit", f"{code}\n{process.output()[-1_000:]}")


class ClusterTarget(LocalCluster, Target):
    """The cluster of `make cluster`, on which the benchmark's task runs."""

    def __init__(self, places: Places, product: Product) -> None:
        super().__init__(places, [str(APPS)], product.environment(), Shape(steady=True))
        self._product = product
        self.doors = []
        self.odometer = Odometer()

    def serve(self) -> None:
        """Note where everybody listens."""
        self.address = coordinators(self.addresses)
        self.doors = self.address.split(",")

    def warm(self) -> None:
        """Let the database's compiler do its work before anything is measured."""
        words = ["-m", "tests.bench.warming", self._servers["cassandra"], str(WARM_S)]
        subprocess.run([sys.executable, *words], check=True, cwd=ROOT, stdout=subprocess.DEVNULL)

    def watched(self) -> list[Watched]:
        ours = [Watched(name, partial(self.pid_of, name)) for name in self.names]
        return [*ours, *_java()]

    def pid_of(self, name: str) -> int:
        return self._processes[name].pid

    def _apply_schema(self) -> None:
        place = ["--cassandra", self._servers["cassandra"], "--keyspace", self.shape.keyspace]
        place += ["--shards", str(self.shape.shards), "--replicas", "datacenter1=1"]
        command = self._product.command("schema", "apply", *place)
        folder, environment = self._product.folder, self._product.environment()
        subprocess.run(command, check=True, cwd=folder, env=environment, stdout=subprocess.DEVNULL)

    def _start(self, name: str, command: Sequence[str]) -> None:
        """On the product's interpreter, and from its folder instead of the one we are in."""
        again = name in self._commands
        super()._start(name, command if again else [self._product.python, "-P", *command[1:]])

    @property
    def start_logs(self) -> list[Path]:
        return logs_in(self.places.folder)

    def metrics(self) -> list[str]:
        owners = (name for name in self.names if name.startswith("scheduler"))
        return [self.pages[name]["metrics"] for name in owners]

    async def serves(self, client: timeball.AsyncClient) -> None:
        await whole(self, client)

    def kill_owner(self) -> None:
        self.kill("scheduler-1")

    def restart_owner(self) -> None:
        with contextlib.redirect_stdout(io.StringIO()):
            self.restart("scheduler-1")


def _java() -> Iterator[Watched]:
    """The servers that we started, behind the keepers that end them with us."""
    for child in psutil.Process().children(recursive=True):
        for word, name in JAVA.items():
            if child.name() == "java" and any(word in each for each in child.cmdline()):
                yield Watched(name, partial(int, child.pid))


@contextlib.contextmanager
def cluster(
    folder: Path, product: Product, options: Sequence[str], result: Result
) -> Iterator[ClusterTarget]:
    """A whole cluster inside the block."""
    if options:
        raise SystemExit("--dev-option is for --target dev")
    places = Places(folder / "cluster")
    places.make()
    target = ClusterTarget(places, product)
    with contextlib.ExitStack() as stack:
        with contextlib.redirect_stdout(io.StringIO()):
            stack.enter_context(target.running())
        target.serve()
        target.warm()
        yield target


TARGETS: Final = {"dev": dev, "cluster": cluster}
