"""Many creations over one stream: each is answered once, whatever breaks in between."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st
from timeball import errors
from timeball._flow import Kit
from timeball._streaming import Creations
from timeball._verbs import BATCH_ITEMS_MAX
from timeball.handle import SyncHandle
from timeball.options import submission
from timeball.settings import Settings
from timeball.v1 import task_pb2
from timeball.v1 import task_service_pb2 as pb

from tests.support.sdk_clock import StillClock

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Future

    from tests.unit.sdk.conftest import Door, Following, Stream

UNAVAILABLE = grpc.StatusCode.UNAVAILABLE


def follow(door: Door, count: int, **options: Any) -> Following[Any]:
    tasks = [submission("billing.charge", {"number": number}) for number in range(count)]
    return door.follow(lambda: door.client.submit_many(tasks, **options))


def start(door: Door, count: int, **options: Any) -> Future[list[Any]]:
    return follow(door, count, **options).future


def made(chunk: pb.CreateTasksRequest, *positions: int) -> pb.CreateTasksResponse:
    """These of a chunk were created; each task is named after its request id."""
    response = pb.CreateTasksResponse(number=chunk.number, positions=positions)
    for position in positions:
        name = chunk.requests[position].request_id
        response.results.add(task=task_pb2.Task(name=name))
    return response


def refused(chunk: pb.CreateTasksRequest, position: int, reason: str) -> pb.CreateTasksResponse:
    code = errors.leaves()[reason].code
    error = pb.ItemError(code=code, reason=reason, message="no")
    result = pb.CreateResult(error=error)
    return pb.CreateTasksResponse(number=chunk.number, positions=[position], results=[result])


def chunks(stream: Stream, count: int) -> list[pb.CreateTasksRequest]:
    """Chunks with that many requests in all."""
    found: list[pb.CreateTasksRequest] = []
    while sum(len(chunk.requests) for chunk in found) < count:
        found.append(stream.read())
    return found


def test_answers_come_as_they_are_decided(door: Door) -> None:
    making = start(door, 3)
    stream = door.take_creations()
    (chunk,) = chunks(stream, 3)
    assert chunk.number == 1
    assert [request.resend for request in chunk.requests] == [False] * 3
    assert len({request.request_id for request in chunk.requests}) == 3
    assert stream.metadata == {"authorization": "Bearer key-1"}
    stream.say(made(chunk, 2))
    stream.say(refused(chunk, 0, "INVALID_REQUEST"))
    stream.say(made(chunk, 1))
    answers = door.finish(making)
    assert [index for index, _ in answers] == [2, 0, 1]
    kinds = [type(answer) for _, answer in answers]
    assert kinds == [SyncHandle, errors.InvalidRequest, SyncHandle]
    assert answers[0][1].name == chunk.requests[2].request_id


def test_a_broken_stream_is_opened_again_with_what_is_unanswered_marked(door: Door) -> None:
    making = follow(door, 4)
    first = door.take_creations()
    (chunk,) = chunks(first, 4)
    first.say(made(chunk, 0, 2))
    assert [making.next()[0], making.next()[0]] == [0, 2]
    first.end(UNAVAILABLE)
    second = door.take_creations()
    (again,) = chunks(second, 2)
    assert [request.resend for request in again.requests] == [True, True]
    ids = [request.request_id for request in again.requests]
    assert ids == [chunk.requests[1].request_id, chunk.requests[3].request_id]
    second.say(made(again, 1, 0))
    answers = door.finish(making.future)
    assert [index for index, _ in answers] == [0, 2, 3, 1]
    assert {answer.name for _, answer in answers} == {r.request_id for r in chunk.requests}
    assert len(door.clock.slept) == 1


def test_no_more_than_that_many_are_on_their_way(door: Door) -> None:
    making = start(door, 5, in_flight=2)
    stream = door.take_creations()
    (chunk,) = chunks(stream, 2)
    stream.say(made(chunk, 1))
    (next_one,) = chunks(stream, 1)
    stream.say(made(chunk, 0))
    (third,) = chunks(stream, 1)
    stream.say(made(next_one, 0))
    (last,) = chunks(stream, 1)
    stream.say(made(third, 0))
    stream.say(made(last, 0))
    assert sorted(index for index, _ in door.finish(making)) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("reason", ["UNAVAILABLE", "OUTCOME_UNKNOWN"])
def test_an_item_that_may_succeed_later_is_sent_again_marked(door: Door, reason: str) -> None:
    making = start(door, 1)
    stream = door.take_creations()
    (chunk,) = chunks(stream, 1)
    stream.say(refused(chunk, 0, reason))
    (again,) = chunks(stream, 1)
    assert again.requests[0].resend
    assert again.number == 2
    stream.say(made(again, 0))
    assert isinstance(door.finish(making)[0][1], SyncHandle)


def test_an_item_is_not_repeated_for_ever(door: Door) -> None:
    making = start(door, 1)
    stream = door.take_creations()
    for _ in range(4):
        (chunk,) = chunks(stream, 1)
        door.time.sleep_for(4)
        stream.say(refused(chunk, 0, "UNAVAILABLE"))
    ((index, answer),) = door.finish(making)
    assert (index, type(answer)) == (0, errors.Unavailable)


def test_a_service_that_stays_away_fails_what_was_asked_of_it(door: Door) -> None:
    making = start(door, 2)
    is_over = False
    while not is_over:
        stream = door.take_creations()
        is_over = door.time.time() >= 15
        stream.end(UNAVAILABLE)
    answers = door.finish(making)
    assert sorted(index for index, _ in answers) == [0, 1]
    assert {type(answer) for _, answer in answers} == {errors.Unavailable}


def test_what_can_never_succeed_is_raised(door: Door) -> None:
    making = start(door, 2)
    door.take_creations().end(grpc.StatusCode.UNAUTHENTICATED)
    with pytest.raises(errors.Unauthenticated):
        door.finish(making)


def test_nothing_is_asked_for_nothing(door: Door) -> None:
    assert door.finish(start(door, 0)) == []
    assert door.channel.streams.empty()


def kit() -> Kit:
    settings = Settings(address="service:1")
    return Kit(settings=settings, deadline_s=15.0, clock=StillClock(), random=random.Random(7))


def test_chunks_respect_the_limits() -> None:
    creations = Creations(kit(), 10_000)
    for index in range(BATCH_ITEMS_MAX + 1):
        creations.add(index, pb.CreateTaskRequest(request_id=str(index)))
    big = task_pb2.Task(payload=task_pb2.Payload(data=bytes(2 * 1024 * 1024)))
    for index in range(2):
        creations.add(2_000 + index, pb.CreateTaskRequest(task=big))
    sizes = []
    while (chunk := creations.chunk()) is not None:
        sizes.append(len(chunk.requests))
    assert sizes == [BATCH_ITEMS_MAX, 2, 1]


class Service:
    """The other end of creations, played step by step."""

    def __init__(self, rng: random.Random) -> None:
        self.kit = kit()
        self.creations = Creations(self.kit, 8)
        self.added = 0
        self.decided: list[int] = []
        self._rng = rng
        self._chunks: dict[int, pb.CreateTasksRequest] = {}
        self._owed: dict[int, set[int]] = {}
        self._sent_before: set[str] = set()

    def add(self) -> None:
        if self.creations.has_room:
            request = pb.CreateTaskRequest(request_id=str(self.added))
            self.creations.add(self.added, request)
            self.added += 1

    def send(self) -> None:
        while (chunk := self.creations.chunk()) is not None:
            self._chunks[chunk.number] = chunk
            self._owed[chunk.number] = set(range(len(chunk.requests)))
            for request in chunk.requests:
                assert request.resend == (request.request_id in self._sent_before)
                self._sent_before.add(request.request_id)

    def answer(self, reason: str = "") -> None:
        """Answer one request that is owed an answer, if there is one."""
        numbers = [number for number, left in self._owed.items() if left]
        if numbers:
            number = self._rng.choice(numbers)
            position, chunk = self._owed[number].pop(), self._chunks[number]
            response = refused(chunk, position, reason) if reason else made(chunk, position)
            self.decided += [index for index, _ in self.creations.take(response)]

    def retry(self) -> None:
        self.answer("UNAVAILABLE")

    def refuse(self) -> None:
        self.answer("INVALID_REQUEST")

    def break_off(self) -> None:
        over, _ = self.creations.broke(errors.Unavailable("broke"))
        self.decided += [index for index, _ in over]
        self._owed.clear()

    def wait(self, seconds: float = 4.0) -> None:
        self.kit.clock.now_s += seconds  # type: ignore[attr-defined]


STEPS = (Service.add, Service.send, Service.answer, Service.retry, Service.refuse)
Steps = st.lists(st.sampled_from([*STEPS, Service.break_off, Service.wait]), max_size=60)


@given(Steps, st.randoms(use_true_random=False))
def test_whatever_happens_each_is_decided_once(
    steps: list[Callable[[Service], None]], rng: random.Random
) -> None:
    service = Service(rng)
    for step in steps:
        step(service)
    while not service.creations.is_idle:
        service.wait(1.0)
        service.send()
        service.answer()
    assert sorted(service.decided) == list(range(service.added))
