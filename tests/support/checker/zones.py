"""Clocks of places, by the zone data that a release brings with it; the machine's may be older."""

from __future__ import annotations

from functools import lru_cache
from importlib import resources
from zoneinfo import ZoneInfo


@lru_cache(maxsize=256)
def clocks_of(zone: str) -> ZoneInfo:
    """The clocks of a zone."""
    path = resources.files("tzdata").joinpath("zoneinfo", *zone.split("/"))
    with path.open("rb") as data:
        return ZoneInfo.from_file(data, key=zone)
