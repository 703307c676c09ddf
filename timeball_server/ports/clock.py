"""The clock port: two times, as a wall clock can step and a monotonic one has no date."""

from __future__ import annotations

from typing import NamedTuple, Protocol


class Now(NamedTuple):
    """One reading of both clocks, in milliseconds.

    `wall_ms` decides what is due and stamps events. `mono_ms` measures leases, waits and
    resends; it goes on while the machine is suspended and never steps.
    """

    wall_ms: int
    mono_ms: int


class Clock(Protocol):
    """Reads the time and waits for it."""

    def now(self) -> Now:
        """Both times at once."""
        ...

    async def sleep_ms(self, duration_ms: float) -> None:
        """Wait; may return a little early or late, so callers look at the clock again."""
        ...
