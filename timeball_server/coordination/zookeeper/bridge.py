"""The way from the client's threads to the event loop: in order, many calls in one wake-up.

Never runs our code on a foreign thread, and never blocks one.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable

Call = Callable[[], None]


class Bridge:
    """Calls posted by any thread run on the loop, in the order of posting."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._calls: deque[Call] = deque()
        self._lock = threading.Lock()
        self._is_waking = False

    def post(self, call: Call) -> None:
        """Run it on the loop soon; nothing happens when the loop is closed."""
        with self._lock:
            self._calls.append(call)
            if self._is_waking:
                return
            self._is_waking = True
        try:
            self._loop.call_soon_threadsafe(self._drain)
        except RuntimeError:
            # The loop is closed: nobody is left who could want to know.
            self._calls.clear()

    def _drain(self) -> None:
        """Run everything posted until now."""
        with self._lock:
            self._is_waking = False
            calls, self._calls = self._calls, deque()
        for call in calls:
            call()
