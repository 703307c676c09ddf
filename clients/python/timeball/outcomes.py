"""How a handler says more than "done" or "failed": three exceptions and one for cancellation.

Any other exception means: try again as the task's retry policy says.
"""

from __future__ import annotations

from datetime import datetime

from timeball.durations import DurationLike, parse_duration, require_zone


class Outcome(Exception):
    """Base of what a handler raises to decide how its attempt ends."""


class Retry(Outcome):
    """Try again, if attempts are left.

    Args:
        message: why, for people.
        after: how long to wait, for example "10s"; None = as the retry policy says.

    Raises:
        InvalidRequest: `after` is not a duration.
    """

    def __init__(self, message: str = "", *, after: DurationLike | None = None) -> None:
        super().__init__(message or "the handler asked for another attempt")
        self.after = None if after is None else parse_duration(after, field="after")


class Fail(Outcome):
    """Give up: no further attempt, the task is FAILED.

    Args:
        message: why, for people.
        code: a stable word for programs; becomes the failure's kind.
    """

    def __init__(self, message: str, *, code: str = "Fail") -> None:
        super().__init__(message)
        self.code = code


class Snooze(Outcome):
    """Call me again at that time. The attempt does not count.

    Args:
        until: when; must name its time zone.
        after: how long from now, instead of `until`.

    Raises:
        ValueError: both or neither were given.
        InvalidRequest: `until` has no time zone, or `after` is not a duration.
    """

    def __init__(self, *, until: datetime | None = None, after: DurationLike | None = None) -> None:
        if (until is None) == (after is None):
            raise ValueError("give either until or after")
        super().__init__("the handler asked to be called later")
        self.until = None if until is None else require_zone(until, field="until")
        self.after = None if after is None else parse_duration(after, field="after")


class Cancelled(Outcome):
    """The handler gave up because its cancellation was asked for; see `Context`."""

    def __init__(self, message: str = "the handler stopped because it was cancelled") -> None:
        super().__init__(message)
