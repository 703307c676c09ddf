"""How every long-lived part of a process starts and stops.

Owns the phases and the supervision of background tasks: a task that crashes is reported and
stops its service. Start happens once. Stop may come twice, at once, or before start; it always
ends with nothing running. Never decides what a service does.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from enum import StrEnum
from typing import Any, Final

import structlog
from timeball.errors import Draining, FailedPrecondition

log = structlog.stdlib.get_logger("lifecycle")
DRAIN_MS: Final = 10_000
"""How long a service may finish what it has begun before its tasks are cancelled."""


class Phase(StrEnum):
    """Where a service is in its life."""

    NEW = "NEW"
    STARTING = "STARTING"
    RUNNING = "RUNNING"
    STOPPING = "STOPPING"
    STOPPED = "STOPPED"


NEXT: Final[dict[Phase, frozenset[Phase]]] = {
    Phase.NEW: frozenset({Phase.STARTING, Phase.STOPPING}),
    Phase.STARTING: frozenset({Phase.RUNNING, Phase.STOPPING}),
    Phase.RUNNING: frozenset({Phase.STOPPING}),
    Phase.STOPPING: frozenset({Phase.STOPPED}),
    Phase.STOPPED: frozenset(),
}
"""Every legal step; what is not here is refused."""


class Service:
    """Base of everything that runs. Subclasses override `_begin`, `_drain` and `_end`.

    Attributes:
        failure: what stopped the service, None if it was asked to stop.
    """

    def __init__(self, name: str, *, drain_ms: int = DRAIN_MS) -> None:
        self.name = name
        self.failure: BaseException | None = None
        self._drain_ms = drain_ms
        self._phase = Phase.NEW
        self._beginning: asyncio.Task[None] | None = None
        self._stopping: asyncio.Task[None] | None = None
        self._tasks: dict[asyncio.Task[None], None] = {}
        self._stopped = asyncio.Event()

    @property
    def phase(self) -> Phase:
        """Where the service is in its life."""
        return self._phase

    async def start(self) -> None:
        """Start; returns when the service is ready.

        Raises:
            FailedPrecondition: it was started before.
            Draining: it was stopped before it was ready.
            Exception: whatever made starting fail; the service is then stopped.
        """
        if self._phase is not Phase.NEW:
            raise FailedPrecondition(f"{self.name} starts once; it is {self._phase} already")
        self._enter(Phase.STARTING)
        self._beginning = asyncio.create_task(self._begin(), name=f"{self.name}: begin")
        try:
            await asyncio.wait((self._beginning,))
            self._look_at_beginning(self._beginning)
        except BaseException as error:
            self.failure = self.failure or error
            await self.stop()
            raise
        self._enter(Phase.RUNNING)

    async def stop(self) -> None:
        """Drain, cancel the background tasks, end. Safe to repeat; all callers wait for the end."""
        stopping = self._begin_to_stop()
        if asyncio.current_task() not in self._tasks:
            await asyncio.shield(stopping)

    async def wait_stopped(self) -> None:
        """Return when the service has stopped.

        Raises:
            BaseException: the failure that stopped it.
        """
        await self._stopped.wait()
        if self.failure is not None:
            raise self.failure

    def spawn(self, name: str, main: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run a background task until it ends or the service stops; a crash stops the service."""
        task = asyncio.create_task(main, name=f"{self.name}: {name}")
        self._tasks[task] = None
        task.add_done_callback(self._look_at_ended)
        return task

    async def _begin(self) -> None:
        """Acquire and spawn what the service needs; when this returns it is ready."""

    async def _drain(self) -> None:
        """Take no more work and finish what was begun; background tasks still run."""

    async def _end(self) -> None:
        """Give back what was acquired; no background task runs any more."""

    def _enter(self, phase: Phase) -> None:
        """Step to a phase that the table allows."""
        if phase not in NEXT[self._phase]:
            raise FailedPrecondition(f"{self.name} cannot go from {self._phase} to {phase}")
        self._phase = phase

    def _look_at_beginning(self, beginning: asyncio.Task[None]) -> None:
        """Raise what made starting fail."""
        if self._phase is not Phase.STARTING:
            raise Draining(f"{self.name} was stopped before it was ready")
        beginning.result()

    def _look_at_ended(self, task: asyncio.Task[None]) -> None:
        """Report a crash and stop; a task that simply ended is forgotten."""
        self._tasks.pop(task, None)
        error = None if task.cancelled() else task.exception()
        if error is None:
            return
        log.error("a background task crashed", task=task.get_name(), exc_info=error)
        self.failure = self.failure or error
        self._begin_to_stop()

    def _begin_to_stop(self) -> asyncio.Task[None]:
        """The one task that stops the service."""
        if self._stopping is None:
            self._enter(Phase.STOPPING)
            self._stopping = asyncio.create_task(self._stop(), name=f"{self.name}: stop")
        return self._stopping

    async def _stop(self) -> None:
        """The one run of stopping."""
        try:
            await self._end_task(self._beginning)
            await self._drain_in_time()
            while self._tasks:  # those that are ended may have begun others meanwhile
                for task in reversed(tuple(self._tasks)):
                    await self._end_task(task)
                    self._tasks.pop(task, None)
            await self._end()
        except Exception as error:
            log.exception("stopping failed", service=self.name)
            self.failure = self.failure or error
        finally:
            self._enter(Phase.STOPPED)
            self._stopped.set()

    async def _drain_in_time(self) -> None:
        """Drain within the deadline; what is late or fails is reported, and stopping goes on."""
        try:
            async with asyncio.timeout(self._drain_ms / 1_000):
                await self._drain()
        except TimeoutError:
            log.warning("drain took too long", service=self.name, drain_ms=self._drain_ms)
        except Exception as error:
            log.exception("drain failed", service=self.name)
            self.failure = self.failure or error

    async def _end_task(self, task: asyncio.Task[None] | None) -> None:
        """Cancel and wait; how it ended is seen where tasks are looked at."""
        if task is not None and not task.done():
            task.cancel()
            await asyncio.wait((task,))


class ServiceGroup(Service):
    """Services that live together: started in order, stopped in reverse.

    When one of them fails the whole group stops, and that failure is the group's.
    """

    def __init__(self, name: str, services: Sequence[Service], *, drain_ms: int = DRAIN_MS) -> None:
        super().__init__(name, drain_ms=drain_ms)
        self._services = tuple(services)

    async def _begin(self) -> None:
        for service in self._services:
            await service.start()
            self.spawn(f"watch {service.name}", self._watch(service))

    async def _end(self) -> None:
        for service in reversed(self._services):
            await service.stop()

    async def _watch(self, service: Service) -> None:
        """A service that stops by itself takes the group along."""
        await service.wait_stopped()
        if self._stopping is None:
            raise Draining(f"{service.name} stopped, so {self.name} stops")
