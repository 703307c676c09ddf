"""What the coordination suite needs of each adapter, and the worlds that give it.

An adapter joins the suite by a runner that tests/conformance/conftest.py knows; no test changes.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Protocol

from timeball.errors import CoordinationUnavailable

from tests.support.virtual_loop import VirtualClock, VirtualLoop, run_virtual
from timeball_server.coordination.local import Leg, LocalCoordinator, LocalSession
from timeball_server.ports.clock import Clock
from timeball_server.ports.coordination import CoordinationSession

SESSION_TIMEOUT_MS = 4_000
POLL_MS = 20
PATIENCE_MS = 30_000


class World(Protocol):
    """A coordination service and the faults that it can be given."""

    clock: Clock

    async def connect(self) -> CoordinationSession:
        """A new session with a timeout of SESSION_TIMEOUT_MS."""
        ...

    async def expire(self, session: CoordinationSession) -> None:
        """Let the service end a session; returns when it has."""
        ...

    async def cut(self, session: CoordinationSession) -> None:
        """Take a session's connection away; returns when it is SUSPENDED."""
        ...

    async def heal(self, session: CoordinationSession) -> None:
        """Give it back; the session then becomes CONNECTED or LOST by itself."""
        ...

    async def slow(self, session: CoordinationSession, answer_ms: int) -> None:
        """From now on answers to this session take so long."""
        ...


Scenario = Callable[[World], Coroutine[Any, Any, None]]
Runner = Callable[[Scenario], None]


class LocalWorld:
    """The in-process service in virtual time."""

    def __init__(self, loop: VirtualLoop) -> None:
        self.clock: Clock = VirtualClock(loop)
        self.service = LocalCoordinator(1_000, self.clock)
        self._answer_ms: dict[int, int] = {}

    async def connect(self) -> CoordinationSession:
        number = len(self._answer_ms)
        self._answer_ms[number] = 0

        async def delay(_: str, leg: Leg) -> None:
            if leg is Leg.ANSWER and self._answer_ms[number]:
                await self.clock.sleep_ms(self._answer_ms[number])

        return await self.service.connect(SESSION_TIMEOUT_MS, delay=delay)

    async def expire(self, session: CoordinationSession) -> None:
        self.service.expire(local(session))

    async def cut(self, session: CoordinationSession) -> None:
        local(session).cut()

    async def heal(self, session: CoordinationSession) -> None:
        local(session).heal()

    async def slow(self, session: CoordinationSession, answer_ms: int) -> None:
        self._answer_ms[local(session).number - 1] = answer_ms


def local(session: CoordinationSession) -> LocalSession:
    """The adapter's own type, for its faults."""
    assert isinstance(session, LocalSession)
    return session


def run_local(scenario: Scenario) -> None:
    """Run a scenario on the in-process service."""

    async def main(loop: VirtualLoop) -> None:
        await scenario(LocalWorld(loop))

    run_virtual(main)


async def eventually(world: World, check: Callable[[], Awaitable[bool]], hope: str) -> None:
    """Look again until it is true; fail with the hope after PATIENCE_MS.

    A look that is not answered is repeated: on a busy machine a connection breaks now and then.
    """
    deadline_mono_ms = world.clock.now().mono_ms + PATIENCE_MS

    async def look() -> bool:
        with contextlib.suppress(CoordinationUnavailable):
            return await check()
        return False

    while not await look():
        assert world.clock.now().mono_ms < deadline_mono_ms, f"never: {hope}"
        await world.clock.sleep_ms(POLL_MS)


def zookeeper_runner(address: str, make_loop: Callable[[], asyncio.AbstractEventLoop]) -> Runner:
    """Runs scenarios on a real server, in real time."""
    from tests.support.zookeeper_worlds import zookeeper_world

    async def main(scenario: Scenario) -> None:
        async with zookeeper_world(address) as world:
            await scenario(world)

    def run(scenario: Scenario) -> None:
        with asyncio.Runner(loop_factory=make_loop) as runner:
            runner.run(main(scenario))

    return run
