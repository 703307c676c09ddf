"""Start once, stop always: every order of the two, crashes, deadlines and groups."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from timeball.errors import Draining, FailedPrecondition

from tests.support.virtual_loop import VirtualLoop, run_virtual
from timeball_server.runtime.lifecycle import NEXT, Phase, Service, ServiceGroup


class Recorder(Service):
    """Writes down what happens to it."""

    def __init__(self, name: str, happened: list[str]) -> None:
        super().__init__(name, drain_ms=1_000)
        self.happened = happened
        self.begin_s = 0.0
        self.drain_s = 0.0
        self.broken: str | None = None

    def note(self, what: str) -> None:
        self.happened.append(f"{self.name} {what}")
        if self.broken == what:
            raise ValueError(what)

    async def _begin(self) -> None:
        await self.wait(self.begin_s)
        self.note("begin")
        self.spawn("tick", self._tick())

    async def _drain(self) -> None:
        self.note("drain")
        await self.wait(self.drain_s)

    async def _end(self) -> None:
        self.note("end")

    async def _tick(self) -> None:
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            self.note("tick cancelled")

    @staticmethod
    async def wait(seconds: float) -> None:
        woken = asyncio.Event()
        asyncio.get_running_loop().call_later(seconds, woken.set)
        await woken.wait()


def virtually(
    scenario: Callable[[Recorder], Coroutine[Any, Any, None]],
) -> Callable[[], None]:
    """A test that runs the scenario in virtual time, with one new service."""

    def test() -> None:
        async def main(_: VirtualLoop) -> None:
            await scenario(Recorder("a", []))

        run_virtual(main)

    test.__name__ = scenario.__name__
    return test


@virtually
async def test_a_life(service: Recorder) -> None:
    phases = [service.phase]
    await service.start()
    phases.append(service.phase)
    await service.stop()
    phases.append(service.phase)
    assert phases == [Phase.NEW, Phase.RUNNING, Phase.STOPPED]
    assert service.happened == ["a begin", "a drain", "a tick cancelled", "a end"]
    await service.wait_stopped()


@virtually
async def test_start_happens_once(service: Recorder) -> None:
    await service.start()
    with pytest.raises(FailedPrecondition):
        await service.start()
    assert service.phase is Phase.RUNNING
    await service.stop()
    with pytest.raises(FailedPrecondition):
        await service.start()


@virtually
async def test_stop_may_come_twice_and_at_once(service: Recorder) -> None:
    await service.start()
    service.drain_s = 0.5
    await asyncio.gather(service.stop(), service.stop())
    await service.stop()
    assert service.happened.count("a end") == 1


@virtually
async def test_stop_may_come_before_start(service: Recorder) -> None:
    await service.stop()
    assert service.phase is Phase.STOPPED
    assert "a begin" not in service.happened


@virtually
async def test_stop_may_come_during_start(service: Recorder) -> None:
    service.begin_s = 1
    starting = asyncio.ensure_future(service.start())
    await service.wait(0.5)
    await service.stop()
    with pytest.raises(Draining):
        await starting
    assert service.happened == ["a drain", "a end"]


@virtually
async def test_a_cancelled_start_leaves_nothing_running(service: Recorder) -> None:
    service.begin_s = 1
    starting = asyncio.ensure_future(service.start())
    await service.wait(0.5)
    starting.cancel()
    await asyncio.wait((starting,))
    assert starting.cancelled()
    assert service.phase is Phase.STOPPED


@virtually
async def test_a_cancelled_stop_goes_on(service: Recorder) -> None:
    await service.start()
    service.drain_s = 0.5
    stopping = asyncio.ensure_future(service.stop())
    await service.wait(0.1)
    stopping.cancel()
    await service.wait_stopped()
    assert "a end" in service.happened


@virtually
async def test_a_failed_start_stops_and_says_why(service: Recorder) -> None:
    service.broken = "begin"
    with pytest.raises(ValueError, match="begin"):
        await service.start()
    assert service.phase is Phase.STOPPED
    with pytest.raises(ValueError, match="begin"):
        await service.wait_stopped()


@virtually
async def test_a_crashed_task_stops_its_service(service: Recorder) -> None:
    await service.start()

    async def crash() -> None:
        await service.wait(0.1)
        raise LookupError("no such shard")

    service.spawn("crash", crash())
    with pytest.raises(LookupError):
        await service.wait_stopped()
    assert service.happened[-1] == "a end"


@virtually
async def test_a_task_that_ends_is_no_crash(service: Recorder) -> None:
    await service.start()
    await service.spawn("short", service.wait(0.1))
    await service.wait(0.1)
    assert service.phase is Phase.RUNNING
    await service.stop()


@virtually
async def test_a_task_may_stop_its_own_service(service: Recorder) -> None:
    await service.start()
    service.spawn("stopper", service.stop())
    await service.wait_stopped()
    assert service.failure is None


@virtually
async def test_what_is_begun_while_others_are_ended_is_ended_too(service: Recorder) -> None:
    """As a group commit does whose answer comes while its service stops."""
    begun: list[asyncio.Task[None]] = []

    async def last_words() -> None:
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            begun.append(service.spawn("more", service._tick()))

    await service.start()
    service.spawn("talkative", last_words())
    await service.wait(0.1)
    await service.stop()
    assert [task.done() for task in begun] == [True]
    assert service.happened[-1] == "a end"


@virtually
async def test_whoever_begins_more_all_the_time_is_ended_too(service: Recorder) -> None:
    async def busy() -> None:
        while True:
            service.spawn("more", service._tick())
            await service.wait(0.001)

    service.spawn("busy", busy())
    await service.start()
    await service.wait(0.1)
    async with asyncio.timeout(10):
        await service.stop()
    assert service.happened[-1] == "a end"


@virtually
async def test_a_drain_has_a_deadline(service: Recorder) -> None:
    await service.start()
    service.drain_s = 3_600
    began_s = asyncio.get_running_loop().time()
    await service.stop()
    assert asyncio.get_running_loop().time() - began_s == pytest.approx(1)
    assert service.happened[-1] == "a end"


@virtually
async def test_failures_while_stopping_do_not_stop_the_stopping(service: Recorder) -> None:
    await service.start()
    service.broken = "drain"
    await service.stop()
    assert service.happened[-1] == "a end"
    with pytest.raises(ValueError, match="drain"):
        await service.wait_stopped()


@virtually
async def test_a_group_starts_in_order_and_stops_in_reverse(service: Recorder) -> None:
    second = Recorder("b", service.happened)
    group = ServiceGroup("both", [service, second])
    await group.start()
    await group.stop()
    order = [each for each in service.happened if each.endswith(("begin", "end"))]
    assert order == ["a begin", "b begin", "b end", "a end"]


@virtually
async def test_a_group_that_cannot_start_stops_what_it_started(service: Recorder) -> None:
    second = Recorder("b", service.happened)
    second.broken = "begin"
    with pytest.raises(ValueError, match="begin"):
        await ServiceGroup("both", [service, second]).start()
    assert service.phase is second.phase is Phase.STOPPED


@virtually
async def test_a_failing_service_takes_its_group_along(service: Recorder) -> None:
    second = Recorder("b", service.happened)
    group = ServiceGroup("both", [service, second])
    await group.start()
    service.failure = LookupError("lost")
    await service.stop()
    with pytest.raises(LookupError):
        await group.wait_stopped()
    assert second.phase is Phase.STOPPED


@virtually
async def test_a_service_that_stops_by_itself_takes_its_group_along(service: Recorder) -> None:
    second = Recorder("b", service.happened)
    group = ServiceGroup("both", [service, second])
    await group.start()
    await second.stop()
    with pytest.raises(Draining):
        await group.wait_stopped()
    assert service.phase is Phase.STOPPED


def test_the_table_of_phases_ends_in_stopped_from_everywhere() -> None:
    assert set(NEXT) == set(Phase)
    for phase in Phase:
        reached = {phase}
        for _ in Phase:
            reached |= {after for each in reached for after in NEXT[each]}
        assert Phase.STOPPED in reached
        assert Phase.NEW not in reached - {phase}
