"""Retry decisions: backoff within its bounds, limits that no wish can pass."""

from __future__ import annotations

import random
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from timeball_server.core.buckets import minute_of
from timeball_server.core.limits import HORIZON_MS
from timeball_server.core.model import Failure, FailureCause, RetryPolicy
from timeball_server.core.retry import (
    NON_RETRIABLE_KINDS,
    GiveUpTask,
    RetryAt,
    backoff_ms,
    decide_retry,
)

NOW_MS = 1_000_000
LAST_DAY = datetime(9999, 12, 31, tzinfo=UTC)
FOR_EVER_MS = (LAST_DAY - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)
FAILURE = Failure(kind="ConnectionError", message="no")
POLICIES = st.builds(
    RetryPolicy,
    max_attempts=st.integers(1, 100),
    initial_delay_ms=st.integers(1, 600_000),
    coefficient=st.floats(1.0, 10.0),
    max_delay_ms=st.integers(1, 86_400_000),
    max_age_ms=st.none() | st.integers(0, 86_400_000),
    jitter=st.floats(0.0, 1.0),
)


@dataclass
class Fixed:
    """A source of randomness that always says the same."""

    value: float

    def random(self) -> float:
        return self.value


def decide(
    policy: RetryPolicy, failure: Failure = FAILURE, *, attempt: int = 1
) -> RetryAt | GiveUpTask:
    return decide_retry(
        policy, failure, attempt=attempt, created_ms=NOW_MS, now_ms=NOW_MS, rng=Fixed(0.0)
    )


@pytest.mark.parametrize(
    ("failed", "expected_ms"),
    [(1, 1_000), (2, 2_000), (3, 4_000), (9, 256_000), (10, 300_000), (100_000, 300_000)],
)
def test_backoff_doubles_up_to_its_cap(failed: int, expected_ms: int) -> None:
    assert backoff_ms(RetryPolicy(jitter=0.0), failed, Fixed(0.5)) == expected_ms


@pytest.mark.parametrize(
    ("jitter", "drawn", "expected_ms"),
    [(1.0, 0.0, 1_000), (1.0, 0.75, 250), (0.5, 0.5, 750), (0.0, 0.9, 1_000), (1.0, 0.99999, 1)],
)
def test_jitter_is_the_share_that_is_drawn(jitter: float, drawn: float, expected_ms: int) -> None:
    assert backoff_ms(RetryPolicy(jitter=jitter), 1, Fixed(drawn)) == expected_ms


@given(POLICIES, st.integers(1, 10_000), st.integers())
def test_backoff_is_positive_and_never_above_the_cap(
    policy: RetryPolicy, failed: int, seed: int
) -> None:
    delay_ms = backoff_ms(policy, failed, random.Random(seed))
    assert 1 <= delay_ms <= policy.max_delay_ms


def test_full_jitter_spreads_over_the_whole_delay() -> None:
    chance = random.Random(7)
    drawn = [backoff_ms(RetryPolicy(), 3, chance) for _ in range(2_000)]
    quarters = [sum(1 for ms in drawn if low < ms <= low + 1_000) for low in range(0, 4_000, 1_000)]
    assert all(400 < count < 600 for count in quarters)


def test_attempts_are_limited() -> None:
    policy = RetryPolicy(max_attempts=3)
    assert isinstance(decide(policy, attempt=2), RetryAt)
    assert decide(policy, attempt=3) == GiveUpTask(FailureCause.EXHAUSTED)


@pytest.mark.parametrize("kind", sorted(NON_RETRIABLE_KINDS))
def test_what_another_attempt_cannot_mend_ends_at_once(kind: str) -> None:
    failure = Failure(kind=kind, message="no")
    assert decide(RetryPolicy(), failure) == GiveUpTask(FailureCause.NON_RETRIABLE)


def test_a_handler_that_says_so_ends_at_once() -> None:
    failure = Failure(kind="Whatever", message="no", retriable=False, delay_ms=5)
    assert decide(RetryPolicy(), failure) == GiveUpTask(FailureCause.NON_RETRIABLE)


def test_a_handlers_wish_replaces_the_backoff() -> None:
    wish = Failure(kind="Busy", message="later", delay_ms=77_000)
    assert decide(RetryPolicy(max_delay_ms=1_000), wish) == RetryAt(NOW_MS + 77_000)
    at_once = Failure(kind="Busy", message="now", delay_ms=-5)
    assert decide(RetryPolicy(), at_once) == RetryAt(NOW_MS + 1)


def test_a_wish_for_ever_is_a_wish_for_the_horizon() -> None:
    for wish_ms in (HORIZON_MS + 1, FOR_EVER_MS):
        wish = Failure(kind="SNOOZE", message="until somebody calls", delay_ms=wish_ms)
        decision = decide(RetryPolicy(), wish)
        assert decision == RetryAt(NOW_MS + HORIZON_MS)
        assert minute_of(decision.due_ms) < 2**31, "a bucket's minute has 32 bits in the database"


def test_the_age_of_a_task_is_limited_whatever_the_wish() -> None:
    policy = RetryPolicy(max_age_ms=10_000, jitter=0.0)
    inside = Failure(kind="Busy", message="later", delay_ms=10_000)
    outside = Failure(kind="Busy", message="later", delay_ms=10_001)
    assert decide(policy, inside) == RetryAt(NOW_MS + 10_000)
    assert decide(policy, outside) == GiveUpTask(FailureCause.EXHAUSTED)


@given(POLICIES, st.integers(0, 200), st.integers(0, 10**9), st.integers())
def test_a_retry_is_always_later_and_within_every_limit(
    policy: RetryPolicy, attempt: int, age_ms: int, seed: int
) -> None:
    decision = decide_retry(
        policy,
        FAILURE,
        attempt=attempt,
        created_ms=NOW_MS,
        now_ms=NOW_MS + age_ms,
        rng=random.Random(seed),
    )
    if isinstance(decision, RetryAt):
        assert attempt < policy.max_attempts
        assert NOW_MS + age_ms < decision.due_ms <= NOW_MS + age_ms + policy.max_delay_ms
        assert policy.max_age_ms is None or decision.due_ms <= NOW_MS + policy.max_age_ms
