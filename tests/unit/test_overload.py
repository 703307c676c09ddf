"""A limit that is learned from answers: it falls while a line stands, and comes back."""

from __future__ import annotations

from collections import deque

from hypothesis import given
from hypothesis import strategies as st

from timeball_server.core.overload import (
    BULK_SHARE,
    FIRST_LIMIT,
    INTERVAL_MS,
    LEAST_LIMIT,
    MOST_LIMIT,
    TARGET_MS,
    LearnedLimit,
)


class Server:
    """Serves one item after the other, so many a second, and tells the limit of each."""

    def __init__(self, rate: float) -> None:
        self.limit = LearnedLimit(0)
        self.rate = rate
        self.line: deque[int] = deque()
        self.waits: list[int] = []
        self._credit = 0.0

    def live(self, from_ms: int, to_ms: int, offered: float) -> tuple[int, int]:
        """So many items a second are offered; how many were let in and how many refused."""
        let_in = refused = 0
        owed = 0.0
        for now_ms in range(from_ms, to_ms):
            owed += offered / 1_000
            while owed >= 1:
                owed -= 1
                if self.limit.let_in(1):
                    self.line.append(now_ms)
                    let_in += 1
                else:
                    refused += 1
            self._serve(now_ms)
        return let_in, refused

    def _serve(self, now_ms: int) -> None:
        self._credit = min(self._credit + self.rate / 1_000, 1.0 + self.rate / 1_000)
        while self.line and self._credit >= 1:
            self._credit -= 1
            waited_ms = now_ms - self.line.popleft()
            self.waits.append(waited_ms)
            self.limit.done(1, waited_ms, now_ms)


def test_three_times_too_much_is_refused_and_what_is_let_in_hardly_waits() -> None:
    server = Server(rate=500)
    let_in, refused = server.live(0, 60_000, offered=1_500)
    assert let_in + refused == 90_000
    settled = server.waits[5_000:]
    assert sorted(settled)[len(settled) * 99 // 100] < 3 * TARGET_MS
    assert let_in > 0.95 * 500 * 60


def test_what_a_server_can_do_is_never_refused() -> None:
    server = Server(rate=2_000)
    assert server.live(0, 20_000, offered=1_900)[1] == 0


def test_a_server_that_recovers_is_trusted_again() -> None:
    server = Server(rate=20)
    server.live(0, 30_000, offered=2_000)
    assert server.limit.limit == LEAST_LIMIT
    server.rate = 5_000
    server.live(30_000, 45_000, offered=2_000)
    assert server.live(45_000, 60_000, offered=2_000)[1] == 0


def test_of_a_request_beyond_the_limit_a_part_is_let_in() -> None:
    limit = LearnedLimit(0)
    assert limit.let_in(FIRST_LIMIT - 10) == FIRST_LIMIT - 10
    assert limit.let_in(30) == 10
    assert limit.let_in(1) == 0
    limit.done(10, 10, 10)
    assert limit.let_in(30) == 10


def test_bulk_work_goes_in_large_pieces_and_leaves_a_share_to_single_ones() -> None:
    limit = LearnedLimit(0)
    bulk = int(FIRST_LIMIT * BULK_SHARE)
    assert limit.let_in(10 * bulk, bulk=True) == bulk
    limit.done(bulk // 4 - 1, 10, 10)
    assert limit.let_in(bulk, bulk=True) == 0
    assert limit.let_in(5, bulk=True) == 5
    limit.done(6, 10, 10)
    assert limit.let_in(bulk, bulk=True) == bulk // 4
    assert limit.let_in(FIRST_LIMIT) == FIRST_LIMIT - bulk


def test_a_large_request_is_not_taken_for_a_slow_server() -> None:
    limit = LearnedLimit(0)
    for turn in range(1, 40):
        limit.let_in(1_000)
        limit.done(1_000, TARGET_MS + 900, turn * INTERVAL_MS)
    assert limit.limit == FIRST_LIMIT


@given(st.lists(st.tuples(st.integers(1, 3_000), st.integers(0, 20_000)), max_size=200))
def test_it_stays_within_its_bounds_and_loses_count_of_nothing(
    requests: list[tuple[int, int]],
) -> None:
    limit, now_ms = LearnedLimit(0), 0
    for items, took_ms in requests:
        now_ms += took_ms
        limit.done(limit.let_in(items), took_ms, now_ms)
    assert limit.under_way == 0
    assert LEAST_LIMIT <= limit.limit <= MOST_LIMIT
