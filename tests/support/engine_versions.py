"""Which versions of a task may still start, by what callers were told: payloads and due times.

Time is a count of steps. Whoever was told that a change holds may rely on it: what was in force
before that change was asked for, and what was told to hold before, starts no more.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from enum import Enum, auto

from tests.support.engine_world import Call
from timeball_server.core.commands import (
    CreateTask,
    Done,
    RejectionReason,
    RescheduleTask,
    UpdateTask,
)
from timeball_server.core.ids import TaskId
from timeball_server.core.messages import RunOrder


class Told(Enum):
    """What the caller knows."""

    NOTHING = auto()
    HOLDS = auto()
    REFUSED = auto()


@dataclass(slots=True)
class Version:
    """One payload or due time that somebody asked for; the creation's is the first."""

    payload: bytes | None
    due_ms: int | None
    asked: int
    told_at: int | None = None
    told: Told = Told.NOTHING
    names_doubts: bool = False
    is_repeated: bool = False

    def ends(self, other: Version) -> bool:
        """Whether the other one can not be in force any more, because this one surely is."""
        if self is other or self.told is not Told.HOLDS or self.names_doubts:
            return False
        return other.told is Told.HOLDS and (other.told_at or 0) < self.asked


class Versions:
    """All that was asked for, and what starts."""

    def __init__(self) -> None:
        self.steps = 0
        self._by_call: dict[int, tuple[TaskId, Version]] = {}
        self._payloads: dict[TaskId, list[Version]] = defaultdict(list)
        self._times: dict[TaskId, list[Version]] = defaultdict(list)

    def asked(self, call: Call, now_ms: int) -> None:
        """A command was sent."""
        self.steps += 1
        command = call.command
        if isinstance(command, CreateTask):
            if call.task_id not in self._payloads:
                known = Version(b"", command.due_ms or now_ms, self.steps, 0, Told.HOLDS)
                self._payloads[call.task_id].append(known)
                self._times[call.task_id].append(known)
        elif isinstance(command, UpdateTask):
            self._add(call, Version(command.spec.payload.data, None, self.steps), self._payloads)
        elif isinstance(command, RescheduleTask):
            due_ms = now_ms if command.due_ms is None else command.due_ms
            self._add(call, Version(None, due_ms, self.steps), self._times)

    def _add(self, call: Call, version: Version, kind: dict[TaskId, list[Version]]) -> None:
        kind[call.task_id].append(version)
        self._by_call[id(call)] = call.task_id, version

    def repeated(self, call: Call) -> None:
        """A command is sent once more: a refusal of one copy says nothing of the other."""
        known = self._by_call.get(id(call))
        if known is not None:
            known[1].is_repeated = True
            if known[1].told is Told.REFUSED:
                known[1].told = Told.NOTHING

    def heard(self, call: Call) -> None:
        """An answer came."""
        self.steps += 1
        _, version = self._by_call.get(id(call), (None, None))
        if version is None:
            return
        outcome = call.outcome
        version.told_at = self.steps
        if isinstance(outcome, Done):
            version.told = Told.HOLDS
            version.names_doubts = bool(outcome.task.unaccounted)
        elif not version.is_repeated and call.refusal is not RejectionReason.UNKNOWN:
            version.told = Told.REFUSED

    def starts(self, order: RunOrder, now_ms: int) -> None:
        """A handler begins: with a payload, and at a time, that may be in force."""
        self.steps += 1
        task_id = order.run.task_id
        payloads = _possible(self._payloads[task_id])
        data = order.payload.data
        assert any(each.payload == data for each in payloads), "an old version starts"
        dues = [each.due_ms for each in _possible(self._times[task_id]) if each.due_ms is not None]
        assert min(dues) <= now_ms, "before the time that was acknowledged"


def _possible(versions: list[Version]) -> list[Version]:
    """Those that may be in force."""
    asked = [each for each in versions if each.told is not Told.REFUSED]
    return [each for each in asked if not any(other.ends(each) for other in asked)]
