"""Due work that waits for a free executor: urgent first, then by due time, nobody starves.

Tasks that the same executors can run form a class. Three lanes keep the promises of the priority
rules over all classes: raised retries take at most a fifth of the starts while other work waits,
priority 9 takes at most half. Beyond its share a lane lets the others go first, whatever they
asked for; within it a raised retry is held against what the others asked for, not against what
waiting made of them (ADR 0011).

Within a lane the tasks of one level lie in one heap, by due time. Waiting raises them all alike,
so the first of a heap is always its most urgent one: nothing is moved as time passes. Where several
namespaces have work of one urgency, their shares decide before due times do.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Iterator
from enum import IntEnum
from typing import TYPE_CHECKING, Final

from timeball_server.core.engine.shares import Shares
from timeball_server.core.model import TaskSpec
from timeball_server.core.priority import (
    AGE_STEP_MS,
    HIGHEST,
    HIGHEST_RAISED,
    NINE_ONE_IN,
    RAISED_ONE_IN,
    effective_priority,
    is_raised,
)

if TYPE_CHECKING:
    from timeball_server.core.engine.state import TaskState

ClassKey = tuple[str, tuple[tuple[str, str], ...]]
_EVER_MS: Final = 2**62
_TIDY_LEAST: Final = 4_096
"""Entries below which nothing is worth tidying."""


class Lane(IntEnum):
    """Which promise governs a waiting task."""

    NORMAL = 0
    RAISED = 1
    NINE = 2


_Entry = tuple[int, int, "TaskState"]
"""A place in a line: due time, number, task. It counts as long as the task waits by this number."""
_Place = tuple[int, int, tuple[int, int]]
"""Where a namespace stands in a lane."""


class Turn:
    """Who may go next, before anybody has been found to run it. Does not change.

    Attributes:
        rank: what turns of one lane are compared by, the least goes first.
        level: what it asked for, raised by its failures but not by waiting.
        contested: whether work of other lanes waits for the same executors.
    """

    __slots__ = ("contested", "lane", "level", "rank", "task", "waiting")

    def __init__(
        self,
        rank: tuple[int, int, int],
        task: TaskState,
        waiting: WaitingClass,
        lane: Lane,
        level: int,
        contested: bool = False,
    ) -> None:
        self.rank = rank
        self.task = task
        self.waiting = waiting
        self.lane = lane
        self.level = level
        self.contested = contested

    def against(self, others: bool) -> Turn:
        """The same turn, and whether work of other lanes waits beside it."""
        return Turn(self.rank, self.task, self.waiting, self.lane, self.level, others)


class Budget:
    """A lane's share of the starts: one in `cost`, and never saved up for more than one."""

    __slots__ = ("_cost", "_credit")

    def __init__(self, cost: int) -> None:
        self._cost = cost
        self._credit = 1

    @property
    def is_spent(self) -> bool:
        """Whether one more start would be more than the share."""
        return self._credit < self._cost

    def note(self, own: bool, contested: bool) -> None:
        """A task has been started. What the lane gets while nobody else waits is nobody's loss."""
        if own and not contested:
            return
        left = max(0, self._credit - self._cost) if own else self._credit
        self._credit = min(self._cost, left + 1)


Usable = Callable[["WaitingClass"], bool]
"""Whether somebody has room for a task of the class."""


class WaitingClass:
    """Waiting tasks of one handler and selector. `spec` is that of one of them."""

    __slots__ = ("_heaps", "_turns", "_turns_from_ms", "_turns_until_ms", "key", "spec")

    def __init__(self, key: ClassKey, spec: TaskSpec) -> None:
        self.key = key
        self.spec = spec
        self._heaps: dict[tuple[Lane, int], list[_Entry]] = {}
        self._turns: dict[Lane, Turn] | None = None
        self._turns_from_ms = self._turns_until_ms = 0

    def push(self, task: TaskState) -> None:
        """Put a task into the line of its level."""
        self._turns = None
        lane = lane_of(task)
        level = effective_priority(task.spec.priority, task.failed_attempts, 0)
        entry = (task.due_ms, task.ready_number, task)
        heapq.heappush(self._heaps.setdefault((lane, level), []), entry)

    def take(self, turn: Turn) -> None:
        """Take the task of a turn out of its line."""
        self._turns = None
        heapq.heappop(self._heaps[turn.lane, turn.level])

    def turns(self, now_ms: int) -> dict[Lane, Turn]:
        """The first task of each lane in which somebody waits.

        Remembered until waiting raises somebody: of many classes one changes from turn to turn.
        """
        known = self._turns
        same = self._turns_from_ms <= now_ms < self._turns_until_ms
        if known is not None and same and all(map(_holds, known.values())):
            return known
        self._turns_from_ms, self._turns_until_ms = now_ms, _EVER_MS
        self._turns = self._first_of_lanes(now_ms)
        return self._turns

    def _first_of_lanes(self, now_ms: int) -> dict[Lane, Turn]:
        best: dict[Lane, Turn] = {}
        for (lane, level), heap in list(self._heaps.items()):
            while heap and not _is_current(heap[0]):
                heapq.heappop(heap)
            if not heap:
                del self._heaps[lane, level]
                continue
            due_ms, number, task = heap[0]
            if level < HIGHEST_RAISED:
                older_ms = now_ms + AGE_STEP_MS - max(0, now_ms - due_ms) % AGE_STEP_MS
                self._turns_until_ms = min(self._turns_until_ms, older_ms)
            rank = (-_aged(level, now_ms - due_ms), due_ms, number)
            if lane not in best or rank < best[lane].rank:
                best[lane] = Turn(rank, task, self, lane, level)
        return best

    def tasks(self) -> Iterator[TaskState]:
        """Everybody who waits, in no order."""
        for heap in self._heaps.values():
            yield from (entry[2] for entry in heap if _is_current(entry))

    def __bool__(self) -> bool:
        """Whether somebody waits."""
        return next(self.tasks(), None) is not None

    def tidy(self) -> int:
        """Let go of those who have left; how many are left."""
        for place, heap in self._heaps.items():
            kept = [entry for entry in heap if _is_current(entry)]
            heapq.heapify(kept)
            self._heaps[place] = kept
        return sum(map(len, self._heaps.values()))


class Round:
    """Turns of one instant. Costs a look at each class once, and little for each turn.

    A turn that was named is to be taken or dropped, or its class to cease to be usable.
    """

    def __init__(
        self,
        classes: Iterable[WaitingClass],
        usable: Usable,
        now_ms: int,
        choose: Callable[[dict[Lane, Turn]], Turn | None],
        shares: Shares,
    ) -> None:
        self._usable = usable
        self._now_ms = now_ms
        self._choose = choose
        self._shares = shares
        self._lines: dict[Lane, dict[str, list[tuple[tuple[int, int, int], Turn]]]] = {}
        for waiting in classes:
            for lane, turn in waiting.turns(now_ms).items():
                lines = self._lines.setdefault(lane, {})
                lines.setdefault(waiting.spec.namespace, []).append((turn.rank, turn))
        self._order: dict[Lane, list[tuple[_Place, str]]] = {}
        for lane, lines in self._lines.items():
            for line in lines.values():
                heapq.heapify(line)
            order = [(self._place(name, line[0][1]), name) for name, line in lines.items()]
            heapq.heapify(order)
            self._order[lane] = order

    def next(self) -> Turn | None:
        """Who goes next; None when nobody of the usable classes waits."""
        best: dict[Lane, Turn] = {}
        for lane, order in self._order.items():
            turn = self._first_of_all(lane, order)
            if turn is not None:
                best[lane] = turn
        chosen = self._choose(best)
        return None if chosen is None else chosen.against(others=len(best) > 1)

    def _place(self, namespace: str, turn: Turn) -> _Place:
        """By urgency, then by the namespace's share, then by due time."""
        return turn.rank[0], self._shares.turn(namespace), turn.rank[1:]

    def _first_of_all(self, lane: Lane, order: list[tuple[_Place, str]]) -> Turn | None:
        """The first turn of the namespace whose turn it is. Places only move back in a round."""
        lines = self._lines[lane]
        while order:
            place, namespace = order[0]
            turn = self._first(lane, lines[namespace])
            if turn is None:
                heapq.heappop(order)
                continue
            now = self._place(namespace, turn)
            if now == place:
                return turn
            heapq.heapreplace(order, (now, namespace))
        return None

    def _first(self, lane: Lane, line: list[tuple[tuple[int, int, int], Turn]]) -> Turn | None:
        """The first turn that holds; each class has one place in a line."""
        while line:
            turn = line[0][1]
            if not _holds(turn):
                following = turn.waiting.turns(self._now_ms).get(lane)
                if following is None:
                    heapq.heappop(line)
                else:
                    heapq.heapreplace(line, (following.rank, following))
            elif self._usable(turn.waiting):
                return turn
            else:
                heapq.heappop(line)
        return None


class ReadyQueue:
    """All waiting classes of a node. `on_take` is told of each turn whose task is started."""

    def __init__(self, on_take: Callable[[Turn], None] | None = None) -> None:
        self._on_take = on_take
        self._classes: dict[tuple[str, ClassKey], WaitingClass] = {}
        self.shares = Shares()
        self._raised = Budget(RAISED_ONE_IN)
        self._nines = Budget(NINE_ONE_IN)
        self._number = 0
        self._limits: list[_Entry] = []
        self._entries = 0
        self._tidy_at = _TIDY_LEAST
        self._tidy_limits_at = _TIDY_LEAST

    def stand(self, task: TaskState) -> None:
        """Give a due task its number, by which it waits in a line, here or at a gate."""
        self._number += 1
        task.waits, task.ready_number = True, self._number
        limit_ms = start_limit_ms(task)
        if limit_ms is not None:
            heapq.heappush(self._limits, (limit_ms, self._number, task))
            if len(self._limits) > self._tidy_limits_at:
                self._tidy_limits()

    def push(self, task: TaskState) -> None:
        """Queue a due task."""
        self.stand(task)
        key = (task.spec.handler, task.spec.selector)
        name = (task.spec.namespace, key)
        waiting = self._classes.get(name)
        if waiting is None:
            waiting = self._classes[name] = WaitingClass(key, task.spec)
        waiting.push(task)
        self._entries += 1
        if self._entries > self._tidy_at:
            self._tidy()

    def classes(self) -> list[WaitingClass]:
        """Classes in which somebody waits."""
        self._classes = {key: waiting for key, waiting in self._classes.items() if waiting}
        return list(self._classes.values())

    def count(self) -> int:
        """How many tasks wait."""
        return sum(1 for waiting in self._classes.values() for _ in waiting.tasks())

    def everybody(self) -> Iterator[TaskState]:
        """Everybody who waits, in no order."""
        for waiting in self._classes.values():
            yield from waiting.tasks()

    def must_let_others_go(self, task: TaskState) -> bool:
        """Whether the task's lane has had its share of the starts while other lanes wait."""
        lane = lane_of(task)
        budget = {Lane.RAISED: self._raised, Lane.NINE: self._nines}.get(lane)
        if budget is None or not budget.is_spent:
            return False
        return any(lane_of(other) is not lane for other in self.everybody())

    @property
    def entries(self) -> int:
        """Places that are kept, those of tasks that have left included."""
        return self._entries

    def expired(self, now_ms: int) -> list[TaskState]:
        """Those whose time to start is over, whether or not anybody is free. Each is named once."""
        over: list[TaskState] = []
        while self._limits and self._limits[0][0] <= now_ms:
            entry = heapq.heappop(self._limits)
            if _is_current(entry):
                over.append(entry[2])
        return over

    def next_limit_ms(self) -> int | None:
        """When the first of all who wait may not be started any more; None = no such instant.

        Those who have left are let go of on the way, so it costs no search.
        """
        while self._limits and not _is_current(self._limits[0]):
            heapq.heappop(self._limits)
        return self._limits[0][0] if self._limits else None

    def next(self, usable: Usable, now_ms: int) -> Turn | None:
        """Who goes next among the usable classes; None when nobody of them waits."""
        return self.round(usable, now_ms).next()

    def round(self, usable: Usable, now_ms: int) -> Round:
        """Several turns of one instant, in order. Who may be usable once, may only cease to be."""
        for key in [key for key, waiting in self._classes.items() if not waiting.turns(now_ms)]:
            del self._classes[key]
        return Round(self._classes.values(), usable, now_ms, self.choose, self.shares)

    def choose(self, best: dict[Lane, Turn]) -> Turn | None:
        """Between the lanes: their shares decide, then what was asked for."""
        if len(best) < 2:
            return next(iter(best.values()), None)
        normal, raised, nine = best.get(Lane.NORMAL), best.get(Lane.RAISED), best.get(Lane.NINE)
        if nine is not None and not self._nines.is_spent:
            return nine
        within = raised is not None and not self._raised.is_spent
        if raised is not None and within and (normal is None or _outranks(raised, normal)):
            return raised
        return normal or nine or raised

    def take(self, turn: Turn) -> None:
        """The task of this turn, the last that `next` named, is started: count it."""
        self.drop(turn)
        self.shares.started(turn.task.spec.namespace)
        self._raised.note(turn.lane is Lane.RAISED, turn.contested)
        self._nines.note(turn.lane is Lane.NINE, turn.contested)
        if self._on_take is not None:
            self._on_take(turn)

    def drop(self, turn: Turn) -> None:
        """The task of this turn waits no longer, and was not started."""
        turn.waiting.take(turn)
        turn.task.waits = False
        self._entries -= 1

    def _tidy(self) -> None:
        """Let go of entries of tasks that have left: they would hold ended tasks in memory.

        Done when the number has doubled, so that it costs little.
        """
        self._tidy_limits()
        self._entries = sum(waiting.tidy() for waiting in self._classes.values())
        self._tidy_at = max(_TIDY_LEAST, 2 * self._entries)

    def _tidy_limits(self) -> None:
        self._limits = [entry for entry in self._limits if _is_current(entry)]
        heapq.heapify(self._limits)
        self._tidy_limits_at = max(_TIDY_LEAST, 2 * len(self._limits))


def start_limit_ms(task: TaskState) -> int | None:
    """The instant from which the task may not be started any more; None = there is none."""
    limit_ms, close_by_ms = task.spec.timeouts.schedule_to_start_ms, task.close_by_ms
    if limit_ms is None:
        return close_by_ms
    start_by_ms = task.due_ms + limit_ms + 1
    return start_by_ms if close_by_ms is None else min(start_by_ms, close_by_ms)


def start_expired(task: TaskState, now_ms: int) -> bool:
    """Whether the task may not be started any more: nobody was free in time."""
    limit_ms = start_limit_ms(task)
    return limit_ms is not None and now_ms >= limit_ms


def _is_current(entry: _Entry) -> bool:
    """Whether the task still waits in this place."""
    return _stands(entry[2], entry[1])


def _outranks(raised: Turn, normal: Turn) -> bool:
    """Whether a raised retry goes before work that asked for less, however long that waited."""
    return raised.rank < (-normal.level, *normal.rank[1:])


def _holds(turn: Turn) -> bool:
    """Whether the task of a turn still waits in that place."""
    return _stands(turn.task, turn.rank[2])


def _stands(task: TaskState, number: int) -> bool:
    """Whether the task waits under this number."""
    return task.waits and task.ready_number == number


def _aged(level: int, waited_ms: int) -> int:
    """A level after so long a wait; the same formula as `effective_priority` of no failures."""
    if level >= HIGHEST_RAISED or waited_ms < AGE_STEP_MS:
        return level
    return min(HIGHEST_RAISED, level + waited_ms // AGE_STEP_MS)


def lane_of(task: TaskState) -> Lane:
    """The lane in which a task waits."""
    base = task.spec.priority
    if base >= HIGHEST:
        return Lane.NINE
    return Lane.RAISED if is_raised(base, task.failed_attempts) else Lane.NORMAL
