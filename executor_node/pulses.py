"""Passes on what running handlers say of themselves: from any thread, few and together.

Of each run at most one sign of life goes out per four fifths of its heartbeat timeout, the first at
once and the last always; those that are due about the same time go out in one step. Owns what has
not gone out. Never decides what silence means.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from functools import partial
from typing import Final

from timeball.heartbeats import Heartbeat

from executor_node.outcomes import plain
from executor_node.threads import LoopMail
from timeball_server.core.messages import Beat, RunId, RunOrder
from timeball_server.core.model import Payload

SHARE: Final = 0.8
"""Of the heartbeat timeout: how far signs of life are apart."""
LONGEST_APART_S: Final = 30.0
APART_S: Final = 5.0
"""The same of runs without a heartbeat timeout: people want to see them come along."""
GATHER_S: Final = 0.1
"""What would go out within this goes out now, where something does anyway."""

Say = Callable[[Beat], None]


class RunPulse:
    """What one run has said. `beat` may be called from any thread, all else on the loop."""

    def __init__(self, order: RunOrder, pulses: Pulses, now_s: float) -> None:
        self.run = order.run
        limit_s = None if order.heartbeat_ms is None else order.heartbeat_ms / 1_000
        self._limit_s = limit_s
        self._apart_s = APART_S if limit_s is None else min(LONGEST_APART_S, SHARE * limit_s)
        self._pulses = pulses
        self._unsaid: Heartbeat | None = None
        self._spoke_s = now_s
        self.next_s = now_s

    def beat(self, beat: Heartbeat) -> None:
        """The handler speaks."""
        with self._pulses.lock:
            before, self._spoke_s = self._unsaid, self._pulses.now_s()
            if before is not None and beat.checkpoint is None:
                beat = beat._replace(checkpoint=before.checkpoint)
            self._unsaid = beat
        if before is None:
            self._pulses.post(self)

    def take(self, now_s: float) -> Beat | None:
        """What has not gone out, which now does; None = nothing."""
        with self._pulses.lock:
            unsaid, self._unsaid = self._unsaid, None
        if unsaid is None:
            return None
        self.next_s = now_s + self._apart_s
        left = unsaid.checkpoint
        return Beat(
            run=self.run,
            fraction=unsaid.progress,
            note=plain(unsaid.note),
            checkpoint=None if left is None else Payload(**left._asdict()),
        )

    def is_silent(self, now_s: float) -> bool:
        """Whether the handler has said nothing for its heartbeat timeout."""
        return self._limit_s is not None and now_s - self._spoke_s >= self._limit_s


class Pulses:
    """The pulses of all runs of an executor.

    Args:
        loop: where signs of life go out.
        mail: brings them there from threads.
        say: is told each one that goes out.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, mail: LoopMail, say: Say) -> None:
        self._loop, self._mail, self._say = loop, mail, say
        self.lock = threading.Lock()
        self._later: dict[RunId, RunPulse] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._timer_s = 0.0

    def now_s(self) -> float:
        """The loop's clock, from any thread."""
        return self._loop.time()

    def begin(self, order: RunOrder) -> RunPulse:
        """A handler that must not be silent is about to be called; or another one has spoken."""
        return RunPulse(order, self, self.now_s())

    def post(self, pulse: RunPulse) -> None:
        """A run has something to say; called from any thread."""
        self._mail.post(partial(self._arrived, pulse))

    def say_now(self, pulse: RunPulse) -> None:
        """Say what has not gone out, if there is anything: the run ends, or somebody asks."""
        self._later.pop(pulse.run, None)
        beat = pulse.take(self.now_s())
        if beat is not None:
            self._say(beat)

    def close(self) -> None:
        """Say nothing more by itself."""
        self._later.clear()
        if self._timer is not None:
            self._timer.cancel()

    def _arrived(self, pulse: RunPulse) -> None:
        if pulse.next_s <= self.now_s():
            self.say_now(pulse)
        else:
            self._later[pulse.run] = pulse
            self._wake_at(pulse.next_s)

    def _wake_at(self, when_s: float) -> None:
        if self._timer is not None:
            if self._timer_s <= when_s:
                return
            self._timer.cancel()
        self._timer, self._timer_s = self._loop.call_at(when_s, self._gather), when_s

    def _gather(self) -> None:
        """Say all that is due, and what would be soon."""
        self._timer = None
        until_s = self.now_s() + GATHER_S
        for pulse in [each for each in self._later.values() if each.next_s <= until_s]:
            self.say_now(pulse)
        if self._later:
            self._wake_at(min(each.next_s for each in self._later.values()))
