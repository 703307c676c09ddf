"""Server-sent events: one viewer's stream of pictures, resumable by Last-Event-ID.

An event's id is "{life}-{revision}": the collector's life and how much of its history the viewer
has. A viewer that comes back to the same life is sent what changed since; every other one all.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from starlette.types import Receive, Send

from timeball_server.console.collector import Collector

RETRY_MS: Final = 1_000
"""How long browsers wait before they come back."""
PATIENCE_S: Final = 20
"""A viewer that takes nothing for so long is let go."""
HEADERS: Final = (
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-store"),
    (b"x-content-type-options", b"nosniff"),
    (b"x-accel-buffering", b"no"),
)
_ID: Final = re.compile(r"([0-9]{1,20})-([0-9]{1,18})")


def resumed_at(last_event_id: str, life: int) -> int:
    """The revision that a viewer has already; 0 = nothing, also if the id is none of ours."""
    match = _ID.fullmatch(last_event_id)
    return int(match[2]) if match and int(match[1]) == life else 0


async def serve_stream(
    receive: Receive,
    send: Send,
    collector: Collector,
    *,
    life: int,
    last_event_id: str,
    still_allowed: Callable[[], bool],
    patience_s: float = PATIENCE_S,
) -> None:
    """Serve one viewer until it goes, may not see it any more, or the collector ends.

    Args:
        still_allowed: asked before each picture.
        patience_s: a viewer that takes nothing for so long is let go.

    Raises:
        ResourceExhausted: too many watch; nothing was sent.
    """
    with collector.watching():
        await send({"type": "http.response.start", "status": 200, "headers": list(HEADERS)})
        viewer = _Viewer(send, collector, life, still_allowed, patience_s)
        telling = asyncio.create_task(
            viewer.tell(resumed_at(last_event_id, life)), name="console: viewer"
        )
        going = asyncio.create_task(_until_gone(receive), name="console: viewer goes")
        try:
            await asyncio.wait((telling, going), return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (telling, going):
                task.cancel()
            await asyncio.wait((telling, going))
    with suppress(TimeoutError):  # its connection is cut with what it has not taken
        if not telling.cancelled():
            telling.result()


@dataclass(frozen=True, slots=True)
class _Viewer:
    """What one stream needs."""

    send: Send
    collector: Collector
    life: int
    still_allowed: Callable[[], bool]
    patience_s: float

    async def tell(self, revision: int) -> None:
        """Picture after picture, each time the newest."""
        await self._put(f"retry: {RETRY_MS}\n\n".encode())
        number = 0
        while self.still_allowed():
            frame = await self.collector.newer(number)
            if frame is None:
                break
            rows = self.collector.rows_after(revision)
            number, revision = frame.number, frame.revision
            await self._put(
                b'id: %d-%d\nevent: picture\ndata: {"picture":%b,"history":%b}\n\n'
                % (self.life, revision, frame.picture, rows)
            )
        await self._put(b"event: end\ndata: {}\n\n", more=False)

    async def _put(self, body: bytes, *, more: bool = True) -> None:
        async with asyncio.timeout(self.patience_s):
            await self.send({"type": "http.response.body", "body": body, "more_body": more})


async def _until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        continue
