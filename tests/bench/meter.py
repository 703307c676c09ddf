"""What processes cost, by the operating system: CPU, memory, waiting, and what goes over loopback.

Starts and ends nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psutil

from tests.bench.judging import IDLE, Result

MIB: Final = 1024 * 1024


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


NOTHING: Final = Usage(0.0, 0.0, 0)


class Watched:
    """A process whose cost is read, over all its lives; somebody else starts and ends it.

    Args:
        pid: the id of its present life.
    """

    def __init__(self, name: str, pid: Callable[[], int]) -> None:
        self.name = name
        self.rss_peak_bytes = 0
        self._pid = pid
        self._process = psutil.Process(pid())
        self._before = self._last = NOTHING

    def usage(self) -> Usage:
        """What it has used so far; also keeps the peak of memory."""
        if self._process.pid != self._pid():
            self._before, self._process = self._last, psutil.Process(self._pid())
        try:
            now = self._read()
        except psutil.NoSuchProcess:
            return self._last
        self.rss_peak_bytes = max(self.rss_peak_bytes, now.rss_bytes)
        before = self._before
        self._last = Usage(before.cpu_s + now.cpu_s, before.queued_s + now.queued_s, now.rss_bytes)
        return self._last

    def _read(self) -> Usage:
        with self._process.oneshot():
            times, memory = self._process.cpu_times(), self._process.memory_info()
        return Usage(times.user + times.system, self._queued_s(), memory.rss)

    def _queued_s(self) -> float:
        """Linux says it per thread; elsewhere it is not known and counts as nothing."""
        facts = Path(f"/proc/{self._process.pid}/schedstat")
        return int(facts.read_text().split()[1]) / 1e9 if facts.exists() else 0.0


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


@dataclass(frozen=True, slots=True)
class Reading:
    """Everything at one instant."""

    at_s: float
    machine: Machine
    usages: dict[str, Usage]
    counts: dict[str, float]


class Meter:
    """Cost and counts between `begin` and `end`.

    Args:
        counted: further sums so far, by the name of what they are per task.
        clock_s: monotonic seconds.
    """

    def __init__(
        self,
        watched: Iterable[Watched],
        counted: Callable[[], dict[str, float]],
        clock_s: Callable[[], float],
    ) -> None:
        self._watched = tuple(watched)
        self._counted = counted
        self._clock_s = clock_s
        self._own = psutil.Process()
        self._first = self._last = self._now()

    def begin(self) -> None:
        self._first = self._now()

    def end(self) -> None:
        self._last = self._now()

    def sample(self) -> None:
        """Keep the peaks of memory up to date; call now and then."""
        for each in self._watched:
            each.usage()

    def into(self, result: Result, tasks: int) -> None:
        """Cost per task and process, and how busy the machine was."""
        first, last, figures = self._first, self._last, result.figures
        wall_s = max(last.at_s - first.at_s, 1e-9)
        cpu_s = {name: last.usages[name].cpu_s - first.usages[name].cpu_s for name in last.usages}
        for name, used_s in cpu_s.items():
            figures[f"CPU per task, {name} us"] = used_s * 1e6 / max(1, tasks)
        figures["CPU per task, all processes us"] = sum(cpu_s.values()) * 1e6 / max(1, tasks)
        for name, sum_ in last.counts.items():
            figures[name] = (sum_ - first.counts[name]) / max(1, tasks)
        for each in self._watched:
            queued_s = last.usages[each.name].queued_s - first.usages[each.name].queued_s
            figures[f"{each.name} kept waiting for a CPU %"] = 100 * queued_s / wall_s
            figures[f"{each.name} RSS peak MiB"] = each.rss_peak_bytes / MIB
        total_s = max(last.machine.total_s - first.machine.total_s, 1e-9)
        idle_s = last.machine.idle_s - first.machine.idle_s
        figures[IDLE] = 100 * idle_s / total_s
        others_s = total_s - idle_s - sum(cpu_s.values())
        figures["machine busy with other programs %"] = max(0.0, 100 * others_s / total_s)

    def _now(self) -> Reading:
        times = self._own.cpu_times()
        usages = {"load generator": Usage(times.user + times.system, 0.0, 0)}
        usages.update({each.name: each.usage() for each in self._watched})
        return Reading(self._clock_s(), Machine.now(), usages, self._counted())


class Odometer:
    """Counters of processes that may begin again from nothing, read on as if they had not."""

    def __init__(self) -> None:
        self._before: dict[str, float] = {}
        self._last: dict[str, float] = {}

    def read(self, name: str, value: float) -> float:
        """The sum over all lives."""
        last = self._last.get(name, 0.0)
        if value < last:
            self._before[name] = self._before.get(name, 0.0) + last
        self._last[name] = value
        return self._before.get(name, 0.0) + value


def loopback() -> dict[str, float]:
    """What has gone over the loopback interface so far."""
    sent = psutil.net_io_counters(pernic=True).get("lo")
    if sent is None:
        return {}
    return {
        "packets per task": float(sent.packets_sent),
        "KiB over loopback per task": sent.bytes_sent / 1024,
    }
