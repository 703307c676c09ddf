"""The processes under test, started as a user starts them, and what they cost.

Ends only what it started. CPU and memory come from the operating system, not from the product.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import psutil

APPS = Path(__file__).resolve().parent / "apps.py"
READY_WITHIN_S = 30.0
STOP_WITHIN_S = 20.0
MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Usage:
    """A reading of one process.

    Attributes:
        cpu_s: CPU seconds so far.
        queued_s: seconds so far in which its main thread was ready to run and had no CPU.
        rss_bytes: resident memory now.
    """

    cpu_s: float
    queued_s: float
    rss_bytes: int


class Watched:
    """A living process whose cost is read; somebody else starts and ends it."""

    def __init__(self, name: str, pid: int) -> None:
        self.name = name
        self._pid = pid
        self._process = psutil.Process(pid)
        self.rss_peak_bytes = 0

    @property
    def pid(self) -> int:
        return self._pid

    def usage(self) -> Usage:
        """What it has used so far; also keeps the peak of memory."""
        with self._process.oneshot():
            times, memory = self._process.cpu_times(), self._process.memory_info()
        self.rss_peak_bytes = max(self.rss_peak_bytes, memory.rss)
        return Usage(times.user + times.system, self._queued_s(), memory.rss)

    def _queued_s(self) -> float:
        """Linux says it per thread; elsewhere it is not known and counts as nothing."""
        facts = Path(f"/proc/{self.pid}/schedstat")
        return int(facts.read_text().split()[1]) / 1e9 if facts.exists() else 0.0


class Process(Watched):
    """A `timeball` command in a process of its own."""

    def __init__(self, name: str, arguments: list[str], log: Path) -> None:
        self._log = log
        self._output = log.open("wb")
        self.started_ns = time.time_ns()
        self._popen = subprocess.Popen(
            [sys.executable, "-m", "timeball.cli", *arguments],
            stdout=self._output,
            stderr=subprocess.STDOUT,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )
        super().__init__(name, self._popen.pid)

    @property
    def alive(self) -> bool:
        return self._popen.poll() is None

    def stop(self) -> int:
        """Stop it politely, by force when it does not listen; its exit code."""
        if self.alive:
            self._popen.send_signal(signal.SIGTERM)
        try:
            return self._popen.wait(STOP_WITHIN_S)
        except subprocess.TimeoutExpired:
            self._popen.kill()
            return self._popen.wait()
        finally:
            self._output.close()

    def output(self) -> str:
        return self._log.read_text(errors="replace")


class DevServer(Process):
    """`timeball dev` on a file, ready to be used. `with_app` = its own executor serves too."""

    def __init__(self, work: Path, *, with_app: bool, options: tuple[str, ...] = ()) -> None:
        self._ready = work / "ready"
        self.start_log = work / "dev-starts.jsonl"
        arguments = ["dev", *([str(APPS)] if with_app else []), "--listen", "127.0.0.1:0"]
        arguments += ["--data", str(work / "dev.db"), "--ready-file", str(self._ready)]
        arguments += ["--start-log", str(self.start_log), *options]
        super().__init__("timeball dev", arguments, work / "dev.log")
        self.address = self._await_ready()
        self.ready_ms = (self._ready.stat().st_mtime_ns - self.started_ns) / 1e6

    def _await_ready(self) -> str:
        deadline = time.monotonic() + READY_WITHIN_S
        while time.monotonic() < deadline and self.alive:
            if self._ready.exists():
                return self._ready.read_text().strip()
            time.sleep(0.01)
        self.stop()
        raise SystemExit(f"timeball dev did not become ready:\n{self.output()}")


class ExecutorProcess(Process):
    """`timeball executor` of a server."""

    def __init__(self, work: Path, server: str, slots: int = 200) -> None:
        self.start_log = work / "starts.jsonl"
        arguments = ["executor", "--app", str(APPS), "--server", server, "--slots", str(slots)]
        arguments += ["--name", "bench-executor", "--start-log", str(self.start_log)]
        super().__init__("timeball executor", arguments, work / "executor.log")


@dataclass(frozen=True, slots=True)
class Machine:
    """CPU seconds of the whole machine so far: in all, and idle."""

    total_s: float
    idle_s: float

    @staticmethod
    def now() -> Machine:
        times = psutil.cpu_times()
        busy = times.user + times.system + times.nice + times.irq + times.softirq + times.steal
        idle = times.idle + times.iowait
        return Machine(busy + idle, idle)


class Meter:
    """CPU of processes and of the machine between `begin` and `end`, sampled for memory."""

    def __init__(self, *processes: Watched) -> None:
        self._processes = processes
        self._own = psutil.Process()
        self._first: dict[str, float] = {}
        self._queued: dict[str, float] = {}
        self._machine = Machine.now()
        self._began_s = 0.0
        self.cpu_s: dict[str, float] = {}
        self.queued_percent: dict[str, float] = {}
        self.idle_percent = 0.0
        self.foreign_percent = 0.0

    def begin(self) -> None:
        self._first, self._queued = self._read(), self._read_queued()
        self._machine, self._began_s = Machine.now(), time.monotonic()

    def sample(self) -> None:
        """Keep the peaks of memory up to date; call now and then."""
        for process in self._processes:
            process.usage()

    def end(self) -> None:
        last, machine = self._read(), Machine.now()
        self.cpu_s = {name: last[name] - self._first[name] for name in last}
        percent = 100 / max(time.monotonic() - self._began_s, 1e-9)
        queued = self._read_queued()
        self.queued_percent = {
            name: percent * (queued[name] - self._queued[name]) for name in queued
        }
        total_s = max(machine.total_s - self._machine.total_s, 1e-9)
        idle_s = machine.idle_s - self._machine.idle_s
        self.idle_percent = 100 * idle_s / total_s
        ours_s = sum(self.cpu_s.values())
        self.foreign_percent = max(0.0, 100 * (total_s - idle_s - ours_s) / total_s)

    def _read(self) -> dict[str, float]:
        times = self._own.cpu_times()
        read = {"load generator": times.user + times.system}
        read.update({process.name: process.usage().cpu_s for process in self._processes})
        return read

    def _read_queued(self) -> dict[str, float]:
        return {process.name: process.usage().queued_s for process in self._processes}
