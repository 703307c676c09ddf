"""The lease rule (R3): how long an owner may act on what it last proved.

Trust is counted from when the question was *sent*, never from when the answer came: the
service may have begun to count the silence right after it answered. All times are readings of
one process's monotonic clock. Never reads a clock.
"""

from __future__ import annotations

from typing import Final

LEASE_NUMERATOR: Final = 2
LEASE_DENOMINATOR: Final = 3
"""An owner trusts two thirds of the session timeout; the rest is margin for clocks that drift."""


def lease_until_mono_ms(proven_at_mono_ms: int | None, session_timeout_ms: int) -> int | None:
    """The first millisecond at which the lease has ended; None if it never began.

    Args:
        proven_at_mono_ms: when the last answered request was sent, None before the first.
        session_timeout_ms: the silence after which the service ends the session.
    """
    if proven_at_mono_ms is None:
        return None
    return proven_at_mono_ms + session_timeout_ms * LEASE_NUMERATOR // LEASE_DENOMINATOR


def lease_holds(proven_at_mono_ms: int | None, session_timeout_ms: int, now_mono_ms: int) -> bool:
    """Whether an owner may still begin a write, dispatch or answer."""
    until_mono_ms = lease_until_mono_ms(proven_at_mono_ms, session_timeout_ms)
    return until_mono_ms is not None and now_mono_ms < until_mono_ms
