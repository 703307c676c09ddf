"""What an outsider saw of one run: operations, starts, ends, dispatches, faults, and the trace.

The trace has one line per event; its hash names the history. Nothing here reads a clock: the
world hands the true virtual time in.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum

from timeball_server.core.model import DeliveryMode, TaskView

NEVER_US = 2**62


class Kind(StrEnum):
    """How an operation ended for its client. INFO = it may or may not hold, for ever."""

    OK = "ok"
    FAIL = "fail"
    INFO = "info"


@dataclass(slots=True, kw_only=True)
class Wish:
    """What a client wants of one task: everything the checker needs to judge it."""

    request_id: bytes
    mode: DeliveryMode
    due_ms: int | None
    delay_ms: int
    fails: int
    max_attempts: int


@dataclass(slots=True, kw_only=True)
class Op:
    """One operation of a client, all its repetitions included. Times are true microseconds."""

    client: str
    name: str
    task_id: str = ""
    wish: Wish | None = None
    inv_us: int
    ret_us: int = NEVER_US
    kind: Kind = Kind.INFO
    reason: str = ""
    view: TaskView | None = None
    tries: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """A handler began, recorded by the sink in the very call."""

    task_id: str
    attempt: int
    epoch: int
    process: str
    incarnation: int
    at_us: int
    wall_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class End:
    """A handler ended by itself."""

    task_id: str
    attempt: int
    process: str
    at_us: int
    succeeded: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """A dispatch seen on the wire."""

    task_id: str
    shard: int
    epoch: int
    process: str
    at_us: int


@dataclass(slots=True)
class History:
    """Everything that one run left behind."""

    now_us: Callable[[], int]
    ops: list[Op] = field(default_factory=list)
    starts: list[Start] = field(default_factory=list)
    ends: list[End] = field(default_factory=list)
    sent: list[Sent] = field(default_factory=list)
    owners: list[tuple[int, int, str]] = field(default_factory=list)
    faults: Counter[str] = field(default_factory=Counter)
    planned: Counter[str] = field(default_factory=Counter)
    struck: dict[str, int] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    final: dict[str, Op] = field(default_factory=dict)
    followed: dict[str, bool] = field(default_factory=dict)
    lines: list[str] = field(default_factory=list)
    is_open: bool = True

    def trace(self, who: str, what: str) -> None:
        """Add a line."""
        if self.is_open:
            self.lines.append(f"{self.now_us():>12} {who}: {what}")

    def fault(self, name: str, who: str, detail: str = "") -> None:
        """Note an injected fault."""
        self.faults[name] += 1
        self.trace(who, f"FAULT {name} {detail}")

    def plan(self, name: str, who: str) -> None:
        """Note what an operator did on purpose: no fault, and no excuse for anything."""
        self.planned[name] += 1
        self.trace(who, f"PLANNED {name}")

    def strike(self, name: str, who: str) -> None:
        """Note a fault that may make the cluster give a process up."""
        self.struck.setdefault(who, self.now_us())
        self.fault(name, who)

    def problem(self, who: str, what: str) -> None:
        """Note something that must never happen, whatever the faults were."""
        if self.is_open:
            self.trace(who, f"PROBLEM {what}")
            self.problems.append(f"{who}: {what}")

    def digest(self) -> str:
        """The hash of the trace."""
        return hashlib.blake2b("\n".join(self.lines).encode(), digest_size=16).hexdigest()
