"""The handlers of the chaos rounds: each start leaves a line in a file that outlives everything.

The file is the witness from outside: it is neither the service's nor the executor's.
"""

from __future__ import annotations

import asyncio
import os
import signal
from functools import cache

import timeball

RETRY = timeball.RetryPolicy(max_attempts=10, initial_delay="50ms", max_delay="200ms")
DELAYS_MS = (0, 50, 300, 800, 2_000)
ONCE_EVERY = 5
"""One task in so many may run at most once."""
SINK_VARIABLE = "TIMEBALL_CHAOS_SINK"
WORK_S = 0.03
SLOW_S = 2.5


@timeball.task("chaos.work")
async def work(number: int) -> int:
    """Leaves its line, works for a moment, answers."""
    leave_line(number)
    # Nobody sets it: a handler that is busy for a moment, so that kills meet running attempts.
    await asyncio.wait((asyncio.get_running_loop().create_future(),), timeout=WORK_S)
    return number


@timeball.task("chaos.slow")
async def slow(number: int) -> int:
    """Leaves its line, and works for longer than some schedules wait."""
    leave_line(number)
    await asyncio.wait((asyncio.get_running_loop().create_future(),), timeout=SLOW_S)
    return number


@timeball.task("chaos.poison")
async def poison(number: int) -> int:
    """The first attempt takes its executor along."""
    leave_line(number)
    if timeball.current().attempt == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def leave_line(number: int) -> None:
    """One write, so that lines of several processes never mix."""
    context = timeball.current()
    os.write(_sink(), f"{context.task_id} {context.attempt} {number}\n".encode())


@cache
def _sink() -> int:
    return os.open(os.environ[SINK_VARIABLE], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
