"""Handlers that do in each attempt what their task's steps say: take time, fail, name a delay.

What they are told by is in the payload, so that no draw of anybody else decides it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import timedelta
from typing import Final, Protocol

import grpc
import msgspec
from timeball.context import Context
from timeball.outcomes import Fail, Retry
from timeball.registry import Handler

from tests.support.virtual_loop import VirtualClock

BOUNDED: Final = "sim.bounded"
RATED: Final = "sim.rated"
SLOWED: Final = "sim.slowed"
CAPPED: Final = "sim.capped"
NOBODY: Final = "sim.nobody"
"""A handler that no executor has."""
CAPS: Final[Mapping[str, int]] = {CAPPED: 2}
"""Attempts at once on one executor."""
SILENT_MS: Final = 60_000


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """One attempt. The last step is that of all further ones.

    Attributes:
        does: `ok`; `fail` raises; `after` asks for the next attempt in `wait_ms`; `final` says that
            there should be none; `refused` raises what no other attempt can mend; `silent` says
            nothing for a minute.
    """

    does: str = "ok"
    work_ms: int = 20
    wait_ms: int = 0


class Refused(grpc.RpcError):
    """What a service that a handler calls answers."""

    def code(self) -> grpc.StatusCode:
        """As calls of gRPC have it."""
        return grpc.StatusCode.NOT_FOUND


class Told(Protocol):
    """Who is told of handlers from inside."""

    def began(self, context: Context, mark: str, version: str) -> None:
        """A handler begins."""

    def ended(
        self, context: Context, ok: bool, *, final: bool = False, wait_us: int | None = None
    ) -> None:
        """A handler ended."""

    def left(self, context: Context) -> None:
        """A handler was made to end."""


def bounded_handlers(sink: Told, clock: VirtualClock) -> dict[str, Handler]:
    """The handlers of one executor process."""

    async def follow(context: Context, mark: str, steps: list[Step]) -> int:
        sink.began(context, mark, "")
        step = steps[min(context.attempt, len(steps)) - 1]
        try:
            await clock.sleep_ms(SILENT_MS if step.does == "silent" else step.work_ms)
        except asyncio.CancelledError:
            sink.left(context)
            sink.ended(context, False)
            raise
        named = step.does == "after"
        sink.ended(
            context,
            step.does in ("ok", "silent"),
            final=step.does in ("final", "refused"),
            wait_us=step.wait_ms * 1_000 if named else None,
        )
        if named:
            raise Retry("the script says when", after=timedelta(milliseconds=step.wait_ms))
        if step.does == "final":
            raise Fail("the script says never", code="FATAL")
        if step.does == "refused":
            raise Refused("the script says that it is not there")
        if step.does == "fail":
            raise ValueError("the script says so")
        return context.attempt

    names = (BOUNDED, RATED, SLOWED, CAPPED)
    return {name: Handler(name, follow, max_concurrent=CAPS.get(name)) for name in names}
