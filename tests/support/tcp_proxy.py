"""A wire between a client and a server that can be cut, held up and made slow.

One proxy serves one client. `cut` closes what is open and every new connection at once; `hold`
keeps connections open and delivers nothing, as a network does that loses every packet; `resume`
ends both and delivers what was held back.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Self

CHUNK_BYTES = 65_536
HOST = "127.0.0.1"


class TcpProxy:
    """Use as `async with TcpProxy(host, port) as proxy` and connect to `proxy.address`.

    Attributes:
        answer_ms: what the server sends arrives so much later, in order; may change at any time.
        connections: how many clients have connected so far.
    """

    def __init__(self, host: str, port: int) -> None:
        self.answer_ms = 0
        self.connections = 0
        self._target = (host, port)
        self._is_cut = False
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    @property
    def address(self) -> str:
        """Where to connect to, as host:port."""
        assert self._server is not None, "start the proxy first"
        return f"{HOST}:{self._server.sockets[0].getsockname()[1]}"

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, HOST, 0)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        self.cut()
        self._flowing.set()
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def cut(self) -> None:
        """Close every connection, and new ones as soon as they come."""
        self._is_cut = True
        for writer in tuple(self._writers):
            writer.transport.abort()

    def hold(self) -> None:
        """Deliver nothing in either direction."""
        self._flowing.clear()

    def resume(self) -> None:
        """Deliver again, first what was held back."""
        self._is_cut = False
        self._flowing.set()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One client's connection."""
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        self.connections += 1
        # A wire reports nothing: what breaks on one side breaks on the other.
        with contextlib.suppress(OSError, asyncio.CancelledError):
            await self._connect_through(reader, writer)
        writer.transport.abort()

    async def _connect_through(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """Join the client with the server until either goes."""
        self._writers.add(writer)
        try:
            if self._is_cut:
                return
            await self._flowing.wait()
            there, back = await asyncio.open_connection(*self._target)
            self._writers.add(back)
            try:
                await self._pump_both(reader, writer, there, back)
            finally:
                self._writers.discard(back)
                back.transport.abort()
        finally:
            self._writers.discard(writer)

    async def _pump_both(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        there: asyncio.StreamReader,
        back: asyncio.StreamWriter,
    ) -> None:
        """Carry bytes both ways; the end of one way is the end of both."""
        ways = (
            asyncio.create_task(self._pump(reader, back, lambda: 0)),
            asyncio.create_task(self._pump(there, writer, lambda: self.answer_ms)),
        )
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)

    async def _pump(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        delay_ms: Callable[[], int],
    ) -> None:
        """Carry one way; the delay is a length of wire, so it holds nothing up behind it."""
        loop = asyncio.get_running_loop()
        under_way: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()
        carrier = asyncio.create_task(self._deliver(under_way.get, writer))
        try:
            while data := await reader.read(CHUNK_BYTES):
                under_way.put_nowait((loop.time() + delay_ms() / 1_000, data))
            under_way.put_nowait((0.0, b""))
            await carrier
        finally:
            carrier.cancel()
            await asyncio.wait((carrier,))

    async def _deliver(
        self, take: Callable[[], Awaitable[tuple[float, bytes]]], writer: asyncio.StreamWriter
    ) -> None:
        """Write each piece when it is due and the wire lets it through."""
        loop = asyncio.get_running_loop()
        while (piece := await take())[1]:
            due_s, data = piece
            if due_s > loop.time():
                arrived = asyncio.Event()
                loop.call_at(due_s, arrived.set)
                await arrived.wait()
            await self._flowing.wait()
            writer.write(data)
            await writer.drain()
