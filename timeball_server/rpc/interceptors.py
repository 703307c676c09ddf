"""What happens around every public call, in one interceptor and in one order.

Authenticate, check the role, parse and validate, check namespace and content, run the
servicer, turn errors into statuses. Servicers see parsed, valid requests only, ask `principal`
who calls, and raise errors of the family. Decides nothing itself: tables and validators do.
"""

from __future__ import annotations

import inspect
import logging
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, Final

import grpc
import structlog
from google.protobuf import descriptor_pool, message_factory
from google.protobuf.message import Message
from timeball.errors import Internal, TimeballError, Unauthenticated

from timeball_server.rpc.access import NODES, OPEN, check_content, check_namespace, check_role
from timeball_server.rpc.auth import Authenticator, Principal
from timeball_server.rpc.live_keys import Learner
from timeball_server.rpc.status import abort_with
from timeball_server.rpc.validation import RequestValidator

OnBug = Callable[[str, BaseException], None]
Context = grpc.aio.ServicerContext[Any, Any]
_BUG_SENTENCE: Final = "the server failed at this; it was noted, and trying again may help"
_NO_ERRORS: Final[Mapping[int, TimeballError]] = {}


@dataclass(slots=True)
class _Call:
    """The call in hand; `request` is what came last.

    `items` holds messages with wrong items, by id(), until they are asked for. The message is held
    too: while it lives, no other one has its id().
    """

    principal: Principal
    request: Message | None = None
    items: dict[int, tuple[Message, Mapping[int, TimeballError]]] = field(default_factory=dict)


log = structlog.stdlib.get_logger("calls")
_LOUDNESS: Final = logging.getLogger("calls")
"""Asked before a line is put together; the one above writes through it."""
_LEVELS: Final[Mapping[str, int]] = {
    "/timeball.v1.TaskService/CreateTask": logging.DEBUG,
    "/timeball.v1.TaskService/BatchCreateTasks": logging.DEBUG,
    "/timeball.v1.TaskService/CreateTasks": logging.DEBUG,
    "/timeball.v1.TaskService/CancelTask": logging.DEBUG,
    "/timeball.v1.TaskService/UpdateTask": logging.DEBUG,
    "/timeball.v1.TaskService/RescheduleTask": logging.DEBUG,
    "/timeball.v1.TaskService/DeleteTask": logging.DEBUG,
    "/timeball.v1.TaskService/RetryTask": logging.DEBUG,
    "/timeball.v1.ScheduleService/CreateSchedule": logging.INFO,
    "/timeball.v1.ScheduleService/UpdateSchedule": logging.INFO,
    "/timeball.v1.ScheduleService/DeleteSchedule": logging.INFO,
    "/timeball.v1.ScheduleService/PauseSchedule": logging.INFO,
    "/timeball.v1.ScheduleService/ResumeSchedule": logging.INFO,
    "/timeball.v1.ScheduleService/TriggerSchedule": logging.INFO,
    "/timeball.v1.ScheduleService/CreateBackfill": logging.INFO,
    "/timeball.v1.ScheduleService/StopBackfill": logging.INFO,
}
"""How loudly ended calls that change something are told. What operators do is in the audit log, and
what happens to a task in its journal: a line for each would cost more than the call."""
_CALL: ContextVar[_Call] = ContextVar("timeball_call")


def principal() -> Principal:
    """Who makes the call that is being served; only inside a servicer's method."""
    return _CALL.get().principal


def item_errors(request: Message) -> Mapping[int, TimeballError]:
    """Why items of a request of many must not be carried out, by position.

    Args:
        request: exactly the message that the servicer was given; ask once for each.
    """
    _, errors = _CALL.get().items.pop(id(request), (request, _NO_ERRORS))
    return errors


class Gate(grpc.aio.ServerInterceptor):
    """The interceptor. `refused` counts refusals before a servicer ran, by reason.

    `calls` counts calls that have ended, by method and gRPC status.

    Args:
        authenticator: says who calls.
        validator: parses and checks requests.
        on_bug: is told the method and the exception when a servicer fails; counts and logs.
    """

    def __init__(
        self, authenticator: Authenticator, validator: RequestValidator, on_bug: OnBug
    ) -> None:
        self._authenticator = authenticator
        self._validator = validator
        self._on_bug = on_bug
        self._learner = authenticator if isinstance(authenticator, Learner) else None
        self._wrapped: dict[str, Any] = {}
        self.refused: Counter[str] = Counter()
        self.calls: Counter[tuple[str, str]] = Counter()

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        """Answer with the servicer's handler, wrapped; made once per method."""
        method = handler_call_details.method
        known = self._wrapped.get(method)
        if known is not None:
            return known
        handler = await continuation(handler_call_details)
        if handler is None or method in OPEN:
            return handler
        wrap = self._wrap_node_stream if method in NODES else self._wrap
        return self._wrapped.setdefault(method, wrap(method, handler))

    def _wrap_node_stream(self, method: str, handler: Any) -> Any:
        """Admit a stream between our own processes; what it says is the servicer's to check."""

        async def call(requests: AsyncIterator[Any], context: Context) -> AsyncIterator[Any]:
            async with self._around(method, context):
                async for answer in _answers(handler.stream_stream, requests, context):
                    yield answer

        return grpc.stream_stream_rpc_method_handler(
            call, handler.request_deserializer, handler.response_serializer
        )

    def _wrap(self, method: str, handler: Any) -> Any:
        kind = _request_class(method)
        serialize = handler.response_serializer
        if handler.unary_unary is not None:
            call = self._unary_unary(method, kind, handler.unary_unary)
            return grpc.unary_unary_rpc_method_handler(call, None, serialize)
        if handler.unary_stream is not None:
            call = self._unary_stream(method, kind, handler.unary_stream)
            return grpc.unary_stream_rpc_method_handler(call, None, serialize)
        if handler.stream_unary is not None:
            call = self._stream_unary(method, kind, handler.stream_unary)
            return grpc.stream_unary_rpc_method_handler(call, None, serialize)
        call = self._stream_stream(method, kind, handler.stream_stream)
        return grpc.stream_stream_rpc_method_handler(call, None, serialize)

    def _unary_unary(self, method: str, kind: type[Message], servicer: Any) -> Any:
        async def call(raw: bytes, context: Context) -> Any:
            async with self._around(method, context) as current:
                return await servicer(self._check(current, raw, kind), context)

        return call

    def _unary_stream(self, method: str, kind: type[Message], servicer: Any) -> Any:
        async def call(raw: bytes, context: Context) -> AsyncIterator[Any]:
            async with self._around(method, context) as current:
                async for answer in _answers(servicer, self._check(current, raw, kind), context):
                    yield answer

        return call

    def _stream_unary(self, method: str, kind: type[Message], servicer: Any) -> Any:
        async def call(raws: AsyncIterator[bytes], context: Context) -> Any:
            async with self._around(method, context) as current:
                return await servicer(self._checked(current, raws, kind), context)

        return call

    def _stream_stream(self, method: str, kind: type[Message], servicer: Any) -> Any:
        async def call(raws: AsyncIterator[bytes], context: Context) -> AsyncIterator[Any]:
            async with self._around(method, context) as current:
                requests = self._checked(current, raws, kind)
                async for answer in _answers(servicer, requests, context):
                    yield answer

        return call

    @asynccontextmanager
    async def _around(self, method: str, context: Context) -> AsyncIterator[_Call]:
        """Admit a call, count it, and end it with a status when an error comes out."""
        status, current = "CANCELLED", None
        try:
            if self._learner is not None:
                await self._learn(self._learner, context)
            current = _Call(self._admit(method, context))
            _CALL.set(current)
            yield current
            status = "OK"
        except TimeballError as error:
            status = error.code
            await abort_with(context, error)
        except grpc.aio.AbortError:
            status = "ABORTED"
            raise
        except Exception as bug:  # noqa: BLE001 - counted; its words are not for callers
            status = Internal.code
            self._on_bug(method, bug)
            await abort_with(context, Internal(_BUG_SENTENCE))
        finally:
            self.calls[method, status] += 1
            level = _LEVELS.get(method)
            if level is not None and current is not None and _LOUDNESS.isEnabledFor(level):
                _tell(level, method, current, status)

    async def _learn(self, learner: Learner, context: Context) -> None:
        """Let the authenticator read what it must before it can say who calls."""
        try:
            authorization = _authorization(context)
            if not learner.knows(authorization):
                await learner.learn(authorization)
        except TimeballError as error:
            self.refused[error.reason] += 1
            raise

    def _admit(self, method: str, context: Context) -> Principal:
        try:
            caller = self._authenticator.authenticate(_authorization(context))
            check_role(caller, method)
        except TimeballError as error:
            self.refused[error.reason] += 1
            raise
        return caller

    def _check(self, current: _Call, raw: bytes, kind: type[Message]) -> Message:
        try:
            message, invalid = self._validator.check(raw, kind)
            check_namespace(current.principal, message)
            errors = check_content(current.principal, message, invalid)
        except TimeballError as error:
            self.refused[error.reason] += 1
            raise
        current.request = message
        if errors:
            current.items[id(message)] = (message, errors)
        return message

    async def _checked(
        self, current: _Call, raws: AsyncIterator[bytes], kind: type[Message]
    ) -> AsyncIterator[Message]:
        async for raw in raws:
            yield self._check(current, raw, kind)


def _tell(level: int, method: str, call: _Call, status: str) -> None:
    """One line on an ended call; nothing of what it carried but the name of the wish."""
    log.log(
        level,
        "call",
        method=method.rpartition("/")[2],
        subject=call.principal.subject,
        namespace=call.principal.namespace,
        outcome=status,
        request_id=getattr(call.request, "request_id", ""),
    )


async def _answers(servicer: Any, requests: Any, context: Context) -> AsyncIterator[Any]:
    """The answers of a servicer that yields them; one that writes them itself yields none."""
    if inspect.isasyncgenfunction(servicer):
        async for answer in servicer(requests, context):
            yield answer
    else:
        await servicer(requests, context)


def _authorization(context: Context) -> str | None:
    """The credential; two of them are none, because nobody can say which one counts."""
    found = [value for key, value in context.invocation_metadata() or () if key == "authorization"]
    if len(found) > 1:
        raise Unauthenticated("send one authorization header, not several")
    return found[0] if found and isinstance(found[0], str) else None


def _request_class(method: str) -> type[Message]:
    """The message class of a method such as /timeball.v1.TaskService/GetTask."""
    _, service, name = method.split("/")
    descriptor = descriptor_pool.Default().FindServiceByName(service).methods_by_name[name]
    return message_factory.GetMessageClass(descriptor.input_type)
