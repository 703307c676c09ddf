"""`python -m tests.support.chaos.wires`: all wires of a cluster under attack, in one process.

Reads commands from standard input and tells what it did on standard output, a JSON object a line:
`{"wire": name, "kind": ..., "listen": "host:port", "target": "host:port"}` opens a wire,
`{"aim": {...}}` waits for a point, `{"disarm": true}` gives it up; `{"cut": [names], "ways":
["request", "answer"]}` lets nothing through in these ways until `{"mend": true}`, which delivers
what was said meanwhile, as a network does that was cut. Its end is the end of its input.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import resource
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, cast

from tests.support.chaos.taps import TAPS, Aim, Gun, Tap
from timeball_server.runtime.loops import LoopChoice, loop_factory

HIGH_WATER_BYTES = 1 << 20


class End(asyncio.Protocol):
    """One end of a connection: what it hears, the other end says."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self.other: End | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Remember where to write."""
        self.transport = cast("asyncio.Transport", transport)
        self.transport.set_write_buffer_limits(high=HIGH_WATER_BYTES)

    def say(self, data: bytes) -> None:
        """Write, unless it is closed."""
        if self.transport is not None and not self.transport.is_closing():
            self.transport.write(data)

    def close(self) -> None:
        """Close after what is written."""
        if self.transport is not None:
            self.transport.close()

    def pause_writing(self) -> None:
        """The reader of this end is slow: hear no more on the other one."""
        self._on_other("pause_reading")

    def resume_writing(self) -> None:
        """It has caught up."""
        self._on_other("resume_reading")

    def _on_other(self, what: str) -> None:
        other = None if self.other is None else self.other.transport
        if other is not None and not other.is_closing():
            with contextlib.suppress(RuntimeError):  # paused already
                getattr(other, what)()


class Way:
    """One direction of a wire, over all its connections."""

    def __init__(self) -> None:
        self.is_cut = False
        self._kept: list[Callable[[], None]] = []

    def carry(self, to: End, data: bytes) -> None:
        """Deliver, or keep what was said while it is cut."""
        self._now_or_later(partial(to.say, data))

    def end(self, to: End) -> None:
        """Close; who is cut off does not hear of it either."""
        self._now_or_later(to.close)

    def mend(self) -> None:
        """Deliver what was kept; ends that were closed meanwhile hear nothing."""
        self.is_cut = False
        kept, self._kept = self._kept, []
        for deliver in kept:
            deliver()

    def _now_or_later(self, deliver: Callable[[], None]) -> None:
        if self.is_cut:
            self._kept.append(deliver)
        else:
            deliver()


@dataclass(frozen=True, slots=True)
class Ways:
    """Both directions of a wire."""

    request: Way = field(default_factory=Way)
    answer: Way = field(default_factory=Way)


class ServerEnd(End):
    """Towards the server."""

    def __init__(self, client: ClientEnd, tap: Tap, ways: Ways) -> None:
        super().__init__()
        self.other = client
        self._tap = tap
        self._ways = ways

    def data_received(self, data: bytes) -> None:
        """An answer."""
        if self._tap.answer(data) and self.other is not None:
            self._ways.answer.carry(self.other, data)

    def connection_lost(self, exc: Exception | None) -> None:
        """The end of one side is the end of both."""
        if self.other is not None:
            self._ways.answer.end(self.other)


class ClientEnd(End):
    """Towards the client; dials the server and keeps what comes before it is there."""

    def __init__(self, target: tuple[str, int], tap: Tap, ways: Ways) -> None:
        super().__init__()
        self._target = target
        self._tap = tap
        self._ways = ways
        self._early: list[bytes] = []
        self._dialling: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Dial."""
        super().connection_made(transport)
        self._dialling = asyncio.get_running_loop().create_task(self._dial())

    async def _dial(self) -> None:
        loop = asyncio.get_running_loop()
        server = ServerEnd(self, self._tap, self._ways)
        try:
            await loop.create_connection(lambda: server, *self._target)
        except OSError:
            self.close()
            return
        self.other = server
        for data in self._early:
            self._ways.request.carry(server, data)
        if self.transport is None or self.transport.is_closing():
            server.close()

    def data_received(self, data: bytes) -> None:
        """A request."""
        if not self._tap.request(data):
            return
        if self.other is None:
            self._early.append(data)
        else:
            self._ways.request.carry(self.other, data)

    def connection_lost(self, exc: Exception | None) -> None:
        """The end of one side is the end of both."""
        if self.other is not None:
            self._ways.request.end(self.other)


class Switchboard:
    """All wires and the one gun."""

    def __init__(self) -> None:
        self._gun = Gun(_tell)
        self._servers: list[asyncio.Server] = []
        self._wires: dict[str, Ways] = {}

    async def obey(self, command: dict[str, Any]) -> None:
        """Carry out one line of input."""
        if "wire" in command:
            await self._open(command)
        elif "aim" in command:
            facts = dict(command["aim"])
            self._gun.arm(Aim(**{**facts, "wires": tuple(facts["wires"])}))
        elif "disarm" in command:
            self._gun.disarm()
        elif "cut" in command:
            for name in command["cut"]:
                for way in command["ways"]:
                    getattr(self._wires[name], way).is_cut = True
            _tell({"cut": command["cut"]})
        elif "mend" in command:
            for ways in self._wires.values():
                ways.request.mend()
                ways.answer.mend()
        elif "usage" in command:
            used = resource.getrusage(resource.RUSAGE_SELF)
            _tell({"usage_s": used.ru_utime + used.ru_stime})

    async def _open(self, command: dict[str, Any]) -> None:
        name, make = command["wire"], TAPS[command["kind"]]
        target, ways = _address(command["target"]), self._wires.setdefault(name, Ways())
        server = await asyncio.get_running_loop().create_server(
            lambda: ClientEnd(target, make(name, self._gun), ways), *_address(command["listen"])
        )
        self._servers.append(server)
        host, port = server.sockets[0].getsockname()[:2]
        _tell({"wire": name, "listens": f"{host}:{port}"})


def _address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    return host, int(port)


def _tell(facts: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(facts) + "\n")
    sys.stdout.flush()


async def _main() -> None:
    loop = asyncio.get_running_loop()
    lines = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    board = Switchboard()
    while line := await lines.readline():
        await board.obey(json.loads(line))


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=loop_factory(LoopChoice.AUTO)) as runner:
        runner.run(_main())
