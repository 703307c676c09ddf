"""What a scheduler node remembers of an executor: its streams, its runs, its room and its health.

Nothing here decides who gets what; that is `choice`. Says how much room there is, by slots and by
handler. Must never count a run twice.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from timeball_server.core.engine.health import Health
from timeball_server.core.engine.identity import ExecutorFacts
from timeball_server.core.ids import Epoch, ShardId
from timeball_server.core.messages import RunId

if TYPE_CHECKING:
    from timeball_server.core.engine.state import TaskState

NO_HANDLERS: frozenset[str] = frozenset()
_UNLIMITED = 1 << 30


class Runs(dict[RunId, "TaskState"]):
    """The runs that an executor was sent, and of each capped handler how many there are."""

    __slots__ = ("_capped", "taken")

    def __init__(self, caps: Mapping[str, int]) -> None:
        super().__init__()
        self.taken = dict.fromkeys(caps, 0)
        self._capped: dict[RunId, str] = {}

    def __setitem__(self, run: RunId, task: TaskState) -> None:
        """A run was sent, or found there."""
        handler = task.spec.handler
        if handler in self.taken and run not in self._capped:
            self._capped[run] = handler
            self.taken[handler] += 1
        super().__setitem__(run, task)

    def __delitem__(self, run: RunId) -> None:
        """A run is over."""
        super().__delitem__(run)
        self._forget(run)

    def pop(self, run: RunId, default: TaskState | None = None) -> TaskState | None:  # type: ignore[override] # one form is enough
        """A run is over, or was never here."""
        self._forget(run)
        return super().pop(run, default)

    def _forget(self, run: RunId) -> None:
        handler = self._capped.pop(run, None)
        if handler is not None:
            self.taken[handler] -= 1


class ExecutorState:
    """An executor as this node sees it.

    Attributes:
        ready: stream open and inventory answered.
        blocked: it has refused work for want of a slot.
        caps: most runs at once, by handler, where that is fewer than it has slots.
        full: handlers of which it says that it takes no more, whoever sends them.
        told_free: free slots by its own last word; it serves other owners too.
        health: what was seen of its attempts. `left_out` = it is given no work for a while.
    """

    __slots__ = (
        "_reserved_of",
        "blocked",
        "caps",
        "draining",
        "facts",
        "fence_number",
        "fenced_runs",
        "full",
        "handlers",
        "health",
        "labels",
        "left_out",
        "ready",
        "reserved",
        "runs",
        "stream_open",
        "told_free",
    )

    def __init__(self, facts: ExecutorFacts) -> None:
        self.facts = facts
        self.handlers = frozenset(facts.handlers)
        self.labels = frozenset(facts.labels)
        self.caps = dict(facts.caps)
        self.ready = False
        self.stream_open = False
        self.draining = False
        self.blocked = False
        self.left_out = False
        self.full = NO_HANDLERS
        self.told_free = facts.slots
        self.health = Health()
        self.runs: dict[RunId, TaskState] = Runs(self.caps) if self.caps else {}
        self.reserved = 0
        self._reserved_of = dict.fromkeys(self.caps, 0)
        self.fence_number = 0
        self.fenced_runs: dict[int, tuple[tuple[tuple[ShardId, Epoch], ...], frozenset[RunId]]] = {}

    def reserve(self, handler: str) -> None:
        """A claim that will be sent as soon as it is durable takes its place now."""
        self.reserved += 1
        if handler in self._reserved_of:
            self._reserved_of[handler] += 1

    def unreserve(self, handler: str) -> None:
        """The claim is durable or given up."""
        self.reserved -= 1
        if handler in self._reserved_of:
            self._reserved_of[handler] -= 1

    @property
    def free(self) -> int:
        """Slots that this node may still use."""
        if self.blocked or not self.ready or self.draining:
            return 0
        slots, room = self.facts.slots, self.health.room
        usable = slots if room is None else min(slots, room)
        return usable - len(self.runs) - self.reserved

    def left_of(self, handler: str) -> int:
        """Runs of this handler that its cap still allows this node, whatever slots are free."""
        cap = self.caps.get(handler)
        if cap is None:
            return _UNLIMITED
        if handler in self.full or not isinstance(self.runs, Runs):
            return 0
        return cap - self.runs.taken[handler] - self._reserved_of[handler]

    def has_room(self, handler: str) -> bool:
        """Whether one more run of this handler may be sent."""
        return self.free > 0 and (not self.caps or self.left_of(handler) > 0)

    @property
    def capacity(self) -> int:
        """Free capacity x strength, what the choice of two compares."""
        return self.free * self.facts.strength
