"""What was read: slices under way, what stands where a run would go, and what is not understood."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from timeball_server.core.ids import Minute


@dataclass(slots=True, kw_only=True)
class Slice:
    """A part of a bucket's minute that is being read."""

    number: int
    minute: Minute
    from_ms: int
    to_ms: int


@dataclass(slots=True, kw_only=True)
class Held:
    """A task or schedule with an event that this version cannot read; `holding` says what follows.

    Attributes:
        minute: the first bucket that has a hint of it: no watermark passes it.
        namespace: whose it is; None = that cannot be read either.
        event: which event it is, and what was seen of it, in words.
        since_ms: when that was written, wall clock; None = not known.
        confirmed: whether it was found in the sweep of its bucket that is under way.
    """

    minute: int
    namespace: str | None
    event: str
    since_ms: int | None
    confirmed: bool = True


class Standing(StrEnum):
    """What a journal holds where a run's first event would go; FENCED = void in our epoch."""

    UNKNOWN = "UNKNOWN"
    ABSENT = "ABSENT"
    EXISTS = "EXISTS"
    VOID = "VOID"
    FENCED = "FENCED"
