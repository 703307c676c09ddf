"""What bounds a task in time, and what an administrator bounds: records of histories."""

from __future__ import annotations

import msgspec


class Bounds(msgspec.Struct, frozen=True, kw_only=True):
    """How long things may take; None = for ever. Nothing but what is said here is held against it.

    Attributes:
        start_us: from an attempt's due time to its start.
        run_us: from an attempt's start to its end.
        close_us: from the due time that was asked for to the end of all.
        silent_us: between two words of a handler.
    """

    start_us: int | None = None
    run_us: int | None = None
    close_us: int | None = None
    silent_us: int | None = None


class Backoff(msgspec.Struct, frozen=True, kw_only=True):
    """When a failed attempt is followed by another one.

    Attributes:
        first_us: after the first failure; `factor` times as long after each further one, and never
            longer than `most_us`. Of that, the share `jitter` is drawn.
        age_us: so long after its creation no further attempt is due; None = at any time.
        priority: of the first attempt.
    """

    first_us: int
    factor: float
    most_us: int
    jitter: float = 0.0
    age_us: int | None = None
    priority: int = 4


class Rate(msgspec.Struct, frozen=True, kw_only=True, tag_field="is", tag="rate"):
    """An administrator has set a rate; it holds some seconds later, for all owners together.

    Attributes:
        starts: in every `per_us`; 0 = from now on there is no such limit.
        burst: may begin at once after a pause.
        of_key: one owner keeps it at a time. Others are split among the owners.
    """

    name: str
    at_us: int
    starts: int
    per_us: int = 1_000_000
    burst: int = 1
    of_key: bool = False
