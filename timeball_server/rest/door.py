"""Puts the HTTP door together for a coordinator; imported only where one is wanted."""

from __future__ import annotations

from collections.abc import Iterable

from starlette.types import ASGIApp

from timeball_server.ports.clock import Clock
from timeball_server.rest.app import OnBug, RestApp
from timeball_server.rest.calls import Caller, Register
from timeball_server.rest.server import HttpServer
from timeball_server.rpc.auth import Authenticator, OpenLoopback
from timeball_server.rpc.interceptors import Gate


def http_door(
    listen: str,
    gate: Gate,
    authenticator: Authenticator,
    registers: Iterable[Register],
    *,
    clock: Clock,
    version: str,
    grace_ms: int,
    on_bug: OnBug,
    console: ASGIApp | None = None,
) -> HttpServer:
    """A server of the public API over HTTP.

    Args:
        listen: host:port.
        gate: the one around the gRPC server's calls.
        authenticator: what the gate asks; decides where this may listen.
        registers: what registers each public servicer with a server.
        console: serves everything below /console, if there is one.

    Raises:
        NotLoopback: access is open, and others could reach the address.
    """
    open_access = isinstance(authenticator, OpenLoopback)
    if open_access:
        OpenLoopback(listen)
    caller = Caller(gate, registers, clock)
    app = RestApp(caller, version=version, open_access=open_access, on_bug=on_bug, console=console)
    return HttpServer(listen, app, grace_ms)
