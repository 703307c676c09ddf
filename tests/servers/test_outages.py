"""A cluster whose database or coordination service goes away while tasks flow, and comes back.

What was acknowledged runs, nobody restarts anything, and callers hear when to try again.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import grpc
import grpc.aio
import pytest
import timeball
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from timeball.states import TaskState, state_of
from timeball.v1 import task_pb2, task_service_pb2, task_service_pb2_grpc

from tests.support import dev_tasks
from tests.support.polls import eventually, moment
from tests.support.servers.cassandra_nodes import CassandraCluster
from tests.support.servers.nodes import ServerCluster
from tests.support.servers.small_cluster import small_cluster
from tests.support.servers.zookeeper_nodes import ZooKeeperCluster
from tools.local_cluster import LocalCluster, coordinators

pytestmark = [pytest.mark.asyncio, pytest.mark.timeout(720)]
APART_S = 0.2
INSISTENCE = timedelta(seconds=10)
PATIENCE = timedelta(seconds=150)
PATIENCE_S = PATIENCE.total_seconds()
CALL_S = 3.0
PAYLOAD = task_pb2.Payload(content_type="application/json", data=b'{"value": "x"}')


@pytest.fixture(scope="module")
def cluster(
    tmp_path_factory: pytest.TempPathFactory,
    cassandra_own: CassandraCluster,
    zookeeper_own: ZooKeeperCluster,
) -> Iterator[LocalCluster]:
    folder = tmp_path_factory.mktemp("outages") / "cluster"
    with small_cluster(folder, cassandra_own, zookeeper_own) as running:
        yield running


class Flow:
    """Creates a task five times a second and remembers those that were acknowledged."""

    def __init__(self, client: timeball.AsyncClient) -> None:
        self.acknowledged: list[str] = []
        self._client = client

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            while True:
                group.create_task(self._one())
                await moment(APART_S)

    async def _one(self) -> None:
        with contextlib.suppress(timeball.TimeballError):  # refused or in doubt: not promised
            handle = await self._client.submit(dev_tasks.echo.prepare("x"))
            self.acknowledged.append(handle.id)


async def refusal(channel: grpc.aio.Channel) -> grpc.aio.AioRpcError | None:
    """A create without the SDK's repetitions; None when it was acknowledged."""
    task = task_pb2.Task(owner="teller", handler="it.echo", payload=PAYLOAD)
    request = task_service_pb2.CreateTaskRequest(parent="namespaces/-", task=task)
    stub = task_service_pb2_grpc.TaskServiceStub(channel)
    try:
        await stub.CreateTask(request, timeout=CALL_S)
    except grpc.aio.AioRpcError as error:
        return error
    return None


def retry_after_s(error: grpc.aio.AioRpcError) -> float:
    """The hint in a refusal, 0 when there is none."""
    for detail in rpc_status.from_call(error).details:  # type: ignore[arg-type]
        info = error_details_pb2.RetryInfo()
        if detail.Unpack(info):
            return float(info.retry_delay.ToTimedelta().total_seconds())
    return 0.0


@pytest.mark.parametrize("state", ["killed", "frozen"])
@pytest.mark.parametrize("kind", ["cassandra", "zookeeper"])
async def test_what_goes_away_and_comes_back_loses_nothing(
    cluster: LocalCluster,
    cassandra_own: CassandraCluster,
    zookeeper_own: ZooKeeperCluster,
    kind: str,
    state: str,
) -> None:
    servers: dict[str, ServerCluster[Any]] = {
        "cassandra": cassandra_own,
        "zookeeper": zookeeper_own,
    }
    (node,) = servers[kind].nodes
    address = coordinators(cluster.addresses)
    async with (
        timeball.AsyncClient(address, deadline=INSISTENCE) as client,
        grpc.aio.insecure_channel(address) as channel,
    ):
        flow = Flow(client)
        flowing = asyncio.create_task(flow.run())

        async def goes_well() -> bool:
            return await refusal(channel) is None

        async def refused_with_hint() -> bool:
            error = await refusal(channel)
            is_told = error is not None and error.code() is grpc.StatusCode.UNAVAILABLE
            return error is not None and is_told and retry_after_s(error) > 0

        await eventually(goes_well, "tasks flow", PATIENCE_S)
        await asyncio.to_thread(node.kill if state == "killed" else node.freeze)
        try:
            await eventually(refused_with_hint, "callers hear when to try again", PATIENCE_S)
        finally:
            await asyncio.to_thread(servers[kind].heal)
        await eventually(goes_well, "it recovered by itself", PATIENCE_S)
        flowing.cancel()
        await asyncio.wait((flowing,))
        assert flow.acknowledged
        ended = [await client.wait(each, timeout=PATIENCE) for each in flow.acknowledged]
    assert {state_of(each.state) for each in ended} == {TaskState.SUCCEEDED}
    assert all(cluster.is_alive(name) for name in cluster.names)
