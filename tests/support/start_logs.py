"""Start logs read back: executors' own files, a line for each start, written before it.

The witness from outside: a start that is in no such file did not happen.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

SUFFIX = ".starts.jsonl"


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """A line. `executor` is in no line: it is the file's name."""

    task_id: str
    attempt: int
    epoch: int
    due_ms: int
    started_ms: int
    handler: str = ""
    priority: int = 0
    executor: str = ""


def start_of(line: str, executor: str = "") -> Start:
    """What a line says."""
    facts = json.loads(line)
    known = {name: facts[name] for name in Start.__slots__ if name in facts}
    return Start(**{**known, "executor": executor})


def read_starts(path: Path) -> list[Start]:
    """One file's starts so far, none if there is no file; a line under way is left out."""
    if not path.exists():
        return []
    whole, _, _ = path.read_text().rpartition("\n")
    executor = path.name.removesuffix(SUFFIX)
    return [start_of(line, executor) for line in whole.splitlines()]


def all_starts(folder: Path) -> list[Start]:
    """The starts of all executors of a cluster so far."""
    return [start for path in logs_in(folder) for start in read_starts(path)]


def logs_in(folder: Path) -> list[Path]:
    """The start logs of a cluster's executors."""
    return sorted(folder.glob(f"*{SUFFIX}"))
