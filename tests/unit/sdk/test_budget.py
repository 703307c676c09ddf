"""Repetitions are rationed: a service that stands still is not kept down by its callers."""

from __future__ import annotations

import asyncio
import heapq
import random
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from itertools import count
from typing import Any

import grpc
import pytest
from timeball import _async_streams, _sync_streams, errors
from timeball._budget import RESERVE, SHARE, RepetitionBudget
from timeball._flow import ATTEMPT_MAX_S, Kit, Pause, Send, call
from timeball._status import to_error
from timeball._streaming import Creations
from timeball._verbs import GET_TASK
from timeball.settings import Settings
from timeball.v1 import task_service_pb2 as pb

from tests.support.sdk_clock import StillClock

RATE = 100
FROM_S, UNTIL_S, END_S = 30, 90, 150
WINDOW_S = 10


def kit() -> Kit:
    settings = Settings(address="service:1")
    return Kit(settings=settings, deadline_s=15.0, clock=StillClock(), random=random.Random(7))


Outage = Callable[[Send, float], tuple[float, Any]]
"""What comes of a request that is sent during the outage, and after how many seconds."""


def refuses(_: Send, __: float) -> tuple[float, errors.TimeballError]:
    return 0.01, errors.Unavailable("the store does not answer")


def holds(send: Send, now_s: float) -> tuple[float, errors.TimeballError]:
    return send.timeout_s, errors.OutcomeUnknown("no answer in time")


def asks_to_come_back(_: Send, __: float) -> tuple[float, errors.TimeballError]:
    return 0.01, errors.ResourceExhausted("full", retry_after_s=0.5)


def holds_until(over_s: float) -> Outage:
    """Whoever waits for so long is answered then."""

    def held(send: Send, now_s: float) -> tuple[float, Any]:
        if now_s + send.timeout_s < over_s:
            return holds(send, now_s)
        return over_s - now_s, pb.GetTaskResponse()

    return held


class Callers:
    """So many calls a second whatever becomes of them, against a service with an outage."""

    def __init__(self, outage: Outage, until_s: float = UNTIL_S, half: bool = False) -> None:
        self._half, self._turns, self._tried = half, count(), set[Any]()
        self.sent: Counter[int] = Counter()
        self.done: Counter[int] = Counter()
        self.ended = 0
        self._kit, self._outage, self._until_s = kit(), outage, until_s
        self._order = count()
        self._agenda: list[tuple[float, int, Any, Any]] = []

    def play(self) -> None:
        for number in range(RATE * END_S):
            flow = call(self._kit, GET_TASK, pb.GetTaskRequest())
            self._later(number / RATE, flow, None)
        while self._agenda:
            at_s, _, flow, given = heapq.heappop(self._agenda)
            self._kit.clock.now_s = at_s  # type: ignore[attr-defined]
            self._go_on(at_s, flow, given)

    def _later(self, at_s: float, flow: Any, given: Any) -> None:
        heapq.heappush(self._agenda, (at_s, next(self._order), flow, given))

    def _go_on(self, now_s: float, flow: Any, given: Any) -> None:
        try:
            if isinstance(given, Exception):
                step = flow.throw(given)
            else:
                step = flow.send(given)
        except StopIteration:
            self.done[int(now_s)] += 1
            self.ended += 1
        except errors.TimeballError:
            self.ended += 1
        else:
            self._take(now_s, flow, step)

    def _take(self, now_s: float, flow: Any, step: Send | Pause) -> None:
        if isinstance(step, Pause):
            self._later(now_s + step.seconds, flow, None)
            return
        self.sent[int(now_s)] += 1
        after_s, given = 0.02, pb.GetTaskResponse()
        is_out = FROM_S <= now_s < self._until_s
        is_other = flow in self._tried  # a repetition goes to the next address
        self._tried.add(flow)
        if is_out and (not self._half or (not is_other and next(self._turns) % 2)):
            after_s, given = self._outage(step, now_s)
        self._later(now_s + after_s, flow, given)


@pytest.mark.parametrize("outage", [refuses, holds, asks_to_come_back])
def test_a_minute_of_outage_is_met_with_a_third_more_at_most_and_over_when_it_is(
    outage: Outage,
) -> None:
    callers = Callers(outage)
    callers.play()
    assert callers.ended == RATE * END_S
    windows = [
        sum(callers.sent[second + each] for each in range(WINDOW_S))
        for second in range(END_S - WINDOW_S)
    ]
    assert max(windows) <= 1.3 * RATE * WINDOW_S
    assert max(windows[FROM_S:UNTIL_S]) > RATE * WINDOW_S, "some are repeated"
    assert min(callers.done[second] for second in range(UNTIL_S + 1, END_S - 1)) >= 0.95 * RATE


def cannot_be_reached(_: Send, __: float) -> tuple[float, errors.TimeballError]:
    return 0.001, to_error("UNAVAILABLE", "connection refused", (), "service:1")


def test_a_service_that_could_not_be_reached_for_a_while_costs_nobody_a_call() -> None:
    callers = Callers(cannot_be_reached, until_s=FROM_S + 10)
    callers.play()
    assert sum(callers.done.values()) == RATE * END_S


def test_one_of_two_addresses_that_hangs_costs_nobody_a_call() -> None:
    callers = Callers(holds, half=True)
    callers.play()
    assert sum(callers.done.values()) == RATE * END_S


def test_who_waits_through_a_short_outage_is_answered() -> None:
    callers = Callers(holds_until(FROM_S + 8), until_s=FROM_S + 8)
    callers.play()
    assert sum(callers.done.values()) == RATE * END_S
    assert sum(callers.sent.values()) <= 1.02 * RATE * END_S


def test_a_try_is_cut_short_only_where_another_one_may_follow() -> None:
    kit_ = kit()
    flow = call(kit_, GET_TASK, pb.GetTaskRequest())
    assert next(flow).timeout_s == ATTEMPT_MAX_S  # type: ignore[union-attr]
    while kit_.budget.lend():
        pass
    flow = call(kit_, GET_TASK, pb.GetTaskRequest())
    assert next(flow).timeout_s == kit_.deadline_s  # type: ignore[union-attr]


def test_a_short_break_is_bridged_from_the_reserve() -> None:
    budget = RepetitionBudget()
    assert sum(budget.take(0.0) for _ in range(1_000)) == RESERVE
    for _ in range(100):
        budget.asked()
    assert sum(budget.take(0.0) for _ in range(1_000)) == pytest.approx(100 * SHARE, abs=1)
    assert budget.take(2.0), "a lone caller is never without one for long"


def test_what_a_stream_may_not_repeat_any_more_is_given_up_with_its_own_error() -> None:
    kit_ = kit()
    creations = Creations(kit_, 1_000)
    total = 300
    for index in range(total):
        creations.add(index, pb.CreateTaskRequest(request_id=str(index)))
    sent, decided = 0, []
    for second in range(20):
        kit_.clock.now_s = float(second)  # type: ignore[attr-defined]
        while (chunk := creations.chunk()) is not None:
            sent += len(chunk.requests)
            decided += creations.take(_refused(chunk))
        decided += creations.given_up()
    assert sorted(index for index, _ in decided) == list(range(total))
    assert {type(outcome) for _, outcome in decided} == {errors.StoreUnavailable}
    assert creations.is_idle
    assert sent <= total * (1 + SHARE) + RESERVE + 20


def _refused(chunk: pb.CreateTasksRequest) -> pb.CreateTasksResponse:
    count_ = len(chunk.requests)
    error = pb.ItemError(code="UNAVAILABLE", reason="STORE_UNAVAILABLE", message="no")
    results = [pb.CreateResult(error=error)] * count_
    return pb.CreateTasksResponse(number=chunk.number, positions=range(count_), results=results)


MANY = 80
"""More than the reserve: some are given up before their deadline has come by itself."""


class RefusingCall:
    """A stream of creations on which everything is refused for the moment."""

    def __init__(self, chunks: Iterator[pb.CreateTasksRequest]) -> None:
        self._chunks = chunks

    def __iter__(self) -> Iterator[pb.CreateTasksResponse]:
        return self

    def __next__(self) -> pb.CreateTasksResponse:
        return _refused(next(self._chunks))

    def cancel(self) -> None:
        """Nothing is under way."""


class RefusingAsyncCall:
    """The same for coroutines."""

    def __init__(self) -> None:
        self._chunks: asyncio.Queue[pb.CreateTasksRequest | None] = asyncio.Queue()

    async def write(self, chunk: pb.CreateTasksRequest) -> None:
        self._chunks.put_nowait(chunk)

    async def done_writing(self) -> None:
        self._chunks.put_nowait(None)

    async def __aiter__(self) -> AsyncIterator[pb.CreateTasksResponse]:
        while (chunk := await self._chunks.get()) is not None:
            yield _refused(chunk)

    def cancel(self) -> None:
        """Nothing is under way."""


class RefusingChannel:
    """Opens streams that refuse, for either client."""

    def stream_stream(self, *_: Any, **__: Any) -> Callable[..., Any]:
        return lambda *chunks, metadata: RefusingCall(*chunks) if chunks else RefusingAsyncCall()


def _nothing_breaks(broken: grpc.RpcError) -> errors.TimeballError:
    raise AssertionError("nothing breaks")


CHANNEL: Any = RefusingChannel()


def _wishes() -> list[pb.CreateTaskRequest]:
    return [pb.CreateTaskRequest(request_id=str(number)) for number in range(MANY)]


def _given_up(decided: list[Any]) -> None:
    assert sorted(index for index, _ in decided) == list(range(MANY))
    assert {type(outcome) for _, outcome in decided} == {errors.StoreUnavailable}


def test_a_thread_hears_of_what_its_stream_gave_up() -> None:
    kit_ = kit()
    creations = Creations(kit_, 10)
    opener = _sync_streams.Opener(CHANNEL, (), _nothing_breaks)
    _given_up(list(_sync_streams.created(opener, kit_.clock, creations, _wishes())))


def test_a_coroutine_hears_of_what_its_stream_gave_up() -> None:
    async def each() -> AsyncIterator[pb.CreateTaskRequest]:
        for wish in _wishes():
            yield wish

    async def all_of_them() -> list[Any]:
        kit_ = kit()
        creations = Creations(kit_, 10)
        opener = _async_streams.Opener(CHANNEL, (), _nothing_breaks)
        stream = _async_streams.created(opener, kit_.clock, creations, each())
        return [decided async for decided in stream]

    _given_up(asyncio.run(all_of_them()))
