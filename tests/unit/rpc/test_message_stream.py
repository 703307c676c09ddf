"""Frames of a stream: what is said in a hurry goes at once, what is not travels together."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence

import pytest
from google.protobuf.wrappers_pb2 import Int32Value

from tests.support.virtual_loop import VirtualLoop, run_virtual
from timeball_server.core.ids import Epoch, Incarnation, ShardId, TaskId
from timeball_server.core.journal import EventRef
from timeball_server.core.messages import (
    Capacity,
    Dispatch,
    Finished,
    FromExecutor,
    Inventory,
    RunId,
    RunOrder,
    RunResult,
    Started,
)
from timeball_server.core.model import Payload
from timeball_server.rpc.executor_transport import Pace, joined, may_wait
from timeball_server.rpc.message_stream import EASY_PACE_S, PACE_S, PATIENCE_S, MessageStream
from timeball_server.runtime.loops import LoopChoice, loop_factory

Frames = list[tuple[int, list[int]]]


def frames_of(
    say: Callable[[MessageStream[int, int, Int32Value, list[int]], int], None],
    join: Callable[[Sequence[int]], Iterable[int]] = tuple,
) -> Frames:
    """What goes out, and in which millisecond, when something is said in each of ten."""
    frames: Frames = []

    async def story(loop: VirtualLoop) -> None:
        silence = loop.create_future()

        async def read() -> Iterable[int] | None:
            await silence
            return None

        async def write(frame: list[int]) -> None:
            frames.append((round((loop.time() - began_s) * 1_000), frame))

        stream = MessageStream[int, int, Int32Value, list[int]](
            read=read,
            write=write,
            parts=lambda number: [Int32Value(value=number)],
            frame=lambda parts: [part.value for part in parts],
            broken=(ConnectionError,),
            join=join,
        )
        stream.start()
        began_s = loop.time() + 1
        for number in range(10):
            loop.call_at(began_s + number / 1_000, say, stream, number)
        loop.call_at(began_s + 1, silence.set_result, None)
        await stream.receive()
        await stream.finish()

    run_virtual(story)
    return frames


def test_the_first_paced_message_goes_at_once_and_the_next_ones_together() -> None:
    pace_ms = round(PACE_S * 1_000)
    frames = frames_of(lambda stream, number: stream.send(number, pace_s=PACE_S))
    assert frames[0] == (0, [0])
    assert [number for _, frame in frames for number in frame] == [*range(10)]
    assert [at_ms for at_ms, _ in frames] == [0, pace_ms, 2 * pace_ms]


def test_a_hurried_message_takes_the_others_along() -> None:
    frames = frames_of(lambda stream, number: stream.send(number, patient=number != 4))
    later_ms = round(PATIENCE_S * 1_000)
    assert frames == [(4, [0, 1, 2, 3, 4]), (later_ms, [5, 6, 7, 8, 9])]


@pytest.mark.parametrize("choice", [LoopChoice.ASYNCIO, LoopChoice.UVLOOP])
def test_nothing_is_lost_however_close_to_the_next_frame_it_is_said(choice: LoopChoice) -> None:
    """uvloop's timers of less than half a millisecond are no timers: they cannot say when."""
    frames: list[list[int]] = []
    said: list[int] = []

    async def story() -> None:
        silence = asyncio.get_running_loop().create_future()

        async def read() -> Iterable[int] | None:
            await silence
            return None

        async def write(frame: list[int]) -> None:
            frames.append(frame)

        stream = MessageStream[int, int, Int32Value, list[int]](
            read=read,
            write=write,
            parts=lambda number: [Int32Value(value=number)],
            frame=lambda parts: [part.value for part in parts],
            broken=(ConnectionError,),
        )
        stream.start()
        while len(frames) < 12:
            for _ in range(2):
                said.append(len(said))
                stream.send(said[-1], pace_s=PACE_S)
            await asyncio.sleep(0)  # noqa: TID251 - a turn of the loop, not a wait
        silence.set_result(None)
        await stream.finish()

    with asyncio.Runner(loop_factory=loop_factory(choice)) as runner:
        runner.run(story())
    assert [number for frame in frames for number in frame] == said


def finished(claim_seq: int) -> Finished:
    run = RunId(TaskId("task"), EventRef(claim_seq, Epoch(1)))
    return Finished((RunResult(run=run, shard=ShardId(0), started_ms=1, ended_ms=2),))


def test_the_result_of_an_immediate_task_waits_for_nobody() -> None:
    born, claimed = finished(1), finished(2)
    assert not may_wait(born)
    assert may_wait(claimed)
    assert not may_wait(Finished(claimed.results + born.results))
    assert not may_wait(Inventory(1, (), ()))


def began(number: int) -> Started:
    return Started(((RunId(TaskId(f"task-{number}"), EventRef(2, Epoch(1))), number),))


def test_what_runs_did_within_a_frame_is_three_messages() -> None:
    """Each run begins before it ends, and what is free is what was free at last."""
    said: list[FromExecutor] = [
        began(1),
        Capacity(slots=4, free=3),
        finished(2),
        Capacity(slots=4, free=4),
        began(2),
        finished(3),
    ]
    told = list(joined(said))
    assert told == [
        Started(began(1).runs + began(2).runs),
        Finished(finished(2).results + finished(3).results),
        Capacity(slots=4, free=4),
    ]
    assert list(joined([began(1)])) == [began(1)]


def test_an_inventory_stays_between_what_was_said_before_and_after_it() -> None:
    said: list[FromExecutor] = [finished(2), Inventory(1, (), ()), finished(3)]
    assert list(joined(said)) == said


def test_what_waits_is_joined_before_it_travels_and_nothing_is_lost() -> None:
    frames = frames_of(
        lambda stream, number: stream.send(number, pace_s=PACE_S), join=lambda said: [sum(said)]
    )
    assert [frame for _, frame in frames] == [[0], [1 + 2 + 3 + 4 + 5], [6 + 7 + 8 + 9]]


def order(concurrency_key: str) -> RunOrder:
    return RunOrder(
        run=finished(2).results[0].run,
        shard=ShardId(0),
        epoch=Epoch(1),
        attempt=1,
        handler="work",
        payload=Payload(data=b""),
        priority=4,
        due_ms=0,
        start_to_close_ms=None,
        namespace="bank",
        owner="teller",
        concurrency_key=concurrency_key,
    )


def test_results_travel_slower_while_half_of_the_slots_are_free() -> None:
    pace = Pace()
    assert pace.of(finished(2)) == PACE_S  # nothing is known yet
    paces = [pace.of(Capacity(slots=4, free=free, draining=False)) for free in (4, 2, 1, 0, 2)]
    assert paces == [EASY_PACE_S, EASY_PACE_S, PACE_S, PACE_S, EASY_PACE_S]
    assert pace.of(finished(2)) == EASY_PACE_S
    assert pace.of(finished(1)) == 0.0
    assert pace.of(Capacity(slots=4, free=4, draining=True)) == PACE_S
    assert pace.of(Capacity(slots=4, free=4, draining=False, full=("work",))) == PACE_S


def test_the_place_of_a_key_is_never_waited_for() -> None:
    pace = Pace()
    pace.of(Capacity(slots=4, free=4, draining=False))
    pace.hear(Dispatch(Incarnation(7), (order(""),)))
    assert pace.of(finished(2)) == EASY_PACE_S
    pace.hear(Dispatch(Incarnation(7), (order(""), order("account-1"))))
    assert pace.of(finished(2)) == PACE_S
