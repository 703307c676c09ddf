from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from timeball import errors
from timeball.v1 import (
    admin_service_pb2,
    admin_service_pb2_grpc,
    task_pb2,
    task_service_pb2,
    task_service_pb2_grpc,
)

from tests.support.rpc_records import EMPTY_ID
from timeball_server.core.limits import MAX_MESSAGE_BYTES
from timeball_server.ports.clock import Clock, Now
from timeball_server.rpc.auth import (
    ApiKeys,
    Authenticator,
    OpenLoopback,
    Role,
    StoredKey,
    key_digest,
)
from timeball_server.rpc.interceptors import Gate, item_errors, principal
from timeball_server.rpc.server import CannotListen, RpcServer, Service
from timeball_server.rpc.status import error_from_rpc
from timeball_server.rpc.validation import RequestValidator, shipped_rules

GUARD_S = 20.0
"""Only ends a test that hangs."""
PEPPER = b"p" * 32
SHOP, VIEWER = "tb.shop.secret", "tb.viewer.secret"
NAME = f"namespaces/shop/tasks/{EMPTY_ID}"


class FixedClock(Clock):
    def now(self) -> Now:
        return Now(1_000, 0)

    async def sleep_ms(self, duration_ms: float) -> None:
        raise AssertionError("the gate never waits")


def api_keys() -> ApiKeys:
    roles = {"shop": Role.SUBMITTER, "viewer": Role.VIEWER}
    kept = {
        key_id: StoredKey(
            digest=key_digest(f"tb.{key_id}.secret", PEPPER),
            subject=key_id,
            namespace="shop",
            roles=frozenset({role}),
        )
        for key_id, role in roles.items()
    }
    return ApiKeys(kept, PEPPER, FixedClock())


@dataclass
class Tasks(task_service_pb2_grpc.TaskServiceServicer):
    """Answers with who called; raises what a test sets."""

    error: BaseException | None = None
    read_ahead: int = 0
    seen: list[Any] = field(default_factory=list)
    entered: asyncio.Event = field(default_factory=asyncio.Event)
    gate: asyncio.Event = field(default_factory=asyncio.Event)

    async def CreateTask(self, request: Any, context: Any) -> Any:  # noqa: N802
        self.seen.append(request)
        who = principal()
        return task_service_pb2.CreateTaskResponse(
            task=task_pb2.Task(owner=who.subject, name=f"namespaces/{who.namespace}/tasks/x")
        )

    async def GetTask(self, request: Any, context: Any) -> Any:  # noqa: N802
        self.seen.append(request)
        if self.error is not None:
            raise self.error
        return task_service_pb2.GetTaskResponse()

    async def WaitTask(self, request: Any, context: Any) -> Any:  # noqa: N802
        self.entered.set()
        await self.gate.wait()
        return task_service_pb2.WaitTaskResponse(done=True)

    async def ListTasks(self, request: Any, context: Any) -> Any:  # noqa: N802
        await context.abort(grpc.StatusCode.DATA_LOSS, "the servicer's own")

    async def WatchTasks(self, request: Any, context: Any) -> AsyncIterator[Any]:  # noqa: N802
        yield task_service_pb2.WatchTasksResponse(resume_token="here")

    async def CancelTask(self, request: Any, context: Any) -> Any:  # noqa: N802
        return task_service_pb2.CancelTaskResponse()

    async def UpdateTask(self, request: Any, context: Any) -> Any:  # noqa: N802
        return task_service_pb2.UpdateTaskResponse()

    async def RescheduleTask(self, request: Any, context: Any) -> Any:  # noqa: N802
        return task_service_pb2.RescheduleTaskResponse()

    async def DeleteTask(self, request: Any, context: Any) -> Any:  # noqa: N802
        return task_service_pb2.DeleteTaskResponse()

    async def RetryTask(self, request: Any, context: Any) -> Any:  # noqa: N802
        return task_service_pb2.RetryTaskResponse()

    async def ExplainTask(self, request: Any, context: Any) -> Any:  # noqa: N802
        return task_service_pb2.ExplainTaskResponse()

    async def BatchGetTasks(self, request: Any, context: Any) -> Any:  # noqa: N802
        return task_service_pb2.BatchGetTasksResponse()

    async def BatchCreateTasks(self, request: Any, context: Any) -> Any:  # noqa: N802
        return task_service_pb2.BatchCreateTasksResponse(results=results(request))

    async def CreateTasks(self, request_iterator: Any, context: Any) -> AsyncIterator[Any]:  # noqa: N802
        requests = [await anext(request_iterator) for _ in range(self.read_ahead)]
        for request in requests:
            yield task_service_pb2.CreateTasksResponse(results=results(request))
        async for request in request_iterator:
            yield task_service_pb2.CreateTasksResponse(results=results(request))
            if self.error is not None:
                raise self.error


def results(request: Any) -> list[Any]:
    """What became of each item, by the gate's judgement."""
    wrong = item_errors(request)
    return [
        task_service_pb2.CreateResult(
            error=task_service_pb2.ItemError(
                reason=wrong[position].reason, field=wrong[position].violations[0].field
            )
        )
        if position in wrong
        else task_service_pb2.CreateResult(task=item.task)
        for position, item in enumerate(request.requests)
    ]


@dataclass
class World:
    server: RpcServer
    gate: Gate
    servicer: Tasks
    bugs: list[tuple[str, BaseException]]
    channel: grpc.aio.Channel
    key: str = SHOP

    @property
    def stub(self) -> Any:
        return task_service_pb2_grpc.TaskServiceStub(self.channel)

    @property
    def credential(self) -> list[tuple[str, str]]:
        return [("authorization", f"Bearer {self.key}")]

    async def call(self, verb: str, request: Any) -> Any:
        """Call a method; errors come as the family's."""
        try:
            return await getattr(self.stub, verb)(request, metadata=self.credential)
        except grpc.aio.AioRpcError as error:
            raise error_from_rpc(error) from error


@asynccontextmanager
async def world(authenticator: Authenticator | None = None) -> AsyncIterator[World]:
    bugs: list[tuple[str, BaseException]] = []
    validator = RequestValidator(FixedClock(), shipped_rules())
    gate = Gate(authenticator or api_keys(), validator, lambda *bug: bugs.append(bug))
    servicer = Tasks()
    server = RpcServer(
        "127.0.0.1:0",
        [
            Service(
                name="timeball.v1.TaskService",
                register=lambda to: task_service_pb2_grpc.add_TaskServiceServicer_to_server(
                    servicer, to
                ),
            ),
            Service(
                name="timeball.v1.AdminService",
                register=lambda to: admin_service_pb2_grpc.add_AdminServiceServicer_to_server(
                    operators(), to
                ),
            ),
        ],
        interceptors=[gate],
    )
    port = await server.start()
    options = [("grpc.max_send_message_length", 2 * MAX_MESSAGE_BYTES)]
    async with (
        asyncio.timeout(GUARD_S),
        grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=options) as channel,
    ):
        try:
            yield World(server, gate, servicer, bugs, channel)
        finally:
            servicer.gate.set()
            await server.stop()


class Admin(admin_service_pb2_grpc.AdminServiceServicer):
    """Has the methods that tests call; gRPC answers the others by itself."""

    async def GetCluster(self, request: Any, context: Any) -> Any:  # noqa: N802
        return admin_service_pb2.GetClusterResponse(leader=principal().subject)

    async def DrainNode(self, request: Any, context: Any) -> Any:  # noqa: N802
        return admin_service_pb2.DrainNodeResponse()

    async def ListDeadLetters(self, request: Any, context: Any) -> Any:  # noqa: N802
        return admin_service_pb2.ListDeadLettersResponse()


def operators() -> Any:
    """An instance, although it does not have every method."""
    kind: Any = Admin
    return kind()


def create(**task: Any) -> task_service_pb2.CreateTaskRequest:
    fields = {"handler": "demo.hello"} | task
    return task_service_pb2.CreateTaskRequest(task=task_pb2.Task(**fields))


@pytest.mark.asyncio
async def test_a_servicer_knows_who_calls() -> None:
    async with world() as it:
        answer = await it.call("CreateTask", create())
        assert (answer.task.owner, answer.task.name) == ("shop", "namespaces/shop/tasks/x")


@pytest.mark.asyncio
async def test_dev_mode_lets_everybody_in_as_dev() -> None:
    async with world(OpenLoopback("127.0.0.1:0")) as it:
        answer = await it.call("CreateTask", create(priority=9))
        assert answer.task.owner == "dev"
        stub: Any = admin_service_pb2_grpc.AdminServiceStub(it.channel)
        assert (await stub.GetCluster(admin_service_pb2.GetClusterRequest())).leader == "dev"


@pytest.mark.asyncio
async def test_nobody_gets_in_without_a_credential_and_refusals_are_counted() -> None:
    async with world() as it:
        it.key = "tb.shop.wrong"
        for verb, request in {
            "CreateTask": create(),
            "GetTask": task_service_pb2.GetTaskRequest(name=NAME),
            "ListTasks": task_service_pb2.ListTasksRequest(),
            "CancelTask": task_service_pb2.CancelTaskRequest(name=NAME),
            "UpdateTask": task_service_pb2.UpdateTaskRequest(task=task_pb2.Task(name=NAME)),
            "RescheduleTask": task_service_pb2.RescheduleTaskRequest(name=NAME),
            "DeleteTask": task_service_pb2.DeleteTaskRequest(name=NAME),
            "RetryTask": task_service_pb2.RetryTaskRequest(name=NAME),
            "WaitTask": task_service_pb2.WaitTaskRequest(name=NAME),
            "BatchCreateTasks": task_service_pb2.BatchCreateTasksRequest(requests=[create()]),
        }.items():
            with pytest.raises(errors.Unauthenticated):
                await it.call(verb, request)
        assert it.gate.refused["UNAUTHENTICATED"] == 10
        assert it.servicer.seen == []


@pytest.mark.asyncio
async def test_two_credentials_are_none() -> None:
    async with world() as it:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await it.stub.CreateTask(create(), metadata=it.credential * 2)
        assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED


@pytest.mark.asyncio
async def test_roles_are_checked_before_the_request_is_looked_at() -> None:
    async with world() as it:
        it.key = VIEWER
        with pytest.raises(errors.PermissionDenied, match="submitter"):
            await it.call("CreateTask", create(handler=""))
        await it.call("GetTask", task_service_pb2.GetTaskRequest(name=NAME))
        assert it.gate.refused["PERMISSION_DENIED"] == 1


@pytest.mark.asyncio
async def test_a_bad_request_names_its_fields_and_never_reaches_the_servicer() -> None:
    async with world() as it:
        with pytest.raises(errors.InvalidRequest) as caught:
            await it.call("CreateTask", create(handler="", priority=10))
        assert {violation.field for violation in caught.value.violations} == {
            "task.handler",
            "task.priority",
        }
        assert it.servicer.seen == []


@pytest.mark.asyncio
async def test_raw_bytes_that_are_no_text_are_refused_as_a_bad_argument() -> None:
    async with world() as it:
        call: Any = it.channel.unary_unary("/timeball.v1.TaskService/CreateTask")
        raw = create(owner="QQQ").SerializeToString().replace(b"QQQ", b"\xed\xa0\x80")
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call(raw, metadata=it.credential)
        error = error_from_rpc(caught.value)
        assert isinstance(error, errors.InvalidRequest)
        assert [violation.field for violation in error.violations] == ["task.owner"]
        assert it.bugs == []


@pytest.mark.asyncio
async def test_a_message_over_the_limit_is_refused_by_the_transport() -> None:
    async with world() as it:
        big = create(payload=task_pb2.Payload(data=bytes(MAX_MESSAGE_BYTES)))
        with pytest.raises(errors.ResourceExhausted):
            await it.call("CreateTask", big)


@pytest.mark.asyncio
async def test_another_namespace_looks_like_nothing() -> None:
    async with world() as it:
        foreign = NAME.replace("shop", "bank")
        for verb, kind in {
            "GetTask": task_service_pb2.GetTaskRequest,
            "CancelTask": task_service_pb2.CancelTaskRequest,
            "RescheduleTask": task_service_pb2.RescheduleTaskRequest,
            "DeleteTask": task_service_pb2.DeleteTaskRequest,
            "RetryTask": task_service_pb2.RetryTaskRequest,
            "WaitTask": task_service_pb2.WaitTaskRequest,
        }.items():
            with pytest.raises(errors.TaskNotFound):
                await it.call(verb, kind(name=foreign))
        foreign_task = task_pb2.Task(name=foreign, priority=1)
        with pytest.raises(errors.TaskNotFound):
            await it.call("UpdateTask", task_service_pb2.UpdateTaskRequest(task=foreign_task))
        request = create()
        request.parent = "namespaces/bank"
        with pytest.raises(errors.PermissionDenied):
            await it.call("CreateTask", request)
        assert it.servicer.seen == []


@pytest.mark.asyncio
async def test_items_are_judged_one_by_one_in_batches_and_streams() -> None:
    async with world() as it:
        items = [create(), create(handler=""), create(priority=9)]
        batch = task_service_pb2.BatchCreateTasksRequest(requests=items)
        answer = await it.call("BatchCreateTasks", batch)
        expected = [
            ("", ""),
            ("INVALID_REQUEST", "task.handler"),
            ("PERMISSION_DENIED", "task.priority"),
        ]
        assert [(each.error.reason, each.error.field) for each in answer.results] == expected
        call = it.stub.CreateTasks(metadata=it.credential)
        for chunk in (items, items[:1]):
            await call.write(task_service_pb2.CreateTasksRequest(requests=chunk))
            answer = await call.read()
            assert [(each.error.reason, each.error.field) for each in answer.results] == expected[
                : len(chunk)
            ]
        await call.done_writing()
        assert await call.read() is grpc.aio.EOF
        assert await call.code() is grpc.StatusCode.OK


@pytest.mark.asyncio
async def test_a_servicer_that_reads_ahead_still_learns_what_is_wrong_with_each_item() -> None:
    async with world() as it:
        it.servicer.read_ahead = 3
        call = it.stub.CreateTasks(metadata=it.credential)
        chunks = [[create(handler="")], [create()], [create(priority=9)]]
        for chunk in chunks:
            await call.write(task_service_pb2.CreateTasksRequest(requests=chunk))
        reasons = [(await call.read()).results[0].error.reason for _ in chunks]
        assert reasons == ["INVALID_REQUEST", "", "PERMISSION_DENIED"]
        await call.done_writing()


@pytest.mark.asyncio
async def test_a_stream_ends_at_its_first_bad_message_and_at_its_servicers_error() -> None:
    async with world() as it:
        call = it.stub.CreateTasks(metadata=it.credential)
        await call.write(task_service_pb2.CreateTasksRequest())
        with pytest.raises(grpc.aio.AioRpcError) as bad:
            await call.read()
        assert isinstance(error_from_rpc(bad.value), errors.InvalidRequest)
        it.servicer.error = errors.Draining("the process stops")
        call = it.stub.CreateTasks(metadata=it.credential)
        await call.write(task_service_pb2.CreateTasksRequest(requests=[create()]))
        assert len((await call.read()).results) == 1
        with pytest.raises(grpc.aio.AioRpcError) as drained:
            await call.read()
        assert isinstance(error_from_rpc(drained.value), errors.Draining)
        with pytest.raises(grpc.aio.AioRpcError) as closed:
            await it.stub.CreateTasks().read()
        assert closed.value.code() is grpc.StatusCode.UNAUTHENTICATED


@pytest.mark.asyncio
async def test_errors_of_the_family_arrive_as_raised_and_others_say_nothing() -> None:
    async with world() as it:
        request = task_service_pb2.GetTaskRequest(name=NAME)
        it.servicer.error = errors.TooLate("it has started", metadata={"attempt": "2"})
        with pytest.raises(errors.TooLate) as late:
            await it.call("GetTask", request)
        assert late.value.metadata == {"attempt": "2"}
        assert it.bugs == []
        it.servicer.error = KeyError("password of another tenant")
        with pytest.raises(errors.Internal) as internal:
            await it.call("GetTask", request)
        assert "password" not in internal.value.message
        assert it.bugs == [("/timeball.v1.TaskService/GetTask", it.servicer.error)]
        with pytest.raises(grpc.aio.AioRpcError) as own:
            await it.stub.ListTasks(task_service_pb2.ListTasksRequest(), metadata=it.credential)
        assert own.value.code() is grpc.StatusCode.DATA_LOSS
        assert len(it.bugs) == 1


@pytest.mark.asyncio
async def test_health_needs_no_credential_and_follows_the_drain() -> None:
    async with world() as it:
        stub: Any = health_pb2_grpc.HealthStub(it.channel)
        names = ["", "timeball.v1.TaskService", "timeball.v1.AdminService"]

        async def statuses() -> set[int]:
            checks = [stub.Check(health_pb2.HealthCheckRequest(service=name)) for name in names]
            return {(await check).status for check in checks}

        assert await statuses() == {health_pb2.HealthCheckResponse.SERVING}
        await it.server.drain()
        await it.server.drain()
        assert await statuses() == {health_pb2.HealthCheckResponse.NOT_SERVING}
        await it.call("CreateTask", create())


async def until_refused(it: World) -> None:
    """Call until the server takes no more; the guard ends it.

    A call that stands in the door as it closes is cut off by gRPC itself (CANCELLED), which callers
    are told as an unknown outcome; the one after it is refused.
    """
    while True:
        with suppress(errors.OutcomeUnknown):
            await it.call("GetTask", task_service_pb2.GetTaskRequest(name=NAME))


@pytest.mark.asyncio
async def test_a_graceful_stop_lets_running_calls_end_and_refuses_new_ones() -> None:
    async with world() as it:
        request = task_service_pb2.WaitTaskRequest(name=NAME)
        running = asyncio.create_task(it.call("WaitTask", request))
        await it.servicer.entered.wait()
        stopping = asyncio.create_task(it.server.stop(10_000))
        with pytest.raises(errors.Unavailable):
            await until_refused(it)
        it.servicer.gate.set()
        assert (await running).done
        await stopping
        await it.server.stop()


@pytest.mark.asyncio
async def test_a_port_belongs_to_one_server() -> None:
    async with world() as it:
        assert it.server.address.startswith("127.0.0.1:")
        second = RpcServer(it.server.address, [])
        with pytest.raises(CannotListen, match="cannot listen on"):
            await second.start()
        await second.stop()
