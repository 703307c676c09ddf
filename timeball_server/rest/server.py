"""Runs the application on one port, inside the loop and the lifecycle of its process.

Owns the socket and uvicorn's settings. Takes no signals and reads no environment: when to stop
is said by the process.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import uvicorn

from timeball_server.rest.app import RestApp
from timeball_server.rpc.server import CannotListen

MAX_HEADER_BYTES: Final = 32 * 1024
IDLE_CONNECTION_S: Final = 30
_BACKLOG: Final = 512


class _Uvicorn(uvicorn.Server):
    """A uvicorn that leaves signals alone and says when it listens."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.listening = asyncio.Event()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Signals are the process's."""
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, and say so."""
        await super().startup(sockets)
        self.listening.set()


class HttpServer:
    """One HTTP server.

    Args:
        listen: host:port; port 0 takes a free one.
        grace_ms: how long running requests may go on once it stops.
    """

    def __init__(self, listen: str, app: RestApp, grace_ms: int) -> None:
        self._listen = listen
        self._socket: socket.socket | None = None
        self._serving: asyncio.Task[None] | None = None
        config = uvicorn.Config(
            app,
            http="h11",
            ws="none",
            loop="none",
            lifespan="off",
            interface="asgi3",
            log_config=None,
            log_level="warning",
            access_log=False,
            proxy_headers=False,
            server_header=False,
            backlog=_BACKLOG,
            timeout_keep_alive=IDLE_CONNECTION_S,
            timeout_graceful_shutdown=max(1, grace_ms // 1_000),
            h11_max_incomplete_event_size=MAX_HEADER_BYTES,
        )
        self._server = _Uvicorn(config)

    @property
    def address(self) -> str:
        """host:port where it listens; with the real port after start."""
        if self._socket is None:
            return self._listen
        return f"{self._listen.rpartition(':')[0]}:{self._socket.getsockname()[1]}"

    async def start(self) -> None:
        """Listen; returns when requests are answered.

        Raises:
            CannotListen: the address is taken, or not ours.
        """
        self._socket = _bound(self._listen)
        serving = asyncio.create_task(self._server.serve([self._socket]), name="http server")
        self._serving = serving
        listening = asyncio.create_task(self._server.listening.wait())
        await asyncio.wait((serving, listening), return_when=asyncio.FIRST_COMPLETED)
        listening.cancel()
        if serving.done():
            await serving

    async def wait_stopped(self) -> None:
        """Return when it has stopped, with the failure that stopped it."""
        if self._serving is not None:
            await asyncio.shield(self._serving)

    async def stop(self) -> None:
        """Accept nothing new, let running requests end within the grace. Safe to repeat."""
        self._server.should_exit = True
        if self._serving is not None:
            await asyncio.wait((self._serving,))


def _bound(listen: str) -> socket.socket:
    host, _, port = listen.rpartition(":")
    host = host.strip("[]")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, int(port)), family=family, backlog=_BACKLOG)
    except OSError as error:
        raise CannotListen(
            f"cannot listen on {listen}: another process has it, or it is not an address of "
            "this machine"
        ) from error
