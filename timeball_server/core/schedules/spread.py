"""How far after its nominal time an occurrence is due: jitter and the flexible window.

The engine adds this when it makes the occurrence; ledger, ids and `next_nominal_ms` know the
nominal time alone. Both shifts follow from the schedule's id and the nominal time, so that every
node, and whoever takes over, computes the same.
"""

from __future__ import annotations

import hashlib
from typing import Final

from timeball_server.core.schedules.spec import Calendar

_BITS: Final = 64


def due_ms(calendar: Calendar, schedule_id: str, nominal_ms: int) -> int:
    """When the occurrence of a nominal time is due: never before it.

    Jitter moves it into [nominal, nominal + jitter), the flexible window by up to and including
    `window_ms` more. A schedule whose occurrences must not overtake each other keeps the sum of
    both below its shortest distance of nominal times.
    """
    shift_ms = 0
    if calendar.jitter_ms > 0:
        shift_ms += _share(b"jitter", schedule_id, nominal_ms, calendar.jitter_ms)
    if calendar.window_ms > 0:
        shift_ms += _share(b"window", schedule_id, nominal_ms, calendar.window_ms + 1)
    return nominal_ms + shift_ms


def _share(purpose: bytes, schedule_id: str, nominal_ms: int, of_ms: int) -> int:
    text = f"{schedule_id}:{nominal_ms}".encode()
    drawn = hashlib.blake2b(text, digest_size=_BITS // 8, person=purpose).digest()
    return int.from_bytes(drawn, "big") * of_ms >> _BITS
