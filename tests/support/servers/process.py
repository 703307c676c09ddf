"""One server as a process: started, signalled and ended through its keeper, its log in one file.

Owns processes, never what they speak. Everything here blocks for as long as it must and is called
from plain functions; coroutines hand the calls that wait to `asyncio.to_thread`.
"""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
from collections import deque
from pathlib import Path

import psutil

from tests.support.polls import until

KEEPER = Path(__file__).with_name("keeper.py")
STOP_DEADLINE_S = 15.0
KILL_DEADLINE_S = 10.0
TAIL_LINES = 60


class ServerError(Exception):
    """A server did not do what it was told; the text ends with the last lines of its log."""


class ServerProcess:
    """A server that is started, ended and started again with the same command and log."""

    def __init__(
        self,
        *,
        name: str,
        command: list[str],
        log: Path,
        stop_deadline_s: float = STOP_DEADLINE_S,
    ) -> None:
        self.name = name
        self.log = log
        self._command = command
        self._stop_deadline_s = stop_deadline_s
        self._keeper: subprocess.Popen[str] | None = None
        self._pid = 0

    @property
    def is_running(self) -> bool:
        """Whether it was started and has not ended; a frozen one is running."""
        return self._keeper is not None and self._keeper.poll() is None

    @property
    def pid(self) -> int:
        """The server's own process id."""
        return self._process().pid

    @property
    def is_frozen(self) -> bool:
        """Whether the kernel says that it is stopped."""
        with contextlib.suppress(psutil.NoSuchProcess):
            return self.is_running and bool(self._process().status() == psutil.STATUS_STOPPED)
        return False

    @property
    def rss_bytes(self) -> int:
        """How much memory it holds now."""
        return int(self._process().memory_info().rss)

    def start(self) -> None:
        """Starts it and returns at once: that it serves is another question."""
        if self.is_running:
            raise ServerError(f"{self.name} is running already; stop or kill it first")
        with self.log.open("a") as sink:
            self._keeper = subprocess.Popen(
                [sys.executable, "-I", str(KEEPER), *self._command],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=sink,
                text=True,
                start_new_session=True,  # ^C in the terminal is for the tests, not for the server
            )
        said = self._heard()
        if not said:
            self._reap(KILL_DEADLINE_S)
            raise self.error("could not be started")
        self._pid = int(said)

    def stop(self) -> None:
        """Ends it in order: SIGTERM, and SIGKILL when it takes too long. Ended ones stay so."""
        self.thaw()
        self._signal(signal.SIGTERM)
        if not self._reap(self._stop_deadline_s):
            self.kill()

    def kill(self) -> None:
        """Ends it at once with SIGKILL, frozen or not, and returns when it is gone."""
        self._signal(signal.SIGKILL)
        if not self._reap(KILL_DEADLINE_S):
            raise self.error("does not end by SIGKILL")

    def freeze(self) -> None:
        """Stops it where it is: its connections stay open and nobody answers."""
        if not self.is_running:
            raise self.error("is not running and cannot be frozen")
        self._signal(signal.SIGSTOP)
        until(lambda: self.is_frozen, f"{self.name} frozen")

    def thaw(self) -> None:
        """Lets a frozen one go on; leaves any other alone."""
        if self.is_frozen:
            self._signal(signal.SIGCONT)

    def tail(self, count: int = TAIL_LINES) -> str:
        """The last lines of its log."""
        if not self.log.exists():
            return ""
        with self.log.open(errors="replace") as lines:
            return "".join(deque(lines, count))

    def error(self, what: str) -> ServerError:
        """An error about this server that shows the end of its log."""
        return ServerError(f"{self.name} {what}; the end of {self.log}:\n{self.tail()}")

    def _process(self) -> psutil.Process:
        if not self.is_running:
            raise ServerError(f"{self.name} is not running")
        return psutil.Process(self._pid)

    def _signal(self, number: int) -> None:
        if self._keeper is None or self._keeper.stdin is None:
            return
        # The keeper ends with its server: then there is nobody left to signal.
        with contextlib.suppress(BrokenPipeError, ValueError):
            self._keeper.stdin.write(f"{number:d}\n")
            self._keeper.stdin.flush()
            self._heard()

    def _heard(self) -> str:
        """The keeper's next line, empty when it has ended."""
        if self._keeper is None or self._keeper.stdout is None:
            return ""
        return self._keeper.stdout.readline().strip()

    def _reap(self, deadline_s: float) -> bool:
        """Waits for the end and closes what was open; False when the deadline came first."""
        if self._keeper is None:
            return True
        try:
            self._keeper.wait(timeout=deadline_s)
        except subprocess.TimeoutExpired:
            return False
        with contextlib.suppress(BrokenPipeError):
            self._keeper.communicate()
        self._keeper = None
        return True
