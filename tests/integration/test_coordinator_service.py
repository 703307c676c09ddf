"""The coordinator's doors over real gRPC on loopback; owners are fakes with real journals."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from grpc_health.v1 import health_pb2, health_pb2_grpc
from timeball import errors
from timeball.v1 import (
    admin_service_pb2,
    admin_service_pb2_grpc,
    schedule_service_pb2,
    schedule_service_pb2_grpc,
    task_pb2,
    task_service_pb2,
    task_service_pb2_grpc,
)

from coordinator.node import CoordinatorConfig
from coordinator.service import Coordinator, Doors
from coordinator.wiring import coordinator, coordinator_ports, membership_service
from tests.support.fake_owners import EXECUTOR, LAYOUT, FakeOwner, Surroundings
from tests.support.polls import eventually
from tests.support.rpc_records import EMPTY_ID
from timeball_server.coordination.local import LocalSession
from timeball_server.coordination.remote.client import RemoteMembership
from timeball_server.core.commands import CreateTask
from timeball_server.core.ids import NodeId, ShardId, TaskId
from timeball_server.core.journal import EventKind, OutcomeDetail
from timeball_server.core.model import Payload
from timeball_server.ports.coordination import Member
from timeball_server.ports.coordination import Role as MemberRole
from timeball_server.rpc.auth import (
    ApiKeys,
    Authenticator,
    OpenLoopback,
    Role,
    StoredKey,
    key_digest,
)
from timeball_server.rpc.status import error_from_rpc
from timeball_server.runtime.clock import SystemClock

LISTEN = "127.0.0.1:0"
SESSION_MS = 30_000
"""Longer than any test is slow."""
pytestmark = pytest.mark.asyncio


class Door:
    """A running coordinator, a fake owner of all shards, and stubs to call it with."""

    def __init__(self, service: Coordinator, owner: FakeOwner, channel: grpc.aio.Channel) -> None:
        self.service = service
        self.owner = owner
        self.channel = channel
        self.tasks = task_service_pb2_grpc.TaskServiceStub(channel)
        self.schedules = schedule_service_pb2_grpc.ScheduleServiceStub(channel)
        self.admin = admin_service_pb2_grpc.AdminServiceStub(channel)


@asynccontextmanager
async def opened(authenticator: Authenticator | None = None) -> AsyncIterator[Door]:
    around = Surroundings(SystemClock())
    owner = await around.node("west", 0, 1, 2, 3)

    async def connect() -> LocalSession:
        return await around.service.connect(SESSION_MS)

    ports = coordinator_ports(
        store=around.store,
        connect=connect,
        dialer=around.dialer,
        clock=around.clock,
        layout=LAYOUT,
    )
    config = CoordinatorConfig(node=NodeId("front"), address="", version="1.2.3")
    doors = Doors(
        listen=LISTEN,
        authenticator=authenticator or OpenLoopback(LISTEN),
        node_services=[membership_service(around.service.connect, around.clock)],
        store="memory",
    )
    service = coordinator(config, ports, LAYOUT, doors)
    await service.start()
    try:
        async with grpc.aio.insecure_channel(service.address) as channel:
            yield Door(service, owner, channel)
    finally:
        await service.stop()
        await around.service.close()
    assert service.bugs == 0


def wish(
    handler: str = "billing.charge", request_id: str = ""
) -> task_service_pb2.CreateTaskRequest:
    task = task_pb2.Task(handler=handler, delay=Duration(seconds=60))
    return task_service_pb2.CreateTaskRequest(
        parent="namespaces/-", task=task, request_id=request_id
    )


async def refusal(call: object) -> errors.TimeballError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call  # type: ignore[misc]
    return error_from_rpc(caught.value)


async def test_a_task_is_created_read_listed_awaited_and_cancelled() -> None:
    async with opened() as door:
        made = (await door.tasks.CreateTask(wish())).task
        assert made.name.startswith("namespaces/default/tasks/")
        assert (made.state, made.owner) == (task_pb2.TASK_STATE_SCHEDULED, "dev")
        got = (await door.tasks.GetTask(task_service_pb2.GetTaskRequest(name=made.name))).task
        assert [entry.event for entry in got.journal] == ["CREATED"]
        waited = await door.tasks.WaitTask(
            task_service_pb2.WaitTaskRequest(name=made.name, timeout=Duration(nanos=1_000_000))
        )
        assert not waited.done
        listed = await door.tasks.ListTasks(task_service_pb2.ListTasksRequest())
        assert [task.name for task in listed.tasks] == [made.name]
        cancelled = await door.tasks.CancelTask(
            task_service_pb2.CancelTaskRequest(name=made.name, reason="changed my mind")
        )
        assert cancelled.task.state == task_pb2.TASK_STATE_CANCELLED
        again = task_service_pb2.CancelTaskRequest(name=made.name)
        assert isinstance(await refusal(door.tasks.CancelTask(again)), errors.TooLate)


async def test_basic_view_leaves_the_heavy_parts_out() -> None:
    async with opened() as door:
        made = (await door.tasks.CreateTask(wish())).task
        task_id = TaskId(made.name.rpartition("/")[2])
        await door.owner.append(task_id, EventKind.CLAIMED, executor=EXECUTOR, attempt=1)
        done = OutcomeDetail(started_ms=1, ended_ms=2, result=Payload(data=b"42"))
        await door.owner.append(task_id, EventKind.SUCCEEDED, detail=done)
        full = (await door.tasks.GetTask(task_service_pb2.GetTaskRequest(name=made.name))).task
        assert (full.result.data, len(full.attempts)) == (b"42", 1)
        basic = task_service_pb2.GetTaskRequest(
            name=made.name, view=task_service_pb2.TASK_VIEW_BASIC
        )
        task = (await door.tasks.GetTask(basic)).task
        assert (task.result.data, len(task.attempts), task.attempt) == (b"", 0, 1)
        waited = await door.tasks.WaitTask(task_service_pb2.WaitTaskRequest(name=made.name))
        assert (waited.done, waited.task.result.data) == (True, b"42")


async def test_validate_only_creates_nothing() -> None:
    async with opened() as door:
        request = wish()
        request.validate_only = True
        task = (await door.tasks.CreateTask(request)).task
        assert (task.name, task.handler, door.owner.calls) == ("", "billing.charge", [])


async def test_each_item_of_a_batch_succeeds_or_fails_by_itself() -> None:
    async with opened() as door:
        foreign = wish()
        foreign.parent = "namespaces/bank"
        batch = task_service_pb2.BatchCreateTasksRequest(
            requests=[wish(), wish(handler="not a handler"), foreign, wish()]
        )
        results = (await door.tasks.BatchCreateTasks(batch)).results
        assert [result.WhichOneof("outcome") for result in results] == [
            "task",
            "error",
            "error",
            "task",
        ]
        assert (results[1].error.code, results[1].error.field) == (
            "INVALID_ARGUMENT",
            "task.handler",
        )
        assert results[2].error.reason == "PERMISSION_DENIED"


async def test_a_stream_of_chunks_is_answered_chunk_by_chunk() -> None:
    async def chunks() -> AsyncIterator[task_service_pb2.CreateTasksRequest]:
        for size in (3, 1, 5):
            items = [wish() for _ in range(size)]
            items[0] = wish(handler="")
            yield task_service_pb2.CreateTasksRequest(requests=items)

    async with opened() as door:
        answers = [answer async for answer in door.tasks.CreateTasks(chunks())]
        assert [len(answer.results) for answer in answers] == [3, 1, 5]
        kinds = [[each.WhichOneof("outcome") for each in answer.results] for answer in answers]
        assert kinds == [["error", "task", "task"], ["error"], ["error", *["task"] * 4]]


async def test_a_shard_without_owner_holds_up_its_own_items_of_a_numbered_stream_alone() -> None:
    async with opened() as door:
        epoch = door.owner.epochs.pop(ShardId(0))
        stream: Any = door.tasks.CreateTasks(timeout=30)
        for number in (1, 2):
            items = [wish(handler="no handler"), *[wish() for _ in range(19)]]
            await stream.write(task_service_pb2.CreateTasksRequest(requests=items, number=number))
        outcomes = dict[tuple[int, int], str]()

        async def answered(most: int) -> None:
            while len(outcomes) < most:
                response = await stream.read()
                for position, result in zip(response.positions, response.results, strict=True):
                    assert (response.number, position) not in outcomes
                    outcomes[response.number, position] = result.WhichOneof("outcome")

        await answered(3)
        await eventually(lambda: is_true(len(creates_of(door.owner)) == 38), "all are asked for")
        elsewhere = sum(shard != 0 for shard in creates_of(door.owner).values())
        await answered(elsewhere + 2)
        assert len(outcomes) < 40
        door.owner.epochs[ShardId(0)] = epoch
        await answered(40)
        errors_at = sorted(place for place, outcome in outcomes.items() if outcome == "error")
        assert errors_at == [(1, 0), (2, 0)]
        await stream.done_writing()
        assert await stream.read() == grpc.aio.EOF


def creates_of(owner: FakeOwner) -> dict[bytes, int]:
    """The shards of all creations that the owner was asked for, by their unique numbers."""
    commands = [command for call in owner.calls for command in call]
    return {each.unique: each.shard for each in commands if isinstance(each, CreateTask)}


async def is_true(value: bool) -> bool:
    return value


async def test_chunks_of_a_stream_are_all_numbered_or_none() -> None:
    async with opened() as door:
        stream = door.tasks.CreateTasks()
        for number in (1, 0):
            chunk = task_service_pb2.CreateTasksRequest(requests=[wish()], number=number)
            await stream.write(chunk)
        await stream.done_writing()
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            async for _ in stream:
                pass
        error = error_from_rpc(caught.value)
        assert isinstance(error, errors.InvalidRequest)
        assert [each.field for each in error.violations] == ["number"]


KNOWN = f"namespaces/-/tasks/{EMPTY_ID}"


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        (dict[str, Any](), "names"),
        ({"names": ["namespaces/-/tasks/short"]}, "names[0]"),
        ({"names": [KNOWN, f"namespaces/-/tasks/{'z' * 40}"]}, "names[1]"),
        ({"names": [KNOWN] * 2}, "names"),
        ({"names": [f"namespaces/-/tasks/{number:040}" for number in range(1_001)]}, "names"),
        ({"names": [KNOWN], "view": 7}, "view"),
        ({"names": [KNOWN], "resume_token": "not ours"}, "resume_token"),
        ({"names": [KNOWN], "resume_token": "x" * 2_001}, "resume_token"),
    ],
)
async def test_a_watch_of_what_cannot_be_is_refused_by_field(
    request_: dict[str, Any], field: str
) -> None:
    async with opened() as door:
        stream: Any = door.tasks.WatchTasks(task_service_pb2.WatchTasksRequest(**request_))
        error = await refusal(stream.read())
        assert isinstance(error, errors.InvalidRequest)
        assert [each.field for each in error.violations] == [field]


async def test_a_watch_in_another_namespace_is_denied_and_its_tasks_are_not_there() -> None:
    async with opened() as door:
        made = (await door.tasks.CreateTask(wish())).task
        foreign = made.name.replace("default", "bank")
        request = task_service_pb2.WatchTasksRequest(names=[foreign])
        stream: Any = door.tasks.WatchTasks(request)
        answer = await stream.read()
        assert [(each.name, each.done) for each in answer.changes] == [(foreign, True)]
        assert answer.changes[0].error.reason == "TASK_NOT_FOUND"
        assert await stream.read() == grpc.aio.EOF
        request.parent = "namespaces/bank"
        stream = door.tasks.WatchTasks(request)
        assert isinstance(await refusal(stream.read()), errors.PermissionDenied)


async def test_a_repeated_request_gets_the_same_task() -> None:
    async with opened() as door:
        request = wish(request_id=str(uuid.uuid4()))
        first = (await door.tasks.CreateTask(request)).task
        request.resend = True
        assert (await door.tasks.CreateTask(request)).task.name == first.name


async def test_a_schedule_is_created_read_and_deleted() -> None:
    async with opened() as door:
        schedule = schedule_service_pb2.Schedule(
            task=task_pb2.Task(handler="report.daily"),
            interval=schedule_service_pb2.Interval(every=Duration(seconds=2)),
        )
        made = await door.schedules.CreateSchedule(
            schedule_service_pb2.CreateScheduleRequest(parent="namespaces/-", schedule=schedule)
        )
        name = made.schedule.name
        assert made.schedule.interval.every.seconds == 2
        await door.schedules.DeleteSchedule(schedule_service_pb2.DeleteScheduleRequest(name=name))
        got = await door.schedules.GetSchedule(schedule_service_pb2.GetScheduleRequest(name=name))
        assert (got.schedule.ended, got.schedule.HasField("next_time")) == (True, False)


async def test_the_cluster_is_shown() -> None:
    async with opened() as door:
        cluster = await door.admin.GetCluster(admin_service_pb2.GetClusterRequest())
        assert [(node.name, node.role) for node in cluster.nodes] == [
            ("front", "coordinator"),
            ("west", "scheduler_node"),
        ]
        assert cluster.nodes[0].address == door.service.address
        assert [shard.owner for shard in cluster.shards] == ["west"] * 4
        assert (cluster.store, cluster.version) == ("memory", "1.2.3")


async def test_health_is_served_and_a_stopped_coordinator_is_gone() -> None:
    async with opened() as door:
        health: Any = health_pb2_grpc.HealthStub(door.channel)
        answer = await health.Check(
            health_pb2.HealthCheckRequest(service="timeball.v1.TaskService")
        )
        assert answer.status == health_pb2.HealthCheckResponse.SERVING
        assert door.service.bugs == 0
        await door.service.stop()
        request = task_service_pb2.ListTasksRequest()
        assert isinstance(await refusal(door.tasks.ListTasks(request)), errors.Unavailable)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("namespaces/default/tasks/" + "z" * 40, errors.InvalidRequest),
        ("namespaces/bank/tasks/" + "0" * 40, errors.TaskNotFound),
    ],
)
async def test_wrong_names_are_refused(name: str, expected: type[errors.TimeballError]) -> None:
    async with opened() as door:
        request = task_service_pb2.GetTaskRequest(name=name)
        assert type(await refusal(door.tasks.GetTask(request))) is expected


PEPPER = b"pepper of the test, long enough"
RED = Member(role=MemberRole.EXECUTOR, node=NodeId("red"), address="127.0.0.1:9", slots=4)


def keys(**roles: Role) -> ApiKeys:
    stored = {
        key_id: StoredKey(
            digest=key_digest(f"tb.{key_id}.secret", PEPPER),
            subject=key_id,
            namespace="shop",
            roles=frozenset({role}),
        )
        for key_id, role in roles.items()
    }
    return ApiKeys(stored, PEPPER, SystemClock())


def bearer(key_id: str) -> tuple[tuple[str, str], ...]:
    return (("authorization", f"Bearer tb.{key_id}.secret"),)


async def test_an_executor_without_a_coordination_client_joins_through_the_door() -> None:
    async with opened() as door:
        membership = RemoteMembership(door.channel, SESSION_MS, SystemClock())
        incarnation = await membership.join(RED)
        request = admin_service_pb2.GetClusterRequest()
        nodes = {node.name: node for node in (await door.admin.GetCluster(request)).nodes}
        assert (nodes["red"].incarnation, nodes["red"].slots) == (incarnation, 4)
        await membership.close()
        assert "red" not in {node.name for node in (await door.admin.GetCluster(request)).nodes}


async def test_joining_needs_a_credential_that_may() -> None:
    async with opened(keys(boss=Role.OPERATOR, clerk=Role.SUBMITTER)) as door:
        for metadata, expected in [
            ((), errors.Unauthenticated),
            (bearer("stranger"), errors.Unauthenticated),
            (bearer("clerk"), errors.PermissionDenied),
        ]:
            refused = RemoteMembership(door.channel, SESSION_MS, SystemClock(), metadata)
            with pytest.raises(expected):
                await refused.join(RED)
            await refused.close()
        admitted = RemoteMembership(door.channel, SESSION_MS, SystemClock(), bearer("boss"))
        assert await admitted.join(RED)
        await admitted.close()


async def test_the_namespace_and_owner_come_from_the_credential() -> None:
    async with opened(keys(clerk=Role.SUBMITTER, guest=Role.VIEWER)) as door:
        made = await door.tasks.CreateTask(wish(), metadata=bearer("clerk"))
        assert made.task.name.startswith("namespaces/shop/tasks/")
        assert made.task.owner == "clerk"
        get = task_service_pb2.GetTaskRequest(name=made.task.name)
        assert (await door.tasks.GetTask(get, metadata=bearer("guest"))).task.name == get.name
        denied = await refusal(door.tasks.CreateTask(wish(), metadata=bearer("guest")))
        assert isinstance(denied, errors.PermissionDenied)
        unknown = await refusal(door.tasks.GetTask(get))
        assert isinstance(unknown, errors.Unauthenticated)
