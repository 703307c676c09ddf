"""Nominal times of intervals: epoch + phase + n x every. Always strictly later, never drifting."""

from __future__ import annotations

from timeball_server.core.model import ScheduleSpec


def next_nominal_ms(spec: ScheduleSpec, after_ms: int) -> int | None:
    """The first nominal time strictly after an instant, None when the schedule has no more."""
    floor_ms = after_ms if spec.start_ms is None else max(after_ms, spec.start_ms - 1)
    steps = (floor_ms - spec.phase_ms) // spec.every_ms + 1
    nominal_ms = spec.phase_ms + steps * spec.every_ms
    if nominal_ms <= after_ms:
        raise AssertionError("the next nominal time is strictly later")
    if spec.end_ms is not None and nominal_ms > spec.end_ms:
        return None
    return nominal_ms


def latest_nominal_ms(spec: ScheduleSpec, first_ms: int, now_ms: int) -> int:
    """The last nominal time at or before now, not before the given nominal one."""
    bound_ms = now_ms if spec.end_ms is None else min(now_ms, spec.end_ms)
    steps = max(0, (bound_ms - first_ms) // spec.every_ms)
    return first_ms + steps * spec.every_ms


def count_between(spec: ScheduleSpec, first_ms: int, last_ms: int) -> int:
    """How many nominal times lie from one to another, both included."""
    return (last_ms - first_ms) // spec.every_ms + 1
