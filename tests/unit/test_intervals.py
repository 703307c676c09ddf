"""Nominal times of intervals: strictly later, aligned, inside start and end, one by one."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from timeball_server.core.intervals import count_between, latest_nominal_ms, next_nominal_ms
from timeball_server.core.model import ScheduleSpec, TaskSpec

TASK = TaskSpec(namespace="shop", owner="clerk", handler="charge")
INSTANTS = st.integers(-10_000, 10_000)
EVERY = st.integers(1, 500)
SPECS = st.builds(
    ScheduleSpec,
    task=st.just(TASK),
    every_ms=EVERY,
    phase_ms=st.integers(0, 2_000),
    start_ms=st.none() | INSTANTS,
    end_ms=st.none() | INSTANTS,
)


def first_by_hand(spec: ScheduleSpec, after_ms: int) -> int | None:
    """Look at every instant of one interval: the definition, read aloud."""
    from_ms = after_ms + 1 if spec.start_ms is None else max(after_ms + 1, spec.start_ms)
    for instant_ms in range(from_ms, from_ms + spec.every_ms):
        if (instant_ms - spec.phase_ms) % spec.every_ms == 0:
            return None if spec.end_ms is not None and instant_ms > spec.end_ms else instant_ms
    raise AssertionError("an interval holds one nominal time")


def stepped(spec: ScheduleSpec, first_ms: int, now_ms: int) -> list[int]:
    """Nominal times up to now, each found from the one before."""
    times = [first_ms]
    while (following_ms := next_nominal_ms(spec, times[-1])) is not None and following_ms <= now_ms:
        times.append(following_ms)
    return times


@given(SPECS, INSTANTS)
def test_next_is_the_first_aligned_instant_later_inside_start_and_end(
    spec: ScheduleSpec, after_ms: int
) -> None:
    assert next_nominal_ms(spec, after_ms) == first_by_hand(spec, after_ms)


@given(SPECS, INSTANTS)
def test_s5_next_is_strictly_later_aligned_and_inside_start_and_end(
    spec: ScheduleSpec, after_ms: int
) -> None:
    nominal_ms = next_nominal_ms(spec, after_ms)
    if nominal_ms is None:
        assert spec.end_ms is not None
        return
    assert nominal_ms > after_ms
    assert (nominal_ms - spec.phase_ms) % spec.every_ms == 0
    assert spec.start_ms is None or nominal_ms >= spec.start_ms
    assert spec.end_ms is None or nominal_ms <= spec.end_ms


@given(EVERY, INSTANTS)
def test_start_and_end_are_nominal_times_themselves(every_ms: int, at_ms: int) -> None:
    spec = ScheduleSpec(
        task=TASK, every_ms=every_ms, phase_ms=at_ms % every_ms, start_ms=at_ms, end_ms=at_ms
    )
    assert next_nominal_ms(spec, at_ms - every_ms * 3) == at_ms
    assert next_nominal_ms(spec, at_ms - 1) == at_ms
    assert next_nominal_ms(spec, at_ms) is None


@given(SPECS, INSTANTS, st.integers(-600, 5_000))
def test_latest_and_count_are_what_stepping_one_by_one_finds(
    spec: ScheduleSpec, after_ms: int, later_ms: int
) -> None:
    first_ms = next_nominal_ms(spec, after_ms)
    if first_ms is None:
        return
    now_ms = first_ms + later_ms
    times = stepped(spec, first_ms, now_ms)
    assert latest_nominal_ms(spec, first_ms, now_ms) == times[-1]
    assert count_between(spec, first_ms, times[-1]) == len(times)
    assert all(later - earlier == spec.every_ms for earlier, later in pairwise(times))
