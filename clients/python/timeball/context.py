"""What a running handler can ask about itself, and say: ids, times, cancellation, heartbeats.

`current()` answers it anywhere below the handler, in coroutines and threads alike. A parameter
annotated with `Context` receives it too. Never reads a clock.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from timeball.heartbeats import Checkpoint, Heartbeat, heartbeat, unpacked
from timeball.outcomes import Cancelled

T = TypeVar("T")

_CURRENT: ContextVar[Context] = ContextVar("timeball.context")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LOGGER = logging.getLogger("timeball.handler")


class NoContext(LookupError):
    """`current()` was called outside of a running handler."""


class Cancellation:
    """A flag that is raised once, for coroutines and threads to look at or wait for."""

    __slots__ = ("_is_set", "_lock", "_loop", "_loop_event", "_thread_event")

    def __init__(self) -> None:
        self._is_set = False
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._loop_event: asyncio.Event | None = None
        self._thread_event: threading.Event | None = None

    @property
    def is_set(self) -> bool:
        """Whether cancellation was asked for."""
        return self._is_set

    def set(self) -> None:
        """Ask for cancellation. Safe to repeat, from any thread."""
        with self._lock:
            self._is_set = True
            loop, loop_event, thread_event = self._loop, self._loop_event, self._thread_event
        if thread_event is not None:
            thread_event.set()
        if loop is not None and loop_event is not None:
            loop.call_soon_threadsafe(loop_event.set)

    async def wait(self) -> None:
        """Return when cancellation is asked for."""
        with self._lock:
            if self._is_set:
                return
            if self._loop_event is None:
                self._loop, self._loop_event = asyncio.get_running_loop(), asyncio.Event()
            event = self._loop_event
        await event.wait()

    def wait_sync(self, timeout_s: float | None = None) -> bool:
        """Block until cancellation is asked for or the time is over; whether it was asked for."""
        with self._lock:
            if self._is_set:
                return True
            if self._thread_event is None:
                self._thread_event = threading.Event()
            event = self._thread_event
        return event.wait(timeout_s)


def _nobody_listens(beat: Heartbeat) -> None:
    """Where no executor runs the handler, heartbeats go nowhere."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """One attempt, as its handler sees it. Instants whose name ends in _ms are wall-clock ms.

    `deadline_ms` is when the attempt will be given up; None = no limit. `epoch` grows with every
    change of the task's scheduler node: a handler that writes elsewhere can fence with it.
    `heartbeat_ms` is the longest silence before the attempt is given up; None = no limit. `left` is
    the last checkpoint of the attempts before; `on_heartbeat` is told each sign of life.
    """

    task_id: str
    handler: str
    attempt: int
    epoch: int
    priority: int
    namespace: str
    owner: str
    due_ms: int
    started_ms: int
    nominal_ms: int | None = None
    deadline_ms: int | None = None
    heartbeat_ms: int | None = None
    left: Checkpoint | None = field(default=None, repr=False)
    cancellation: Cancellation = field(default_factory=Cancellation, repr=False, compare=False)
    on_heartbeat: Callable[[Heartbeat], None] = field(
        default=_nobody_listens, repr=False, compare=False
    )

    @property
    def occurrence_id(self) -> str:
        """The same for every attempt: the key with which to make side effects idempotent."""
        return self.task_id

    @property
    def due_time(self) -> datetime:
        """When this attempt was due, in UTC."""
        return _instant(self.due_ms)

    @property
    def nominal_time(self) -> datetime | None:
        """The schedule's own time for this occurrence; None if no schedule made the task."""
        return None if self.nominal_ms is None else _instant(self.nominal_ms)

    @property
    def deadline(self) -> datetime | None:
        """When the attempt will be given up."""
        return None if self.deadline_ms is None else _instant(self.deadline_ms)

    def heartbeat(
        self, progress: float | None = None, note: str = "", *, checkpoint: object = None
    ) -> None:
        """Say that this attempt lives, how far it is, and where another one could go on.

        Costs next to nothing and waits for nothing, so call it as often as you like, from any
        thread: what is said in quick succession goes out as one, the last. Never raises for a
        cancellation; ask `is_cancelled`.

        Args:
            progress: from 0 to 1.
            note: the same in a few words; 500 characters are kept.
            checkpoint: bytes, or a value with a JSON form, of 32 KiB at most; None = the one that
                was given before still holds. The next attempt finds it in `checkpoint`.

        Raises:
            InvalidRequest: the progress is out of range; the checkpoint is too big, or no JSON.
        """
        self.on_heartbeat(heartbeat(progress, note, checkpoint))

    @property
    def checkpoint(self) -> Any:
        """The last checkpoint of the attempts before, as it was given; None = there is none."""
        return None if self.left is None else unpacked(self.left, Any)

    def checkpoint_as(self, kind: type[T]) -> T | None:
        """The same as a `kind`, such as a dataclass.

        Raises:
            InvalidRequest: it is none; another version of the handler may have left it.
        """
        found: T | None = None if self.left is None else unpacked(self.left, kind)
        return found

    @property
    def is_cancelled(self) -> bool:
        """Whether cancellation was asked for, or the attempt was given up."""
        return self.cancellation.is_set

    def raise_if_cancelled(self) -> None:
        """End the attempt here if cancellation was asked for.

        Raises:
            Cancelled: it was; let it pass.
        """
        if self.cancellation.is_set:
            raise Cancelled

    async def cancelled(self) -> None:
        """Return when cancellation is asked for."""
        await self.cancellation.wait()

    def cancelled_sync(self, timeout_s: float | None = None) -> bool:
        """Block until cancellation is asked for or the time is over; whether it was asked for."""
        return self.cancellation.wait_sync(timeout_s)

    @property
    def logger(self) -> logging.LoggerAdapter[logging.Logger]:
        """A logger whose records name the task and the attempt."""
        facts = {"task_id": self.task_id, "attempt": self.attempt, "handler": self.handler}
        return logging.LoggerAdapter(_LOGGER, facts)


def current() -> Context:
    """The context of the handler that is running here.

    Raises:
        NoContext: no handler is running here.
    """
    try:
        return _CURRENT.get()
    except LookupError:
        raise NoContext(
            "timeball.current() works inside a running handler only; in a test wrap the call in "
            "timeball.context.running_as(Context(...))"
        ) from None


@contextmanager
def running_as(context: Context) -> Iterator[None]:
    """Make a context the current one: executors do it, and tests of handlers."""
    token = _CURRENT.set(context)
    try:
        yield
    finally:
        _CURRENT.reset(token)


def _instant(wall_ms: int) -> datetime:
    """Milliseconds since 1970 as a UTC datetime, exactly."""
    return _EPOCH + timedelta(milliseconds=wall_ms)
