"""One limit as an owner keeps it: who holds its places, what its rate allows, and who waits.

A gate lets as many of those who wait go on to the common queue as could start, the most urgent
first; the others lie in lines of their own, where nobody looks at them. Never lets anybody start.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NamedTuple

from timeball_server.core.engine.ready import ClassKey, Turn, WaitingClass
from timeball_server.core.ids import Incarnation, NodeId, ShardId, TaskId
from timeball_server.core.limit_rules import TokenBucket
from timeball_server.core.messages import RunId

if TYPE_CHECKING:
    from timeball_server.core.engine.state import TaskState

_TIDY_LEAST: Final = 4_096
NO_LIMIT: Final = 1 << 30


class Subject(NamedTuple):
    """What a gate is about. `shard` is a key's home, None for a handler: it is the same on all."""

    shard: ShardId | None
    namespace: str
    name: str


class Place(NamedTuple):
    """Where the holder of a place was sent to."""

    node: NodeId
    incarnation: Incarnation


@dataclass(slots=True, eq=False)
class Gate:
    """A key's places and rate, or a handler's rate.

    Attributes:
        most: attempts that may run at once; None = no limit.
        runs: attempts that were sent and are not known to be over, and where.
        reserved: tasks that will be sent as soon as their claim is durable.
        posted: tasks that may start and wait for an executor, with their level.
        look_ms: when it is looked at again for its rate, by the monotonic clock.
    """

    subject: Subject
    most: int | None = None
    bucket: TokenBucket | None = None
    runs: dict[RunId, Place] = field(default_factory=dict)
    reserved: set[TaskId] = field(default_factory=set)
    posted: dict[TaskState, int] = field(default_factory=dict)
    lines: dict[ClassKey, WaitingClass] = field(default_factory=dict)
    look_ms: int | None = None
    entries: int = 0
    tidy_at: int = _TIDY_LEAST

    @property
    def places_left(self) -> int:
        """Attempts that may be started besides those that run, whatever the rate."""
        if self.most is None:
            return NO_LIMIT
        return self.most - len(self.runs) - len(self.reserved)

    def free(self, mono_ms: int) -> int:
        """How many may start now."""
        left = max(0, self.places_left)
        return left if self.bucket is None else min(left, self.bucket.free(mono_ms))

    def idle(self, mono_ms: int) -> bool:
        """Whether nothing would be lost with it. A rate that was used must be remembered."""
        if self.runs or self.reserved or self.posted or any(self.lines.values()):
            return False
        return self.bucket is None or self.bucket.is_full(mono_ms)

    def park(self, task: TaskState, key: ClassKey) -> None:
        """Put a task that stands in no line into this gate's; it has its number already."""
        line = self.lines.get(key)
        if line is None:
            line = self.lines[key] = WaitingClass(key, task.spec)
        line.push(task)
        self.entries += 1
        if self.entries > self.tidy_at:
            self.entries = sum(each.tidy() for each in self.lines.values())
            self.tidy_at = max(_TIDY_LEAST, 2 * self.entries)

    def post(self, now_ms: int, mono_ms: int, go_on: Callable[[TaskState], None]) -> None:
        """Let as many go on as could start, and whoever asks for more than all of those."""
        free = self.free(mono_ms)
        if not self.lines or free <= 0:
            return
        levels: dict[ClassKey, list[int]] = {}
        for task, level in self.posted.items():
            levels.setdefault((task.spec.handler, task.spec.selector), []).append(level)
        for key, line in list(self.lines.items()):
            if not line.turns(now_ms):
                del self.lines[key]
                continue
            known = levels.get(key, ())
            room, top = free - len(known), max(known, default=-1)
            turn = _first(line, now_ms)
            while turn is not None and (room > 0 or turn.level > top):
                line.take(turn)
                self.entries -= 1
                self.posted[turn.task] = turn.level
                top = max(top, turn.level)
                room -= 1
                go_on(turn.task)
                turn = _first(line, now_ms) if room > 0 else None

    def waiting(self) -> Iterator[TaskState]:
        """Everybody in its lines, in no order."""
        for line in self.lines.values():
            yield from line.tasks()


def _first(line: WaitingClass, now_ms: int) -> Turn | None:
    """The most urgent of a line; the shares of lanes are kept where all meet."""
    return min(line.turns(now_ms).values(), key=lambda turn: turn.rank, default=None)
