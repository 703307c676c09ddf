"""A wire to one server that remembers what was said on it and can swallow the answers."""

from __future__ import annotations

import asyncio
from typing import Self

HOST = "127.0.0.1"


class Wire:
    """Use as `async with Wire(host, port) as wire` and connect to `wire.port`.

    Attributes:
        said: every byte that clients have sent so far.
        swallow: a request that contains these bytes reaches the server; its answer and all later
            ones of its connection do not come back.
    """

    def __init__(self, host: str, port: int) -> None:
        self.said = bytearray()
        self.swallow = b""
        self.swallowed = asyncio.Event()
        self._target = (host, port)
        self._writers: set[asyncio.StreamWriter] = set()
        self._deaf: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def port(self) -> int:
        """Where to connect to."""
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, HOST, 0)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        self.cut()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def cut(self) -> None:
        """Close every connection; new ones work."""
        for writer in tuple(self._writers):
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        there, back = await asyncio.open_connection(*self._target)
        self._writers |= {writer, back}
        ways = (self._requests(reader, back, writer), self._answers(there, writer))
        await asyncio.gather(*ways, return_exceptions=True)
        self._tasks.discard(task)

    async def _requests(
        self,
        reader: asyncio.StreamReader,
        server: asyncio.StreamWriter,
        client: asyncio.StreamWriter,
    ) -> None:
        while data := await reader.read(65_536):
            self.said += data
            if self.swallow and self.swallow in data:
                self._deaf.add(client)
                self.swallowed.set()
            server.write(data)
            await server.drain()
        server.transport.abort()

    async def _answers(self, reader: asyncio.StreamReader, client: asyncio.StreamWriter) -> None:
        while data := await reader.read(65_536):
            if client not in self._deaf:
                client.write(data)
                await client.drain()
        client.transport.abort()
