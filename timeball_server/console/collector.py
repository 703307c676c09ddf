"""Looks at the cluster once a second while somebody watches, whoever and however many they are.

One look for all viewers and none without; a viewer that is slow finds the newest picture and
none of those between. Changes nothing in the cluster.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from timeball.errors import ResourceExhausted, TimeballError

from timeball_server.console.document import About, blind, document, encoded
from timeball_server.console.history import History
from timeball_server.console.sight import Look, Sight
from timeball_server.console.spells import Spells
from timeball_server.console.verdict import JUST_NOW_S, is_loading, judge
from timeball_server.ports.clock import Clock

EVERY_MS: Final = 1_000
LINGER_LOOKS: Final = 3
"""Looks after the last viewer has gone, so that a page that is loaded again need not wait."""
MAX_VIEWERS: Final = 64
"""Streams at once; more are refused with 429."""
OnBug = Callable[[str, BaseException], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """One picture. `number` grows with each; `revision` is that of the history behind it."""

    number: int
    revision: int
    picture: bytes


class Collector:
    """Keeps the newest frame.

    Args:
        look: looks at the cluster once.
        about: who answers.
        on_bug: is told of what should not have been raised.
    """

    def __init__(self, look: Look, about: About, clock: Clock, on_bug: OnBug) -> None:
        self._look = look
        self._about = about
        self._clock = clock
        self._on_bug = on_bug
        self._history = History()
        self._ownerless = Spells()
        self._loading = Spells()
        self._frame: Frame | None = None
        self._number = 0
        self._news = asyncio.Event()
        self._looking: asyncio.Task[None] | None = None
        self.viewers = 0
        self.looks = 0
        self.closed = False

    @contextmanager
    def watching(self) -> Iterator[None]:
        """One viewer watches inside the block.

        Raises:
            ResourceExhausted: there are too many.
        """
        if self.viewers >= MAX_VIEWERS:
            raise ResourceExhausted(
                f"{MAX_VIEWERS} consoles watch this coordinator; close some, or use another one"
            )
        self.viewers += 1
        if self._looking is None or self._looking.done():
            self._frame = None
            self._looking = asyncio.create_task(self._run(), name="console: looks")
        try:
            yield
        finally:
            self.viewers -= 1

    async def newer(self, number: int) -> Frame | None:
        """The newest frame, as soon as there is one after this number; None at the end."""
        while not self.closed:
            if self._frame is not None and self._frame.number > number:
                return self._frame
            await self._news.wait()
        return None

    def rows_after(self, revision: int) -> bytes:
        """The history's rows that changed since a revision, and its bounds, as JSON."""
        history = self._history
        bounds = {"since_s": history.since_s, "until_s": history.until_s, "end_s": history.end_s}
        return encoded({**bounds, "rows": history.rows_after(revision)})

    async def close(self) -> None:
        """End the looks and tell every viewer. Safe to call twice."""
        self.closed = True
        self._tell()
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.wait((self._looking,))

    async def _run(self) -> None:
        """Look after look while somebody watches."""
        idle = 0
        while idle < LINGER_LOOKS and not self.closed:
            begun_ms = self._clock.now().mono_ms
            await self._look_once()
            idle = 0 if self.viewers else idle + 1
            spent_ms = self._clock.now().mono_ms - begun_ms
            await self._clock.sleep_ms(max(EVERY_MS // 10, EVERY_MS - spent_ms))

    async def _look_once(self) -> None:
        self.looks += 1
        try:
            sight = await self._look(self._history.from_s)
        except TimeballError as error:
            self._show(blind(self._about, self._clock.now().wall_ms, error.message))
            return
        except Exception as bug:  # noqa: BLE001 - counted; the page says that it sees nothing
            self._on_bug("a look of the console", bug)
            sentence = "this coordinator failed to look; its log has the reason"
            self._show(blind(self._about, self._clock.now().wall_ms, sentence))
            return
        self._history.absorb(sight.nodes, sight.at_ms // 1_000)
        self._show(self._picture(sight))

    def _picture(self, sight: Sight) -> bytes:
        owned = [each for each in sight.shards if each.owner is not None]
        without = [each.shard for each in sight.shards if each.owner is None]
        ownerless = self._ownerless.note(sight.at_ms, without, [each.shard for each in owned])
        unready = [each.shard for each in owned if is_loading(each, sight)]
        loading = self._loading.note(sight.at_ms, unready, ())
        verdict = judge(sight, ownerless, loading, self._history.lateness(JUST_NOW_S))
        return document(self._about, sight, self._history, verdict, ownerless)

    def _show(self, picture: bytes) -> None:
        self._number += 1
        revision = self._history.revision
        self._frame = Frame(number=self._number, revision=revision, picture=picture)
        self._tell()

    def _tell(self) -> None:
        """Wake everybody who waits now; who comes later waits for the next one."""
        news, self._news = self._news, asyncio.Event()
        news.set()
