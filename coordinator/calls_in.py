"""What servicers need to know of the call in hand."""

from __future__ import annotations

from typing import Any, Final

from coordinator.requests import Caller
from timeball_server.rpc import access
from timeball_server.rpc.interceptors import principal

ANSWER_MARGIN_MS: Final = 100
"""We give up this much before the caller does, so that it hears why."""
LONGEST_PATIENCE_MS: Final = 60_000
"""No call is repeated for longer than this."""


def caller() -> Caller:
    """Who calls; only inside a servicer's method."""
    who = principal()
    return Caller(who.namespace, who.subject)


def highest_priority() -> int:
    """The highest priority that the caller may give to a task; only inside a servicer's method."""
    return access.highest_priority(principal())


def patience_ms(context: Any) -> int | None:
    """How long the call may be tried; None = its caller set no deadline."""
    left_s: float | None = context.time_remaining()
    if left_s is None:
        return None
    left_ms = int(left_s * 1_000)
    return max(0, min(max(left_ms - ANSWER_MARGIN_MS, left_ms // 2), LONGEST_PATIENCE_MS))
