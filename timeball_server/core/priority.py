"""Effective priority: how a base priority rises with failures and waiting.

Owns the one formula. Must never lower a priority, and never raise one to 9: that level is
reached only by asking for it.
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
