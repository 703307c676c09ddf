"""Request ids: UUID version 7, so that they sort by time and never meet."""

from __future__ import annotations

import random


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
