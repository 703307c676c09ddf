"""What an outsider saw of one run, as it is being seen; and the trace.

Effects, orders and faults are kept as the judge's records; operations are kept open until their
clients know how they ended. The trace has one line per event; its hash names the history. Nothing
here reads a clock: the world hands the true virtual time in.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from tests.support.checker.base import NEVER_US
from tests.support.checker.bounds import Rate
from tests.support.checker.calendars import Forecast
from tests.support.checker.dealings import Dealt
from tests.support.checker.questions import Asked, ForeignRow, Nature, Serving
from tests.support.checker.records import (
    Away,
    Call,
    Claim,
    Edition,
    End,
    Fault,
    Kind,
    Left,
    Listed,
    Residue,
    Rhythm,
    Sent,
    Start,
    Verdict,
    Wish,
)
from tests.support.checker.stored import Stored
from tests.support.checker.words import Found, Said
from timeball_server.core.model import ScheduleView, TaskView

KILLS = frozenset({"crash", "poison"})
"""Faults after which nothing of the process goes on."""


@dataclass(slots=True, kw_only=True)
class Op:
    """One operation of a client, all its repetitions included. Times are true microseconds."""

    client: str
    namespace: str = ""
    call: Call
    task_id: str = ""
    request_id: bytes = b""
    wish: Wish | None = None
    rhythm: Rhythm | None = None
    due_ms: int | None = None
    inv_us: int
    ret_us: int = NEVER_US
    kind: Kind = Kind.INFO
    reason: str = ""
    view: TaskView | ScheduleView | None = None
    tries: int = 0
    version: str = ""
    etag: int = 0
    delay_ms: int = 0
    is_foreign: bool = False
    backfill: str = ""
    first_ms: int = 0
    last_ms: int = 0
    stalls: list[tuple[int, int]] = field(default_factory=list)

    @property
    def is_creation(self) -> bool:
        """Whether it is the acknowledged creation of a task."""
        return self.call is Call.CREATE and self.kind is Kind.OK


@dataclass(slots=True)
class History:
    """Everything that one run left behind."""

    now_us: Callable[[], int]
    ops: list[Op] = field(default_factory=list)
    starts: list[Start] = field(default_factory=list)
    ends: list[End] = field(default_factory=list)
    left: list[Left] = field(default_factory=list)
    sent: list[Sent] = field(default_factory=list)
    claims: list[Claim] = field(default_factory=list)
    struck: list[Fault] = field(default_factory=list)
    verdicts: list[Verdict] = field(default_factory=list)
    rates: list[Rate] = field(default_factory=list)
    editions: list[Edition] = field(default_factory=list)
    away: list[Away] = field(default_factory=list)
    residues: list[Residue] = field(default_factory=list)
    forecasts: list[Forecast] = field(default_factory=list)
    planned: Counter[str] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)
    final: dict[str, Op] = field(default_factory=dict)
    followed: dict[str, bool] = field(default_factory=dict)
    listed: list[Listed] = field(default_factory=list)
    spent: Counter[str] = field(default_factory=Counter)
    serving: list[Serving] = field(default_factory=list)
    natures: dict[str, Nature] = field(default_factory=dict)
    asked: list[Asked] = field(default_factory=list)
    foreign_rows: dict[str, ForeignRow] = field(default_factory=dict)
    said: list[Said] = field(default_factory=list)
    found: list[Found] = field(default_factory=list)
    leaving: set[str] = field(default_factory=set)
    stored: list[Stored] = field(default_factory=list)
    dealt: list[Dealt] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)
    healed_us: int = 0
    read_us: int = 0
    is_open: bool = True

    @property
    def faults(self) -> Counter[str]:
        """How many of each kind."""
        return Counter(fault.name for fault in self.struck)

    def trace(self, who: str, what: str) -> None:
        """Add a line."""
        if self.is_open:
            self.lines.append(f"{self.now_us():>12} {who}: {what}")

    def fault(self, name: str, who: str, detail: str = "", *, gives_up: bool = False) -> None:
        """Note an injected fault. `gives_up`: the cluster may give the process up for it."""
        now_us = self.now_us()
        fault = Fault(
            name=name,
            scope=who,
            at_us=now_us,
            until_us=now_us,
            gives_up=gives_up,
            kills=name in KILLS,
        )
        self.struck.append(fault)
        self.trace(who, f"FAULT {name} {detail}")

    def plan(self, name: str, who: str) -> None:
        """Note what an operator did on purpose: no fault, and no excuse for anything."""
        self.planned[name] += 1
        self.trace(who, f"PLANNED {name}")

    def strike(self, name: str, who: str) -> None:
        """Note a fault that may make the cluster give a process up."""
        self.fault(name, who, gives_up=True)

    def problem(self, who: str, what: str) -> None:
        """Note something that must never happen, whatever the faults were."""
        if self.is_open:
            self.trace(who, f"PROBLEM {what}")
            self.problems.append(f"{who}: {what}")

    def spend(self, what: str) -> None:
        """Count something that costs work, until the last reads begin."""
        if not self.read_us:
            self.spent[what] += 1

    def was_deleted(self, task_id: str) -> bool:
        """Whether anybody has tried to delete a task."""
        return any(op.call is Call.DELETE and op.task_id == task_id for op in self.ops)

    def digest(self) -> str:
        """The hash of the trace."""
        return hashlib.blake2b("\n".join(self.lines).encode(), digest_size=16).hexdigest()
