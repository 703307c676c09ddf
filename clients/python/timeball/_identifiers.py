"""Request ids: UUID version 7, so that they sort by time and never meet."""

from __future__ import annotations

import random
import uuid
from typing import Final

FRESH_MS: Final = 60_000
"""So young is a request id that nobody can have used long ago."""
REMEMBERED_MS: Final = 24 * 3_600_000
"""So long the service remembers a request id, at least."""


def new_request_id(wall_ms: int, source: random.Random) -> str:
    """A UUIDv7 (RFC 9562): 48 bits of milliseconds, then 74 random bits.

    Args:
        wall_ms: milliseconds since the epoch.
        source: where the random bits come from; the system's own outside tests.
    """
    value = (wall_ms & ((1 << 48) - 1)) << 80 | source.getrandbits(80)
    value = value & ~(0xF << 76) | 0x7 << 76
    value = value & ~(0x3 << 62) | 0x2 << 62
    digits = f"{value:032x}"
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


def may_be_repeated(request_id: str, wall_ms: int) -> bool:
    """Whether a request with this id of its caller's must say that it may be a repetition.

    Its time stamp says where the task of its first use lies, but the service believes an old one
    only if it hears so. Ids without a time stamp are looked up in any case.
    """
    try:
        known = uuid.UUID(request_id)
    except ValueError:
        return False  # the service says what is wrong with it
    return known.version == 7 and FRESH_MS < wall_ms - (known.int >> 80) < REMEMBERED_MS
