"""The asynchronous twin, against a real grpc.aio server on loopback."""

from __future__ import annotations

import inspect
import random
from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc
import grpc.aio
import pytest
import pytest_asyncio
import timeball
from timeball import errors
from timeball.async_client import AsyncClient
from timeball.async_schedules import AsyncSchedules
from timeball.client import Client
from timeball.handle import Handle, SyncHandle
from timeball.options import submission
from timeball.schedule_handle import ScheduleHandle, SyncScheduleHandle
from timeball.schedules import Schedules
from timeball.v1 import (
    schedule_service_pb2,
    schedule_service_pb2_grpc,
    task_pb2,
    task_service_pb2,
    task_service_pb2_grpc,
)

from tests.support.sdk_clock import StillClock

NAME = "namespaces/n/tasks/0123456789abcdefghijklmnopqrstuvwxyz0123"


@timeball.task("sdk.async.double")
async def double(number: int) -> int:
    return number * 2


class Service(
    task_service_pb2_grpc.TaskServiceServicer, schedule_service_pb2_grpc.ScheduleServiceServicer
):
    """Fails as many calls as it is told to, and remembers what it was asked."""

    def __init__(self) -> None:
        self.failures: list[grpc.StatusCode] = []
        self.requests: list[Any] = []
        self.clients_clock = StillClock()
        self.metadata: list[dict[str, str | bytes]] = []

    async def admit(self, request: Any, context: Any) -> None:
        self.requests.append(request)
        self.metadata.append(dict(context.invocation_metadata()))
        if self.failures:
            await context.abort(self.failures.pop(0), "not now")

    async def CreateTask(self, request: Any, context: Any) -> Any:  # noqa: N802
        await self.admit(request, context)
        task = task_pb2.Task(name=NAME, state=task_pb2.TASK_STATE_SCHEDULED)
        return task_service_pb2.CreateTaskResponse(task=task)

    async def CreateTasks(self, requests: Any, context: Any) -> AsyncIterator[Any]:  # noqa: N802
        async for chunk in requests:
            await self.admit(chunk, context)
            made = task_service_pb2.CreateResult(task=task_pb2.Task(name=NAME))
            yield task_service_pb2.CreateTasksResponse(
                number=chunk.number,
                positions=range(len(chunk.requests)),
                results=[made] * len(chunk.requests),
            )

    async def WaitTask(self, request: Any, context: Any) -> Any:  # noqa: N802
        await self.admit(request, context)
        result = task_pb2.Payload(content_type="application/json", data=b"42")
        task = task_pb2.Task(name=NAME, state=task_pb2.TASK_STATE_SUCCEEDED, result=result)
        return task_service_pb2.WaitTaskResponse(task=task, done=len(self.requests) > 2)

    async def ListTasks(self, request: Any, context: Any) -> Any:  # noqa: N802
        await self.admit(request, context)
        token = "" if request.page_token else "two"
        tasks = [task_pb2.Task(name=NAME)] * 2
        return task_service_pb2.ListTasksResponse(tasks=tasks, next_page_token=token)

    async def UpdateSchedule(self, request: Any, context: Any) -> Any:  # noqa: N802
        await self.admit(request, context)
        schedule = schedule_service_pb2.Schedule(name=request.name)
        return schedule_service_pb2.UpdateScheduleResponse(schedule=schedule)

    async def TriggerSchedule(self, request: Any, context: Any) -> Any:  # noqa: N802
        await self.admit(request, context)
        schedule = schedule_service_pb2.Schedule(name=request.name, runs=1)
        return schedule_service_pb2.TriggerScheduleResponse(task=NAME, schedule=schedule)

    async def ListOccurrences(self, request: Any, context: Any) -> Any:  # noqa: N802
        await self.admit(request, context)
        token = "" if request.page_token else "two"
        rows = [schedule_service_pb2.Occurrence(times=1)] * 2
        return schedule_service_pb2.ListOccurrencesResponse(occurrences=rows, next_page_token=token)


@pytest_asyncio.fixture
async def service() -> AsyncIterator[tuple[Service, AsyncClient]]:
    server = grpc.aio.server()
    servicer = Service()  # type: ignore[abstract] # what it lacks is answered UNIMPLEMENTED
    register: Callable[[Any, Any], None] = task_service_pb2_grpc.add_TaskServiceServicer_to_server
    register(servicer, server)
    schedule_service_pb2_grpc.add_ScheduleServiceServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    client = AsyncClient(
        f"127.0.0.1:{port}", api_key="key-1", clock=servicer.clients_clock, source=random.Random(7)
    )
    async with client:
        timeball.use(client)
        yield servicer, client
    await server.stop(None)


@pytest.mark.asyncio
async def test_a_task_is_submitted_once_whatever_breaks(
    service: tuple[Service, AsyncClient],
) -> None:
    servicer, _ = service
    servicer.failures = [grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED]
    handle = await double.options(priority=9).submit(21)
    assert handle.name == NAME
    assert "SCHEDULED" in repr(handle)
    assert len({each.request_id for each in servicer.requests}) == 1
    assert [each.resend for each in servicer.requests] == [False, True, True]
    assert servicer.clients_clock.now_s > 0
    assert servicer.requests[0].task.payload.data == b'{"number":21}'
    assert servicer.metadata[0]["authorization"] == "Bearer key-1"
    assert await handle.result(timeout="5s") == 42


@pytest.mark.asyncio
async def test_a_stream_whose_connection_broke_in_a_write_is_opened_again(
    service: tuple[Service, AsyncClient],
) -> None:
    """grpc.aio says INTERNAL then, without a reason of ours."""
    servicer, client = service
    servicer.failures = [grpc.StatusCode.INTERNAL]
    made = [answer async for _, answer in client.submit_many([double.prepare(1)])]
    assert [each.name for each in made if isinstance(each, Handle)] == [NAME]
    assert [each.requests[0].resend for each in servicer.requests] == [False, True]


@pytest.mark.asyncio
async def test_waiting_goes_on_over_rounds_and_breaks(
    service: tuple[Service, AsyncClient],
) -> None:
    servicer, client = service
    servicer.failures = [grpc.StatusCode.UNAVAILABLE]
    assert await client.result(NAME) == 42
    assert len(servicer.requests) == 3


@pytest.mark.asyncio
async def test_errors_are_the_family_s(service: tuple[Service, AsyncClient]) -> None:
    servicer, client = service
    servicer.failures = [grpc.StatusCode.NOT_FOUND]
    with pytest.raises(errors.TaskNotFound, match="not now"):
        await client.submit(submission("a"))
    with pytest.raises(errors.Internal, match="older version"):
        await client.cluster()


@pytest.mark.asyncio
async def test_paging(service: tuple[Service, AsyncClient]) -> None:
    servicer, client = service
    assert len([task async for task in client.list()]) == 4
    assert len([task async for task in client.list(limit=3)]) == 3
    servicer.requests.clear()
    assert len([task async for task in client.list(limit=2)]) == 2
    assert len(servicer.requests) == 1


@pytest.mark.asyncio
async def test_a_schedule(service: tuple[Service, AsyncClient]) -> None:
    servicer, _ = service
    handle = await double.schedule("often", timeball.every("2s"), number=1)
    assert handle.id == "often"
    assert servicer.requests[0].allow_missing
    assert servicer.requests[0].schedule.task.labels == {"schedule": "often"}
    run = await handle.trigger()
    assert (run.name, handle.last_seen.runs) == (NAME, 1)
    assert len(await handle.occurrences()) == 4
    assert len(await handle.occurrences(limit=3)) == 3


@pytest.mark.asyncio
async def test_nobody_there_is_unavailable_with_the_address() -> None:
    async with AsyncClient("127.0.0.1:1", clock=StillClock(), deadline="1s") as client:
        with pytest.raises(errors.Unavailable, match=r"127\.0\.0\.1:1"):
            await client.get("x")


def spoken(verb: Any) -> list[tuple[str, Any, Any, str]]:
    """A verb's parameters; what only coroutines can take counts for nothing."""
    if isinstance(verb, property):
        return []
    return [
        (each.name, each.kind, each.default, str(each.annotation).partition(" | AsyncIterable")[0])
        for each in inspect.signature(verb).parameters.values()
    ]


@pytest.mark.parametrize(
    ("one", "twin"),
    [
        (AsyncClient, Client),
        (AsyncSchedules, Schedules),
        (Handle, SyncHandle),
        (ScheduleHandle, SyncScheduleHandle),
    ],
)
def test_every_verb_has_exactly_one_twin(one: type, twin: type) -> None:
    names = {name for name in vars(one) if not name.startswith("_")}
    assert names == {name for name in vars(twin) if not name.startswith("_")}
    for name in names:
        assert spoken(getattr(one, name)) == spoken(getattr(twin, name))
        assert not inspect.iscoroutinefunction(getattr(twin, name))


@pytest.mark.asyncio
async def test_a_closed_client_says_that_it_is_closed() -> None:
    client = AsyncClient("127.0.0.1:1")
    await client.close()
    with pytest.raises(errors.FailedPrecondition, match="closed"):
        await client.get("1")
