"""Due work that waits for a free executor: urgent first, then by due time, nobody starves.

Tasks that the same executors can run form a class. Three lanes keep the promises of the priority
rules over all classes: raised retries take at most a fifth of dispatches while other work waits,
and priority 9 takes at most half.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator
from enum import IntEnum
from typing import Final

from timeball_server.core.engine.state import TaskState
from timeball_server.core.priority import AGE_STEP_MS

ClassKey = tuple[str, tuple[tuple[str, str], ...]]
_RAISED_SHARE: Final = 0.2
_NINE_SHARE: Final = 0.5


class Lane(IntEnum):
    """Which promise governs a waiting task."""

    NORMAL = 0
    RAISED = 1
    NINE = 2


_LANES: Final = tuple(Lane)
_Entry = tuple[int, int, int, int, TaskState]
Urgency = tuple[bool, int, int, int]
"""Beyond a hard share or not, negated priority, due time, order of arrival."""


class Shares:
    """What each lane got since work of more than one lane began to wait for free executors."""

    __slots__ = ("_contested", "_sent", "_total")

    def __init__(self) -> None:
        self._contested = False
        self._sent = [0, 0, 0]
        self._total = 0

    def contest(self, contested: bool) -> None:
        """Say whether lanes compete; while they do not, what one gets is nobody's loss."""
        self._contested = contested
        if not contested:
            self._sent = [0, 0, 0]
            self._total = 0

    def count(self, lane: Lane) -> None:
        """A task of this lane was served."""
        if self._contested:
            self._sent[lane] += 1
            self._total += 1

    def over(self, lane: Lane) -> bool:
        """Whether one more would be more than the lane's share."""
        if lane is Lane.NORMAL:
            return False
        share = _RAISED_SHARE if lane is Lane.RAISED else _NINE_SHARE
        return self._sent[lane] + 1 > share * (self._total + 1)


class WaitingClass:
    """Waiting tasks of one handler and selector."""

    __slots__ = ("_lanes", "_shares", "key")

    def __init__(self, key: ClassKey, shares: Shares) -> None:
        self.key = key
        self._lanes: tuple[list[_Entry], list[_Entry], list[_Entry]] = ([], [], [])
        self._shares = shares

    def push(self, task: TaskState, order: int) -> None:
        """Queue a task by its effective priority and due time."""
        lane = _lane_of(task)
        entry = (-task.effective_priority, task.due_ms, order, task.stamp, task)
        heapq.heappush(self._lanes[lane], entry)

    def top(self) -> TaskState | None:
        """The task to serve next, None when nobody waits."""
        lane = self._next_lane()
        return None if lane is None else self._lanes[lane][0][4]

    def pop(self) -> TaskState:
        """Take the top task out and count it against its lane's share."""
        lane = self._next_lane()
        if lane is None:
            raise IndexError("nobody waits")
        self._shares.count(lane)
        return heapq.heappop(self._lanes[lane])[4]

    def __bool__(self) -> bool:
        """Whether somebody waits."""
        return any(map(self._lane_waits, _LANES))

    def tasks(self) -> Iterator[TaskState]:
        """Everybody who waits, in no order."""
        for heap in self._lanes:
            for entry in heap:
                if _is_current(entry):
                    yield entry[4]

    def lanes(self) -> list[Lane]:
        """The lanes in which somebody waits."""
        return [lane for lane in _LANES if self._lane_waits(lane)]

    def urgency(self) -> Urgency:
        """What the top task is compared by; the least goes first.

        Raises:
            IndexError: nobody waits.
        """
        return min(self._lane_key(lane) for lane in self.lanes())

    def _next_lane(self) -> Lane | None:
        lanes = self.lanes()
        if len(lanes) == 1:
            return lanes[0]
        return min(lanes, key=self._lane_key, default=None)

    def _lane_key(self, lane: Lane) -> Urgency:
        """Beyond its share a raised retry competes at its base, and a 9 lets others go first."""
        negated, due_ms, order, _, task = self._lanes[lane][0]
        over = self._shares.over(lane)
        if over and lane is Lane.RAISED:
            negated = -task.spec.priority
        return (over and lane is Lane.NINE, negated, due_ms, order)

    def _lane_waits(self, lane: Lane) -> bool:
        heap = self._lanes[lane]
        if heap:
            _drop_stale(heap)
        return bool(heap)


class ReadyQueue:
    """All waiting classes of a node."""

    def __init__(self) -> None:
        self._classes: dict[ClassKey, WaitingClass] = {}
        self._shares = Shares()
        self._order = 0
        self._next_ageing_ms: int | None = None

    def push(self, task: TaskState, now_ms: int) -> None:
        """Queue a due task; its effective priority is taken now and again as it waits."""
        task.refresh_priority(now_ms)
        task.waits = True
        key = (task.spec.handler, task.spec.selector)
        waiting = self._classes.get(key)
        if waiting is None:
            waiting = self._classes[key] = WaitingClass(key, self._shares)
        self._order += 1
        waiting.push(task, self._order)
        if self._next_ageing_ms is None:
            self._next_ageing_ms = now_ms + AGE_STEP_MS // 60

    def classes(self) -> list[WaitingClass]:
        """Classes in which somebody waits."""
        live = {key: waiting for key, waiting in self._classes.items() if waiting}
        self._classes = live
        if not live:
            self._next_ageing_ms = None
        return list(live.values())

    def count(self) -> int:
        """How many tasks wait."""
        return sum(1 for waiting in self._classes.values() for _ in waiting.tasks())

    def everybody(self) -> Iterator[TaskState]:
        """Everybody who waits, in no order."""
        for waiting in self._classes.values():
            yield from waiting.tasks()

    def share_spent(self, task: TaskState) -> Lane | None:
        """The task's lane, if it has had its share and others wait; None = it holds nobody back."""
        lane = _lane_of(task)
        lanes = {each for waiting in self._classes.values() for each in waiting.lanes()}
        return lane if len(lanes) > 1 and self._shares.over(lane) else None

    def age(self, now_ms: int) -> list[TaskState]:
        """Raise those who have waited long; a pass each second at most.

        Returns those whose schedule-to-start timeout is over, whether or not anybody is free.
        """
        if self._next_ageing_ms is None or now_ms < self._next_ageing_ms:
            return []
        self._next_ageing_ms = now_ms + AGE_STEP_MS // 60
        everybody = [(waiting, task) for waiting in self.classes() for task in waiting.tasks()]
        for waiting, task in everybody:
            before = task.effective_priority
            if task.refresh_priority(now_ms) != before:
                task.stamp += 1
                self._order += 1
                waiting.push(task, self._order)
        return [task for _, task in everybody if start_expired(task, now_ms)]

    def select(self, usable: Callable[[WaitingClass], bool]) -> WaitingClass | None:
        """The usable class whose top is the most urgent, then the earliest due."""
        if not self._classes:
            return None
        candidates = [waiting for waiting in self.classes() if usable(waiting)]
        if len(candidates) == 1:
            self._shares.contest(len(candidates[0].lanes()) > 1)
            return candidates[0]
        self._shares.contest(len({lane for one in candidates for lane in one.lanes()}) > 1)
        return min(candidates, key=WaitingClass.urgency, default=None)


def share_of(lane: Lane) -> float:
    """What part of dispatches a lane may have while others wait; 1 = all of them."""
    return (1.0, _RAISED_SHARE, _NINE_SHARE)[lane]


def start_expired(task: TaskState, now_ms: int) -> bool:
    """Whether the task may not be started any more: nobody was free in time."""
    limit_ms = task.spec.timeouts.schedule_to_start_ms
    if limit_ms is not None and now_ms > task.due_ms + limit_ms:
        return True
    close_by_ms = task.close_by_ms
    return close_by_ms is not None and now_ms >= close_by_ms


def _lane_of(task: TaskState) -> Lane:
    if task.spec.priority >= 9:
        return Lane.NINE
    return Lane.RAISED if task.failed_attempts > 0 else Lane.NORMAL


def _is_current(entry: _Entry) -> bool:
    task = entry[4]
    return task.stamp == entry[3] and task.waits


def _drop_stale(heap: list[_Entry]) -> None:
    while heap and not _is_current(heap[0]):
        heapq.heappop(heap)
