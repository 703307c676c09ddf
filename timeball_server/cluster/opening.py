"""Patience for the first session with the coordination service, while a node starts."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

from timeball.errors import CoordinationUnavailable

from timeball_server.ports.clock import Clock
from timeball_server.ports.coordination import CoordinationSession

Say = Callable[[str], None]
Open = Callable[[], Awaitable[CoordinationSession]]
PAUSE_MS: Final = 500


class PatientAtFirst:
    """Opens a fresh session each time it is called.

    Args:
        open_session: opens one or raises CoordinationUnavailable.
        clock: for waits.
        say: takes one line for people while the first session cannot be had.
        deadline_ms: how long the first session may take; later ones fail at once, because a
            running node tries again by itself.
    """

    def __init__(self, open_session: Open, clock: Clock, say: Say, deadline_ms: int) -> None:
        self._open = open_session
        self._clock = clock
        self._say = say
        self._deadline_ms = deadline_ms
        self._is_first = True

    async def __call__(self) -> CoordinationSession:
        """Open one.

        Raises:
            CoordinationUnavailable: nobody answered, the first time until the deadline.
            FailedPrecondition: as `open_session`; never repeated.
        """
        session = await (self._patiently() if self._is_first else self._open())
        self._is_first = False
        return session

    async def _patiently(self) -> CoordinationSession:
        end_ms = self._clock.now().mono_ms + self._deadline_ms
        has_said = False
        while True:
            try:
                return await self._open()
            except CoordinationUnavailable as error:
                if self._clock.now().mono_ms + PAUSE_MS >= end_ms:
                    raise
                if not has_said:
                    self._say(f"{error.message} Trying for up to {self._deadline_ms // 1_000} s.")
                    has_said = True
            await self._clock.sleep_ms(PAUSE_MS)
