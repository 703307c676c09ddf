"""Commands as they are typed, run in this process: what they print, and with which exit code.

An interpreter for each would cost a third of a second. Where a process of its own is the point, or
an app's code is loaded, a test starts one with tests/support/dev_server.py.
"""

from __future__ import annotations

from dataclasses import dataclass

from click.testing import CliRunner
from timeball.cli.root import root

from tests.support.dev_server import SETTINGS


@dataclass(frozen=True, slots=True)
class Said:
    """How a command ended."""

    returncode: int
    stdout: str
    stderr: str


def typed(*words: str, text: str = "", **settings: str) -> Said:
    """Run a command, with `text` typed into it and no settings but these in the environment.

    What a process would end on with a traceback is raised.
    """
    variables = dict[str, str | None](dict.fromkeys(SETTINGS)) | settings
    done = CliRunner().invoke(root, [*words], text, variables, False, prog_name="timeball")
    return Said(done.exit_code, done.stdout, done.stderr)
