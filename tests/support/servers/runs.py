"""Programs that are run to their end: the exit code and what they said."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass

from tests.support.dev_server import ROOT, environment

LIMIT_S = 90


@dataclass(frozen=True, slots=True)
class Ended:
    """What a process left behind."""

    code: int
    lines: list[str]

    @property
    def text(self) -> str:
        """All of it."""
        return "\n".join(self.lines)


def ended(*command: str) -> Ended:
    """Run a module to its end."""
    done = subprocess.run(
        [sys.executable, "-m", *command],
        cwd=ROOT,
        env=environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    return Ended(done.returncode, (done.stdout + done.stderr).splitlines())
