"""Minutes are half-open; a layout says for ever which shards the ids of a minute may name."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from timeball_server.core.buckets import (
    MINUTE_MS,
    SLICE_MS,
    Layout,
    LayoutRow,
    end_ms,
    minute_of,
    month_end_ms,
    month_of,
    start_ms,
)
from timeball_server.core.ids import MAX_SHARD, Minute

INSTANTS = st.integers(0, 2**47)
UNIQUE = st.binary(min_size=16, max_size=16)


def row(minute: int, count: int) -> LayoutRow:
    return LayoutRow(from_minute=Minute(minute), shard_count=count)


LAYOUTS = (
    st.dictionaries(st.integers(0, 1000), st.integers(1, MAX_SHARD + 1), min_size=1, max_size=5)
    .map(lambda rows: tuple(row(minute, rows[minute]) for minute in sorted(rows)))
    .map(Layout)
)


@given(INSTANTS)
def test_a_month_ends_where_the_next_one_begins(instant_ms: int) -> None:
    month = month_of(instant_ms)
    month_end = month_end_ms(month)
    assert instant_ms < month_end
    assert month_of(month_end - 1) == month
    assert month_of(month_end) == (month + 1 if month % 100 < 12 else month + 89)


@given(instant_ms=INSTANTS)
def test_an_instant_lies_in_its_minute(instant_ms: int) -> None:
    minute = minute_of(instant_ms)
    assert start_ms(minute) <= instant_ms < end_ms(minute)
    assert end_ms(minute) - start_ms(minute) == MINUTE_MS


@given(minute=st.integers(0, 2**32 - 1).map(Minute))
def test_minutes_meet_without_gap_or_overlap(minute: Minute) -> None:
    assert end_ms(minute) == start_ms(Minute(minute + 1))
    assert minute_of(start_ms(minute)) == minute
    assert minute_of(end_ms(minute) - 1) == minute
    assert minute_of(end_ms(minute)) == minute + 1


def test_a_minute_is_whole_slices() -> None:
    assert MINUTE_MS % SLICE_MS == 0


@pytest.mark.parametrize(
    "rows", [(), (row(5, 4), row(5, 8)), (row(6, 4), row(5, 8)), (row(1, 1), row(3, 1), row(2, 1))]
)
def test_an_empty_or_unordered_history_is_refused(rows: tuple[LayoutRow, ...]) -> None:
    with pytest.raises(ValueError, match="strictly rising"):
        Layout(rows)


@pytest.mark.parametrize(
    ("minute", "count"), [(0, 4), (9, 4), (10, 4), (19, 4), (20, 16), (29, 16), (30, 8), (99, 8)]
)
def test_a_row_counts_from_its_minute_on(minute: int, count: int) -> None:
    layout = Layout((row(10, 4), row(20, 16), row(30, 8)))
    assert layout.shard_count(Minute(minute)) == count


@given(layout=LAYOUTS, minute=st.integers(0, 2000).map(Minute), unique=UNIQUE)
def test_an_id_names_a_shard_of_its_minute(layout: Layout, minute: Minute, unique: bytes) -> None:
    shard = layout.shard_for(minute, unique)
    assert 0 <= shard < layout.shard_count(minute)
    assert shard in layout.all_shards()
    assert layout.shard_for(minute, bytes(8) + unique[8:]) == shard


@given(layout=LAYOUTS, minute=st.integers(0, 1000).map(Minute), unique=UNIQUE)
def test_a_later_row_moves_no_id(layout: Layout, minute: Minute, unique: bytes) -> None:
    grown = Layout((*layout.rows, row(2000, 999)))
    assert grown.shard_for(minute, unique) == layout.shard_for(minute, unique)


@given(layout=LAYOUTS)
def test_every_shard_that_an_id_can_name_is_kept(layout: Layout) -> None:
    shards = layout.all_shards()
    assert list(shards) == list(range(len(shards)))
    assert len(shards) == max(entry.shard_count for entry in layout.rows)


def test_the_choice_of_a_shard_stays() -> None:
    # Minters of every version must agree: one request, one home.
    layout = Layout((row(0, 64),))
    assert layout.shard_for(Minute(5), bytes(range(16))) == 15
    assert layout.shard_for(Minute(5), bytes.fromhex("ff" * 16)) == 63


def test_shards_are_used_evenly() -> None:
    layout = Layout((row(0, 16),))
    uniques = [bytes(8) + (n * 2_654_435_761 % 2**64).to_bytes(8, "big") for n in range(16_000)]
    counts = [0] * 16
    for unique in uniques:
        counts[layout.shard_for(Minute(1), unique)] += 1
    assert min(counts) > 900
    assert max(counts) < 1100
