"""Threads for sync handlers, and the way back to the event loop.

The threads are daemons on purpose: a handler that ignores its cancellation must not keep the
process from ending, which the standard library's pool would.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable
from queue import SimpleQueue

Job = Callable[[], None]


class HandlerThreads:
    """Runs jobs in at most `limit` threads, made when first needed. Used from one thread."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._jobs: SimpleQueue[Job | None] = SimpleQueue()
        self._idle = threading.Semaphore(0)
        self._count = 0

    def submit(self, job: Job) -> None:
        """Run a job as soon as a thread is free. The job must not raise.

        Raises:
            RuntimeError: the system has no thread for it; it will not run.
        """
        if not self._idle.acquire(blocking=False) and self._count < self._limit:
            name = f"timeball-handler-{self._count + 1}"
            threading.Thread(target=self._work, name=name, daemon=True).start()
            self._count += 1
        self._jobs.put(job)

    def close(self) -> None:
        """Let each thread end once it is idle; does not wait. Safe to call twice."""
        for _ in range(self._count):
            self._jobs.put(None)
        self._count = 0

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            job()
            self._idle.release()


class LoopMail:
    """Calls back on the event loop from any thread, waking it once for many letters."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._letters: deque[Job] = deque()
        self._called = False

    def post(self, letter: Job) -> None:
        """Run this on the loop, in order of posting; dropped when the loop has ended."""
        self._letters.append(letter)
        if not self._called:
            self._called = True
            try:
                self._loop.call_soon_threadsafe(self._read)
            except RuntimeError:
                # The loop is closed: the process is ending and nobody is left to tell.
                self._letters.clear()

    def _read(self) -> None:
        # Cleared first: whatever is posted from now on wakes the loop again.
        self._called = False
        while self._letters:
            self._letters.popleft()()
