"""Exclusions, compiled: whether an instant is left out, and until when.

Owns dates, spans and exclusion crons. Never knows which rules the instants come from.
"""

from __future__ import annotations

from collections.abc import Callable

from timeball_server.core.schedules.spec import Exclusions

Exclusion = Callable[[int], int]
"""The first instant at or after a given one that this exclusion lets pass: itself if it does."""


def exclusions(excluded: Exclusions) -> tuple[Exclusion, ...]:
    """One function for each thing that is subtracted."""
    return tuple(_span(span.from_ms, span.to_ms) for span in excluded.spans)


def _span(from_ms: int, to_ms: int) -> Exclusion:
    return lambda at_ms: to_ms if from_ms <= at_ms < to_ms else at_ms
