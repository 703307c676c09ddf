"""What callers asked and the engine has not seen yet, first come, first served.

Bounds a step of the engine, so that it ends long before the lease does, and the age of what it
takes in: a creation that has waited longer than its asker may still be there is refused before
anything of it was begun. Whatever else is asked is short, and is never refused here.
"""

from __future__ import annotations

from collections import deque
from typing import Final

from timeball_server.core.commands import CreateTask, Rejected, RejectionReason
from timeball_server.core.engine.events import CommandArrived

MAX_STEP_COMMANDS: Final = 250
"""Commands of one step: some ten milliseconds of work."""
MAX_WAIT_MS: Final = 2_000
"""Well below the time after which a coordinator asks again."""
OVERLOADED: Final = Rejected(
    RejectionReason.OVERLOADED,
    "the scheduler node has more to do than it can; nothing was created, so repeat the call later",
)


class CommandLine:
    """Commands in the order of their arrival.

    Attributes:
        refused: creations that waited too long.
    """

    def __init__(self) -> None:
        self._waiting: deque[tuple[int, CommandArrived]] = deque()
        self._gone: set[int] = set()
        self.refused = 0

    def __len__(self) -> int:
        """How many wait."""
        return len(self._waiting)

    def add(self, asked: CommandArrived, now_mono_ms: int) -> None:
        """Take a command in."""
        self._waiting.append((now_mono_ms, asked))

    def forget(self, token: int) -> None:
        """Nobody waits for this one any more, if it is still here: it is not taken in."""
        if self._waiting:
            self._gone.add(token)

    def next_piece(self, now_mono_ms: int) -> tuple[list[CommandArrived], list[CommandArrived]]:
        """What the next step takes in, and what must be refused now as OVERLOADED.

        A repetition is never refused: what it repeats may be under way, and only the engine knows.
        """
        piece: list[CommandArrived] = []
        too_old: list[CommandArrived] = []
        while self._waiting and len(piece) < MAX_STEP_COMMANDS:
            since_ms, asked = self._waiting.popleft()
            if asked.token in self._gone:
                continue
            if now_mono_ms - since_ms > MAX_WAIT_MS and _is_first_creation(asked):
                too_old.append(asked)
            else:
                piece.append(asked)
        if not self._waiting:
            self._gone.clear()
        self.refused += len(too_old)
        return piece, too_old


def _is_first_creation(asked: CommandArrived) -> bool:
    command = asked.command
    return isinstance(command, CreateTask) and not command.resend
