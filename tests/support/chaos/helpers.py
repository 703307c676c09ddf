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


class Helper:
    """A process that takes lines and ends with its input; what it prints goes to a file."""

    def __init__(self, module: str, arguments: Sequence[str], out: Path) -> None:
        with out.open("ab") as said, out.with_suffix(".log").open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", module, *arguments],
                cwd=ROOT,
                stdin=subprocess.PIPE,
                stdout=said,
                stderr=log,
            )
        self.said = Tail(out)

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
