"""Runs of keys on an executor: over is what has returned, in any life of the process."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from dataclasses import replace

import pytest
import pytest_asyncio
from timeball.context import Cancellation, Context
from timeball.registry import Handler

from executor_node.runner import Runner
from tests.support.executor_words import dispatch, hello, order, run_id
from timeball_server.core import executor_runs as xr
from timeball_server.core.executor_state import ExecutorState
from timeball_server.core.ids import Epoch, Incarnation, NodeId, ShardId
from timeball_server.core.messages import (
    Fence,
    Finished,
    Inventory,
    RunId,
    RunOrder,
    RunPhase,
    RunResult,
)
from timeball_server.runtime.clock import SystemClock

pytestmark = pytest.mark.asyncio
DEADLINE_S = 20


def keyed(number: int, handler: str, limit_ms: int | None = None) -> RunOrder:
    return replace(order(number, handler=handler, limit_ms=limit_ms), concurrency_key="customer/7")


class Heard:
    """A RunListener that keeps what it was told."""

    def __init__(self) -> None:
        self.began: list[RunId] = []
        self.ended: list[tuple[RunResult, bool]] = []
        self._changed = asyncio.Event()

    def run_started(self, run: RunId, started_ms: int) -> None:
        self.began.append(run)
        self._changed.set()

    def run_ended(self, result: RunResult, slot_held: bool) -> None:
        self.ended.append((result, slot_held))
        self._changed.set()

    def run_beat(self, *said: object) -> None:
        self._changed.set()

    def slot_released(self, handler: str) -> None:
        raise AssertionError("a run with a key gives its slot back with its report")

    async def until(self, reached: Callable[[], bool]) -> None:
        async with asyncio.timeout(DEADLINE_S):
            while not reached():
                self._changed.clear()
                await self._changed.wait()


class Bench:
    """A runner with a sync handler that returns when it is let go."""

    def __init__(self) -> None:
        self.heard = Heard()
        self.let_go = threading.Event()

        self._asked: list[Cancellation] = []
        self._called = threading.Event()

        def stubborn(context: Context) -> None:
            self._asked.append(context.cancellation)
            self._called.set()
            self.let_go.wait(DEADLINE_S)

        self.runner = Runner(
            handlers={"stubborn": Handler("stubborn", stubborn)},
            slots=2,
            clock=SystemClock(),
            listener=self.heard,
        )

    async def asked_to_stop(self) -> None:
        """Return once the handler has been asked to."""
        await asyncio.to_thread(self._called.wait, DEADLINE_S)
        async with asyncio.timeout(DEADLINE_S):
            await self._asked[0].wait()


@pytest_asyncio.fixture
async def bench() -> AsyncIterator[Bench]:
    made = Bench()
    yield made
    made.let_go.set()
    made.runner.close()


@pytest.mark.parametrize("how", ["time-out", "terminate", "interrupt"])
async def test_who_was_given_up_is_reported_when_the_handler_has_returned(
    bench: Bench, how: str
) -> None:
    bench.runner.start([keyed(1, "stubborn", limit_ms=1 if how == "time-out" else None)])
    await bench.heard.until(lambda: bool(bench.heard.began))
    if how == "terminate":
        bench.runner.cancel(run_id(1), terminate=True)
    elif how == "interrupt":
        bench.runner.interrupt_all()
    else:
        await bench.asked_to_stop()
    await asyncio.sleep(0)  # noqa: TID251 - a yield, not a wait
    assert (bench.heard.ended, bench.runner.active) == ([], 1)
    bench.let_go.set()
    await bench.heard.until(lambda: bool(bench.heard.ended))
    ((result, slot_held),) = bench.heard.ended
    assert not slot_held
    if how == "time-out":
        assert result.failure is not None
        assert result.failure.kind == "TIMEOUT"
    else:
        assert result.cancelled or result.interrupted


async def test_the_next_life_of_the_process_knows_what_still_runs(bench: Bench) -> None:
    bench.runner.start([keyed(1, "stubborn")])
    await bench.heard.until(lambda: bool(bench.heard.began))
    bench.runner.abandon_all()
    former = bench.runner.former
    assert former[run_id(1)].phase is RunPhase.RUNNING
    state = ExecutorState(
        incarnation=Incarnation(501),
        slots=2,
        handlers=["stubborn"],
        held=bench.runner.active,
        former=former,
    )
    state.open_stream(hello(executor=501))
    stream = xr.StreamKey(NodeId("s1"), Incarnation(7), 1)
    (inventory,) = (
        effect.message
        for effect in state.receive(stream, Fence(1, ((ShardId(3), Epoch(9)),)))
        if isinstance(effect, xr.Send) and isinstance(effect.message, Inventory)
    )
    (entry,) = inventory.entries
    assert (entry.namespace, entry.concurrency_key) == ("default", "customer/7")
    assert state.capacity().free == 1
    bench.let_go.set()
    await bench.heard.until(lambda: bool(bench.heard.ended))
    ((result, slot_held),) = bench.heard.ended
    assert result.interrupted
    state.ended(result, slot_held=slot_held)
    said = [effect.message for effect in state.flush() if isinstance(effect, xr.Send)]
    assert any(isinstance(each, Finished) for each in said)
    assert state.capacity().free == 2


async def test_an_inventory_names_the_keys_of_what_was_accepted() -> None:
    state = ExecutorState(incarnation=Incarnation(500), slots=2, handlers=["echo"])
    state.open_stream(hello())
    stream = xr.StreamKey(NodeId("s1"), Incarnation(7), 1)
    state.receive(stream, dispatch(keyed(1, "echo"), order(2)))
    effects = state.receive(stream, Fence(1, ((ShardId(3), Epoch(9)),)))
    (inventory,) = (
        each.message
        for each in effects
        if isinstance(each, xr.Send) and isinstance(each.message, Inventory)
    )
    keys = {entry.run: (entry.namespace, entry.concurrency_key) for entry in inventory.entries}
    assert keys == {run_id(1): ("default", "customer/7"), run_id(2): ("", "")}
