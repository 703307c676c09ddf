"""What follows a failed attempt: a decision, never an action."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Protocol

from timeball_server.core.limits import HORIZON_MS
from timeball_server.core.model import Failure, FailureCause, RetryPolicy

NON_RETRIABLE_KINDS: Final = frozenset(
    {
        "INVALID_ARGUMENT",
        "NOT_FOUND",
        "PERMISSION_DENIED",
        "UNAUTHENTICATED",
        "UNIMPLEMENTED",
        "FAILED_PRECONDITION",
    }
)
"""Failures that another attempt cannot mend, by the name of their status."""
DEFAULT_EXECUTOR_DEATHS: Final = 3
"""One may be bad luck and two a bad day; who comes back a third time is the cause."""


class Rng(Protocol):
    """A seeded source of randomness, handed in."""

    def random(self) -> float:
        """A number in [0, 1)."""
        ...


@dataclass(frozen=True, slots=True)
class RetryAt:
    """Try again at this wall-clock instant."""

    due_ms: int


@dataclass(frozen=True, slots=True)
class GiveUpTask:
    """No further attempt."""

    cause: FailureCause


def backoff_ms(policy: RetryPolicy, failed_attempts: int, rng: Rng) -> int:
    """Delay after this many failures: exponential, capped, with its jitter share drawn at random.

    With jitter 1.0 the delay is uniform in (0, cap] ("full jitter"); it is at least 1 ms.
    """
    exponent = min(max(failed_attempts - 1, 0), 100)
    grown = policy.initial_delay_ms * policy.coefficient**exponent
    ceiling = min(float(policy.max_delay_ms), grown)
    fixed = ceiling * (1.0 - policy.jitter)
    return max(1, round(fixed + (ceiling - fixed) * (1.0 - rng.random())))


def decide_retry(
    policy: RetryPolicy,
    failure: Failure,
    *,
    attempt: int,
    created_ms: int,
    now_ms: int,
    rng: Rng,
    once: bool = False,
    close_by_ms: int | None = None,
) -> RetryAt | GiveUpTask:
    """Whether and when to try again after attempt number `attempt` failed.

    The handler's own wish for a delay wins over the policy's backoff, never over its limits. One
    for ever, as in "not before the last day there is", is one for the horizon: no bucket of the
    store is further away.

    Args:
        once: delivered at most once: an attempt that began is the last one, whatever it says.
        close_by_ms: end of schedule-to-close; no attempt may start at it or later.
    """
    if not failure.retriable or failure.kind in NON_RETRIABLE_KINDS:
        return GiveUpTask(FailureCause.NON_RETRIABLE)
    if once or attempt >= policy.max_attempts:
        return GiveUpTask(FailureCause.EXHAUSTED)
    wish = failure.delay_ms
    delay_ms = backoff_ms(policy, attempt, rng) if wish is None else min(max(1, wish), HORIZON_MS)
    due_ms = now_ms + delay_ms
    if policy.max_age_ms is not None and due_ms > created_ms + policy.max_age_ms:
        return GiveUpTask(FailureCause.EXHAUSTED)
    if close_by_ms is not None and due_ms >= close_by_ms:
        return GiveUpTask(FailureCause.EXPIRED)
    return RetryAt(due_ms)
