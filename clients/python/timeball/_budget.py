"""How many repetitions a client may send, so that callers do not keep a service down.

When a service stands still every call wants to be repeated, and the repetitions would be its load
when it can serve again. Two stores ration them:

- after a refusal: a fifth of the first tries and one a second, as Finagle's retry budget does it;
- after silence: two for each good answer that others get. A call that is cut short takes its
  repetition along when it begins. Where one of two addresses hangs, the other one's answers pay for
  all; where everything hangs nobody is cut short, and who waits is answered when it is over.

What reached no service was no load for one, and is not rationed.
"""

from __future__ import annotations

import random
from typing import Final

SHARE: Final = 0.2
RESERVE: Final = 50.0
"""After refusals, at most and at first: enough for a short break."""
SILENCE_RESERVE: Final = 200.0
PER_ANSWER: Final = 2.0
PER_S: Final = 1.0
LOOK_AGAIN_S: Final = 1.0


def look_again_s(source: random.Random) -> float:
    """Seconds to the next look of one that waits for its turn: full jitter around a second."""
    return LOOK_AGAIN_S * (0.5 + source.random())


class RepetitionBudget:
    """Shared by all calls of a client. Threads may lose an addition to each other: no harm."""

    def __init__(self) -> None:
        self._refusals = RESERVE
        self._silence = SILENCE_RESERVE
        self._seen_s: float | None = None

    def asked(self) -> None:
        """Something is asked for the first time."""
        self._refusals = min(RESERVE, self._refusals + SHARE)

    def take(self, now_s: float) -> bool:
        """Use up one repetition of what was refused; whether there was one left."""
        passed_s = 0.0 if self._seen_s is None else now_s - self._seen_s
        self._seen_s = now_s
        self._refusals = min(RESERVE, self._refusals + PER_S * passed_s)
        if self._refusals < 1.0:
            return False
        self._refusals -= 1.0
        return True

    def lend(self) -> bool:
        """Take a repetition along, for the case of silence; whether there was one."""
        if self._silence < 1.0:
            return False
        self._silence -= 1.0
        return True

    def answered(self, *, lent: bool, well: bool) -> None:
        """There was an answer: what was lent comes back, and more where it was a good one."""
        self._silence = min(SILENCE_RESERVE, self._silence + lent + PER_ANSWER * well)
