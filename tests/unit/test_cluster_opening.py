"""A node that starts before the coordination service: patient once, with one line."""

from __future__ import annotations

import asyncio

import pytest
from timeball.errors import CoordinationUnavailable, FailedPrecondition

from tests.support.manual_clock import ManualClock
from timeball_server.cluster.opening import PAUSE_MS, PatientAtFirst
from timeball_server.coordination.local import LocalCoordinator
from timeball_server.ports.coordination import CoordinationSession

pytestmark = pytest.mark.asyncio
DEADLINE_MS = 5_000
NOBODY = "ZooKeeper at 127.0.0.1:2181 does not answer."


class Door:
    """Opens sessions once it has refused so many times."""

    def __init__(self, clock: ManualClock, refusals: int, error: Exception) -> None:
        self._service = LocalCoordinator(1, clock)
        self._left = refusals
        self._error = error
        self.knocks = 0

    async def __call__(self) -> CoordinationSession:
        self.knocks += 1
        if self._left > 0:
            self._left -= 1
            raise self._error
        return await self._service.connect(4_000)


async def test_the_first_session_is_waited_for_with_one_line() -> None:
    clock, said = ManualClock(), list[str]()
    door = Door(clock, 4, CoordinationUnavailable(NOBODY))
    opener = PatientAtFirst(door, clock, said.append, DEADLINE_MS)
    opening = asyncio.create_task(opener())
    await clock.pass_by(4 * PAUSE_MS, steps=4)
    assert (await opening).session_timeout_ms == 4_000
    assert door.knocks == 5
    assert said == [f"{NOBODY} Trying for up to 5 s."]


async def test_at_the_deadline_it_gives_up_with_the_address() -> None:
    clock = ManualClock()
    door = Door(clock, 1_000, CoordinationUnavailable(NOBODY))
    opening = asyncio.create_task(PatientAtFirst(door, clock, print, DEADLINE_MS)())
    await clock.pass_by(DEADLINE_MS, steps=DEADLINE_MS // PAUSE_MS)
    with pytest.raises(CoordinationUnavailable, match=r"127\.0\.0\.1:2181"):
        await opening
    assert door.knocks == DEADLINE_MS // PAUSE_MS


async def test_what_cannot_get_better_is_not_repeated() -> None:
    clock, said = ManualClock(), list[str]()
    door = Door(clock, 1, FailedPrecondition("another cluster"))
    with pytest.raises(FailedPrecondition):
        await PatientAtFirst(door, clock, said.append, DEADLINE_MS)()
    assert (door.knocks, said) == (1, [])


async def test_a_running_node_repeats_by_itself() -> None:
    clock, said = ManualClock(), list[str]()
    door = Door(clock, 0, CoordinationUnavailable(NOBODY))
    opener = PatientAtFirst(door, clock, said.append, DEADLINE_MS)
    await opener()
    door._left = 1
    with pytest.raises(CoordinationUnavailable):
        await opener()
    assert said == []
