"""What handlers say of themselves while they work, and who is told of it: records of histories."""

from __future__ import annotations

from tests.support.checker.base import Record


class Said(Record, frozen=True, kw_only=True, tag="said"):
    """A running handler said that it lives.

    Attributes:
        fraction: how far it is; no two words of a task have the same one.
        mark: where another attempt could go on, by a name that is given once; empty = as before.
    """

    task: str
    attempt: int
    process: str
    at_us: int
    fraction: float
    mark: str = ""


class Found(Record, frozen=True, kw_only=True, tag="found"):
    """An attempt that says such things began, and what it was given to go on from.

    Attributes:
        mark: empty = nothing.
        silent_us: longer silence has it given up; None = it may be silent.
        apart_us: what is said more often than this may be passed on so seldom.
    """

    task: str
    attempt: int
    process: str
    at_us: int
    mark: str = ""
    silent_us: int | None = None
    apart_us: int


class Glance(Record, frozen=True, kw_only=True, tag="glance"):
    """An answer showed a task while an attempt ran, as far as that had come. None = not told."""

    task: str
    attempt: int
    inv_us: int
    ret_us: int
    fraction: float | None = None
    mark: str = ""
