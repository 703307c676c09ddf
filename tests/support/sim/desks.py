"""Executors beside the usual three, each for one way to be held back, and the limits of their keys.

They serve few handlers, carry labels, have few slots, and one of them fails whatever it is given.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from tests.support.sim.handlers import WORK
from tests.support.sim.keys import NAMESPACES
from timeball_server.core.limit_rules import LimitKind
from timeball_server.ports.access import LimitRow, limit_name
from timeball_server.store.memory import MemoryDatabase, MemoryStore

QUEUE: Final = "desk.queue"
"""Two executors of two slots each, of different strength, with different labels."""
LATE: Final = "desk.late"
"""Nobody has it until the late one joins."""
FRAIL: Final = "desk.frail"
"""Two executors, of which one fails."""
CAPPED: Final = "desk.capped"
"""One executor, and fewer at once than it has slots."""
NOBODY: Final = "desk.nobody"
"""Nobody ever has it."""
CAP: Final = 2
LATECOMER: Final = "executor-6"
SICK: Final = "executor-7"
Labels = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Desk:
    """What an executor introduces itself as."""

    handlers: tuple[str, ...] = (WORK,)
    labels: Labels = ()
    slots: int = 2
    strength: int = 1
    caps: tuple[tuple[str, int], ...] = ()


DESKS: Final[Mapping[str, Desk]] = MappingProxyType(
    {
        "executor-4": Desk(handlers=(QUEUE,), labels=(("zone", "north"), ("air", "cold"))),
        "executor-5": Desk(
            handlers=(QUEUE,), labels=(("zone", "south"), ("air", "warm")), strength=2
        ),
        LATECOMER: Desk(handlers=(LATE,), labels=(("zone", "late"),)),
        SICK: Desk(handlers=(FRAIL,), slots=3),
        "executor-8": Desk(handlers=(FRAIL,), slots=3),
        "executor-9": Desk(handlers=(CAPPED,), slots=5, caps=((CAPPED, CAP),)),
    }
)
FROM_THE_BEGINNING: Final = tuple(name for name in DESKS if name != LATECOMER)
TEAM: Final = "desk.team"
"""Three executors of two slots, which are restarted one after the other."""
PACE: Final = "desk.pace"
"""Three executors, one of which is slow."""
SLOW: Final = "executor-20"
TEAMS: Final[Mapping[str, Desk]] = MappingProxyType(
    {
        **{f"executor-{number}": Desk(handlers=(TEAM,)) for number in (11, 12, 13)},
        **{f"executor-{number}": Desk(handlers=(PACE,), slots=8) for number in (20, 21, 22)},
    }
)
"""Executors of another world: those that are restarted, and those of whom one is slow."""


ALONE, PAIR, PACED = "desk alone", "desk pair", "desk paced"
"""Keys: of one, which is what holds without a rule; of two; of five, one start at a time."""
MOST: Final[Mapping[str, int]] = MappingProxyType({ALONE: 1, PAIR: 2, PACED: 5})
PACE_MS: Final = 1_500


async def allow_desks(database: MemoryDatabase) -> None:
    """The limits of their keys."""
    store = MemoryStore(database)
    for namespace in NAMESPACES:
        for key, paced in ((PAIR, False), (PACED, True)):
            row = LimitRow(
                name=limit_name(namespace, LimitKind.KEY, key),
                namespace=namespace,
                kind=LimitKind.KEY.value,
                pattern=key,
                concurrency=MOST[key],
                starts=1 if paced else 0,
                per_ms=PACE_MS if paced else 0,
                burst=1 if paced else 0,
                weight=1,
                enabled=True,
                reason="",
                actor="simulation",
                updated_ms=0,
            )
            await store.access.add(row)
