"""Signs of life on their way out: few by run, together over runs, the last one always."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from dataclasses import dataclass

import pytest
from timeball.context import Context, current
from timeball.errors import InvalidRequest
from timeball.heartbeats import MAX_CHECKPOINT_BYTES, MAX_NOTE_CHARACTERS, Heartbeat
from timeball.registry import Handler

from executor_node.outcomes import SILENT
from executor_node.pulses import APART_S, LONGEST_APART_S
from executor_node.runner import Runner
from tests.support.executor_words import EXECUTOR, dispatch, hello, order, result, run_id
from tests.support.virtual_loop import VirtualClock, VirtualLoop, run_virtual
from timeball_server.core import limits
from timeball_server.core.executor_runs import CancelHandler, Effect, Send, StreamKey
from timeball_server.core.executor_state import ExecutorState
from timeball_server.core.ids import Epoch, ShardId
from timeball_server.core.messages import (
    Beat,
    Beats,
    CancelRun,
    Fence,
    Finished,
    RunId,
    RunOrder,
    RunResult,
)
from timeball_server.core.model import Failure, Payload
from timeball_server.runtime.clock import SystemClock

LEFT = Payload(data=b'{"row":7}')
NEWER = Payload(data=b'{"row":8}')


async def pause(seconds: float) -> None:
    """Let virtual time pass."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualLoop)
    await VirtualClock(loop).sleep_ms(1_000 * seconds)


class Heard:
    """A RunListener that notes what it hears and when, in seconds of the loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self.beats: list[tuple[float, Beat]] = []
        self.order: list[str] = []
        self.results: list[RunResult] = []
        self.ended = asyncio.Event()

    def run_started(self, run: RunId, started_ms: int) -> None:
        self.order.append("started")

    def run_beat(self, beat: Beat) -> None:
        self.order.append("beat")
        self.beats.append((round(self._loop.time(), 3), beat))

    def run_ended(self, result: RunResult, slot_held: bool) -> None:
        self.order.append("ended")
        self.results.append(result)
        self.ended.set()

    def slot_released(self, handler: str) -> None:
        self.order.append("released")

    @property
    def times(self) -> list[float]:
        return [at_s for at_s, _ in self.beats]


@dataclass
class Bench:
    """A runner in virtual time and who listens to it."""

    runner: Runner
    heard: Heard


def in_virtual_time(
    function: Callable[..., object], play: Callable[[Bench], Coroutine[object, object, None]]
) -> Heard:
    async def main(loop: VirtualLoop) -> Heard:
        heard = Heard(loop)
        runner = Runner(
            handlers={"echo": Handler("echo", function)},
            slots=8,
            clock=VirtualClock(loop),
            listener=heard,
        )
        await play(Bench(runner, heard))
        runner.close()
        await pause(0.001)
        return heard

    return run_virtual(main)


async def chatter(ctx: Context, every_ms: int, times: int) -> None:
    """A handler that speaks at a steady pace."""
    for number in range(times):
        ctx.heartbeat(number / times, f"{number}")
        await pause(every_ms / 1_000)


def plays(*orders: RunOrder, until_s: float) -> Callable[[Bench], Coroutine[object, object, None]]:
    async def play(bench: Bench) -> None:
        bench.runner.start(orders)
        await pause(until_s)

    return play


TEN_A_SECOND = b'{"every_ms":100,"times":50}'


@pytest.mark.parametrize(
    ("heartbeat_ms", "times"),
    [
        (1_000, [0.0, 0.8, 1.6, 2.4, 3.2, 4.0, 4.8]),
        (2_000, [0.0, 1.6, 3.2, 4.8]),
        (None, [0.0, APART_S]),
    ],
)
def test_signs_of_life_are_four_fifths_of_the_timeout_apart(
    heartbeat_ms: int | None, times: list[float]
) -> None:
    talkative = order(1, data=TEN_A_SECOND, heartbeat_ms=heartbeat_ms)
    heard = in_virtual_time(chatter, plays(talkative, until_s=4.95))
    assert heard.times == pytest.approx([each for each in times if each < 4.95], abs=0.11)


def test_signs_of_life_are_never_far_apart() -> None:
    talkative = order(1, data=b'{"every_ms":1000,"times":99}', heartbeat_ms=3_600_000)
    heard = in_virtual_time(chatter, plays(talkative, until_s=65))
    assert heard.times == pytest.approx([0, LONGEST_APART_S, 2 * LONGEST_APART_S], abs=0.2)


def test_the_last_word_goes_out_before_the_result() -> None:
    async def handler(ctx: Context) -> None:
        for number in range(5):
            ctx.heartbeat(note=str(number), checkpoint={"row": 7} if number == 1 else None)
            await pause(0)
        raise ConnectionError("gone")

    heard = in_virtual_time(handler, plays(order(1, heartbeat_ms=60_000), until_s=1))
    assert heard.order == ["started", "beat", "beat", "ended"]
    last = heard.beats[-1][1]
    assert (last.note, last.checkpoint) == ("4", LEFT)


def test_runs_that_speak_about_the_same_time_are_heard_in_one_step() -> None:
    orders = [
        order(number, data=TEN_A_SECOND, heartbeat_ms=1_000 + 5 * number) for number in range(8)
    ]
    heard = in_virtual_time(chatter, plays(*orders, until_s=0.95))
    assert len(heard.times) == 16
    assert len(set(heard.times[8:])) <= 2


def test_a_silent_handler_is_given_up_when_it_is_asked_about_and_not_before() -> None:
    async def handler(ctx: Context) -> None:
        await pause(0.5)
        ctx.heartbeat()
        await pause(3_600)

    async def play(bench: Bench) -> None:
        bench.runner.start([order(1, heartbeat_ms=1_000)])
        await pause(1.4)
        bench.runner.give_up_silent(run_id(1))
        assert not bench.heard.results
        await pause(0.2)
        bench.runner.give_up_silent(run_id(1))

    heard = in_virtual_time(handler, play)
    assert heard.results[0].failure == SILENT.failure
    assert SILENT.failure is not None
    assert (SILENT.failure.kind, SILENT.failure.retriable) == ("HEARTBEAT_TIMEOUT", True)
    assert heard.order[-1] == "released"


def test_who_is_asked_about_says_at_once_what_it_kept_back() -> None:
    async def handler(ctx: Context) -> None:
        ctx.heartbeat(note="first")
        await pause(0.1)
        ctx.heartbeat(note="second")
        await pause(3_600)

    async def play(bench: Bench) -> None:
        bench.runner.start([order(1, heartbeat_ms=10_000)])
        await pause(0.2)
        bench.runner.give_up_silent(run_id(1))
        assert [beat.note for _, beat in bench.heard.beats] == ["first", "second"]
        assert not bench.heard.results

    in_virtual_time(handler, play)


def test_a_run_that_is_not_here_or_has_no_timeout_is_not_given_up() -> None:
    async def handler() -> None:
        await pause(3_600)

    async def play(bench: Bench) -> None:
        bench.runner.start([order(1)])
        await pause(3_000)
        bench.runner.give_up_silent(run_id(1))
        bench.runner.give_up_silent(run_id(2))
        assert not bench.heard.results

    in_virtual_time(handler, play)


@pytest.mark.asyncio
async def test_a_handler_in_a_thread_speaks_as_well() -> None:
    heard = Heard(asyncio.get_running_loop())

    def handler() -> bytes:
        context = current()
        others = threading.Thread(target=context.heartbeat, kwargs={"note": "of another thread"})
        others.start()
        others.join()
        return str(context.checkpoint).encode()

    runner = Runner(
        handlers={"echo": Handler("echo", handler)},
        slots=1,
        clock=SystemClock(),
        listener=heard,
    )
    runner.start([order(1, heartbeat_ms=60_000, checkpoint=Payload(data=b"[1,2]"))])
    async with asyncio.timeout(20):
        await heard.ended.wait()
    runner.close()
    assert [beat.note for _, beat in heard.beats] == ["of another thread"]
    assert heard.order == ["started", "beat", "ended"]


# What the handler may say -------------------------------------------------------------------------


@dataclass
class Row:
    row: int


def context(said: list[Heartbeat], **values: object) -> Context:
    words = {"task_id": "t", "handler": "h", "attempt": 2, "epoch": 1, "priority": 4}
    times = {"namespace": "n", "owner": "o", "due_ms": 1, "started_ms": 1}
    return Context(**words, **times, on_heartbeat=said.append, **values)  # type: ignore[arg-type]


def test_a_checkpoint_is_bytes_or_anything_with_a_json_form() -> None:
    said: list[Heartbeat] = []
    here = context(said)
    for checkpoint in (b"\x00\xff", {"row": 7}, Row(7), None):
        here.heartbeat(checkpoint=checkpoint)
    left = [each.checkpoint for each in said]
    assert [each and each.data for each in left] == [b"\x00\xff", b'{"row":7}', b'{"row":7}', None]
    assert context([], left=left[0]).checkpoint == b"\x00\xff"
    assert context([], left=left[1]).checkpoint == {"row": 7}
    assert context([], left=left[1]).checkpoint_as(Row) == Row(7)
    assert (here.checkpoint, here.checkpoint_as(Row)) == (None, None)
    with pytest.raises(InvalidRequest, match="another version"):
        context([], left=left[1]).checkpoint_as(int)


@pytest.mark.parametrize(
    ("words", "field"),
    [
        ({"progress": 1.01}, "progress"),
        ({"progress": -0.1}, "progress"),
        ({"progress": float("nan")}, "progress"),
        ({"checkpoint": object()}, "checkpoint"),
        ({"checkpoint": b"x" * (MAX_CHECKPOINT_BYTES + 1)}, "checkpoint"),
    ],
)
def test_what_cannot_be_kept_is_refused_where_it_is_said(
    words: dict[str, object], field: str
) -> None:
    said: list[Heartbeat] = []
    with pytest.raises(InvalidRequest) as refusal:
        context(said).heartbeat(**words)  # type: ignore[arg-type]
    assert [each.field for each in refusal.value.violations] == [field]
    assert said == []


def test_the_limits_are_those_of_the_service() -> None:
    assert MAX_CHECKPOINT_BYTES == limits.MAX_CHECKPOINT_BYTES
    assert MAX_NOTE_CHARACTERS == limits.MAX_NOTE_CHARACTERS
    said: list[Heartbeat] = []
    context(said).heartbeat(1, "x" * 1_000, checkpoint=b"x" * MAX_CHECKPOINT_BYTES)
    assert len(said[0].note) == MAX_NOTE_CHARACTERS


# What owners are told -----------------------------------------------------------------------------


def running(state: ExecutorState, *numbers: int) -> None:
    state.open_stream(hello(1))
    state.receive(key(1), dispatch(*(order(number) for number in numbers)))
    for number in numbers:
        state.started(run_id(number), 1_000)
    state.flush()


def key(number: int, owner: str = "s1") -> StreamKey:
    words = hello(number, owner=owner)
    return StreamKey(words.owner, words.owner_incarnation, words.number)


def beats(effects: list[Effect]) -> list[tuple[Beat, ...]]:
    sent = [effect.message for effect in effects if isinstance(effect, Send)]
    return [message.beats for message in sent if isinstance(message, Beats)]


def executor() -> ExecutorState:
    return ExecutorState(incarnation=EXECUTOR, slots=4, handlers=["echo"])


def test_one_message_says_all_and_a_checkpoint_is_said_once() -> None:
    state = executor()
    running(state, 1, 2)
    state.beat(Beat(run=run_id(1), checkpoint=LEFT))
    state.beat(Beat(run=run_id(2), note="two"))
    assert state.has_due()
    (told,) = beats(state.flush())
    assert told == (Beat(run=run_id(1), checkpoint=LEFT), Beat(run=run_id(2), note="two"))
    assert not state.has_due()
    state.beat(Beat(run=run_id(1), note="on"))
    assert beats(state.flush()) == [(Beat(run=run_id(1), note="on"),)]
    state.beat(Beat(run=run_id(1), checkpoint=NEWER))
    assert beats(state.flush()) == [(Beat(run=run_id(1), checkpoint=NEWER),)]


def test_a_new_owner_is_told_everything_behind_its_inventory() -> None:
    state = executor()
    running(state, 1, 2)
    state.beat(Beat(run=run_id(1), note="on", checkpoint=LEFT))
    state.flush()
    state.open_stream(hello(1, owner="s2"))
    effects = state.receive(key(1, "s2"), Fence(1, ((ShardId(3), Epoch(9)),)))
    kinds = [type(each.message).__name__ for each in effects if isinstance(each, Send)]
    assert kinds.index("Inventory") < kinds.index("Beats")
    assert beats(effects) == [(Beat(run=run_id(1), note="on", checkpoint=LEFT),)]


def test_what_cannot_be_said_now_is_said_with_the_next_inventory() -> None:
    state = executor()
    running(state, 1)
    state.stream_ended(key(1))
    state.beat(Beat(run=run_id(1), checkpoint=LEFT))
    assert beats(state.flush()) == []
    state.open_stream(hello(2))
    effects = state.receive(key(2), Fence(1, ((ShardId(3), Epoch(1)),)))
    assert beats(effects) == [(Beat(run=run_id(1), checkpoint=LEFT),)]


def test_a_failure_brings_the_checkpoint_along_and_a_success_does_not() -> None:
    state = executor()
    running(state, 1, 2)
    for number in (1, 2):
        state.beat(Beat(run=run_id(number), checkpoint=LEFT))
    failure = Failure(kind="ConnectionError", message="no")
    state.ended(result(order(1)))
    state.ended(
        RunResult(run=run_id(2), shard=ShardId(3), started_ms=1, ended_ms=2, failure=failure)
    )
    effects = state.flush()
    assert beats(effects) == []
    said = [each.message for each in effects if isinstance(each, Send)]
    (finished,) = [message for message in said if isinstance(message, Finished)]
    assert [each.checkpoint for each in finished.results] == [None, LEFT]


def test_what_a_run_that_has_ended_says_means_nothing() -> None:
    state = executor()
    running(state, 1)
    state.ended(result(order(1)), slot_held=True)
    state.flush()
    state.beat(Beat(run=run_id(1)))
    state.beat(Beat(run=run_id(77)))
    assert not state.has_due()


def test_a_question_about_silence_withdraws_nothing_that_has_not_begun() -> None:
    state = ExecutorState(incarnation=EXECUTOR, slots=1, handlers=["echo"])
    running(state, 1)
    state.receive(key(1), dispatch(order(2)))
    asked = [CancelRun(run_id(n), ShardId(3), Epoch(1), if_silent=True) for n in (1, 2, 3)]
    replies = [state.receive(key(1), each) for each in asked]
    assert replies == [[CancelHandler(run_id(1), terminate=False, if_silent=True)], [], []]
    assert state.running == 1
