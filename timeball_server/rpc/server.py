"""Builds a gRPC server: options, services, health, one port, a polite end.

One process has one event loop; grpc.aio servers of several loops would wake each other.
Never decides when to stop: the lifecycle of the process does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, cast

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from timeball_server.rpc.options import server_options

MAX_CONCURRENT_CALLS: Final = 10_000
"""Calls of one server at the same time; more are refused with RESOURCE_EXHAUSTED."""
SERVING: Final = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING: Final = health_pb2.HealthCheckResponse.NOT_SERVING


class CannotListen(OSError):
    """The address is taken, or not ours."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """One service: its full name, for health, and what registers its servicer.

    `stopping` is told when the server begins to stop, so that calls which only wait for something
    far away end at once instead of using up the grace of the others.
    """

    name: str
    register: Callable[[grpc.aio.Server], None]
    stopping: Callable[[], None] | None = None


class _ByName:
    """A server as servicers see it when they are registered: each call is looked up by its name.

    For every call that comes in, grpc.aio waits anew on each method that was registered beforehand:
    with the fifty of a coordinator, that was a fifth of what a call cost.
    """

    def __init__(self, server: grpc.aio.Server) -> None:
        self._server = server

    def add_generic_rpc_handlers(self, handlers: Iterable[grpc.GenericRpcHandler]) -> None:
        """Take the handlers of a service."""
        self._server.add_generic_rpc_handlers(tuple(handlers))

    def add_registered_method_handlers(self, service: str, handlers: Mapping[str, Any]) -> None:
        """Nothing; the same handlers were taken above."""


class RpcServer:
    """One server on one port.

    Args:
        address: host:port; port 0 takes a free one.
        services: what it serves; health comes on top.
        interceptors: around every call, outermost first.
        credentials: of TLS; None = plain text.
        internal: whether only our own services talk to it, with bigger messages.
    """

    def __init__(
        self,
        address: str,
        services: Sequence[Service],
        *,
        interceptors: Sequence[grpc.aio.ServerInterceptor] = (),
        credentials: grpc.ServerCredentials | None = None,
        internal: bool = False,
    ) -> None:
        self._names = ("", *(service.name for service in services))
        self._stopping = [service.stopping for service in services if service.stopping]
        self._health = health.aio.HealthServicer()
        self._server = grpc.aio.server(
            interceptors=list(interceptors),
            options=list(server_options(internal=internal)),
            maximum_concurrent_rpcs=MAX_CONCURRENT_CALLS,
        )
        self._credentials = credentials
        self._host = address.rpartition(":")[0]
        self._asked = address
        self._port = 0
        self._stopped = False
        register_health: Any = health_pb2_grpc.add_HealthServicer_to_server
        register_health(self._health, _ByName(self._server))
        for service in services:
            service.register(cast("grpc.aio.Server", _ByName(self._server)))

    @property
    def address(self) -> str:
        """host:port where it listens; with the real port after start."""
        return f"{self._host}:{self._port}" if self._port else self._asked

    async def start(self) -> int:
        """Listen, serve, and report health.

        Returns:
            The port.

        Raises:
            CannotListen: the address is taken, or not ours.
        """
        try:
            self._port = self._bind()
        except RuntimeError as error:
            raise CannotListen(
                f"cannot listen on {self._asked}: another process has it, or it is not an "
                "address of this machine"
            ) from error
        await self._server.start()
        for name in self._names:
            await self._health.set(name, SERVING)
        return self._port

    async def drain(self) -> None:
        """Say NOT_SERVING for every service; calls are still answered. Safe to call twice."""
        for name in self._names:
            await self._health.set(name, NOT_SERVING)

    async def stop(self, grace_ms: int = 0) -> None:
        """Refuse new calls, let running ones end, cancel them after the grace. Safe to repeat."""
        if self._stopped:
            return
        self._stopped = True
        await self.drain()
        for tell in self._stopping:
            tell()
        await self._server.stop(grace_ms / 1000)

    def _bind(self) -> int:
        if self._credentials is None:
            return self._server.add_insecure_port(self._asked)
        return self._server.add_secure_port(self._asked, self._credentials)
