"""Processes beside the cluster, and files that grow: the hands and eyes of a campaign."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from tools.local_cluster import ROOT

STOP_WITHIN_S: Final = 60.0


class Tail:
    """What was appended to a file since the last look; a line that is being written is left."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._offset = 0

    def lines(self) -> list[str]:
        """New whole lines."""
        if not self.path.exists():
            return []
        with self.path.open("rb") as file:
            file.seek(self._offset)
            whole, newline, _ = file.read().rpartition(b"\n")
        self._offset += len(whole) + len(newline)
        return whole.decode(errors="replace").splitlines()


UNCAUGHT: Final = ("Exception in callback", "exception was never retrieved", "[critical")


class Complaints:
    """Exceptions that nobody caught, as the processes' logs tell them: each is a broken promise."""

    def __init__(self, logs: Path) -> None:
        self._logs = logs
        self._tails: dict[Path, Tail] = {}

    def new(self) -> list[str]:
        """One sentence for each log that tells of some since the last look."""
        found = []
        for path in sorted(self._logs.glob("*.log")):
            lines = self._tails.setdefault(path, Tail(path)).lines()
            told = [line for line in lines if any(words in line for words in UNCAUGHT)]
            if told:
                times = f"{len(told)} exceptions that nobody caught"
                found.append(f"{path.stem}: {times}, the first is {told[0]}")
        return found


class Helper:
    """A process that takes lines and ends with its input; what it prints goes to a file.

    `before` are words to put before its command line.
    """

    def __init__(
        self, module: str, arguments: Sequence[str], out: Path, before: Sequence[str] = ()
    ) -> None:
        with out.open("ab") as said, out.with_suffix(".log").open("ab") as log:
            self._process = subprocess.Popen(
                [*before, sys.executable, "-m", module, *arguments],
                cwd=ROOT,
                stdin=subprocess.PIPE,
                stdout=said,
                stderr=log,
            )
        self.said = Tail(out)

    @property
    def pid(self) -> int:
        """Its process id; `before` must not have made another process of it."""
        return self._process.pid

    def tell(self, line: str) -> None:
        """Send a line."""
        if self._process.stdin is None or self._process.poll() is not None:
            raise AssertionError(f"a helper has ended: {self._process.args!r}")
        self._process.stdin.write(line.encode() + b"\n")
        self._process.stdin.flush()

    def facts(self) -> list[dict[str, Any]]:
        """What it has printed since the last look."""
        return [json.loads(line) for line in self.said.lines()]

    def end(self) -> None:
        """Close its input and wait; safe to repeat."""
        if self._process.stdin is not None and not self._process.stdin.closed:
            self._process.stdin.close()
        try:
            self._process.wait(STOP_WITHIN_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
