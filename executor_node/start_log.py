"""The executor's own record of what it started: one JSON line per start, written before it.

An outside witness: proofs of "never early" and "once" read this file, not the service's tables.
Never read by the service itself.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Final

from timeball_server.core.messages import RunOrder

_AS_JSON: Final = json.JSONEncoder(separators=(",", ":")).encode


class StartLog:
    """Appends starts. Lines of several threads and processes never mix: each is one write.

    Args:
        path: the file; its folder must exist.

    Raises:
        OSError: the file cannot be opened for appending.
    """

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(
            path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644
        )

    def write(self, order: RunOrder, started_ms: int) -> None:
        """Hand one start to the operating system; it survives the death of this process.

        Raises:
            OSError: the line could not be written as a whole; the handler must not begin.
        """
        facts = {
            "task_id": order.run.task_id,
            "attempt": order.attempt,
            "epoch": order.epoch,
            "due_ms": order.due_ms,
            "started_ms": started_ms,
            "handler": order.handler,
            "priority": order.priority,
        }
        line = _AS_JSON(facts).encode() + b"\n"
        if os.write(self._descriptor, line) != len(line):
            raise OSError("the start log took only part of a line; is the disk full?")

    def close(self) -> None:
        """Close the file. Safe to call twice."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)
