"""What the clock of a zone shows, instant by instant.

Owns the walk. Knows no rule of any schedule.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from functools import lru_cache
from importlib.resources import files
from typing import NamedTuple
from zoneinfo import ZoneInfo


class Shown(NamedTuple):
    """A local clock at one instant. `wall_s` is the time shown, as seconds on an endless clock."""

    at_s: int
    wall_s: int
    day: int
    hour: int
    minute: int
    second: int
    local: datetime

    @property
    def repeats(self) -> bool:
        """Whether the clock shows this time twice."""
        passes = (self.local.replace(fold=fold).utcoffset() for fold in (0, 1))
        return len(set(passes)) == 2


@lru_cache(maxsize=1_024)
def zone(name: str) -> ZoneInfo:
    """A zone from the same data as everywhere.

    Raises:
        ValueError: there is no such zone.
    """
    if name not in files("tzdata").joinpath("zones").read_text("ascii").split():
        raise ValueError(f"no zone is called {name!r}")
    with files("tzdata").joinpath("zoneinfo", *name.split("/")).open("rb") as data:
        return ZoneInfo.from_file(data, key=name)


def walk(name: str, from_s: int, to_s: int, step_s: int) -> Iterator[Shown]:
    """What the clock shows from one instant to another (included), every `step_s`."""
    rules = zone(name)
    for at_s in range(from_s, to_s + 1, step_s):
        yield shown(rules, at_s)


def shown(rules: ZoneInfo, at_s: int) -> Shown:
    """What the clock of a zone shows at one instant."""
    local = datetime.fromtimestamp(at_s, rules)
    day, hour, minute, second = local.toordinal(), local.hour, local.minute, local.second
    wall_s = ((day * 24 + hour) * 60 + minute) * 60 + second
    return Shown(at_s, wall_s, day, hour, minute, second, local)
