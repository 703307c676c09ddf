"""Handlers that say how far they are and where another attempt could go on, and fall silent."""

from __future__ import annotations

import asyncio
from typing import Final, Protocol

import msgspec
from timeball.context import Context
from timeball.registry import Handler

from tests.support.virtual_loop import VirtualClock

SPEAKING: Final = "sim.speaking"
APART_US: Final = 5_000_000
"""What may be silent is passed on so seldom."""
APART_SHARE: Final = 0.8
"""What may not: this part of the silence that is allowed."""
SILENT_MS: Final = 60_000


class Spell(msgspec.Struct, frozen=True, kw_only=True):
    """One attempt. The last spell is that of all further ones.

    Attributes:
        words: so many, `every_ms`.
        leaves: every so many words it says where to go on; 0 = never.
        does: at last: `ok`; `fail` raises; `silent` says nothing for a minute.
    """

    words: int = 10
    every_ms: int = 300
    leaves: int = 2
    does: str = "ok"


class Told(Protocol):
    """Who is told of handlers from inside."""

    def began(self, context: Context, mark: str, version: str) -> None:
        """A handler begins."""

    def found(self, context: Context, apart_us: int) -> None:
        """It was given something to go on from, or nothing."""

    def said(self, context: Context, number: int, leaves: bool) -> tuple[float, str | None]:
        """It speaks."""

    def ended(self, context: Context, ok: bool) -> None:
        """A handler ended."""

    def left(self, context: Context) -> None:
        """A handler was made to end."""


def speaking_handlers(sink: Told, clock: VirtualClock) -> dict[str, Handler]:
    """The handlers of one executor process."""

    async def speak(context: Context, spell: Spell) -> None:
        for number in range(spell.words):
            leaves = bool(spell.leaves) and number % spell.leaves == 0
            fraction, mark = sink.said(context, number, leaves)
            context.heartbeat(fraction, checkpoint=mark)
            await clock.sleep_ms(spell.every_ms)
        if spell.does == "silent":
            await clock.sleep_ms(SILENT_MS)

    async def work(context: Context, mark: str, spells: list[Spell]) -> int:
        limit_ms = context.heartbeat_ms
        sink.began(context, mark, "")
        sink.found(context, APART_US if limit_ms is None else round(APART_SHARE * 1_000 * limit_ms))
        spell = spells[min(context.attempt, len(spells)) - 1]
        try:
            await speak(context, spell)
        except asyncio.CancelledError:
            sink.left(context)
            if spell.does == "silent":
                sink.ended(context, False)
            raise
        sink.ended(context, spell.does != "fail")
        if spell.does == "fail":
            raise ValueError("the script says so")
        return context.attempt

    return {SPEAKING: Handler(SPEAKING, work)}
