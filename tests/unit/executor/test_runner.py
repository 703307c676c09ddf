"""Handlers on a real loop: starts, results, failures, limits, cancellation, the start log."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
from timeball.context import Context, current
from timeball.errors import InvalidRequest
from timeball.outcomes import Cancelled, Fail, Retry, Snooze
from timeball.registry import Handler

from executor_node.runner import Runner
from executor_node.start_log import StartLog
from tests.support.executor_words import order, run_id
from timeball_server.core.limits import MAX_RESULT_BYTES
from timeball_server.core.messages import Beat, RunId, RunResult
from timeball_server.core.model import Failure
from timeball_server.ports.clock import Now

pytestmark = pytest.mark.asyncio
NOW_MS = 1_700_000_000_000
DEADLINE_S = 20


class SteppingClock:
    """One millisecond later at each reading."""

    def __init__(self) -> None:
        self.wall_ms = NOW_MS

    def now(self) -> Now:
        self.wall_ms += 1
        return Now(self.wall_ms, self.wall_ms)

    async def sleep_ms(self, duration_ms: float) -> None:
        raise AssertionError("the runner waits for nobody")


class Heard:
    """A RunListener that can be waited for."""

    def __init__(self) -> None:
        self.started: list[tuple[RunId, int]] = []
        self.ended: list[tuple[RunResult, bool]] = []
        self.beats: list[Beat] = []
        self.released = 0
        self._changed = asyncio.Event()

    def run_started(self, run: RunId, started_ms: int) -> None:
        self.started.append((run, started_ms))
        self._changed.set()

    def run_beat(self, beat: Beat) -> None:
        self.beats.append(beat)
        self._changed.set()

    def run_ended(self, result: RunResult, slot_held: bool) -> None:
        self.ended.append((result, slot_held))
        self._changed.set()

    def slot_released(self, handler: str) -> None:
        self.released += 1
        self._changed.set()

    async def until(self, reached: Callable[[], bool]) -> None:
        async with asyncio.timeout(DEADLINE_S):
            while not reached():
                self._changed.clear()
                await self._changed.wait()

    async def result(self, number: int = 1) -> RunResult:
        await self.until(lambda: len(self.ended) >= number)
        return self.ended[number - 1][0]

    async def failure(self) -> Failure:
        failure = (await self.result()).failure
        assert failure is not None
        return failure


def runner(heard: Heard, function: Callable[..., object], log: StartLog | None = None) -> Runner:
    return Runner(
        handlers={"echo": Handler("echo", function)},
        slots=4,
        clock=SteppingClock(),
        listener=heard,
        start_log=log,
    )


def sync_echo(text: str) -> str:
    return f"{text} {current().attempt} {threading.current_thread() is threading.main_thread()}"


async def async_echo(text: str) -> str:
    return sync_echo(text)


@pytest.mark.parametrize(("function", "on_the_loop"), [(sync_echo, False), (async_echo, True)])
async def test_a_handler_runs_and_its_result_is_reported(
    function: Callable[..., object], on_the_loop: bool
) -> None:
    heard = Heard()
    runner(heard, function).start([order(1, data=b'{"text":"tea"}')])
    result = await heard.result()
    assert result.result is not None
    assert result.result.data == f'"tea 1 {on_the_loop}"'.encode()
    assert heard.started == [(run_id(1), result.started_ms)]
    assert NOW_MS < result.started_ms < result.ended_ms
    assert (result.failure, heard.ended[0][1], heard.released) == (None, False, 0)


async def test_the_context_is_the_orders() -> None:
    heard = Heard()
    seen: list[Context] = []

    async def handler(ctx: Context) -> None:
        seen.append(ctx)
        assert current() is ctx

    runner(heard, handler).start([order(1, epoch=9, limit_ms=60_000, due_ms=5)])
    result = await heard.result()
    context = seen[0]
    assert (context.task_id, context.epoch, context.due_ms) == (run_id(1).task_id, 9, 5)
    assert (context.deadline_ms, context.owner) == (result.started_ms + 60_000, "clerk")


async def test_many_sync_handlers_run_side_by_side_and_report_once_each() -> None:
    heard = Heard()
    together = threading.Barrier(4, timeout=DEADLINE_S)

    def handler() -> int:
        return together.wait()

    live = runner(heard, handler)
    live.start(order(n) for n in range(4))
    await heard.until(lambda: len(heard.ended) == 4)
    results = sorted(r.result.data for r, _ in heard.ended if r.result is not None)
    assert (results, live.active) == ([b"0", b"1", b"2", b"3"], 0)
    live.start(order(n) for n in range(4, 8))
    await heard.until(lambda: len(heard.ended) == 8)
    live.close()


class Odd(Exception):
    def __str__(self) -> str:
        raise RuntimeError("cannot even say what is wrong")


class OddCode(grpc.RpcError):
    """An error of a call that cannot say how the call ended."""

    code: Any = 7


@pytest.mark.parametrize(
    ("error", "kind", "message", "retriable", "delay_ms"),
    [
        (OddCode("gone"), "OddCode", "gone", True, None),
        (ValueError("no such account"), "ValueError", "no such account", True, None),
        (Retry("busy", after="10s"), "Retry", "busy", True, 10_000),
        (Retry(), "Retry", "the handler asked for another attempt", True, None),
        (Fail("card declined", code="DECLINED"), "DECLINED", "card declined", False, None),
        (SystemExit(3), "SystemExit", "3", True, None),
        (Odd(), "Odd", "<exception str() failed>", True, None),
        (InvalidRequest("nested submit"), "InvalidRequest", "nested submit", True, None),
        (asyncio.CancelledError(), "CancelledError", "CancelledError", True, None),
        (KeyError(), "KeyError", "KeyError", True, None),
        (ValueError("x" * 9_999), "ValueError", "x" * 2_000, True, None),
    ],
)
@pytest.mark.parametrize("is_async", [False, True])
async def test_an_exception_becomes_a_failure(
    error: BaseException,
    kind: str,
    message: str,
    retriable: bool,
    delay_ms: int | None,
    is_async: bool,
) -> None:
    heard = Heard()

    def sync_handler() -> None:
        raise error.with_traceback(None)

    async def async_handler() -> None:
        raise error.with_traceback(None)

    runner(heard, async_handler if is_async else sync_handler).start([order(1)])
    failure = await heard.failure()
    assert (failure.kind, failure.message) == (kind, message)
    assert (failure.retriable, failure.delay_ms) == (retriable, delay_ms)
    assert "_handler" in failure.stack
    assert "executor_node" not in failure.stack


async def test_snooze_is_a_delay_that_does_not_count() -> None:
    until = datetime.fromtimestamp(NOW_MS / 1_000, UTC) + timedelta(minutes=1, microseconds=1)
    for snooze, delay_ms in ((Snooze(until=until), 60_001), (Snooze(after="5s"), 5_000)):
        heard = Heard()
        runner(heard, _raiser(snooze)).start([order(1)])
        result = await heard.result()
        assert result.failure is not None
        assert (result.uncounted, result.failure.kind) == (True, "SNOOZE")
        assert result.failure.delay_ms is not None
        assert delay_ms - 10 < result.failure.delay_ms <= delay_ms


def _raiser(error: Exception) -> Callable[[], Awaitable[None]]:
    async def handler() -> None:
        raise error

    return handler


async def test_a_snooze_into_the_past_is_at_once() -> None:
    heard = Heard()
    past = datetime(2020, 1, 1, tzinfo=UTC)
    runner(heard, _raiser(Snooze(until=past))).start([order(1)])
    assert (await heard.failure()).delay_ms == 0


async def test_bad_arguments_fail_for_good_and_nothing_is_called() -> None:
    heard = Heard()
    called = []

    async def handler(amount: int) -> None:
        called.append(amount)

    live = runner(heard, handler)
    live.start([order(1, data=b'{"amount":"5"}')])
    failure = await heard.failure()
    assert (failure.kind, failure.retriable) == ("INVALID_ARGUMENT", False)
    assert failure.message.startswith("$.amount: ")
    assert (called, heard.started, live.active) == ([], [], 0)


@pytest.mark.parametrize(
    ("value", "kind"),
    [(object(), "INVALID_RESULT"), ("x" * MAX_RESULT_BYTES, "RESULT_TOO_LARGE")],
)
async def test_a_result_that_cannot_travel_fails_for_good(value: object, kind: str) -> None:
    heard = Heard()
    runner(heard, lambda: value).start([order(1)])
    failure = await heard.failure()
    assert (failure.kind, failure.retriable) == (kind, False)


async def test_the_largest_result_travels() -> None:
    heard = Heard()
    runner(heard, lambda: "x" * (MAX_RESULT_BYTES - 2)).start([order(1)])
    result = (await heard.result()).result
    assert result is not None
    assert len(result.data) == MAX_RESULT_BYTES


# Giving up --------------------------------------------------------------------------------------


async def test_an_async_handler_over_its_limit_is_cancelled_and_times_out() -> None:
    heard = Heard()

    async def handler() -> None:
        await asyncio.Event().wait()

    live = runner(heard, handler)
    live.start([order(1, limit_ms=5)])
    failure = await heard.failure()
    assert (failure.kind, failure.retriable, heard.ended[0][1]) == ("TIMEOUT", True, True)
    await heard.until(lambda: heard.released == 1)
    assert (len(heard.ended), live.active) == (1, 0)


async def test_a_sync_handler_over_its_limit_holds_its_slot_until_it_returns() -> None:
    heard = Heard()

    def handler() -> str:
        assert current().cancelled_sync(DEADLINE_S)
        let_go.wait(DEADLINE_S)
        return "too late"

    let_go = threading.Event()
    live = runner(heard, handler)
    live.start([order(1, limit_ms=5)])
    assert (await heard.failure()).kind == "TIMEOUT"
    assert (heard.released, live.active) == (0, 1)
    let_go.set()
    await heard.until(lambda: heard.released == 1)
    assert (len(heard.ended), live.active) == (1, 0)


async def test_cancellation_is_cooperative() -> None:
    heard = Heard()

    async def handler() -> None:
        await current().cancelled()
        raise Cancelled

    live = runner(heard, handler)
    live.start([order(1)])
    await heard.until(lambda: len(heard.started) == 1)
    live.cancel(run_id(1), terminate=False)
    result = await heard.result()
    assert result.failure is not None
    assert (result.cancelled, result.failure.kind) == (True, "CANCELLED")
    assert (result.failure.retriable, heard.ended[0][1]) == (False, False)


async def test_a_handler_may_finish_in_spite_of_a_cancellation() -> None:
    heard = Heard()

    async def handler() -> str:
        await current().cancelled()
        return "done anyway"

    live = runner(heard, handler)
    live.start([order(1)])
    await heard.until(lambda: len(heard.started) == 1)
    live.cancel(run_id(1), terminate=False)
    result = await heard.result()
    assert (result.cancelled, result.failure) == (False, None)


async def test_termination_does_not_ask() -> None:
    heard = Heard()

    async def handler() -> str:
        try:
            await asyncio.Event().wait()
        finally:
            await let_go.wait()
        return "never"

    let_go = asyncio.Event()
    live = runner(heard, handler)
    live.start([order(1)])
    await heard.until(lambda: len(heard.started) == 1)
    live.cancel(run_id(1), terminate=True)
    live.cancel(run_id(1), terminate=True)
    live.cancel(run_id(2), terminate=True)
    result = await heard.result()
    assert (result.cancelled, heard.ended[0][1], live.active) == (True, True, 1)
    let_go.set()
    await heard.until(lambda: heard.released == 1)
    assert len(heard.ended) == 1


async def test_a_run_that_is_given_up_before_its_first_step_is_never_called() -> None:
    heard = Heard()
    called = []

    async def handler() -> None:
        called.append(current().task_id)

    live = runner(heard, handler)
    live.start([order(1)])
    live.interrupt_all()
    result = await heard.result()
    assert result.interrupted
    await heard.until(lambda: heard.released == 1)
    assert (called, heard.started, live.active) == ([], [], 0)


async def test_abandoned_runs_report_nothing_but_their_slot() -> None:
    heard = Heard()

    async def handler() -> None:
        await current().cancelled()

    live = runner(heard, handler)
    live.start([order(1)])
    await heard.until(lambda: len(heard.started) == 1)
    live.abandon_all()
    await heard.until(lambda: heard.released == 1)
    assert heard.ended == []
    live.close()
    live.close()


@contextmanager
def no_more_threads() -> Iterator[None]:
    """As a machine or a container at its limit of threads: nobody has so much room for a stack."""
    before = threading.stack_size(1 << 46)
    try:
        yield
    finally:
        threading.stack_size(before)


async def test_a_handler_for_which_there_is_no_thread_may_run_elsewhere() -> None:
    heard = Heard()
    live = runner(heard, sync_echo)
    with no_more_threads():
        live.start([order(number, data=b'{"text":"tea"}') for number in (1, 2)])
        await heard.result(2)
    told = {result.run: result for result, _ in heard.ended}
    assert told.keys() == {run_id(1), run_id(2)}
    for result in told.values():
        assert result.failure is not None
        assert (result.failure.kind, result.failure.retriable) == ("NO_THREAD", True)
        assert result.uncounted
    assert (heard.started, live.active) == ([], 0)
    live.start([order(number, data=b'{"text":"tea"}') for number in (3, 4, 5, 6)])
    await heard.until(lambda: len(heard.ended) == 6)
    assert [result.failure for result, _ in heard.ended[2:]] == [None] * 4
    live.close()


# The start log ----------------------------------------------------------------------------------


async def test_the_start_log_has_each_start_before_the_handler(tmp_path: Path) -> None:
    path = tmp_path / "starts.jsonl"
    log = StartLog(path)
    heard = Heard()

    def handler() -> str:
        return path.read_text()

    live = runner(heard, handler, log)
    live.start([order(1, epoch=3, priority=7, due_ms=42)])
    result = await heard.result()
    assert result.result is not None
    line = json.loads(json.loads(result.result.data))
    assert line == {
        "task_id": run_id(1).task_id,
        "attempt": 1,
        "epoch": 3,
        "due_ms": 42,
        "started_ms": result.started_ms,
        "handler": "echo",
        "priority": 7,
    }
    log.close()
    log.close()
    StartLog(path).write(order(2), 1)
    assert [json.loads(each)["started_ms"] for each in path.read_text().splitlines()] == [
        result.started_ms,
        1,
    ]


async def test_what_cannot_be_logged_does_not_begin(tmp_path: Path) -> None:
    log = StartLog(tmp_path / "starts.jsonl")
    log.close()
    heard = Heard()
    called: list[str] = []

    async def handler() -> None:
        called.append("called")

    runner(heard, handler, log).start([order(1)])
    assert ((await heard.failure()).kind, called) == ("OSError", [])
