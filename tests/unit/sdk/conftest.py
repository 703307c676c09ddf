"""A client whose other end is the test: grpc_testing's channel, strict fake time, seeded random."""

from __future__ import annotations

import queue
import random
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import grpc
import grpc_testing
import pytest
from google.protobuf import any_pb2
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2
from timeball.client import Client
from timeball.v1 import admin_service_pb2, schedule_service_pb2, task_pb2, task_service_pb2

R = TypeVar("R")
PATIENCE_S = 20.0
SERVICES = {
    service.full_name: service
    for file in (task_service_pb2, schedule_service_pb2, admin_service_pb2)
    for service in file.DESCRIPTOR.services_by_name.values()
}
TASK_ID = "0123456789abcdefghijklmnopqrstuvwxyz0123"
TASK_NAME = f"namespaces/n/tasks/{TASK_ID}"


class FakeClock:
    """Fake time: sleeping lets it pass at once and is remembered."""

    def __init__(self, time: grpc_testing.Time) -> None:
        self.time = time
        self.slept: list[float] = []

    def wall_ms(self) -> int:
        return 1_700_000_000_000 + int(self.time.time() * 1000)

    def monotonic_s(self) -> float:
        return float(self.time.time())

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.time.sleep_for(seconds)

    async def sleep_async(self, seconds: float) -> None:
        self.sleep(seconds)


@dataclass
class Sent:
    """One call as the client made it, and its other end."""

    method: str
    data: bytes
    timeout_s: float
    metadata: dict[str, str]
    request: Any
    rpc: Any

    def answer(self, response: Message) -> None:
        self.rpc.terminate(response, (), grpc.StatusCode.OK, "")

    def fail(
        self, code: grpc.StatusCode, reason: str = "", *details: Message, message: str = "no"
    ) -> None:
        self.rpc.terminate(None, status_trailers(message, reason, *details), code, message)


def status_trailers(
    message: str, reason: str, *details: Message, **facts: str
) -> tuple[tuple[str, str | bytes], ...]:
    """Trailing metadata as a server of ours sends it; none without a reason."""
    if not reason:
        return ()
    info = error_details_pb2.ErrorInfo(reason=reason, domain="timeball.dev", metadata=facts)
    status = status_pb2.Status(message=message)
    for detail in (info, *details):
        packed = any_pb2.Any()
        packed.Pack(detail)
        status.details.append(packed)
    return (("grpc-status-details-bin", status.SerializeToString()),)


class Noting:
    """Hands calls on to grpc_testing's channel and notes what that one forgets."""

    def __init__(self, channel: Any) -> None:
        self.channel = channel
        self.calls: queue.Queue[tuple[str, bytes, float, dict[str, str]]] = queue.Queue()
        self.streams: queue.Queue[tuple[float | None, dict[str, str]]] = queue.Queue()

    def unary_stream(
        self, method: str, request_serializer: Any = None, response_deserializer: Any = None
    ) -> Any:
        return self._noted(
            self.channel.unary_stream(method, request_serializer, response_deserializer)
        )

    def stream_stream(
        self, method: str, request_serializer: Any = None, response_deserializer: Any = None
    ) -> Any:
        return self._noted(
            self.channel.stream_stream(method, request_serializer, response_deserializer)
        )

    def _noted(self, callee: Any) -> Any:
        def call(
            request: Any, metadata: tuple[tuple[str, str], ...], timeout: float | None = None
        ) -> Any:
            self.streams.put((timeout, dict(metadata)))
            return callee(request, timeout=timeout, metadata=metadata)

        return call

    def unary_unary(
        self, method: str, request_serializer: Any = None, response_deserializer: Any = None
    ) -> Any:
        callee = self.channel.unary_unary(method, request_serializer, response_deserializer)

        def call(request: Any, timeout: float, metadata: tuple[tuple[str, str], ...]) -> Any:
            data = request_serializer(request)
            self.calls.put((method, data, timeout, dict(metadata)))
            return callee(request, timeout=timeout, metadata=metadata)

        return call


@dataclass
class Following(Generic[R]):
    """An iteration in a thread: its end, and what came so far."""

    future: Future[list[R]]
    seen: queue.Queue[R]

    def next(self) -> R:
        """The next item, once it has come."""
        return self.seen.get(timeout=PATIENCE_S)


@dataclass
class Stream:
    """One stream as the client opened it, and its other end."""

    request: Any
    timeout_s: float | None
    metadata: dict[str, str]
    rpc: Any

    def read(self) -> Any:
        """The next message of a stream of requests."""
        return self.rpc.take_request()

    def say(self, response: Message) -> None:
        self.rpc.send_response(response)

    def end(
        self, code: grpc.StatusCode = grpc.StatusCode.OK, reason: str = "", message: str = ""
    ) -> None:
        self.rpc.terminate(status_trailers(message, reason), code, message)


class Door:
    """The other end of a synchronous client."""

    task_id = TASK_ID
    task_name = TASK_NAME

    def __init__(self) -> None:
        self.time = grpc_testing.strict_fake_time(0)
        self.clock = FakeClock(self.time)
        self.channel = Noting(grpc_testing.channel(tuple(SERVICES.values()), self.time))
        self.client = self.connect(api_key="key-1", namespace="n")

    def connect(self, **settings: Any) -> Client:
        channel: Any = self.channel
        return Client(
            "service:1", channel=channel, clock=self.clock, source=random.Random(7), **settings
        )

    def start(self, verb: Callable[..., R], *args: Any, **kwargs: Any) -> Future[R]:
        """Runs a verb in a thread, because the test plays the server.

        The thread does not outlive the process: a failed test must not wait for it.
        """
        future: Future[R] = Future()

        def run() -> None:
            try:
                future.set_result(verb(*args, **kwargs))
            except BaseException as error:  # noqa: BLE001 - finish() raises it
                future.set_exception(error)

        threading.Thread(target=run, daemon=True).start()
        return future

    def follow(self, items: Callable[[], Iterable[R]]) -> Following[R]:
        """Iterates in a thread; what came can be taken one by one."""
        seen: queue.Queue[R] = queue.Queue()

        def run() -> list[R]:
            found = []
            for item in items():
                found.append(item)
                seen.put(item)
            return found

        return Following(self.start(run), seen)

    def finish(self, future: Future[R]) -> R:
        """What the verb came to."""
        return future.result(PATIENCE_S)

    def take(self) -> Sent:
        """The next call, once the client has made it."""
        return self.take_within(PATIENCE_S)

    def take_within(self, seconds: float) -> Sent:
        """The next call, or LookupError when none came."""
        try:
            path, data, timeout_s, metadata = self.channel.calls.get(timeout=seconds)
        except queue.Empty:
            raise LookupError("the client has made no call") from None
        _, service, method = path.split("/")
        descriptor = SERVICES[service].methods_by_name[method]
        _, request, rpc = self.channel.channel.take_unary_unary(descriptor)
        return Sent(method, data, timeout_s, metadata, request, rpc)

    def take_watch(self) -> Stream:
        """The next WatchTasks stream, once the client has opened it."""
        timeout_s, metadata = self.channel.streams.get(timeout=PATIENCE_S)
        descriptor = SERVICES["timeball.v1.TaskService"].methods_by_name["WatchTasks"]
        _, request, rpc = self.channel.channel.take_unary_stream(descriptor)
        return Stream(request, timeout_s, metadata, rpc)

    def take_creations(self) -> Stream:
        """The next CreateTasks stream, once the client has opened it."""
        timeout_s, metadata = self.channel.streams.get(timeout=PATIENCE_S)
        descriptor = SERVICES["timeball.v1.TaskService"].methods_by_name["CreateTasks"]
        _, rpc = self.channel.channel.take_stream_stream(descriptor)
        return Stream(None, timeout_s, metadata, rpc)

    def task(self, state: str = "SCHEDULED", **fields: Any) -> task_pb2.Task:
        """A task as the service answers it."""
        number = task_pb2.TaskState.Value(f"TASK_STATE_{state}")
        return task_pb2.Task(name=TASK_NAME, handler="billing.charge", state=number, **fields)

    def created(self) -> task_service_pb2.CreateTaskResponse:
        """The usual answer to CreateTask."""
        return task_service_pb2.CreateTaskResponse(task=self.task())

    def ended(self, data: bytes = b"", **fields: Any) -> task_service_pb2.WaitTaskResponse:
        """The usual answer to WaitTask."""
        result = task_pb2.Payload(content_type="application/json", data=data)
        task = self.task("SUCCEEDED", result=result, **fields)
        return task_service_pb2.WaitTaskResponse(task=task, done=True)


@pytest.fixture
def door() -> Door:
    return Door()


@pytest.fixture
def trailers_of() -> Callable[..., tuple[tuple[str, str | bytes], ...]]:
    """Makes trailing metadata as a server of ours sends it."""
    return status_trailers
