"""Something that must be done before an instant: on a slow machine, with more time for it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Final, TypeVar

from timeball.errors import TimeballError

from tests.support.polls import wall_ms

T = TypeVar("T")
LEADS_MS: Final = (500, 2_000, 8_000, 24_000)


async def in_good_time(
    attempt: Callable[[int], Awaitable[T]], leads_ms: tuple[int, ...] = LEADS_MS
) -> tuple[int, T]:
    """An instant, and what `attempt` made when it was told it, the first time it ended before it.

    An attempt that ends later counts for nothing, whatever it made or raised: it is made again, all
    of it and with fresh names, with a longer lead. One that fails in time fails for good.

    Args:
        attempt: gets the instant, in milliseconds since 1970.
        leads_ms: how far away the instants are when their attempts begin.
    """
    for lead_ms in leads_ms:
        instant_ms = wall_ms() + lead_ms
        try:
            made = await attempt(instant_ms)
        except (AssertionError, TimeballError):
            if wall_ms() < instant_ms:
                raise
            continue
        if wall_ms() < instant_ms:
            return instant_ms, made
    raise AssertionError(f"not done within {leads_ms[-1]} ms")


def at_ms(instant_ms: int) -> datetime:
    """An instant as the SDK takes it."""
    return datetime.fromtimestamp(instant_ms / 1_000, UTC)
