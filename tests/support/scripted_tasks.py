"""A task service that answers from a script and remembers what it was asked."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import grpc
import grpc.aio
from google.protobuf import any_pb2, duration_pb2
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status
from timeball.v1 import task_pb2
from timeball.v1 import task_service_pb2 as pb

NAME = f"namespaces/default/tasks/{'0' * 40}"
ENDED = task_pb2.Task(name=NAME, state=task_pb2.TASK_STATE_SUCCEEDED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Refuse:
    """Answer with this status."""

    code: grpc.StatusCode
    message: str = "scripted"
    details: tuple[Message, ...] = ()
    raw_details: bytes = b""


class Hang:
    """Never answer."""


Answer = Message | Refuse | Hang


@dataclass(slots=True)
class Script:
    """Answers to give, in order, and the requests and metadata that came."""

    answers: deque[Answer]
    requests: list[Any] = field(default_factory=list)
    metadata: list[Mapping[str, str | bytes]] = field(default_factory=list)

    async def answer(self, request: Message, context: Any) -> Any:
        """What comes next, whichever method is asked."""
        self.requests.append(request)
        self.metadata.append(dict(context.invocation_metadata()))
        answer = self.answers.popleft()
        if isinstance(answer, Hang):
            await asyncio.Event().wait()
        if isinstance(answer, Refuse):
            await refuse(context, answer)
        return answer

    def handler(self) -> grpc.GenericRpcHandler:
        """The methods that can be asked."""
        requests: dict[str, type[Any]] = {
            "CreateTask": pb.CreateTaskRequest,
            "WaitTask": pb.WaitTaskRequest,
        }
        methods: dict[str, grpc.RpcMethodHandler[Any, Any]] = {
            name: grpc.unary_unary_rpc_method_handler(
                self.answer,
                request_deserializer=request.FromString,
                response_serializer=lambda answer: answer.SerializeToString(),
            )
            for name, request in requests.items()
        }
        return grpc.method_handlers_generic_handler("timeball.v1.TaskService", methods)


def after(milliseconds: int) -> error_details_pb2.RetryInfo:
    """The advice to come back later."""
    delay = duration_pb2.Duration()
    delay.FromMilliseconds(milliseconds)
    return error_details_pb2.RetryInfo(retry_delay=delay)


async def refuse(context: Any, answer: Refuse) -> None:
    """End the call with a status and its details."""
    if answer.raw_details:
        context.set_trailing_metadata((("grpc-status-details-bin", answer.raw_details),))
        await context.abort(answer.code, answer.message)
    status = status_pb2.Status(code=answer.code.value[0], message=answer.message)
    for detail in answer.details:
        packed = any_pb2.Any()
        packed.Pack(detail)
        status.details.append(packed)
    await context.abort_with_status(rpc_status.to_status(status))


@contextlib.asynccontextmanager
async def scripted(*answers: Answer) -> AsyncIterator[tuple[str, Script]]:
    """The address of a service that gives these answers, and what it was asked."""
    script = Script(deque(answers))
    server = grpc.aio.server(options=(("grpc.so_reuseport", 0),))
    server.add_generic_rpc_handlers((script.handler(),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield f"127.0.0.1:{port}", script
    finally:
        await server.stop(None)
