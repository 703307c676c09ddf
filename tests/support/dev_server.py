"""`timeball dev` and `timeball executor` as processes that a test starts, stops, kills, pauses.

Ends only what it started. A restart listens where the first start did, on the same file.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from timeball import AsyncClient

from tests.support.dev_tasks import OUT_VARIABLE
from tests.support.polls import DEADLINE_S, eventually, until
from tests.support.start_logs import SUFFIX, Start, read_starts

ROOT = Path(__file__).resolve().parents[2]
APP = ROOT / "tests" / "support" / "dev_tasks.py"
SETTINGS = ("TIMEBALL_ADDRESS", "TIMEBALL_API_KEY", "TIMEBALL_NAMESPACE")


def environment(**more: str) -> dict[str, str]:
    """This process's environment without what would tell a client where to go."""
    kept = {name: value for name, value in os.environ.items() if name not in SETTINGS}
    return {**kept, **more}


def timeball_command(*arguments: str) -> list[str]:
    """The command line as a user types it, with this interpreter."""
    return [sys.executable, "-m", "timeball.cli", *arguments]


class Process:
    """A child process that says when it is ready and keeps what it printed."""

    def __init__(self, work: Path, name: str) -> None:
        self.work = work
        self.log = work / f"{name}.log"
        self.start_log = work / f"{name}{SUFFIX}"
        self._process: subprocess.Popen[bytes] | None = None

    def spawn(self, *arguments: str) -> None:
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                timeball_command(*arguments),
                cwd=ROOT,
                env=environment(**{OUT_VARIABLE: str(self.work)}),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    @property
    def code(self) -> int | None:
        """The exit code, None while it lives."""
        return None if self._process is None else self._process.poll()

    @property
    def pid(self) -> int:
        if self._process is None:
            raise AssertionError("the process was not started")
        return self._process.pid

    def send(self, number: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(number)

    def wait(self, deadline_s: float = DEADLINE_S) -> int:
        """Its exit code, once it has ended."""
        if self._process is None:
            raise AssertionError("the process was not started")
        return self._process.wait(deadline_s)

    def kill(self) -> None:
        """End it as a power cut does; harmless when it has ended."""
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait(DEADLINE_S)

    def terminate(self) -> int:
        """Ask it to end, and answer its exit code."""
        self.send(signal.SIGTERM)
        return self.wait()

    def output(self) -> str:
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def starts(self) -> list[Start]:
        """What its executor started so far; a line that is being written is left out."""
        return read_starts(self.start_log)

    def starts_of(self, task_id: str) -> list[Start]:
        """Those of one task."""
        return [start for start in self.starts() if start.task_id == task_id]


class DevServer(Process):
    """`timeball dev`."""

    def __init__(
        self,
        work: Path,
        *,
        apps: Sequence[str] = (str(APP),),
        slots: int = 100,
        http: Sequence[str] = ("--no-http",),
        loop: str = "auto",
    ) -> None:
        super().__init__(work, "dev")
        self._loop = loop
        self._http = tuple(http)
        self.data = work / "dev.db"
        self.address = "127.0.0.1:0"
        self._apps = tuple(apps)
        self._slots = slots
        self._ready = work / "dev.ready"

    def start(self) -> str:
        """Start it, again if it was started before; answers its address when it is ready."""
        self._ready.unlink(missing_ok=True)
        self.spawn(
            "dev",
            *self._apps,
            *("--listen", self.address, "--data", str(self.data), "--slots", str(self._slots)),
            *("--start-log", str(self.start_log), "--ready-file", str(self._ready)),
            *("--loop", self._loop),
            *self._http,
        )
        until(lambda: self._ready.exists() or self.code is not None, "timeball dev is ready")
        if not self._ready.exists():
            raise AssertionError(f"timeball dev ended with {self.code}:\n{self.output()}")
        self.address = self._ready.read_text().strip()
        return self.address


class ExecutorServer(Process):
    """`timeball executor`, joined to a cluster."""

    def __init__(self, work: Path, name: str, *, session_timeout_ms: int = 3_000) -> None:
        super().__init__(work, name)
        self.name = name
        self._session_timeout_ms = session_timeout_ms

    async def start(self, client: AsyncClient, address: str, *labels: str) -> None:
        """Start it, and return when the cluster knows it."""
        self.spawn(
            *("executor", "--app", str(APP), "--server", address, "--name", self.name),
            *("--start-log", str(self.start_log), "--data-dir", str(self.work / self.name)),
            *("--session-timeout-ms", str(self._session_timeout_ms), "--drain-ms", "2000"),
            *(word for label in labels for word in ("--label", label)),
        )
        await self.joined(client)

    async def joined(self, client: AsyncClient) -> int:
        """Its incarnation, once it is a member."""
        return await eventually(lambda: incarnation(client, self.name), f"{self.name} joined")


async def incarnation(client: AsyncClient, name: str) -> int | None:
    """The incarnation of a member, None if there is none of this name."""
    nodes = {node.name: node.incarnation for node in (await client.cluster()).nodes}
    return nodes.get(name)


@contextmanager
def ending(*processes: Process) -> Iterator[None]:
    """Whatever happens, these processes do not outlive the block."""
    try:
        yield
    finally:
        for process in processes:
            process.kill()


@contextmanager
def dev_server(
    work: Path, *, apps: Sequence[str] = (str(APP),), slots: int = 100, loop: str = "auto"
) -> Iterator[DevServer]:
    """A ready `timeball dev` that ends with the block."""
    server = DevServer(work, apps=apps, slots=slots, loop=loop)
    with ending(server):
        server.start()
        yield server


def early(starts: Sequence[Start]) -> list[Start]:
    """Starts before their time."""
    return [start for start in starts if start.started_ms < start.due_ms]


def repeated(starts: Sequence[Start]) -> list[tuple[str, int]]:
    """Attempts that started more than once: a task may run again, the same attempt may not."""
    times = Counter((start.task_id, start.attempt) for start in starts)
    return [attempt for attempt, count in times.items() if count > 1]
