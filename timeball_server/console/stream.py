"""Server-sent events: one viewer's stream of pictures, resumable by Last-Event-ID.

An event's id is "{life}-{revision}": the collector's life and how much of its history the viewer
has. A viewer that comes back to the same life is sent what changed since; every other one all.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from contextlib import suppress
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
) -> None:
    """Serve one viewer until it goes, may not see it any more, or the collector ends.

    Raises:
        ResourceExhausted: too many watch; nothing was sent.
    """
    with collector.watching():
        await send({"type": "http.response.start", "status": 200, "headers": list(HEADERS)})
        telling = asyncio.create_task(
            _tell(send, collector, life, resumed_at(last_event_id, life), still_allowed),
            name="console: viewer",
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


async def _tell(
    send: Send, collector: Collector, life: int, revision: int, still_allowed: Callable[[], bool]
) -> None:
    """Picture after picture, each time the newest."""
    await _send(send, f"retry: {RETRY_MS}\n\n".encode())
    number = 0
    while still_allowed():
        frame = await collector.newer(number)
        if frame is None:
            break
        number = frame.number
        data = b'{"picture":%b,"history":%b}' % (frame.picture, collector.rows_after(revision))
        revision = frame.revision
        await _send(send, b"id: %d-%d\nevent: picture\ndata: %b\n\n" % (life, revision, data))
    await _send(send, b"event: end\ndata: {}\n\n", more=False)


async def _send(send: Send, body: bytes, *, more: bool = True) -> None:
    async with asyncio.timeout(PATIENCE_S):
        await send({"type": "http.response.body", "body": body, "more_body": more})


async def _until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        continue
