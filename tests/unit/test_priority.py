"""Effective priority: the examples of the design and the properties that keep it honest."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from timeball_server.core.priority import AGE_STEP_MS, effective_priority

BASES = st.integers(0, 9)
FAILURES = st.integers(0, 100)
WAITS = st.integers(-(10**9), 10**12)


@pytest.mark.parametrize(
    ("base", "failed", "waited_ms", "expected"),
    [
        (4, 0, 0, 4),
        (4, 1, 0, 5),
        (4, 3, 0, 7),
        (4, 9, 0, 7),
        (4, 0, 59_999, 4),
        (4, 0, 60_000, 5),
        (4, 3, 60_000, 8),
        (4, 3, 3_600_000, 8),
        (0, 0, 3_600_000, 8),
        (8, 3, 3_600_000, 8),
        (9, 3, 3_600_000, 9),
        (9, 0, 0, 9),
        (4, 0, -3_600_000, 4),
    ],
)
def test_examples(base: int, failed: int, waited_ms: int, expected: int) -> None:
    assert effective_priority(base, failed, waited_ms) == expected


@given(BASES, FAILURES, WAITS)
def test_never_below_the_base_and_never_raised_to_nine(
    base: int, failed: int, waited_ms: int
) -> None:
    priority = effective_priority(base, failed, waited_ms)
    assert base <= priority <= max(base, 8)


@given(BASES, FAILURES, WAITS)
def test_failing_and_waiting_longer_never_lower_it(base: int, failed: int, waited_ms: int) -> None:
    priority = effective_priority(base, failed, waited_ms)
    assert effective_priority(base, failed + 1, waited_ms) >= priority
    assert effective_priority(base, failed, waited_ms + AGE_STEP_MS) >= priority
