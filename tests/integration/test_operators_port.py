"""The operators' port of a real process: what generic gRPC tools find there, and only there."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from google.protobuf import descriptor_pool, message_factory
from grpc_channelz.v1 import channelz_pb2, channelz_pb2_grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (
    ProtoReflectionDescriptorDatabase,
)
from timeball.v1 import task_service_pb2, task_service_pb2_grpc

from tests.support.dev_server import DevServer, ending
from tests.support.polls import until

DEADLINE_S = 20.0
SERVICES = {"timeball.v1.TaskService", "timeball.v1.ScheduleService", "timeball.v1.AdminService"}
NODES = "timeball.internal.v1.MembershipService"


@pytest.fixture(scope="module")
def dev(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DevServer]:
    options = ("--no-http", "--operators", "127.0.0.1:0")
    server = DevServer(tmp_path_factory.mktemp("dev"), http=options)
    with ending(server):
        server.start()
        yield server


@pytest.fixture(scope="module")
def operators(dev: DevServer) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(until(lambda: _told(dev), "the operators' port")) as channel:
        yield channel


@pytest.fixture(scope="module")
def public(dev: DevServer) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(dev.address) as channel:
        yield channel


def _told(dev: DevServer) -> str:
    lines = [line for line in dev.output().splitlines() if "reflection and channelz:" in line]
    return lines[-1].rpartition(" ")[2] if lines else ""


def status(call: Any, request: Any) -> grpc.StatusCode:
    with pytest.raises(grpc.RpcError) as caught:
        call(request, timeout=DEADLINE_S)
    code: grpc.StatusCode = caught.value.code()
    return code


def test_a_tool_that_knows_nothing_can_call_the_api(
    operators: grpc.Channel, public: grpc.Channel
) -> None:
    found = ProtoReflectionDescriptorDatabase(operators)
    names = set(found.get_services())
    assert names >= SERVICES
    assert not any(name.startswith("timeball.internal") for name in names)
    pool = descriptor_pool.DescriptorPool(found)
    method = pool.FindServiceByName("timeball.v1.TaskService").methods_by_name["CreateTask"]
    request = message_factory.GetMessageClass(method.input_type)()
    answer = message_factory.GetMessageClass(method.output_type)
    request.task.handler = "it.echo"  # type: ignore[attr-defined] # known by reflection only
    request.validate_only = True  # type: ignore[attr-defined] # the same
    call: Any = public.unary_unary(
        "/timeball.v1.TaskService/CreateTask",
        request_serializer=lambda message: message.SerializeToString(),
        response_deserializer=answer.FromString,
    )
    assert call(request, timeout=DEADLINE_S).task.handler == "it.echo"


def test_calls_are_made_on_the_public_port_only(operators: grpc.Channel) -> None:
    tasks: Any = task_service_pb2_grpc.TaskServiceStub(operators)
    request = task_service_pb2.ListTasksRequest()
    assert status(tasks.ListTasks, request) is grpc.StatusCode.UNIMPLEMENTED


def test_the_public_port_describes_nothing(public: grpc.Channel) -> None:
    found = ProtoReflectionDescriptorDatabase(public)
    with pytest.raises(grpc.RpcError) as caught:
        found.get_services()
    code = caught.value.code()
    assert code is grpc.StatusCode.UNIMPLEMENTED
    channelz: Any = channelz_pb2_grpc.ChannelzStub(public)
    refused = status(channelz.GetServers, channelz_pb2.GetServersRequest())
    assert refused is grpc.StatusCode.UNIMPLEMENTED


def test_connections_and_health_are_shown(operators: grpc.Channel, public: grpc.Channel) -> None:
    health: Any = health_pb2_grpc.HealthStub(operators)
    answer = health.Check(health_pb2.HealthCheckRequest(), timeout=DEADLINE_S)
    assert answer.status == health_pb2.HealthCheckResponse.SERVING
    channelz: Any = channelz_pb2_grpc.ChannelzStub(operators)
    servers = channelz.GetServers(channelz_pb2.GetServersRequest(), timeout=DEADLINE_S).server
    assert sum(server.data.calls_started for server in servers) > 0
