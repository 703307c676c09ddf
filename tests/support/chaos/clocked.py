"""`python -m tests.support.chaos.clocked ...`: a scheduler node whose wall clock a test can set.

The same process as `python -m scheduler_node`, with another clock behind its port: that of the
machine, and so many milliseconds more or less, as a file of eight bytes says. Leases and sessions
go by the monotonic clock, which nobody sets. Processes of one machine share its clock, so setting
that one would move the judges' clock as well.
"""

from __future__ import annotations

import mmap
import os
import struct
import sys
from pathlib import Path
from typing import Final

from scheduler_node.__main__ import make, problems
from timeball_server.cluster.settings import SchedulerNodeSettings
from timeball_server.ports.clock import Now
from timeball_server.runtime.clock import SystemClock
from timeball_server.runtime.lifecycle import Service
from timeball_server.runtime.process import Say, main

FOLDER_VARIABLE: Final = "CHAOS_CLOCKS"
_OFFSET: Final = struct.Struct("<q")


def set_clock(folder: Path, name: str, ahead_ms: int) -> None:
    """Set a node's clock so far ahead, or back by a negative number; 0 is right."""
    path = folder / f"{name}.clock"
    with path.open("r+b" if path.exists() else "wb") as file:
        file.write(_OFFSET.pack(ahead_ms))


class SetClock:
    """Implements `Clock`."""

    def __init__(self, folder: Path, name: str) -> None:
        self._system = SystemClock()
        with (folder / f"{name}.clock").open("rb") as file:
            self._offset = mmap.mmap(file.fileno(), _OFFSET.size, prot=mmap.PROT_READ)

    def now(self) -> Now:
        """Both times at once."""
        right = self._system.now()
        (ahead_ms,) = _OFFSET.unpack(self._offset)
        return Now(right.wall_ms + ahead_ms, right.mono_ms)

    async def sleep_ms(self, duration_ms: float) -> None:
        """By the monotonic clock."""
        await self._system.sleep_ms(duration_ms)


async def _make(settings: SchedulerNodeSettings, say: Say) -> Service:
    clock = SetClock(Path(os.environ[FOLDER_VARIABLE]), settings.node.name or "")
    return await make(settings, say, clock)


if __name__ == "__main__":
    sys.exit(main("scheduler_node", SchedulerNodeSettings, _make, problems))
