"""Effective priority: how a base priority rises with failures and waiting.

Owns the one formula, and the bound on waiting that follows from it. Must never lower a priority,
and never raise one to 9: that level is reached only by asking for it.

How long anybody may wait. Let `b` be a task's base below 9, `e` how many tasks of its lane that
were due before it still wait, and `r` the starts per second that those who can run it make. Waiting
for `(8 - b)` minutes takes it to 8, where nothing that became due later is before it, except what
has a share of its own: priority 9 at most every second start, raised retries at most every fifth.
Three starts in ten are left, so it starts before

    due + (8 - b) * 60 s + (e + 1) * 10/3 / r          (for a raised retry: 5 / r instead)

The oldest task of all (e = 0) has at most four starts before it once it has reached 8.
"""

from __future__ import annotations

from typing import Final

LOWEST: Final = 0
HIGHEST: Final = 9
HIGHEST_RAISED: Final = 8
"""Raising ends here; 9 stays with those who asked for it."""
MOST_RAISE: Final = 3
"""Failed attempts raise by one each, up to this."""
AGE_STEP_MS: Final = 60_000
"""Waiting this long past the due time raises by one."""
RAISED_ONE_IN: Final = 5
"""While other work waits, raised retries get at most one start in so many."""
NINE_ONE_IN: Final = 2
"""While other work waits, priority 9 gets at most one start in so many."""


def effective_priority(base: int, failed_attempts: int, waited_ms: int) -> int:
    """The priority that orders due work, 0 to 9, 9 most urgent.

    Args:
        base: what the caller asked for, 0 to 9.
        failed_attempts: attempts that ended in a retriable failure so far.
        waited_ms: time since the attempt was due; negative = not due yet.
    """
    raised = min(max(failed_attempts, 0), MOST_RAISE)
    aged = max(waited_ms, 0) // AGE_STEP_MS
    return max(base, min(HIGHEST_RAISED, base + raised + aged))


def is_raised(base: int, failed_attempts: int) -> bool:
    """Whether failures lift this task above what it asked for; 8 and 9 are never lifted."""
    return failed_attempts > 0 and base < HIGHEST_RAISED


def most_starts_before(earlier: int, *, raised: bool = False) -> int:
    """How many starts a task that has aged to 8 waits for at most, its own included.

    Args:
        earlier: tasks of its lane that wait and were due before it.
        raised: whether it is a raised retry, whose lane gets one start in five.
    """
    if raised:
        return RAISED_ONE_IN * (earlier + 1)
    others_tenths = 10 // NINE_ONE_IN + 10 // RAISED_ONE_IN
    return -(-10 * (earlier + 1) // (10 - others_tenths))


def longest_wait_ms(base: int, earlier: int, starts_per_s: float, *, raised: bool = False) -> float:
    """The bound on waiting past the due time, as the module says it; base below 9."""
    ageing_ms = max(0, HIGHEST_RAISED - base) * AGE_STEP_MS
    return ageing_ms + most_starts_before(earlier, raised=raised) * 1_000 / starts_per_s
