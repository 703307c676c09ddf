"""Jitter and window: bounded, never before, the same on every node, spread evenly."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from timeball_server.core.schedules.spec import Calendar
from timeball_server.core.schedules.spread import due_ms

spans = st.integers(0, 86_400_000)


@given(st.text(max_size=20), st.integers(0, 10**13), spans, spans)
def test_due_is_never_before_nominal_and_inside_jitter_and_window(
    schedule_id: str, nominal_ms: int, jitter_ms: int, window_ms: int
) -> None:
    late_ms = due_ms(Calendar(jitter_ms=jitter_ms), schedule_id, nominal_ms) - nominal_ms
    assert 0 <= late_ms < max(1, jitter_ms)
    late_ms = due_ms(Calendar(window_ms=window_ms), schedule_id, nominal_ms) - nominal_ms
    assert 0 <= late_ms <= window_ms
    both = Calendar(jitter_ms=jitter_ms, window_ms=window_ms)
    assert due_ms(both, schedule_id, nominal_ms) == due_ms(both, schedule_id, nominal_ms)


def test_without_either_an_occurrence_is_due_at_its_nominal_time() -> None:
    assert due_ms(Calendar(), "nightly", 60_000) == 60_000


def test_the_whole_range_is_used_evenly_over_schedules_and_over_times() -> None:
    calendar = Calendar(jitter_ms=10)
    over_schedules = Counter(due_ms(calendar, f"s{n}", 0) for n in range(10_000))
    over_times = Counter(due_ms(calendar, "s", n * 1_000) - n * 1_000 for n in range(10_000))
    for drawn in (over_schedules, over_times):
        assert sorted(drawn) == list(range(10))
        assert max(drawn.values()) < 1_200
        assert min(drawn.values()) > 800
    window = Counter(due_ms(Calendar(window_ms=10), f"s{n}", 0) for n in range(10_000))
    assert sorted(window) == list(range(11))


def test_the_draw_never_changes_between_releases() -> None:
    """Written down: whoever takes over must compute the same due time."""
    assert due_ms(Calendar(jitter_ms=60_000), "nightly", 1_780_000_000_000) == 1_780_000_007_705
    assert due_ms(Calendar(window_ms=60_000), "nightly", 1_780_000_000_000) == 1_780_000_034_847
