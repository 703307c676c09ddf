"""Streams: answers in order, a bounded number in hand, errors in their turn, nothing left over."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from timeball.errors import InvalidRequest

from coordinator.pipeline import answered_as_decided, answered_in_order
from tests.support.virtual_loop import VirtualClock, VirtualLoop, run_virtual

AT_ONCE = 3


class Work:
    """Requests that take the given milliseconds each, and how many were in hand."""

    def __init__(self, loop: VirtualLoop, durations_ms: list[int]) -> None:
        self.clock = VirtualClock(loop)
        self.durations_ms = durations_ms
        self.in_hand = self.most_in_hand = self.read = self.done = 0

    async def requests(self, *, broken: bool = False) -> AsyncIterator[int]:
        for duration_ms in self.durations_ms:
            self.read += 1
            yield duration_ms
        if broken:
            raise InvalidRequest("the last one is wrong")

    async def answer(self, duration_ms: int) -> int:
        self.in_hand += 1
        self.most_in_hand = max(self.in_hand, self.most_in_hand)
        try:
            await self.clock.sleep_ms(duration_ms)
            if duration_ms == 13:
                raise InvalidRequest("thirteen")
            self.done += 1
        finally:
            self.in_hand -= 1
        return duration_ms


@given(st.lists(st.integers(0, 12), max_size=20))
def test_answers_come_in_order_and_few_are_in_hand(durations_ms: list[int]) -> None:
    async def main(loop: VirtualLoop) -> None:
        work = Work(loop, durations_ms)
        stream = answered_in_order(work.requests(), work.answer, AT_ONCE)
        assert [answer async for answer in stream] == durations_ms
        assert work.most_in_hand <= AT_ONCE + 2
        if durations_ms:
            assert loop.time() * 1_000 <= sum(durations_ms) + 1

    run_virtual(main)


def test_several_are_worked_on_at_once() -> None:
    async def main(loop: VirtualLoop) -> None:
        work = Work(loop, [10] * 4)
        stream = answered_in_order(work.requests(), work.answer, AT_ONCE)
        assert len([answer async for answer in stream]) == 4
        assert loop.time() < 0.025

    run_virtual(main)


def test_an_answer_does_not_wait_for_the_next_request() -> None:
    async def main(loop: VirtualLoop) -> None:
        more = asyncio.Event()
        work = Work(loop, [])

        async def requests() -> AsyncIterator[int]:
            yield 5
            await more.wait()

        stream = answered_in_order(requests(), work.answer, AT_ONCE)
        assert await anext(stream) == 5
        more.set()
        assert [answer async for answer in stream] == []

    run_virtual(main)


@pytest.mark.parametrize(
    ("durations_ms", "broken", "before"), [([1, 13, 1], False, 1), ([1, 2], True, 2)]
)
def test_an_error_comes_after_the_answers_before_it(
    durations_ms: list[int], broken: bool, before: int
) -> None:
    async def main(loop: VirtualLoop) -> None:
        work = Work(loop, durations_ms)
        stream = answered_in_order(work.requests(broken=broken), work.answer, AT_ONCE)
        for _ in range(before):
            await anext(stream)
        with pytest.raises(InvalidRequest):
            await anext(stream)

    run_virtual(main)


def test_a_slow_consumer_holds_the_reader_back_and_leaving_ends_everything() -> None:
    async def main(loop: VirtualLoop) -> None:
        work = Work(loop, [1_000] * 50)
        stream = answered_in_order(work.requests(), work.answer, AT_ONCE)
        assert await anext(stream) == 1_000
        await work.clock.sleep_ms(60_000)
        assert work.read <= AT_ONCE + 2
        await stream.aclose()
        await work.clock.sleep_ms(1)
        assert work.in_hand == 0

    run_virtual(main)


@given(st.lists(st.integers(0, 12), max_size=20))
def test_pieces_come_as_they_are_decided_and_few_are_in_hand(durations_ms: list[int]) -> None:
    async def main(loop: VirtualLoop) -> None:
        work = Work(loop, durations_ms)

        async def answer(duration_ms: int, tell: Callable[[int], None]) -> None:
            tell(await work.answer(duration_ms))

        stream = answered_as_decided(work.requests(), answer, lambda _: 1, AT_ONCE)
        told = [piece async for pieces in stream for piece in pieces]
        assert sorted(told) == sorted(durations_ms)
        assert work.most_in_hand <= AT_ONCE

    run_virtual(main)


def test_a_slow_piece_holds_nobody_up() -> None:
    async def main(loop: VirtualLoop) -> None:
        work = Work(loop, [5_000, 1, 2])

        async def answer(duration_ms: int, tell: Callable[[int], None]) -> None:
            tell(await work.answer(duration_ms))

        stream = answered_as_decided(work.requests(), answer, lambda _: 1, AT_ONCE)
        assert await anext(stream) == [1]
        assert await anext(stream) == [2]
        assert loop.time() * 1_000 < 10
        assert await anext(stream) == [5_000]

    run_virtual(main)


def test_nothing_comes_beside_a_request_with_more_items_than_may_be_in_hand() -> None:
    async def main(loop: VirtualLoop) -> None:
        work = Work(loop, [1, 10, 1])

        async def answer(duration_ms: int, tell: Callable[[int], None]) -> None:
            for _ in range(duration_ms):
                tell(await work.answer(duration_ms))

        stream = answered_as_decided(work.requests(), answer, lambda each: each, AT_ONCE)
        told = [piece async for pieces in stream for piece in pieces]
        assert told[0] == 1
        assert told.index(1, 1) > 10 - AT_ONCE

    run_virtual(main)


@pytest.mark.parametrize("durations_ms", [[1, 13, 2], [1]])
def test_an_error_comes_after_the_pieces_of_before(durations_ms: list[int]) -> None:
    async def main(loop: VirtualLoop) -> None:
        work = Work(loop, durations_ms)

        async def answer(duration_ms: int, tell: Callable[[int], None]) -> None:
            tell(await work.answer(duration_ms))

        requests = work.requests(broken=13 not in durations_ms)
        stream = answered_as_decided(requests, answer, lambda _: 1, 1)
        assert await anext(stream) == [1]
        with pytest.raises(InvalidRequest):
            await anext(stream)

    run_virtual(main)


def test_a_stream_that_is_left_leaves_nothing_running() -> None:
    async def main(loop: VirtualLoop) -> None:
        work = Work(loop, [1, 5_000, 5_000])

        async def answer(duration_ms: int, tell: Callable[[int], None]) -> None:
            tell(await work.answer(duration_ms))

        stream = answered_as_decided(work.requests(), answer, lambda _: 1, AT_ONCE)
        assert await anext(stream) == [1]
        await stream.aclose()
        await work.clock.sleep_ms(1)
        assert work.in_hand == 0

    run_virtual(main)
