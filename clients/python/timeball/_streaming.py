"""Many creations over as many streams as it takes, for both clients.

Owns what is unanswered, what is to be sent and what is sent again, marked as a repetition. Pure
but for the kit's clock and randomness; the clients open the streams.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from timeball._budget import LOOK_AGAIN_S, look_again_s
from timeball._flow import Kit, Method, retry_delay_s
from timeball._status import item_error
from timeball._verbs import BATCH_BYTES_MAX, BATCH_ITEMS_MAX, BatchItem
from timeball.errors import TimeballError, Unavailable
from timeball.v1 import task_service_pb2 as tasks

CREATE_TASKS = Method(
    "/timeball.v1.TaskService/CreateTasks", tasks.CreateTasksRequest, tasks.CreateTasksResponse
)
IN_FLIGHT_DEFAULT = 1_000

Decided = tuple[int, BatchItem]
"""Position among what was given, and what became of it."""


@dataclass(slots=True, eq=False)
class _Item:
    index: int
    request: tasks.CreateTaskRequest
    until_s: float
    repetition: int = 0
    not_before_s: float = 0.0
    why_again: TimeballError | None = None


class Creations:
    """Requests on their way. Each is decided once; at most `in_flight` are undecided."""

    def __init__(self, kit: Kit, in_flight: int) -> None:
        self._kit = kit
        self._in_flight = in_flight
        self._waiting: deque[_Item] = deque()
        self._later: list[_Item] = []
        self._sent: dict[int, dict[int, _Item]] = {}
        self._given_up: list[Decided] = []
        self._undecided = 0
        self._number = 0
        self._breaks = 0

    @property
    def has_room(self) -> bool:
        """Whether one more may be added."""
        return self._undecided < self._in_flight

    @property
    def is_idle(self) -> bool:
        """Whether everything that was added is decided."""
        return self._undecided == 0

    @property
    def is_asked(self) -> bool:
        """Whether the stream in hand owes an answer."""
        return bool(self._sent)

    @property
    def has_given_up(self) -> bool:
        """Whether something was decided here that no answer will bring: see `given_up`."""
        return bool(self._given_up)

    def given_up(self) -> list[Decided]:
        """What found no turn to be repeated before its deadline; each is told once."""
        told, self._given_up = self._given_up, []
        return told

    def add(self, index: int, request: tasks.CreateTaskRequest) -> None:
        """Take one more."""
        until_s = self._kit.clock.monotonic_s() + self._kit.deadline_s
        self._waiting.append(_Item(index, request, until_s))
        self._undecided += 1
        self._kit.budget.asked()

    def chunk(self) -> tasks.CreateTasksRequest | None:
        """What to send next on the stream in hand; None = nothing now."""
        self._wake_later()
        if not self._waiting:
            return None
        self._number += 1
        chunk = tasks.CreateTasksRequest(number=self._number)
        items: dict[int, _Item] = {}
        size = 0
        while self._waiting and len(items) < BATCH_ITEMS_MAX:
            size += self._waiting[0].request.ByteSize()
            if items and size > BATCH_BYTES_MAX:
                break
            items[len(items)] = item = self._waiting.popleft()
            chunk.requests.append(item.request)
        self._sent[self._number] = items
        return chunk

    def wake_in_s(self) -> float | None:
        """Seconds until there is something to send again; None when only answers can bring it."""
        if not self._later:
            return None
        now_s = self._kit.clock.monotonic_s()
        return max(0.0, min(item.not_before_s for item in self._later) - now_s)

    def take(self, response: tasks.CreateTasksResponse) -> list[Decided]:
        """What an answer decides; what may succeed later is sent again instead."""
        self._breaks = 0
        items = self._sent.get(response.number, {})
        decided = self.given_up()
        for position, result in zip(response.positions, response.results, strict=True):
            item = items.pop(position, None)
            if item is not None:
                decided += self._outcome(item, result)
        if not items:
            self._sent.pop(response.number, None)
        return decided

    def broke(self, error: TimeballError | None) -> tuple[list[Decided], float]:
        """The stream broke, or ended with answers owed (None): what that decides, and a pause.

        Raises:
            TimeballError: trying again is useless.
        """
        error = error or Unavailable("the server ended the stream before it had answered")
        pause_s = retry_delay_s(error, self._breaks, self._kit.random)
        if pause_s is None:
            raise error
        self._breaks += 1
        unanswered = [item for items in self._sent.values() for item in items.values()]
        self._sent.clear()
        for item in unanswered:
            item.request.resend = True
        self._waiting.extendleft(reversed(unanswered))
        return [*self.given_up(), *self._overdue(error)], pause_s

    def _outcome(self, item: _Item, result: tasks.CreateResult) -> list[Decided]:
        if result.HasField("task"):
            return self._decide(item, result.task)
        error = item_error(result.error)
        delay_s = retry_delay_s(error, item.repetition, self._kit.random)
        now_s = self._kit.clock.monotonic_s()
        if delay_s is None or now_s + delay_s >= item.until_s:
            return self._decide(item, error)
        item.request.resend = True
        item.repetition += 1
        item.not_before_s, item.why_again = now_s + delay_s, error
        self._later.append(item)
        return []

    def _decide(self, item: _Item, outcome: BatchItem) -> list[Decided]:
        self._undecided -= 1
        return [(item.index, outcome)]

    def _overdue(self, error: TimeballError) -> list[Decided]:
        """What has waited for as long as a call may be repeated."""
        now_s = self._kit.clock.monotonic_s()
        decided: list[Decided] = []
        for held in (self._waiting, self._later):
            for item in [item for item in held if item.until_s <= now_s]:
                held.remove(item)
                decided += self._decide(item, item.why_again or error)
        return decided

    def _wake_later(self) -> None:
        """Send again what has waited long enough, as far as the budget goes."""
        now_s, later = self._kit.clock.monotonic_s(), list[_Item]()
        for item in self._later:
            if item.not_before_s > now_s:
                later.append(item)
            elif self._kit.budget.take(now_s):
                self._waiting.append(item)
            elif now_s + LOOK_AGAIN_S < item.until_s or item.why_again is None:
                item.not_before_s = now_s + look_again_s(self._kit.random)
                later.append(item)
            else:
                self._given_up += self._decide(item, item.why_again)
        self._later = later
