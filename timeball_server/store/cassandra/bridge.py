"""Carries answers from the driver's threads to the event loop, a burst in one call.

A wake-up of the loop is a system call and a hand-over of the interpreter lock: it is paid once
for everything that arrived since the last one. Nothing here waits: no thread for another, and
the loop for none.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from threading import Lock
from typing import Any


@dataclass(slots=True)
class Call:
    """One request of the driver; each of its pages answers a future of its own."""

    answer: asyncio.Future[Any] = field(default_factory=asyncio.Future)

    def next_page(self) -> None:
        """Await another answer of the same request."""
        self.answer = asyncio.Future()


class Bridge:
    """Made on the loop; `arrived` and `failed` may be called from any thread."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._lock = Lock()
        self._waiting: list[tuple[asyncio.Future[Any], object, BaseException | None]] = []
        self._is_woken = False
        self.answers = 0
        self.wake_ups = 0
        self.undelivered = 0

    def arrived(self, rows: object, call: Call) -> None:
        """A page, or None for a statement without rows."""
        self._post(call.answer, rows, None)

    def failed(self, error: BaseException, call: Call) -> None:
        """What the driver says went wrong."""
        self._post(call.answer, None, error)

    def _post(self, answer: asyncio.Future[Any], rows: object, error: BaseException | None) -> None:
        with self._lock:
            self._waiting.append((answer, rows, error))
            if self._is_woken:
                return
            self._is_woken = True
        try:
            self._loop.call_soon_threadsafe(self._deliver)
        except RuntimeError:  # the loop has ended: nobody waits any more
            self.undelivered += 1

    def _deliver(self) -> None:
        with self._lock:
            burst, self._waiting = self._waiting, []
            self._is_woken = False
        self.wake_ups += 1
        self.answers += len(burst)
        for answer, rows, error in burst:
            if answer.done():  # its caller gave up
                continue
            if error is None:
                answer.set_result(rows)
            else:
                answer.set_exception(error)
