"""The executor's shell over in-memory streams: batches, replacement, membership, the end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from itertools import count

import pytest
import structlog
from timeball.context import current
from timeball.errors import (
    CoordinationUnavailable,
    Internal,
    PermissionDenied,
    TimeballError,
    Unavailable,
)
from timeball.registry import Handler

from executor_node.membership import SessionMemberships
from executor_node.node import ExecutorNode
from tests.support.executor_words import (
    EXECUTOR,
    StandingMemberships,
    acknowledge,
    dispatch,
    hello,
    member,
    order,
    run_id,
)
from timeball_server.coordination.local import LocalCoordinator
from timeball_server.core.ids import Incarnation
from timeball_server.core.messages import (
    CancelRun,
    Capacity,
    Finished,
    FromExecutor,
    RefusalReason,
    Refused,
    RunResult,
    Started,
    StreamHello,
    ToExecutor,
)
from timeball_server.ports.coordination import Member, Role
from timeball_server.runtime.clock import SystemClock

pytestmark = pytest.mark.asyncio
DEADLINE_S = 20


class Wire:
    """An ExecutorServer in memory, and the owner at its other end."""

    def __init__(self, node: ExecutorNode, words: StreamHello) -> None:
        self.heard: list[FromExecutor] = []
        self.closed = False
        self._letters: asyncio.Queue[ToExecutor | None] = asyncio.Queue()
        self._changed = asyncio.Event()
        self.serving = asyncio.create_task(node.serve(words, self))

    async def receive(self) -> ToExecutor | None:
        return await self._letters.get()

    def send(self, message: FromExecutor) -> None:
        self.heard.append(message)
        self._changed.set()

    def close(self) -> None:
        self.closed = True
        self._letters.put_nowait(None)

    def say(self, *messages: ToExecutor) -> None:
        for message in messages:
            self._letters.put_nowait(message)

    async def until(self, reached: Callable[[], bool]) -> None:
        async with asyncio.timeout(DEADLINE_S):
            while not reached():
                self._changed.clear()
                await self._changed.wait()

    def results(self) -> list[RunResult]:
        return [r for m in self.heard if isinstance(m, Finished) for r in m.results]

    def kinds(self) -> list[str]:
        return [type(message).__name__ for message in self.heard]


async def echo() -> str:
    return current().task_id


async def patient() -> str:
    await current().cancelled()
    return "stopped"


def executor(membership: StandingMemberships | None = None, slots: int = 8) -> ExecutorNode:
    return ExecutorNode(
        member=member(slots=slots),
        handlers={"echo": Handler("echo", echo), "patient": Handler("patient", patient)},
        memberships=membership or StandingMemberships(),
        clock=SystemClock(),
    )


async def joined(membership: StandingMemberships | None = None, slots: int = 8) -> ExecutorNode:
    node = executor(membership, slots)
    await node.join()
    return node


async def test_before_joining_every_stream_is_refused() -> None:
    node = executor()
    assert not node.is_serving
    with pytest.raises(Unavailable, match="not a member"):
        await Wire(node, hello(1)).serving
    await node.close()


async def test_it_joins_with_its_handlers_in_order() -> None:
    membership = StandingMemberships()
    node = await joined(membership)
    assert [m.handlers for m in membership.joined] == [("echo", "patient")]
    assert (node.member.incarnation, node.is_serving) == (EXECUTOR, True)
    await node.close()
    assert (membership.left, node.is_serving) == (True, False)


async def test_a_batch_is_answered_in_one_message_of_each_kind() -> None:
    node = await joined()
    wire = Wire(node, hello(1))
    wire.say(dispatch(*(order(n) for n in range(6))))
    await wire.until(lambda: len(wire.results()) == 6)
    assert wire.kinds().count("Started") == 1
    assert wire.kinds().count("Finished") == 1
    assert wire.kinds().index("Started") < wire.kinds().index("Finished")
    assert wire.heard[0] == Capacity(slots=8, free=8)
    await node.close()
    await wire.serving


async def test_r12_a_replaced_stream_is_closed_and_results_go_to_the_newer_one() -> None:
    node = await joined()
    former = Wire(node, hello(1))
    former.say(dispatch(order(1, handler="patient")))
    await former.until(lambda: "Started" in former.kinds())
    newer = Wire(node, hello(2))
    await former.serving
    assert former.closed
    newer.say(CancelRun(run_id(1), order(1).shard, order(1).epoch))
    await newer.until(lambda: bool(newer.results()))
    assert (former.results(), newer.kinds()[1]) == ([], "Started")
    await node.close()
    await newer.serving


async def test_a_broken_stream_loses_no_result() -> None:
    node = await joined()
    broken = Wire(node, hello(1))
    broken.say(dispatch(order(1), order(2)))
    await broken.until(lambda: len(broken.results()) == 2)
    broken.say(acknowledge(order(1)))
    broken.close()
    await broken.serving
    again = Wire(node, hello(2))
    await again.until(lambda: bool(again.results()))
    assert [r.run for r in again.results()] == [run_id(2)]
    await node.close()
    await again.serving


class StumblingWire(Wire):
    """Fails at the first result that it is given, and says nothing of it."""

    def send(self, message: FromExecutor) -> None:
        if isinstance(message, Finished) and not self.closed:
            raise RuntimeError("a fault of the transport")
        super().send(message)


async def test_a_stream_that_fails_at_a_message_is_ended_so_that_a_new_one_hears_of_it() -> None:
    node = await joined()
    told: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, facts: told.append(facts))
    stumbling = StumblingWire(node, hello(1))
    stumbling.say(dispatch(order(1)))
    await asyncio.wait_for(stumbling.serving, DEADLINE_S)
    assert (stumbling.closed, stumbling.results(), len(told)) == (True, [], 1)
    again = Wire(node, hello(2))
    await again.until(lambda: bool(again.results()))
    assert [r.run for r in again.results()] == [run_id(1)]
    await node.close()
    await again.serving


async def test_a_lost_membership_gives_everything_up_and_joins_anew() -> None:
    membership = StandingMemberships()
    node = await joined(membership)
    staying = asyncio.create_task(node.stay())
    wire = Wire(node, hello(1))
    wire.say(dispatch(order(1, handler="patient")))
    await wire.until(lambda: "Started" in wire.kinds())
    membership.lose()
    async with asyncio.timeout(DEADLINE_S):
        await wire.serving
    assert (wire.closed, wire.results()) == (True, [])
    newer = Wire(node, hello(2, executor=EXECUTOR + 1))
    await newer.until(lambda: bool(newer.heard))
    newer.say(dispatch(order(1), incarnation=EXECUTOR + 1))
    await newer.until(lambda: bool(newer.results()))
    assert [m.incarnation for m in membership.joined] == [EXECUTOR, EXECUTOR + 1]
    assert [r.run for r in newer.results()] == [run_id(1)]
    staying.cancel()
    await node.close()
    await newer.serving


async def test_draining_waits_for_handlers_and_then_for_acknowledgements() -> None:
    node = await joined(slots=1)
    wire = Wire(node, hello(1))
    wire.say(dispatch(order(1, handler="patient"), order(2)))
    await wire.until(lambda: "Started" in wire.kinds())
    draining = asyncio.create_task(node.drain(grace_ms=15_000, acknowledge_ms=15_000))
    await wire.until(lambda: "Refused" in wire.kinds())
    assert [m for m in wire.heard if isinstance(m, Refused)] == [
        Refused(((run_id(2), order(2).shard),), RefusalReason.DRAINING, order(2).epoch)
    ]
    wire.say(CancelRun(run_id(1), order(1).shard, order(1).epoch))
    await wire.until(lambda: bool(wire.results()))
    assert [r.interrupted for r in wire.results()] == [False]
    assert not draining.done()
    wire.say(acknowledge(order(1)))
    async with asyncio.timeout(DEADLINE_S):
        await draining
        await wire.serving


async def test_a_second_request_to_stop_hands_back_at_once() -> None:
    node = await joined()
    wire = Wire(node, hello(1))
    wire.say(dispatch(order(1, handler="patient")))
    await wire.until(lambda: "Started" in wire.kinds())
    draining = asyncio.create_task(node.drain(grace_ms=600_000, acknowledge_ms=5))
    await wire.until(lambda: wire.heard[-1] == Capacity(slots=8, free=7, draining=True))
    node.hand_back_now()
    async with asyncio.timeout(DEADLINE_S):
        await draining
    assert [(r.run, r.interrupted) for r in wire.results()] == [(run_id(1), True)]
    assert [m for m in wire.heard if isinstance(m, Started)] != []
    await wire.serving


class Flickering(StandingMemberships):
    """Joining fails the second time."""

    def __init__(self, refusal: TimeballError) -> None:
        super().__init__()
        self._refusal = refusal
        self.again = asyncio.Event()
        self._attempts = count(1)

    async def join(self, newcomer: Member) -> Incarnation:
        attempt = next(self._attempts)
        if attempt == 2:
            raise self._refusal
        if attempt > 2:
            self.again.set()
        return await super().join(newcomer)


class ImpatientClock(SystemClock):
    async def sleep_ms(self, duration_ms: float) -> None:
        await super().sleep_ms(0)


@pytest.mark.parametrize(
    "refusal",
    [
        CoordinationUnavailable("not now"),
        Internal("a proxy was restarted in the middle of it"),
        PermissionDenied("the key is not known here yet"),
    ],
)
async def test_joining_anew_is_tried_until_it_succeeds(refusal: TimeballError) -> None:
    membership = Flickering(refusal)
    node = ExecutorNode(
        member=member(), handlers={}, memberships=membership, clock=ImpatientClock()
    )
    await node.join()
    staying = asyncio.create_task(node.stay())
    membership.lose()
    again = asyncio.create_task(membership.again.wait())
    async with asyncio.timeout(DEADLINE_S):
        await asyncio.wait((staying, again), return_when=asyncio.FIRST_COMPLETED)
    assert not staying.done()
    assert [m.incarnation for m in membership.joined] == [EXECUTOR, EXECUTOR + 1]
    staying.cancel()
    await node.close()


async def test_who_is_refused_before_being_a_member_hears_why() -> None:
    membership = Flickering(PermissionDenied("no such key"))
    await membership.join(member())
    node = ExecutorNode(
        member=member(), handlers={}, memberships=membership, clock=ImpatientClock()
    )
    with pytest.raises(PermissionDenied):
        await node.join_patiently()
    await node.close()


class Reluctant(StandingMemberships):
    """Joining fails for these reasons, one after another."""

    def __init__(self, *reasons: str) -> None:
        super().__init__()
        self._reasons = list(reasons)

    async def join(self, newcomer: Member) -> Incarnation:
        if self._reasons:
            raise CoordinationUnavailable(self._reasons.pop(0))
        return await super().join(newcomer)


async def test_why_it_cannot_join_is_said_once_and_then_that_it_has() -> None:
    membership = Reluctant("nobody there", "nobody there", "nobody there", "too slow", "too slow")
    node = ExecutorNode(
        member=member(), handlers={}, memberships=membership, clock=ImpatientClock()
    )
    with structlog.testing.capture_logs() as logs:
        await node.join_patiently()
    assert [(line["event"].partition(",")[0], line.get("reason")) for line in logs] == [
        ("cannot join yet", "nobody there"),
        ("cannot join yet", "too slow"),
        ("joined", None),
    ]
    await node.close()


async def test_a_session_makes_a_member_and_its_end_is_noticed() -> None:
    service = LocalCoordinator(100, SystemClock())
    membership = SessionMemberships(lambda: service.connect(10_000))
    first = await membership.join(member())
    observer = await service.connect(10_000)
    (known,) = await observer.members(Role.EXECUTOR)
    assert (known.node, known.incarnation) == ("x1", first)
    second = await membership.join(member())
    assert second > first
    lost = asyncio.create_task(membership.lost())
    await membership.leave()
    await membership.leave()
    async with asyncio.timeout(DEADLINE_S):
        await lost
    assert await observer.members(Role.EXECUTOR) == ()
    await service.close()
