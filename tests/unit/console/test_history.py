"""The last ten minutes: what nodes told, put together, and who is sent what of it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from timeball_server.console.history import SECONDS, SILENCE_S, SKEW_S, History
from timeball_server.core.ids import NodeId
from timeball_server.ports.owners import LATENESS_BOUNDS_MS, NodeFigures, SecondFigures

NOW_S = 1_800_000_000
EAST, WEST = NodeId("east"), NodeId("west")


def second(offset: int, *lates: int, created: int = 0, failed: int = 0) -> SecondFigures:
    """What a node did in one second: starts that were so late."""
    counts = [0] * (len(LATENESS_BOUNDS_MS) + 1)
    for late in lates:
        counts[sum(bound < late for bound in LATENESS_BOUNDS_MS)] += 1
    return SecondFigures(
        second=NOW_S + offset,
        created=created,
        failed=failed,
        late_counts=tuple(counts),
        late_max_ms=max(lates, default=0),
    )


def told(*seconds: SecondFigures, since: int = 0, until: int) -> NodeFigures:
    return NodeFigures(
        shards=(),
        executors=(),
        seconds=seconds,
        since_s=NOW_S + since,
        until_s=NOW_S + until,
        lease_left_ms=1,
    )


def test_two_nodes_are_one_row_and_each_is_asked_only_for_what_it_has_not_told() -> None:
    history = History()
    assert history.from_s(EAST) == 0
    east = told(second(1, 4, 4, created=3), second(2, 900, failed=1), until=4)
    west = told(second(1, 30, created=2), until=4)
    history.absorb({EAST: east, WEST: west}, NOW_S)
    assert (history.from_s(EAST), history.from_s(WEST)) == (NOW_S + 4, NOW_S + 4)
    assert history.rows_after(0) == [
        [NOW_S + 1, 5, 3, 0, 5, 30, 30],
        [NOW_S + 2, 0, 1, 1, 900, 900, 900],
    ]
    assert (history.since_s, history.until_s) == (NOW_S, NOW_S + 4)
    assert (history.created(60), history.failed(60), history.created(2)) == (5, 1, 0)
    assert history.lateness(60).starts == 4
    assert history.lateness(1).p99_ms is None


def test_a_viewer_is_sent_what_changed_also_when_it_is_old() -> None:
    history = History()
    history.absorb({EAST: told(second(1, 1), until=3), WEST: told(until=2)}, NOW_S)
    seen = history.revision
    history.absorb({EAST: told(second(3, 1), until=4)}, NOW_S)
    assert [row[0] for row in history.rows_after(seen)] == [NOW_S + 3]
    history.absorb({WEST: told(second(1, 7), until=4)}, NOW_S)  # it was silent for a moment
    assert [row[:3] for row in history.rows_after(seen)] == [[NOW_S + 1, 0, 2], [NOW_S + 3, 0, 1]]
    assert history.rows_after(history.revision) == []


def test_what_a_node_told_outlives_it_and_saying_it_twice_counts_once() -> None:
    history = History()
    history.absorb({EAST: told(second(1, 1, created=4), until=3), WEST: told(until=3)}, NOW_S)
    history.absorb({WEST: told(until=9)}, NOW_S)
    assert history.created(60) == 4
    history.absorb(
        {EAST: told(second(1, 1, created=4), since=1, until=9), WEST: told(until=9)}, NOW_S
    )
    assert history.created(60) == 4
    assert history.since_s == NOW_S


def test_a_node_whose_clock_is_behind_holds_up_the_picture_for_a_moment_only() -> None:
    history = History()
    history.absorb({EAST: told(until=100), WEST: told(until=98)}, NOW_S)
    assert history.until_s == NOW_S + 98
    history.absorb({EAST: told(until=101), WEST: told(until=-500)}, NOW_S)
    assert history.until_s == NOW_S + 101 - SKEW_S


def test_time_goes_on_when_nobody_tells_anything_any_more() -> None:
    history = History()
    history.absorb({EAST: told(second(1, 9, created=3), until=3)}, NOW_S + 3)
    assert (history.end_s, history.created(60)) == (NOW_S + 3, 3)
    history.absorb({}, NOW_S + 3 + SILENCE_S)
    assert (history.end_s, history.created(60)) == (NOW_S + 3, 3)
    history.absorb({}, NOW_S + 100)
    assert (history.until_s, history.end_s) == (NOW_S + 3, NOW_S + 100 - SILENCE_S)
    assert (history.created(60), history.lateness(60).starts) == (0, 0)


def test_nothing_older_than_ten_minutes_is_kept() -> None:
    history = History()
    history.absorb({EAST: told(second(0, 1), second(700, 1), until=701)}, NOW_S)
    assert history.since_s == NOW_S + 701 - SECONDS
    assert [row[0] for row in history.rows_after(0)] == [NOW_S + 700]
    history.absorb({}, NOW_S)
    assert history.until_s == NOW_S + 701


@given(st.lists(st.integers(0, 400_000), min_size=1, max_size=60))
def test_lateness_is_rounded_up_but_never_beyond_the_greatest(lates: list[int]) -> None:
    history = History()
    history.absorb({EAST: told(second(1, *lates), until=2)}, NOW_S)
    late = history.lateness(60)
    assert (late.starts, late.max_ms) == (len(lates), max(lates))
    assert late.p50_ms is not None
    assert late.p99_ms is not None
    assert late.p50_ms <= late.p99_ms <= max(lates)
    true_p99 = sorted(lates)[-(-99 * len(lates) // 100) - 1]
    assert late.p99_ms >= min(true_p99, LATENESS_BOUNDS_MS[-1])
