"""Calls a servicer the way grpc.aio would, through the same gate, without a gRPC server.

Owns the stand-ins for a server that servicers are registered with and for a call's context.
Decides nothing: authentication, access, namespace and validation are the gate's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, NamedTuple, NoReturn, cast

import grpc
from google.protobuf.message import Message
from timeball.errors import TimeballError

from timeball_server.ports.clock import Clock
from timeball_server.rest.routes import Route
from timeball_server.rpc.interceptors import Gate
from timeball_server.rpc.status import error_from_wire

DEADLINE_MS: Final = 30_000
"""How long a call may take; HTTP callers send no deadline."""
WAIT_DEADLINE_MS: Final = 65_000
"""How long a call may take that waits as long as its request says, which is at most 60 s."""
Register = Callable[[grpc.aio.Server], None]


class CallEnded(grpc.aio.AbortError):
    """A call ended with `error`; the gate lets it pass as it does gRPC's own."""

    def __init__(self, error: TimeballError) -> None:
        super().__init__(error.message)
        self.error = error


class _Details(NamedTuple):
    """What the gate wants to know of a call that is not a call yet."""

    method: str
    invocation_metadata: tuple[tuple[str, str], ...] = ()


class _Registered:
    """Takes the place of a server, and remembers what is registered with it."""

    def __init__(self) -> None:
        self.handlers: dict[str, Any] = {}

    def add_generic_rpc_handlers(self, handlers: Iterable[Any]) -> None:
        """The same handlers again, for servers that look them up one by one."""

    def add_registered_method_handlers(self, service: str, handlers: Mapping[str, Any]) -> None:
        """Remember a service's methods."""
        self.handlers.update({f"/{service}/{name}": each for name, each in handlers.items()})


class HttpContext:
    """The part of a servicer's context that the gate and our servicers use.

    Args:
        metadata: the caller's, such as its authorization.
        deadline_ms: monotonic instant at which the answer is no longer wanted.
    """

    def __init__(self, metadata: tuple[tuple[str, str], ...], deadline_ms: int, clock: Clock):
        self._metadata = metadata
        self._deadline_ms = deadline_ms
        self._clock = clock

    def invocation_metadata(self) -> tuple[tuple[str, str], ...]:
        """What the caller sent along."""
        return self._metadata

    def time_remaining(self) -> float:
        """Seconds until the deadline."""
        return max(0, self._deadline_ms - self._clock.now().mono_ms) / 1_000

    async def abort(
        self, code: grpc.StatusCode, details: str = "", trailing_metadata: Any = ()
    ) -> NoReturn:
        """End the call with a status.

        Raises:
            CallEnded: always.
        """
        raise CallEnded(error_from_wire(code, details, trailing_metadata))


class Caller:
    """Carries out RPCs that come in over HTTP.

    Args:
        gate: the one around the gRPC server's calls.
        registers: what registers each servicer with a server.
    """

    def __init__(self, gate: Gate, registers: Iterable[Register], clock: Clock) -> None:
        registered = _Registered()
        for register in registers:
            register(cast("grpc.aio.Server", registered))
        self._handlers = registered.handlers
        self._gate = gate
        self._clock = clock

    async def call(
        self, route: Route, raw: bytes, metadata: tuple[tuple[str, str], ...]
    ) -> Message:
        """Carry out one unary call.

        Args:
            raw: the serialised request.
            metadata: as gRPC would bring it, keys in lower case.

        Raises:
            TimeballError: whatever the gate or the servicer answered.
        """
        details = cast("grpc.HandlerCallDetails", _Details(route.rpc_path))
        handler = await self._gate.intercept_service(self._handler, details)
        waits = "timeout" in route.rpc.input_type.fields_by_name
        patience_ms = WAIT_DEADLINE_MS if waits else DEADLINE_MS
        deadline_ms = self._clock.now().mono_ms + patience_ms
        context = HttpContext(metadata, deadline_ms, self._clock)
        try:
            return cast("Message", await handler.unary_unary(raw, context))
        except CallEnded as ended:
            raise ended.error from None

    async def _handler(self, details: grpc.HandlerCallDetails) -> Any:
        return self._handlers[details.method]
