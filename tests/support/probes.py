"""A client of another language as a process that does what a test tells it.

Each language has a small program, its probe, that reads orders and writes outcomes as JSON lines;
so one suite drives every client, like the suites of the ports drive every adapter.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from tests.support.dev_server import environment
from tests.support.polls import DEADLINE_S
from tools import other_clients

COMMANDS = {
    "go": (str(other_clients.GO_PROBE),),
    "typescript": ("node", str(other_clients.TYPESCRIPT_PROBE)),
}
LANGUAGES = tuple(COMMANDS)


@dataclass(frozen=True, slots=True)
class Seen:
    """A task as the client has it."""

    name: str
    state: str
    owner: str
    attempt: int
    due_ms: int
    etag: str


@dataclass(frozen=True, slots=True)
class Refusal:
    """An error as the client has it."""

    message: str
    reason: str = ""
    fields: list[str] | None = None
    metadata: dict[str, str] | None = None
    retry_after_ms: int = 0


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one order."""

    tasks: list[Seen] = field(default_factory=list)
    result: Any = None
    error: Refusal | None = None

    @property
    def task(self) -> Seen:
        """The one task of an outcome without error."""
        assert self.error is None, self.error
        (only,) = self.tasks
        return only

    @property
    def refusal(self) -> Refusal:
        """The error of an outcome that has one."""
        assert self.error is not None, self
        return self.error


class Probe:
    """Use `probe(language, address)`. One order at a time."""

    def __init__(self, process: asyncio.subprocess.Process, errors: Path) -> None:
        self._process = process
        self._errors = errors

    async def ask(self, verb: str, **order: object) -> Outcome:
        """Carry out one order; fails when the process says nothing or something unreadable."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(msgspec.json.encode({"verb": verb, **order}) + b"\n")
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            await self._process.stdin.drain()  # a probe that has ended says below what for
        line = await asyncio.wait_for(self._process.stdout.readline(), DEADLINE_S)
        assert line, f"the probe ended: {self._errors.read_text()}"
        return msgspec.json.decode(line, type=Outcome)

    async def create(self, handler: str, **order: object) -> Outcome:
        """Create a task; `arguments` are the handler's."""
        return await self.ask("create", handler=handler, **order)


@contextlib.asynccontextmanager
async def probe(language: str, address: str, work: Path, **variables: str) -> AsyncIterator[Probe]:
    """The language's client for this address, in a process that ends with the block."""
    log = work / f"{language}.err"
    with log.open("ab") as errors:
        process = await asyncio.create_subprocess_exec(
            *COMMANDS[language],
            env=environment(TIMEBALL_ADDRESS=address, **variables),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=errors,
        )
    try:
        yield Probe(process, log)
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.communicate()
