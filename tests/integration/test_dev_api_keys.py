"""A whole cluster behind API keys: no key, wrong key, foreign namespace, missing role.

In one process over real gRPC on loopback, on the memory store.
"""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest
import pytest_asyncio
import timeball
from grpc_health.v1 import health_pb2, health_pb2_grpc
from timeball import errors
from timeball.states import TaskState
from timeball.v1 import task_pb2, task_service_pb2, task_service_pb2_grpc

from tests.support import dev_tasks
from timeball_server.coordination.remote.client import RemoteMembership
from timeball_server.core.ids import NodeId
from timeball_server.dev.wiring import DevCluster, DevConfig
from timeball_server.ports.coordination import Member
from timeball_server.ports.coordination import Role as MemberRole
from timeball_server.rpc.access import ACCESS, NODES
from timeball_server.rpc.auth import ApiKeys, Role, StoredKey, key_digest
from timeball_server.rpc.status import error_from_rpc
from timeball_server.runtime.clock import SystemClock

pytestmark = pytest.mark.asyncio
PEPPER = b"only this test's pepper"
PATIENCE = "20s"
SESSION_MS = 30_000
EXPIRED_MS = 1_000
SHOP, BANK, VIEWER, OPERATOR, OLD = (
    f"tb.{name}.secret-of-{name}" for name in ("shop", "bank", "viewer", "operator", "old")
)
LISTEN = "127.0.0.1:0"


def stored(key: str, namespace: str, role: Role, expires_ms: int | None = None) -> StoredKey:
    return StoredKey(
        digest=key_digest(key, PEPPER),
        subject=key.split(".")[1],
        namespace=namespace,
        roles=frozenset({role}),
        expires_ms=expires_ms,
    )


def keys() -> ApiKeys:
    known = {
        "shop": stored(SHOP, "shop", Role.SUBMITTER),
        "bank": stored(BANK, "bank", Role.SUBMITTER),
        "viewer": stored(VIEWER, "shop", Role.VIEWER),
        "operator": stored(OPERATOR, "shop", Role.OPERATOR),
        "old": stored(OLD, "shop", Role.ADMIN, EXPIRED_MS),
    }
    return ApiKeys(known, PEPPER, SystemClock())


@asynccontextmanager
async def running() -> AsyncIterator[str]:
    """The address of a cluster that asks for keys."""
    config = DevConfig(listen=LISTEN, data=None, slots=10, start_log=None, version="1.2.3")
    handlers = {dev_tasks.echo.name: dev_tasks.echo.handler}
    cluster = DevCluster(config, keys(), handlers)
    await cluster.start()
    try:
        yield cluster.address
    finally:
        await cluster.stop()


@pytest_asyncio.fixture
async def address() -> AsyncIterator[str]:
    async with running() as found:
        yield found


def client(address: str, key: str | None) -> timeball.AsyncClient:
    return timeball.AsyncClient(address, api_key=key, deadline=PATIENCE)


async def listed(caller: timeball.AsyncClient) -> list[str]:
    return [task.name async for task in caller.list()]


async def test_every_method_refuses_callers_without_a_good_key(address: str) -> None:
    headers: list[str | None] = [
        *(None, "", "Bearer", "Bearer ", f"Basic {SHOP}", SHOP, f"Bearer {OLD}"),
        *("Bearer tb.shop.secret-of-bank", "Bearer tb.nobody.secret", "Bearer tb..", "Bearer x"),
        *(f"Bearer {SHOP}x", f"Bearer  {SHOP}", f"Bearer {SHOP.upper()}", "Bearer " + "k" * 4_000),
    ]
    calls = [(method, headers[0]) for method in (*ACCESS, *NODES)]
    calls += [("/timeball.v1.TaskService/CreateTask", header) for header in headers]
    async with grpc.aio.insecure_channel(address) as channel:
        for method, header in calls:
            metadata = [] if header is None else [("authorization", header)]
            door: Any = channel.stream_stream(method)
            call = door(iter([b""]), metadata=metadata)
            assert await call.code() is grpc.StatusCode.UNAUTHENTICATED, (method, header)
            details = str(await call.details())
            assert "tb.{key id}.{secret}" in details
        health: Any = health_pb2_grpc.HealthStub(channel)
        answer = await health.Check(health_pb2.HealthCheckRequest())
        assert answer.status == health_pb2.HealthCheckResponse.SERVING
    async with client(address, SHOP) as shop:
        assert await listed(shop) == []


async def test_a_good_key_works_and_names_its_owner(address: str) -> None:
    async with client(address, SHOP) as shop:
        handle = await shop.submit(dev_tasks.echo.prepare("x"))
        assert handle.name.startswith("namespaces/shop/tasks/")
        assert await handle.result(timeout=PATIENCE) == "x"
        assert handle.last_seen.owner == "shop"


async def test_another_namespaces_task_is_not_found_and_not_harmed(address: str) -> None:
    async with client(address, SHOP) as shop, client(address, BANK) as bank:
        later = await shop.submit(dev_tasks.echo.options(delay="700ms").prepare("ours"))
        foreign = f"namespaces/bank/tasks/{later.id}"
        for name in (later.id, later.name, foreign):
            for verb in (bank.get, bank.cancel, wait_briefly(bank)):
                with pytest.raises(errors.TaskNotFound) as caught:
                    await verb(name)
                assert "shop" not in caught.value.message.replace(later.name, "")
        assert await listed(bank) == []
        async with timeball.AsyncClient(address, api_key=BANK, namespace="shop") as intruder:
            with pytest.raises(errors.PermissionDenied):
                await listed(intruder)
        schedule = await shop.create_schedule(timeball.every("1h"), dev_tasks.echo.prepare("x"))
        for name in (schedule.id, schedule.name):
            with pytest.raises(errors.TaskNotFound):
                await bank.get_schedule(name)
            with pytest.raises(errors.TaskNotFound):
                await bank.delete_schedule(name)
        assert not (await schedule.get()).ended
        assert await later.result(timeout=PATIENCE) == "ours"


def wait_briefly(caller: timeball.AsyncClient) -> Callable[[str], Awaitable[task_pb2.Task]]:
    return lambda name: caller.wait(name, timeout="200ms")


async def test_request_ids_and_page_tokens_belong_to_a_namespace(address: str) -> None:
    once = dev_tasks.echo.options(delay="1h", request_id=str(uuid.uuid4()))
    async with client(address, SHOP) as shop, client(address, BANK) as bank:
        first, second = await shop.submit(once.prepare("x")), await bank.submit(once.prepare("y"))
        assert first.id != second.id
        await shop.submit(dev_tasks.echo.options(delay="1h").prepare("z"))
    async with grpc.aio.insecure_channel(address) as channel:
        stub = task_service_pb2_grpc.TaskServiceStub(channel)
        page = await stub.ListTasks(
            task_service_pb2.ListTasksRequest(page_size=1),
            metadata=[("authorization", f"Bearer {SHOP}")],
        )
        assert page.next_page_token
        stolen = task_service_pb2.ListTasksRequest(page_size=1, page_token=page.next_page_token)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.ListTasks(stolen, metadata=[("authorization", f"Bearer {BANK}")])
        refused = error_from_rpc(caught.value)
        assert [each.field for each in refused.violations] == ["page_token"]


async def test_roles_allow_what_they_say_and_no_more(address: str) -> None:
    urgent = dev_tasks.echo.options(priority=9).prepare("now")
    async with (
        client(address, VIEWER) as viewer,
        client(address, SHOP) as submitter,
        client(address, OPERATOR) as operator,
    ):
        task = await submitter.submit(dev_tasks.echo.options(delay="1h").prepare("x"))
        assert (await viewer.get(task.id)).name == task.name
        for refused in (
            viewer.submit(dev_tasks.echo.prepare("x")),
            viewer.cancel(task.id),
            viewer.create_schedule(timeball.every("1h"), dev_tasks.echo.prepare("x")),
            viewer.cluster(),
            submitter.cluster(),
            submitter.submit(urgent),
        ):
            with pytest.raises(errors.PermissionDenied):
                await refused
        assert await task.status() is TaskState.SCHEDULED
        (item,) = await submitter.batch_submit([urgent])
        assert isinstance(item, errors.PermissionDenied)
        assert (await operator.cluster()).leader == "coordinator-1"
        assert await (await operator.submit(urgent)).result(timeout=PATIENCE) == "now"
        await operator.cancel(task.id)
        assert await task.status() is TaskState.CANCELLED


@pytest.mark.parametrize(
    ("key", "refusal"),
    [
        (None, errors.Unauthenticated),
        (SHOP, errors.PermissionDenied),
        (OPERATOR, None),
    ],
)
async def test_only_operators_bring_executors(
    address: str, key: str | None, refusal: type[errors.TimeballError] | None
) -> None:
    metadata = [] if key is None else [("authorization", f"Bearer {key}")]
    member = Member(
        role=MemberRole.EXECUTOR,
        node=NodeId("intruder"),
        address="127.0.0.1:1",
        slots=1,
        strength=1,
    )
    async with grpc.aio.insecure_channel(address) as channel:
        joining = RemoteMembership(channel, SESSION_MS, SystemClock(), metadata)
        if refusal is None:
            await joining.join(member)
        else:
            with pytest.raises(refusal):
                await joining.join(member)
        async with client(address, OPERATOR) as operator:
            names = {node.name for node in (await operator.cluster()).nodes}
        assert ("intruder" in names) == (refusal is None)
        await joining.close()
