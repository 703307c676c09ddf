"""An ordered, non-blocking pair of queues over one gRPC stream; both ends use it.

Owns the two tasks that read and write. What is said while a write is under way travels in the
next one, so a busy stream sends few large frames and an idle one sends at once.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Final, Generic, TypeVar

from google.protobuf.message import Message

_LOG = logging.getLogger(__name__)

In = TypeVar("In")
Out = TypeVar("Out")
Part = TypeVar("Part", bound=Message)
Frame = TypeVar("Frame")

MAX_QUEUED_MESSAGES: Final = 20_000
"""Messages that may wait to be written; more means that the peer is stuck: the stream ends."""
MAX_UNREAD_MESSAGES: Final = 10_000
"""Messages that may wait to be received; at this number reading pauses."""
MAX_FRAME_BYTES: Final = 2_097_152
"""Parts go into one frame up to this size; a single larger part is a frame of its own."""
PATIENCE_S: Final = 0.02
"""How long a patient message waits for another one to travel with."""
PACE_S: Final = 0.005
"""How old the last frame is when a paced message begins one: many travel together, one at once."""
EASY_PACE_S: Final = 0.02
"""The same when whoever hears of it has nothing to do before."""
FLUSH_S: Final = 1.0
"""How long a close may take to write what is queued."""


class Unreadable(ValueError):
    """A message says nothing that this version understands."""


class MessageStream(Generic[In, Out, Part, Frame]):
    """One end of a stream. Made inside a running loop; `start` once, `close` any number of times.

    Args:
        read: the next messages; None at the end; may raise when the stream breaks.
        write: sends one frame; may raise when the stream breaks.
        parts: translates a message to be sent into one part or several.
        frame: packs parts.
        broken: what `read` and `write` raise when the stream breaks.
        join: says the same as these messages, that are about to travel together, in fewer.
    """

    def __init__(
        self,
        *,
        read: Callable[[], Awaitable[Iterable[In] | None]],
        write: Callable[[Frame], Awaitable[None]],
        parts: Callable[[Out], Iterable[Part]],
        frame: Callable[[list[Part]], Frame],
        broken: tuple[type[BaseException], ...],
        join: Callable[[Sequence[Out]], Iterable[Out]] = tuple,
    ) -> None:
        self._read, self._write, self._parts, self._frame = read, write, parts, frame
        self._broken, self._join = broken, join
        self._unread: deque[In] = deque()
        self._unsent: deque[Out] = deque()
        self._cut: deque[Part] = deque()
        self._ended = False
        self._readable = asyncio.Event()
        self._room = asyncio.Event()
        self._sendable = asyncio.Event()
        self._waking: asyncio.TimerHandle | None = None
        self._waking_s = 0.0
        self._loop = asyncio.get_running_loop()
        self._framed_s = -EASY_PACE_S
        self._tasks: tuple[asyncio.Task[None], ...] = ()

    def start(self) -> None:
        """Begin to read and write."""
        loop = asyncio.get_running_loop()
        self._tasks = (loop.create_task(self._read_all()), loop.create_task(self._write_all()))

    def send(self, message: Out, *, patient: bool = False, pace_s: float = 0.0) -> None:
        """Queue a message in order, without waiting; dropped after the end.

        A patient message, that nobody waits for, travels with the next one or a little later:
        each frame of its own costs both ends more than all that it says. A paced one goes at once
        unless the last frame is younger than `pace_s`.
        """
        if self._ended:
            return
        self._unsent.append(message)
        if patient:
            self._wake_at(self._loop.time() + PATIENCE_S)
        elif pace_s:
            self._wake_at(self._framed_s + pace_s)
        else:
            self._sendable.set()
        if len(self._unsent) > MAX_QUEUED_MESSAGES:
            self._unsent.clear()
            self.end()

    async def receive(self) -> In | None:
        """The next message, None at the end. What was read before the end is still given."""
        while not self._unread:
            if self._ended:
                return None
            self._readable.clear()
            self._room.set()
            await self._readable.wait()
        return self._unread.popleft()

    def _wake_at(self, when_s: float) -> None:
        """Write at this instant of the loop's clock, or before it."""
        if when_s <= self._loop.time():
            self._sendable.set()
        elif self._waking is None or self._waking_s > when_s:
            if self._waking is not None:
                self._waking.cancel()
            self._waking, self._waking_s = self._loop.call_at(when_s, self._wake), when_s

    def _wake(self) -> None:
        self._waking = None
        self._sendable.set()

    def end(self) -> None:
        """Say that it is over: `receive` answers None, later sends are dropped."""
        self._ended = True
        if self._waking is not None:
            self._waking.cancel()
        self._readable.set()
        self._sendable.set()

    async def finish(self, cut: Callable[[], object] | None = None) -> None:
        """End, and write what is queued if that is quick. Safe to call twice.

        The reader is never cancelled, because grpc.aio leaks a cancelled read: it ends with its
        call, which `cut` cancels, or which ends by itself.
        """
        self.end()
        self._room.set()
        tasks, self._tasks = self._tasks, ()
        if not tasks:
            return
        reader, writer = tasks
        await asyncio.wait((writer,), timeout=FLUSH_S)
        writer.cancel()
        if cut is not None:
            cut()
            await asyncio.wait((reader,), timeout=FLUSH_S)

    async def _read_all(self) -> None:
        try:
            while (messages := await self._read()) is not None:
                self._unread.extend(messages)
                self._readable.set()
                while len(self._unread) >= MAX_UNREAD_MESSAGES and not self._ended:
                    self._room.clear()
                    await self._room.wait()
        except self._broken:
            return
        except Unreadable as error:
            _LOG.warning("the stream was ended, because it carried what cannot be read: %s", error)
        finally:
            self.end()

    async def _write_all(self) -> None:
        try:
            while True:
                while self._has_more():
                    self._framed_s = self._loop.time()
                    await self._write(self._next_frame())
                if self._ended:
                    return
                self._sendable.clear()
                await self._sendable.wait()
        except self._broken:
            return
        finally:
            self.end()

    def _has_more(self) -> bool:
        """Whether there is something to write; what waits travels in as few messages as it can."""
        if len(self._unsent) > 1:
            self._unsent = deque(self._join(self._unsent))
        return self._next_part()

    def _next_frame(self) -> Frame:
        """As many queued parts as fit; at least one."""
        packed: list[Part] = []
        size = 0
        while self._next_part():
            size += self._cut[0].ByteSize()
            if packed and size > MAX_FRAME_BYTES:
                break
            packed.append(self._cut.popleft())
        return self._frame(packed)

    def _next_part(self) -> bool:
        """Translate the next message if the last one has been sent; whether there is a part."""
        while not self._cut and self._unsent:
            self._cut.extend(self._parts(self._unsent.popleft()))
        return bool(self._cut)
